"""A code survives the way through another modality.

Shapes: `M` modalities, `B` items, `D` latent dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from isthmus.batch import Batch
from isthmus.model import MultimodalAutoencoder
from isthmus.noise import Noise
from isthmus.objectives.base import Step
from isthmus.objectives.couplings.base import Coupling


@dataclass(frozen=True)
class Cycle(Coupling):
    r"""The code of one modality, decoded into another and encoded again, comes back.

    .. math:: \frac{1}{D} \| z_m - f_n(\hat x_n) \|^2, \qquad \hat x_n = \arg\max_x p(x | z_m)

    Cycle consistency (Zhu et al. 2017, arXiv:1703.10593, section 3.2), between codes. Of each item one way `m -> n`
    through what it has is tried in a step, drawn at random: an unbiased estimate of the mean over all, at the cost of
    one decoding and one encoding however many modalities there are. What is encoded again is the likeliest event, with
    no gradient through the decoder: words and classes have none, and pictures could use it to hide a code in what
    nobody sees. It is the encoders that learn.
    """

    name: ClassVar[str] = "cycle"
    default_weight: ClassVar[float] = 0.1

    def __call__(self, model: MultimodalAutoencoder, batch: Batch, step: Step) -> Tensor:
        evidence = step.evidence(model, batch)
        source, target = random_ways(evidence.present, step.noise, self.name)
        code = evidence.posterior(source).mean
        seen = {name: rows for name, rows in zip(model.modalities, target, strict=True) if name in batch}
        with torch.no_grad():
            decoded = {name: model.event(name, code[rows.nonzero().squeeze(1)]) for name, rows in seen.items()}
        again = model.evidence(Batch(decoded, seen, batch.index)).posterior().mean
        error = ((model.shared(code) - model.shared(again)) ** 2).mean(dim=-1).to(model.dtype)
        return torch.where(target.any(dim=0), error, 0.0)


def random_ways(present: Tensor, noise: Noise, name: str) -> tuple[Tensor, Tensor]:
    """Bool `(M, B)` each: of every item one modality that it has and another one, every pair equally likely; none where
    it has less than two.
    """
    num_modalities, num_items = present.shape
    order = noise.uniform(f"{name}/way", num_items, num_modalities, like=torch.empty(0, device=present.device)).T
    first = torch.where(present, order, torch.inf).argsort(dim=0)[:2]
    several = present.sum(dim=0) > 1
    ways = [torch.zeros_like(present).scatter(0, place[None], True) & several for place in first]
    return ways[0], ways[-1]
