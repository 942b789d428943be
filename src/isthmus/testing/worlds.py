"""A world whose posterior and evidence are known exactly, to hold bounds and estimators against.

Shapes: `D` latent dimensions, `F` features of a modality, `B` items.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from isthmus.batch import Batch
from isthmus.fusions import Fusion, ProductOfExperts
from isthmus.gaussians import MAX_LOG_SCALE
from isthmus.inference.experts import ExpertInference
from isthmus.likelihoods import NormalHead
from isthmus.modality import Modality
from isthmus.model import MultimodalAutoencoder


class LinearGaussian:
    r"""`z ~ N(0, I)`, `x_m = W_m z + c_m + noise`, with known loadings.

    The columns of every `W_m` are orthogonal, so each modality adds a diagonal precision
    :math:`W_m^T W_m / \sigma^2` to the posterior, and diagonal experts can be exact.

    Args:
        latent_dim: `D`.
        features: Features of each modality, each at least `D`.
        noise: Standard deviation of the observations.
        seed: Of the loadings.
    """

    def __init__(self, latent_dim: int, features: Mapping[str, int], noise: float = 0.5, seed: int = 0):
        if any(size < latent_dim for size in features.values()):
            raise ValueError(f"LinearGaussian got features {dict(features)}. Expected at least {latent_dim} each.")
        generator = torch.Generator().manual_seed(seed)
        self.latent_dim, self.features, self.noise, self.seed = latent_dim, dict(features), noise, seed
        self.loading: dict[str, Tensor] = {}
        self.offset: dict[str, Tensor] = {}
        for name, size in features.items():
            basis, _ = torch.linalg.qr(torch.randn(size, latent_dim, generator=generator, dtype=torch.float64))
            strength = 0.5 + torch.rand(latent_dim, generator=generator, dtype=torch.float64)
            self.loading[name] = basis * strength
            self.offset[name] = torch.randn(size, generator=generator, dtype=torch.float64)

    def sample(self, num_items: int, seed: int = 1) -> Batch:
        """A complete batch of float64 items."""
        generator = torch.Generator().manual_seed(seed)
        z = torch.randn(num_items, self.latent_dim, generator=generator, dtype=torch.float64)
        values = {}
        for name, size in self.features.items():
            noise = torch.randn(num_items, size, generator=generator, dtype=torch.float64)
            values[name] = z @ self.loading[name].T + self.offset[name] + self.noise * noise
        return Batch.from_dense(values)

    def posterior(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of `z` given what each item has, `(B, D)` each."""
        precision = torch.ones(len(batch), self.latent_dim, dtype=torch.float64)
        pulled = torch.zeros(len(batch), self.latent_dim, dtype=torch.float64)
        for name in batch:
            rows, loading = batch.rows(name), self.loading[name]
            precision[rows] += (loading**2).sum(dim=0) / self.noise**2
            pulled[rows] += (self._centred(batch, name)) @ loading / self.noise**2
        return pulled / precision, precision.rsqrt()

    def log_evidence(self, batch: Batch) -> Tensor:
        """`log p(x_observed)`, `(B,)`, in nats, from the full covariance of what each item has."""
        evidence = torch.zeros(len(batch), dtype=torch.float64)
        for item in range(len(batch)):
            alone = batch.take(torch.tensor([item]))
            names = [name for name in alone if len(alone.values[name])]
            if not names:
                continue
            loading = torch.cat([self.loading[name] for name in names])
            x = torch.cat([self._centred(alone, name)[0] for name in names])
            covariance = loading @ loading.T + self.noise**2 * torch.eye(len(x), dtype=torch.float64)
            evidence[item] = torch.distributions.MultivariateNormal(torch.zeros_like(x), covariance).log_prob(x)
        return evidence

    def modalities(self) -> dict[str, Modality]:
        """Modalities whose decoders are the true ones and whose encoders pass data through."""
        return {
            name: Modality(
                encoder=nn.Identity,
                decoder=lambda _, name=name: self._decoder(name),  # type: ignore[misc]
                likelihood=lambda: NormalHead(self.noise).double(),
                example=self.sample(2).values[name],
                num_dimensions=size,
            )
            for name, size in self.features.items()
        }

    def vae(self, fusion: Fusion) -> MultimodalAutoencoder:
        """The model that this world would teach: true decoders, and each expert the exact one for its fusion.

        With a prior expert in the product, an expert is the likelihood factor of its modality; without, and in
        mixtures, it is the exact posterior given its modality alone.
        """
        default = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        try:
            model = MultimodalAutoencoder(self.modalities(), latent_dim=self.latent_dim, fusion=fusion)
        finally:
            torch.set_default_dtype(default)
        assert isinstance(model.inference, ExpertInference)
        prior_precision = 0.0 if isinstance(fusion, ProductOfExperts) and fusion.with_prior else 1.0
        for name, head in model.inference.heads.items():
            assert isinstance(head, nn.Linear)
            precision = (self.loading[name] ** 2).sum(dim=0) / self.noise**2 + prior_precision
            weight = (self.loading[name] / self.noise**2 / precision).T
            log_scale = -0.5 * precision.log()
            with torch.no_grad():
                head.weight.copy_(torch.cat([weight, torch.zeros_like(weight)]))
                raw = MAX_LOG_SCALE * torch.atanh(log_scale / MAX_LOG_SCALE)
                head.bias.copy_(torch.cat([-weight @ self.offset[name], raw]))
        return model

    def _centred(self, batch: Batch, name: str) -> Tensor:
        values = batch.values[name]
        assert isinstance(values, Tensor)
        return values - self.offset[name]

    def _decoder(self, name: str) -> nn.Linear:
        layer = nn.Linear(self.latent_dim, self.features[name], dtype=torch.float64)
        with torch.no_grad():
            layer.weight.copy_(self.loading[name])
            layer.bias.copy_(self.offset[name])
        return layer


def importance_weighted_bound(log_joint: Tensor, log_posterior: Tensor) -> Tensor:
    """`log 1/K sum_k p(x, z_k) / q(z_k)` over the first axis (Burda et al. 2016, arXiv:1509.00519, eq. 8)."""
    return torch.logsumexp(log_joint - log_posterior, dim=0) - math.log(len(log_joint))
