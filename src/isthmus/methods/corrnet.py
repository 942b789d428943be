"""CorrNet: one code from all, the same from each.

```text
mean over s in {all observed, each modality alone} of sum_m log p(x_m|z_s)
    + lambda mean over pairs of sum_d corr_d(z_m, z_n)

z_s: the squashed sum of what the modalities in s say
```

- **Good at**: a common code of two views, of which either can be had from the other.
- **Weak**: correlations over a batch are noisy below a hundred items. Codes are between 0 and 1, carry no uncertainty,
  and items have no likelihood.
- **Cost of a step**: `M` encodings, `M (M + 1)` decodings.
"""

from __future__ import annotations

from collections.abc import Mapping

from isthmus.inference import SummedInference
from isthmus.methods.base import Capabilities, Method, Phase, Player, register
from isthmus.methods.coupled import couple
from isthmus.modality import Modality
from isthmus.model import MultimodalAutoencoder
from isthmus.objectives import SingleRoutes
from isthmus.objectives.couplings import Correlation


@register
def corrnet(
    modalities: Mapping[str, Modality],
    *,
    latent_dim: int,
    correlation: float = 0.01,
    share: str | None = None,
    balance: str | Mapping[str, float] = "per_dimension",
) -> Method:
    """CorrNet (Chandar et al. 2016, arXiv:1504.07225): a squashed sum of what each modality says, from which all are
    reconstructed, as they are from what each says alone; the codes of each alone correlate, dimension by dimension.
    For more than two modalities correlations are the mean over pairs.

    Args:
        modalities: By name.
        latent_dim: Dimensions of the code.
        correlation: Weight of the sum of correlations, against nats per dimension.
        share: "trunk" for common encoder layers, "encoders" for one encoder of all pictures of one shape.
        balance: Weights of the modalities' reconstructions.
    """
    model = MultimodalAutoencoder(
        modalities, latent_dim=latent_dim, fusion=SummedInference, share=share, balance=balance
    )
    routes = Phase([Player(SingleRoutes("all", whole=True))])
    method = Method(model, [routes], Capabilities(density=False, bound=False, uncertainty=False))
    return couple(method, {Correlation(): correlation})
