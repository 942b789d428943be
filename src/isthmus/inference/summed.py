"""Certain codes that are squashed sums over modalities.

Shapes: `M` modalities, `B` items, `D` latent dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from isthmus.inference.base import Evidence, Inference
from isthmus.inference.experts import spread
from isthmus.networks.named import Named
from isthmus.posteriors import Point


class SummedEvidence(Evidence):
    """What each modality adds to the code, `(M, B, D)`; zero where an item lacks it."""

    def __init__(self, parts: Tensor, present: Tensor, inference: SummedInference):
        self.parts, self.present, self.inference = parts, present, inference

    def posterior(self, among: Tensor | None = None) -> Point:
        present = self.present if among is None else self.present & among
        code = torch.where(present[..., None], self.parts, 0.0).sum(dim=0).sigmoid()
        return Point(torch.where(present.any(dim=0)[:, None], code, self.inference.mean_code.to(code)))


class SummedInference(Inference):
    r"""A linear map of each modality's features; what is absent adds nothing.

    .. math:: h(x_A) = \sigma\Big( \sum_{m \in A} W_m f_m(x_m) + b_m \Big)

    CorrNet (Chandar et al. 2016, arXiv:1504.07225, section 2.1). An item with nothing has the mean training code.

    Args:
        widths: Features of each encoder, by name.
        latent_dim: `D`.
    """

    mean_code: Tensor

    def __init__(self, widths: Mapping[str, int], latent_dim: int):
        super().__init__()
        self.heads = Named({name: nn.Linear(width, latent_dim) for name, width in widths.items()})
        self.register_buffer("mean_code", torch.zeros(latent_dim))

    def forward(self, features: dict[str, Tensor], present: Tensor) -> SummedEvidence:
        return SummedEvidence(spread(self.heads, features, present), present, self)

    def finish(self, codes: Tensor) -> None:
        self.mean_code.copy_(codes.mean(dim=0))
