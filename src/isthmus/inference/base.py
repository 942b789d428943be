"""From the features of each modality to beliefs about codes, computed once for any subset of what was observed.

Shapes: `M` modalities, `B` items, `n` rows that are there, `D` latent dimensions, `F` features.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from isthmus.posteriors import Posterior


class Evidence(ABC):
    """What the encoders made of a batch, computed once; any subset of it gives a posterior."""

    present: Tensor

    @abstractmethod
    def posterior(self, among: Tensor | None = None) -> Posterior:
        """Beliefs from the modalities observed, or from those of them that are True in `among`, bool `(M, B)`."""

    def with_unknown(self, loc: Tensor, log_scale: Tensor) -> Evidence:
        """The same, where what is not known is believed to be as a component `loc`, `log_scale (D,)` says, in the place
        of the standard one. Evidence of other kinds than experts has ways of its own, and stays as it is.
        """
        return self

    def own(self) -> Tensor:
        """The code that each modality alone gives, the mean, `(M, B, D)`; zero where an item lacks it.

        Of a code with private parts, the part that modalities share.
        """
        single = torch.eye(len(self.present), dtype=torch.bool, device=self.present.device)
        codes = [self.posterior(among[:, None] & self.present).mean for among in single]
        return torch.where(self.present[..., None], torch.stack(codes), 0.0)


def among_features(
    features: Mapping[str, Tensor], present: Tensor, among: Tensor | None, names: Iterable[str]
) -> tuple[dict[str, Tensor], Tensor]:
    """Features `(n, F)` and presence, bool `(M, B)`, of which only those True in `among`, bool `(M, B)`, are left.

    Args:
        features: Of the rows that are there, by name.
        present: Whose rows these are.
        among: None leaves all.
        names: Of the `M` modalities.
    """
    if among is None:
        return dict(features), present
    left = {name: features[name][among[m][present[m]]] for m, name in enumerate(names) if name in features}
    return left, present & among


class Inference(nn.Module, ABC):
    """From features of each modality to posteriors."""

    @abstractmethod
    def forward(self, features: dict[str, Any], present: Tensor) -> Evidence:
        """Evidence from features `(n, F)` of the rows that are there, or tokens, and `present`, bool `(M, B)`."""

    def lend(self, name: str, to: str) -> None:
        """Let features of `to`, which uses the encoder of `name`, go the same way to codes; an inference may not."""

    def prepare(self, codes: Mapping[str, Tensor]) -> None:
        """Told the codes `(n, D)` of each modality in the training items before a phase that trains on codes."""

    def nearest(self, codes: Tensor) -> Tensor:
        """Of the codes that this inference can give, those nearest to codes `(R, D)` that a density drew."""
        return codes

    def update(self, statistics: Mapping[str, Tensor]) -> None:
        """Told, after each step of training, the `statistics` of an objective's terms, summed over all processes."""

    def finish(self, codes: Tensor) -> None:
        """Told the codes `(N, D)` of the training items once training has ended."""
