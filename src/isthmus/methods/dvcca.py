"""DVCCA: one modality speaks for all.

```text
mu L(x_r) + (1 - mu)/(M - 1) sum_{m != r} L(x_m)      r: the reference

L(x_m) = E_q(z|x_m) [ sum_n log p(x_n|z) ] - beta KL( q(z|x_m) || p(z) )
```

- **Good at**: data in which one modality is there in use and the others are there to teach it: its code is made to
  tell them all.
- **Weak**: an item's code is that of one modality, whatever else the item has. What only the others know reaches no
  code.
- **Gaps**: in the paper every item has the reference. Here an item without it has the code of the next modality,
  those with more data dimensions first, and `mu` below one teaches the encoders of all of them on whole items too:
  the paper's bi-VCCA, for any number of modalities.
- **Cost of a step**: `M` encodings, `2 M` decodings, as one of the others is drawn for each item; `M` with `mu=1`.
"""

from __future__ import annotations

from collections.abc import Mapping

from isthmus.fusions import FirstExpert
from isthmus.methods.base import Method, Phase, Player, check_modality, register
from isthmus.modality import Modality
from isthmus.model import MultimodalAutoencoder
from isthmus.objectives import ReferenceELBO


@register
def dvcca(
    modalities: Mapping[str, Modality],
    *,
    latent_dim: int,
    reference: str | None = None,
    mu: float = 0.5,
    beta: float = 1.0,
    warmup: float = 0.2,
    share: str | None = None,
    balance: str | Mapping[str, float] = "per_dimension",
) -> Method:
    """Deep variational CCA (Wang et al. 2016, arXiv:1610.03454), for any number of modalities: the code of one, the
    reference, explains all. An item that lacks it has the code of the next one, in order of data dimensions.

    Args:
        modalities: By name.
        latent_dim: Dimensions of the code.
        reference: The modality that codes come from; None takes the one with the most data dimensions, the first by
            name among equals.
        mu: Weight of the bound from the reference, the rest is that of the other modalities (bi-VCCA); with 1, as in
            VCCA, encoders of the others learn only from items that lack the reference.
        beta: Weight of the divergence.
        warmup: Share of training over which beta grows from zero.
        share: "trunk" for common encoder layers, "encoders" for one encoder of all pictures of one shape.
        balance: Weights of the modalities' reconstructions.

    Raises:
        ValueError: No modality is called `reference`, or `mu` is outside [0, 1].
    """
    check_mu(mu)
    fusion = FirstExpert(list(modalities), reference_first(modalities, reference))
    model = MultimodalAutoencoder(modalities, latent_dim=latent_dim, fusion=fusion, share=share, balance=balance)
    return Method(model, [Phase([Player(ReferenceELBO(mu, beta, warmup))])])


def reference_first(modalities: Mapping[str, Modality], reference: str | None) -> list[str]:
    """Names of the modalities, the reference first, then those with more data dimensions before those with fewer.

    Raises:
        ValueError: No modality is called so.
    """
    if reference is not None:
        check_modality("reference", reference, modalities)
    return sorted(modalities, key=lambda name: (name != reference, -modalities[name].num_dimensions, name))


def check_mu(mu: float) -> None:
    if not 0 <= mu <= 1:
        raise ValueError(f"mu={mu} is no weight of one bound among others. Expected 0 <= mu <= 1.")
