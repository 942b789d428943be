"""JNF: a joint network first, then a flow for each modality that learns what it believes.

```text
first    E_q(z|x) [ sum_m log p(x_m|z) ] - beta KL( q(z|x) || p(z) )
then     sum_m E_q(z|x) log q(z|x_m),    decoders and the joint network as they are

q(z|x): a network that sees the features of all that an item has, with encoders of its own
q(z|x_m): a normalising flow that heeds the features of x_m
q(z|x_A) = p(z)^(1-|A|) prod_{m in A} q(z|x_m) / normaliser
```

- **Good at**: beliefs of any shape: where one modality leaves several answers open, its flow keeps them apart, and a
  draw is one of them. Nothing pulls at the joint network and the decoders.
- **Weak**: the normaliser of a product is not known, so likelihoods cannot be estimated; codes from some of several
  modalities, but not all, are drawn by Hamiltonian Monte Carlo, ten short trajectories each, which is slow beside one
  pass of a network.
- **Gaps**: in the paper all items are complete. Here the joint network takes any part of the modalities in training,
  and an item trains the flows of what it has on what the joint network makes of that. In use the joint network speaks
  for items that have all modalities, a flow for those with one, and the product for others.
- **Other than in the paper**: flows are affine couplings in the place of masked autoregressive ones: densities and
  draws cost the same. An item's code is the mean of chains from fixed points, the same in any batch. Farther than
  four standard deviations out the prior that a product is divided by is taken to fall no faster, so that experts as
  wide as the prior leave a density.
- **Cost of a step**: `M` encodings, each by two encoders, and `M` decodings first; as many encodings and `M` flows
  then.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from isthmus.inference import FlowInference
from isthmus.methods.base import (
    Capabilities,
    Method,
    Phase,
    Player,
    check_share,
    feature_fusion,
    joint_parts,
    register,
)
from isthmus.modality import Modality
from isthmus.model import MultimodalAutoencoder
from isthmus.objectives import FlowLikelihood, JointELBO


@register
def jnf(
    modalities: Mapping[str, Modality],
    *,
    latent_dim: int,
    joint_share: float = 0.6,
    num_layers: int = 4,
    beta: float = 1.0,
    warmup: float = 0.2,
    fusion: str = "attention",
    balance: str | Mapping[str, float] = "per_dimension",
) -> Method:
    """JNF (Senellart, Chadebec & Allassonniere 2023, arXiv:2305.11832, "Improving multimodal joint variational
    autoencoders through normalizing flows and correlation analysis"): a joint network and decoders are trained first;
    then, with both as they are, a normalising flow for each modality on the codes that the joint network draws. The
    code of an item with some of several modalities is drawn from the product of their flows.

    Args:
        modalities: By name.
        latent_dim: Dimensions of the code.
        joint_share: Share of the epochs in which the joint network and the decoders learn; flows have the rest.
        num_layers: Couplings of each flow.
        beta: Weight of the joint network's divergence.
        warmup: Share of training over which beta grows from zero.
        fusion: "concat", "mean" or "attention", how the joint network sees its encoders' features.
        balance: Weights of the modalities' reconstructions.

    Raises:
        ValueError: Unknown fusion, or `joint_share` outside (0, 1).
    """
    check_share("joint_share", joint_share)
    inference = partial(FlowInference, joint=feature_fusion(fusion), num_layers=num_layers)
    twins = {name: modality.twin() for name, modality in modalities.items()}
    model = MultimodalAutoencoder(twins, latent_dim=latent_dim, fusion=inference, balance=balance)
    joint, flows = Player(JointELBO(0.0, beta, warmup)), Player(FlowLikelihood())
    phases = [
        Phase([joint], share=joint_share, name="joint"),
        Phase([flows], share=1 - joint_share, frozen=joint_parts(modalities), name="flows"),
    ]
    return Method(model, phases, Capabilities(density=False))
