"""mmJSD: a mixture of experts, held together by their distance from the geometric mean.

```text
E_q(z|x) [ sum_m log p(x_m|z) ] - beta 1/(M+1) [ KL( p(z) || g(z) ) + sum_m KL( q(z|x_m) || g(z) ) ]

q(z|x) = 1/M sum_m q(z|x_m)      g(z) = ( p(z) prod_m q(z|x_m) )^( 1/(M+1) ) / normaliser
```

- **Good at**: agreement between any two modalities, at the cost of one decode each.
- **Weak**: as other mixtures, more modalities make a code no sharper, and what is drawn varies little.
- **Cost of a step**: `M` encodings, `M` decodings; `M^2` with `stratified=true`.
- **Published**: PolyMNIST, coherence of a modality made from 1, 2, 3 and 4 others: 69, 57, 64 and 67 % (in the paper
  of MoPoE).
"""

from __future__ import annotations

from collections.abc import Mapping

from isthmus.fusions import MixtureOfExperts
from isthmus.methods.base import Capabilities, Method, Phase, Player, register
from isthmus.modality import Modality
from isthmus.model import MultimodalAutoencoder
from isthmus.objectives import JensenShannon


@register
def mmjsd(
    modalities: Mapping[str, Modality],
    *,
    latent_dim: int,
    beta: float = 1.0,
    warmup: float = 0.2,
    stratified: bool = False,
    share: str | None = None,
    balance: str | Mapping[str, float] = "per_dimension",
) -> Method:
    """Multimodal JSD (Sutter, Daunhawer & Vogt 2020, arXiv:2006.08242): codes from a mixture of experts; experts and
    prior are kept near the geometric mean of them all, section 3.

    Args:
        modalities: By name.
        latent_dim: Dimensions of the code.
        beta: Weight of the divergences.
        warmup: Share of training over which beta grows from zero.
        stratified: Draw from every expert in each step; False draws one per item, M times cheaper.
        share: "trunk" for common encoder layers, "encoders" for one encoder of all pictures of one shape.
        balance: Weights of the modalities' reconstructions.
    """
    model = MultimodalAutoencoder(
        modalities, latent_dim=latent_dim, fusion=MixtureOfExperts(), share=share, balance=balance
    )
    return Method(model, [Phase([Player(JensenShannon(beta, warmup, stratified))])], Capabilities(bound=False))
