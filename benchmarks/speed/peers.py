"""Other libraries behind one face: a bare training step, their own trainer, codes, and likelihoods.

    peer = build("multivae", "mvtcae", pictures())
    step = peer.step(values)                         # call it as often as you like
    seconds = peer.train(values, epochs=3)           # of each epoch, by the peer's own trainer and data set
    codes, nats = peer.embed(values), peer.log_likelihood(values, num_draws=1000)
    pictures = peer.translate({"m0": values["m0"]}, ["m1"], drawn=True)["m1"]

Methods are named as in Isthmus. What a peer cannot do raises `Refused` with the reason, which tables print. Defaults of
options are those under which a peer's objective is ours, where there are such: `peers_ours.py` has our options for it,
`pairs.py` what differs all the same. `values[name]` are float32 in memory, one row per item; `present[name]` is bool
`(N,)`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

from budgets import Budgets
from peers_networks import Task
from torch import Tensor
from torch.optim import Optimizer

PEERS = {"multivae": "peers_multivae", "multiviewae": "peers_multiviewae"}
METHODS = ("mvae", "mmvae", "mopoe", "mvtcae", "mmvae+", "jmvae", "fused")
BATCH_SIZE = 256
LEARNING_RATE = 1e-3


class Refused(Exception):
    """What this peer does not do, and why."""


class Peer(ABC):
    """One method of one library, with networks made anew.

    Attributes:
        model: The library's own.
        gaps: It can be trained on items that lack modalities.
    """

    model: Any
    gaps: bool

    def step(self, values: Mapping[str, Tensor], present: Mapping[str, Tensor] | None = None) -> Callable[[], Tensor]:
        """A function that takes one training step on all of `values`: forward, backward, Adam. It returns the loss.

        Raises:
            Refused: There are gaps, which this method of this peer cannot have.
        """
        loss_of, optimiser = self.prepare_step(values, present)

        def step() -> Tensor:
            loss = loss_of()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            return loss.detach()

        return step

    @abstractmethod
    def prepare_step(
        self, values: Mapping[str, Tensor], present: Mapping[str, Tensor] | None
    ) -> tuple[Callable[[], Tensor], Optimizer]:
        """What gives the loss of all of `values` each time it is called, and the library's optimiser, in train mode.

        Raises:
            Refused: As `step`.
        """

    @abstractmethod
    def train(
        self,
        values: Mapping[str, Tensor],
        *,
        epochs: int = 1,
        batch_size: int = BATCH_SIZE,
        present: Mapping[str, Tensor] | None = None,
    ) -> list[float]:
        """Train by the peer's own trainer from its own data set object; seconds of each epoch.

        What the trainer does before the first epoch and after the last one is left out.

        Raises:
            Refused: There are gaps, which this method of this peer cannot have.
        """

    @abstractmethod
    def train_until(
        self,
        values: Mapping[str, Tensor],
        budgets: Budgets,
        *,
        batch_size: int = BATCH_SIZE,
        present: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Train as `train` does, until the last budget; each is told what was reached.

        Raises:
            Refused: As `train`.
        """

    @abstractmethod
    def codes(self, values: Mapping[str, Tensor]) -> Tensor:
        """Mean codes `(N, D)` of what modalities share, from those in `values` alone, in eval mode for as long."""

    @abstractmethod
    def translate(self, values: Mapping[str, Tensor], targets: Sequence[str], drawn: bool) -> dict[str, Tensor]:
        """Means of `p(x | z)` of each target, logits of texts, from the modalities in `values` alone, as the library
        predicts.

        Args:
            values: `N` items.
            targets: Modalities.
            drawn: Codes are draws from the posterior, else its means.
        """

    @abstractmethod
    def embed(self, values: Mapping[str, Tensor], batch_size: int = BATCH_SIZE) -> Tensor:
        """Mean codes `(N, D)`, the way the peer's documentation makes them."""

    @abstractmethod
    def log_likelihood(self, values: Mapping[str, Tensor], num_draws: int = 1000, batch_size: int = 32) -> float:
        """The importance-sampled joint log-likelihood by the peer's own function, in nats, the mean over items.

        Raises:
            Refused: This method of this peer has none.
        """


def build(peer: str, method: str, task: Task, *, latent_dim: int = 64, **options: Any) -> Peer:
    """A method of a peer.

    Args:
        peer: "multivae" or "multiviewae"; imported here, so that one can be timed without the other.
        method: One of `METHODS`, "mmvae" with `K=10` for more draws.
        task: Shapes and networks.
        latent_dim: Dimensions of the code; "mmvae+" has half of them shared and half of them private.
        options: Of the peer's configuration, in place of our defaults.

    Raises:
        Refused: The peer lacks this method, or cannot have it on this task.
        ValueError: Unknown peer or method.
    """
    if peer not in PEERS or method not in METHODS:
        raise ValueError(
            f"'{peer}', '{method}' is unknown. Peers are {', '.join(PEERS)}; methods {', '.join(METHODS)}."
        )
    made: Peer = import_module(PEERS[peer]).make(method, task, latent_dim, options)
    return made
