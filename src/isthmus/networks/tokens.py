"""From values to tokens: each token is made of its own part of a value alone, and knows its place in it.

A transformer that is shown some tokens learns to tell the others (He et al. 2021, arXiv:2111.06377), so no token may
see what its neighbours hold: a picture is cut into patches that do not overlap, a sequence into stretches, a table into
its columns.

Shapes: `n` rows, `T` tokens or steps, `C` channels or columns, `F` features.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isthmus.batch import Masked
from isthmus.likelihoods_table import TableColumn, check_columns
from isthmus.networks.sequence import with_steps
from isthmus.networks.transformer import sinusoids

# Attention is paid between all pairs: beyond these numbers, tokens get larger and not more.
MAX_SIDE, MAX_STRETCHES, MAX_CHUNKS = 6, 24, 16


class PatchTokens(nn.Module):
    """Pictures `(n, C, H, W)`, values about 0 to 1, to `Masked (n, T, width)`: a token for each patch.

    Args:
        shape: `(C, H, W)`.
        width: Features of a token.
    """

    def __init__(self, shape: tuple[int, int, int], width: int):
        super().__init__()
        patch = -(-max(shape[1:]) // MAX_SIDE)
        rows, columns = (-(-side // patch) for side in shape[1:])
        self.padding = (0, columns * patch - shape[2], 0, rows * patch - shape[1])
        self.patches = nn.Conv2d(shape[0], width, patch, patch)
        self.place = nn.Parameter(torch.randn(rows * columns, width) / width**0.5)

    def forward(self, pictures: Tensor) -> Masked:
        tokens = self.patches(F.pad(pictures - 0.5, self.padding)).flatten(2).transpose(1, 2) + self.place
        return Masked(tokens, torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device))


class StretchTokens(nn.Module):
    """Sequences `Masked (n, T, C)` to `Masked (n, T / stretch, width)`: a token for each stretch of steps.

    Args:
        num_inputs: Channels `C` of a step.
        width: Features of a token, an even number.
        num_steps: Longest sequence to expect; decides how many steps make a stretch.
    """

    def __init__(self, num_inputs: int, width: int, num_steps: int):
        super().__init__()
        self.stretch = -(-num_steps // MAX_STRETCHES)
        # A step also says that it is there: a sequence that ends within a stretch is not one that goes on at zero.
        self.steps = nn.Linear(self.stretch * (num_inputs + 1), width)

    def forward(self, values: Masked) -> Masked:
        values = with_steps(values)
        there = values.mask.unsqueeze(-1)
        steps = torch.cat([values.value * there, there.to(values.value)], dim=2)
        beyond = -steps.shape[1] % self.stretch
        tokens = self.steps(F.pad(steps, (0, 0, 0, beyond)).unflatten(1, (-1, self.stretch)).flatten(2))
        mask = F.pad(values.mask, (0, beyond)).unflatten(1, (-1, self.stretch)).any(dim=2)
        return Masked(tokens + sinusoids(tokens.shape[1], tokens.shape[2], like=tokens), mask)


class WordTokens(nn.Module):
    """Token ids `Masked (n, T)` to `Masked (n, T, width)`: an embedding and a place.

    Args:
        num_tokens: Of the vocabulary.
        width: Features of a token, an even number.
    """

    def __init__(self, num_tokens: int, width: int):
        super().__init__()
        self.embedding = nn.Embedding(num_tokens, width)

    def forward(self, values: Masked) -> Masked:
        values = with_steps(values)
        tokens = self.embedding(values.value.masked_fill(~values.mask, 0))
        return Masked(tokens + sinusoids(tokens.shape[1], tokens.shape[2], like=tokens), values.mask)


class ColumnTokens(nn.Module):
    """Rows of a table, `Masked (n, C)`, to `Masked (n, C, width)`: a token for each column that is there.

    A number is a slope and an offset of its column's own, a category an embedding of its level.

    Args:
        columns: In the order of `likelihoods_table.DISTRIBUTIONS`.
        width: Features of a token.
    """

    offset: Tensor

    def __init__(self, columns: Sequence[TableColumn], width: int):
        super().__init__()
        columns = check_columns(columns)
        classes = [column.num_classes for column in columns if column.distribution == "categorical"]
        self.num_plain = len(columns) - len(classes)
        offsets = torch.tensor([0, *classes], dtype=torch.long).cumsum(0)[:-1]
        self.register_buffer("offset", offsets, persistent=False)
        self.slope = nn.Parameter(torch.randn(self.num_plain, width) / width**0.5)
        self.level = nn.Embedding(max(1, sum(classes)), width)
        self.column = nn.Parameter(torch.randn(len(columns), width) / width**0.5)

    def forward(self, values: Masked) -> Masked:
        value = values.value.masked_fill(~values.mask, 0.0)
        # Linear near zero and logarithmic far out, as in `TableEncoder`.
        plain = torch.asinh(value[:, : self.num_plain, None]) * self.slope
        levels = self.level(value[:, self.num_plain :].long() + self.offset)
        return Masked(torch.cat([plain, levels], dim=1) + self.column, values.mask)


class ChunkTokens(nn.Module):
    """Vectors `(n, F)` to `Masked (n, T, width)`: a token for each of up to 16 chunks of neighbouring features.

    Args:
        num_features: `F`.
        width: Features of a token.
    """

    def __init__(self, num_features: int, width: int):
        super().__init__()
        self.chunk = -(-num_features // MAX_CHUNKS)
        count = -(-num_features // self.chunk)
        self.weight = nn.Parameter(torch.randn(count, self.chunk, width) / self.chunk**0.5)
        self.place = nn.Parameter(torch.randn(count, width) / width**0.5)

    def forward(self, values: Tensor) -> Masked:
        chunks = F.pad(values, (0, -values.shape[1] % self.chunk)).unflatten(1, (-1, self.chunk))
        tokens = torch.einsum("ntc,tcw->ntw", chunks, self.weight) + self.place
        return Masked(tokens, torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device))


class FeatureTokens(nn.Module):
    """What any encoder gives as tokens: its tokens, or its features as a single one.

    Args:
        encoder: From values to features `(n, F)`, or to tokens `(n, T, F)`, masked or not.
    """

    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.encoder = encoder

    def forward(self, values: Tensor | Masked) -> Masked:
        features = self.encoder(values)
        if isinstance(features, Masked):
            return features
        tokens = features if features.dim() == 3 else features[:, None]
        return Masked(tokens, torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device))
