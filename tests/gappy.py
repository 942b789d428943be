"""Eight toy items in float64 with every pattern of gaps, methods made for them, and what their objectives say."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from isthmus.batch import Batch
from isthmus.methods import Method, Phase, Player, get_method
from isthmus.model import MultimodalAutoencoder
from isthmus.noise import Noise
from isthmus.objectives import Objective, Step
from isthmus.testing.conformance import _allows as takes
from isthmus.testing.conformance import toy_modalities, toy_values

NAMES = list(toy_modalities(3))  # vector0, ragged1, label2
# All three modalities, two, one, none.
PRESENT = torch.tensor(
    [
        [True, True, True, False, True, False, False, False],
        [True, True, False, True, False, True, False, False],
        [True, False, True, True, False, False, True, False],
    ]
)
NUM_ITEMS, LATENT_DIM = 8, 4
WEIGHTS = {"vector0": 0.5, "ragged1": 2.0, "label2": 1.25}


def gappy_batch(present: Tensor = PRESENT, like: Method | None = None) -> Batch:
    """Items of as many modalities as `present`, bool `(M, B)`, has rows, or of no more than a method has."""
    present = present if like is None else present[: len(like.model.modalities)]
    values = toy_values(len(present), present.shape[1], seed=4, dtype=torch.float64)
    return Batch.from_dense(values, dict(zip(values, present, strict=True)))


def stirred(method: Method) -> Method:
    """The method in float64 and eval mode, with weights that follow from the names of parameters alone.

    So two methods agree in whatever both have; and none is so small that a term is lost in being nearly zero.
    """
    method.model.double().eval()
    with torch.no_grad():
        for name, parameter in method.model.named_parameters():
            if parameter.requires_grad and not name.startswith("likelihoods."):
                seed = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest(), "little")
                drawn = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
                parameter.copy_(0.4 * drawn)
    return method


def most(name: str, count: int) -> int:
    """`count` modalities, or as many as a method takes that is not defined for so many."""
    while count > 1 and not takes(get_method(name), count):
        count -= 1
    return count


def made(name: str, count: int = 3, **options: object) -> Method:
    """A method of toy modalities, as many as it takes of `count`."""
    count = most(name, count)
    weights = {name: weight for name, weight in WEIGHTS.items() if name in toy_modalities(count)}
    with torch.random.fork_rng():
        return stirred(
            get_method(name)(toy_modalities(count), latent_dim=LATENT_DIM, **{"balance": weights, **options})
        )


def composed(fusion: object, objective: Objective, **options: object) -> Method:
    """A method of a fusion and an objective."""
    with torch.random.fork_rng():
        options = {"balance": WEIGHTS, **options}
        model = MultimodalAutoencoder(toy_modalities(3), latent_dim=LATENT_DIM, fusion=fusion, **options)
        return stirred(Method(model, [Phase([Player(objective)])]))


class Still(Noise):
    """Every draw is the same number: objectives that name or shape their draws in other ways then draw the same codes.

    What is drawn uniformly, subsets and components, stays random.
    """

    def normal(self, name: str, rows: int, *shape: int, like: Tensor) -> Tensor:
        return torch.full((rows, *shape), 0.7, dtype=like.dtype)

    laplace = normal


@dataclass(frozen=True)
class Said:
    """The loss of every item `(B,)`, and the gradient of their mean by the name of the parameter."""

    item_loss: Tensor
    gradients: dict[str, Tensor]

    def __add__(self, other: Said) -> Said:
        gradients = {**other.gradients, **self.gradients}
        for name in self.gradients.keys() & other.gradients.keys():
            gradients[name] = self.gradients[name] + other.gradients[name]
        return Said(self.item_loss + other.item_loss, gradients)

    def __rmul__(self, factor: float) -> Said:
        return Said(factor * self.item_loss, {name: factor * value for name, value in self.gradients.items()})


def said(method: Method, batch: Batch, noise: Noise | None = None, fraction: float = 1.0) -> Said:
    """What the objective of a method's first player says of a batch, in eval mode."""
    terms = method.phases[0].players[0].objective(method.model, batch, Step(0, fraction, noise or Noise(3)))
    return of_losses(method.model, terms.item_loss)


def of_losses(model: MultimodalAutoencoder, item_loss: Tensor) -> Said:
    """Losses that hang on a model's parameters, and their gradients."""
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    slopes = torch.autograd.grad(item_loss.mean(), list(parameters.values()), allow_unused=True, retain_graph=True)
    return Said(
        item_loss.detach(),
        {
            name: torch.zeros_like(parameter) if slope is None else slope
            for (name, parameter), slope in zip(parameters.items(), slopes, strict=True)
        },
    )


def hold(one: Said, other: Said, alone: tuple[str, ...] = ()) -> None:
    """Losses and gradients agree. A parameter that one of the two lacks must not be moved, but for those in `alone`."""
    torch.testing.assert_close(one.item_loss, other.item_loss, rtol=1e-8, atol=1e-8)
    assert one.item_loss.abs().max() > 1e-3, "two zeros agree"
    for name in one.gradients.keys() | other.gradients.keys():
        if name.startswith(alone or "/"):
            continue
        known = one.gradients.get(name, other.gradients.get(name))
        got, expected = (told.gradients.get(name, torch.zeros_like(known)) for told in (one, other))
        torch.testing.assert_close(got, expected, rtol=1e-7, atol=1e-8, msg=lambda text, name=name: f"{name}: {text}")
