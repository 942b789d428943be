"""CRMVAE: a product of experts in which each expert also reconstructs its own modality.

```text
1/(M+1) [ sum_m E_q(z|x) log p(x_m|z) + sum_m E_q(z|x_m) log p(x_m|z)
    - beta ( KL( q(z|x) || p(z) ) + sum_m KL( q(z|x) || q(z|x_m) ) ) ]

q(z|x) = prod_m q(z|x_m) / normaliser
```

- **Good at**: as `mvtcae`, with encoders that also learn to keep what only their own modality needs.
- **Weak**: what is asked of an expert pulls two ways, to say what all say together and to tell its own modality in
  full.
- **Cost of a step**: `M` encodings, `2 M` decodings.
- **Published**: translated PolyMNIST, coherence of a modality made from 1, 2, 3 and 4 others: 14.5, 17.2, 19.2 and 21
  % (its paper).
"""

from __future__ import annotations

from collections.abc import Mapping

from isthmus.fusions import ProductOfExperts
from isthmus.methods.base import Method, Phase, Player, register
from isthmus.modality import Modality
from isthmus.model import MultimodalAutoencoder
from isthmus.objectives import SelfRoutes


@register
def crmvae(
    modalities: Mapping[str, Modality],
    *,
    latent_dim: int,
    beta: float = 1.0,
    warmup: float = 0.0,
    share: str | None = None,
    balance: str | Mapping[str, float] = "per_dimension",
) -> Method:
    """CRMVAE (Suzuki & Matsuo 2022, "Mitigating the limitations of multimodal VAEs with coordination-based approach"):
    product of experts without a prior expert; reconstruction from all that is observed and of each modality from
    itself, divergences from the prior and from each expert.

    Args:
        modalities: By name.
        latent_dim: Dimensions of the code.
        beta: Weight of the divergences.
        warmup: Share of training over which beta grows from zero.
        share: "trunk" for common encoder layers, "encoders" for one encoder of all pictures of one shape.
        balance: Weights of the modalities' reconstructions.
    """
    model = MultimodalAutoencoder(
        modalities, latent_dim=latent_dim, fusion=ProductOfExperts(with_prior=False), share=share, balance=balance
    )
    return Method(model, [Phase([Player(SelfRoutes(beta, warmup))])])
