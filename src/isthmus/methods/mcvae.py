"""MCVAE: every channel alone explains all channels.

```text
1/M sum_m ( E_q(z|x_m) [ sum_n log p(x_n|z) ] - beta KL( q(z|x_m) || p(z) ) )
```

- **Good at**: translation between any two modalities, each of which must tell all others by itself.
- **Weak**: no code is made from several modalities together but by averaging.
- **Cost of a step**: `M` encodings, `M^2` decodings.
"""

from __future__ import annotations

from collections.abc import Mapping

from isthmus.fusions import MixtureOfExperts
from isthmus.methods.base import Method, Phase, Player, register
from isthmus.modality import Modality
from isthmus.model import MultimodalAutoencoder
from isthmus.objectives import ELBO


@register
def mcvae(
    modalities: Mapping[str, Modality],
    *,
    latent_dim: int,
    beta: float = 1.0,
    warmup: float = 0.2,
    share: str | None = None,
    balance: str | Mapping[str, float] = "per_dimension",
) -> Method:
    """MCVAE (Antelmi et al. 2019, ICML, "Sparse multi-channel variational autoencoder for the joint analysis of
    heterogeneous data"): the mean over modalities of bounds in which each alone explains all. The code of an item with
    several is the mean of theirs. Without the paper's sparse prior.

    Args:
        modalities: By name.
        latent_dim: Dimensions of the code.
        beta: Weight of the divergences.
        warmup: Share of training over which beta grows from zero.
        share: "trunk" for common encoder layers, "encoders" for one encoder of all pictures of one shape.
        balance: Weights of the modalities' reconstructions.
    """
    model = MultimodalAutoencoder(
        modalities, latent_dim=latent_dim, fusion=MixtureOfExperts(), share=share, balance=balance
    )
    return Method(model, [Phase([Player(ELBO(beta, warmup, stratified=True))])])
