"""Correspondence autoencoder: each modality's code is the same.

```text
(1 - alpha) sum_m log p(x_m|z_s) / D - alpha mean over pairs of || z_m - z_n ||^2

s: m itself (corr), the others (cross), or each in turn (full)
```

- **Good at**: search across modalities with few knobs: codes of an item are near each other.
- **Weak**: codes that shrink are near each other too; reconstructions alone keep them apart. Codes carry no uncertainty
  and items have no likelihood.
- **Cost of a step**: `M` encodings, `M` decodings.
"""

from __future__ import annotations

from collections.abc import Mapping

from isthmus.fusions import Mean
from isthmus.methods.base import Capabilities, Method, Phase, Player, register
from isthmus.methods.coupled import couple
from isthmus.modality import Modality
from isthmus.model import MultimodalAutoencoder
from isthmus.objectives import SingleRoutes
from isthmus.objectives.couplings import Distance
from isthmus.suggest import nearest

# What is decoded from the code of each modality alone.
VARIANTS = {"corr": "own", "cross": "others", "full": "all"}


@register
def corrae(
    modalities: Mapping[str, Modality],
    *,
    latent_dim: int,
    variant: str = "corr",
    alpha: float = 0.2,
    share: str | None = None,
    balance: str | Mapping[str, float] = "per_dimension",
) -> Method:
    """Correspondence autoencoder (Feng et al. 2014, ACM Multimedia, "Cross-modal retrieval with correspondence
    autoencoder"): an autoencoder for each modality, whose codes are near each other; the code of an item with several
    is the mean of theirs. For more than two modalities distances are the mean over pairs.

    Args:
        modalities: By name.
        latent_dim: Dimensions of the code.
        variant: "corr" decodes each modality from its own code, "cross" from those of the others, "full" from each.
        alpha: Between 0 and 1: weight of the distance, per dimension of the code, against the reconstructions, per
            dimension of the data, which have the rest.
        share: "trunk" for common encoder layers, "encoders" for one encoder of all pictures of one shape.
        balance: Weights of the modalities' reconstructions.

    Raises:
        ValueError: Unknown variant, or an alpha outside (0, 1).
    """
    if variant not in VARIANTS:
        raise ValueError(f"variant='{variant}' is unknown. Expected {', '.join(VARIANTS)}.{nearest(variant, VARIANTS)}")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha={alpha} is no share of the loss. Expected 0 < alpha < 1.")
    # The mean of features that were mapped to one width, then mapped to codes, is the mean of codes.
    model = MultimodalAutoencoder(modalities, latent_dim=latent_dim, fusion=Mean, share=share, balance=balance)
    routes = Phase([Player(SingleRoutes(VARIANTS[variant]))])
    method = Method(model, [routes], Capabilities(density=False, bound=False, uncertainty=False))
    return couple(method, {Distance(): alpha / (1 - alpha)})
