"""A masked autoencoder: one transformer over the tokens of all modalities, of which most are hidden in training.

```text
sum_m log p(x_m | f(V))        V: a random part of the tokens of all that an item has; f(V): one certain code
```

The share of the tokens that an item shows is drawn anew in each step, and modalities share it by a draw from a flat
Dirichlet distribution: some items show nearly all of one modality, others a little of each. What is hidden is left
out of the computation, not masked. Two departures from the paper: tokens are read into one code, which everything is
decoded from, so what is scored is the whole of each modality and not its hidden tokens alone; and the networks are
small, with up to 36 tokens to a picture and 24 to a sound.

- **Good at**: items of which parts are missing, not only modalities: half a picture, a few columns, the end of a
  sentence. A step costs what is visible, whatever the number of modalities.
- **Weak**: hungry for data: it has to learn that neighbouring patches belong together, which convolutions know. Codes
  carry no uncertainty and items have no likelihood.
- **Cost of a step**: one pass of the transformer over the visible tokens, half of all on average, `M` decodings.
- A modality with an encoder of your own gives the tokens that the encoder gives, or one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from isthmus.inference import TokenInference
from isthmus.methods.base import Capabilities, Method, Phase, Player, register
from isthmus.modality import Modality
from isthmus.model import MultimodalAutoencoder
from isthmus.objectives import HiddenTokens


@register
def masked(
    modalities: Mapping[str, Modality],
    *,
    latent_dim: int,
    visible: float | None = None,
    num_layers: int = 3,
    num_features: int = 96,
    balance: str | Mapping[str, float] = "per_dimension",
) -> Method:
    """Masked multimodal autoencoder (MultiMAE, Bachmann et al. 2022, arXiv:2204.01678): pictures are cut into patches,
    texts into words, sounds into stretches, tables into columns; a transformer sees a random part of them all, and
    everything is reconstructed. A modality that is missing is one whose tokens are all hidden.

    Args:
        modalities: By name.
        latent_dim: Dimensions of the code.
        visible: Share of its tokens that an item shows in training; None draws it for each item, evenly from 0 to 1.
        num_layers: Blocks of the transformer.
        num_features: Of a token inside; a multiple of 4.
        balance: Weights of the modalities' reconstructions.

    Raises:
        ValueError: `visible` is no share, or `num_features` no multiple of 4.
    """
    if visible is not None and not 0 < visible <= 1:
        raise ValueError(f"visible={visible} is no share of the tokens. Expected above 0 and up to 1, or None.")
    if num_features < 4 or num_features % 4:
        raise ValueError(f"num_features={num_features} cannot be split between 4 heads. Expected a multiple of 4.")
    model = MultimodalAutoencoder(
        {name: replace(modality, encoder=modality.tokeniser) for name, modality in modalities.items()},
        latent_dim=latent_dim,
        fusion=partial(TokenInference, num_features=num_features, num_layers=num_layers),
        pooled=False,
        balance=balance,
    )
    able = Capabilities(density=False, bound=False, uncertainty=False)
    return Method(model, [Phase([Player(HiddenTokens(visible))])], able)
