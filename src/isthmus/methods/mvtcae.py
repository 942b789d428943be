"""MVTCAE: product of experts under a total-correlation objective."""

from __future__ import annotations

from collections.abc import Mapping

from isthmus.fusions import ProductOfExperts
from isthmus.methods.base import Method, Phase, Player, register
from isthmus.modality import Modality
from isthmus.model import MultimodalAutoencoder
from isthmus.objectives import TotalCorrelation


@register
def mvtcae(
    modalities: Mapping[str, Modality],
    *,
    latent_dim: int,
    alpha: float = 5 / 6,
    beta: float = 2.5,
    warmup: float = 0.0,
    share: str | None = None,
    balance: str | Mapping[str, float] = "per_dimension",
) -> Method:
    """MVTCAE (Hwang et al. 2021, NeurIPS): product of experts without a prior expert, section 3.2; reconstruction from
    all that is observed, and divergences from the prior and from each expert, eq. 8.

    Args:
        modalities: By name.
        latent_dim: Dimensions of the code.
        alpha: Between 0 (a VAE) and 1 (each expert alone must explain the whole).
        beta: Weight of the divergences.
        warmup: Share of training over which beta grows from zero.
        share: "trunk" for common encoder layers.
        balance: Weights of the modalities' reconstructions.
    """
    model = MultimodalAutoencoder(
        modalities, latent_dim=latent_dim, fusion=ProductOfExperts(with_prior=False), share=share, balance=balance
    )
    return Method(model, [Phase([Player(TotalCorrelation(alpha, beta, warmup))])])
