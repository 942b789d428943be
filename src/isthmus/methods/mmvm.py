"""MMVM: an autoencoder for each modality, softly shared by a mixture of all experts as prior.

```text
sum_m E_q(z|x_m) log p(x_m|z) - beta sum_m KL( q(z|x_m) || 1/M sum_k q(z|x_k) )
```

- **Good at**: codes of each modality that keep what that modality knows, near one another.
- **Weak**: no modality is ever decoded from another in training; items with one modality alone are held by nothing.
  There is no joint likelihood.
- **Cost of a step**: `M` encodings, `M` decodings.
"""

from __future__ import annotations

from collections.abc import Mapping

from isthmus.fusions import MixtureOfExperts
from isthmus.methods.base import Capabilities, Method, Phase, Player, register
from isthmus.modality import Modality
from isthmus.model import MultimodalAutoencoder
from isthmus.objectives import SoftSharing


@register
def mmvm(
    modalities: Mapping[str, Modality],
    *,
    latent_dim: int,
    beta: float = 1.0,
    anneal: float = 0.5,
    pairs: bool = True,
    share: str | None = None,
    balance: str | Mapping[str, float] = "per_dimension",
) -> Method:
    """MMVM (Sutter et al. 2024, NeurIPS, "Unity by diversity: improved representation learning in multimodal VAEs"):
    every modality reconstructs itself, and its expert is kept near the mixture of all experts of the item. The code of
    an item is the mean of its experts.

    Args:
        modalities: By name.
        latent_dim: Dimensions of the code.
        beta: Weight of the divergences.
        anneal: Share of training over which the mixture takes over from N(0, I), which it starts from.
        pairs: Bound the divergence from the mixture by the mean of those from each expert, as the authors' code does;
            False estimates it by one draw.
        share: "trunk" for common encoder layers, "encoders" for one encoder of all pictures of one shape.
        balance: Weights of the modalities' reconstructions.
    """
    model = MultimodalAutoencoder(
        modalities, latent_dim=latent_dim, fusion=MixtureOfExperts(), share=share, balance=balance
    )
    return Method(
        model,
        [Phase([Player(SoftSharing(beta, anneal, pairs))])],
        # Codes follow no prior but one another: there is no joint density of the data to bound or estimate.
        Capabilities(density=False, bound=False),
    )
