"""The likelihood of series of which some channels are switches: 0 or 1, such as a pen that is lifted.

Shapes: `R` rows, `T` steps, `C` channels, of which the last `S` are switches.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from isthmus.batch import Masked, Values
from isthmus.likelihoods import Likelihood, LikelihoodHead, SequenceNormal, scale_module
from isthmus.noise import Noise


@dataclass(frozen=True)
class SequenceMixed(Likelihood):
    """A `SequenceNormal` over the first `C - S` channels and Bernoullis over the last `S`, of one length.

    Args:
        normal: Over the channels that are no switches; its `length_logits (R, T)` hold for all.
        logits: `(R, T, S)`, of the switches.
    """

    normal: SequenceNormal
    logits: Tensor

    def log_prob(self, target: Values) -> Tensor:
        assert isinstance(target, Masked)
        split = target.value.shape[2] - self.logits.shape[2]
        nats = self.normal.log_prob(Masked(target.value[..., :split], target.mask))
        logits, switches = self.logits[:, : target.value.shape[1]], target.value[..., split:]
        surprise = F.binary_cross_entropy_with_logits(logits, switches, reduction="none").sum(dim=2)
        return nats - (surprise * target.mask).sum(dim=1)

    @property
    def mean(self) -> Masked:
        return self.mode

    @property
    def mode(self) -> Masked:
        return self._beside(self.normal.mode, self.logits > 0)

    def sample(self, noise: Noise, name: str) -> Masked:
        uniform = noise.uniform(f"{name}/switch", *self.logits.shape, like=self.logits)
        return self._beside(self.normal.sample(noise, name), uniform < self.logits.sigmoid())

    def _beside(self, steps: Masked, switches: Tensor) -> Masked:
        return Masked(torch.cat([steps.value, switches.to(steps.value)], dim=2), steps.mask)


class SequenceMixedHead(LikelihoodHead):
    """`parameters` is `(steps (R, T, C), length_logits (R, T))`: locations, then logits of the switches.

    Args:
        num_switches: `S`, the last channels.
        scale: `"learned"`, or a fixed number, of the other channels.
        shape: Of a learned scale; `()` shares one over the event.
        floor: Smallest learned scale.
    """

    def __init__(
        self, num_switches: int, scale: str | float = "learned", shape: tuple[int, ...] = (), floor: float = 1e-3
    ):
        super().__init__()
        self.num_switches = num_switches
        self.log_scale = scale_module(scale, shape, 1.0, floor)

    def forward(self, parameters: Tensor | tuple[Tensor, ...]) -> SequenceMixed:
        steps, length_logits = parameters
        split = steps.shape[2] - self.num_switches
        return SequenceMixed(SequenceNormal(steps[..., :split], self.log_scale(), length_logits), steps[..., split:])
