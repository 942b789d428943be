"""Priors `p(z)` over codes.

Shapes: `D` latent dimensions; `z (..., D)`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor, nn

from isthmus import gaussians, ladders
from isthmus.noise import Noise

LADDER_WIDTH = 128


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

    def moments(self) -> tuple[Tensor, Tensor] | None:
        """Location and log-scale `(D,)` of one component with this prior's mean and standard deviation: what is
        believed of an item that has nothing. None stands for zero and one.
        """
        return None

    def part_log_prob(self, z: Tensor, place: slice) -> Tensor:
        """Log density of one part of a code, `z (..., d)` at `place`, shared or private, `(...)`, in nats.

        Raises:
            TypeError: This prior has no parts.
        """
        raise TypeError(f"{type(self).__name__} has no parts. Methods with private codes need a prior that has.")

    def finish(self, codes: Tensor) -> None:
        """Told the codes `(N, D)` of the training items once training has ended."""


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

    def moments(self) -> tuple[Tensor, Tensor] | None:
        return (torch.zeros_like(self.logits), self.log_scale) if self.learned else None

    def log_prob(self, z: Tensor) -> Tensor:
        return self.part_log_prob(z, slice(None))

    def part_log_prob(self, z: Tensor, place: slice) -> Tensor:
        return gaussians.log_prob(self.family, z, torch.zeros_like(self.logits[place]), self.log_scale[place])

    def sample(self, rows: int, noise: Noise, name: str = "prior") -> Tensor:
        return self.log_scale.exp() * noise.draw(self.family, name, rows, self.latent_dim, like=self.logits)

    def kl_from(self, family: str, loc: Tensor, log_scale: Tensor) -> Tensor:
        if family != self.family:
            raise ValueError(f"No closed form for the divergence of a {family} posterior from a {self.family} prior.")
        kl = gaussians.normal_kl if family == "normal" else gaussians.laplace_kl
        return kl(loc, log_scale, torch.zeros_like(self.logits), self.log_scale)


class StandardNormal(LocationScale):
    """N(0, I)."""

    def __init__(self, latent_dim: int):
        super().__init__(latent_dim)


class ClusterPrior(Prior):
    r"""A mixture over the shared part of a code, in which clusters form; private parts are standard.

    .. math:: p(z, w) = \sum_c \pi_c\, p(z; \mu_c, s_c) \prod_m p(w_m; 0, 1)

    CMVAE (Palumbo et al. 2024, ICLR, "Deep generative clustering with multimodal diffusion variational autoencoders").
    Its bound has `log p(z, c) - log q(c|z)` under `q(c|z) = p(c|z)`, which is `log p(z)` whatever `c`: the sum over
    clusters is exact.

    Args:
        shared_dim: Dimensions of the shared part.
        private_dim: Dimensions of all private parts together.
        num_clusters: At first; `finish` leaves out those that training did not need.
        family: "normal" or "laplace".
        beta: Weight of the entropy against the likelihood when clusters are left out.
    """

    active: Tensor

    def __init__(self, shared_dim: int, private_dim: int, num_clusters: int, family: str = "normal", beta: float = 1.0):
        super().__init__()
        self.latent_dim, self.shared_dim, self.family, self.beta = shared_dim + private_dim, shared_dim, family, beta
        self.logits = nn.Parameter(torch.zeros(num_clusters))
        # Apart, or all would learn the same; near enough that the whole is about standard.
        self.loc = nn.Parameter(0.25 * torch.randn(num_clusters, shared_dim))
        self.log_scale = nn.Parameter(torch.zeros(num_clusters, shared_dim))
        self.register_buffer("active", torch.ones(num_clusters, dtype=torch.bool))

    @property
    def log_weight(self) -> Tensor:
        """`(C,)`, normalised over the clusters that are left; minus infinity for others."""
        return torch.where(self.active, self.logits, -torch.inf).log_softmax(dim=0)

    def moments(self) -> tuple[Tensor, Tensor]:
        """Of all clusters together: no single component is this prior."""
        weight = self.log_weight.exp()[:, None]
        unit = 1.0 if self.family == "normal" else 2.0  # variance of a component of scale one
        loc = (weight * self.loc).sum(dim=0)
        variance = (weight * (unit * torch.exp(2 * self.log_scale) + (self.loc - loc) ** 2)).sum(dim=0)
        zero = loc.new_zeros(self.latent_dim - self.shared_dim)
        return torch.cat([loc, zero]), torch.cat([0.5 * (variance / unit).log(), zero])

    def joint_log_prob(self, z: Tensor) -> Tensor:
        """`log p(z, c)` of shared parts `(..., D)`, `(..., C)`."""
        return self.log_weight + gaussians.log_prob(self.family, z[..., None, :], self.loc, self.log_scale)

    def assign(self, codes: Tensor) -> Tensor:
        """`p(c | z)` of codes, shared or whole, `(..., C)`; zero for clusters that were left out."""
        return self.joint_log_prob(codes[..., : self.shared_dim]).softmax(dim=-1)

    def part_log_prob(self, z: Tensor, place: slice) -> Tensor:
        if not place.start:
            return self.joint_log_prob(z).logsumexp(dim=-1)
        zero = torch.zeros_like(z)
        return gaussians.log_prob(self.family, z, zero, zero)

    def log_prob(self, z: Tensor) -> Tensor:
        shared, private = z[..., : self.shared_dim], z[..., self.shared_dim :]
        return self.part_log_prob(shared, slice(0, self.shared_dim)) + self.part_log_prob(
            private, slice(self.shared_dim, self.latent_dim)
        )

    def sample(self, rows: int, noise: Noise, name: str = "prior") -> Tensor:
        drawn = noise.draw(self.family, name, rows, self.latent_dim, like=self.loc)
        cluster = noise.categorical(f"{name}/cluster", self.log_weight.expand(rows, -1))
        shared = self.loc[cluster] + self.log_scale[cluster].exp() * drawn[:, : self.shared_dim]
        return torch.cat([shared, drawn[:, self.shared_dim :]], dim=1)

    def kl_from(self, family: str, loc: Tensor, log_scale: Tensor) -> Tensor:
        raise ValueError("No closed form for the divergence from a prior of clusters. Draw it, as cmvae does.")

    @torch.no_grad()
    def finish(self, codes: Tensor) -> None:
        r"""Leave out clusters, the least used first, and keep the number that is clearest about the training items.

        The fewest of all numbers of clusters by :math:`\beta H(c|z) / \log C - \log p(z) / D`, means over items, with
        `C` the clusters left and `D` the shared dimensions: the penalised normalised entropy of the authors' code, on
        mean codes. One cluster alone, which is never in doubt, is not considered.
        """
        z = codes[:, : self.shared_dim].to(self.loc)
        self.active.fill_(True)
        if len(self.active) < 2 or not len(z):
            return
        best, kept = None, self.active.clone()
        while True:
            joint = self.joint_log_prob(z)
            share = joint.softmax(dim=1)
            number = int(self.active.sum())
            entropy = torch.special.entr(share).sum(dim=1).mean() / math.log(number)
            score = float(self.beta * entropy - joint.logsumexp(dim=1).mean() / self.shared_dim)
            if best is None or score < best:
                best, kept = score, self.active.clone()
            if number == 2:
                break
            mass = torch.where(
                self.active,
                share.max(dim=1).values @ nn.functional.one_hot(share.argmax(dim=1), len(self.active)).to(share),
                torch.inf,
            )
            self.active[mass.argmin()] = False
        self.active.copy_(kept)


class LadderPrior(Prior):
    r"""Levels of a code, the top one standard, each below a diagonal Normal that a network makes of those above it.

    .. math:: p(z) = N(z_1; 0, 1) \prod_{l>1} N(z_l; \mu_l(z_{<l}), \sigma_l(z_{<l})^2)

    At first N(0, I), as the last layers of the networks are zero. The whole code has the levels side by side.

    Args:
        sizes: Dimensions of each level, of the top one first.
    """

    like: Tensor

    def __init__(self, sizes: Sequence[int]):
        super().__init__()
        self.sizes, self.latent_dim = tuple(sizes), sum(sizes)
        self.networks = nn.ModuleList(
            nn.Sequential(nn.Linear(above, LADDER_WIDTH), nn.SiLU(), nn.Linear(LADDER_WIDTH, 2 * size))
            for above, size in zip(accumulate(self.sizes), self.sizes[1:], strict=False)
        )
        for network in self.networks:
            for parameter in network[-1].parameters():  # type: ignore[index]
                nn.init.zeros_(parameter)
        # Says which device and precision draws are made for, also where there is one level and nothing to be learnt.
        self.register_buffer("like", torch.zeros(0), persistent=False)

    def conditional(self, level: int, above: Tensor) -> tuple[Tensor, Tensor]:
        """Location and log-scale `(..., D_l)` of a level given the code above it, `(..., A)`."""
        if not level:
            zero = above.new_zeros(*above.shape[:-1], self.sizes[0])
            return zero, zero
        return gaussians.normal_of(self.networks[level - 1](above))

    def log_prob(self, z: Tensor) -> Tensor:
        return ladders.log_prob(self.conditional, self.sizes, z)

    def sample(self, rows: int, noise: Noise, name: str = "prior") -> Tensor:
        return ladders.draw(self.conditional, self.sizes, noise.normal(name, rows, self.latent_dim, like=self.like))

    def kl_from(self, family: str, loc: Tensor, log_scale: Tensor) -> Tensor:
        raise ValueError("No closed form for the divergence from a ladder. Draw it, as mhvae does.")
