"""What is believed of the codes of a batch once a subset of modalities was seen: `q(z | x_A)`.

Shapes: `K` draws, `S` sources, `J` mixture components, `M` modalities, `B` items, `D` latent dimensions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from isthmus import gaussians, ladders
from isthmus.noise import Noise
from isthmus.priors import LadderPrior, Prior

NO_CLOSED_FORM = "The divergence of a ladder has no closed form. Draw codes and take Ladder.divergence(prior, z)."


@dataclass(frozen=True)
class Draws:
    """Draws from a posterior, and how much each source of them weighs.

    Args:
        z: `(K, S, B, D)`. `S` is 1 for plain draws, the number of components for stratified ones.
        weight: `(S, B)`, sums to one over `S`: an expectation under the posterior is the mean over `K` and the
            weighted sum over `S`. Zero marks a source that an item cannot have.
        component: Long `(K, S, B)`: the component each draw came from.
    """

    z: Tensor
    weight: Tensor
    component: Tensor

    @property
    def use(self) -> Tensor:
        """Bool `(S, B)`: the draws that count."""
        return self.weight > 0

    def expect(self, value: Tensor) -> Tensor:
        """The expectation `(B,)` of `value (K, S, B)`."""
        # where, not a product: what was drawn for a source of weight zero may be infinite.
        return torch.where(self.use, self.weight * value.mean(dim=0), 0.0).sum(dim=0)


class Posterior(ABC):
    """Beliefs over `B` codes."""

    @property
    @abstractmethod
    def mean(self) -> Tensor:
        """`(B, D)`: the code."""

    @property
    @abstractmethod
    def spread(self) -> Tensor | None:
        """`(B, D)`, standard deviation of the code; None for point codes, which claim no uncertainty."""

    @abstractmethod
    def rsample(self, num_draws: int, noise: Noise, name: str = "z", stratified: bool = False) -> Draws:
        """Draws that gradients flow through; `stratified` draws from every component and weighs."""

    @abstractmethod
    def log_prob(self, z: Tensor) -> Tensor:
        """Log density of `z (..., B, D)`, shape `(..., B)`, in nats.

        Raises:
            TypeError: The posterior is a point and has no density.
        """

    @abstractmethod
    def component_kl(self, prior: Prior) -> Tensor:
        """KL of each component from the prior, `(J, B)`, in nats; zero where an item lacks the component."""

    @abstractmethod
    def kl(self, prior: Prior) -> Tensor:
        """KL from the prior `(B,)`, in nats: exact for one component, else the convex upper bound, the weighted mean
        over components (Sutter et al. 2021, arXiv:2105.02470, eq. 6).
        """

    @abstractmethod
    def detach(self) -> Posterior:
        """The same beliefs without gradient (as in DReG)."""


@dataclass(frozen=True)
class Mixture(Posterior):
    """A finite mixture of diagonal components; with one component, simply a diagonal Normal or Laplace.

    Args:
        loc: `(J, B, D)`.
        log_scale: `(J, B, D)`.
        log_weight: `(J, B)`, normalised over `J`; minus infinity where an item lacks the component.
        members: Bool `(J, M)`: the modalities behind each component.
        family: "normal" or "laplace".
    """

    loc: Tensor
    log_scale: Tensor
    log_weight: Tensor
    members: Tensor
    family: str = "normal"

    @property
    def weight(self) -> Tensor:
        return self.log_weight.exp()

    @property
    def mean(self) -> Tensor:
        return (self.weight[..., None] * self.loc).sum(dim=0)

    @property
    def variance(self) -> Tensor:
        """`(J, B, D)`, of each component."""
        return torch.exp(2 * self.log_scale) * (1.0 if self.family == "normal" else 2.0)

    @property
    def spread(self) -> Tensor:
        between = (self.loc - self.mean) ** 2
        return (self.weight[..., None] * (self.variance + between)).sum(dim=0).sqrt()

    def rsample(self, num_draws: int, noise: Noise, name: str = "z", stratified: bool = False) -> Draws:
        num_components, num_items, latent_dim = self.loc.shape
        if stratified or num_components == 1:
            drawn = noise.draw(
                self.family, name, num_items, num_draws, num_components, latent_dim, like=self.loc
            ).movedim(0, 2)
            z = self.loc + self.log_scale.exp() * drawn
            component = torch.arange(num_components, device=z.device)[None, :, None]
            return Draws(z, self.weight, component.expand(num_draws, num_components, num_items))
        drawn = noise.draw(self.family, name, num_items, num_draws, latent_dim, like=self.loc).movedim(0, 1)
        choice = noise.gumbel(f"{name}/component", num_items, num_draws, num_components, like=self.loc)
        component = (self.log_weight.t()[:, None] + choice).argmax(dim=2).t()  # (K, B)
        index = component[..., None].expand(num_draws, num_items, latent_dim)
        z = self.loc.gather(0, index) + self.log_scale.gather(0, index).exp() * drawn
        return Draws(z[:, None], torch.ones_like(self.log_weight[:1]), component[:, None])

    def log_prob(self, z: Tensor) -> Tensor:
        if len(self.loc) == 1:
            return gaussians.log_prob(self.family, z, self.loc[0], self.log_scale[0])
        return torch.logsumexp(
            gaussians.log_prob(self.family, z[..., None, :, :], self.loc, self.log_scale) + self.log_weight, dim=-2
        )

    def component_kl(self, prior: Prior) -> Tensor:
        there = self.log_weight > -torch.inf
        return torch.where(there, prior.kl_from(self.family, self.loc, self.log_scale), 0.0)

    def kl(self, prior: Prior) -> Tensor:
        return (self.weight * self.component_kl(prior)).sum(dim=0)

    def detach(self) -> Mixture:
        return replace(
            self, loc=self.loc.detach(), log_scale=self.log_scale.detach(), log_weight=self.log_weight.detach()
        )


def one_component(loc: Tensor, log_scale: Tensor, num_modalities: int) -> Mixture:
    """A Normal made of all `M` modalities, from location and log-scale `(1, B, D)`."""
    members = torch.ones(1, num_modalities, dtype=torch.bool, device=loc.device)
    return Mixture(loc, log_scale, torch.zeros_like(loc[..., 0]), members)


@dataclass(frozen=True)
class Ladder(Posterior):
    r"""Levels of a code, each a diagonal Normal given those above it: `q(z) = prod_l q(z_l | z_{<l})`.

    The whole code has the levels side by side, the top one first.

    Args:
        conditional: From the number of a level and the code above it `(..., B, A)` to its location and log-scale,
            `(..., B, D_l)`.
        sizes: `D_l` of each level.
        start: `(B, 0)`, the code above the top level.
    """

    conditional: ladders.Conditional
    sizes: tuple[int, ...]
    start: Tensor

    @property
    def mean(self) -> Tensor:
        """Of the top level, and of each level below given the means above it."""
        return ladders.draw(self.conditional, self.sizes, self.start.new_zeros(len(self.start), sum(self.sizes)))

    @property
    def spread(self) -> Tensor:
        """Of each level, given the means above it."""
        levels = ladders.levels(self.conditional, self.sizes, self.mean)
        return torch.cat([log_scale.exp() for _, log_scale in levels], dim=-1)

    def rsample(self, num_draws: int, noise: Noise, name: str = "z", stratified: bool = False) -> Draws:
        num_items = len(self.start)
        drawn = noise.normal(name, num_items, num_draws, sum(self.sizes), like=self.start).movedim(0, 1)
        z = ladders.draw(self.conditional, self.sizes, drawn)[:, None]
        component = torch.zeros(num_draws, 1, num_items, dtype=torch.long, device=z.device)
        return Draws(z, self.start.new_ones(1, num_items), component)

    def log_prob(self, z: Tensor) -> Tensor:
        return ladders.log_prob(self.conditional, self.sizes, z)

    def divergence(self, prior: LadderPrior, z: Tensor) -> Tensor:
        """KL of each level from the prior's above draws `z (..., B, D)`, summed, `(..., B)`, in nats.

        Its mean over draws is the divergence of the whole from the prior.
        """
        return ladders.divergence(self.conditional, prior.conditional, self.sizes, z)

    def component_kl(self, prior: Prior) -> Tensor:
        raise TypeError(NO_CLOSED_FORM)

    def kl(self, prior: Prior) -> Tensor:
        """There is none in closed form.

        Raises:
            TypeError: Always; `divergence` draws it.
        """
        raise TypeError(NO_CLOSED_FORM)

    def detach(self) -> Ladder:
        def conditional(level: int, above: Tensor) -> tuple[Tensor, Tensor]:
            loc, log_scale = self.conditional(level, above)
            return loc.detach(), log_scale.detach()

        return replace(self, conditional=conditional)


@dataclass(frozen=True)
class Point(Posterior):
    """One certain code per item, `code (B, D)`: no density, no spread, every draw the same."""

    code: Tensor

    @property
    def mean(self) -> Tensor:
        return self.code

    @property
    def spread(self) -> None:
        return None

    def rsample(self, num_draws: int, noise: Noise, name: str = "z", stratified: bool = False) -> Draws:
        num_items, latent_dim = self.code.shape
        zeros = torch.zeros(num_draws, 1, num_items, dtype=torch.long, device=self.code.device)
        return Draws(self.code.expand(num_draws, 1, num_items, latent_dim), self.code.new_ones(1, num_items), zeros)

    def log_prob(self, z: Tensor) -> Tensor:
        raise TypeError("A point code has no density. Choose a method with a bound, such as mvtcae, for likelihoods.")

    def component_kl(self, prior: Prior) -> Tensor:
        return self.code.new_zeros(1, len(self.code))

    def kl(self, prior: Prior) -> Tensor:
        return self.code.new_zeros(len(self.code))

    def detach(self) -> Point:
        return Point(self.code.detach())


@dataclass(frozen=True)
class Quantised(Point):
    """One certain code per item, out of a finite set.

    Args:
        code: `(B, D)`.
        before: `(B, D)`: what was quantised.
        indices: Long `(B, G)`: the word of each group of dimensions; -1 where an item has nothing.
    """

    before: Tensor
    indices: Tensor

    def detach(self) -> Quantised:
        return Quantised(self.code.detach(), self.before.detach(), self.indices)
