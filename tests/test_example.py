"""The textbook example runs on small data, and does what it says."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import pytest

PATH = Path(__file__).resolve().parents[1] / "examples" / "image_text_to_image.py"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("image_text_to_image", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _mean_picture_error(train, unseen):
    mean = np.mean(train["picture"] / 255.0, axis=0)
    return float(np.mean((unseen["picture"] / 255.0 - mean) ** 2))


def test_the_data_are_what_the_example_says(example):
    data = example.make_data(6, seed=0)
    assert data["picture"].shape == (6, 32, 32, 3)
    assert data["picture"].dtype == np.uint8
    assert data["text"].shape == (6, 10)
    assert data["text"].dtype == np.float32
    again, other = example.make_data(6, seed=0), example.make_data(6, seed=1)
    assert np.array_equal(data["picture"], again["picture"])
    assert not np.array_equal(data["picture"], other["picture"])


@pytest.mark.parametrize(("fusion", "share"), [("concat", None), ("attention", None), ("concat", "trunk")])
def test_reconstruction_of_unseen_pictures_beats_the_mean_picture(example, fusion, share):
    train, unseen = example.make_data(300, seed=1), example.make_data(60, seed=2)
    model = example.train(train, epochs=8, batch_size=20, fusion=fusion, share=share)
    assert example.squared_error(model, unseen) < 0.7 * _mean_picture_error(train, unseen)
    pictures = model.reconstruct(unseen)["picture"]
    assert len(pictures) == 60
    assert np.asarray(pictures[0]).shape == (32, 32, 3)


def test_the_command_takes_its_arguments(example, monkeypatch, capsys):
    arguments = "--items 60 --epochs 1 --batch-size 30 --fusion attention --share trunk"
    monkeypatch.setattr(sys, "argv", ["image_text_to_image.py", *arguments.split()])
    example.main()
    said = capsys.readouterr().out
    assert re.search(r"squared error on unseen pictures: 0\.\d+  \(mean picture: 0\.\d+\)", said)


def test_the_command_refuses_an_unknown_fusion(example, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["image_text_to_image.py", "--fusion", "sum"])
    with pytest.raises(SystemExit) as ended:
        example.main()
    assert ended.value.code == 2
    assert "invalid choice: 'sum'" in capsys.readouterr().err
