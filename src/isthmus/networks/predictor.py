"""From the codes of some modalities to those of others.

Shapes: `M` modalities, `B` items, `P` dimensions of each code.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from isthmus.networks.named import Named


class Predictor(nn.Module):
    r"""The code of each modality, told from those of the others that an item has.

    .. math:: \hat z_n = B_n\Big( \frac{1}{|S|} \sum_{m \in S} A_m(z_m) \Big), \qquad S: \text{what is there, less } n

    Linear in the number of modalities; for two it is one network from each to the other, as in COMPLETER (Lin et al.
    2021, CVPR, section 3.4).

    Args:
        names: Of the modalities.
        dim: `P`.
    """

    def __init__(self, names: Iterable[str], dim: int):
        super().__init__()
        names = list(names)
        self.read = Named({name: nn.Sequential(*_layers(dim), nn.SiLU()) for name in names})
        self.tell = Named({name: nn.Sequential(*_layers(dim)) for name in names})

    def forward(self, codes: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """Predictions `(M, B, P)`, and bool `(M, B)`: of which there was anything to tell from.

        Args:
            codes: `(M, B, P)`; zero where a modality is not there.
            present: Bool `(M, B)`.
        """
        hidden = torch.stack([layers(rows) for layers, rows in zip(self.read.values(), codes, strict=True)])
        hidden = torch.where(present[..., None], hidden, 0.0)
        others = present.sum(dim=0) - present.long()
        mean = (hidden.sum(dim=0) - hidden) / others.clamp_min(1)[..., None]
        told = torch.stack([layers(rows) for layers, rows in zip(self.tell.values(), mean, strict=True)])
        return told, others > 0


def _layers(dim: int) -> list[nn.Module]:
    return [nn.Linear(dim, 2 * dim), nn.SiLU(), nn.Linear(2 * dim, dim)]
