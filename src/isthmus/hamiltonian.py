"""Hamiltonian Monte Carlo: draws from a density that is known up to a factor.

Shapes: `T` iterations, `D` dimensions; `...` any number of chains, which know nothing of one another.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def hamiltonian(
    log_density: Callable[[Tensor], Tensor],
    start: Tensor,
    momenta: Tensor,
    uniform: Tensor,
    step_size: float,
    num_leaps: int,
    num_adapted: int = 0,
) -> Tensor:
    """Where chains stand after each iteration, `(T, ..., D)`, without gradient.

    Neal 2011, "MCMC using Hamiltonian dynamics", arXiv:1206.1901, section 3: leapfrog steps from fresh momenta, and the
    end of each trajectory taken or not so that the density is left as it is. All chance is the caller's.

    Args:
        log_density: Of positions `(..., D)`, `(...)`, up to a constant.
        start: Positions `(..., D)`.
        momenta: Standard Normal, `(T, ..., D)`.
        uniform: From (0, 1), `(T, ...)`: an end as likely as this is taken.
        step_size: In units of the density's width.
        num_leaps: Leapfrog steps of an iteration.
        num_adapted: Iterations, the first, in which a chain halves its step where an end is not taken, and lengthens it
            again, up to `step_size`, where it is. The density is left as it is by those after them.
    """

    def scored(z: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            value = log_density(z)
            (force,) = torch.autograd.grad(value.sum(), z)
        return value.detach(), force

    position, (height, force) = start.detach(), scored(start)
    step = torch.full_like(height, step_size)[..., None]
    visited = []
    for iteration, (momentum, chance) in enumerate(zip(momenta, uniform, strict=True)):
        z, push, speed = position, force, momentum
        for _ in range(num_leaps):
            speed = speed + 0.5 * step * push
            z = z + step * speed
            value, push = scored(z)
            speed = speed + 0.5 * step * push
        gain = value - height + 0.5 * ((momentum**2).sum(dim=-1) - (speed**2).sum(dim=-1))
        taken = chance.log() < gain  # never where a trajectory ran away to what is not a number
        position, force = (torch.where(taken[..., None], new, old) for new, old in ((z, position), (push, force)))
        height = torch.where(taken, value, height)
        visited.append(position)
        if iteration < num_adapted:
            step = torch.where(taken[..., None], (1.2 * step).clamp_max(step_size), 0.5 * step)
    return torch.stack(visited)
