"""A network that sees the features of all that an item has, beside one expert per modality.

Shapes: `M` modalities, `B` items, `D` latent dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from isthmus.fusions import Experts, FeatureFusion, Fusion
from isthmus.inference.experts import ExpertEvidence, ExpertInference, normal_of
from isthmus.posteriors import Mixture, one_component


class JointEvidence(ExpertEvidence):
    """One distribution per modality, and one that a network made of all that was observed.

    Args:
        experts: Of every modality.
        fusion: Joins the experts where an item lacks a modality.
        joint: One component, of the joint network.
    """

    def __init__(self, experts: Experts, fusion: Fusion, joint: Mixture):
        super().__init__(experts, fusion)
        self.joint = joint

    def posterior(self, among: Tensor | None = None) -> Mixture:
        """Of the joint network where every modality of the model is there, of the experts where not."""
        fused = super().posterior(among)
        assert isinstance(fused, Mixture) and len(fused.loc) == 1
        present = self.present if among is None else self.present & among
        whole = present.all(dim=0)[:, None]
        return replace(
            fused,
            loc=torch.where(whole, self.joint.loc, fused.loc),
            log_scale=torch.where(whole, self.joint.log_scale, fused.log_scale),
        )


class JointInference(ExpertInference):
    """A Normal expert per modality, and one network that sees the features of all that an item has.

    Args:
        widths: Features of each encoder, by name.
        latent_dim: Dimensions of the code.
        fusion: Joins the experts.
        joint: Joins the features.
    """

    def __init__(self, widths: Mapping[str, int], latent_dim: int, fusion: Fusion, joint: type[FeatureFusion]):
        super().__init__(widths, latent_dim, fusion)
        self.joint = joint(dict(widths), max(widths.values()))
        self.joint_head = nn.Linear(self.joint.width, 2 * latent_dim)

    def forward(self, features: dict[str, Tensor], present: Tensor) -> JointEvidence:
        evidence = super().forward(features, present)
        # An item with nothing is believed of what the prior believes, as by its absent experts.
        raw = torch.where(present.any(dim=0)[:, None], self.joint_head(self.joint(features, present)), 0.0)
        loc, log_scale = normal_of(raw)
        return JointEvidence(evidence.experts, self.fusion, one_component(loc[None], log_scale[None], len(present)))
