"""CVAE: what an item has is told from any part of it.

```text
E_q(z|x_C,x_T) [ sum_{m in T} log p(x_m|z) ] - beta KL( q(z|x_C,x_T) || p(z|x_C) )

C: a random part of what an item has, of 0 to all but one of its modalities      T: the rest
q(z|x_A) and p(z|x_A): one network that sees the features of all in A;  p(z|nothing) = p(z)
```

- **Good at**: telling some modalities from any others: the belief that a translation starts from is trained as such,
  and is as wide as the target is uncertain. Sohn et al. fix one target and tell it from all else; `target` keeps a
  modality out of `C`, and `balance` can weigh it alone.
- **Weak**: decoders see the code alone, where those of the papers see the condition too; so what the condition says
  of the target has to pass through the code. The objective bounds `log p(x_T|x_C)`, not the likelihood of the whole.
- **Cost of a step**: `M` encodings and the network twice, at most `M` decodings: those of what is told, a little more
  than half.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from isthmus.inference import FusedInference
from isthmus.methods.base import Capabilities, Method, Phase, Player, check_modality, feature_fusion, register
from isthmus.modality import Modality
from isthmus.model import MultimodalAutoencoder
from isthmus.objectives import ConditionalELBO


@register
def cvae(
    modalities: Mapping[str, Modality],
    *,
    latent_dim: int,
    target: str | None = None,
    beta: float = 1.0,
    warmup: float = 0.2,
    fusion: str = "attention",
    share: str | None = None,
    balance: str | Mapping[str, float] = "per_dimension",
) -> Method:
    """Conditional VAE (Sohn et al. 2015, NeurIPS, "Learning structured output representation using deep conditional
    generative models"), from any part of the modalities to the others as in VAEAC (Ivanov et al. 2019,
    arXiv:1806.02382). One network is posterior and conditional prior; decoders see the code alone.

    Args:
        modalities: By name.
        latent_dim: Dimensions of the code.
        target: A modality that is always to be told and never told from; None treats all alike.
        beta: Weight of the divergence.
        warmup: Share of training over which beta grows from zero.
        fusion: "concat", "mean" or "attention", how the network sees the encoders' features.
        share: "trunk" for common encoder layers, "encoders" for one encoder of all pictures of one shape.
        balance: Weights of the modalities' reconstructions.

    Raises:
        ValueError: Unknown fusion, or no modality is called `target`.
    """
    if target is not None:
        check_modality("target", target, modalities)
    inference = partial(FusedInference, fusion=feature_fusion(fusion))
    model = MultimodalAutoencoder(modalities, latent_dim=latent_dim, fusion=inference, share=share, balance=balance)
    objective = ConditionalELBO(beta, warmup, target)
    return Method(model, [Phase([Player(objective)])], Capabilities(bound=False))
