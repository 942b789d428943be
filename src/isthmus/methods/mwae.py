"""mWAE: each modality's code explains all of them, and lies as draws of the prior do.

```text
1/S sum_s ( sum_m log p(x_m|z_s) - weight T(z_s) )                    z_s: f(x_1), .., f(x_M) and their mean

mmd:          T: maximum mean discrepancy of a batch's codes of source s from as many draws of p(z)
wasserstein:  T = c(y) - c(z_s), y ~ p(z), while the critic c, of slope at most one, raises it
```

- **Good at**: as `maae`; with `mmd` there is no second player, so nothing can run away.
- **Weak**: as `maae`. The discrepancy needs batches of many items that have a modality, and many dimensions make it
  blunt. On several processes each takes it over its own items.
- **Cost of a step**: `M` encodings and `M (M + 1)` decodings; with `wasserstein`, encodings twice.

multi-view-AE's critic is trained to raise `c` for codes and for draws alike, so that it tells them apart by nothing;
here it raises one and lowers the other. Its weights are clipped there, and have exact norms here.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from isthmus.inference import AdversarialInference
from isthmus.methods.base import Capabilities, Method, Phase, Player, parameters_but, register
from isthmus.modality import Modality
from isthmus.model import MultimodalAutoencoder
from isthmus.networks.critics import Critic
from isthmus.objectives import CriticOfCodes, MatchedRoutes
from isthmus.suggest import nearest

# Weights of each match by default. With a larger one of the critic's, the two players run in circles.
MATCHES = {"mmd": 10.0, "wasserstein": 1.0}


@register
def mwae(
    modalities: Mapping[str, Modality],
    *,
    latent_dim: int,
    match: str = "mmd",
    weight: float | None = None,
    share: str | None = None,
    balance: str | Mapping[str, float] = "per_dimension",
) -> Method:
    """Wasserstein autoencoder (Tolstikhin et al. 2018, arXiv:1711.01558), algorithm 2, in the form for several
    modalities of multi-view-AE (Lawry Aguila et al. 2023, "Multi-view-AE: a Python package for multi-view autoencoder
    models"): the code of each explains all of them, and the codes of a batch are matched to draws of the prior. The
    code of an item is the mean of theirs, which is trained, and matched, too.

    Args:
        modalities: By name.
        latent_dim: Dimensions of the code.
        match: "mmd", by maximum mean discrepancy, or "wasserstein", by a critic of bounded slope.
        weight: Of the match; None takes 10 for "mmd", as in the paper, and 1 for "wasserstein".
        share: "trunk" for common encoder layers, "encoders" for one encoder of all pictures of one shape.
        balance: Weights of the modalities' reconstructions.

    Raises:
        ValueError: Unknown match.
    """
    if match not in MATCHES:
        raise ValueError(f"match='{match}' is unknown. Expected {', '.join(MATCHES)}.{nearest(match, MATCHES)}")
    critic = Critic(latent_dim, lipschitz=True) if match == "wasserstein" else None
    inference = partial(AdversarialInference, critic=critic)
    model = MultimodalAutoencoder(modalities, latent_dim=latent_dim, fusion=inference, share=share, balance=balance)
    objective = MatchedRoutes(match, MATCHES[match] if weight is None else weight)
    players = [Player(objective, parameters_but(model, "inference.critic."))]
    if critic is not None:
        players.append(Player(CriticOfCodes(wasserstein=True), ("inference.critic.",)))
    can = Capabilities(density=False, bound=False, uncertainty=False, experimental=True)
    return Method(model, [Phase(players)], can)
