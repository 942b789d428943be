"""A certain code of its own for each modality, side by side; what an item lacks is told from what it has.

Shapes: `M` modalities, `B` items, `P` dimensions of each modality's code.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from isthmus.inference.base import Evidence, Inference
from isthmus.inference.experts import spread
from isthmus.networks.named import Named, private_order
from isthmus.posteriors import Posterior


class SeparateEvidence(Evidence):
    """The code of each modality.

    Args:
        codes: `(M, B, P)`; zero where an item lacks the modality.
        present: Bool `(M, B)`.
        inference: Tells what is missing.
    """

    def __init__(self, codes: Tensor, present: Tensor, inference: SeparateInference):
        self.codes, self.present, self.inference = codes, present, inference

    def posterior(self, among: Tensor | None = None) -> Posterior:
        present = self.present if among is None else self.present & among
        return self.inference.complete(torch.where(present[..., None], self.codes, 0.0), present)

    def own(self) -> Tensor:
        return self.codes


class SeparateInference(Inference):
    """One layer makes a code of each modality's features; subclasses tell the codes of what an item lacks.

    For models with no shared code, `latent_dim=0`, and private codes of `P` numbers.

    Args:
        widths: Features of each encoder, by name.
        private_dim: `P`.
    """

    def __init__(self, widths: Mapping[str, int], private_dim: int):
        super().__init__()
        self.heads = Named({name: nn.Linear(width, private_dim) for name, width in widths.items()})
        self.order = [list(widths).index(name) for name in private_order(widths)]

    def forward(self, features: dict[str, Tensor], present: Tensor) -> SeparateEvidence:
        return SeparateEvidence(spread(self.heads, features, present), present, self)

    @abstractmethod
    def complete(self, codes: Tensor, present: Tensor) -> Posterior:
        """Beliefs about the codes of all modalities, `(B, M P)`.

        Args:
            codes: `(M, B, P)`; zero where a modality is not to be used.
            present: Bool `(M, B)`: which are.
        """

    def beside(self, codes: Tensor) -> Tensor:
        """Codes `(M, B, P)` as one vector per item, `(B, M P)`, in the order of `model.private`."""
        return codes[self.order].movedim(0, 1).flatten(1)
