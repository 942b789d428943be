"""Every method, by its name alone on the command line, on the demo's pictures, sounds and captions with their gaps."""

from __future__ import annotations

import sys

import pytest
import torch

import isthmus
from isthmus.cli.main import main
from isthmus.data.demo import write_demo
from isthmus.methods import list_methods

EPOCHS = 4  # as many as the method with most phases needs
NUM_ITEMS = 180  # of which enough are trained on for correlations of codes of 64 numbers


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write_demo(tmp_path_factory.mktemp("demo"), num_items=NUM_ITEMS)


@pytest.mark.slow
@pytest.mark.parametrize("name", list_methods())
def test_a_method_trains_by_its_name_alone(name, table, tmp_path, monkeypatch):
    monkeypatch.setattr("isthmus.training.loop.default_epochs", lambda num_items, batch_size: EPOCHS)
    monkeypatch.setattr(sys, "argv", ["isthmus", "train", str(table), "--method", name, "--out", str(tmp_path / "run")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    model, items = isthmus.load(tmp_path / "run"), isthmus.read_table(table)
    assert model.method == name
    codes = torch.as_tensor(model.transform(items))
    assert len(codes) == len(items) == NUM_ITEMS and bool(torch.isfinite(codes).all())
    # Codes depend on what an item is: without that nothing was trained, or nothing is read.
    assert float(codes.std(dim=0).max()) > 1e-4
    captions = model.translate(items, source=["image"], target="caption")
    assert len(captions) == NUM_ITEMS and all(isinstance(caption, str) for caption in captions)
    pictures = model.translate(items, source=["caption", "audio"], target="image")
    assert {picture.size for picture in pictures} == {(16, 16)}
