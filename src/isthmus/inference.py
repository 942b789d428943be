"""From the features of each modality to beliefs about codes, computed once for any subset of what was observed.

Shapes: `M` modalities, `B` items, `n` rows that are there, `D` latent dimensions, `F` features.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from isthmus.fusions import Experts, FeatureFusion, Fusion
from isthmus.posteriors import Point, Posterior

# Log-variances of experts stay within e^-12 .. e^12: products of precisions are then exact enough in float32, and no
# expert can become infinitely certain on a batch that it happens to fit.
MAX_LOG_SCALE = 6.0


class Evidence(ABC):
    """What the encoders made of a batch, computed once; any subset of it gives a posterior."""

    present: Tensor

    @abstractmethod
    def posterior(self, among: Tensor | None = None) -> Posterior:
        """Beliefs from the modalities observed, or from those of them that are True in `among`, bool `(M, B)`."""


class Inference(nn.Module, ABC):
    """From features of each modality to posteriors."""

    @abstractmethod
    def forward(self, features: dict[str, Tensor], present: Tensor) -> Evidence:
        """Evidence from features `(n, F)` of the rows that are there, and `present`, bool `(M, B)`."""

    def finish(self, codes: Tensor) -> None:
        """Told the codes `(N, D)` of the training items once training has ended."""


class ExpertEvidence(Evidence):
    """One distribution per modality, to be fused."""

    def __init__(self, experts: Experts, fusion: Fusion):
        self.experts, self.fusion, self.present = experts, fusion, experts.present

    def posterior(self, among: Tensor | None = None) -> Posterior:
        fused: Posterior = self.fusion(self.experts if among is None else self.experts.among(among))
        return fused


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
        self.heads = nn.ModuleDict({name: nn.Linear(width, 2 * latent_dim) for name, width in widths.items()})

    def forward(self, features: dict[str, Tensor], present: Tensor) -> ExpertEvidence:
        parameters = next(self.heads.parameters())
        rows = []
        for m, (name, head) in enumerate(self.heads.items()):
            # An absent expert is the standard Normal with weight zero: finite everywhere, so gradients are too.
            row = parameters.new_zeros(present.shape[1], 2 * self.latent_dim)
            if len(features.get(name, ())):
                row = row.index_copy(0, present[m].nonzero().squeeze(1), head(features[name]))
            rows.append(row)
        loc, raw = torch.stack(rows).chunk(2, dim=-1)
        log_scale = MAX_LOG_SCALE * torch.tanh(raw / MAX_LOG_SCALE)
        return ExpertEvidence(Experts(loc, log_scale, present, self.family), self.fusion)


class PointEvidence(Evidence):
    """Features of each modality, to be fused into one certain code."""

    def __init__(self, features: dict[str, Tensor], present: Tensor, inference: PointInference):
        self.features, self.present, self.inference = features, present, inference

    def posterior(self, among: Tensor | None = None) -> Point:
        features, present = self.features, self.present
        if among is not None:
            present = present & among
            names = list(self.inference.fusion.project)
            features = {
                name: features[name][among[m][self.present[m]]] for m, name in enumerate(names) if name in features
            }
        code = self.inference.head(self.inference.fusion(features, present))
        some = present.any(dim=0)[:, None]
        return Point(torch.where(some, code, self.inference.mean_code.to(code)))


class PointInference(Inference):
    """Features are fused, and one layer makes a code of them; the mean training code where nothing was observed."""

    mean_code: Tensor

    def __init__(self, fusion: FeatureFusion, latent_dim: int):
        super().__init__()
        self.fusion = fusion
        self.head = nn.Linear(fusion.width, latent_dim)
        self.register_buffer("mean_code", torch.zeros(latent_dim))

    def forward(self, features: dict[str, Tensor], present: Tensor) -> PointEvidence:
        return PointEvidence(features, present, self)

    def finish(self, codes: Tensor) -> None:
        self.mean_code.copy_(codes.mean(dim=0))
