"""A network that looks at noisy vectors, and at how noisy each of their parts is.

Shapes: `R` rows, `D` numbers of a vector, `P` parts of it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

HARMONICS = (1, 2, 4, 8)
TIME_WIDTH = 128


class ModulatedBlock(nn.Module):
    """`x + W2 silu(W1 (a * layernorm(x) + b))`, `(R, width)`, with `a` and `b` from what is known of the times.

    Peebles & Xie 2023, arXiv:2212.09748, section 3.2, without the gate.
    """

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Linear(TIME_WIDTH, 2 * width)
        self.branch = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, x: Tensor, times: Tensor) -> Tensor:
        scale, shift = self.modulation(times).chunk(2, dim=-1)
        return x + self.branch(self.norm(x) * (1 + scale) + shift)


class Denoiser(nn.Module):
    """Vectors `(R, D)` from noisy ones `(R, D)` and the angles of their parts, `(R, P)`, 0 to pi / 2; zero at first.

    Args:
        num_features: `D`.
        num_parts: `P`.
        width: Of the hidden layers.
        num_blocks: Residual blocks.
    """

    def __init__(self, num_features: int, num_parts: int = 1, width: int = 512, num_blocks: int = 3):
        super().__init__()
        self.times = nn.Sequential(
            nn.Linear(2 * len(HARMONICS) * num_parts, TIME_WIDTH), nn.SiLU(), nn.Linear(TIME_WIDTH, TIME_WIDTH)
        )
        self.inward = nn.Linear(num_features, width)
        self.blocks = nn.ModuleList(ModulatedBlock(width) for _ in range(num_blocks))
        self.norm, self.outward = nn.LayerNorm(width), nn.Linear(width, num_features)
        nn.init.zeros_(self.outward.weight)
        nn.init.zeros_(self.outward.bias)

    def forward(self, x: Tensor, angle: Tensor) -> Tensor:
        waves = torch.cat([wave(k * angle) for k in HARMONICS for wave in (torch.sin, torch.cos)], dim=-1)
        times, hidden = nn.functional.silu(self.times(waves)), self.inward(x)
        for block in self.blocks:
            hidden = block(hidden, times)
        moved: Tensor = self.outward(nn.functional.silu(self.norm(hidden)))
        return moved
