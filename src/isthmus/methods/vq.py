"""VQ: a fused autoencoder whose codes are words of a learnt codebook.

```text
sum over A in {all observed, a random part of it} of
    1/2 ( sum_m log p(x_m|e(z_A)) - 0.25 || z_A - e(z_A) ||^2 )

z_A = f(x_A)      e(z): each group of numbers replaced by the nearest word of its codebook, with the gradient of z
```

- **Good at**: short codes. An item is `G` words out of `W`, `G log2 W` bits: 128 with the defaults (64 numbers in 16
  groups of four, 256 words each). `model.encode(batch).indices` has the words as numbers, which a codec or a model of
  sequences takes.
- **Weak**: on small tables many words stand for few items. Codes carry no uncertainty and items have no likelihood.
  New items come from a density fitted to codes, each group then taking the word nearest to what was drawn. An item
  with nothing has the mean code, which is no word, and -1 for indices.
- **Cost of a step**: as `fused`, and `G W` distances for each item.

Words are running means, learnt in training alone. A step's counts and sums go to the trainer, which adds them up over
processes: two processes learn the codebook that one would, and a resumed run goes on with it to the same bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from isthmus.inference import QuantisedInference
from isthmus.methods.base import Capabilities, Method, Phase, Player, feature_fusion, register
from isthmus.modality import Modality
from isthmus.model import MultimodalAutoencoder
from isthmus.objectives import QuantisedRoutes, Routes
from isthmus.quantisers import VectorQuantiser


@register
def vq(
    modalities: Mapping[str, Modality],
    *,
    latent_dim: int,
    num_groups: int | None = None,
    num_words: int = 256,
    commitment: float = 0.25,
    decay: float = 0.99,
    fusion: str = "attention",
    dropout: bool = True,
    share: str | None = None,
    balance: str | Mapping[str, float] = "per_dimension",
) -> Method:
    """VQ-VAE (van den Oord et al. 2017, arXiv:1711.00937) on the routes of `fused`: the code is cut into groups of
    numbers, each replaced by the nearest word of a codebook of its own, section 3. Words are running means of what they
    stand for, appendix A.1; one that is hardly used starts again as the vector of an item.

    Args:
        modalities: By name.
        latent_dim: Dimensions of the code.
        num_groups: Groups of dimensions, each with a codebook; None takes as many as leave each at least four.
        num_words: Words of each codebook.
        commitment: Weight of the squared distance of vectors from their words.
        decay: Of the running means, per step.
        fusion: "concat", "mean" or "attention", how encoders' features are joined.
        dropout: Also reconstruct all from a random part, so that the code can be had from any.
        share: "trunk" for common encoder layers, "encoders" for one encoder of all pictures of one shape.
        balance: Weights of the modalities' reconstructions.

    Raises:
        ValueError: Unknown fusion, or groups, words or decay that cannot be.
    """
    quantiser = VectorQuantiser(latent_dim, num_groups, num_words, decay)
    inference = partial(QuantisedInference, fusion=feature_fusion(fusion), quantiser=quantiser)
    model = MultimodalAutoencoder(modalities, latent_dim=latent_dim, fusion=inference, share=share, balance=balance)
    objective = QuantisedRoutes(Routes(dropout), commitment)
    return Method(model, [Phase([Player(objective)])], Capabilities(density=False, bound=False, uncertainty=False))
