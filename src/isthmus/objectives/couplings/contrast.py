"""Own partners against those of other items.

Shapes: `n` items that have both modalities of a pair, `D` latent dimensions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from isthmus.contrasts import info_nce, sigmoid_contrast
from isthmus.model import MultimodalAutoencoder
from isthmus.networks.named import Vector
from isthmus.objectives.couplings.base import PairCoupling

MIN_TEMPERATURE = 0.01


@dataclass(frozen=True)
class Contrastive(PairCoupling):
    """InfoNCE (van den Oord et al. 2018, arXiv:1807.03748): codes of an item are nearer to each other than to those of
    other items, by the cosine. The temperature is learnt, as in CLIP (Radford et al. 2021, arXiv:2103.00020, section
    2.5), where it starts at 0.07 and stays above 0.01.

    Args:
        temperature: At the start.
        learnt: False keeps it as it is.
    """

    name: ClassVar[str] = "contrastive"
    default_weight: ClassVar[float] = 0.1

    temperature: float = 0.07
    learnt: bool = True

    def parts(self, model: MultimodalAutoencoder) -> nn.Module | None:
        return Vector(torch.tensor(math.log(self.temperature))) if self.learnt else None

    def between(self, model: MultimodalAutoencoder, first: Tensor, second: Tensor) -> Tensor:
        if not self.learnt:
            return info_nce(first, second, self.temperature)
        log_temperature: Tensor = model.couplings[self.name]()
        return info_nce(first, second, log_temperature.exp().clamp_min(MIN_TEMPERATURE))


@dataclass(frozen=True)
class Sigmoid(PairCoupling):
    """SigLIP (Zhai et al. 2023, arXiv:2303.15343): of any two codes it is told whether they are of one item, so that a
    batch need not be large. Sharpness and bias are learnt; they start at 10 and -10, section 3.2.
    """

    name: ClassVar[str] = "sigmoid"
    default_weight: ClassVar[float] = 0.1

    def parts(self, model: MultimodalAutoencoder) -> nn.Module:
        return Vector(torch.tensor([math.log(10.0), -10.0]))

    def between(self, model: MultimodalAutoencoder, first: Tensor, second: Tensor) -> Tensor:
        log_sharpness, bias = model.couplings[self.name]()
        return sigmoid_contrast(first, second, log_sharpness.exp(), bias)
