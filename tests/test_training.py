from __future__ import annotations

import csv
import io
import math
import os
import re
import signal
import sys
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from rich.console import Console
from torch import nn

from isthmus.data.store import Store
from isthmus.methods import Phase, Player
from isthmus.noise import Noise
from isthmus.objectives import Objective, Step, Terms
from isthmus.training import (
    NonFiniteLoss,
    TrainingConfig,
    TrainingInterrupted,
    default_epochs,
    encode,
    train,
)
from isthmus.training.checkpoints import checkpoint_paths, read_tensors
from isthmus.training.metrics import compared, is_better
from isthmus.training.optimisers import make_optimiser
from isthmus.training.plan import epoch_order, learning_rate, plan_stages, share
from isthmus.training.progress import Reporter
from isthmus.training.watch import collapse_warnings, gains
from toy_training import toy_arrays, toy_method, toy_splits, toy_store

# So strong a decay that it shows in a few steps.
DECAY = {"optimiser": "adamw", "weight_decay": 0.5, "learning_rate": 0.1}


def as_is(batch):
    return batch


def weights(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def fit(method=None, store=None, splits=None, folder=None, **settings):
    settings = {"epochs": 4, "batch_size": 16, **settings}
    method = method or toy_method()
    return train(
        method, store or toy_store(), as_is, splits or toy_splits(), TrainingConfig(**settings), folder, quiet=True
    )


# --- the plan -----------------------------------------------------------------------------------------------------


def test_epochs_follow_from_the_number_of_items():
    assert default_epochs(10_000, 128) == 70
    assert default_epochs(100_000, 128) == 22
    assert default_epochs(10**7, 128) == 5
    assert default_epochs(100, 128) == 1000  # one step each
    assert default_epochs(10_000, 10_000) == 1000


@given(st.integers(1, 200), st.integers(0, 5), st.integers(0, 1000))
def test_an_epoch_sees_every_item_once_in_an_order_of_its_own(num_items, epoch, seed):
    rows = torch.arange(num_items) + 7
    order = epoch_order(rows, seed, epoch)
    assert order.sort().values.equal(rows)
    assert order.equal(epoch_order(rows, seed, epoch))
    if num_items > 20:
        assert not order.equal(epoch_order(rows, seed, epoch + 1))
        assert not order.equal(epoch_order(rows, seed + 1, epoch))


@given(st.integers(1, 40), st.integers(1, 6))
def test_processes_share_a_batch_without_overlap(num_items, size):
    rows = torch.randperm(num_items)
    shares = [share(rows, rank, size) for rank in range(size)]
    working = [own for own in shares if own.weight]
    assert torch.cat([own.rows for own in working]).equal(rows)
    assert all(rows[own.offset : own.offset + len(own.rows)].equal(own.rows) for own in shares)
    assert all(len(own.rows) and own.total == num_items for own in shares)


def test_phases_share_the_epochs():
    phases = [Phase([], share=1.0), Phase([], share=0.01), Phase([], share=3.0)]
    stages = plan_stages(phases, 8, 10, 4)
    assert [(s.first_epoch, s.epochs, s.first_step) for s in stages] == [(0, 2, 0), (2, 1, 6), (3, 5, 9)]
    with pytest.raises(ValueError, match="epochs=2 is too few for 3 phases"):
        plan_stages(phases, 2, 10, 4)
    with pytest.raises(ValueError, match="trains on 'cods', which is unknown"):
        plan_stages([Phase([], data="cods")], 2, 10, 4)


def test_a_phase_of_several_passes_sees_every_item_as_often_in_an_epoch():
    phases = [Phase([]), Phase([], passes=3), Phase([])]
    stages = plan_stages(phases, 6, 10, 4)
    assert [(s.first_step, s.steps_per_epoch, s.num_steps) for s in stages] == [(0, 3, 6), (6, 9, 18), (24, 3, 6)]
    rows = torch.arange(10)
    orders = [epoch_order(rows, 0, 2, number) for number in range(3)]
    assert all(order.sort().values.equal(rows) for order in orders)
    assert len({tuple(order.tolist()) for order in orders}) == 3
    seen = []

    @dataclass(frozen=True)
    class Counted(Objective):
        inner: Objective

        def __call__(self, model, batch, step):
            seen.extend([len(batch)] * model.training)
            return self.inner(model, batch, step)

    method = toy_method()
    (phase,) = method.phases
    counted = [Player(Counted(player.objective)) for player in phase.players]
    history = fit(replace(method, phases=[replace(phase, players=counted, passes=3)]), epochs=2)
    assert sum(seen) == 2 * 3 * len(toy_splits()["train"])
    assert history.num_epochs == 2 and history.rows[-1]["step"] == len(seen)


def test_the_learning_rate_rises_then_falls():
    config = TrainingConfig(learning_rate=2.0)
    rates = [learning_rate(config, step, 1000) for step in range(1000)]
    assert rates[0] == pytest.approx(0.02, rel=1e-3)
    assert max(rates) == pytest.approx(2.0, rel=0.03) and rates.index(max(rates)) == 99
    assert rates[-1] == pytest.approx(0.02, rel=1e-3)
    constant = TrainingConfig(learning_rate=2.0, schedule="constant")
    assert learning_rate(constant, 999, 1000) == 2.0


@pytest.mark.parametrize(("num_steps", "top"), [(10_000, 99), (1000, 99), (500, 49), (50, 4), (5, 0)])
def test_the_learning_rate_rises_over_a_tenth_of_the_steps_and_over_a_hundred_at_most(num_steps, top):
    config = TrainingConfig(learning_rate=2.0)
    rates = [learning_rate(config, step, num_steps) for step in range(num_steps)]
    assert rates.index(max(rates)) == top
    constant = TrainingConfig(learning_rate=2.0, schedule="constant")
    rise = [learning_rate(constant, step, num_steps) for step in range(top + 1)]
    assert rise == pytest.approx([2.0 * (step + 1) / (top + 1) for step in range(top + 1)])


def test_settings_are_checked():
    with pytest.raises(ValidationError, match="learning_rate"):
        TrainingConfig(learning_rate=0)
    with pytest.raises(ValidationError, match="epoch"):
        TrainingConfig(epoch=3)


# --- what a training does -----------------------------------------------------------------------------------------


def test_training_lowers_the_loss_and_keeps_the_best_weights():
    method = toy_method(dropout=0.0)
    # So fast that the last epoch is not the best.
    history = fit(method, epochs=12, learning_rate=0.05, schedule="constant", patience=12)
    validation = [row for row in history.rows if row["split"] == "validation"]
    losses = [row["loss"] for row in validation]
    assert history.best_epoch == _best_epoch(validation) < validation[-1]["epoch"]
    kept = losses[history.best_epoch - 1]
    assert kept < losses[0] - 1
    batch = toy_store().batch(toy_splits()["validation"])
    objective = method.phases[0].players[0].objective
    with torch.no_grad():
        terms = objective(method.model, batch, Step(0, 1.0, Noise(0, -1, 0, len(batch))))
    assert float(terms.loss) == pytest.approx(kept, rel=1e-6)
    assert not method.model.training


def _epochs(*figures):
    """Validation rows of three modalities; the loss is minus the sum, as where all weigh alike."""
    names = ("reconstruction/image", "reconstruction/text", "reconstruction/table")
    return [
        {"epoch": epoch, "phase": "train", "loss": -sum(row), **dict(zip(names, row, strict=True))}
        for epoch, row in enumerate(figures, 1)
    ]


def _best_epoch(rows):
    best, epoch = {}, None
    for row in rows:
        if is_better(row, best):
            best, epoch = compared(row), row["epoch"]
    return epoch


def test_one_modality_learnt_by_heart_does_not_end_what_the_others_gain():
    rows = _epochs((0, 0, 0), (1, 1, 1), (2, -100, 2), (3, -200, 3))
    assert [row["loss"] for row in rows] == [0, -3, 96, 194]
    assert _best_epoch(rows) == 4
    # Two of three got worse: the epoch before stays, whatever the third gained.
    assert _best_epoch(_epochs((0, 0, 0), (1, 1, 1), (100, 0, 0))) == 2


def test_the_loss_decides_where_counts_are_equal():
    assert _best_epoch([{"epoch": e, "loss": loss} for e, loss in ((1, 3.0), (2, 1.0), (3, 2.0))]) == 2
    one = [{"epoch": e, "loss": loss, "reconstruction/a": ll} for e, loss, ll in ((1, 3.0, 0.0), (2, 1.0, 0.0))]
    assert _best_epoch(one) == 2


def test_one_seed_gives_one_result_and_leaves_the_callers_random_numbers_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    results = []
    for seed in (3, 3, 4):
        method = toy_method()
        torch.set_rng_state(before)
        fit(method, seed=seed)
        assert torch.get_rng_state().equal(before)
        results.append(weights(method.model))
    assert all(results[0][name].equal(results[1][name]) for name in results[0])
    assert any(not results[0][name].equal(results[2][name]) for name in results[0])


def test_codes_are_those_of_the_training_items_and_point_methods_get_their_mean():
    method = toy_method("fused")
    splits = toy_splits()
    history = fit(method, splits=splits)
    assert history.codes.shape == (48, 2)
    assert torch.equal(history.codes, encode(method.model, toy_store(), as_is, splits["train"]))
    # An item that has nothing gets the mean code of those that have something, and does not count for it.
    store = toy_store()
    there = torch.stack([store.present(name) for name in store.modalities]).any(dim=0)[splits["train"]]
    assert not there.all()
    torch.testing.assert_close(method.model.inference.mean_code, history.codes[there].mean(dim=0))
    assert torch.equal(history.codes[~there][0], method.model.inference.mean_code)


def test_without_patience_the_last_weights_stay_whatever_validation_says():
    method = toy_method()
    history = fit(method, epochs=12, learning_rate=0.05, schedule="constant")
    assert history.best_epoch is None and history.num_epochs == 12
    last = [row for row in history.rows if row["split"] == "validation"][-1]
    batch = toy_store().batch(toy_splits()["validation"])
    with torch.no_grad():
        terms = (
            method.phases[0].players[0].objective(method.model.eval(), batch, Step(0, 1.0, Noise(0, -1, 0, len(batch))))
        )
    assert float(terms.loss) == pytest.approx(last["loss"], rel=1e-6)


def test_without_validation_the_last_weights_stay():
    history = fit(splits={"train": torch.arange(60)}, epochs=3, patience=1, learning_rate=1.0)
    assert history.best_epoch is None and history.num_epochs == 3
    assert {row["split"] for row in history.rows} == {"train"}


def test_patience_ends_a_training_that_gets_no_better():
    history = fit(epochs=40, patience=2, learning_rate=3.0, schedule="constant")
    assert history.num_epochs < 40
    assert history.num_epochs == history.best_epoch + 2


@dataclass(frozen=True)
class Counted(Objective):
    """Loss and terms that can be worked out by hand: each item's loss is its place in the data."""

    name: str = "place"

    def __call__(self, model, batch, step):
        place = batch.index.to(model.dtype) + 0 * sum(p.sum() for p in model.parameters())
        there = batch.present["image"].to(model.dtype)
        return Terms(
            {self.name: place, "reconstruction/image": 3 * there}, item_loss=place, per_batch={"size": place.mean()}
        )


def test_means_are_over_items_whatever_the_size_of_the_last_batch():
    method = toy_method()
    method = replace(method, phases=[Phase([Player(Counted())])])
    history = fit(method, splits={"train": torch.arange(20, 55)}, epochs=1, batch_size=16)
    (row,) = history.rows
    assert row["loss"] == row["place"] == pytest.approx(37.0)
    assert row["size"] == pytest.approx(37.0)
    assert row["reconstruction/image"] == 3.0  # over the items that have it, not over all
    assert row["step"] == 3  # the last, incomplete batch is kept


def test_metrics_csv_holds_the_history_and_a_later_phase_adds_its_columns(tmp_path):
    method = toy_method()
    method = replace(method, phases=[Phase([Player(Counted())]), Phase([Player(Counted("other"))], name="second")])
    history = fit(method, folder=tmp_path)
    with (tmp_path / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(history.rows) == 8
    for read, kept in zip(rows, history.rows, strict=True):
        assert {name: value for name, value in read.items() if value} == {n: str(v) for n, v in kept.items()}
    assert [row["phase"] for row in rows] == ["train"] * 4 + ["second"] * 4
    assert rows[0]["other"] == "" and rows[-1]["place"] == ""


def test_decay_shrinks_what_has_no_gradient():
    method = toy_method()
    before = weights(method.model)
    fit(replace(method, phases=[Phase([Player(Counted())])]), **DECAY)
    config = TrainingConfig(**DECAY)
    left = math.prod(1 - config.weight_decay * learning_rate(config, step, 12) for step in range(12))
    assert 0.5 < left < 0.9
    for name, parameter in method.model.named_parameters():
        torch.testing.assert_close(parameter, left * before[name], rtol=1e-5, atol=0)


def test_a_modality_nobody_has_is_not_trained_at_all():
    arrays = toy_arrays()
    store = Store.from_arrays(arrays | {"text": arrays["text"][:0]}, {"text": np.zeros(60, dtype=bool)})
    method = toy_method()
    before = weights(method.model)
    # As above, decay would shrink every parameter that is stepped, also one whose gradient is zero.
    fit(method, store, **DECAY)
    after = method.model.state_dict()
    changed = {name for name in before if not before[name].equal(after[name])}
    assert changed and not [name for name in changed if ".text." in name]


def test_an_item_without_anything_does_no_harm():
    store = toy_store(missing=0.9)
    lonely = ~torch.stack([store.present(name) for name in store.modalities]).any(dim=0)
    assert lonely.sum() > 3
    history = fit(store=store, batch_size=4)
    assert all(math.isfinite(row["loss"]) for row in history.rows)


def test_frozen_modules_stay_and_players_move_their_own():
    method = toy_method()
    objective = method.phases[0].players[0].objective
    phase = Phase(
        [Player(objective, ("decoders.",)), Player(objective, ("inference.", "encoders."))], frozen=("encoders.image",)
    )
    before = weights(method.model)
    trainable = [parameter.requires_grad for parameter in method.model.parameters()]
    seen = []
    method.model.encoders["image"].register_forward_hook(lambda module, *_: seen.append(module.training))
    history = fit(replace(method, phases=[phase]), splits={"train": torch.arange(60)})
    after = method.model.state_dict()
    still = {name for name in before if before[name].equal(after[name])}
    assert still == {name for name in before if name.startswith(("encoders.image.", "likelihoods.", "prior."))}
    assert not any(seen)
    assert trainable == [parameter.requires_grad for parameter in method.model.parameters()]
    assert "player 2/loss" in history.rows[0]


class OnCodes(Objective):
    """Draws the decoder's own weights towards the codes it is shown, and keeps what it was shown."""

    def __init__(self):
        self.shown = []

    def __call__(self, model, batch, step):
        self.shown.append(batch)
        first = next(model.decoders["image"].parameters())
        return Terms({}, torch.zeros(len(batch)) + first.square().sum())


def test_a_phase_on_codes_sees_each_modalitys_own_code_and_runs_no_encoder():
    method, objective, calls, told = toy_method(), OnCodes(), [], []
    store, splits = toy_store(), toy_splits()
    method.model.encoders["audio"].register_forward_hook(lambda *_: calls.append(0))
    method.model.inference.prepare = told.append
    own = method.model.eval().own_codes(store.batch(torch.arange(60)))
    calls.clear()
    phase = Phase([Player(objective, ("decoders.",))], data="codes", frozen=("encoders", "inference"))
    train(replace(method, phases=[phase]), store, as_is, splits, TrainingConfig(epochs=3, batch_size=16), quiet=True)
    # For the codes of the phase, those of the history (again, as some items have nothing) and the watch that follows:
    # no call for any of the twelve batches.
    assert len(calls) == 4
    assert {len(batch) for batch in objective.shown} == {16, 12}
    for batch in objective.shown:
        for name in own:
            assert torch.equal(batch.present[name], own.present[name][batch.index])
            torch.testing.assert_close(batch.values[name], own.take(batch.index).values[name])
    trained = own.take(splits["train"])
    assert [{name: len(codes) for name, codes in each.items()} for each in told] == [
        {name: len(trained.values[name]) for name in trained}
    ]


@pytest.mark.parametrize("optimiser", ["adam", "adamw", "nadam", "radam"])
def test_every_optimiser_learns(optimiser):
    losses = [row["loss"] for row in fit(optimiser=optimiser, epochs=20, learning_rate=0.01, clip_norm=5.0).rows]
    assert losses[-1] < losses[1]


@pytest.mark.parametrize(
    ("name", "optimiser"),
    [
        ("adam", torch.optim.Adam),
        ("adamw", torch.optim.AdamW),
        ("nadam", torch.optim.NAdam),
        ("radam", torch.optim.RAdam),
    ],
)
def test_an_optimiser_is_what_its_settings_say(name, optimiser):
    parameters = {"a": nn.Parameter(torch.ones(2)), "b": nn.Parameter(torch.ones(3))}
    made = make_optimiser(TrainingConfig(optimiser=name, learning_rate=0.25, weight_decay=0.5), parameters)
    (group,) = made.param_groups
    assert type(made) is optimiser
    assert (group["lr"], group["weight_decay"]) == (0.25, 0.5)
    assert [id(parameter) for parameter in group["params"]] == [id(parameter) for parameter in parameters.values()]


def test_a_gradient_is_cut_to_the_longest_that_is_allowed(tmp_path):
    norms = []
    for clip_norm in (None, 1e6, 0.5):
        folder = tmp_path / str(clip_norm)
        fit(folder=folder, epochs=1, batch_size=48, checkpoint_every=0, clip_norm=clip_norm)
        (path,) = checkpoint_paths(folder / "checkpoints")
        tensors, _ = read_tensors(path)
        moments = [tensor.flatten() for name, tensor in tensors.items() if name.endswith("/exp_avg")]
        # After its first step, Adam's first moment is a tenth of the gradient.
        norms.append(10 * float(torch.cat(moments).norm()))
    assert norms[1] == norms[0] > 2
    assert norms[2] == pytest.approx(0.5, rel=1e-4)


def test_memory_mapped_data_train_the_same(tmp_path):
    toy_store().save(tmp_path / "store")
    a, b = toy_method(), toy_method()
    fit(a)
    fit(b, Store.open(tmp_path / "store"))
    assert all(tensor.equal(b.model.state_dict()[name]) for name, tensor in a.model.state_dict().items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"splits": {"train": torch.zeros(0, dtype=torch.long)}}, "no training items"),
        ({"tensorboard": True}, "needs a run folder"),
        ({"phase": {"frozen": ("encodres.image",)}}, "freezes 'encodres.image'.*Did you mean 'encoders.image'"),
        # The beginning of a name, but not of one of its parts: nothing would be frozen.
        ({"phase": {"frozen": ("encoder",)}}, "freezes 'encoder', which.*Did you mean 'encoders'"),
        ({"player": ("decodres.",)}, "trains 'decodres.'"),
        ({"phase": {"frozen": ("encoders", "inference", "decoders", "likelihoods")}}, "all are frozen"),
    ],
)
def test_errors_say_what_is_wrong(change, message):
    method = toy_method()
    objective = method.phases[0].players[0].objective
    phase = Phase([Player(objective, change.pop("player", ()))], **change.pop("phase", {}))
    with pytest.raises(ValueError, match=message):
        fit(replace(method, phases=[phase]), **change)


