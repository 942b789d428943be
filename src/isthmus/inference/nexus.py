"""Two levels of codes: one for each modality, and one above them made of the messages that these send.

Shapes: `M` modalities, `B` items, `D` dimensions of the code, `P` of each modality's own.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from isthmus.fusions import Experts
from isthmus.gaussians import normal_of
from isthmus.inference.base import Evidence, Inference
from isthmus.inference.experts import spread
from isthmus.networks.dense import DenseEncoder
from isthmus.networks.named import Named
from isthmus.posteriors import Mixture, one_component

MESSAGE_DIM = 256


class NexusEvidence(Evidence):
    """What each modality says of its own code; the code above follows from any of them.

    Args:
        experts: Of the modalities' own codes, `(M, B, P)`.
        inference: Sends messages upwards.
    """

    def __init__(self, experts: Experts, inference: NexusInference):
        self.experts, self.present, self.inference = experts, experts.present, inference

    def posterior(self, among: Tensor | None = None) -> Mixture:
        return self.above(self.experts.loc, among)

    def above(self, own: Tensor, among: Tensor | None = None) -> Mixture:
        """Beliefs about the code, `(B, D)`, from the modalities' own codes `(M, B, P)`: their means, or draws."""
        present = self.present if among is None else self.present & among
        return self.inference.above(own, present)


class NexusInference(Inference):
    """A Normal for each modality's own code, and a network that makes a Normal of the mean of the messages they send.

    Args:
        widths: Features of each encoder, by name.
        latent_dim: `D`.
        own_dim: `P`.
    """

    def __init__(self, widths: Mapping[str, int], latent_dim: int, own_dim: int):
        super().__init__()
        self.heads = Named({name: nn.Linear(width, 2 * own_dim) for name, width in widths.items()})
        self.messages = Named({name: nn.Linear(own_dim, MESSAGE_DIM) for name in widths})
        self.node = nn.Sequential(DenseEncoder(MESSAGE_DIM, MESSAGE_DIM), nn.Linear(MESSAGE_DIM, 2 * latent_dim))

    def forward(self, features: dict[str, Tensor], present: Tensor) -> NexusEvidence:
        loc, log_scale = normal_of(spread(self.heads, features, present))
        return NexusEvidence(Experts(loc, log_scale, present), self)

    def above(self, own: Tensor, present: Tensor) -> Mixture:
        """The Normal of own codes `(M, B, P)` of the modalities that are there, bool `(M, B)`; the prior for none."""
        sent = torch.stack([send(codes) for send, codes in zip(self.messages.values(), own, strict=True)])
        total = torch.where(present[..., None], sent, 0.0).sum(dim=0)
        count = present.sum(dim=0)[:, None]
        raw = torch.where(count > 0, self.node(total / count.clamp_min(1)), 0.0)
        loc, log_scale = normal_of(raw)
        return one_component(loc[None], log_scale[None], len(present))
