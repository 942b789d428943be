"""Certain codes side by side, of which a missing one is predicted from the others.

Shapes: `M` modalities, `B` items, `P` dimensions of each modality's code.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from isthmus.inference.separate import SeparateEvidence, SeparateInference
from isthmus.networks.predictor import Predictor
from isthmus.posteriors import Point


class PredictedInference(SeparateInference):
    """A code for each modality; small networks tell those that an item lacks. The mean training code of an item that
    has nothing.

    COMPLETER (Lin et al. 2021, CVPR, section 3), for two modalities there.

    Args:
        widths: Features of each encoder, by name.
        private_dim: `P`.
        soft: Make codes shares of the whole, with a mean of one: shares that sum to one would be too small for
            decoders and predictions to learn from.
    """

    mean_code: Tensor

    def __init__(self, widths: Mapping[str, int], shared_dim: int, private_dim: int, soft: bool = False):
        assert not shared_dim, "codes side by side share nothing"
        super().__init__(widths, private_dim)
        self.soft = soft
        self.predictor = Predictor(widths, private_dim)
        self.register_buffer("mean_code", torch.zeros(private_dim * len(widths)))

    def forward(self, features: dict[str, Tensor], present: Tensor) -> SeparateEvidence:
        evidence = super().forward(features, present)
        if not self.soft:
            return evidence
        codes = torch.where(present[..., None], self._soft(evidence.codes), 0.0)
        return SeparateEvidence(codes, present, self)

    def predict(self, codes: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """As `Predictor`."""
        told, known = self.predictor(codes, present)
        return self._soft(told) if self.soft else told, known

    def _soft(self, scores: Tensor) -> Tensor:
        return scores.shape[-1] * scores.softmax(dim=-1)

    def complete(self, codes: Tensor, present: Tensor) -> Point:
        told, _ = self.predict(codes, present)
        code = self.beside(torch.where(present[..., None], codes, told))
        return Point(torch.where(present.any(dim=0)[:, None], code, self.mean_code.to(code)))

    def finish(self, codes: Tensor) -> None:
        self.mean_code.copy_(codes.mean(dim=0))