def test_tensorboard_names_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ImportError, match=r'pip install "isthmus\[tensorboard\]"'):
        fit(folder=tmp_path, tensorboard=True)


def test_tensorboard_gets_the_figures(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    history = fit(folder=tmp_path, tensorboard=True, epochs=2)
    expected = {}
    for row in history.rows:
        for name, value in row.items():
            if isinstance(value, float) and name != "seconds":
                expected.setdefault(f"{name}/{row['split']}", {})[row["step"]] = value
    log = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    found = {tag: {event.step: event.value for event in log.Scalars(tag)} for tag in log.Tags()["scalars"]}
    assert {"loss/train", "loss/validation", "learning_rate/train"} < found.keys() == expected.keys()
    for tag, values in expected.items():
        assert found[tag] == pytest.approx(values, rel=1e-6), tag


# --- what may go wrong --------------------------------------------------------------------------------------------


def test_a_number_that_is_not_finite_is_named_and_never_reaches_the_weights():
    arrays = toy_arrays()
    arrays["audio"][17, 2] = np.inf
    method = toy_method()
    before = weights(method.model)
    with pytest.raises(NonFiniteLoss, match=r"epoch 1, step 1\. Not finite: reconstruction/audio of item 17;"):
        fit(method, Store.from_arrays(arrays), splits={"train": torch.arange(60)}, batch_size=60)
    assert all(tensor.equal(before[name]) for name, tensor in method.model.state_dict().items())


def test_a_bad_gradient_is_named_and_the_best_weights_come_back():
    method = toy_method()
    steps = []

    def spoil(gradient):
        steps.append(1)
        return gradient * float("nan") if len(steps) > 6 else gradient  # the second step of the third epoch

    method.model.decoders["text"][0].weight.register_hook(spoil)
    with pytest.raises(NonFiniteLoss, match=r"not the gradient of parameter decoders\.text\.0\.weight.*of epoch 2"):
        fit(method, epochs=5, patience=5)
    assert all(tensor.isfinite().all() for tensor in method.model.state_dict().values())


def test_a_bad_validation_item_is_named():
    arrays = toy_arrays()
    arrays["image"][3] = np.nan
    with pytest.raises(NonFiniteLoss, match=r"In validation: Not finite: .*item 3"):
        fit(store=Store.from_arrays(arrays))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_ends_between_two_steps_with_a_checkpoint(tmp_path, number):
    handlers = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    calls = []

    def stop_at_fifth(batch):
        calls.append(1)
        if len(calls) == 5:
            os.kill(os.getpid(), number)
        return batch

    config = TrainingConfig(epochs=9, batch_size=16)
    with pytest.raises(TrainingInterrupted, match=r"stopped in epoch 2, after step 4 of 27.*--resume"):
        train(toy_method(), toy_store(), stop_at_fifth, toy_splits(), config, tmp_path, quiet=True)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-000000004.safetensors"]
    assert handlers == [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]


def test_the_watch_tells_a_modality_that_others_say_nothing_of():
    num_items = 400
    arrays = toy_arrays(num_items)
    arrays["text"] = np.random.default_rng(9).normal(size=(num_items, 3)).astype("float32")
    method = toy_method("mvtcae", beta=0.5, balance="nats")
    history = fit(method, Store.from_arrays(arrays), splits=toy_splits(num_items, 100), epochs=12, learning_rate=0.03)
    said = " ".join(history.warnings)
    assert re.search("shuffled source: [^;.]*'image'[^;.]* to 'text'", said) or "'text' has collapsed" in said
    assert not re.search("'image'[^;.]* to 'audio'", said) and "'image' has collapsed" not in said
    assert len(history.warnings) <= 2 and said.count("more epochs") == len(history.warnings)
    assert 'balance="per_dimension"' in said and "a lower beta" in said
    batch = Store.from_arrays(arrays).batch(torch.arange(100))
    gain, error, count = gains(method.model, batch)["image", "audio"]
    assert gain > 5 * error and count == 100


def test_a_code_that_says_nothing_has_collapsed():
    method = toy_method("fused", balance="per_dimension")
    nn.init.zeros_(method.model.inference.head.weight)
    warnings = collapse_warnings(method, toy_store(missing=0.0).batch(torch.arange(60)))
    assert len(warnings) == 3 and all("has collapsed" in warning for warning in warnings)
    assert "per_dimension" not in warnings[0] and "beta" not in warnings[0]  # it is on already; it has none


# --- what is said -------------------------------------------------------------------------------------------------


def test_plain_lines_are_few_and_quiet_is_quiet():
    for quiet, expected in ((False, 20), (True, 0)):
        text = io.StringIO()
        reporter = Reporter(1000, 5000, quiet, Console(file=text, width=60))
        for epoch in range(1, 1001):
            reporter.step(5 * epoch - 1, torch.tensor(1.0))
            reporter.epoch({"epoch": epoch, "step": 5 * epoch, "loss": 12.34, "reconstruction/[b]": -5.0}, None)
        reporter.close()
        lines = text.getvalue().splitlines()
        assert len(lines) == expected
        if lines:
            assert lines[0] == "epoch 1/1000  loss 12.3  [b] -5.0"


def test_a_terminal_gets_a_bar_with_figures():
    text = io.StringIO()
    reporter = Reporter(2, 10, console=Console(file=text, force_terminal=True, width=100))
    reporter.step(4, torch.tensor(7.0))
    reporter.epoch(
        {"epoch": 1, "step": 5, "loss": 7.0, "reconstruction/[b]": -5.0}, {"loss": 8.0, "reconstruction/[b]": -6.0}
    )
    reporter.say("a [warning]")
    reporter.close()
    assert "a [warning]" in text.getvalue() and "validation 8.0" in text.getvalue() and "[b] -6.0" in text.getvalue()
