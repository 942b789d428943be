"""Seconds of training: who trains for how long, and a clock that stands still while what was reached is scored.

A trainer that goes on at one learning rate is stopped within its course, at the first step past each budget. One whose
learning rate falls to the end of a course that it knows beforehand is started anew for each budget, for as many epochs
as end within it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

SMALLEST_SHARE = 1 / 64  # of all items: some things are slow the first time alone, however few they are done for
# A machine that is not alone may stall: a training is done anew, so many times in all, where its own pace says that the
# budget holds a length that is off by more than this factor.
TRIES, FAR_OFF = 3, 1.25


class Enough(Exception):
    """The last budget is used up: ends a trainer that has no other end."""


@dataclass(frozen=True)
class Length:
    """Of a training: epochs, each over a share of all items, the same ones."""

    epochs: int = 1
    share: float = 1.0

    @property
    def passes(self) -> float:
        """Over all items."""
        return self.epochs * self.share


@dataclass(frozen=True)
class Spent:
    """Seconds of a training: all of them, and those within epochs."""

    seconds: float
    within_epochs: float


Train = Callable[[Length], Spent]  # a training from its beginning


class Budgets:
    """What is to be reached, and what is done then.

    Args:
        seconds: Budgets, from the least to the most.
        reached: Given each budget once it is used up, the seconds that were, and the epochs they held.
        clock: Of seconds.

    Raises:
        ValueError: There are none, or they do not rise.
    """

    def __init__(
        self,
        seconds: Sequence[float],
        reached: Callable[[float, float, float], object],
        clock: Callable[[], float] = time.perf_counter,
    ):
        if not seconds or seconds[0] <= 0 or sorted(set(seconds)) != list(seconds):
            raise ValueError(f"Budgets are {', '.join(map(str, seconds)) or 'none'}. Expected rising seconds above 0.")
        self.seconds, self.reached, self.clock = list(seconds), reached, clock
        self.begin: float | None = None
        self.num_steps, self.num_reached = 0, 0

    # --- one course, looked at on its way -----------------------------------------------------------------------------

    def start(self) -> None:
        """The first step is about to be taken; later calls change nothing."""
        if self.begin is None:
            self.begin = self.clock()

    def step(self, steps_per_epoch: int) -> None:
        """A step was taken.

        Raises:
            Enough: The last budget is used up.
        """
        assert self.begin is not None
        self.num_steps += 1
        used = self.clock() - self.begin
        while used >= self.seconds[self.num_reached]:
            before = self.clock()
            self.reached(self.seconds[self.num_reached], used, self.num_steps / steps_per_epoch)
            self.begin += self.clock() - before
            self.num_reached += 1
            if self.num_reached == len(self.seconds):
                raise Enough

    # --- a course for each --------------------------------------------------------------------------------------------

    def each(self, train: Train) -> None:
        """Train anew for each budget; a trial, and then every training, tells the next one how long an epoch takes."""
        train(Length(share=SMALLEST_SHARE))
        pace = Pace.of(Length(), train(Length()))
        for budget in self.seconds:
            for _ in range(TRIES):
                length = pace.length(budget)
                spent = train(length)
                pace = Pace.of(length, spent)
                if 1 / FAR_OFF < pace.length(budget).passes / length.passes < FAR_OFF:
                    break
            self.reached(budget, spent.seconds, length.passes)


@dataclass(frozen=True)
class Pace:
    """What a training on all items takes: seconds for each epoch, and once, before and after them."""

    epoch: float
    once: float

    @classmethod
    def of(cls, length: Length, spent: Spent) -> Pace:
        """As a training of some length went; what is done once takes its share too."""
        once = (spent.seconds - spent.within_epochs) / length.share
        return cls(spent.within_epochs / length.passes, once)

    def length(self, budget: float) -> Length:
        """The longest training that ends within a budget: whole epochs, or one over a part of the items."""
        epochs = int((budget - self.once) / self.epoch)
        return Length(epochs) if epochs > 0 else Length(share=budget / (self.once + self.epoch))
