"""Generalised product of experts: a product of experts to learnt powers.

```text
as mvae, with    q(z|x_A) = prod_{m in A} q(z|x_m)^(a_m) / normaliser,    sum_{m in A} a_m = 1 in each dimension
```

- **Good at**: a product that no expert wins by being too sure of itself; what each is trusted in is learnt.
- **Weak**: an item with more modalities is no more certain than the surest of them.
- **Cost of a step**: as `mvae`.
"""

from __future__ import annotations

from collections.abc import Mapping

from isthmus.fusions import WeightedProduct
from isthmus.methods.base import Method, Phase, Player, register
from isthmus.modality import Modality
from isthmus.model import MultimodalAutoencoder
from isthmus.objectives import SubsetELBO


@register
def gpoe(
    modalities: Mapping[str, Modality],
    *,
    latent_dim: int,
    beta: float = 1.0,
    warmup: float = 0.2,
    random_subsets: int = 1,
    share: str | None = None,
    balance: str | Mapping[str, float] = "per_dimension",
) -> Method:
    """Generalised product of experts (Cao & Fleet 2014, arXiv:1410.7827), in an autoencoder: a product of experts to
    learnt powers that sum to one in each dimension, trained as `mvae` on the ELBOs of the whole, of each modality alone
    and of random subsets.

    Args:
        modalities: By name.
        latent_dim: Dimensions of the code.
        beta: Weight of the divergences.
        warmup: Share of training over which beta grows from zero.
        random_subsets: Random subsets per item and step.
        share: "trunk" for common encoder layers, "encoders" for one encoder of all pictures of one shape.
        balance: Weights of the modalities' reconstructions.
    """
    fusion = WeightedProduct(list(modalities), latent_dim)
    model = MultimodalAutoencoder(modalities, latent_dim=latent_dim, fusion=fusion, share=share, balance=balance)
    return Method(model, [Phase([Player(SubsetELBO(beta, warmup, random_subsets))])])
