"""What every objective is made of: a step, named terms, and how reconstructions are scored and weighed.

Shapes: `K` draws, `S` sources, `M` modalities, `B` items, `N` items of all processes, `D` latent dimensions.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from isthmus.batch import Batch
from isthmus.inference import Evidence
from isthmus.model import MultimodalAutoencoder
from isthmus.noise import Noise
from isthmus.posteriors import Draws


def alone(rows: Tensor) -> Tensor:
    """The rows of all processes, where there is one."""
    return rows


def in_full(like: Tensor) -> torch.autocast:
    """Within it, no product is taken in half precision, which is too coarse to tell codes apart by."""
    return torch.autocast(like.device.type, enabled=False)


@dataclass(frozen=True)
class Step:
    """One step of training.

    Args:
        index: Of the step.
        fraction: Of the whole training that lies behind, 0 to 1.
        noise: Of this step.
        gather: From rows `(B, ...)` of this process to those of all `(N, ...)`, with gradient: what a batch has as a
            whole, such as a correlation, is taken over all of its items. Every process has to ask, and as often.
        offset: Place of this process's first row among them.
    """

    index: int
    fraction: float
    noise: Noise
    gather: Callable[[Tensor], Tensor] = alone
    offset: int = 0
    # By the identities of model and batch, which are kept so that no other object can come to have them.
    _seen: dict[tuple[int, int], tuple[MultimodalAutoencoder, Batch, Evidence]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _own: dict[tuple[int, int], tuple[Tensor, Tensor]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def evidence(self, model: MultimodalAutoencoder, batch: Batch) -> Evidence:
        """What the model's encoders make of a batch under this step's noise, run once however many terms ask.

        Once the model's weights have moved, what the step knows is out of date: take another.
        """
        key = id(model), id(batch)
        if key not in self._seen:
            self._seen[key] = model, batch, model.evidence(batch, self.noise)
        return self._seen[key][2]

    def own_codes(self, model: MultimodalAutoencoder, batch: Batch) -> tuple[Tensor, Tensor]:
        """The code that each modality alone gives `(M, N, D)`, and presence `(M, N)`, of the items of all processes."""
        key = id(model), id(batch)
        if key not in self._own:
            evidence = self.evidence(model, batch)
            codes, present = self.of_all(evidence.own().to(model.dtype), evidence.present[..., None])
            self._own[key] = codes, present[..., 0] > 0.5
        return self._own[key]

    def of_all(self, *parts: Tensor) -> tuple[Tensor, ...]:
        """Numbers `(M, B, ...)` of this process's items as those of all, `(M, N, ...)`, in one exchange."""
        rows = torch.cat([part.to(parts[0]) for part in parts], dim=-1)
        whole = self.gather(rows.movedim(1, 0)).movedim(0, 1)
        return whole.split([part.shape[-1] for part in parts], dim=-1)


@dataclass(frozen=True)
class Terms:
    """What an objective says of a batch.

    Args:
        per_item: Named terms `(B,)`, in nats, before weights: "reconstruction/<modality>" are log-likelihoods (up),
            divergences are positive.
        item_loss: `(B,)`: what each item adds to the loss (down).
        bound: `(B,)` in nats where the objective bounds the evidence of what is observed from below, else None.
        per_batch: Named scalars that a batch has as a whole, such as correlations.
        batch_loss: Their part of the loss.
        statistics: Named sums over the items of the batch, in training, that the model keeps running means of, such as
            how often a code word is used. Training adds them up over all processes and hands them to
            `Inference.update` once the step is taken.
    """

    per_item: Mapping[str, Tensor]
    item_loss: Tensor
    bound: Tensor | None = None
    per_batch: Mapping[str, Tensor] = field(default_factory=dict)
    batch_loss: Tensor | float = 0.0
    statistics: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def loss(self) -> Tensor:
        """The one scalar to be minimised."""
        return self.item_loss.mean() + self.batch_loss


class Objective(ABC):
    """A callable from a model, a batch and a step to terms."""

    @abstractmethod
    def __call__(self, model: MultimodalAutoencoder, batch: Batch, step: Step) -> Terms: ...


@dataclass(frozen=True)
class Charged(Objective):
    """An objective that charges for what codes say, by a divergence of its own.

    Args:
        free_bits: Bits of an item's divergence that cost nothing: codes that say less are left alone, and need not
            give up the little that they say. Kingma et al. 2016, arXiv:1606.04934, appendix C.8, where dimensions have
            theirs each, over the mean of a batch; here an item does not depend on its batch.
    """

    free_bits: float = field(default=0.0, kw_only=True)

    def charge(self, divergence: Tensor) -> Tensor:
        """What is to be paid for divergences in nats, of any shape: at least what is free."""
        return divergence.clamp_min(self.free_bits * math.log(2)) if self.free_bits else divergence


def warm(beta: float, warmup: float, fraction: float) -> float:
    """`beta`, growing linearly from zero over the first `warmup` share of training."""
    return beta if warmup <= 0 else beta * min(1.0, fraction / warmup)


def log_likelihoods(
    model: MultimodalAutoencoder, draws: Draws, batch: Batch, use: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """`log p(x_m | z)`, `(K, S, B)`, of every modality in the batch; `use[m]`, bool `(S, B)`, narrows the sources."""
    return {
        name: model.log_likelihood(name, draws.z, draws.use if use is None else draws.use & use[name], batch)
        for name in batch
    }


def reconstruction_terms(
    model: MultimodalAutoencoder, draws: Draws, batch: Batch
) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Expected log-likelihoods by name, and their sum over modalities without and with the model's weights, `(B,)`."""
    expected = {name: draws.expect(score) for name, score in log_likelihoods(model, draws, batch).items()}
    plain, weighted = weigh(model, expected)
    return {f"reconstruction/{name}": value for name, value in expected.items()}, plain, weighted


def weigh(model: MultimodalAutoencoder, scores: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The sum over modalities, plain and with the model's weights."""
    plain = torch.stack(list(scores.values())).sum(dim=0)
    if all(weight == 1.0 for weight in model.weights.values()):
        return plain, plain
    return plain, torch.stack([model.weights[name] * score for name, score in scores.items()]).sum(dim=0)
