"""From the features of each modality to beliefs about codes, computed once for any subset of what was observed.

Shapes: `M` modalities, `B` items, `n` rows that are there, `D` latent dimensions, `F` features.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from isthmus.fusions import Experts, FeatureFusion, Fusion
from isthmus.networks.named import Named, Vector, private_order
from isthmus.posteriors import Mixture, Point, Posterior, one_component

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
        self.heads = Named({name: nn.Linear(width, 2 * latent_dim) for name, width in widths.items()})

    def forward(self, features: dict[str, Tensor], present: Tensor) -> ExpertEvidence:
        return ExpertEvidence(self._experts(self.heads, features, present), self.fusion)

    def _experts(self, heads: Named, features: dict[str, Tensor], present: Tensor) -> Experts:
        rows = []
        for m, (name, head) in enumerate(heads.items()):
            # An absent expert is the standard Normal with weight zero: finite everywhere, so gradients are too.
            bias = cast(nn.Linear, head).bias
            row = bias.new_zeros(present.shape[1], len(bias))
            if len(features.get(name, ())):
                row = row.index_copy(0, present[m].nonzero().squeeze(1), head(features[name]))
            rows.append(row)
        loc, log_scale = _normal(torch.stack(rows))
        return Experts(loc, log_scale, present, self.family)


class PrivateEvidence(ExpertEvidence):
    """Experts of the shared code, and of each modality's private one.

    Args:
        experts: Of the shared code, `(M, B, D)`.
        fusion: Joins the experts.
        private: Of each modality's own code, `(M, B, P)`.
        order: Where each modality's private code stands behind the shared one.
    """

    def __init__(self, experts: Experts, fusion: Fusion, private: Experts, order: Sequence[int]):
        super().__init__(experts, fusion)
        self.private, self.order = private, list(order)

    def posterior(self, among: Tensor | None = None, own: Tensor | None = None) -> Mixture:
        """Beliefs about the whole code, `D + M P` numbers.

        Args:
            among: Bool `(M, B)`: what the shared code is inferred from.
            own: Bool `(M, B)`: whose private codes are inferred; the same, unless it is given. Others are the prior's.
        """
        shared = super().posterior(among)
        assert isinstance(shared, Mixture)
        own = among if own is None else own
        seen = (self.present if own is None else self.present & own)[self.order, :, None]
        loc, log_scale = (
            torch.where(seen, rows[self.order], 0.0).movedim(0, 1).flatten(1).expand(len(shared.loc), -1, -1)
            for rows in (self.private.loc, self.private.log_scale)
        )
        return replace(
            shared,
            loc=torch.cat([shared.loc, loc], dim=-1),
            log_scale=torch.cat([shared.log_scale, log_scale], dim=-1),
        )


class PrivateInference(ExpertInference):
    """Experts of the shared code, fused, and of a private code for each modality, which are not.

    Args:
        widths: Features of each encoder, by name.
        latent_dim: Dimensions of the shared code.
        fusion: Joins the shared experts.
        private_dim: Dimensions `P` of each private code.
        family: "normal" or "laplace".
        auxiliary: Learn the scale of a density per modality that private codes of other items come from.
    """

    def __init__(
        self,
        widths: Mapping[str, int],
        latent_dim: int,
        fusion: Fusion,
        private_dim: int,
        family: str = "normal",
        auxiliary: bool = False,
    ):
        super().__init__(widths, latent_dim, fusion, family)
        self.private_heads = Named({name: nn.Linear(width, 2 * private_dim) for name, width in widths.items()})
        self.auxiliary = Named({name: Vector(torch.zeros(private_dim)) for name in widths}) if auxiliary else None
        self.order = [list(widths).index(name) for name in private_order(widths)]

    def forward(self, features: dict[str, Tensor], present: Tensor) -> PrivateEvidence:
        shared = self._experts(self.heads, features, present)
        private = self._experts(self.private_heads, features, present)
        return PrivateEvidence(shared, self.fusion, private, self.order)


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
        loc, log_scale = _normal(raw)
        return JointEvidence(evidence.experts, self.fusion, one_component(loc[None], log_scale[None], len(present)))


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


def _normal(raw: Tensor) -> tuple[Tensor, Tensor]:
    """Location and log-scale `(..., D)` from what a head gave, `(..., 2 D)`."""
    loc, log_scale = raw.chunk(2, dim=-1)
    return loc, MAX_LOG_SCALE * torch.tanh(log_scale / MAX_LOG_SCALE)
