"""A decoder of two levels: a code, the modality's own code, the modality.

Shapes: `R` rows, `D` dimensions of the code, `P` of a modality's own.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from isthmus.likelihoods import Likelihood, NormalHead
from isthmus.networks.dense import DenseDecoder


class TwoLevelDecoder(nn.Module):
    """From codes `(R, D)` to a modality's own codes `(R, P)`, and from these to parameters of its likelihood.

    Args:
        latent_dim: `D`.
        own_dim: `P`.
        bottom: From own codes `(R, P)`; the modality's decoder.
    """

    def __init__(self, latent_dim: int, own_dim: int, bottom: nn.Module):
        super().__init__()
        self.top = DenseDecoder(latent_dim, own_dim)
        self.bottom = bottom
        self.own = NormalHead("learned")

    def forward(self, z: Tensor) -> Tensor | tuple[Tensor, ...]:
        return cast(Tensor, self.bottom(self.top(z)))

    def own_likelihood(self, z: Tensor) -> Likelihood:
        """What codes `(R, D)` say of the modality's own codes: Normals with a learnt scale."""
        return cast(Likelihood, self.own(self.top(z)))
