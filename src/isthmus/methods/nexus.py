"""Nexus: an autoencoder for each modality, and one above them that hears their messages.

```text
sum_m ( log p(x_m|w_m) - beta KL( q(w_m|x_m) || p(w) ) )                     w_m ~ q(w_m|x_m): the code of x_m alone
    + sum_m log p(w_m|z) - beta KL( q(z|w_A) || p(z) )                       z ~ q(z|w_A): from the mean of messages

p(w_m|z) = N( t_m(z), s_m^2 )      in the second line w_m is a constant      translation: z, then t_m(z), then p(x_m|.)
```

- **Good at**: reconstruction and retrieval within a modality stay those of an autoencoder of its own, as the code
  above never moves those below; a further modality is a further messenger.
- **Weak**: decoders never see what the upper level gives them, `t_m(z)`, in training, so translations are as good as
  that guess. What an item's own codes say and the code above does not is lost to it. The objective bounds no
  evidence.
- **Cost of a step**: `M` encodings, `M` decodings, and small networks between the levels.

Gaps: an item sends the messages it has, and only its own codes are to be explained; with probability `dropout` a
random part of its messages, of every size alike, is heard. Scales `s_m` are learnt where the authors weigh squared
errors by hand. In use messages are those of mean codes, so that an item has one code. A decoder of your own takes the
modality's own code, of `own_dim` numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from torch import nn

from isthmus.inference import NexusInference
from isthmus.methods.base import Capabilities, Method, Phase, Player, register
from isthmus.modality import Modality
from isthmus.model import MultimodalAutoencoder
from isthmus.networks.levels import TwoLevelDecoder
from isthmus.objectives import TwoLevels


@register
def nexus(
    modalities: Mapping[str, Modality],
    *,
    latent_dim: int,
    own_dim: int | None = None,
    beta: float = 1.0,
    warmup: float = 0.2,
    dropout: float = 0.2,
    share: str | None = None,
    balance: str | Mapping[str, float] = "per_dimension",
) -> Method:
    """Nexus (Vasco et al. 2022, Neural Networks, "Leveraging hierarchy in multimodal generative models for effective
    cross-modality inference"): each modality has an autoencoder with a code of its own; the code of an item is made of
    the mean of messages that these codes send, and reconstructs them. A translation goes up, and down by two decoders.

    Args:
        modalities: By name.
        latent_dim: Dimensions of the code.
        own_dim: Dimensions of each modality's own code; None takes as many as the code has.
        beta: Weight of the divergences.
        warmup: Share of training over which beta grows from zero.
        dropout: Probability that only a random part of an item's messages is heard, in training.
        share: "trunk" for common encoder layers, "encoders" for one encoder of all pictures of one shape.
        balance: Weights of the modalities' reconstructions.
    """
    own = latent_dim if own_dim is None else own_dim
    model = MultimodalAutoencoder(
        {name: replace(modality, decoder=_below(modality.decoder, own)) for name, modality in modalities.items()},
        latent_dim=latent_dim,
        fusion=partial(NexusInference, own_dim=own),
        share=share,
        balance=balance,
    )
    objective = TwoLevels(beta, warmup, dropout)
    return Method(model, [Phase([Player(objective)])], Capabilities(bound=False, experimental=True))


def _below(decoder: Callable[[int], nn.Module], own_dim: int) -> Callable[[int], nn.Module]:
    """What builds a decoder from the code, through the modality's own code, of one from the latter."""
    return lambda width: TwoLevelDecoder(width, own_dim, decoder(own_dim))
