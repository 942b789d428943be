"""Where the time of a bare step goes, by kinds of work, from torch's profiler: the table of docs/performance.md.

    python benchmarks/speed/breakdown.py [--methods mvtcae,mvae] [--batch 256] [--threads 2] [--steps 10]

Five pictures of 3x28x28, the networks and objectives of `run.py`. Time is that of the thread that asks for the work,
which waits while others help it. What no operation accounts for is Python, autograd and torch's own bookkeeping.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping

os.environ["OMP_WAIT_POLICY"] = "PASSIVE"

import ours
import torch
from pairs import pairs_of
from peers_networks import pictures
from torch.profiler import ProfilerActivity, profile
from work import picture_values

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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--methods", default="mvtcae,mvae")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=10)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    names = given.methods.split(",")
    columns = {name: breakdown(step_of(name, given.batch), given.steps) for name in names}
    print(table(columns))
    return 0


def step_of(method: str, batch: int) -> Callable[[], object]:
    """A training step of ours, with the objective that the first peer which has it shares."""
    torch.manual_seed(0)
    return ours.of_pair(pairs_of(method)[0], pictures()).step(picture_values(batch))


def breakdown(step: Callable[[], object], steps: int) -> dict[str, float]:
    """Milliseconds of a step by kind of work; they add up to the whole."""
    for _ in range(3):
        step()
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        start = time.perf_counter()
        for _ in range(steps):
            step()
        whole = time.perf_counter() - start
    found = dict.fromkeys(KINDS, 0.0)
    for event in seen.key_averages():
        kind = kind_of(event.key)
        if kind is not None:
            found[kind] += event.self_cpu_time_total / 1000 / steps
    return {**found, REST: 1000 * whole / steps - sum(found.values())}


def kind_of(operation: str) -> str | None:
    """The kind of work of an operation; None for what only calls others."""
    return next((kind for kind, starts in KINDS.items() if operation.startswith(starts)), None)


def table(columns: Mapping[str, Mapping[str, float]]) -> str:
    """Milliseconds and shares, kinds of work down, methods across."""
    lines = [f"| ms a step | {' | '.join(f'`{name}`' for name in columns)} |", "|---" * (len(columns) + 1) + "|"]
    totals = {name: sum(parts.values()) for name, parts in columns.items()}
    for kind in (*KINDS, REST):
        cells = [f"{parts[kind]:.1f} ({parts[kind] / totals[name]:.0%})" for name, parts in columns.items()]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return "\n".join([*lines, f"| all | {' | '.join(f'{total:.1f}' for total in totals.values())} |"])


if __name__ == "__main__":
    sys.exit(main())
