"""What a training step costs: networks are called once each, on as many rows as the page of the method promises.

It says "`M` encodings, `2 M` decodings (`M` with `dropout=false`)": this is read, and counted. `M` is the number of
modalities that an item has and `K` the number of draws.
"""

from __future__ import annotations

import ast
import operator
import re
from typing import NamedTuple

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from gappy import takes
from isthmus.batch import Batch
from isthmus.cli.methods import tell
from isthmus.methods import Method, get_method, list_methods, method_defaults
from isthmus.noise import Noise
from isthmus.objectives import Step
from isthmus.testing.conformance import toy_modalities, toy_presence, toy_values

NUM_ITEMS, LATENT_DIM = 6, 4


class Promise(NamedTuple):
    """What a method says that it costs with some options: formulas; None where it counts in something else.

    `bounded`: it says "at most" of its decodings, as which there are is drawn.
    """

    method: str
    options: dict[str, object]
    encodings: str | None
    decodings: str
    bounded: bool = False


def promises(method: str) -> list[Promise]:
    """What a method's page says under "Cost of a step"; one that says "as `mvae`" promises the same."""
    notes = tell(method)["notes"]
    words = re.search(r"\*\*Cost of a step\*\*: (.*?)(?=^- |\Z)", notes, re.MULTILINE | re.DOTALL)
    assert words, f"'{method}' does not say the cost of a step"
    return read(method, " ".join(words[1].split()))


def read(method: str, words: str) -> list[Promise]:
    same = re.match(r"as `([^`]+)`", words)
    if same:
        return [promise._replace(method=method) for promise in promises(same[1])]
    encodings, decodings = (re.search(rf"`([^`]+)` {what}", words) for what in ("encodings", "decodings"))
    assert decodings, f"'{method}' promises no number of decodings, as in '`M` encodings, `2 M` decodings': {words}"
    options: dict[str, object] = {"num_draws": 2} if "num_draws" in method_defaults(method) else {}
    bounded = f"at most {decodings[0]}" in words
    first = Promise(method, options, encodings and encodings[1], decodings[1], bounded)
    others = re.findall(r"`([^`]+)` with `(\w+)=(\w+)`", words)
    return [first] + [
        first._replace(options={**options, option: ast.literal_eval(value.capitalize())}, decodings=cost)
        for cost, option, value in others
    ]


def number(formula: str, num_modalities: int, num_draws: int) -> float:
    """The value of a formula such as `K M^2 (M + 1) / 2`."""
    text = formula.replace("²", "^2").replace("^", "**")
    text = re.sub(r"(?<=[\w)])\s+(?=[\w(])", " * ", text)
    return _value(ast.parse(text, mode="eval").body, {"M": num_modalities, "K": num_draws})


OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


def _value(node: ast.expr, names: dict[str, int]) -> float:
    if isinstance(node, ast.BinOp):
        sides = _value(node.left, names), _value(node.right, names)
        return sides[0] ** sides[1] if isinstance(node.op, ast.Pow) else OPERATORS[type(node.op)](*sides)
    return names[node.id] if isinstance(node, ast.Name) else ast.literal_eval(node)


PROMISES = [promise for method in list_methods() for promise in promises(method)]


def test_the_pages_are_read_as_they_are_meant():
    assert number("M", 5, 2) == 5
    assert number("2 M", 5, 2) == 10
    assert number("K M²", 5, 2) == 50
    assert number("M (M + 1)", 5, 2) == 30
    assert number("K M^2 (M + 1) / 2", 5, 2) == 150
    assert read("mmvae", "`M` encodings, `K M²` decodings (`K M` with `stratified=false`).") == [
        ("mmvae", {"num_draws": 2}, "M", "K M²", False),
        ("mmvae", {"num_draws": 2, "stratified": False}, "M", "K M", False),
    ]
    assert [promise[1:] for promise in read("gpoe", "as `mvae`.")] == [promise[1:] for promise in promises("mvae")]
    with pytest.raises(AssertionError, match="'fused' promises no number of decodings"):
        read("fused", "little.")


def step_of(method: Method, batch: Batch) -> dict[str, list[int]]:
    """The rows of each call of each network, by "encoders/<name>" and "decoders/<name>", in one step of training."""
    rows: dict[str, list[int]] = {}
    hooks = []
    for side in ("encoders", "decoders"):
        for name in method.model.modalities:
            rows[f"{side}/{name}"] = []

            def count(_, inputs, __, calls=rows[f"{side}/{name}"]):
                calls.append(len(inputs[0]))

            network = getattr(method.model, side)[name]
            # Of a decoder of two levels, the part that is the modality's.
            hooks.append(getattr(network, "bottom", network).register_forward_hook(count))
    method.model.train()
    method.phases[0].players[0].objective(method.model, batch, Step(0, 1.0, Noise(0))).loss.backward()
    for hook in hooks:
        hook.remove()
    return rows


