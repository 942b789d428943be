"""Plain feature vectors of any values, without a network: what floors are computed from.

The rule is chosen by shape and dtype alone, so that a guest's kind of data has floors too.

Shapes: `n` rows, `F` features, `C H W` image, `T` tokens or steps, `C` columns or channels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn

from isthmus.batch import Masked, Values
from isthmus.kinds.base import Kind

MAX_WORDS = 512
NUM_AT_ONCE = 2**24  # numbers that are made float64 at a time where that can be done in parts: 128 MiB


class ColumnLike(Protocol):
    """What is asked of a column of a table: its name, how it is distributed, and its number of levels."""

    @property
    def name(self) -> str: ...

    @property
    def distribution(self) -> str: ...

    @property
    def num_classes(self) -> int: ...


@dataclass(frozen=True)
class Target:
    """What evaluation may know of a modality beside its values; each part may be missing, and its scores are then too.

    Args:
        encoder: Builds a fresh network from normalised values to features: judge and supervised reference.
        cells: Normalised values as the cells a person knows; those of a text modality are strings.
        columns: Of a table; empty for all else.
    """

    encoder: Callable[[], nn.Module] | None = None
    cells: Callable[[Values], list[Any]] | None = None
    columns: Sequence[ColumnLike] = ()

    @classmethod
    def from_kind(cls, kind: Kind, width: int = 128) -> Target:
        """All that a fitted kind can tell."""
        return cls(lambda: kind.encoder(width), kind.cells, getattr(kind.likelihood(), "columns", ()))


class FlatFeatures(ABC):
    """Values to `(n, F)` float64 features; learns from training values what must be learnt.

    Attributes:
        same_unit: All features share one unit, as pixels do: they are then scaled together.
    """

    same_unit: bool = False

    @abstractmethod
    def __call__(self, values: Values) -> np.ndarray:
        """Features `(n, F)`; finite everywhere."""


def flat_features(train: Values, columns: Sequence[ColumnLike] = (), side: int = 16, steps: int = 16) -> FlatFeatures:
    """The features that suit `train`.

    - Arrays `(n, C, H, W)`: pixels, pooled to at most `side x side`; other arrays `(n, ...)`: as they are.
    - Sequences `Masked (n, T, ...)`: the mean over each of `steps` equal parts, more where there are few channels,
      and the logarithm of the length.
    - Tokens, integer `Masked (n, T)`: counts of the commonest tokens and pairs of neighbours.
    - Table rows `Masked (n, C)`: numbers with blanks at their mean, levels one-hot, and which cells were blank.
    - Classes, integer `(n,)`: one-hot.
    """
    if isinstance(train, Tensor):
        return OneHot(train) if not train.is_floating_point() else Pixels(side)
    if not train.value.is_floating_point():
        return BagOfTokens(train)
    return TableRows(train, columns) if train.value.dim() == 2 else Resampled(train, steps)


@dataclass(frozen=True)
class Pixels(FlatFeatures):
    """Fixed arrays; pictures are pooled."""

    side: int
    same_unit = True

    def __call__(self, values: Values) -> np.ndarray:
        assert isinstance(values, Tensor)
        if values.dim() == 4:
            height, width = values.shape[2:]
            values = F.adaptive_avg_pool2d(values, (min(height, self.side), min(width, self.side)))
        return numpy64(values).reshape(len(values), -1)


class OneHot(FlatFeatures):
    """Classes; one that training did not hold is all zeros."""

    def __init__(self, train: Tensor):
        self.classes = np.unique(train.cpu().numpy())

    def __call__(self, values: Values) -> np.ndarray:
        assert isinstance(values, Tensor)
        return (values.cpu().numpy()[:, None] == self.classes).astype(np.float64)


class Resampled(FlatFeatures):
    """Sequences on a common clock."""

    same_unit = True

    def __init__(self, train: Masked, steps: int):
        # A pen line of three channels bends more often than sixteen points can follow; a spectrum is wide already.
        channels = int(np.prod(train.value.shape[2:]))
        self.steps = int(np.clip(192 // max(channels, 1), steps, 4 * steps))

    def __call__(self, values: Values) -> np.ndarray:
        assert isinstance(values, Masked)
        frames, lengths = compact(values)
        return np.concatenate([resample(frames, lengths, self.steps), np.log1p(lengths)[:, None]], axis=1)


class BagOfTokens(FlatFeatures):
    """Counts of the commonest tokens and pairs of neighbouring tokens of the training texts."""

    def __init__(self, train: Masked):
        self.base = int(train.value.max()) + 1 if train.value.numel() else 1
        _, codes = self._codes(train)
        words, counts = np.unique(codes, return_counts=True)
        self.words = np.sort(words[np.argsort(-counts, kind="stable")[:MAX_WORDS]])

    def __call__(self, values: Values) -> np.ndarray:
        assert isinstance(values, Masked)
        rows, codes = self._codes(values)
        place = np.searchsorted(self.words, codes).clip(max=max(len(self.words) - 1, 0))
        known = self.words[place] == codes if len(self.words) else np.zeros(len(codes), bool)
        counts = np.zeros((len(values), len(self.words)))
        np.add.at(counts, (rows[known], place[known]), 1.0)
        return counts

    def _codes(self, values: Masked) -> tuple[np.ndarray, np.ndarray]:
        """Row and number of every token (below `base`) and pair (from `base` on)."""
        ids, lengths = compact(values)
        ids = ids.astype(np.int64)
        there = np.arange(ids.shape[1]) < lengths[:, None]
        known = there & (ids < self.base)
        pair = known[:, :-1] & known[:, 1:]
        pairs = self.base * (1 + ids[:, :-1]) + ids[:, 1:]
        rows = np.concatenate([known.nonzero()[0], pair.nonzero()[0]])
        return rows, np.concatenate([ids[known], pairs[pair]])


class TableRows(FlatFeatures):
    """Numbers, one-hot levels, and a sign for blanks where training has any."""

    def __init__(self, train: Masked, columns: Sequence[ColumnLike] = ()):
        value, mask = numpy64(train.value), train.mask.cpu().numpy()
        self.levels = num_levels(columns, value.shape[1])
        there = mask.sum(axis=0).clip(min=1)
        self.mean = np.where(mask, value, 0.0).sum(axis=0) / there
        self.blank = ~mask.all(axis=0)

    def __call__(self, values: Values) -> np.ndarray:
        assert isinstance(values, Masked)
        mask = values.mask.cpu().numpy()
        return np.concatenate([self.encode(values), (~mask[:, self.blank]).astype(np.float64)], axis=1)

    def encode(self, values: Masked) -> np.ndarray:
        """The columns alone: one feature per number, one per level; a blank is the mean, or no level."""
        value, mask = numpy64(values.value), values.mask.cpu().numpy()
        parts = []
        for c, levels in enumerate(self.levels):
            if levels:
                parts.append((value[:, c, None] == np.arange(levels)) & mask[:, c, None])
            else:
                parts.append(np.where(mask[:, c], value[:, c], self.mean[c])[:, None])
        return np.concatenate([part.astype(np.float64) for part in parts], axis=1)


def num_levels(columns: Sequence[ColumnLike], num_columns: int) -> tuple[int, ...]:
    """Per column: how many levels it has, 0 for a number."""
    if not columns:
        return (0,) * num_columns
    binary = {"binary": 2}
    return tuple(binary.get(c.distribution, c.num_classes if c.distribution == "categorical" else 0) for c in columns)


def compact(values: Masked) -> tuple[np.ndarray, np.ndarray]:
    """Sequences with what is there in front: an array `(n, T, ...)` and lengths `(n,)`; zeros behind the end."""
    value, mask = values.value.detach().cpu().numpy(), values.mask.cpu().numpy()
    lengths = mask.sum(axis=1)
    if not (mask[:, 1:] <= mask[:, :-1]).all():
        order = np.argsort(~mask, axis=1, kind="stable")
        value = np.take_along_axis(value, order.reshape(*order.shape, *[1] * (value.ndim - 2)), axis=1)
    there = np.arange(mask.shape[1]) < lengths[:, None]
    return np.where(there.reshape(*there.shape, *[1] * (value.ndim - 2)), value, np.zeros((), value.dtype)), lengths


def resample(frames: np.ndarray, lengths: np.ndarray, steps: int) -> np.ndarray:
    """The mean over each of `steps` equal parts of every sequence, `(n, steps * channels)`; zeros for empty ones.

    A sequence is taken as constant within each frame, and integrated between the edges of the parts: short sequences
    are stretched and long ones averaged by one rule.
    """
    flat = frames.reshape(*frames.shape[:2], -1).astype(np.float64)
    total = np.pad(flat.cumsum(axis=1), ((0, 0), (1, 0), (0, 0)))  # (n, T + 1, C)
    edge = np.arange(steps + 1) / steps * lengths[:, None]  # (n, steps + 1)
    below = np.floor(edge).astype(np.int64).clip(max=frames.shape[1])
    above = (below + 1).clip(max=frames.shape[1])
    at_below = np.take_along_axis(total, below[..., None], axis=1)
    at_above = np.take_along_axis(total, above[..., None], axis=1)
    integral = at_below + (edge - below)[..., None] * (at_above - at_below)
    width = np.maximum(lengths / steps, 1e-12)[:, None, None]
    parts: np.ndarray = np.diff(integral, axis=1) / width
    return parts.reshape(len(frames), -1)


def numpy64(tensor: Tensor) -> np.ndarray:
    """On the CPU, in float64."""
    return tensor.detach().cpu().double().numpy()


def row_chunks(num_rows: int, width: int) -> list[slice]:
    """Rows of `width` numbers in parts of `NUM_AT_ONCE` numbers, or of one row; one empty part where there are none."""
    size = max(1, NUM_AT_ONCE // max(1, width))
    return [slice(start, start + size) for start in range(0, max(1, num_rows), size)]
