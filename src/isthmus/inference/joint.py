"""A network that sees the features of all that an item has, beside one expert per modality.

Shapes: `M` modalities, `B` items, `D` latent dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from isthmus.fusions import Experts, FeatureFusion, Fusion
from isthmus.inference.experts import ExpertEvidence, ExpertInference
from isthmus.inference.fused import fused_normal
from isthmus.networks.twin import halves
from isthmus.posteriors import Mixture


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
        twins: The features are those of twin encoders: of the first of each for the joint network, of the second for
            the experts, so that either can be trained while the other stays as it is.
    """

    def __init__(
        self,
        widths: Mapping[str, int],
        latent_dim: int,
        fusion: Fusion,
        joint: type[FeatureFusion],
        twins: bool = False,
    ):
        self.twins = twins
        widths = {name: width // 2 for name, width in widths.items()} if twins else dict(widths)
        super().__init__(widths, latent_dim, fusion)
        self.joint = joint(widths, max(widths.values()))
        self.joint_head = nn.Linear(self.joint.width, 2 * latent_dim)

    def forward(self, features: dict[str, Tensor], present: Tensor) -> JointEvidence:
        of_joint, of_experts = halves(features) if self.twins else (features, features)
        experts = self._experts(self.heads, of_experts, present)
        return JointEvidence(experts, self.fusion, fused_normal(self.joint, self.joint_head, of_joint, present))
