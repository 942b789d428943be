"""Networks that tell codes from draws of the prior.

Shapes: `D` latent dimensions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH = 64


class Critic(nn.Module):
    """One number for each code `(..., D)`, shape `(...)`: high where it looks like a draw of the prior.

    Args:
        latent_dim: `D`.
        lipschitz: Bound the slope by one everywhere, as the Kantorovich dual of the Wasserstein distance asks: layers
            are divided by their largest singular value (Miyato et al. 2018, arXiv:1802.05957, there by power
            iteration), with the larger and the smaller of pairs between them, which lose no slope (Anil, Lucas & Grosse
            2019, arXiv:1811.05381).
    """

    def __init__(self, latent_dim: int, lipschitz: bool = False):
        super().__init__()
        self.lipschitz = lipschitz
        self.layers = nn.ModuleList([nn.Linear(latent_dim, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 1)])

    def forward(self, z: Tensor) -> Tensor:
        for number, layer in enumerate(self.layers):
            assert isinstance(layer, nn.Linear)
            if number:
                z = torch.cat(_pairs(z), dim=-1) if self.lipschitz else F.leaky_relu(z, 0.2)
            # The norm itself, and not an estimate that a forward pass improves: it would change with every look.
            norm = torch.linalg.matrix_norm(layer.weight, ord=2) if self.lipschitz else 1.0
            z = F.linear(z, layer.weight / norm, layer.bias)
        return z.squeeze(-1)


def _pairs(z: Tensor) -> tuple[Tensor, Tensor]:
    first, second = z.chunk(2, dim=-1)
    return torch.maximum(first, second), torch.minimum(first, second)
