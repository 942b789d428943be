"""mAAE: each modality's code explains all of them, and a critic cannot tell it from a draw of the prior.

```text
1/S sum_s ( sum_m log p(x_m|z_s) + beta log sigmoid(c(z_s)) )         z_s: f(x_1), .., f(x_M) and their mean

while the critic c raises    log sigmoid(c(y)) + 1/S sum_s log( 1 - sigmoid(c(z_s)) ),    y ~ p(z)
```

- **Good at**: codes that together fill the prior, with no draws: the code of an item is certain.
- **Weak**: two players may chase each other for long. Codes carry no uncertainty and items have no likelihood.
- **Cost of a step**: two times `M` encodings, as the critic looks at codes that have moved; `M (M + 1)` decodings.

Gaps: an item is encoded by what it has, explains what it has, and counts as much as any other. multi-view-AE's loss
for the critic, `1 - log D(z)` in the place of `log(1 - D(z))`, has no lower bound; here it is Makhzani's.
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


@register
def maae(
    modalities: Mapping[str, Modality],
    *,
    latent_dim: int,
    beta: float = 1.0,
    share: str | None = None,
    balance: str | Mapping[str, float] = "per_dimension",
) -> Method:
    """Adversarial autoencoder (Makhzani et al. 2015, arXiv:1511.05644), section 2, in the form for several modalities
    of multi-view-AE (Lawry Aguila et al. 2023, "Multi-view-AE: a Python package for multi-view autoencoder models"):
    the code of each explains all of them and is matched to the prior by a critic. The code of an item is the mean of
    theirs, which is trained, and matched, too.

    Args:
        modalities: By name.
        latent_dim: Dimensions of the code.
        beta: Weight of the match. With the best critic it weighs nats of divergence from the prior.
        share: "trunk" for common encoder layers, "encoders" for one encoder of all pictures of one shape.
        balance: Weights of the modalities' reconstructions.
    """
    inference = partial(AdversarialInference, critic=Critic(latent_dim))
    model = MultimodalAutoencoder(modalities, latent_dim=latent_dim, fusion=inference, share=share, balance=balance)
    players = [
        Player(MatchedRoutes("critic", beta), parameters_but(model, "inference.critic.")),
        Player(CriticOfCodes(), ("inference.critic.",)),
    ]
    can = Capabilities(density=False, bound=False, uncertainty=False, experimental=True)
    return Method(model, [Phase(players)], can)
