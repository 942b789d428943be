"""JMVAE: a joint network, and one encoder per modality that stands in for it.

```text
E_q(z|x) [ sum_m log p(x_m|z) ] - beta KL( q(z|x) || p(z) ) - alpha sum_m KL( q(z|x) || q(z|x_m) )

q(z|x): a network that sees the features of all that an item has
```

- **Good at**: items that have everything: one network weighs all modalities at once, as no product of experts can.
- **Weak**: the encoders of single modalities cover all that the joint network might say, so what is drawn through
  them is blurred. An item with some of several modalities is encoded by the product of their encoders.
- **Cost of a step**: `M` encodings and the joint network, `M` decodings.
- **Published**: binary MNIST with labels, joint log-likelihood: -86.86 nats (its paper).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from isthmus.fusions import ProductOfExperts
from isthmus.inference import JointInference
from isthmus.methods.base import Method, Phase, Player, feature_fusion, register
from isthmus.modality import Modality
from isthmus.model import MultimodalAutoencoder
from isthmus.objectives import JointELBO


@register
def jmvae(
    modalities: Mapping[str, Modality],
    *,
    latent_dim: int,
    alpha: float = 0.1,
    beta: float = 1.0,
    warmup: float = 0.4,
    fusion: str = "attention",
    share: str | None = None,
    balance: str | Mapping[str, float] = "per_dimension",
) -> Method:
    """JMVAE-kl (Suzuki et al. 2016, arXiv:1611.01891): a network for all modalities together, section 3.2, and one for
    each that learns to stand in for it, section 3.3. Items with gaps train the joint network on what they have;
    in use, their code is the product of the experts of what they have.

    Args:
        modalities: By name.
        latent_dim: Dimensions of the code.
        alpha: Weight of the divergences from the encoders of single modalities.
        beta: Weight of the divergence from the prior.
        warmup: Share of training over which both grow from zero.
        fusion: "concat", "mean" or "attention", how the joint network sees the encoders' features.
        share: "trunk" for common encoder layers, "encoders" for one encoder of all pictures of one shape.
        balance: Weights of the modalities' reconstructions.

    Raises:
        ValueError: Unknown fusion.
    """
    inference = partial(JointInference, fusion=ProductOfExperts(with_prior=False), joint=feature_fusion(fusion))
    model = MultimodalAutoencoder(modalities, latent_dim=latent_dim, fusion=inference, share=share, balance=balance)
    return Method(model, [Phase([Player(JointELBO(alpha, beta, warmup))])])
