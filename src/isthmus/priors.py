"""Priors `p(z)` over codes.

Shapes: `D` latent dimensions; `z (..., D)`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from isthmus import gaussians
from isthmus.noise import Noise


class Prior(nn.Module, ABC):
    """A density over codes that can be drawn from."""

    latent_dim: int

    @abstractmethod
    def log_prob(self, z: Tensor) -> Tensor:
        """Log density, `(...)`, in nats."""

    @abstractmethod
    def sample(self, rows: int, noise: Noise, name: str = "prior") -> Tensor:
        """Draws `(rows, D)`."""

    @abstractmethod
    def kl_from(self, family: str, loc: Tensor, log_scale: Tensor) -> Tensor:
        """KL(q || p) of diagonal components of a family ("normal", "laplace"), `(...)`, in nats.

        Raises:
            ValueError: There is no closed form for this family.
        """


class LocationScale(Prior):
    """A diagonal Normal or Laplace around zero; `learned` makes its scale a parameter with mean scale one.

    The learned form is that of MMVAE (Shi et al. 2019, arXiv:1911.03393, official code): `scale = D softmax(l)`.
    """

    def __init__(self, latent_dim: int, family: str = "normal", learned: bool = False):
        super().__init__()
        if family not in ("normal", "laplace"):
            raise ValueError(f"Prior family '{family}' is unknown. Expected 'normal' or 'laplace'.")
        self.latent_dim, self.family, self.learned = latent_dim, family, learned
        self.logits = nn.Parameter(torch.zeros(latent_dim), requires_grad=learned)

    @property
    def log_scale(self) -> Tensor:
        """`(D,)`; zero where it is not learnt."""
        return torch.log_softmax(self.logits, dim=0) + torch.log(self.logits.new_tensor(float(self.latent_dim)))

    def log_prob(self, z: Tensor) -> Tensor:
        log_prob = gaussians.normal_log_prob if self.family == "normal" else gaussians.laplace_log_prob
        return log_prob(z, torch.zeros_like(self.logits), self.log_scale)

    def sample(self, rows: int, noise: Noise, name: str = "prior") -> Tensor:
        draw = noise.normal if self.family == "normal" else noise.laplace
        return self.log_scale.exp() * draw(name, rows, self.latent_dim, like=self.logits)

    def kl_from(self, family: str, loc: Tensor, log_scale: Tensor) -> Tensor:
        if family != self.family:
            raise ValueError(f"No closed form for the divergence of a {family} posterior from a {self.family} prior.")
        kl = gaussians.normal_kl if family == "normal" else gaussians.laplace_kl
        return kl(loc, log_scale, torch.zeros_like(self.logits), self.log_scale)


class StandardNormal(LocationScale):
    """N(0, I)."""

    def __init__(self, latent_dim: int):
        super().__init__(latent_dim)
