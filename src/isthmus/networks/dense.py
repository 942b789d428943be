"""Multilayer perceptrons with residual blocks, for vectors of features.

Shapes: `n` or `R` rows, `F` features, `D` latent. LayerNorm acts within a row: no row depends on its neighbours.
"""

from __future__ import annotations

from torch import Tensor, nn

HIDDEN = 256


class ResidualBlock(nn.Module):
    """`x + W2 silu(W1 layernorm(x))`, `(n, width)` in and out: He et al. 2016, arXiv:1603.05027."""

    def __init__(self, width: int):
        super().__init__()
        self.branch = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


class DenseEncoder(nn.Sequential):
    """Features `(n, F)` to features `(n, width)`."""

    def __init__(self, num_features: int, width: int = HIDDEN, num_blocks: int = 2):
        blocks = [ResidualBlock(width) for _ in range(num_blocks)]
        super().__init__(nn.Linear(num_features, width), *blocks, nn.LayerNorm(width), nn.SiLU())


class DenseDecoder(nn.Sequential):
    """Codes `(R, D)` to features `(R, F)`; `hidden` is the inner width."""

    def __init__(self, latent_dim: int, num_features: int, hidden: int = HIDDEN, num_blocks: int = 2):
        blocks = [ResidualBlock(hidden) for _ in range(num_blocks)]
        super().__init__(
            nn.Linear(latent_dim, hidden), *blocks, nn.LayerNorm(hidden), nn.SiLU(), nn.Linear(hidden, num_features)
        )
