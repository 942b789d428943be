"""Networks for sequences of unequal length: masked pooling, strided convolutions over time, parallel decoders.

Nothing here reads what stands behind the end of a row: padding never changes an answer. Masks must be prefixes (a row
is there up to its length), as `isthmus.kinds.base.pad` makes them.

Shapes: `n` or `R` rows, `T` steps or tokens, `C` channels, `F` features, `V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isthmus.batch import Masked


def masked_mean(value: Tensor, mask: Tensor) -> Tensor:
    """Mean over the steps that are there: `(n, T, F)`, `(n, T)` -> `(n, F)`; zero for a row without any."""
    total = (value * mask.unsqueeze(-1)).sum(dim=1)
    return total / mask.sum(dim=1, keepdim=True).clamp_min(1)


def masked_max(value: Tensor, mask: Tensor) -> Tensor:
    """Largest value over the steps that are there: `(n, T, F)`, `(n, T)` -> `(n, F)`; zero for a row without any."""
    # Not minus infinity: a row without a step would then carry it on, and its gradient is NaN.
    lowest = torch.finfo(value.dtype).min
    largest = value.masked_fill(~mask.unsqueeze(-1), lowest).amax(dim=1)
    return largest.masked_fill(~mask.any(dim=1, keepdim=True), 0.0)


def pool(value: Tensor, mask: Tensor) -> Tensor:
    """Mean beside maximum: `(n, T, F)`, `(n, T)` -> `(n, 2 F)`. The mean says how much, the maximum says whether."""
    return torch.cat([masked_mean(value, mask), masked_max(value, mask)], dim=1)


def with_steps(values: Masked) -> Masked:
    """The same rows, with at least one step on the time axis: a batch of no rows may come without any."""
    if values.mask.shape[1]:
        return values
    value = values.value.new_zeros(len(values), 1, *values.value.shape[2:])
    return Masked(value, values.mask.new_zeros(len(values), 1))


class TimeConvolution(nn.Module):
    """Convolution over time, LayerNorm over channels, SiLU; a residual where shapes allow it.

    `(n, T, C)` -> `(n, ceil(T / stride), C')`. Steps that are not there must come in as zeros. LayerNorm looks at one
    step at a time; a norm over time would let padding, and the length, into every step.

    Raises:
        ValueError: The kernel size is even.
    """

    def __init__(self, num_inputs: int, num_outputs: int, kernel_size: int = 3, stride: int = 1):
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f"TimeConvolution got kernel_size {kernel_size}. Expected an odd number.")
        self.stride = stride
        self.residual = stride == 1 and num_inputs == num_outputs
        self.convolution = nn.Conv1d(num_inputs, num_outputs, kernel_size, stride, padding=kernel_size // 2)
        self.norm = nn.LayerNorm(num_outputs)

    def forward(self, value: Tensor) -> Tensor:
        output = F.silu(self.norm(self.convolution(value.transpose(1, 2)).transpose(1, 2)))
        return value + output if self.residual else output


class ConvolutionalSequenceEncoder(nn.Module):
    """Strided convolutions over time, then mean and maximum over time.

    Args:
        num_inputs: Channels `C` of a step.
        width: Features of the answer.
        channels: Of each layer.
        strides: Of each layer; their product is how much shorter time gets.
        kernel_size: Of each layer, odd.
    """

    def __init__(
        self,
        num_inputs: int,
        width: int,
        channels: Sequence[int] = (96, 96, 96),
        strides: Sequence[int] = (1, 1, 1),
        kernel_size: int = 3,
    ):
        super().__init__()
        sizes = [num_inputs, *channels]
        self.layers = nn.ModuleList(
            TimeConvolution(before, after, kernel_size, stride)
            for before, after, stride in zip(sizes[:-1], channels, strides, strict=True)
        )
        self.output = nn.Linear(2 * sizes[-1], width)

    def forward(self, values: Masked) -> Tensor:
        """`Masked (n, T, C)` -> `(n, width)`."""
        values = with_steps(values)
        value, mask = values.value, values.mask
        for layer in self.layers:
            value = layer(value * mask.unsqueeze(-1))
            mask = mask[:, :: layer.stride]
        return self.output(pool(value, mask))


class SequenceDecoder(nn.Module):
    """All steps of a sequence at once: `z (R, width)` -> `(R, T, num_outputs)`.

    Steps depend on one another through `z` alone, so what is decoded follows the code and cannot lean on its own past,
    which is how autoregressive decoders come to ignore the code (Bowman et al. 2016, arXiv:1511.06349).

    Args:
        width: Of the code.
        num_steps: Longest sequence `T`.
        num_outputs: Of each step.
        patch: Steps that are made together; time runs at `T / patch` inside.
        num_features: Of a patch inside.
        num_layers: Convolutions over patches.
    """

    def __init__(
        self,
        width: int,
        num_steps: int,
        num_outputs: int,
        patch: int = 1,
        num_features: int = 96,
        num_layers: int = 1,
        num_hidden: int = 256,
    ):
        super().__init__()
        self.num_steps, self.num_features, self.num_outputs = num_steps, num_features, num_outputs
        num_patches = -(-num_steps // patch)
        self.hidden = nn.Sequential(nn.Linear(width, num_hidden), nn.LayerNorm(num_hidden), nn.SiLU())
        self.patches = nn.Linear(num_hidden, num_patches * num_features)
        self.layers = nn.Sequential(*(TimeConvolution(num_features, num_features) for _ in range(num_layers)))
        self.output = nn.Linear(num_features, patch * num_outputs)

    def forward(self, z: Tensor) -> Tensor:
        patches = self.patches(self.hidden(z)).unflatten(1, (-1, self.num_features))
        steps: Tensor = self.output(self.layers(patches))
        return steps.unflatten(2, (-1, self.num_outputs)).flatten(1, 2)[:, : self.num_steps]


class AlternativesDecoder(nn.Module):
    """`K` ways to decode a whole sequence: `z (R, width)` -> `(R, K, T, num_outputs)` and logits of the ways `(R, K)`.

    The alternatives differ in what they make of the code and share all later layers.

    Args:
        width: Of the code.
        num_steps: Longest sequence `T`.
        num_outputs: Of each step.
        num_alternatives: `K`.
        num_features: Of a step inside.
        num_hidden: Of the code's first layer.
    """

    def __init__(
        self,
        width: int,
        num_steps: int,
        num_outputs: int,
        num_alternatives: int,
        num_features: int = 96,
        num_hidden: int = 256,
    ):
        super().__init__()
        self.inner = (num_alternatives, num_steps, num_features)
        self.hidden = nn.Sequential(nn.Linear(width, num_hidden), nn.LayerNorm(num_hidden), nn.SiLU())
        self.steps = nn.Linear(num_hidden, num_alternatives * num_steps * num_features)
        self.layers = TimeConvolution(num_features, num_features)
        self.output = nn.Linear(num_features, num_outputs)
        self.weights = nn.Linear(num_hidden, num_alternatives)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.hidden(z)
        steps = self.layers(self.steps(hidden).view(-1, *self.inner[1:]))
        return self.output(steps).unflatten(0, (len(z), self.inner[0])), self.weights(hidden)


class LengthDecoder(nn.Module):
    """Any sequence decoder, and a distribution over how long the sequence is.

    `z (R, width)` -> `(steps (R, T, C), length_logits (R, T))`, as `SequenceHead` takes them: entry `t` stands for a
    length of `t + 1`.
    """

    def __init__(self, steps: nn.Module, width: int, num_steps: int, num_hidden: int = 64):
        super().__init__()
        self.steps = steps
        self.length = nn.Sequential(nn.Linear(width, num_hidden), nn.SiLU(), nn.Linear(num_hidden, num_steps))

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return self.steps(z), self.length(z)
