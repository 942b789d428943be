"""What holds the codes of modalities together, beside any objective.

Shapes: `M` modalities, `B` items, `N` items of all processes, `n` items that have both modalities of a pair, `D` latent
dimensions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations
from typing import ClassVar

import torch
from torch import Tensor, nn

from isthmus.batch import Batch
from isthmus.model import MultimodalAutoencoder
from isthmus.objectives.base import Objective, Step, Terms, in_full


@dataclass(frozen=True)
class Coupling(ABC):
    """A penalty on codes, to be lowered beside an objective. Its fields are its settings."""

    name: ClassVar[str]
    default_weight: ClassVar[float]

    def parts(self, model: MultimodalAutoencoder) -> nn.Module | None:
        """What it learns, made anew; it is then found at `model.couplings[name]`."""
        return None

    def refusal(self, model: MultimodalAutoencoder) -> str | None:
        """Why it makes no sense of a model's codes, in a sentence; None where it does."""
        return None

    def min_batch(self, model: MultimodalAutoencoder) -> int:
        """Fewest items of a batch that it can say anything of."""
        return 1

    def opponent(self) -> Objective | None:
        """What trains its parts against the model, if something does."""
        return None

    @abstractmethod
    def __call__(self, model: MultimodalAutoencoder, batch: Batch, step: Step) -> Tensor:
        """The penalty: of each item, `(B,)`, or of the batch as a whole, a scalar that all processes agree on."""


class PairCoupling(Coupling):
    """A penalty between the codes that two modalities alone give, over the items of the whole batch that have both.

    Pairs are averaged, by the items that have them: neither the number of modalities nor a gap changes its weight.
    """

    def min_items(self, dimensions: int) -> int:
        """Items with both that a pair needs to count."""
        return 2

    @abstractmethod
    def between(self, model: MultimodalAutoencoder, first: Tensor, second: Tensor) -> Tensor:
        """A scalar, of codes `(n, D)` of the same items."""

    def __call__(self, model: MultimodalAutoencoder, batch: Batch, step: Step) -> Tensor:
        codes, present = step.own_codes(model, batch)
        with in_full(codes):
            pairs = [
                (codes[m, both], codes[n, both])
                for m, n in combinations(range(len(codes)), 2)
                if len(both := (present[m] & present[n]).nonzero().squeeze(1)) >= self.min_items(codes.shape[-1])
            ]
            return mean_by_items([(len(pair[0]), self.between(model, *pair)) for pair in pairs], like=codes)


@dataclass(frozen=True)
class Coupled(Objective):
    """Another objective, and penalties on codes at their weights.

    Args:
        objective: Keeps its terms and its bound.
        couplings: Each with its weight in the loss.
    """

    objective: Objective
    couplings: tuple[tuple[Coupling, float], ...]

    def __call__(self, model: MultimodalAutoencoder, batch: Batch, step: Step) -> Terms:
        terms = self.objective(model, batch, step)
        for coupling, weight in self.couplings:
            value = coupling(model, batch, step)
            named = {f"coupling/{coupling.name}": value}
            if value.dim():
                per_item = {**terms.per_item, **named}
                terms = replace(terms, per_item=per_item, item_loss=terms.item_loss + weight * value)
            else:
                per_batch = {**terms.per_batch, **named}
                terms = replace(terms, per_batch=per_batch, batch_loss=terms.batch_loss + weight * value)
        return terms


def uncoupled(objective: Objective) -> tuple[Objective, list[tuple[Coupling, float]]]:
    """An objective without couplings, and the couplings with their weights."""
    couplings: list[tuple[Coupling, float]] = []
    while isinstance(objective, Coupled):
        couplings = [*objective.couplings, *couplings]
        objective = objective.objective
    return objective, couplings


def mean_by_items(values: list[tuple[int, Tensor]], like: Tensor) -> Tensor:
    """The mean of scalars, each as often as it has items; zero, with a gradient of zero, of none."""
    if not values:
        return like.sum() * 0.0
    return torch.stack([count * value for count, value in values]).sum() / sum(count for count, _ in values)


def mean_by_item(values: Tensor, there: Tensor) -> Tensor:
    """`(B,)`: of each item the mean of those of its values `(M, B)` that are there; zero of none."""
    return torch.where(there, values, 0.0).sum(dim=0) / there.sum(dim=0).clamp_min(1)


def trained_by_another(module: nn.Module) -> Callable[[Tensor], Tensor]:
    """The module as a function through which gradients reach its input, and not its parameters."""
    fixed = {name: value.detach() for name, value in module.state_dict(keep_vars=True).items()}
    return lambda rows: torch.func.functional_call(module, fixed, (rows,))
