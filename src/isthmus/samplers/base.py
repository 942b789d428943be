"""What a sampler promises, and which codes it is fitted to.

Codes do not fill the prior. A draw from N(0, I), or from a broad posterior, may fall where no training item was ever
encoded, and decodes to modalities that do not agree. A sampler fitted to codes knows where they lie.

Shapes: `N` codes, `D` latent dimensions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor, nn

from isthmus.noise import Noise

MAX_FITTED = 20_000


class Sampler(nn.Module, ABC):
    """Draws codes of new items, as those of the training items are; its state is plain tensors."""

    @classmethod
    @abstractmethod
    def fit(cls, codes: Tensor, observed: Tensor | None = None, seed: int = 0) -> Self:
        """Fit to the mean codes `(N, D)` of the training items that are known best, as `best_known` chooses them.

        Args:
            codes: `(N, D)`.
            observed: `(N,)`, how many modalities each item has; None fits all.
            seed: Of all that is drawn in fitting: one seed, one result.
        """

    @classmethod
    @abstractmethod
    def like(cls, state: Mapping[str, Tensor]) -> Self:
        """A sampler of the sizes that a saved state has, to load it into."""

    @abstractmethod
    def sample(self, rows: int, noise: Noise, name: str = "sampler") -> Tensor:
        """Codes `(rows, D)` of new items."""


def best_known(codes: Tensor, observed: Tensor | None, seed: int) -> Tensor:
    """The codes to fit, in double precision on the CPU: of items of which as much is known as of the one in the middle,
    or more; 20,000 at most.

    The code of an item of which little was observed lies between the codes that it might have, where no whole item
    does. Fitted to draws from posteriors in place of means, modalities of new items agreed less often; fitted to the
    codes of all items, they varied less.
    """
    codes = codes.detach().cpu().double()
    if observed is not None:
        codes = codes[observed >= observed.median()]
    if len(codes) > MAX_FITTED:
        codes = codes[Noise(seed).uniform("density/items", len(codes), like=codes).argsort()[:MAX_FITTED]]
    return codes


def moments(codes: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation `(D,)` of codes `(N, D)`; one where they do not vary."""
    scale = codes.std(dim=0, correction=0)
    return codes.mean(dim=0), torch.where(scale > 1e-6, scale, torch.ones_like(scale))
