"""Codes of two modalities are the same.

Shapes: `M` modalities, `B` items, `D` latent dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from isthmus.batch import Batch
from isthmus.model import MultimodalAutoencoder
from isthmus.objectives.base import Step
from isthmus.objectives.couplings.base import Coupling


@dataclass(frozen=True)
class Distance(Coupling):
    r"""The mean squared difference of two codes of an item, over dimensions and over the pairs of what it has.

    .. math:: \frac{2}{M (M - 1)} \sum_{m < n} \frac{1}{D} \|z_m - z_n\|^2 = \frac{2}{M - 1} \sum_m \frac{1}{D}
        \|z_m - \bar z\|^2

    The correlation loss of correspondence autoencoders (Feng et al. 2014, ACM Multimedia, "Cross-modal retrieval with
    correspondence autoencoder"), for two modalities there. The right side takes one look at each code. Codes that
    shrink are near each other too; nothing but reconstructions keeps them apart.
    """

    name: ClassVar[str] = "distance"
    default_weight: ClassVar[float] = 0.1

    def __call__(self, model: MultimodalAutoencoder, batch: Batch, step: Step) -> Tensor:
        evidence = step.evidence(model, batch)
        codes, there = evidence.own().to(model.dtype), evidence.present.to(model.dtype)
        count = there.sum(dim=0)
        mean = codes.sum(dim=0) / count.clamp_min(1)[:, None]
        squares = ((codes - mean) ** 2).mean(dim=-1)
        return 2 * (there * squares).sum(dim=0) / (count - 1).clamp_min(1)
