"""DMVAE: a product of experts for what is shared, a private code for each modality.

```text
mean over A in {all observed, each modality alone} of
    E [ sum_m log p(x_m|z, w_m) ] - beta [ KL( q(z|x_A) || p(z) ) + sum_m KL( q(w_m|x_m) || p(w) ) ]

z ~ q(z|x_A) = p(z) prod_{m in A} q(z|x_m) / normaliser      w_m ~ q(w_m|x_m): the private code of x_m
```

- **Good at**: reconstruction, and telling apart what is shared and what is not: every modality is decoded from what
  each of the others alone says of it, beside its own private code.
- **Weak**: a private code with many dimensions carries everything, and translations, which lack it, then show
  nothing.
- **Cost of a step**: `M` encodings, `M (M + 1)` decodings.
- **Published**: MNIST-SVHN, coherence across, back and of new pairs: 88.1, 83.7 and 44.7 % (its paper).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from isthmus.fusions import ProductOfExperts
from isthmus.inference import PrivateInference
from isthmus.methods.base import Method, Phase, Player, register
from isthmus.modality import Modality
from isthmus.model import MultimodalAutoencoder
from isthmus.objectives import SubsetELBO


@register
def dmvae(
    modalities: Mapping[str, Modality],
    *,
    latent_dim: int,
    private_dim: int = 8,
    beta: float = 1.0,
    warmup: float = 0.2,
    share: str | None = None,
    balance: str | Mapping[str, float] = "per_dimension",
) -> Method:
    """DMVAE (Lee & Pavlovic 2021, arXiv:2012.13024): a product of experts with the prior for what modalities share and
    a private code for each, section 3; all are reconstructed from the shared code of all and from that of each alone,
    each with its own private code.

    Args:
        modalities: By name.
        latent_dim: Dimensions of the shared code.
        private_dim: Dimensions of each private code. Few: they can carry everything, and then nothing is shared.
        beta: Weight of the divergences.
        warmup: Share of training over which beta grows from zero.
        share: "trunk" for common encoder layers, "encoders" for one encoder of all pictures of one shape.
        balance: Weights of the modalities' reconstructions.
    """
    model = MultimodalAutoencoder(
        modalities,
        latent_dim=latent_dim,
        private_dim=private_dim,
        fusion=partial(PrivateInference, fusion=ProductOfExperts(with_prior=True), private_dim=private_dim),
        share=share,
        balance=balance,
    )
    return Method(model, [Phase([Player(SubsetELBO(beta, warmup, random_subsets=0, cross=True))])])
