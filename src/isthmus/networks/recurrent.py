"""Recurrent networks over sequences of unequal length.

Shapes: `n` rows, `T` steps, `C` channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from isthmus.batch import Masked
from isthmus.networks.sequence import masked_mean, with_steps

_CELLS: dict[str, type[nn.GRU] | type[nn.LSTM]] = {"gru": nn.GRU, "lstm": nn.LSTM}


class RecurrentEncoder(nn.Module):
    """A GRU or LSTM read in both directions; its last states and their mean over time make the features.

    Args:
        num_inputs: Channels `C` of a step.
        width: Features of the answer.
        cell: `"gru"` or `"lstm"`.
        num_hidden: Size of the state, per direction.

    Raises:
        ValueError: The cell is unknown.
    """

    def __init__(self, num_inputs: int, width: int, cell: str = "gru", num_hidden: int = 128):
        super().__init__()
        if cell not in _CELLS:
            raise ValueError(f"RecurrentEncoder got cell '{cell}'. Expected one of {', '.join(_CELLS)}.")
        self.forwards = _CELLS[cell](num_inputs, num_hidden, batch_first=True)
        self.backwards = _CELLS[cell](num_inputs, num_hidden, batch_first=True)
        self.output = nn.Linear(4 * num_hidden, width)

    def forward(self, values: Masked) -> Tensor:
        """`Masked (n, T, C)` -> `(n, width)`."""
        values = with_steps(values)
        value, mask = values.value, values.mask
        if len(value) == 0:  # torch's recurrent layers refuse a batch of no rows
            return self.output(value.new_zeros(0, self.output.in_features))
        # Each row is turned round within its own length, so both directions begin at a real step, and no state ever
        # passes through padding. Packing would do as well, but takes the lengths back to the CPU at every step.
        length = mask.sum(dim=1, keepdim=True)
        steps = torch.arange(mask.shape[1], device=mask.device)
        turned = (length - 1 - steps).clamp_min(0).unsqueeze(-1).expand_as(value)
        states = torch.cat([self.forwards(value)[0], self.backwards(value.gather(1, turned))[0]], dim=2)
        last = (length - 1).clamp_min(0).unsqueeze(-1).expand(-1, -1, states.shape[2])
        ends = torch.cat([states.gather(1, last).squeeze(1), masked_mean(states, mask)], dim=1)
        return self.output(ends)
