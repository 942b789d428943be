"""One network that takes any part of the modalities, and says one Normal of it.

Shapes: `M` modalities, `B` items, `n` rows that are there, `D` latent dimensions, `F` features.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from isthmus.fusions import FeatureFusion
from isthmus.gaussians import normal_of
from isthmus.inference.base import Evidence, Inference, among_features
from isthmus.posteriors import Mixture, one_component


class FusedEvidence(Evidence):
    """Features `(n, F)` of each modality, to be fused into one Normal of any part of them."""

    def __init__(self, features: dict[str, Tensor], present: Tensor, inference: FusedInference):
        self.features, self.present, self.inference = features, present, inference

    def posterior(self, among: Tensor | None = None) -> Mixture:
        fusion = self.inference.fusion
        left = among_features(self.features, self.present, among, fusion.project)
        return fused_normal(fusion, self.inference.head, *left)


class FusedInference(Inference):
    """Features are fused, and one layer makes a Normal of them; the prior where nothing was observed.

    Args:
        widths: Features of each encoder, by name.
        latent_dim: Dimensions of the code.
        fusion: Joins the features.
    """

    def __init__(self, widths: Mapping[str, int], latent_dim: int, fusion: type[FeatureFusion]):
        super().__init__()
        self.fusion = fusion(dict(widths), max(widths.values()))
        self.head = nn.Linear(self.fusion.width, 2 * latent_dim)

    def forward(self, features: dict[str, Tensor], present: Tensor) -> FusedEvidence:
        return FusedEvidence(features, present, self)


def fused_normal(fusion: FeatureFusion, head: nn.Module, features: dict[str, Tensor], present: Tensor) -> Mixture:
    """The Normal that a layer makes of fused features; the standard Normal where an item has nothing."""
    raw = torch.where(present.any(dim=0)[:, None], head(fusion(features, present)), 0.0)
    loc, log_scale = normal_of(raw)
    return one_component(loc[None], log_scale[None], len(present))
