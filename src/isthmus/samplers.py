"""Densities fitted to the codes of the training items, to draw new items from.

Codes do not fill the prior: decoding draws from N(0, I) gives modalities that do not agree. A density of the codes
themselves does better (MVTCAE on PolyMNIST: joint coherence 0.01 from the prior, 0.46 from a mixture).
"""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor, nn

from isthmus.noise import Noise

MAX_COMPONENTS = 64
MAX_FITTED = 20_000


class MixtureSampler(nn.Module):
    """A mixture of Normals with full covariances, one code at a time: few enough numbers to be saved with the model.

    Args:
        num_components: Of the mixture.
        latent_dim: Dimensions `D` of the code.
    """

    log_weight: Tensor
    loc: Tensor
    factor: Tensor

    def __init__(self, num_components: int, latent_dim: int):
        super().__init__()
        self.register_buffer("log_weight", torch.full((num_components,), -math.log(num_components)))
        self.register_buffer("loc", torch.zeros(num_components, latent_dim))
        self.register_buffer("factor", torch.eye(latent_dim).repeat(num_components, 1, 1))

    @classmethod
    def fit(cls, codes: Tensor, spread: Tensor | None, seed: int = 0) -> MixtureSampler:
        """Fit by expectation-maximisation to codes `(N, D)`.

        Args:
            codes: Of the training items.
            spread: `(N, D)`, their standard deviations, or None. One draw from each item's posterior is fitted, not
                its mean: decoders were trained on draws.
            seed: Of the draw and of the start.
        """
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture

        codes = codes.detach().cpu().double()
        if spread is not None:
            codes = codes + spread.cpu().double() * Noise(seed).normal("sampler", *codes.shape, like=codes)
        if len(codes) > MAX_FITTED:
            chosen = Noise(seed).uniform("sampler/items", len(codes), like=codes).argsort()[:MAX_FITTED]
            codes = codes[chosen]
        num_components = num_components_for(*codes.shape)
        mixture = GaussianMixture(num_components, reg_covar=1e-4, max_iter=100, random_state=seed)
        with warnings.catch_warnings():
            # A mixture one step short of convergence draws as well as a converged one.
            warnings.simplefilter("ignore", ConvergenceWarning)
            mixture.fit(codes.numpy())
        sampler = cls(num_components, codes.shape[1])
        sampler.log_weight.copy_(torch.from_numpy(mixture.weights_).log())
        sampler.loc.copy_(torch.from_numpy(mixture.means_))
        sampler.factor.copy_(torch.linalg.cholesky(torch.from_numpy(mixture.covariances_)))
        return sampler

    def sample(self, rows: int, noise: Noise) -> Tensor:
        """Codes `(rows, D)` of new items."""
        component = noise.categorical("sampler/component", self.log_weight.expand(rows, -1))
        drawn = noise.normal("sampler/z", *self.loc[component].shape, like=self.loc)
        return self.loc[component] + torch.einsum("rde,re->rd", self.factor[component], drawn)


def num_components_for(num_items: int, latent_dim: int) -> int:
    """Components that `num_items` codes can carry: at least five items for every dimension of each, 64 at most."""
    return max(1, min(MAX_COMPONENTS, num_items // (5 * latent_dim)))
