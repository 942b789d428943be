"""Closed forms of diagonal Normals and Laplaces: one home for each formula.

All take a location and the logarithm of a scale (the standard deviation of a Normal, `b` of a Laplace) of shape
`(..., D)`, and sum over `D`. Logarithms are to base e: results are in nats.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

LOG_2PI = math.log(2 * math.pi)


def normal_log_prob(z: Tensor, loc: Tensor, log_scale: Tensor) -> Tensor:
    r"""Log N(z; loc, scale^2), shape `(...)`."""
    return (-0.5 * ((z - loc) * torch.exp(-log_scale)) ** 2 - log_scale - 0.5 * LOG_2PI).sum(dim=-1)


def laplace_log_prob(z: Tensor, loc: Tensor, log_scale: Tensor) -> Tensor:
    r"""Log Laplace(z; loc, scale), shape `(...)`."""
    return (-(z - loc).abs() * torch.exp(-log_scale) - log_scale - math.log(2)).sum(dim=-1)


def normal_kl(loc: Tensor, log_scale: Tensor, to_loc: Tensor, to_log_scale: Tensor) -> Tensor:
    r"""KL(N(loc, scale^2) || N(to_loc, to_scale^2)), in nats.

    .. math:: \sum_d \log\frac{\tau_d}{\sigma_d} + \frac{\sigma_d^2 + (\mu_d - \nu_d)^2}{2 \tau_d^2} - \tfrac{1}{2}

    Kingma & Welling 2014, arXiv:1312.6114, Appendix B, gives the case of the standard Normal.

    Returns:
        Shape `(...)`. Never negative; zero only where the two agree.
    """
    variance = torch.exp(2 * (log_scale - to_log_scale))
    distance = ((loc - to_loc) * torch.exp(-to_log_scale)) ** 2
    return (to_log_scale - log_scale + 0.5 * (variance + distance - 1)).sum(dim=-1)


def laplace_kl(loc: Tensor, log_scale: Tensor, to_loc: Tensor, to_log_scale: Tensor) -> Tensor:
    r"""KL(Laplace(loc, b) || Laplace(to_loc, c)), in nats.

    .. math:: \sum_d \log\frac{c_d}{b_d} + \frac{|\mu_d - \nu_d| + b_d e^{-|\mu_d - \nu_d| / b_d}}{c_d} - 1

    Meyer 2021, "An alternative probabilistic interpretation of the Huber loss", arXiv:1911.02088, section 3.
    """
    distance = (loc - to_loc).abs()
    spread = torch.exp(log_scale - to_log_scale)
    return (
        to_log_scale
        - log_scale
        + distance * torch.exp(-to_log_scale)
        + spread * torch.exp(-distance * torch.exp(-log_scale))
        - 1
    ).sum(dim=-1)


def product_of_normals(loc: Tensor, log_scale: Tensor, use: Tensor) -> tuple[Tensor, Tensor]:
    r"""The Normal proportional to the product of those experts that are used.

    .. math:: \Lambda = \sum_m \Lambda_m, \qquad \mu = \Lambda^{-1} \sum_m \Lambda_m \mu_m

    Hinton 2002, "Training products of experts", section 2; Wu & Goodman 2018, arXiv:1802.05335, section 2.2.

    Args:
        loc: `(M, B, D)`.
        log_scale: `(M, B, D)`, within about +-40 so that precisions are finite in float32.
        use: Bool `(J, M, B)`: which experts enter product `j` of item `b`.

    Returns:
        Location and log-scale, `(J, B, D)`; the standard Normal where no expert is used.
    """
    precision = torch.exp(-2 * log_scale)
    # Sums of precisions, not of logarithms: no epsilon is needed, an unused expert weighs exactly zero, and one
    # contraction serves all products at once.
    weight = use.to(loc)
    total = torch.einsum("jmb,mbd->jbd", weight, precision)
    pulled = torch.einsum("jmb,mbd->jbd", weight, precision * loc)
    some = use.any(dim=1)[..., None]
    total = torch.where(some, total, torch.ones_like(total))
    return pulled / total, -0.5 * total.log()


def barycentre_of_normals(loc: Tensor, log_scale: Tensor, use: Tensor) -> tuple[Tensor, Tensor]:
    r"""The Normal with the least mean squared 2-Wasserstein distance to those experts that are used.

    .. math:: \mu = \frac{1}{M} \sum_m \mu_m, \qquad \sigma = \frac{1}{M} \sum_m \sigma_m

    Agueh & Carlier 2011, "Barycenters in the Wasserstein space", section 6, for covariances that commute.

    Args:
        loc: `(M, B, D)`.
        log_scale: `(M, B, D)`.
        use: Bool `(J, M, B)`: which experts enter barycentre `j` of item `b`.

    Returns:
        Location and log-scale, `(J, B, D)`; the standard Normal where no expert is used.
    """
    weight = use.to(loc) / use.sum(dim=1, keepdim=True).clamp_min(1)
    mean = torch.einsum("jmb,mbd->jbd", weight, loc)
    scale = torch.einsum("jmb,mbd->jbd", weight, log_scale.exp())
    return mean, torch.where(use.any(dim=1)[..., None], scale, torch.ones_like(scale)).log()
