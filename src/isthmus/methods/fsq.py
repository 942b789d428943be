"""FSQ: a fused autoencoder each of whose numbers is one of a few levels.

```text
sum over A in {all observed, a random part of it} of
    1/2 sum_m log p(x_m|e(z_A))

z_A = f(x_A)      e(z) = round( tanh(z) (L - 1) / 2 ) / floor(L / 2) for L levels, shifted for an even L
```

- **Good at**: short codes with nothing to tune: no codebook that could be left unused, nothing added to the loss. 64
  numbers of 8, 5, 5 and 5 levels in turn are 159.5 bits an item, read as 16 words of 1,000.
- **Weak**: as `vq`; levels lie on a fixed grid, wherever the codes would like to be.
- **Cost of a step**: as `fused`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from isthmus.inference import QuantisedInference
from isthmus.methods.base import Capabilities, Method, Phase, Player, feature_fusion, register
from isthmus.modality import Modality
from isthmus.model import MultimodalAutoencoder
from isthmus.objectives import Routes
from isthmus.quantisers import FiniteScalarQuantiser


@register
def fsq(
    modalities: Mapping[str, Modality],
    *,
    latent_dim: int,
    levels: Sequence[int] = (8, 5, 5, 5),
    fusion: str = "attention",
    dropout: bool = True,
    share: str | None = None,
    balance: str | Mapping[str, float] = "per_dimension",
) -> Method:
    """Finite scalar quantisation (Mentzer et al. 2023, arXiv:2309.15505) on the routes of `fused`: each number of the
    code is bounded and rounded to one of a few levels, section 3. Nothing is added to the loss, and there is no
    codebook to be learnt.

    Args:
        modalities: By name.
        latent_dim: Dimensions of the code.
        levels: Numbers of levels, over the dimensions in turn; as many dimensions as are given make one word.
        fusion: "concat", "mean" or "attention", how encoders' features are joined.
        dropout: Also reconstruct all from a random part, so that the code can be had from any.
        share: "trunk" for common encoder layers, "encoders" for one encoder of all pictures of one shape.
        balance: Weights of the modalities' reconstructions.

    Raises:
        ValueError: Unknown fusion, or fewer than three levels in a dimension.
    """
    quantiser = FiniteScalarQuantiser(latent_dim, levels)
    inference = partial(QuantisedInference, fusion=feature_fusion(fusion), quantiser=quantiser)
    model = MultimodalAutoencoder(modalities, latent_dim=latent_dim, fusion=inference, share=share, balance=balance)
    return Method(
        model, [Phase([Player(Routes(dropout))])], Capabilities(density=False, bound=False, uncertainty=False)
    )
