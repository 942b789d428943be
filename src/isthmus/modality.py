"""What a method needs to know of one modality: how to build its networks, and one row to try them on."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torch import Tensor, nn

from isthmus.batch import Values
from isthmus.networks.tokens import FeatureTokens
from isthmus.networks.twin import Twin

if TYPE_CHECKING:
    from isthmus.kinds.base import Kind

TOKEN_WIDTH = 96  # features of a token


@dataclass(frozen=True)
class Modality:
    """One modality as methods see it.

    Args:
        encoder: Builds a network from normalised values of n rows to features `(n, F)`.
        decoder: Builds a network from `z (R, width)` to likelihood parameters, given the width.
        likelihood: Builds the `LikelihoodHead`.
        example: One or two normalised rows; widths are found by one dry run on them.
        num_dimensions: Data dimensions of one event.
        corrupt: What encoders see in training in place of the values; None shows them as they are.
        predictability: The share of it that the other modalities tell, 0 to 1, for `balance="predictable"`; None where
            nobody measured it.
        tokens: Builds a network from normalised values to tokens `Masked (n, T, F)`; None takes what the encoder gives.
    """

    encoder: Callable[[], nn.Module]
    decoder: Callable[[int], nn.Module]
    likelihood: Callable[[], nn.Module]
    example: Values
    num_dimensions: int
    corrupt: Callable[[Values, Callable[..., Tensor]], Values] | None = None
    predictability: float | None = None
    tokens: Callable[[], nn.Module | None] | None = None

    def tokeniser(self) -> nn.Module:
        """A network from normalised values to tokens `Masked (n, T, F)`."""
        made = None if self.tokens is None else self.tokens()
        return FeatureTokens(self.encoder()) if made is None else made

    def twin(self) -> Modality:
        """The same with two encoders side by side, `networks.twin.Twin`, each with weights of its own."""
        return replace(self, encoder=lambda: Twin(self.encoder(), self.encoder()))

    @classmethod
    def from_kind(
        cls,
        kind: Kind,
        example: Values,
        width: int,
        encoder: nn.Module | None = None,
        decoder: nn.Module | None = None,
        predictability: float | None = None,
    ) -> Modality:
        """A modality of a fitted kind, with any module of the caller's own in place of the kind's network."""
        return cls(
            encoder=(lambda: kind.encoder(width)) if encoder is None else (lambda: copy.deepcopy(encoder)),
            decoder=kind.decoder if decoder is None else (lambda _: copy.deepcopy(decoder)),
            likelihood=kind.likelihood,
            example=example,
            num_dimensions=kind.num_dimensions,
            corrupt=kind.corrupt,
            predictability=predictability,
            tokens=(lambda: kind.tokens(TOKEN_WIDTH)) if encoder is None else None,
        )
