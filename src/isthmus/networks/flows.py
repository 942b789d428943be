"""Invertible networks between codes and noise, which may heed a context.

Shapes: `D` dimensions of a code, `C` of the context; `...` any, to which the context `(n, C)` is broadcast.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from isthmus.gaussians import normal_log_prob


class AffineCoupling(nn.Module):
    r"""Some dimensions pass; the others are shifted and stretched by what those, and the context, say.

    .. math:: u_a = (z_a - t(z_b, c))\, e^{-s(z_b, c)}, \qquad u_b = z_b, \qquad \log |\det| = -\sum s

    Dinh et al. 2017, "Density estimation using Real NVP", arXiv:1605.08803, section 3. A layer stretches by `e` at
    most, so that none alone can make a density explode. As it is made, it is the identity.

    Args:
        passes: Bool `(D,)`: the dimensions `b`.
        context_dim: `C`; zero for none.
        hidden: Width inside.
    """

    passes: Tensor

    def __init__(self, passes: Tensor, context_dim: int, hidden: int):
        super().__init__()
        self.register_buffer("passes", passes.float(), persistent=False)
        self.see = nn.Linear(len(passes), hidden)
        self.heed = nn.Linear(context_dim, hidden, bias=False) if context_dim else None
        self.inner = nn.Linear(hidden, hidden)
        self.last = nn.Linear(hidden, 2 * len(passes))
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Noise of codes, `(..., D)`, and the logarithm of the determinant, `(...)`."""
        shift, stretch = self._terms(z, context)
        return (z - shift) * torch.exp(-stretch), -stretch.sum(dim=-1)

    def inverse(self, u: Tensor, context: Tensor | None = None) -> Tensor:
        """Codes of noise, `(..., D)`."""
        shift, stretch = self._terms(u, context)
        return u * torch.exp(stretch) + shift

    def _terms(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Shift and stretch, `(..., D)` each; zero, which changes nothing, where a dimension passes."""
        hidden = self.see(z * self.passes)
        if self.heed is not None:
            assert context is not None
            hidden = hidden + self.heed(context)
        hidden = nn.functional.silu(self.inner(nn.functional.silu(hidden)))
        shift, stretch = self.last(hidden).to(z).chunk(2, dim=-1)
        free = 1 - self.passes
        return shift * free, torch.tanh(stretch) * free


class CouplingFlow(nn.Module):
    """Affine couplings in turn: the same cost both ways, for densities as for draws.

    Even and odd places change one another, then the first and the second half, and so on.

    Args:
        dim: `D`; with one dimension only the context changes it.
        context_dim: `C`; zero for none.
        num_layers: Couplings.
        hidden: Width inside each.
    """

    def __init__(self, dim: int, context_dim: int = 0, num_layers: int = 4, hidden: int = 64):
        super().__init__()
        place = torch.arange(dim)
        halves = [place % 2 if turn % 4 < 2 else 2 * place // dim for turn in range(num_layers)]
        self.layers = nn.ModuleList(
            AffineCoupling(half != turn % 2, context_dim, hidden) for turn, half in enumerate(halves)
        )

    def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Noise of codes, `(..., D)`, and the logarithm of the determinant, `(...)`."""
        log_det = z.new_zeros(z.shape[:-1])
        for layer in self.layers:
            z, part = layer(z, context)
            log_det = log_det + part
        return z, log_det

    def inverse(self, u: Tensor, context: Tensor | None = None) -> Tensor:
        """Codes of noise, `(..., D)`."""
        for layer in reversed(list(self.layers)):
            assert isinstance(layer, AffineCoupling)
            u = layer.inverse(u, context)
        return u

    def log_prob(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Log density of codes whose noise is standard Normal, `(...)`, in nats."""
        u, log_det = self(z, context)
        return normal_log_prob(u, torch.zeros_like(u), torch.zeros_like(u)) + log_det
