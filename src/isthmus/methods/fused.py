"""Fused autoencoder: one certain code from all modalities.

```text
sum over A in {all observed, a random part of it} of
    1/2 sum_m log p(x_m | f(x_A))                      f(x_A): one certain code, no draws
```

- **Good at**: reconstruction and translation, with few knobs. The first thing to compare others with.
- **Weak**: codes carry no uncertainty and items have no likelihood; new items come from a density fitted to codes
  alone.
- **Cost of a step**: `M` encodings, `2 M` decodings (`M` with `dropout=false`).
"""

from __future__ import annotations

from collections.abc import Mapping

from isthmus.methods.base import Capabilities, Method, Phase, Player, feature_fusion, register
from isthmus.modality import Modality
from isthmus.model import MultimodalAutoencoder
from isthmus.objectives import Routes


@register
def fused(
    modalities: Mapping[str, Modality],
    *,
    latent_dim: int,
    fusion: str = "attention",
    dropout: bool = True,
    pretrain: float = 0.0,
    share: str | None = None,
    balance: str | Mapping[str, float] = "per_dimension",
) -> Method:
    """Bimodal deep autoencoder (Ngiam et al. 2011, "Multimodal deep learning", section 4), for any number of
    modalities: encoders meet in one code, from which all are reconstructed, also when some are hidden from it.

    Args:
        modalities: By name.
        latent_dim: Dimensions of the code.
        fusion: "concat", "mean" or "attention", how encoders' features are joined.
        dropout: Also reconstruct all from a random part, so that the code can be had from any.
        pretrain: Share of the epochs in which each modality first learns to reconstruct itself alone.
        share: "trunk" for common encoder layers, "encoders" for one encoder of all pictures of one shape.
        balance: Weights of the modalities' reconstructions.

    Raises:
        ValueError: Unknown fusion, or `pretrain` outside [0, 1).
    """
    if not 0 <= pretrain < 1:
        raise ValueError(f"pretrain={pretrain} is not a share of the epochs. Expected 0 <= pretrain < 1.")
    model = MultimodalAutoencoder(
        modalities, latent_dim=latent_dim, fusion=feature_fusion(fusion), share=share, balance=balance
    )
    phases = [Phase([Player(Routes(dropout=dropout))], share=1 - pretrain)]
    if pretrain:
        phases.insert(0, Phase([Player(Routes(alone=True))], share=pretrain, name="pretrain"))
    return Method(model, phases, Capabilities(density=False, bound=False, uncertainty=False))
