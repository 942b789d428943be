"""Wasserstein barycentre of experts.

```text
E_q(z|x) [ sum_m log p(x_m|z) ] - beta KL( q(z|x) || p(z) )

q(z|x) = N( mean of mu_m, (mean of sigma_m)^2 )
```

- **Good at**: smooth joining: the posterior moves with each expert and keeps their shape.
- **Weak**: never more certain than its experts on average, however many agree.
- **Cost of a step**: `M` encodings, `M` decodings.
"""

from __future__ import annotations

from collections.abc import Mapping

from isthmus.fusions import Barycentre
from isthmus.methods.base import Method, Phase, Player, register
from isthmus.modality import Modality
from isthmus.model import MultimodalAutoencoder
from isthmus.objectives import ELBO


@register
def barycentre(
    modalities: Mapping[str, Modality],
    *,
    latent_dim: int,
    mixture: bool = False,
    beta: float = 1.0,
    warmup: float = 0.2,
    share: str | None = None,
    balance: str | Mapping[str, float] = "per_dimension",
) -> Method:
    """Barycentric VAE (Qiu et al. 2025, AAAI, arXiv:2412.20487): the Wasserstein barycentre of the experts, or a
    mixture of those of all subsets; ELBO.

    Args:
        modalities: By name.
        latent_dim: Dimensions of the code.
        mixture: Of the barycentres of all subsets, one drawn per item and step.
        beta: Weight of the divergences.
        warmup: Share of training over which beta grows from zero.
        share: "trunk" for common encoder layers, "encoders" for one encoder of all pictures of one shape.
        balance: Weights of the modalities' reconstructions.
    """
    fusion = Barycentre(list(modalities), mixture)
    model = MultimodalAutoencoder(modalities, latent_dim=latent_dim, fusion=fusion, share=share, balance=balance)
    return Method(model, [Phase([Player(ELBO(beta, warmup))])])
