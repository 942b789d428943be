"""What a library is asked to do and timed at: steps, epochs, likelihoods, codes; and the data for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import torch
from cases import Contender, seconds_of
from peers import Peer
from peers_networks import Task, mfeat, pictures
from torch import Tensor

Values = Callable[[], Mapping[str, Tensor]]  # made when they are needed: a run that goes on needs few
PROBE = 512  # items by which the time of one is guessed


@cache
def picture_values(num_items: int) -> dict[str, Tensor]:
    """Five pictures of each item, of noise in steps of 1/255, as pictures have them."""
    generator = torch.Generator().manual_seed(0)
    shapes = pictures().shapes.items()
    return {name: torch.randint(256, (num_items, *shape), generator=generator) / 255 for name, shape in shapes}


@cache
def views(path: Path) -> tuple[Task, dict[str, Tensor]]:
    return mfeat(path)


def first(rows: Mapping[str, Tensor], count: int | None) -> dict[str, Tensor]:
    return {name: x[:count] for name, x in rows.items()}


def made_contender(make: Callable[[], Peer], work: Callable[[Peer], Contender]) -> Contender:
    """A library at a work, its weights drawn from one seed whoever was made before."""
    torch.manual_seed(0)
    return work(make())


def step_work(peer: Peer, values: Values, least: float) -> Contender:
    step = peer.step(values())
    return Contender(step, lambda: seconds_of(step, least))


def epoch_work(peer: Peer, values: Values, batch: int, present: Values | None = None, units: int = 1) -> Contender:
    """An epoch; seconds of one of so many units of it."""
    whole, there = values(), None if present is None else present()

    def train(count: int | None) -> float:
        some = None if there is None else first(there, count)
        return peer.train(first(whole, count), batch_size=batch, present=some)[0] / units

    return Contender(lambda: train(batch), lambda: train(None))


def likelihood_work(peer: Peer, values: Mapping[str, Tensor], draws: int) -> Contender:
    few = first(values, 2)
    count = len(next(iter(values.values())))
    return Contender(
        lambda: peer.log_likelihood(few, num_draws=10),
        lambda: seconds_of(lambda: peer.log_likelihood(values, num_draws=draws)) / count,
    )


class Amount:
    """As many items as a round has time for.

    Args:
        wanted: If there is time for all.
        seconds: Of a round of all libraries.
    """

    def __init__(self, wanted: int, seconds: float):
        self.wanted, self.seconds = wanted, seconds
        self.costs: dict[int, float] = {}

    @property
    def items(self) -> int:
        """The same for all, once each has said what an item takes."""
        return min(self.wanted, max(PROBE, int(self.seconds / sum(self.costs.values()))))


def embed_work(peer: Peer, values: Mapping[str, Tensor], amount: Amount) -> Contender:
    def embed(count: int) -> object:
        return peer.embed({name: x.expand(count, *x.shape[1:]) for name, x in values.items()}, batch_size=512)

    def warm() -> None:
        embed(PROBE)
        amount.costs[id(peer)] = seconds_of(lambda: embed(PROBE)) / PROBE

    def timed() -> float:
        return seconds_of(lambda: embed(amount.items)) / amount.items

    return Contender(warm, timed)
