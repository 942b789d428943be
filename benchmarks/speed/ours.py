"""Isthmus behind the face that the peers are given: the same calls, by its own trainer, store and likelihood."""

from __future__ import annotations

import contextlib
import itertools
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from budgets import Budgets, Enough
from pairs import Pair
from peers import LEARNING_RATE, Peer
from peers_networks import Task
from peers_ours import MATCHED, matched, modalities
from torch import Tensor
from torch.nn.functional import one_hot

from isthmus.batch import Batch, Masked, Values
from isthmus.data.store import Store
from isthmus.evaluation import codes as coding
from isthmus.evaluation.likelihood import log_evidence
from isthmus.kinds.image import ImageKind
from isthmus.methods.base import Method, Phase, Player, build_method
from isthmus.model import MultimodalAutoencoder
from isthmus.noise import Noise
from isthmus.objectives import Objective, Step, Terms
from isthmus.training import History, TrainingConfig, encode, train
from isthmus.training.optimisers import make_optimiser


class Ours(Peer):
    """A method of Isthmus."""

    gaps = True

    def __init__(self, method: Method):
        self.method, self.model = method, method.model

    def prepare_step(
        self, values: Mapping[str, Tensor], present: Mapping[str, Tensor] | None
    ) -> tuple[Callable[[], Tensor], torch.optim.Optimizer]:
        batch = normalise(Batch.from_dense(values, present))  # in memory as the trainer hands it on
        objective = self.method.phases[0].players[0].objective
        config = TrainingConfig(learning_rate=LEARNING_RATE)
        optimiser = make_optimiser(config, dict(self.model.named_parameters()))
        self.model.train()
        indices = itertools.count()

        def loss_of() -> Tensor:
            index = next(indices)
            return objective(self.model, batch, Step(index, 1.0, Noise(0, index))).loss

        return loss_of, optimiser

    def train(
        self,
        values: Mapping[str, Tensor],
        *,
        epochs: int = 1,
        batch_size: int = 256,
        present: Mapping[str, Tensor] | None = None,
    ) -> list[float]:
        history = self._fit(self.method, store(values, present), epochs, batch_size)
        # Seconds since the first step was prepared; the last one is also kept to more than a millisecond.
        ends = [row["seconds"] for row in history.rows[:-1]] + [history.seconds]
        return [end - start for start, end in itertools.pairwise([0.0, *ends])]

    def train_until(
        self,
        values: Mapping[str, Tensor],
        budgets: Budgets,
        *,
        batch_size: int = 256,
        present: Mapping[str, Tensor] | None = None,
    ) -> None:
        # One course at one rate, as the peers' trainers have it, so that nothing differs but who computes it.
        data = store(values, present)
        until = Until(self.method.phases[0].players[0].objective, budgets, -(-len(data) // batch_size))
        course = Method(self.model, [Phase([Player(until)])])
        with contextlib.suppress(Enough):
            self._fit(course, data, sys.maxsize, batch_size, schedule="constant")
        self.model.eval()

    def _fit(self, method: Method, data: Store, epochs: int, batch_size: int, **settings: Any) -> History:
        config = TrainingConfig(
            epochs=epochs, batch_size=batch_size, learning_rate=LEARNING_RATE, accelerator="cpu", **settings
        )
        return train(method, data, normalise, {"train": torch.arange(len(data))}, config, quiet=True)

    @torch.no_grad()
    def codes(self, values: Mapping[str, Tensor]) -> Tensor:
        found = coding.encode(self.model.eval(), _batch(values), list(values), seed=0).mean
        return self.model.shared(found)

    @torch.no_grad()
    def translate(self, values: Mapping[str, Tensor], targets: Sequence[str], drawn: bool) -> dict[str, Tensor]:
        found = coding.encode(self.model.eval(), _batch(values), list(values), seed=0)
        made = {name: coding.decode(self.model, name, found.draw if drawn else found.mean) for name in targets}
        return {name: self._characters(name, x) if isinstance(x, Masked) else x for name, x in made.items()}

    def _characters(self, name: str, ids: Masked) -> Tensor:
        """One-hot, as the peers' are; all behind the end is the end."""
        end: int = self.model.likelihoods[name].end
        return one_hot(ids.value.masked_fill(~ids.mask, end), end + 1).float()

    def embed(self, values: Mapping[str, Tensor], batch_size: int = 256) -> Tensor:
        # In batches of its own size: the library has no argument for that.
        data = store(values)
        return encode(self.model.eval(), data, normalise, torch.arange(len(data)))

    @torch.no_grad()
    def log_likelihood(self, values: Mapping[str, Tensor], num_draws: int = 1000, batch_size: int = 32) -> float:
        batch = normalise(Batch.from_dense(values))
        return float(log_evidence(self.model.eval(), batch, list(values), num_draws, seed=0).mean())


@dataclass(frozen=True)
class Until(Objective):
    """An objective that ends a training with its last budget: when it is asked, the step before has been taken.

    Args:
        objective: Gives the loss.
        budgets: Told of each step.
        steps_per_epoch: What they count epochs by.
    """

    objective: Objective
    budgets: Budgets
    steps_per_epoch: int

    def __call__(self, model: MultimodalAutoencoder, batch: Batch, step: Step) -> Terms:
        if step.index == 0:
            self.budgets.start()
        else:
            self.budgets.step(self.steps_per_epoch)
            model.train()  # whoever scored it has put it into eval mode
        return self.objective(model, batch, step)


def store(values: Mapping[str, Tensor], present: Mapping[str, Tensor] | None = None) -> Store:
    """Its data set object: pictures in bytes, gaps without a row."""
    rows = {name: _stored(x) if present is None else _stored(x[present[name]]) for name, x in values.items()}
    return Store.from_arrays({name: x.numpy() for name, x in rows.items()}, present)


def _stored(rows: Tensor) -> Tensor:
    if rows.dim() == 3:  # one-hot characters
        return rows.argmax(dim=2).to(torch.uint8)
    if rows.dim() != 4:
        return rows
    # One row that is shown many times stays one.
    kept = rows[:1] if rows.stride(0) == 0 else rows
    return (kept * 255).round().to(torch.uint8).expand(rows.shape)


def normalise(batch: Batch) -> Batch:
    """What is stored as networks see it, by the kind that stores pictures so; characters as ids."""
    return Batch({name: _normalised(x) for name, x in batch.values.items()}, batch.present, batch.index)


def _normalised(values: Values) -> Values:
    assert isinstance(values, Tensor)
    if values.dim() == 4:
        return _KIND.normalise(values)
    if values.dtype == torch.uint8:  # characters
        return Masked(values.long(), torch.ones_like(values, dtype=torch.bool))
    return values


def _batch(values: Mapping[str, Tensor]) -> Batch:
    """All items at once, as training sees them."""
    data = store(values)
    return normalise(data.batch(torch.arange(len(data))))


_KIND = ImageKind()


def of_pair(pair: Pair, task: Task, latent_dim: int = 64) -> Ours:
    """Ours with the objective of a peer's."""
    return Ours(matched(pair.peer, pair.method, task, latent_dim=latent_dim, **pair.ours))


def of_itself(method: str, task: Task, latent_dim: int = 64, **options: Any) -> Ours:
    """A method with no peer beside it, at its defaults but for `balance`."""
    if method == "mmvae+":
        latent_dim = options["private_dim"] = latent_dim // 2
    return Ours(build_method(method, modalities(task), latent_dim=latent_dim, options={"balance": "nats", **options}))


def label(pair: Pair) -> str:
    """Names ours of a pair: equal for two peers whose objective is one and the same."""
    options = {**MATCHED.get((pair.peer, pair.method), {}), **pair.ours}
    return f"isthmus {json.dumps(options, sort_keys=True)}"


def peer_label(pair: Pair) -> str:
    return f"{pair.peer} {json.dumps(dict(pair.theirs), sort_keys=True)}"
