"""A mixture of Normals: the density that draws of known items heed, by Bayes' rule, and the default for new ones.

Its components share one covariance. Many that do follow codes of any shape, where few with covariances of their own,
all that as many items can tell, lump classes together; and Bayes' rule then takes one factorisation for all of them.

Shapes: `C` components, `B` items, `D` latent dimensions.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from isthmus.noise import Noise
from isthmus.samplers.base import Sampler, best_known

if TYPE_CHECKING:
    import numpy as np
    from sklearn.mixture import GaussianMixture

MAX_COMPONENTS = 80
ITEMS_A_COMPONENT = 20
# Numbers that one chunk of conditional draws may hold at a time.
MAX_NUMBERS = 2**24


class CodeDensity(Sampler):
    """A mixture of Normals with one full covariance, in double precision.

    Args:
        num_components: `C`.
        latent_dim: `D`.
    """

    log_weight: Tensor
    loc: Tensor
    factor: Tensor

    def __init__(self, num_components: int, latent_dim: int):
        super().__init__()
        self.register_buffer("log_weight", torch.full((num_components,), -math.log(num_components)).double())
        self.register_buffer("loc", torch.zeros(num_components, latent_dim, dtype=torch.float64))
        self.register_buffer("factor", torch.eye(latent_dim, dtype=torch.float64))

    @classmethod
    def fit(cls, codes: Tensor, observed: Tensor | None = None, seed: int = 0) -> CodeDensity:
        """Fit by expectation-maximisation."""
        from sklearn.exceptions import ConvergenceWarning

        codes = best_known(codes, observed, seed)
        density = cls(num_components_for(len(codes)), codes.shape[1])
        if len(codes) == 1:  # of which nobody can tell how codes vary: as a standard Normal does
            density.loc.copy_(codes)
            return density
        mixture = tied_mixture(len(density.loc), reg_covar=1e-4, max_iter=50, random_state=seed)
        with warnings.catch_warnings():
            # A mixture one step short of convergence draws as well as a converged one.
            warnings.simplefilter("ignore", ConvergenceWarning)
            mixture.fit(codes.double().numpy())
        density.log_weight.copy_(torch.from_numpy(mixture.weights_).log())
        density.loc.copy_(torch.from_numpy(mixture.means_))
        density.factor.copy_(torch.linalg.cholesky(torch.from_numpy(mixture.covariances_)))
        return density

    @classmethod
    def like(cls, state: Mapping[str, Tensor]) -> CodeDensity:
        return cls(*state["loc"].shape)

    def sample(self, rows: int, noise: Noise, name: str = "density") -> Tensor:
        component = noise.categorical(f"{name}/component", self.log_weight.expand(rows, -1))
        drawn = noise.normal(name, *self.loc[component].shape, like=self.loc)
        return self.loc[component] + drawn @ self.factor.T

    def condition(
        self, loc: Tensor, log_scale: Tensor, prior_log_scale: Tensor, noise: Noise, name: str = "density"
    ) -> Tensor:
        r"""One draw per item from Bayes' rule with this density in the place of the prior.

        A posterior `q(z|x_A)` under the prior `p(z)` says of `x_A` what the ratio `q/p` says, a Normal factor that may
        be flat in some directions. The draw is from

        .. math:: r(z | x_A) \propto a(z)\, \frac{q(z | x_A)}{p(z)}

        with `a` the density of the codes, the aggregate posterior that decoders were trained on; it is the optimal
        prior (Tomczak & Welling 2018, arXiv:1705.07120, section 2). For a mixture `a` of Normals, `r` is one too.
        Where `q` is wider than `p` in a dimension, it says nothing of it.

        Args:
            loc: `(B, D)`, of Normal posteriors.
            log_scale: `(B, D)`.
            prior_log_scale: `(D,)`, of a Normal prior around zero.
            noise: For the draw.
            name: Key of the noise.

        Returns:
            `(B, D)`, in the precision of `loc`.
        """
        told = torch.exp(-2 * log_scale.double())  # (B, D)
        precision = (told - torch.exp(-2 * prior_log_scale.double())).clamp_min(0)
        pull = torch.where(precision > 0, told * loc.double(), 0.0)
        uniform = noise.gumbel(f"{name}/component", len(loc), len(self.loc), like=self.loc)
        drawn = noise.normal(name, *loc.shape, like=self.loc)
        size = max(1, MAX_NUMBERS // (self.loc.shape[1] * (self.loc.shape[1] + len(self.loc))))
        parts = zip(precision.split(size), pull.split(size), uniform.split(size), drawn.split(size), strict=True)
        return torch.cat([self._condition(*part) for part in parts]).to(loc)

    def _condition(self, precision: Tensor, pull: Tensor, uniform: Tensor, drawn: Tensor) -> Tensor:
        own = torch.cholesky_inverse(self.factor)
        own_pull = self.loc @ own  # (C, D)
        factor = torch.linalg.cholesky(own + torch.diag_embed(precision))  # (B, D, D)
        total = own_pull + pull[:, None]  # (B, C, D)
        loc = torch.cholesky_solve(total.mT, factor).mT
        # The evidence of each component, up to what all components share.
        log_weight = self.log_weight - 0.5 * (own_pull * self.loc).sum(dim=-1) + 0.5 * (total * loc).sum(dim=-1)
        item = torch.arange(len(loc), device=loc.device)
        chosen = (log_weight + uniform).argmax(dim=1)
        away = torch.linalg.solve_triangular(factor.mT, drawn[..., None], upper=True).squeeze(-1)
        return loc[item, chosen] + away


def tied_mixture(num_components: int, **settings: Any) -> GaussianMixture:
    """Scikit-learn's mixture of Normals with one covariance, of `float64` rows, at less cost.

    Scikit-learn multiplies all rows by the factor of the covariance again for every component.
    """
    import numpy as np
    from sklearn.mixture import GaussianMixture

    class TiedMixture(GaussianMixture):
        def _estimate_log_prob(self, rows: np.ndarray, **_: Any) -> np.ndarray:
            factor = self.precisions_cholesky_
            white, centres = rows @ factor, self.means_ @ factor
            squares = (white**2).sum(axis=1)[:, None] - 2 * white @ centres.T + (centres**2).sum(axis=1)
            return np.log(np.diag(factor)).sum() - 0.5 * (rows.shape[1] * math.log(2 * math.pi) + squares)

    return TiedMixture(num_components, covariance_type="tied", **settings)


def num_components_for(num_items: int) -> int:
    """Components that `num_items` codes can carry: one for every 20 of them, 80 at most."""
    return max(1, min(MAX_COMPONENTS, num_items // ITEMS_A_COMPONENT))
