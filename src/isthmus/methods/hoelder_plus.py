"""Hoelder+: Hoelder pooling with private codes.

```text
as mmvae+, with    q(z|x) = 1/c ( sum_m sqrt q(z|x_m) )^2,    a mixture of experts and of one Normal between each pair
```

- **Good at**: what `mmvae+` is good at, with parts of the pool that two modalities agree on.
- **Weak**: in many dimensions experts seldom overlap, and those parts then weigh nothing.
- **Cost of a step**: `M` encodings, `K M^2 (M + 1) / 2` decodings; `K M` with `stratified=false`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from isthmus.fusions import HoelderPooling
from isthmus.inference import PrivateInference
from isthmus.methods.base import Capabilities, Method, Phase, Player, register
from isthmus.modality import Modality
from isthmus.model import MultimodalAutoencoder
from isthmus.objectives import PrivateMixtureIWAE


@register
def hoelder_plus(
    modalities: Mapping[str, Modality],
    *,
    latent_dim: int,
    private_dim: int | None = None,
    num_draws: int = 1,
    stratified: bool = True,
    beta: float = 1.0,
    warmup: float = 0.0,
    share: str | None = None,
    balance: str | Mapping[str, float] = "per_dimension",
) -> Method:
    """Hoelder+ (Vo, Martinez-Garcia & Valera 2026, arXiv:2606.13381): Hoelder pooling without approximation for what
    modalities share, and a private code for each; a modality decoded from a part of the pool that it is not in gets a
    private code of nobody's. Without the hierarchy of Hoelder++.

    Args:
        modalities: By name.
        latent_dim: Dimensions of the shared code.
        private_dim: Dimensions of each private code; None takes as many as the shared one has.
        num_draws: `K` importance draws per component.
        stratified: Draw from every component of the pool, `M (M + 1) / 2`, in each step; False draws one per item.
        beta: Weight of the densities against the reconstructions.
        warmup: Share of training over which beta grows from zero.
        share: "trunk" for common encoder layers, "encoders" for one encoder of all pictures of one shape.
        balance: Weights of the modalities' reconstructions.
    """
    own = latent_dim if private_dim is None else private_dim
    pool = HoelderPooling(len(modalities), exact=True)
    inference = partial(PrivateInference, fusion=pool, private_dim=own, auxiliary=True)
    model = MultimodalAutoencoder(
        modalities,
        latent_dim=latent_dim,
        private_dim=own,
        fusion=inference,
        share=share,
        balance=balance,
    )
    objective = PrivateMixtureIWAE(num_draws, stratified, beta, warmup)
    return Method(model, [Phase([Player(objective)])], Capabilities(bound=False))
