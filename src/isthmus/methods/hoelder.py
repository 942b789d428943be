"""Hoelder pooling: the squared sum of the roots of the experts.

```text
E_q(z|x) [ sum_m log p(x_m|z) ] - beta KL( q(z|x) || p(z) )

q(z|x): the Normal with the mean and variance of    1/c ( sum_m sqrt q(z|x_m) )^2
```

- **Good at**: a middle way between product and mixture: experts that agree sharpen one another, experts that do not
  are each heard.
- **Weak**: in many dimensions experts seldom overlap, and the pool is nearly the mixture.
- **Cost of a step**: `M` encodings, `M` decodings.
"""

from __future__ import annotations

from collections.abc import Mapping

from isthmus.fusions import HoelderPooling
from isthmus.methods.base import Method, Phase, Player, register
from isthmus.modality import Modality
from isthmus.model import MultimodalAutoencoder
from isthmus.objectives import ELBO


@register
def hoelder(
    modalities: Mapping[str, Modality],
    *,
    latent_dim: int,
    exact: bool = False,
    beta: float = 1.0,
    warmup: float = 0.2,
    share: str | None = None,
    balance: str | Mapping[str, float] = "per_dimension",
) -> Method:
    """HELVAE (Vo & Valera 2026, arXiv:2601.06572): one Normal with the mean and variance of the experts' Hoelder pool;
    with `exact` all components of the pool (as in Hoelder++, Vo et al. 2026, arXiv:2606.13381, which has private codes
    too).

    Args:
        modalities: By name.
        latent_dim: Dimensions of the code.
        exact: Keep the `M (M + 1) / 2` components of the pool.
        beta: Weight of the divergences.
        warmup: Share of training over which beta grows from zero.
        share: "trunk" for common encoder layers, "encoders" for one encoder of all pictures of one shape.
        balance: Weights of the modalities' reconstructions.
    """
    model = MultimodalAutoencoder(
        modalities, latent_dim=latent_dim, fusion=HoelderPooling(len(modalities), exact), share=share, balance=balance
    )
    return Method(model, [Phase([Player(ELBO(beta, warmup))])])
