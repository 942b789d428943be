"""Beliefs about codes made of a flow for each modality.

Shapes: `K` draws, `T` iterations, `M` modalities, `B` items, `n` or `r` of them, `D` latent dimensions, `C` of a
context.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import torch
from torch import Tensor
from torch.nn.functional import huber_loss

from isthmus.hamiltonian import hamiltonian
from isthmus.networks.flows import CouplingFlow
from isthmus.noise import Noise
from isthmus.posteriors import Draws, Posterior
from isthmus.priors import Prior

NUM_POINTS = 32  # of a single flow, for its mean and spread
# Of a product: chains, and what each does, in units of the Normal that chains start from: a trajectory is 1.8 of them
# long. Iterations before the last four find the length of their steps and are left out of means.
NUM_CHAINS, NUM_ITERATIONS, NUM_KEPT, STEP_SIZE, NUM_LEAPS = 16, 10, 4, 0.45, 4
# Beyond so many standard deviations the prior that a product is divided by falls no faster: experts that fall slower
# than it would make a product without end.
PRIOR_REACH = 4.0


@dataclass(frozen=True)
class FlowExpert:
    r"""`q(z | x_m)` of `n` items: `z = loc + scale f^{-1}(u; context)` with standard Normal `u`.

    Args:
        flow: `f`.
        loc: `(n, D)`.
        log_scale: `(n, D)`.
        context: `(n, C)`.
    """

    flow: CouplingFlow
    loc: Tensor
    log_scale: Tensor
    context: Tensor

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density of codes `(..., n, D)`, `(..., n)`, in nats."""
        centred = (z - self.loc) * torch.exp(-self.log_scale)
        return self.flow.log_prob(centred, self.context) - self.log_scale.sum(dim=-1)

    def code(self, u: Tensor) -> Tensor:
        """Codes of noise, `(..., n, D)`."""
        return self.loc + torch.exp(self.log_scale) * self.flow.inverse(u, self.context)

    def map(self, change: Callable[[Tensor], Tensor]) -> FlowExpert:
        """The same flow, with something done to what it knows of the items."""
        return FlowExpert(self.flow, change(self.loc), change(self.log_scale), change(self.context))


