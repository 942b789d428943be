"""COMPLETER: soft codes that agree, and predict each other.

```text
I(Z_1; Z_2) + alpha ( H(Z_1) + H(Z_2) ) + 0.1 sum_m log p(x_m|z_m) / D - 0.1 sum_n || z_n - told_n(z_1, ..) ||^2

Z_m: classes, of which the code z_m gives the shares; the first two terms are means over pairs of modalities
D: numbers of values that are reconstructed
```

- **Good at**: groups of items that all modalities show: codes are soft classes, agree between modalities, and a missing
  one is predicted from the others.
- **Weak**: what only one modality shows is left out of codes but for a tenth of a reconstruction. The information does
  not mind which class of one modality stands for which of another, so what is predicted and then decoded is often
  wrong: for translations take another method. Codes carry no uncertainty, items have no likelihood, and the
  information is taken over the items of a batch.
- **Cost of a step**: `M` encodings, `M` decodings, and small networks.
- **Published**: Scene-15, accuracy, mutual information and Rand index of clusters 41.1, 45.1 and 24.8, with half of the
  items incomplete 39.5, 42.4 and 23.5 (in the tables of DCP, by its authors).
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
from isthmus.objectives.couplings import Information, Prediction


@register
def completer(
    modalities: Mapping[str, Modality],
    *,
    latent_dim: int,
    alpha: float = 9.0,
    reconstruction: float = 0.1,
    prediction: float = 0.1,
    start: float = 0.2,
    share: str | None = None,
    balance: str | Mapping[str, float] = "per_dimension",
) -> Method:
    """COMPLETER (Lin et al. 2021, CVPR, "COMPLETER: incomplete multi-view clustering via contrastive prediction"): an
    autoencoder for each modality, whose codes are shares of classes, with a mean of one; mutual information makes the
    codes of an item agree, and small networks tell each from the others. Codes stand side by side, and what an item
    lacks is predicted. For more than two modalities the information is the mean over pairs, and predictions start from
    the mean of what the others say. Items with gaps train what they have; the paper trains on complete ones.

    Args:
        modalities: By name.
        latent_dim: Dimensions of each modality's code; the code of an item has as many for every modality.
        alpha: Weight of the entropies, which keep all dimensions in use, against the information.
        reconstruction: Weight of the reconstructions, in nats per dimension, against the information.
        prediction: Weight of the errors of prediction.
        start: Share of training that lies behind before predictions count.
        share: "trunk" for common encoder layers, "encoders" for one encoder of all pictures of one shape.
        balance: Weights of the modalities' reconstructions.

    Raises:
        ValueError: A weight that is not positive.
    """
    if not (reconstruction > 0 and prediction > 0):
        raise ValueError(f"reconstruction={reconstruction}, prediction={prediction}: expected positive weights.")
    inference = partial(PredictedInference, private_dim=latent_dim, soft=True)
    model = MultimodalAutoencoder(
        modalities, latent_dim=0, private_dim=latent_dim, fusion=inference, share=share, balance=balance
    )
    separate = Phase([Player(Routes(dropout=False))])
    method = Method(model, [separate], Capabilities(density=False, bound=False, uncertainty=False))
    # Codes have a mean of one, shares a sum: their mean squared difference is as many times that of shares, summed.
    predicting = prediction / (reconstruction * latent_dim)
    return couple(method, {Information(alpha): 1 / reconstruction, Prediction(start): predicting})
