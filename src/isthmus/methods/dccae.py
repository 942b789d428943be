"""DCCAE: autoencoders whose codes correlate canonically.

```text
sum_m log p(x_m|z_m) + lambda mean over pairs of || S_mm^(-1/2) S_mn S_nn^(-1/2) ||_tr

S: covariances of the codes over the items of a batch that have both, with a ridge on the diagonal
```

- **Good at**: codes that tell each other by a linear map without having to be the same.
- **Weak**: a batch needs twice as many items as a code has numbers, or some correlations are one whatever the codes
  say. Codes carry no uncertainty and items have no likelihood.
- **Cost of a step**: `M` encodings, `M` decodings, and a decomposition for each pair of modalities.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from isthmus.inference import PredictedInference
from isthmus.methods.base import Capabilities, Method, Phase, Player, register
from isthmus.methods.coupled import couple
from isthmus.modality import Modality
from isthmus.model import MultimodalAutoencoder
from isthmus.objectives import Routes
from isthmus.objectives.couplings import Canonical, Prediction


@register
def dccae(
    modalities: Mapping[str, Modality],
    *,
    latent_dim: int,
    correlation: float = 0.01,
    ridge: float = 1e-4,
    share: str | None = None,
    balance: str | Mapping[str, float] = "per_dimension",
) -> Method:
    """DCCAE (Wang et al. 2015, ICML, "On deep multi-view representation learning"): an autoencoder for each modality,
    and the canonical correlations between their codes, section 2.3. Codes stand side by side; they tell each other by a
    linear map without being the same, so small networks beside, which the codes do not heed, predict what an item
    lacks. For more than two modalities correlations are the mean over pairs. A batch needs twice as many items as a
    code has numbers.

    Args:
        modalities: By name.
        latent_dim: Dimensions of each modality's code; the code of an item has as many for every modality.
        correlation: Weight of the sum of canonical correlations, against nats per dimension.
        ridge: Added to the diagonal of covariances.
        share: "trunk" for common encoder layers, "encoders" for one encoder of all pictures of one shape.
        balance: Weights of the modalities' reconstructions.
    """
    inference = partial(PredictedInference, private_dim=latent_dim)
    model = MultimodalAutoencoder(
        modalities, latent_dim=0, private_dim=latent_dim, fusion=inference, share=share, balance=balance
    )
    separate = Phase([Player(Routes(dropout=False))])
    method = Method(model, [separate], Capabilities(density=False, bound=False, uncertainty=False))
    # Networks that are trained by this alone, at whatever weight: a low one, as codes have no scale of their own.
    return couple(method, {Canonical(ridge): correlation, Prediction(free=True): 0.01})
