"""MoPoE: mixture of the products of all subsets.

```text
E_q(z|x) [ sum_m log p(x_m|z) ] - beta 1/|P| sum_{A in P} KL( q_A(z) || p(z) )

q(z|x) = 1/|P| sum_{A in P} q_A(z)      q_A(z): the product of the experts of A      P: all subsets of what is observed
```

- **Good at**: any subset of modalities as a source, since each is a part of what is trained.
- **Weak**: the limit of `mmvae` holds here too. `2^M - 1` subsets: above six modalities 48 of them are used, chosen
  once.
- **Cost of a step**: `M` encodings, `M` decodings, as one subset is drawn for each item and step.
- **Published**: PolyMNIST, coherence of a modality made from 1, 2, 3 and 4 others: 66, 77, 81 and 83 % (its paper);
  67, 79, 84 and 85 % (MultiVae's own).
"""

from __future__ import annotations

from collections.abc import Mapping

from isthmus.fusions import MixtureOfProducts
from isthmus.methods.base import Method, Phase, Player, register
from isthmus.modality import Modality
from isthmus.model import MultimodalAutoencoder
from isthmus.objectives import ELBO


@register
def mopoe(
    modalities: Mapping[str, Modality],
    *,
    latent_dim: int,
    beta: float = 1.0,
    warmup: float = 0.2,
    share: str | None = None,
    balance: str | Mapping[str, float] = "per_dimension",
) -> Method:
    """MoPoE-VAE (Sutter, Daunhawer & Vogt 2021, arXiv:2105.02470): mixture of the products of experts of all subsets,
    eq. 5, and the mean of their divergences, eq. 6. One subset is drawn per item and step, which keeps the gradient
    unbiased at one decode per modality.

    Args:
        modalities: By name.
        latent_dim: Dimensions of the code.
        beta: Weight of the divergences.
        warmup: Share of training over which beta grows from zero.
        share: "trunk" for common encoder layers, "encoders" for one encoder of all pictures of one shape.
        balance: Weights of the modalities' reconstructions.
    """
    model = MultimodalAutoencoder(
        modalities, latent_dim=latent_dim, fusion=MixtureOfProducts(list(modalities)), share=share, balance=balance
    )
    return Method(model, [Phase([Player(ELBO(beta, warmup))])])
