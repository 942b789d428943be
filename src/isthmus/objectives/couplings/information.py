"""Soft codes are classes, and two modalities agree on them.

Shapes: `n` items that have both modalities of a pair, `D` latent dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from isthmus.contrasts import shared_information
from isthmus.inference import PredictedInference
from isthmus.model import MultimodalAutoencoder
from isthmus.objectives.couplings.base import PairCoupling


@dataclass(frozen=True)
class Information(PairCoupling):
    """The mutual information of soft codes and their entropies, with the sign turned: COMPLETER (Lin et al. 2021, CVPR,
    section 3.3).

    Args:
        alpha: Weight of the entropies.
    """

    name: ClassVar[str] = "information"
    default_weight: ClassVar[float] = 10.0

    alpha: float = 9.0

    def refusal(self, model: MultimodalAutoencoder) -> str | None:
        if isinstance(model.inference, PredictedInference) and model.inference.soft:
            return None
        return "It needs codes that are shares of classes, as those of 'completer' do; 'contrastive' takes any."

    def between(self, model: MultimodalAutoencoder, first: Tensor, second: Tensor) -> Tensor:
        size = first.shape[-1]  # codes have a mean of one, shares a sum
        return -shared_information(first / size, second / size, self.alpha)
