"""Codes out of a finite set: features fused into one vector per item, which is then quantised.

Shapes: `B` items, `D` latent dimensions, `G` groups of them.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from isthmus.fusions import FeatureFusion
from isthmus.inference.points import PointEvidence, PointInference
from isthmus.posteriors import Quantised
from isthmus.quantisers import Quantiser


class QuantisedEvidence(PointEvidence):
    """Features of each modality, to be fused into one code of a finite set."""

    inference: QuantisedInference

    def posterior(self, among: Tensor | None = None) -> Quantised:
        before, some = self.fused(among)
        code, indices = self.inference.quantiser(before)
        # The mean of codes is no code: it stands for an item of which nothing is known, and has no indices.
        return Quantised(
            torch.where(some, code, self.inference.mean_code.to(code)), before, torch.where(some, indices, -1)
        )


class QuantisedInference(PointInference):
    """As `PointInference`, with codes out of a finite set; the mean training code where nothing was observed.

    Args:
        widths: Features of each encoder, by name.
        latent_dim: `D`.
        fusion: Joins the features.
        quantiser: The set.
    """

    def __init__(self, widths: Mapping[str, int], latent_dim: int, fusion: type[FeatureFusion], quantiser: Quantiser):
        super().__init__(fusion(dict(widths), max(widths.values())), latent_dim)
        # Quantisers expect numbers of about one, whatever the scale of the features.
        self.head = nn.Sequential(nn.LayerNorm(self.fusion.width), nn.Linear(self.fusion.width, latent_dim))
        self.quantiser = quantiser

    def forward(self, features: dict[str, Tensor], present: Tensor) -> QuantisedEvidence:
        return QuantisedEvidence(features, present, self)

    def nearest(self, codes: Tensor) -> Tensor:
        found: Tensor = self.quantiser.nearest(codes)[0]
        return found

    def update(self, statistics: Mapping[str, Tensor]) -> None:
        self.quantiser.update(statistics)
