"""Levels of codes: at each, the product of what the level above expects and of what every modality says.

Shapes: `M` modalities, `B` items, `A` dimensions above a level, `H` hidden features.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate

import torch
from torch import Tensor, nn

from isthmus.gaussians import normal_of, product_of_normals
from isthmus.inference.base import Evidence, Inference
from isthmus.inference.experts import spread
from isthmus.networks.named import Named
from isthmus.posteriors import Ladder
from isthmus.priors import LADDER_WIDTH, LadderPrior


class LadderEvidence(Evidence):
    """Hidden features of each modality at each level.

    Args:
        hidden: `(M, B, L H)`; zero where an item lacks the modality.
        present: Bool `(M, B)`.
        inference: Makes experts of them.
    """

    def __init__(self, hidden: Tensor, present: Tensor, inference: LadderInference):
        self.hidden, self.present, self.inference = hidden.chunk(len(inference.experts), dim=-1), present, inference

    def posterior(self, among: Tensor | None = None) -> Ladder:
        present = self.present if among is None else self.present & among

        def conditional(level: int, above: Tensor) -> tuple[Tensor, Tensor]:
            return self.inference.conditional(level, above, self.hidden[level], present)

        return Ladder(conditional, self.inference.prior.sizes, self.hidden[0][0, :, :0])


class LadderInference(Inference):
    r"""A ladder of products of experts.

    .. math:: q(z_l | z_{<l}, x_A) \propto p(z_l | z_{<l}) \prod_{m \in A} q(z_l | x_m, z_{<l})

    MHVAE (Dorent et al. 2023, arXiv:2309.08747, section 3). With nothing observed it is the prior. As in the authors'
    code the networks that make experts of a modality's features are common to the modalities; their product sums
    precisions, where that code sums their roots.

    Args:
        widths: Features of each encoder, by name.
        latent_dim: Of all levels together.
        prior: Of the same levels.
    """

    def __init__(self, widths: Mapping[str, int], latent_dim: int, prior: LadderPrior):
        super().__init__()
        if prior.latent_dim != latent_dim:
            raise ValueError(f"The levels of the prior have {prior.latent_dim} numbers together, not {latent_dim}.")
        sizes = prior.sizes
        self.project = Named({name: nn.Linear(width, len(sizes) * LADDER_WIDTH) for name, width in widths.items()})
        self.above = nn.ModuleList(nn.Linear(size, LADDER_WIDTH) for size in list(accumulate(sizes))[:-1])
        self.experts = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(LADDER_WIDTH), nn.SiLU(), nn.Linear(LADDER_WIDTH, 2 * size)) for size in sizes
        )
        # In a tuple, so that the prior's weights are the model's alone and not saved twice.
        self._prior = (prior,)

    @property
    def prior(self) -> LadderPrior:
        return self._prior[0]

    def forward(self, features: dict[str, Tensor], present: Tensor) -> LadderEvidence:
        return LadderEvidence(spread(self.project, features, present), present, self)

    def conditional(self, level: int, above: Tensor, hidden: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """Location and log-scale of a level, `(..., B, D_l)`.

        Args:
            level: From 0, the top one.
            above: `(..., B, A)`, the code above it.
            hidden: `(M, B, H)`, features of the modalities at this level.
            present: Bool `(M, B)`: which are used.
        """
        given = [part[..., None, :, :] for part in self.prior.conditional(level, above)]
        hidden = hidden.expand(*above.shape[:-2], *hidden.shape)
        if level:
            hidden = hidden + self.above[level - 1](above)[..., None, :, :]
        experts = normal_of(self.experts[level](hidden))
        # The prior is one more expert, always there; draws and items are all items to the product.
        loc, log_scale = (
            torch.cat([own, part], dim=-3).movedim(-3, 0).flatten(1, -2)
            for own, part in zip(experts, given, strict=True)
        )
        use = torch.cat([present, torch.ones_like(present[:1])])
        use = use.repeat(1, loc.shape[1] // use.shape[1])[None]
        fused = product_of_normals(loc, log_scale, use)
        shape = (*above.shape[:-1], -1)
        return fused[0][0].view(shape), fused[1][0].view(shape)
