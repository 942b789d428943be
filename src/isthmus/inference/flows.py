"""A joint network for items that have everything, and a flow for each modality.

Shapes: `M` modalities, `B` items, `n` rows that are there, `D` latent dimensions, `C` of a context.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from isthmus.fusions import FeatureFusion
from isthmus.gaussians import MAX_LOG_SCALE
from isthmus.inference.base import Evidence, Inference
from isthmus.inference.fused import fused_normal
from isthmus.networks.flows import CouplingFlow
from isthmus.networks.named import Named
from isthmus.networks.twin import halves
from isthmus.posteriors import Mixture
from isthmus.posteriors_flows import FlowExpert, ProductOfFlows

HIDDEN = 64


class FlowEvidence(Evidence):
    """A flow per modality, and what a network made of all that was observed.

    Args:
        experts: Of each modality, for the items that have it; None where no item does.
        joint: One component, of the joint network.
        present: Bool `(M, B)`.
    """

    def __init__(self, experts: Sequence[FlowExpert | None], joint: Mixture, present: Tensor):
        self.experts, self.joint, self.present = experts, joint, present

    def posterior(self, among: Tensor | None = None) -> ProductOfFlows:
        """Of the joint network where every modality of the model is there, of the flows where not."""
        use = self.present if among is None else self.present & among
        whole = use.all(dim=0)[:, None]
        loc, log_scale = (torch.where(whole, part[0], 0.0) for part in (self.joint.loc, self.joint.log_scale))
        return ProductOfFlows(self.experts, self.present, use, loc, log_scale)


class FlowInference(Inference):
    """A flow per modality, conditioned on the features of its own encoder, beside a joint network with encoders of its
    own: features are those of twin encoders.

    Args:
        widths: Features of each pair of encoders, by name.
        latent_dim: Dimensions of the code.
        joint: Joins the features of the first of each pair.
        num_layers: Couplings of each flow.
        embedding_dim: Numbers that a layer makes of each modality's own features for its flow to heed; None lets it
            heed the features themselves.
    """

    def __init__(
        self,
        widths: Mapping[str, int],
        latent_dim: int,
        joint: type[FeatureFusion],
        num_layers: int = 4,
        embedding_dim: int | None = None,
    ):
        super().__init__()
        widths = {name: width // 2 for name, width in widths.items()}
        self.joint = joint(widths, max(widths.values()))
        self.joint_head = nn.Linear(self.joint.width, 2 * latent_dim)
        if embedding_dim is None:
            heeded, embed = widths, dict[str, nn.Module]({name: nn.Identity() for name in widths})
        else:
            heeded = dict.fromkeys(widths, embedding_dim)
            embed = {name: nn.Linear(width, embedding_dim) for name, width in widths.items()}
        self.embed, self.num_heeded = Named(embed), list(heeded.values())
        self.heads = Named(
            {
                name: nn.Sequential(nn.Linear(size, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, 2 * latent_dim))
                for name, size in heeded.items()
            }
        )
        self.flows = Named({name: CouplingFlow(latent_dim, size, num_layers) for name, size in heeded.items()})

    def forward(self, features: dict[str, Tensor], present: Tensor) -> FlowEvidence:
        of_joint, own = halves(features)
        experts = [self._expert(name, own[name]) if name in own else None for name in self.flows]
        return FlowEvidence(experts, fused_normal(self.joint, self.joint_head, of_joint, present), present)

    def _expert(self, name: str, features: Tensor) -> FlowExpert:
        context = self.embed[name](features)
        loc, raw = self.heads[name](context).chunk(2, dim=-1)
        # Before its flow an expert is never wider than the prior, so that a product divided by the prior has an end.
        log_scale = -MAX_LOG_SCALE * torch.tanh(nn.functional.softplus(raw) / MAX_LOG_SCALE)
        flow = self.flows[name]
        assert isinstance(flow, CouplingFlow)
        return FlowExpert(flow, loc, log_scale, context)
