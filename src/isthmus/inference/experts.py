"""One distribution per modality, fused.

Shapes: `M` modalities, `B` items, `n` rows that are there, `D` latent dimensions, `F` features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from isthmus.fusions import Experts, Fusion
from isthmus.gaussians import normal_of
from isthmus.inference.base import Evidence, Inference
from isthmus.networks.named import Named
from isthmus.posteriors import Posterior


class ExpertEvidence(Evidence):
    """One distribution per modality, to be fused."""

    def __init__(self, experts: Experts, fusion: Fusion):
        self.experts, self.fusion, self.present = experts, fusion, experts.present

    def posterior(self, among: Tensor | None = None) -> Posterior:
        fused: Posterior = self.fusion(self.experts if among is None else self.experts.among(among))
        return fused

    def with_unknown(self, loc: Tensor, log_scale: Tensor) -> ExpertEvidence:
        return ExpertEvidence(self.experts.with_absent(loc, log_scale), self.fusion)

    def own(self) -> Tensor:
        return torch.where(self.present[..., None], self.experts.loc, 0.0)


class ExpertInference(Inference):
    """A Normal or Laplace expert per modality, `q(z | x_m)`, and a rule that fuses them.

    Args:
        widths: Features of each encoder, by name.
        latent_dim: Dimensions of the code.
        fusion: Joins the experts.
        family: "normal" or "laplace".
    """

    def __init__(self, widths: Mapping[str, int], latent_dim: int, fusion: Fusion, family: str = "normal"):
        super().__init__()
        self.latent_dim, self.family, self.fusion = latent_dim, family, fusion
        self.heads = Named({name: nn.Linear(width, 2 * latent_dim) for name, width in widths.items()})

    def forward(self, features: dict[str, Tensor], present: Tensor) -> ExpertEvidence:
        return ExpertEvidence(self._experts(self.heads, features, present), self.fusion)

    def lend(self, name: str, to: str) -> None:
        self.heads.lend(name, to)

    def _experts(self, heads: Named, features: dict[str, Tensor], present: Tensor) -> Experts:
        # An absent expert is standard, with weight zero: finite everywhere, so gradients are too.
        loc, log_scale = normal_of(spread(heads, features, present))
        return Experts(loc, log_scale, present, self.family)


def spread(heads: Named, features: dict[str, Tensor], present: Tensor) -> Tensor:
    """`(M, B, O)`: what a linear layer makes of each modality's features, zero at the items that lack it."""
    rows = []
    for m, (name, head) in enumerate(heads.items()):
        bias = cast(nn.Linear, head).bias
        row = bias.new_zeros(present.shape[1], len(bias))
        if len(features.get(name, ())):
            # In half precision a layer gives coarser numbers than `row` has, which a GPU refuses to put in.
            row = row.index_copy(0, present[m].nonzero().squeeze(1), head(features[name]).to(row))
        rows.append(row)
    return torch.stack(rows)
