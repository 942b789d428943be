"""TELBO: a joint network first, then an expert for each modality behind frozen decoders.

```text
first    E_q(z|x) [ sum_m log p(x_m|z) ] - beta KL( q(z|x) || p(z) )
then     sum_m E_q(z|x_m) log p(x_m|z) - beta KL( q(z|x_m) || p(z) ),    decoders and the joint network as they are

q(z|x): a network that sees the features of all that an item has, with encoders of its own
```

- **Good at**: items that have everything, as `jmvae`, whose joint network and decoders nothing else pulls at.
- **Weak**: the expert of a modality learns to tell that modality again, and nothing of the others: where two codes
  reconstruct it alike it does not heed which of them the others would say, so translations show less of what is
  shared.
- **Gaps**: in the paper all items are complete. Here the joint network takes any part of the modalities in training;
  in use it speaks for items that have all of them, and the product of the experts for others.
- **Cost of a step**: `M` encodings, each by two encoders, as the joint network and the experts have their own; `M`
  decodings.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from isthmus.fusions import ProductOfExperts
from isthmus.inference import JointInference
from isthmus.methods.base import Method, Phase, Player, check_share, feature_fusion, joint_parts, register
from isthmus.modality import Modality
from isthmus.model import MultimodalAutoencoder, balance_weights
from isthmus.objectives import JointELBO, OwnELBO


@register
def telbo(
    modalities: Mapping[str, Modality],
    *,
    latent_dim: int,
    joint_share: float = 0.6,
    beta: float = 1.0,
    warmup: float = 0.2,
    fusion: str = "attention",
    balance: str | Mapping[str, float] = "per_dimension",
    own_balance: str | Mapping[str, float] | None = None,
) -> Method:
    """Triple ELBO (Vedantam et al. 2018, ICLR, arXiv:1705.10762, "Generative models of visually grounded imagination"),
    for any number of modalities: a joint network and decoders are trained on the bound of all; then, with both as they
    are, the network of each modality on the bound of that modality alone. Items with gaps train the joint network on
    what they have; in use, their code is the product of the experts of what they have.

    Args:
        modalities: By name.
        latent_dim: Dimensions of the code.
        joint_share: Share of the epochs in which the joint network and the decoders learn; experts have the rest.
        beta: Weight of the divergences.
        warmup: Share of training over which beta grows from zero.
        fusion: "concat", "mean" or "attention", how the joint network sees its encoders' features.
        balance: Weights of the modalities' reconstructions.
        own_balance: The same in the bounds of single modalities; None takes `balance`.

    Raises:
        ValueError: Unknown fusion or balance, or `joint_share` outside (0, 1).
    """
    check_share("joint_share", joint_share)
    joint = feature_fusion(fusion)
    inference = partial(JointInference, fusion=ProductOfExperts(with_prior=False), joint=joint, twins=True)
    twins = {name: modality.twin() for name, modality in modalities.items()}
    model = MultimodalAutoencoder(twins, latent_dim=latent_dim, fusion=inference, balance=balance)
    weights = None
    if own_balance is not None:
        weights = balance_weights(
            own_balance,
            {name: modality.num_dimensions for name, modality in modalities.items()},
            {name: modality.predictability for name, modality in modalities.items()},
        )
    first, then = Player(JointELBO(0.0, beta, warmup)), Player(OwnELBO(beta, warmup, weights))
    phases = [
        Phase([first], share=joint_share, name="joint"),
        Phase([then], share=1 - joint_share, frozen=joint_parts(modalities), name="experts"),
    ]
    return Method(model, phases)
