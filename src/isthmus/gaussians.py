"""Closed forms of diagonal Normals and Laplaces: one home for each formula.

All take a location and the logarithm of a scale (the standard deviation of a Normal, `b` of a Laplace) of shape
`(..., D)`, and sum over `D`. Logarithms are to base e: results are in nats.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

LOG_2PI = math.log(2 * math.pi)
# Log-variances that networks give stay within e^-12 .. e^12: products of precisions are then exact enough in float32,
# and no expert can become infinitely certain on a batch that it happens to fit.
MAX_LOG_SCALE = 6.0


def normal_of(raw: Tensor) -> tuple[Tensor, Tensor]:
    """Location and bounded log-scale `(..., D)` from what a network gave, `(..., 2 D)`."""
    loc, log_scale = raw.chunk(2, dim=-1)
    return loc, MAX_LOG_SCALE * torch.tanh(log_scale / MAX_LOG_SCALE)


def normal_log_prob(z: Tensor, loc: Tensor, log_scale: Tensor) -> Tensor:
    r"""Log N(z; loc, scale^2), shape `(...)`."""
    return (-0.5 * ((z - loc) * torch.exp(-log_scale)) ** 2 - log_scale - 0.5 * LOG_2PI).sum(dim=-1)


def laplace_log_prob(z: Tensor, loc: Tensor, log_scale: Tensor) -> Tensor:
    r"""Log Laplace(z; loc, scale), shape `(...)`."""
    return (-(z - loc).abs() * torch.exp(-log_scale) - log_scale - math.log(2)).sum(dim=-1)


def log_prob(family: str, z: Tensor, loc: Tensor, log_scale: Tensor) -> Tensor:
    """Log density of a "normal" or "laplace", shape `(...)`."""
    return (normal_log_prob if family == "normal" else laplace_log_prob)(z, loc, log_scale)


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
        use: `(J, M, B)`, or `(J, M, B, D)`: which experts enter product `j` of item `b`, bool, or to which powers.

    Returns:
        Location and log-scale, `(J, B, D)`; the standard Normal where no expert is used.
    """
    precision = torch.exp(-2 * log_scale)
    # Sums of precisions, not of logarithms: no epsilon is needed, an unused expert weighs exactly zero, and one
    # contraction serves all products at once.
    weight = use.to(loc)
    total = _sum_over_experts(weight, precision)
    pulled = _sum_over_experts(weight, precision * loc)
    some = (use != 0).any(dim=1)
    some = some[..., None] if some.dim() == 2 else some
    total = torch.where(some, total, torch.ones_like(total))
    return pulled / total, -0.5 * total.log()


# A matrix product for each item, which is what the contraction becomes, costs several times what adding up a few
# experts does; of many products it spares the memory.
FEW_TERMS = 64


def _sum_over_experts(weight: Tensor, values: Tensor) -> Tensor:
    """`(J, B, D)`: the sums over `m` of `values (M, B, D)`, weighted by `(J, M, B)` or `(J, M, B, D)`."""
    if weight.dim() == 4:
        return torch.einsum("jmbd,mbd->jbd", weight, values)
    if weight.shape[0] * weight.shape[1] <= FEW_TERMS:
        return (weight[..., None] * values).sum(dim=1)
    # Items first, and laid out so: an einsum hands over strides with which small products take several times as long.
    return torch.bmm(weight.permute(2, 0, 1).contiguous(), values.transpose(0, 1).contiguous()).transpose(0, 1)


def root_product_of_normals(
    loc: Tensor, log_scale: Tensor, other_loc: Tensor, other_log_scale: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    r"""`sqrt(q r) = S N(mu, sigma^2)` of two Normals, and `log S`, their Bhattacharyya coefficient.

    .. math:: \sigma^2 = \frac{2 s t}{s + t}, \quad \mu = \frac{\mu_q t + \mu_r s}{s + t}, \quad
        S = \prod_d \sqrt{\frac{2 \sqrt{s t}}{s + t}} e^{-\frac{(\mu_q - \mu_r)^2}{4 (s + t)}}

    with `s`, `t` the variances: completing the square.

    Returns:
        Location and log-scale `(..., D)`, and `log S`, `(...)`, never positive.
    """
    one, two = torch.exp(2 * log_scale), torch.exp(2 * other_log_scale)
    both, logs = one + two, log_scale + other_log_scale
    middle = (loc * two + other_loc * one) / both
    overlap = 0.5 * (math.log(2) + logs - both.log() - 0.5 * (loc - other_loc) ** 2 / both).sum(dim=-1)
    return middle, 0.5 * (math.log(2) + 2 * logs - both.log()), overlap


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
    mean, scale = _sum_over_experts(weight, loc), _sum_over_experts(weight, log_scale.exp())
    return mean, torch.where(use.any(dim=1)[..., None], scale, torch.ones_like(scale)).log()
