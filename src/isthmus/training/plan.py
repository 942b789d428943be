"""What is trained when: phases cut into epochs, epochs into steps. All of it is a pure function of the settings, so a
run that was stopped knows exactly where it stood.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from isthmus.methods import Phase
from isthmus.training.config import TrainingConfig

RISE_STEPS = 100


@dataclass(frozen=True)
class Stage:
    """A phase and its place in the whole: which epochs and which steps of the plan are its own."""

    phase: Phase
    first_epoch: int
    epochs: int
    first_step: int
    steps_per_epoch: int

    @property
    def num_steps(self) -> int:
        return self.epochs * self.steps_per_epoch


def plan_stages(phases: Sequence[Phase], epochs: int, num_items: int, batch_size: int) -> list[Stage]:
    """Phases in order, each with its share of the epochs, and at least one.

    Raises:
        ValueError: Fewer epochs than phases, or a phase wants data that are not known.
    """
    if epochs < len(phases):
        raise ValueError(f"epochs={epochs} is too few for {len(phases)} phases. Expected at least one epoch each.")
    for phase in phases:
        if phase.data not in ("items", "codes"):
            raise ValueError(
                f"Phase '{phase.name}' trains on '{phase.data}', which is unknown. Expected 'items' or 'codes'."
            )
    total = sum(phase.share for phase in phases)
    stages, first, first_step, share = list[Stage](), 0, 0, 0.0
    for number, phase in enumerate(phases):
        share += phase.share
        remaining = len(phases) - number - 1
        last = min(max(round(epochs * share / total), first + 1), epochs - remaining)
        stages.append(Stage(phase, first, last - first, first_step, math.ceil(num_items / batch_size) * phase.passes))
        first, first_step = last, first_step + stages[-1].num_steps
    return stages


def epoch_order(rows: Tensor, seed: int, epoch: int, number: int = 0) -> Tensor:
    """`rows` in the order of one pass of one epoch: a function of the seed and these numbers alone."""
    again = f"/{number}" if number else ""
    digest = hashlib.blake2b(f"{seed}/{epoch}/order{again}".encode(), digest_size=8).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)
    return rows[torch.randperm(len(rows), generator=generator)]


@dataclass(frozen=True)
class Share:
    """What one process does of a global batch: `rows`, which begin at `offset` of `total` items, at a `weight`.

    A process left without items by a batch smaller than the number of processes computes the first item at weight
    zero: it then knows the same terms, and takes part in every exchange, as all others.
    """

    rows: Tensor
    offset: int
    total: int
    weight: float


def share(rows: Tensor, rank: int, size: int) -> Share:
    """The contiguous part of a global batch that belongs to process `rank` of `size`."""
    parts = rows.tensor_split(size)
    own, offset = parts[rank], sum(len(part) for part in parts[:rank])
    return Share(own, offset, len(rows), 1.0) if len(own) else Share(rows[:1], 0, len(rows), 0.0)


def learning_rate(config: TrainingConfig, step: int, num_steps: int) -> float:
    """At `step` of a phase of `num_steps`: a linear rise over 100 steps or a tenth of the phase, then the schedule."""
    rise = min(RISE_STEPS, max(num_steps // 10, 1))
    rate = config.learning_rate * min(1.0, (step + 1) / rise)
    if config.schedule == "constant":
        return rate
    return rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / num_steps)))
