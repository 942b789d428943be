"""Where the time of a bare step goes, by kinds of work, as torch's profiler sees it.

Time is that of the thread that asks for the work, which waits while others help it. What no operation accounts for is
Python, autograd and torch's own bookkeeping. Being watched makes a step slower: these are for shares, not for speed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import median
from typing import Any

import ours
import torch
from cases import Case, Contender, Entry, compare
from pairs import pairs_of
from peers_networks import pictures
from torch.profiler import ProfilerActivity, profile
from work import picture_values

METHODS = ("mvtcae", "mvae", "mmvae")
# By kind of work, what the names of its operations begin with; the first that fits counts.
KINDS: Mapping[str, tuple[str, ...]] = {
    "convolutions": ("aten::mkldnn_convolution", "aten::convolution", "aten::_convolution"),
    "matrix products": ("aten::addmm", "aten::mm", "aten::bmm"),
    "activations": ("aten::relu", "aten::clamp_min", "aten::threshold_backward", "aten::silu", "aten::tanh"),
    "Adam": ("aten::_fused_adam", "Optimizer"),
    "copies": ("aten::copy_", "aten::cat", "aten::stack", "aten::index", "aten::fill_", "aten::zero_", "aten::gather"),
    "sums and other arithmetic": ("aten::",),
}
REST = "Python and bookkeeping"
Kinds = dict[str, float]


def breakdown_cases(batches: Sequence[int], steps: int) -> list[Case]:
    """Steps of some methods, watched.

    Args:
        batches: Items of a step.
        steps: Of a round.
    """
    cases = []
    for method in METHODS:
        for batch in batches:
            seen: list[Kinds] = []
            head = {"section": "breakdown", "method": method, "batch": batch, "unit": "s"}
            entry = Entry(head, ["isthmus"], figures=partial(_figures, seen))
            contenders = {"isthmus": partial(_contender, method, batch, steps, seen)}
            cases.append(Case(f"breakdown {method} {batch}", [entry], contenders))
    return cases


def _contender(method: str, batch: int, steps: int, seen: list[Kinds]) -> Contender:
    """The objective is that which the first peer that has it shares."""
    torch.manual_seed(0)
    step = ours.of_pair(pairs_of(method)[0], pictures()).step(picture_values(batch))

    def timed() -> float:
        seen.append(breakdown(step, steps))
        return sum(seen[-1].values())

    return Contender(step, timed)


def _figures(seen: Sequence[Kinds], rounds: Sequence[float]) -> dict[str, Any]:
    kinds = {kind: float(f"{median(one[kind] for one in seen):.5g}") for kind in (*KINDS, REST)}
    return {**compare(rounds), "kinds": kinds}


def breakdown(step: Callable[[], object], steps: int) -> Kinds:
    """Seconds of a step by kind of work; they add up to the whole."""
    with profile(activities=[ProfilerActivity.CPU]) as watch:
        start = time.perf_counter()
        for _ in range(steps):
            step()
        whole = (time.perf_counter() - start) / steps
    found = dict.fromkeys(KINDS, 0.0)
    for event in watch.key_averages():
        kind = kind_of(event.key)
        if kind is not None:
            found[kind] += event.self_cpu_time_total / 1e6 / steps
    return {**found, REST: whole - sum(found.values())}


def kind_of(operation: str) -> str | None:
    """The kind of work of an operation; None for what only calls others."""
    return next((kind for kind, starts in KINDS.items() if operation.startswith(starts)), None)