def batch_of(count: int, missing: float) -> Batch:
    return Batch.from_dense(toy_values(count, NUM_ITEMS), toy_presence(count, NUM_ITEMS, missing))


def label(value: object) -> str:
    return ",".join(f"{name}={setting}" for name, setting in value.items()) if isinstance(value, dict) else str(value)


@pytest.mark.parametrize("count", [1, 3, 5])
@pytest.mark.parametrize(("method", "options", "encodings", "decodings", "bounded"), PROMISES, ids=label)
def test_a_step_costs_what_the_page_promises(method, options, encodings, decodings, bounded, count):
    if not takes(get_method(method), count):
        pytest.skip("not declared by the method's capabilities")
    made = get_method(method)(toy_modalities(count), latent_dim=LATENT_DIM, **options)
    num_draws = options.get("num_draws", 1)
    for missing in (0.0, 0.4):
        batch = batch_of(count, missing)
        rows = step_of(made, batch)
        calls = {name: len(seen) for name, seen in rows.items()}
        times = 2 if "encoded again" in tell(method)["notes"] else 1
        assert set(calls.values()) == {times}, f"networks were not called {times} times: {calls}"
        encoded, decoded = (
            sum(sum(seen) for name, seen in rows.items() if name.startswith(side)) for side in ("encoders", "decoders")
        )
        has = torch.stack([batch.present[name] for name in made.model.modalities]).sum(dim=0).tolist()
        if encodings is not None:
            assert encoded == sum(number(encodings, m, num_draws) for m in has), "encoders see rows that are not there"
        promised = sum(number(decodings, m, num_draws) for m in has)
        if bounded:
            assert 0 < decoded <= promised
            continue
        # "about ... and one part of M for each random subset", which three modalities or more have.
        subsets = method_defaults(method).get("random_subsets", 0)
        extra = subsets * sum(m for m in has if m > 2)
        # An item with one modality has fewer routes than the formula says: all, and each alone, are the same.
        alone = sum(number(decodings, 1, num_draws) - num_draws for m in has if m == 1)
        assert promised - alone <= decoded <= promised + extra
        if not extra and not alone:
            assert decoded == promised


def flops_of(method: Method, batch: Batch) -> int:
    with FlopCounterMode(display=False) as counter:
        method.model.train()
        method.phases[0].players[0].objective(method.model, batch, Step(0, 1.0, Noise(0))).loss.backward()
    return counter.get_total_flops()


def vectors(count: int) -> Batch:
    """Items of `count` modalities of one sort, so that a sum over modalities has equal parts."""
    names = list(toy_modalities(3 * count))[::3]
    values = toy_values(3 * count, NUM_ITEMS)
    return Batch.from_dense({name: values[name] for name in names})


@pytest.mark.parametrize(("method", "options"), [("mopoe", {}), ("barycentre", {"mixture": True})])
def test_mixtures_of_subsets_grow_linearly_above_six_modalities(method, options):
    flops, rows, components = [], [], []
    for count in (8, 12, 16):
        batch = vectors(count)
        modalities = {name: toy_modalities(3 * count)[name] for name in batch}
        made = get_method(method)(modalities, latent_dim=LATENT_DIM, **options)
        flops.append(flops_of(made, batch))
        rows.append(sum(sum(seen) for seen in step_of(made, batch).values()))
        components.append(len(made.model.encode(batch).loc))
    assert components == [48, 48, 48]
    assert rows == [2 * NUM_ITEMS * count for count in (8, 12, 16)]
    assert flops[2] - flops[1] == flops[1] - flops[0] > 0, f"floating point operations at 8, 12, 16: {flops}"


@pytest.mark.parametrize(("method", "options"), [("mopoe", {}), ("barycentre", {"mixture": True})])
def test_twelve_modalities_train(method, options):
    batch = Batch.from_dense(toy_values(12, 40), toy_presence(12, 40))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = get_method(method)(toy_modalities(12), latent_dim=LATENT_DIM, **options)
    objective, losses = made.phases[0].players[0].objective, []
    optimiser = torch.optim.Adam(made.model.train().parameters(), lr=0.02)
    for index in range(30):
        loss = objective(made.model, batch, Step(index, 1.0, Noise(0, index))).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
