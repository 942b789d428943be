r"""Diffusion of codes: their parts are drowned in noise, each by its own time, and a network finds the way back.

At time `t` from 0 to 1 a part of a standardised code `z` has become, at the angle :math:`\theta = \pi t / 2`,

.. math:: z_t = \cos\theta \, z + \sin\theta \, \epsilon, \qquad \epsilon \sim N(0, I)

which keeps its variance at one. A network learns the direction in which it moves, :math:`v = dz_t / d\theta =
\cos\theta\,\epsilon - \sin\theta\,z` (Salimans & Ho 2022, arXiv:2202.00512, section 4 and appendix D). At `t = 0` a
part is known; at `t = 1` nothing is left of it, to the last digit, so that a gap is a part at time 1, and there `-v` is
the mean of the part given all that is known. A schedule that ends with a trace of the signal, or a network that learns
the noise, would have no such point.

Shapes: `R` rows, `D` numbers of a code, `P` parts of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from isthmus.networks.denoiser import Denoiser
from isthmus.noise import Noise
from isthmus.samplers.base import Sampler, best_known, moments

MAX_ROWS = 8192
# How a diffusion of whole codes is fitted: about half a minute on one core for ten thousand codes of 64 numbers.
WIDTH, BLOCKS, STEPS, BATCH, RATE = 256, 3, 1500, 256, 1e-3
# Share of times that are 1 exactly, where means are told from.
AT_THE_END = 0.1


class Diffusion(nn.Module):
    """A diffusion of codes made of parts, of which any may be known.

    Args:
        sizes: Numbers of each part.
        width: Of the network.
        num_blocks: Of the network.
        num_steps: In which a draw is made.
    """

    loc: Tensor
    scale: Tensor
    part: Tensor

    def __init__(self, sizes: Sequence[int], width: int = 512, num_blocks: int = 3, num_steps: int = 50):
        super().__init__()
        self.num_steps = num_steps
        self.denoiser = Denoiser(sum(sizes), len(sizes), width, num_blocks)
        self.register_buffer("loc", torch.zeros(sum(sizes)))
        self.register_buffer("scale", torch.ones(sum(sizes)))
        part = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
        self.register_buffer("part", part, persistent=False)

    def direction(self, z: Tensor, time: Tensor) -> Tensor:
        """The network's `v`, `(R, D)`, at noisy codes `(R, D)` with their parts at the times `(R, P)`."""
        # Nothing is left at time 1: what stands there is not read, be it noise or the filling of a gap.
        read = torch.where(time[:, self.part] < 1, z, 0.0)
        moved: Tensor = self.denoiser(read, math.pi / 2 * time)
        return moved

    def error(self, codes: Tensor, time: Tensor, drawn: Tensor) -> Tensor:
        """Squared error of the direction, `(R, D)`, at codes with noise `drawn (R, D)` added to the times `(R, P)`."""
        z = (codes - self.loc) / self.scale
        angle = math.pi / 2 * time[:, self.part]
        noisy, moved = angle.cos() * z + angle.sin() * drawn, angle.cos() * drawn - angle.sin() * z
        return (self.direction(noisy, time) - moved) ** 2

    def mean(self, codes: Tensor, known: Tensor) -> Tensor:
        """`codes (R, D)`, and the mean given them for the parts that are not `known`, bool `(R, P)`: one look."""
        z = (codes - self.loc) / self.scale
        told = self.loc - self.scale * self.direction(z, (~known).to(z))
        return torch.where(known[:, self.part], codes, told)

    def complete(self, codes: Tensor, known: Tensor, start: Tensor) -> Tensor:
        r"""`codes (R, D)`, and a draw given them for the parts that are not `known`, bool `(R, P)`.

        Follows :math:`dz = v\,d\theta`, the probability flow (Song et al. 2021, arXiv:2011.13456, section 4.3), from
        the noise `start (R, D)` back to angle 0, by the second-order rule of Adams and Bashforth: one look a step.
        """
        fixed, z = known[:, self.part], (codes - self.loc) / self.scale
        step, moving, before = math.pi / 2 / self.num_steps, start, None
        for number in range(self.num_steps, 0, -1):
            moving = torch.where(fixed, z, moving)
            now = self.direction(moving, torch.where(known, 0.0, number / self.num_steps).to(z))
            moving = moving - step * (now if before is None else 1.5 * now - 0.5 * before)
            before = now
        return torch.where(fixed, codes, self.loc + self.scale * moving)

    def sample(self, rows: int, noise: Noise, name: str = "diffusion") -> Tensor:
        """Codes `(rows, D)` of new items."""
        start = noise.normal(name, rows, len(self.loc), like=self.loc)
        nothing = torch.zeros(rows, int(self.part[-1]) + 1, dtype=torch.bool, device=start.device)
        parts = zip(start.split(MAX_ROWS), nothing.split(MAX_ROWS), strict=True)
        return torch.cat([self.complete(torch.zeros_like(part), known, part) for part, known in parts])


def random_times(noise: Noise, name: str, rows: int, *shape: int, like: Tensor) -> Tensor:
    """Times `(rows, *shape)` between 0 and 1, later ones more often, a tenth of them 1 exactly, where means are told
    from.

    At a time `t` they have the density `2 t`: what an item is, of which class say, is settled where little is left of
    it, and late times are also the harder ones to learn.
    """
    return (noise.uniform(name, rows, *shape, like=like) / (1 - AT_THE_END)).clamp_max(1.0).sqrt()


class CodeDiffusion(Sampler):
    """A diffusion of whole codes.

    Args:
        latent_dim: `D`.
    """

    def __init__(self, latent_dim: int):
        super().__init__()
        self.diffusion = Diffusion([latent_dim], WIDTH, BLOCKS)

    @classmethod
    def fit(cls, codes: Tensor, observed: Tensor | None = None, seed: int = 0) -> CodeDiffusion:
        codes = best_known(codes, observed, seed).float()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            sampler = cls(codes.shape[1])
        model = sampler.diffusion
        loc, scale = moments(codes)
        model.loc.copy_(loc)
        model.scale.copy_(scale)
        optimiser = torch.optim.Adam(model.parameters(), RATE)
        decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
        with torch.enable_grad():
            for step in range(STEPS):
                noise = Noise(seed, step)
                some = codes[(noise.uniform("items", BATCH, like=codes) * len(codes)).long()]
                time = random_times(noise, "time", BATCH, 1, like=codes)
                optimiser.zero_grad(set_to_none=True)
                model.error(some, time, noise.normal("noise", *some.shape, like=codes)).mean().backward()
                optimiser.step()
                decay.step()
        return sampler.requires_grad_(False)

    @classmethod
    def like(cls, state: Mapping[str, Tensor]) -> CodeDiffusion:
        return cls(len(state["diffusion.loc"])).requires_grad_(False)

    def sample(self, rows: int, noise: Noise, name: str = "sampler") -> Tensor:
        return self.diffusion.sample(rows, noise, name)
