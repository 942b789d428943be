"""Tokens of all modalities in one transformer, read into one certain code.

Shapes: `M` modalities, `B` items, `n` rows that are there, `T` tokens, `F` features, `D` latent dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from isthmus.batch import Masked
from isthmus.inference.base import Evidence, Inference
from isthmus.networks.named import Named, Vector
from isthmus.networks.sequence import pool
from isthmus.networks.transformer import TransformerBlock
from isthmus.posteriors import Point


class TokenEvidence(Evidence):
    """The tokens of every item, side by side.

    Args:
        tokens: `(B, T, F)`.
        there: Bool `(B, T)`: which tokens an item has.
        source: Long `(T,)`: the modality of each, by number.
        present: Bool `(M, B)`.
        inference: Reads them.
    """

    def __init__(self, tokens: Tensor, there: Tensor, source: Tensor, present: Tensor, inference: TokenInference):
        self.tokens, self.there, self.source = tokens, there, source
        self.present, self.inference = present, inference

    def posterior(self, among: Tensor | None = None, visible: Tensor | None = None) -> Point:
        """Beliefs from the modalities `among`, bool `(M, B)`, or from the tokens `visible`, bool `(B, T)`, of them."""
        use = self.there if visible is None else self.there & visible
        if among is not None:
            use = use & among[self.source].T
        return self.inference.read(self.tokens, use)


class TokenInference(Inference):
    """A transformer over the tokens that are seen; one layer makes a code of their mean and maximum.

    The code of an item with no token is the mean training code.

    Args:
        widths: Features of each modality's tokens, by name.
        latent_dim: Dimensions of the code.
        num_features: `F` inside.
        num_layers: Blocks.
        num_heads: Of attention.
    """

    mean_code: Tensor

    def __init__(
        self,
        widths: Mapping[str, int],
        latent_dim: int,
        num_features: int = 96,
        num_layers: int = 3,
        num_heads: int = 4,
    ):
        super().__init__()
        self.project = Named({name: nn.Linear(width, num_features) for name, width in widths.items()})
        self.name = Named({name: Vector(torch.randn(num_features) / num_features**0.5) for name in widths})
        self.blocks = nn.ModuleList(TransformerBlock(num_features, num_heads) for _ in range(num_layers))
        self.norm = nn.LayerNorm(num_features)
        self.head = nn.Linear(2 * num_features, latent_dim)
        self.register_buffer("mean_code", torch.zeros(latent_dim))

    def forward(self, features: Mapping[str, Tensor | Masked], present: Tensor) -> TokenEvidence:
        tokens, there, source = [], [], []
        for m, name in enumerate(self.project):
            rows = features.get(name)
            if not isinstance(rows, Masked) or not len(rows):
                continue
            own = self.project[name](rows.value) + self.name[name]()
            item = present[m].nonzero().squeeze(1)
            tokens.append(own.new_zeros(present.shape[1], *own.shape[1:]).index_copy(0, item, own))
            there.append(rows.mask.new_zeros(present.shape[1], own.shape[1]).index_copy(0, item, rows.mask))
            source.append(torch.full((own.shape[1],), m, device=present.device))
        if not tokens:
            none = self.head.weight.new_zeros(present.shape[1], 0, self.norm.normalized_shape[0])
            return TokenEvidence(none, none[..., 0].bool(), present.new_zeros(0, dtype=torch.long), present, self)
        return TokenEvidence(torch.cat(tokens, 1), torch.cat(there, 1), torch.cat(source), present, self)

    def read(self, tokens: Tensor, use: Tensor) -> Point:
        """The codes of items from those of their tokens `(B, T, F)` that `use`, bool `(B, T)`, shows."""
        mean = self.mean_code.to(self.head.weight)
        longest = int(use.sum(dim=1).max()) if use.shape[1] else 0
        if not longest:
            return Point(mean.expand(len(tokens), -1))
        # What is hidden is not masked but left out: a step costs what is seen (He et al. 2021, section 3).
        first = (~use).to(torch.uint8).argsort(dim=1, stable=True)[:, :longest]
        seen = use.gather(1, first)
        hidden = tokens.gather(1, first[..., None].expand(-1, -1, tokens.shape[2]))
        for block in self.blocks:
            hidden = block(hidden, seen)
        code = self.head(pool(self.norm(hidden), seen))
        return Point(torch.where(seen.any(dim=1, keepdim=True), code, mean))

    def finish(self, codes: Tensor) -> None:
        self.mean_code.copy_(codes.mean(dim=0))
