"""IDMVAE: MMVAE+ with contrasts that keep shared and private codes apart.

```text
the objective of mmvae+ - l1 mean over pairs of InfoNCE(z_m, z_n)
    - l2 mean over m of ( InfoNCE(z_m, z'_m) + InfoNCE(w_m, w'_m) )

z'_m, w'_m: codes of what was decoded from z_m with the private code of another item, encoded again
```

- **Good at**: shared codes that hold what is shared and private ones the rest, which `mmvae+` leaves to their sizes.
- **Weak**: contrasts want batches of some size, and a step is dear. The paper's diffusion priors, which make new items
  agree, are not here: new items come from a density fitted to codes.
- **Cost of a step**: `2 M` encodings, `K M^2 + M` decodings, as what is decoded is encoded again.
"""

from __future__ import annotations

from collections.abc import Mapping

from isthmus.methods.base import Method, register
from isthmus.methods.coupled import couple
from isthmus.methods.mmvae_plus import mmvae_plus
from isthmus.modality import Modality
from isthmus.objectives.couplings import Augmentation, Contrastive


@register
def idmvae(
    modalities: Mapping[str, Modality],
    *,
    latent_dim: int,
    private_dim: int | None = None,
    information: float = 0.1,
    augmentation: float = 0.01,
    temperature: float = 1.0,
    num_draws: int = 1,
    stratified: bool = True,
    beta: float = 1.0,
    warmup: float = 0.0,
    family: str = "laplace",
    learn_prior: bool = True,
    share: str | None = None,
    balance: str | Mapping[str, float] = "per_dimension",
) -> Method:
    """IDMVAE (Zhang, Shen & Wang 2026, ICLR, arXiv:2509.23548): MMVAE+ with a contrast between the shared codes of each
    two modalities, and between codes and those of what was decoded with the private code of another item. Without the
    paper's diffusion priors.

    Args:
        modalities: By name.
        latent_dim: Dimensions of the shared code.
        private_dim: Dimensions of each private code; None takes as many as the shared one has.
        information: Weight of the contrast between modalities, against nats per dimension.
        augmentation: Weight of the contrasts with what was decoded and encoded again.
        temperature: Of all contrasts.
        num_draws: `K` importance draws per expert.
        stratified: Draw from every expert in each step; False draws one per item, M times cheaper.
        beta: Weight of the densities against the reconstructions.
        warmup: Share of training over which beta grows from zero.
        family: Of experts and prior, "laplace" or "normal".
        learn_prior: Learn the scale of the prior.
        share: "trunk" for common encoder layers, "encoders" for one encoder of all pictures of one shape.
        balance: Weights of the modalities' reconstructions.
    """
    method = mmvae_plus(
        modalities,
        latent_dim=latent_dim,
        private_dim=private_dim,
        num_draws=num_draws,
        stratified=stratified,
        beta=beta,
        warmup=warmup,
        family=family,
        learn_prior=learn_prior,
        share=share,
        balance=balance,
    )
    contrast = Contrastive(temperature, learnt=False)
    return couple(method, {contrast: information, Augmentation(temperature): augmentation})
