"""Certain codes: features fused into one vector per item.

Shapes: `M` modalities, `B` items, `D` latent dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from isthmus.fusions import FeatureFusion
from isthmus.inference.base import Evidence, Inference, among_features
from isthmus.posteriors import Point


class PointEvidence(Evidence):
    """Features of each modality, to be fused into one certain code."""

    def __init__(self, features: dict[str, Tensor], present: Tensor, inference: PointInference):
        self.features, self.present, self.inference = features, present, inference

    def posterior(self, among: Tensor | None = None) -> Point:
        code, some = self.fused(among)
        return Point(torch.where(some, code, self.inference.mean_code.to(code)))

    def fused(self, among: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """What the head makes of the modalities observed, or of those in `among`, `(B, D)`; where there are any."""
        fusion = self.inference.fusion
        features, present = among_features(self.features, self.present, among, fusion.project)
        return self.inference.head(fusion(features, present)), present.any(dim=0)[:, None]


class PointInference(Inference):
    """Features are fused, and one layer makes a code of them; the mean training code where nothing was observed."""

    mean_code: Tensor

    def __init__(self, fusion: FeatureFusion, latent_dim: int):
        super().__init__()
        self.fusion = fusion
        self.head: nn.Module = nn.Linear(fusion.width, latent_dim)
        self.register_buffer("mean_code", torch.zeros(latent_dim))

    def forward(self, features: dict[str, Tensor], present: Tensor) -> PointEvidence:
        return PointEvidence(features, present, self)

    def lend(self, name: str, to: str) -> None:
        self.fusion.project.lend(name, to)

    def finish(self, codes: Tensor) -> None:
        self.mean_code.copy_(codes.mean(dim=0))
