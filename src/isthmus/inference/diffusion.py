"""Codes side by side whose joint density is a diffusion: it draws new items, and what is missing of known ones.

Shapes: `K` draws, `M` modalities, `B` items, `P` dimensions of each modality's code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from isthmus.inference.separate import SeparateInference
from isthmus.noise import Noise
from isthmus.posteriors import Draws, Posterior
from isthmus.priors import Prior
from isthmus.samplers.base import moments
from isthmus.samplers.diffusion import Diffusion


class DiffusionPrior(Prior):
    """The density that a diffusion of codes has learnt.

    Args:
        diffusion: Of the codes of all modalities side by side, a part for each.
    """

    def __init__(self, diffusion: Diffusion):
        super().__init__()
        self.diffusion, self.latent_dim = diffusion, len(diffusion.loc)

    def log_prob(self, z: Tensor) -> Tensor:
        raise TypeError("The density that a diffusion has learnt has no closed form; it can be drawn from alone.")

    def sample(self, rows: int, noise: Noise, name: str = "prior") -> Tensor:
        return self.diffusion.sample(rows, noise, name)

    def kl_from(self, family: str, loc: Tensor, log_scale: Tensor) -> Tensor:
        raise ValueError("No closed form for the divergence from a diffusion.")


@dataclass(frozen=True)
class Completion(Posterior):
    """The codes of what an item has, certain, and what a diffusion makes of them for the rest.

    Args:
        code: `(B, M P)`, in the order of `model.private`; read where it is known.
        known: Bool `(B, M)`, in the same order.
        empty: `(M P,)`, the mean code of an item that has nothing.
        diffusion: Of all codes.
    """

    code: Tensor
    known: Tensor
    empty: Tensor
    diffusion: Diffusion

    @cached_property
    def mean(self) -> Tensor:
        """`(B, M P)`: what is known, and the mean of the rest given it, told in one look at time 1."""
        if bool(self.known.all()):
            return self.code
        told = self.diffusion.mean(self.code, self.known)
        return torch.where(self.known.any(dim=1, keepdim=True), told, self.empty)

    @property
    def spread(self) -> None:
        return None

    def rsample(self, num_draws: int, noise: Noise, name: str = "z", stratified: bool = False) -> Draws:
        num_items, latent_dim = self.code.shape
        start = noise.normal(name, num_items, num_draws, latent_dim, like=self.code).movedim(1, 0)  # (K, B, M P)
        if not bool(self.known.all()):
            draws = [self.diffusion.complete(self.code, self.known, each) for each in start]
        else:
            draws = [self.code] * num_draws
        component = torch.zeros(num_draws, 1, num_items, dtype=torch.long, device=self.code.device)
        return Draws(torch.stack(draws)[:, None], self.code.new_ones(1, num_items), component)

    def log_prob(self, z: Tensor) -> Tensor:
        raise TypeError("What a diffusion makes of codes has no density in closed form; it can be drawn from alone.")

    def component_kl(self, prior: Prior) -> Tensor:
        raise TypeError("What a diffusion makes of codes has no divergence in closed form.")

    def kl(self, prior: Prior) -> Tensor:
        raise TypeError("What a diffusion makes of codes has no divergence in closed form.")

    def detach(self) -> Completion:
        return replace(self, code=self.code.detach())


class DiffusionInference(SeparateInference):
    """A certain code for each modality, and a diffusion that tells those of what an item lacks.

    Args:
        widths: Features of each encoder, by name.
        latent_dim: Of a shared code, of which there is none: 0.
        prior: Has the diffusion, a part for each modality in the order of `model.private`.
        private_dim: `P`.
    """

    mean_code: Tensor

    def __init__(self, widths: Mapping[str, int], latent_dim: int, prior: DiffusionPrior, private_dim: int):
        super().__init__(widths, private_dim)
        # In a tuple, out of torch's sight: its weights are those of the model's prior, and are saved there alone.
        self._prior = (prior,)
        self.register_buffer("mean_code", torch.zeros(private_dim * len(widths)))

    def complete(self, codes: Tensor, present: Tensor) -> Completion:
        return Completion(self.beside(codes), present[self.order].T, self.mean_code, self._prior[0].diffusion)

    def prepare(self, codes: Mapping[str, Tensor]) -> None:
        diffusion, size = self._prior[0].diffusion, len(self.mean_code) // len(self.order)
        for place, name in enumerate(self.names):
            if name in codes:
                here = slice(place * size, (place + 1) * size)
                diffusion.loc[here], diffusion.scale[here] = moments(codes[name])

    def finish(self, codes: Tensor) -> None:
        self.mean_code.copy_(codes.mean(dim=0))

    @property
    def names(self) -> Sequence[str]:
        """Modalities in the order of their codes."""
        heads = list(self.heads)
        return [heads[m] for m in self.order]
