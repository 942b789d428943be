"""The encoder for rows of a table with blanks.

Shapes: `n` rows, `C` columns, `F` features.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from isthmus.batch import Masked
from isthmus.likelihoods_table import TableColumn, check_columns
from isthmus.networks.dense import DenseEncoder


class TableEncoder(nn.Module):
    """`Masked (n, C)` -> features `(n, width)`.

    A number enters as itself, a category as one input per level, and every column also as whether it is there. The
    first linear layer makes an embedding per level, a slope per number and an embedding of each column's blank of
    them, and sums these; so a blank is neither zero nor the mean.

    Args:
        columns: In the order of `likelihoods_table.DISTRIBUTIONS`.
        width: Features `F`.
        num_blocks: Residual blocks.
    """

    offset: Tensor

    def __init__(self, columns: Sequence[TableColumn], width: int, num_blocks: int = 2):
        super().__init__()
        columns = check_columns(columns)
        classes = [column.num_classes for column in columns if column.distribution == "categorical"]
        self.num_plain = len(columns) - len(classes)
        self.num_levels = sum(classes)
        offsets = torch.tensor([0, *classes], dtype=torch.long).cumsum(0)[:-1]
        self.register_buffer("offset", offsets, persistent=False)
        self.network = DenseEncoder(self.num_plain + self.num_levels + len(columns), width, num_blocks)

    def forward(self, values: Masked) -> Tensor:
        value = values.value.masked_fill(~values.mask, 0.0)
        there = values.mask.to(value)
        # Linear near zero and logarithmic far out: one wild value does not drown the other columns.
        plain = torch.asinh(value[:, : self.num_plain])
        levels = value.new_zeros(len(value), self.num_levels)
        place = value[:, self.num_plain :].long() + self.offset
        levels = levels.scatter(1, place, there[:, self.num_plain :])
        return self.network(torch.cat([plain, levels, there], dim=1))
