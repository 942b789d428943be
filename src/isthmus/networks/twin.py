"""Two encoders of one modality side by side.

Shapes: `n` rows, `T` tokens, `F` features of each encoder.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from isthmus.batch import Masked, Values


class Twin(nn.Module):
    """Features of both encoders, `(n, 2 F)`, or `(n, T, 2 F)` of tokens: first those of `joint`, then those of `own`.

    Each has weights of its own, so that one can stay as it is while the other is trained.

    Args:
        joint: For a network that sees all modalities.
        own: For the expert of its modality alone.
    """

    def __init__(self, joint: nn.Module, own: nn.Module):
        super().__init__()
        self.joint, self.own = joint, own

    def forward(self, values: Values) -> Tensor | Masked:
        joint, own = self.joint(values), self.own(values)
        if isinstance(joint, Masked):
            return Masked(torch.cat([joint.value, own.value], dim=-1), joint.mask)
        return torch.cat([joint, own], dim=-1)


def halves(features: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What `joint` and what `own` encoders said, each `(n, F)`, from features `(n, 2 F)` by modality."""
    pairs = {name: rows.chunk(2, dim=1) for name, rows in features.items()}
    return {name: joint for name, (joint, _) in pairs.items()}, {name: own for name, (_, own) in pairs.items()}
