"""MHVAE: a ladder of codes, at each level a product of experts.

```text
mean over A in {all subsets of what is observed} of
    E_q(z|x_A) [ sum_m log p(x_m|z) ] - beta sum_l E KL( q(z_l|z_above, x_A) || p(z_l|z_above) )

p(z_l|z_above): learnt; N(0, I) for the top level
q(z_l|z_above, x_A) = p(z_l|z_above) prod_{m in A} q(z_l|x_m, z_above) / normaliser
```

- **Good at**: codes in which what is coarse stands above what is fine, with a prior that is learnt; any part of an
  item is trained to tell all of it, so translation is trained as such.
- **Weak**: the paper's levels are feature maps of registered images, of rising resolution; here they are parts of one
  vector made from each encoder's features, which gives up what images gain from them. The spread of a level is that
  given the means above it, and draws do not heed the density of codes.
- **Cost of a step**: `M` encodings, at most `M (2^M - 1)` decodings: all parts up to three modalities, `4 M` above,
  where the whole and three random parts are used; and small networks for each level and part.

Not to be confused with the MHVAE of Vasco et al. 2020, arXiv:2006.02991, which is nearer to `nexus`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from isthmus.inference import LadderInference
from isthmus.methods.base import Capabilities, Method, Phase, Player, register
from isthmus.modality import Modality
from isthmus.model import MultimodalAutoencoder
from isthmus.objectives import LadderELBO
from isthmus.priors import LadderPrior


@register
def mhvae(
    modalities: Mapping[str, Modality],
    *,
    latent_dim: int,
    num_levels: int = 3,
    beta: float = 1.0,
    warmup: float = 0.2,
    random_parts: int = 3,
    share: str | None = None,
    balance: str | Mapping[str, float] = "per_dimension",
) -> Method:
    """MHVAE (Dorent et al. 2023, MICCAI, arXiv:2309.08747): levels of codes, at each a product of what the levels above
    expect and of one expert per modality; the mean over subsets of what is observed of ELBOs of the whole. Levels are
    parts of one vector here, feature maps of registered images there; without the paper's adversarial loss of images.

    Args:
        modalities: By name.
        latent_dim: Dimensions of the code, all levels side by side.
        num_levels: Levels, of about the same size.
        beta: Weight of the divergences.
        warmup: Share of training over which beta grows from zero.
        random_parts: Random parts per item and step that the whole is inferred from, above three modalities; up to
            three, all parts are.
        share: "trunk" for common encoder layers.
        balance: Weights of the modalities' reconstructions.

    Raises:
        ValueError: More levels than dimensions, or none.
    """
    if not 1 <= num_levels <= latent_dim:
        raise ValueError(f"num_levels={num_levels} is not between 1 and {latent_dim}, the dimensions of the code.")
    size, rest = divmod(latent_dim, num_levels)
    prior = LadderPrior([size + (level < rest) for level in range(num_levels)])
    model = MultimodalAutoencoder(
        modalities,
        latent_dim=latent_dim,
        fusion=partial(LadderInference, prior=prior),
        prior=prior,
        share=share,
        balance=balance,
    )
    objective = LadderELBO(beta, warmup, random_parts)
    return Method(model, [Phase([Player(objective)])], Capabilities(experimental=True))
