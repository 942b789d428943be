"""A run that was killed goes on as if it never had been."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import nn

from isthmus.data.store import Store
from isthmus.training import TrainingConfig, train
from isthmus.training.checkpoints import checkpoint_paths
from toy_training import toy_arrays, toy_method, toy_splits, toy_store

CONFIG = TrainingConfig(epochs=6, batch_size=16, learning_rate=0.01, checkpoint_every=0)


def make(name):
    """A method of two phases where it has them, a module that draws from torch's own generator, and weights whose
    channels lie side by side in memory.
    """
    method = toy_method(name, **({"pretrain": 0.5} if name == "fused" else {}))
    convolution = nn.Conv2d(2, 4, (1, 2)).to(memory_format=torch.channels_last)
    method.model.encoders["image"] = nn.Sequential(
        nn.Unflatten(1, (2, 1, 3)), convolution, nn.Flatten(), nn.Tanh(), nn.Dropout(0.2)
    )
    return method


def run(method, folder, normalise=lambda batch: batch, config=CONFIG, resume=False):
    return train(method, toy_store(), normalise, toy_splits(), config, folder, resume=resume, quiet=True)


def killed(method, folder, calls_left):
    """Train in another process, which is killed when its batch number `calls_left` comes."""

    def die(batch):
        nonlocal calls_left
        calls_left -= 1
        if not calls_left:
            os.kill(os.getpid(), signal.SIGKILL)
        return batch

    process = os.fork()
    if not process:
        try:
            run(method, folder, die)
        finally:
            os._exit(1)
    _, status = os.waitpid(process, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def without_time(rows):
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


# Three training batches and one of validation make an epoch; the fused method changes its phase after three epochs.
# The kill comes before validation, before the first step of an epoch or a phase, and in the middle of one.
@pytest.mark.parametrize(
    ("name", "batch"), [("fused", 12), ("fused", 13), ("fused", 14), ("mvtcae", 3), ("mvtcae", 4), ("mvtcae", 15)]
)
def test_killed_and_resumed_the_weights_are_the_same_to_the_last_bit(tmp_path, name, batch):
    whole, again = make(name), make(name)
    expected = run(whole, tmp_path / "whole")
    killed(make(name), tmp_path / "killed", batch)
    history = run(again, tmp_path / "killed", resume=True)
    for key, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[key]), key
    assert without_time(history.rows) == without_time(expected.rows)
    assert (history.best_epoch, history.num_epochs) == (expected.best_epoch, expected.num_epochs)
    lines = (tmp_path / "killed" / "metrics.csv").read_text().splitlines()
    assert len(lines) == len(set(lines)) == 1 + 12


def test_without_a_checkpoint_a_resume_begins_at_the_beginning(tmp_path):
    a, b = make("mvtcae"), make("mvtcae")
    run(a, tmp_path / "a")
    run(b, tmp_path / "b", resume=True)
    assert all(torch.equal(t, b.model.state_dict()[k]) for k, t in a.model.state_dict().items())


def test_two_checkpoints_are_kept_and_hold_plain_tensors(tmp_path):
    run(make("mvtcae"), tmp_path)
    paths = checkpoint_paths(tmp_path / "checkpoints")
    assert [path.stem for path in paths] == ["step-000000017", "step-000000018"]
    assert sorted(os.listdir(tmp_path / "checkpoints")) == [path.name for path in paths]
    with safe_open(paths[-1], framework="pt") as file:
        assert "optimiser/0/decoders.text.0.weight/exp_avg_sq" in file.keys()  # noqa: SIM118


def test_a_checkpoint_that_cannot_be_read_gives_way_to_the_one_before(tmp_path):
    whole, again = make("mvtcae"), make("mvtcae")
    run(whole, tmp_path)
    newest = checkpoint_paths(tmp_path / "checkpoints")[-1]
    newest.write_bytes(newest.read_bytes()[:100])
    run(again, tmp_path, resume=True)
    assert all(torch.equal(t, again.model.state_dict()[k]) for k, t in whole.model.state_dict().items())
    for path in checkpoint_paths(tmp_path / "checkpoints"):
        path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"No checkpoint in .* can be read"):
        run(make("mvtcae"), tmp_path, resume=True)


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        ("mvtcae", {"learning_rate": 0.5, "seed": 1}, "learning_rate was 0.01 and is now 0.5; seed was 0 and is now 1"),
        ("mvae", {}, "the method is another"),
    ],
)
def test_a_resume_with_other_settings_is_refused(tmp_path, method, settings, message):
    run(make("mvtcae"), tmp_path)
    with pytest.raises(ValueError, match=message):
        run(make(method), tmp_path, config=CONFIG.model_copy(update=settings), resume=True)


def other_gaps():
    """The toy store with as many gaps in a modality, at other items."""
    arrays, store = toy_arrays(), toy_store()
    present = {name: store.present(name).numpy() for name in arrays}
    present["image"] = np.roll(present["image"], 1)
    return Store.from_arrays({name: rows[present[name]] for name, rows in arrays.items()}, present)


def one_more_feature():
    arrays = toy_arrays()
    return toy_store(arrays=arrays | {"image": np.pad(arrays["image"], ((0, 0), (0, 1)))})


@pytest.mark.parametrize(("store", "validation"), [(toy_store, 11), (other_gaps, 12), (one_more_feature, 12)])
def test_a_resume_with_other_data_is_refused(tmp_path, store, validation):
    run(make("mvtcae"), tmp_path)
    with pytest.raises(ValueError, match="the data or their splits are others"):
        train(make("mvtcae"), store(), lambda b: b, toy_splits(validation=validation), CONFIG, tmp_path, resume=True)


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_resume import make, run
run(make("mvtcae"), Path({folder!r}), resume=True)
"""


@pytest.mark.slow
def test_a_fresh_interpreter_goes_on_to_the_same_bits(tmp_path):
    import subprocess

    whole = make("mvtcae")
    run(whole, tmp_path / "whole")
    killed(make("mvtcae"), tmp_path / "killed", 14)
    tests = str(Path(__file__).parent)
    code = SCRIPT.format(tests=tests, folder=str(tmp_path / "killed"))
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    found = [checkpoint_paths(tmp_path / name / "checkpoints")[-1] for name in ("whole", "killed")]
    with safe_open(found[0], framework="pt") as a, safe_open(found[1], framework="pt") as b:
        assert sorted(a.keys()) == sorted(b.keys())
        assert all(torch.equal(a.get_tensor(key), b.get_tensor(key)) for key in a.keys())  # noqa: SIM118
