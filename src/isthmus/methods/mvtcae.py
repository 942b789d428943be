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
    beta: float | None = None,
    warmup: float = 0.0,
    dropout: float = 0.5,
    share: str | None = None,
    balance: str | Mapping[str, float] = "predictable",
) -> Method:
    """MVTCAE (Hwang et al. 2021, NeurIPS): product of experts without a prior expert, section 3.2; reconstruction from
    all that is observed, and divergences from the prior and from each expert, eq. 8.

    Args:
        modalities: By name.
        latent_dim: Dimensions of the code.
        alpha: Between 0 (a VAE) and 1 (each expert alone must explain the whole).
        beta: Weight of the divergences. None takes `alpha` times the number of modalities: the divergence from each
            expert then weighs `alpha` squared, whether two modalities are trained or ten.
        warmup: Share of training over which beta grows from zero.
        dropout: Probability that an item is reconstructed from the mean code of a random part of what it has; 0 as in
            the paper.
        share: "trunk" for common encoder layers.
        balance: Weights of the modalities' reconstructions.
    """
    model = MultimodalAutoencoder(
        modalities, latent_dim=latent_dim, fusion=ProductOfExperts(with_prior=False), share=share, balance=balance
    )
    weight = alpha * len(modalities) if beta is None else beta
    return Method(model, [Phase([Player(TotalCorrelation(alpha, weight, warmup, dropout))])])
