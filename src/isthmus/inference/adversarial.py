"""Certain codes, and a critic that learns to tell them from draws of the prior."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from isthmus.fusions import Mean
from isthmus.inference.points import PointInference


class AdversarialInference(PointInference):
    """The mean of the codes that each modality gives, and a critic of codes, trained by a player of its own.

    One linear layer follows the mean of linearly projected features, so the code of several modalities is the mean of
    theirs.

    Args:
        widths: Features of each encoder, by name.
        latent_dim: Dimensions of the code.
        critic: From codes `(..., D)` to `(...)`; None where nothing is to be told apart.
    """

    def __init__(self, widths: Mapping[str, int], latent_dim: int, critic: nn.Module | None):
        super().__init__(Mean(dict(widths), max(widths.values())), latent_dim)
        self.critic = critic
