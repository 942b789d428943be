"""Two processes compute what one computes."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch

from isthmus.data.store import Store
from isthmus.methods import couple
from isthmus.objectives.couplings import COUPLINGS
from isthmus.training import NonFiniteLoss, TrainingConfig, TrainingInterrupted, train
from test_training import weights
from toy_training import toy_arrays, toy_method, toy_splits, toy_store

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked on a CPU")


def fit(method, store, splits, devices, folder=None, normalise=lambda batch: batch, resume=False, **settings):
    settings = {"epochs": 4, "batch_size": 16, "learning_rate": 0.01, **settings}
    config = TrainingConfig(devices=devices, accelerator="cpu", **settings)
    return train(method, store, normalise, splits, config, folder, resume=resume, quiet=True)


def same_curves(one, two):
    assert [row.keys() for row in one.rows] == [row.keys() for row in two.rows]
    for a, b in zip(one.rows, two.rows, strict=True):
        for name in a:
            if name != "seconds":
                assert b[name] == pytest.approx(a[name], rel=1e-4) if isinstance(a[name], float) else a[name] == b[name]


@pytest.mark.parametrize("name", ["mvtcae", "fused"])
def test_two_processes_have_the_curve_of_one(name, tmp_path):
    # 61 - 12 = 49 = 3 * 16 + 1: the second process gets nothing of an epoch's last batch. Two thirds are gaps, so that
    # often one process alone has rows of a modality.
    store, splits = toy_store(61, missing=0.65), toy_splits(61)
    methods = [toy_method(name), toy_method(name)]
    one, two = (
        fit(method, store, splits, devices, tmp_path / str(devices)) for devices, method in enumerate(methods, 1)
    )
    same_curves(one, two)
    torch.testing.assert_close(one.codes, two.codes, rtol=1e-4, atol=1e-4)
    assert len((tmp_path / "2" / "metrics.csv").read_text().splitlines()) == 1 + 8


@pytest.mark.parametrize("couplings", [*([name] for name in COUPLINGS), list(COUPLINGS)], ids="+".join)
def test_several_processes_couple_codes_as_one_does(couplings):
    # One process often has no rows of a modality, and of three the last has none of an epoch's last batch, in which
    # 62 - 12 = 50 = 3 * 16 + 2 leaves a pair: all take part in every exchange.
    store, splits = toy_store(62, missing=0.5), toy_splits(62)
    methods = [couple(toy_method(), couplings) for _ in range(2)]
    one, several = (fit(methods[d > 1], store, splits, d, epochs=2) for d in (1, 3 if len(couplings) > 1 else 2))
    same_curves(one, several)
    for name, value in methods[0].model.state_dict().items():
        torch.testing.assert_close(methods[1].model.state_dict()[name], value, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["mwae", "idmvae", "completer", "dccae", "jnf-dcca"])
def test_what_a_batch_has_as_a_whole_is_taken_over_the_items_of_all_processes(name):
    # As above: a correlation, a contrast or a discrepancy of parts is not a part of it.
    store, splits = toy_store(62, missing=0.5), toy_splits(62)
    methods = [toy_method(name, **({"embedding_dim": 2} if name == "jnf-dcca" else {})) for _ in range(2)]
    # Of jnf-dcca the phase of correlations. They do not heed offsets, which rounding alone moves then, and they move
    # the flows of the phase after it.
    methods = [replace(method, phases=method.phases[:2][-1:]) for method in methods]
    same_curves(*(fit(method, store, splits, devices, epochs=2) for devices, method in enumerate(methods, 1)))
    for key, value in methods[0].model.state_dict().items():
        if not (key.startswith("inference.embed.") and key.endswith(".bias")):
            torch.testing.assert_close(methods[1].model.state_dict()[key], value, rtol=1e-3, atol=1e-4)


def test_a_parameter_without_gradient_on_any_process_is_not_stepped():
    arrays = toy_arrays()
    store = Store.from_arrays(arrays | {"text": arrays["text"][:0]}, {"text": np.zeros(60, dtype=bool)})
    method = toy_method()
    before = weights(method.model)
    fit(method, store, toy_splits(), 2, optimiser="adamw", weight_decay=0.5, epochs=1)
    changed = {name for name, tensor in method.model.state_dict().items() if not tensor.equal(before[name])}
    assert changed and not [name for name in changed if ".text." in name]


def test_a_bad_item_of_either_process_is_named():
    arrays = toy_arrays()
    arrays["audio"][41] = np.nan
    method = toy_method()
    with pytest.raises(NonFiniteLoss, match="reconstruction/audio of item 41"):
        fit(method, Store.from_arrays(arrays), {"train": torch.arange(60)}, 2, batch_size=60)
    assert all(tensor.isfinite().all() for tensor in method.model.state_dict().values())


def test_both_stop_together_and_go_on(tmp_path):
    store, splits, calls = toy_store(), toy_splits(), []
    main = os.getpid()

    def stop_once(batch):
        calls.append(1)
        if len(calls) == 6 and os.getpid() != main:
            os.kill(main, signal.SIGTERM)  # as `kill` does: the process that started the others passes it on
        return batch

    with pytest.raises(TrainingInterrupted, match="resume=True"):
        fit(toy_method(), store, splits, 2, tmp_path, stop_once, epochs=12)
    resumed, whole = toy_method(), toy_method()
    a = fit(resumed, store, splits, 2, tmp_path, resume=True, epochs=12)
    b = fit(whole, store, splits, 2, epochs=12)
    same_curves(a, b)
    assert all(tensor.equal(resumed.model.state_dict()[key]) for key, tensor in whole.model.state_dict().items())
