r"""MLD: an autoencoder for each modality, then a diffusion of all their codes, with a time for each.

```text
first    sum_m log p(x_m | z_m),    z_m = f_m(x_m)
then     E || v(z_A, t) - (cos t eps - sin t z)_T ||^2 / (2 |T|),    encoders and decoders as they are

v(z_A, t): a network that sees the codes of what an item has, noisy ones, cos t_m z_m + sin t_m eps, and their times
T: modalities that are to be denoised, all at one random time; what of A is not in T is given, at time 0
what an item lacks stands at time 1, where nothing of it is left
```

- **Good at**: draws: each is one whole answer out of many, as varied as the data, and new items agree, as all
  modalities are drawn together. Autoencoders train without a word from the others: nothing is traded between them.
- **Weak**: no code is shared: an item's code is the codes of its modalities side by side, and retrieval and probes
  from one modality lean on what the diffusion tells of the others. A draw of what an item lacks takes 50 calls of a
  network. Items have no likelihood, codes no uncertainty where everything is known.
- **Gaps**: in the paper all items are complete. Here a modality that an item lacks stands at the end of time, where
  it is noise alone and is left out of the loss, so that any set of modalities trains.
- **Other than in the paper**: the network tells a direction of motion in the place of the score, which would be
  without bound near time 0 and says nothing about the mean at time 1; draws follow the probability flow in 50 steps.
  Late times are taken more often.
- **Cost of a step**: `M` encodings and `M` decodings first; no encodings and no decodings then, as the diffusion
  trains on codes, computed once.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from isthmus.inference import DiffusionInference, DiffusionPrior
from isthmus.methods.base import Capabilities, Method, Phase, Player, register
from isthmus.modality import Modality
from isthmus.model import MultimodalAutoencoder
from isthmus.objectives import Apart, MultiTimeDenoising
from isthmus.samplers import Diffusion


@register
def mld(
    modalities: Mapping[str, Modality],
    *,
    latent_dim: int,
    diffuse: float = 0.5,
    passes: int = 24,
    given: float = 0.8,
    num_noises: int = 1,
    width: int = 256,
    num_blocks: int = 3,
    num_steps: int = 50,
    beta: float = 0.0,
    noise: float = 0.0,
    share: str | None = None,
    balance: str | Mapping[str, float] = "per_dimension",
) -> Method:
    """MLD (Bounoua et al. 2024, arXiv:2306.04445): each modality is coded by itself alone; then one network learns to
    denoise the codes of all, side by side, with a diffusion time for each modality, so that it tells any from any
    others.

    Args:
        modalities: By name.
        latent_dim: Dimensions of each modality's code.
        diffuse: Share of the epochs that the diffusion gets.
        passes: Over all codes in each of these epochs; a step on codes costs little.
        given: Probability that some of an item's modalities are given while others are denoised.
        num_noises: Noises of each item in a step of the diffusion.
        width: Of the diffusion's network.
        num_blocks: Its residual blocks.
        num_steps: In which a draw is made.
        beta: Weight of half the squared length of codes.
        noise: Standard deviation of what is added to codes while autoencoders train.
        share: "trunk" for common encoder layers, "encoders" for one encoder of all pictures of one shape.
        balance: Weights of the modalities' reconstructions.

    Raises:
        ValueError: `diffuse` is no share between 0 and 1.
    """
    if not 0 < diffuse < 1:
        raise ValueError(f"diffuse={diffuse} is no share of the epochs. Expected 0 < diffuse < 1.")
    prior = DiffusionPrior(Diffusion([latent_dim] * len(modalities), width, num_blocks, num_steps))
    model = MultimodalAutoencoder(
        modalities,
        latent_dim=0,
        private_dim=latent_dim,
        fusion=partial(DiffusionInference, prior=prior, private_dim=latent_dim),
        prior=prior,
        share=share,
        balance=balance,
    )
    alone = Phase([Player(Apart(beta, noise))], share=1 - diffuse, name="autoencoders")
    denoise = Player(MultiTimeDenoising(given, num_noises), ("prior.",))
    diffusion = Phase([denoise], share=diffuse, data="codes", name="diffusion", passes=passes)
    return Method(
        model, [alone, diffusion], Capabilities(density=False, bound=False, uncertainty=False), sampler="prior"
    )
