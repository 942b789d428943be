"""MMVAE+: mixture of experts with private codes.

```text
mean over experts j of
    E log 1/K sum_k [ ( p(z_k) p(w_k) / ( q(z_k|x) q(w_k|x_j) ) )^beta p(x_j|z_k, w_k) prod_{n != j} p(x_n|z_k, v_nk) ]

z_k ~ q(z|x_j)      w_k ~ q(w|x_j): its private code      v_nk ~ r_n(w): nobody's      q(z|x) = 1/M sum_m q(z|x_m)
```

- **Good at**: agreement, as `mmvae`, with variety: what only one modality knows has a place of its own. Codes that
  `embed` writes are the shared part.
- **Weak**: the sizes of both codes matter. The objective is no bound on the likelihood of the model that is used, as
  modalities decoded from others get private codes of another density than the prior.
- **Cost of a step**: `M` encodings, `K M^2` decodings; `K M` with `stratified=false`.
- **Published**: PolyMNIST, coherence of a modality made from another: 86.9 % (its paper); 88.6 ± 0.8 % (MultiVae
  1.0.3).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from isthmus.fusions import MixtureOfExperts
from isthmus.inference import PrivateInference
from isthmus.methods.base import Capabilities, Method, Phase, Player, register
from isthmus.modality import Modality
from isthmus.model import MultimodalAutoencoder
from isthmus.objectives import PrivateMixtureIWAE
from isthmus.priors import LocationScale


@register
def mmvae_plus(
    modalities: Mapping[str, Modality],
    *,
    latent_dim: int,
    private_dim: int | None = None,
    num_draws: int = 1,
    stratified: bool = True,
    beta: float = 1.0,
    warmup: float = 0.0,
    family: str = "laplace",
    learn_prior: bool = True,
    share: str | None = None,
    balance: str | Mapping[str, float] = "per_dimension",
) -> Method:
    """MMVAE+ (Palumbo et al. 2023, ICLR): a mixture of experts for what modalities share and a private code for each,
    section 3; a modality decoded from another gets a private code of nobody's.

    Args:
        modalities: By name.
        latent_dim: Dimensions of the shared code.
        private_dim: Dimensions of each private code; None takes as many as the shared one has.
        num_draws: `K` importance draws per expert.
        stratified: Draw from every expert in each step; False draws one per item, M times cheaper.
        beta: Weight of the densities against the reconstructions.
        warmup: Share of training over which beta grows from zero.
        family: Of experts and prior, "laplace" or "normal".
        learn_prior: Learn the scale of the prior.
        share: "trunk" for common encoder layers, "encoders" for one encoder of all pictures of one shape.
        balance: Weights of the modalities' reconstructions.
    """
    own = latent_dim if private_dim is None else private_dim
    inference = partial(PrivateInference, fusion=MixtureOfExperts(), private_dim=own, family=family, auxiliary=True)
    model = MultimodalAutoencoder(
        modalities,
        latent_dim=latent_dim,
        private_dim=own,
        fusion=inference,
        prior=LocationScale(latent_dim + own * len(modalities), family, learned=learn_prior),
        share=share,
        balance=balance,
    )
    objective = PrivateMixtureIWAE(num_draws, stratified, beta, warmup)
    return Method(model, [Phase([Player(objective)])], Capabilities(bound=False))
