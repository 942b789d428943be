"""MVTCAE: product of experts under a total-correlation objective.

```text
(M - alpha)/M E_q(z|x) [ sum_m log p(x_m|z) ]
    - beta [ (1 - alpha) KL( q(z|x) || p(z) ) + alpha/M sum_m KL( q(z|x) || q(z|x_m) ) ]

q(z|x) = prod_m q(z|x_m) / normaliser
```

- **Good at**: quality and agreement at once, at the lowest cost: the whole is reconstructed, and each expert is drawn
  to what all of them together believe.
- **Weak**: codes do not fill the prior, so draws from it do not agree across modalities; new items are drawn from a
  density fitted to the codes instead, as with all methods here.
- **Cost of a step**: `M` encodings, `M` decodings.
- **Published**: PolyMNIST, coherence of a modality made from 1, 2, 3 and 4 others: 59, 77, 83 and 86 % (its paper);
  64, 82, 88 and 91 % (MultiVae's own).
"""

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
        share: "trunk" for common encoder layers, "encoders" for one encoder of all pictures of one shape.
        balance: Weights of the modalities' reconstructions.
    """
    model = MultimodalAutoencoder(
        modalities, latent_dim=latent_dim, fusion=ProductOfExperts(with_prior=False), share=share, balance=balance
    )
    weight = alpha * len(modalities) if beta is None else beta
    return Method(model, [Phase([Player(TotalCorrelation(alpha, weight, warmup, dropout))])])
