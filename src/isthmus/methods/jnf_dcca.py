"""JNF-DCCA: flows that heed what modalities have in common.

```text
first    as jnf
then     the mean over pairs m < n of    sum_i rho_i( g_m(x_m), g_n(x_n) ),    their canonical correlations
last     sum_m E_q(z|x) log q(z|g_m(x_m)),    g_m as it is
```

- **Good at**: translations that agree: a flow that heeds only what modalities share leaves open all else, where `jnf`
  may be too sure of what it read off one modality.
- **Weak**: as `jnf`; and what does not show as a correlation of numbers, pair by pair, reaches no flow. A batch
  should have several times `embedding_dim` items with any two modalities.
- **Gaps**: as `jnf`; correlations are over the items of a batch that have both modalities of a pair.
- **Cost of a step**: as `jnf`, with as many encodings and the correlations of `M (M - 1) / 2` pairs in between.
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
    encoder_parts,
    feature_fusion,
    joint_parts,
    register,
)
from isthmus.modality import Modality
from isthmus.model import MultimodalAutoencoder
from isthmus.objectives import FlowLikelihood, JointELBO, PairedCorrelation


@register
def jnf_dcca(
    modalities: Mapping[str, Modality],
    *,
    latent_dim: int,
    embedding_dim: int = 10,
    joint_share: float = 0.5,
    dcca_share: float = 0.2,
    num_layers: int = 4,
    beta: float = 1.0,
    warmup: float = 0.2,
    fusion: str = "attention",
    balance: str | Mapping[str, float] = "per_dimension",
) -> Method:
    """JNF-DCCA (Senellart, Chadebec & Allassonniere 2023, arXiv:2305.11832, "Improving multimodal joint variational
    autoencoders through normalizing flows and correlation analysis"): as JNF, with flows that heed a few numbers of
    each modality, trained before them by deep CCA over pairs of modalities: they know what is shared, and no more.

    Args:
        modalities: By name; at least two.
        latent_dim: Dimensions of the code.
        embedding_dim: Numbers that a flow heeds. Few against the items of a batch that have two modalities: else every
            correlation is near one.
        joint_share: Share of the epochs in which the joint network and the decoders learn.
        dcca_share: Share in which correlations are raised; flows have the rest.
        num_layers: Couplings of each flow.
        beta: Weight of the joint network's divergence.
        warmup: Share of training over which beta grows from zero.
        fusion: "concat", "mean" or "attention", how the joint network sees its encoders' features.
        balance: Weights of the modalities' reconstructions.

    Raises:
        ValueError: One modality alone, unknown fusion, or shares that leave a phase without epochs.
    """
    if len(modalities) < 2:
        raise ValueError(
            f"jnf-dcca correlates modalities and got '{', '.join(modalities)}' alone. Expected two or more, or jnf."
        )
    for option, share in (("joint_share", joint_share), ("dcca_share", dcca_share)):
        check_share(option, share)
    check_share("joint_share + dcca_share", joint_share + dcca_share)
    inference = partial(FlowInference, joint=feature_fusion(fusion), num_layers=num_layers, embedding_dim=embedding_dim)
    twins = {name: modality.twin() for name, modality in modalities.items()}
    model = MultimodalAutoencoder(twins, latent_dim=latent_dim, fusion=inference, balance=balance)
    joint, flows = joint_parts(modalities), ("inference.heads", "inference.flows")
    embeddings = ("inference.embed", *encoder_parts(modalities, "own"))
    phases = [
        Phase([Player(JointELBO(0.0, beta, warmup))], share=joint_share, name="joint"),
        Phase([Player(PairedCorrelation())], share=dcca_share, frozen=(*joint, *flows), name="dcca"),
        Phase(
            [Player(FlowLikelihood())],
            share=1 - joint_share - dcca_share,
            frozen=(*joint, *embeddings),
            name="flows",
        ),
    ]
    return Method(model, phases, Capabilities(min_modalities=2, density=False))
