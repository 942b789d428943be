"""MMVAE: mixture of experts, importance-weighted.

```text
1/M sum_m E_{z_1..z_K from q(z|x_m)} log 1/K sum_k  p(z_k) prod_n p(x_n|z_k) / q(z_k|x_A)

q(z|x_A) = 1/M sum_m q(z|x_m)
```

- **Good at**: translation: every expert is trained to decode every modality by itself.
- **Weak**: more modalities make the code no sharper, and what is made tends to be an average, of little variety;
  where a modality has much that no other tells of, the bound stays away from the evidence ([Daunhawer et al. 2022,
  arXiv:2110.04121](https://arxiv.org/abs/2110.04121)).
- **Cost of a step**: `M` encodings, `K M²` decodings (`K M` with `stratified=false`).
- **Published**: PolyMNIST, coherence of a modality made from 1, 2, 3 and 4 others: 71 % each (in the paper of MoPoE).
"""

from __future__ import annotations

from collections.abc import Mapping

from isthmus.fusions import MixtureOfExperts
from isthmus.methods.base import Method, Phase, Player, register
from isthmus.modality import Modality
from isthmus.model import MultimodalAutoencoder
from isthmus.objectives import MixtureIWAE
from isthmus.priors import LocationScale


@register
def mmvae(
    modalities: Mapping[str, Modality],
    *,
    latent_dim: int,
    num_draws: int = 1,
    dreg: bool = True,
    stratified: bool = True,
    beta: float = 1.0,
    warmup: float = 0.0,
    family: str = "laplace",
    learn_prior: bool = True,
    share: str | None = None,
    balance: str | Mapping[str, float] = "per_dimension",
) -> Method:
    """MMVAE (Shi et al. 2019, arXiv:1911.03393): mixture of experts, section 3; every expert is drawn from and decodes
    every modality, eq. 3; Laplace experts and a prior with learnt scale, section 4.

    Args:
        modalities: By name.
        latent_dim: Dimensions of the code.
        num_draws: `K` importance draws per expert.
        dreg: Doubly reparametrised gradients, in which noise does not grow with `K`.
        stratified: Draw from every expert in each step; False draws one per item, M times cheaper.
        beta: Weight of the densities against the reconstructions.
        warmup: Share of training over which beta grows from zero.
        family: Of experts and prior, "laplace" or "normal".
        learn_prior: Learn the scale of the prior.
        share: "trunk" for common encoder layers, "encoders" for one encoder of all pictures of one shape.
        balance: Weights of the modalities' reconstructions.
    """
    model = MultimodalAutoencoder(
        modalities,
        latent_dim=latent_dim,
        fusion=MixtureOfExperts(),
        prior=LocationScale(latent_dim, family, learned=learn_prior),
        family=family,
        share=share,
        balance=balance,
    )
    return Method(model, [Phase([Player(MixtureIWAE(num_draws, stratified, beta, dreg, warmup))])])
