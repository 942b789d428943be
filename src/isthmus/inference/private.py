"""Experts of a code that modalities share, and of a private one for each.

Shapes: `M` modalities, `B` items, `D` dimensions of the shared code, `P` of each private one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from isthmus.fusions import Experts, Fusion
from isthmus.inference.experts import ExpertEvidence, ExpertInference
from isthmus.networks.named import Named, Vector, private_order
from isthmus.posteriors import Mixture


class PrivateEvidence(ExpertEvidence):
    """Experts of the shared code, and of each modality's private one.

    Args:
        experts: Of the shared code, `(M, B, D)`.
        fusion: Joins the experts.
        private: Of each modality's own code, `(M, B, P)`.
        order: The modalities in the order in which their private codes stand behind the shared one.
        unknown: Location and log-scale `(M, 1, P)`, in that order, of private codes of which nothing is known.
    """

    def __init__(
        self,
        experts: Experts,
        fusion: Fusion,
        private: Experts,
        order: Sequence[int],
        unknown: tuple[Tensor, Tensor] | None = None,
    ):
        super().__init__(experts, fusion)
        self.private, self.order = private, list(order)
        zero = private.loc.new_zeros(len(self.order), 1, private.loc.shape[-1])
        self.unknown = (zero, zero) if unknown is None else unknown

    def with_unknown(self, loc: Tensor, log_scale: Tensor) -> PrivateEvidence:
        shared, shape = self.experts.loc.shape[-1], self.unknown[0].shape
        return PrivateEvidence(
            self.experts.with_absent(loc[:shared], log_scale[:shared]),
            self.fusion,
            self.private,
            self.order,
            (loc[shared:].view(shape).to(self.private.loc), log_scale[shared:].view(shape).to(self.private.loc)),
        )

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
            torch.where(seen, rows[self.order], unknown).movedim(0, 1).flatten(1).expand(len(shared.loc), -1, -1)
            for rows, unknown in zip((self.private.loc, self.private.log_scale), self.unknown, strict=True)
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