@dataclass(frozen=True)
class ProductOfFlows(Posterior):
    r"""The product of the flows of what is used of each item, divided by the prior where it is counted twice.

    .. math:: q(z | x_A) \propto p(z)^{1 - |A|} \prod_{m \in A} q(z | x_m), \qquad p(z) = N(0, I)

    JNF (Senellart, Chadebec & Allassonniere 2023, arXiv:2305.11832). One modality alone leaves its flow. Products have
    no density that could be computed, and are drawn from by Hamiltonian Monte Carlo, without gradient, from the Normal
    that has the product of the flows' means and variances. Means and spreads are those of fixed points, the same for
    every item, and for products of chains from fixed starts by fixed momenta: an item's code is its own, in any batch.

    Args:
        experts: Of each modality, for the items that have it; None where no item does.
        present: Bool `(M, B)`: whose rows the experts have.
        use: Bool `(M, B)`: what of it is used.
        loc: `(B, D)`: of the Normal that is believed of items of which all modalities are used, or none.
        log_scale: `(B, D)`.
    """

    experts: Sequence[FlowExpert | None]
    present: Tensor
    use: Tensor
    loc: Tensor
    log_scale: Tensor

    @property
    def mean(self) -> Tensor:
        return self._moments[0]

    @property
    def spread(self) -> Tensor:
        return self._moments[1]

    @cached_property
    def _moments(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation, `(B, D)` each."""
        mean, spread = self.loc, torch.exp(self.log_scale)
        points = fixed_points(NUM_POINTS, self.loc.shape[1]).to(self.loc)[:, None]
        for m, rows in self._alone():
            codes = self._expert(m, rows).code(points.expand(-1, len(rows), -1))
            mean, spread = (
                whole.index_copy(0, rows, part.to(whole))
                for whole, part in ((mean, codes.mean(dim=0)), (spread, codes.std(dim=0, correction=0)))
            )
        rows = self._several()
        if len(rows):
            start, momenta, uniform = fixed_chains(self.loc.shape[1])
            shape = (-1, -1, len(rows))
            codes = self._product(
                rows,
                start.to(self.loc)[:, None].expand(-1, len(rows), -1),
                momenta.to(self.loc)[:, :, None].expand(*shape, -1),
                uniform.to(self.loc)[:, :, None].expand(*shape),
            )[-NUM_KEPT:].flatten(0, 1)
            mean = mean.index_copy(0, rows, codes.mean(dim=0).to(mean))
            spread = spread.index_copy(0, rows, codes.std(dim=0, correction=0).to(spread))
        return mean, spread

    def rsample(self, num_draws: int, noise: Noise, name: str = "z", stratified: bool = False) -> Draws:
        """Draws; those from products carry no gradient. There is one source, whether stratified or not."""
        num_items, latent_dim = self.loc.shape
        drawn = noise.normal(name, num_items, num_draws, latent_dim, like=self.loc).movedim(0, 1)  # (K, B, D)
        z = self.loc + torch.exp(self.log_scale) * drawn
        for m, rows in self._alone():
            z = z.index_copy(1, rows, self._expert(m, rows).code(drawn[:, rows]).to(z))
        rows = self._several()
        if len(rows):
            shape = (num_items, NUM_ITERATIONS, num_draws)
            momenta = noise.normal(f"{name}/momenta", *shape, latent_dim, like=self.loc)[rows].movedim(0, 2)
            uniform = noise.uniform(f"{name}/taken", *shape, like=self.loc)[rows].movedim(0, 2)
            z = z.index_copy(1, rows, self._product(rows, drawn[:, rows], momenta, uniform)[-1].to(z))
        component = torch.zeros(num_draws, 1, num_items, dtype=torch.long, device=z.device)
        return Draws(z[:, None], z.new_ones(1, num_items), component)

    def log_prob(self, z: Tensor) -> Tensor:
        raise TypeError(
            "A product of flows has no density that can be computed. Choose a method whose posterior has one, such as "
            "mvtcae, for likelihoods."
        )

    def component_kl(self, prior: Prior) -> Tensor:
        raise TypeError("The divergence of a product of flows from a prior is not known.")

    def kl(self, prior: Prior) -> Tensor:
        return self.component_kl(prior)[0]

    def detach(self) -> ProductOfFlows:
        experts = [None if expert is None else expert.map(Tensor.detach) for expert in self.experts]
        return replace(self, experts=experts, loc=self.loc.detach(), log_scale=self.log_scale.detach())

    def _alone(self) -> list[tuple[int, Tensor]]:
        """Modalities, and the places `(r,)` of the items of which each is used alone, and is not all there could be."""
        alone = self.use & (self.use.sum(dim=0) == 1) & ~self.use.all(dim=0)
        return [(m, row.nonzero().squeeze(1)) for m, row in enumerate(alone) if row.any()]

    def _several(self) -> Tensor:
        """Places `(r,)` of items of which more than one modality is used, but not all."""
        return ((self.use.sum(dim=0) > 1) & ~self.use.all(dim=0)).nonzero().squeeze(1)

    def _expert(self, m: int, rows: Tensor) -> FlowExpert:
        """Of items at the places `rows`, all of which have modality `m`."""
        expert = self.experts[m]
        assert expert is not None
        slots = (self.present[m].cumsum(0) - 1)[rows]
        return expert.map(lambda value: value[slots])

    def _product(self, rows: Tensor, start: Tensor, momenta: Tensor, uniform: Tensor) -> Tensor:
        """Draws `(T, K, r, D)` from the products of items at the places `rows`.

        Args:
            rows: `(r,)`.
            start: Standard Normal, `(K, r, D)`.
            momenta: Standard Normal, `(T, K, r, D)`.
            uniform: From (0, 1), `(T, K, r)`.
        """
        # Gradients of the density are needed whatever the caller's mode is: what was made in inference mode, where
        # nothing has any, is copied.
        with torch.inference_mode(False), torch.no_grad():
            use = self.use[:, rows]
            used = [(m, at) for m, row in enumerate(use) if len(at := row.nonzero().squeeze(1))]
            experts = [(at, self._expert(m, rows[at])) for m, at in used]
            again = use.sum(dim=0) - 1  # how often the prior is divided by
            loc, scale = normal_of_product(experts, again)

            def log_density(y: Tensor) -> Tensor:
                z = loc + scale * y
                total = again * huber_loss(z, torch.zeros_like(z), reduction="none", delta=PRIOR_REACH).sum(dim=-1)
                for at, expert in experts:
                    total = total.index_add(-1, at, expert.log_prob(z[..., at, :]).to(total))
                return total

            num_adapted = NUM_ITERATIONS - NUM_KEPT
            moved = hamiltonian(log_density, start.clone(), momenta, uniform, STEP_SIZE, NUM_LEAPS, num_adapted)
            return loc + scale * moved


def normal_of_product(experts: Sequence[tuple[Tensor, FlowExpert]], again: Tensor) -> tuple[Tensor, Tensor]:
    """Location and scale `(r, D)` of the product of Normals with the experts' means and variances, divided by N(0, I)
    `again` times, and never wider than it.

    Args:
        experts: Each with the places in `r` of its items.
        again: `(r,)`.
    """
    like = experts[0][1].loc
    points = fixed_points(NUM_POINTS, like.shape[1]).to(like)[:, None]
    precision = -again.to(like)[:, None].expand(-1, like.shape[1])
    pulled = torch.zeros_like(precision)
    for at, expert in experts:
        codes = expert.code(points.expand(-1, len(at), -1))
        own = 1 / codes.var(dim=0, correction=0)
        precision = precision.index_add(0, at, own.to(precision))
        pulled = pulled.index_add(0, at, (own * codes.mean(dim=0)).to(pulled))
    precision = precision.clamp_min(1.0)
    return pulled / precision, precision.rsqrt()


@lru_cache
def fixed_points(count: int, dim: int) -> Tensor:
    """`(count, dim)`: points like draws of N(0, I), with its mean and variances, each beside its opposite."""
    return _opposites(_generator(), count, dim)


@lru_cache
def fixed_chains(dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """Starts `(K, D)`, momenta `(T, K, D)` and chances `(T, K)`: one half of the chains is opposite to the other."""
    generator = _generator()
    start = _opposites(generator, NUM_CHAINS, dim)
    momenta = torch.stack([_opposites(generator, NUM_CHAINS, dim) for _ in range(NUM_ITERATIONS)])
    with torch.inference_mode(False):
        uniform = torch.rand(NUM_ITERATIONS, NUM_CHAINS // 2, generator=generator).repeat(1, 2)
    return start, momenta, uniform


def _opposites(generator: torch.Generator, count: int, dim: int) -> Tensor:
    with torch.inference_mode(False):  # they are kept, and must not be of the first caller's mode
        drawn = torch.randn(count // 2, dim, generator=generator)
        drawn = drawn / (drawn**2).mean(dim=0).sqrt()
        return torch.cat([drawn, -drawn])


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
