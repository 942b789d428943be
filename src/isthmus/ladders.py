"""Codes in levels, the top one first, each a diagonal Normal given those above it: densities and draws.

A ladder is a function from the number of a level and the code above it, `(..., A)`, to the level's location and
log-scale, `(..., D_l)`, and the sizes `D_l` of the levels. The whole code `(..., D)` has them side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate

import torch
from torch import Tensor

from isthmus.gaussians import normal_kl, normal_log_prob

Conditional = Callable[[int, Tensor], tuple[Tensor, Tensor]]


def levels(conditional: Conditional, sizes: Sequence[int], z: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Location and log-scale of each level, given what stands above it in codes `(..., D)`."""
    return [conditional(level, z[..., :above]) for level, above in enumerate([0, *accumulate(sizes)][:-1])]


def draw(conditional: Conditional, sizes: Sequence[int], drawn: Tensor) -> Tensor:
    """Codes `(..., D)` from standard normal draws `(..., D)`, or, from zeros, by passing means downwards."""
    z = drawn[..., :0]
    for level, away in enumerate(drawn.split(tuple(sizes), dim=-1)):
        loc, log_scale = conditional(level, z)
        z = torch.cat([z, loc + log_scale.exp() * away], dim=-1)
    return z


def log_prob(conditional: Conditional, sizes: Sequence[int], z: Tensor) -> Tensor:
    """`sum_l log N(z_l; given z_{<l})` of codes `(..., D)`, `(...)`, in nats."""
    parts = zip(z.split(tuple(sizes), dim=-1), levels(conditional, sizes, z), strict=True)
    return torch.stack([normal_log_prob(part, *level) for part, level in parts]).sum(dim=0)


def divergence(one: Conditional, other: Conditional, sizes: Sequence[int], z: Tensor) -> Tensor:
    r"""`sum_l KL(q(z_l | z_{<l}) || p(z_l | z_{<l}))` above codes `z (..., D)`, `(...)`, in nats.

    By the chain rule its mean over draws `z` of `q` is `KL(q || p)`.
    """
    pairs = zip(levels(one, sizes, z), levels(other, sizes, z), strict=True)
    return torch.stack([normal_kl(*q, *p) for q, p in pairs]).sum(dim=0)
