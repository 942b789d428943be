"""DVCCA-private: one modality speaks for what all share, each for itself.

```text
mu L(x_r) + (1 - mu)/(M - 1) sum_{m != r} L(x_m)      r: the reference

L(x_m) = E [ sum_n log p(x_n|z, w_n) ] - beta [ KL( q(z|x_m) || p(z) ) + sum_n KL( q(w_n|x_n) || p(w) ) ]

z ~ q(z|x_m)      w_n ~ q(w_n|x_n): the private code of x_n
```

- **Good at**: as `dvcca`, with a place for what each modality alone knows, so that the shared code need not hold it.
- **Weak**: as `dvcca`; and a private code with many dimensions carries everything, as in `dmvae`.
- **Gaps**: as `dvcca`. Private codes of what an item lacks are those of the prior.
- **Cost of a step**: as `dvcca`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from isthmus.fusions import FirstExpert
from isthmus.inference import PrivateInference
from isthmus.methods.base import Method, Phase, Player, register
from isthmus.methods.dvcca import check_mu, reference_first
from isthmus.modality import Modality
from isthmus.model import MultimodalAutoencoder
from isthmus.objectives import ReferenceELBO


@register
def dvcca_private(
    modalities: Mapping[str, Modality],
    *,
    latent_dim: int,
    private_dim: int = 8,
    reference: str | None = None,
    mu: float = 0.5,
    beta: float = 1.0,
    warmup: float = 0.2,
    share: str | None = None,
    balance: str | Mapping[str, float] = "per_dimension",
) -> Method:
    """VCCA-private (Wang et al. 2016, arXiv:1610.03454): the shared code of one modality, the reference, and a private
    code of each explain all. An item that lacks the reference has the shared code of the next one, in order of data
    dimensions.

    Args:
        modalities: By name.
        latent_dim: Dimensions of the shared code.
        private_dim: Dimensions of each private code. Few: they can carry everything, and then nothing is shared.
        reference: The modality that shared codes come from; None takes the one with the most data dimensions, the
            first by name among equals.
        mu: Weight of the bound from the reference, the rest is that of the other modalities (bi-VCCA); with 1, as in
            VCCA, the others' shared codes learn only from items that lack the reference.
        beta: Weight of the divergences.
        warmup: Share of training over which beta grows from zero.
        share: "trunk" for common encoder layers, "encoders" for one encoder of all pictures of one shape.
        balance: Weights of the modalities' reconstructions.

    Raises:
        ValueError: No modality is called `reference`, or `mu` is outside [0, 1].
    """
    check_mu(mu)
    fusion = FirstExpert(list(modalities), reference_first(modalities, reference))
    model = MultimodalAutoencoder(
        modalities,
        latent_dim=latent_dim,
        private_dim=private_dim,
        fusion=partial(PrivateInference, fusion=fusion, private_dim=private_dim),
        share=share,
        balance=balance,
    )
    return Method(model, [Phase([Player(ReferenceELBO(mu, beta, warmup))])])
