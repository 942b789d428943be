"""How far a decoded modality is from what was there, in a measure that suits it, and what a constant would reach.

Shapes: `n` rows, `T` tokens or steps, `C` columns.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from isthmus.batch import Masked, Values
from isthmus.evaluation.features import ColumnLike, TableRows, compact, num_levels, numpy64, row_chunks

RELATIVE = "root mean squared error / that of the mean predictor"


class Measure(ABC):
    """The error of one modality; learns from training values what a predictor without input would say."""

    metric: ClassVar[str]

    @abstractmethod
    def score(self, prediction: Values, target: Values) -> dict[str, Any]:
        """`error` over `n` rows, lower is better, None where it is not defined; and what else there is to say."""

    @abstractmethod
    def constant(self, num_rows: int) -> Values:
        """The best constant prediction, repeated."""

    def dense(self, values: Values) -> np.ndarray | None:
        """Values as `(n, F)` float64 for linear algebra, or None where that means nothing."""
        return None

    def restore(self, dense: np.ndarray) -> Values:
        """What `dense` was made of."""
        raise TypeError(f"{type(self).__name__} has no dense form.")


def fit_measure(train: Values, columns: Sequence[ColumnLike] = ()) -> Measure:
    """The measure that suits `train`, by shape and dtype."""
    if isinstance(train, Tensor):
        return ArrayMeasure(train) if train.is_floating_point() else ClassMeasure(train)
    if not train.value.is_floating_point():
        return TokenMeasure(train)
    return TableMeasure(train, columns) if train.value.dim() == 2 else SequenceMeasure(train)


class ArrayMeasure(Measure):
    """Real arrays of fixed shape: 1 is the mean predictor, 0 is exact."""

    metric = RELATIVE

    def __init__(self, train: Tensor):
        parts = row_chunks(len(train), math.prod(train.shape[1:]))
        self.mean = np.asarray(sum(numpy64(train[rows]).sum(axis=0) for rows in parts) / len(train))
        self.dtype = train.dtype

    def score(self, prediction: Values, target: Values) -> dict[str, Any]:
        assert isinstance(prediction, Tensor) and isinstance(target, Tensor)
        error = constant = 0.0
        for rows in row_chunks(len(target), self.mean.size):
            there = numpy64(target[rows])
            error += ((numpy64(prediction[rows]) - there) ** 2).sum()
            constant += ((self.mean - there) ** 2).sum()
        return {"error": relative(error, constant)}

    def constant(self, num_rows: int) -> Tensor:
        return torch.as_tensor(self.mean, dtype=self.dtype).expand(num_rows, *self.mean.shape)

    def dense(self, values: Values) -> np.ndarray:
        assert isinstance(values, Tensor)
        return numpy64(values).reshape(len(values), -1)

    def restore(self, dense: np.ndarray) -> Tensor:
        return torch.as_tensor(dense.reshape(-1, *self.mean.shape), dtype=self.dtype)


class ClassMeasure(Measure):
    """Classes, one long number per row."""

    metric = "share of wrong classes"

    def __init__(self, train: Tensor):
        self.classes, counts = torch.unique(train.cpu(), return_counts=True)
        self.commonest = self.classes[counts.argmax()]

    def score(self, prediction: Values, target: Values) -> dict[str, Any]:
        assert isinstance(prediction, Tensor) and isinstance(target, Tensor)
        return {"error": float((prediction.cpu() != target.cpu()).double().mean()) if len(target) else None}

    def constant(self, num_rows: int) -> Tensor:
        return self.commonest.expand(num_rows)

    def dense(self, values: Values) -> np.ndarray:
        assert isinstance(values, Tensor)
        return (values.cpu()[:, None] == self.classes).double().numpy()

    def restore(self, dense: np.ndarray) -> Tensor:
        return self.classes[torch.as_tensor(dense).argmax(dim=1)]


class SequenceMeasure(Measure):
    """Real sequences with a length, compared over the steps that are there.

    A step that the prediction no longer has is predicted by the mean training step of its place.
    """

    metric = RELATIVE

    def __init__(self, train: Masked):
        frames, lengths = compact(train)
        there = np.arange(frames.shape[1]) < lengths[:, None]
        longest = max(int(lengths.max(initial=0)), 1)
        count = there.sum(axis=0)[:longest].clip(min=1)
        parts = row_chunks(len(frames), math.prod(frames.shape[1:]))
        total = np.asarray(sum(frames[rows].astype(np.float64).sum(axis=0) for rows in parts))
        self.profile = (total[:longest].T / count).T  # (T, ...)
        self.dtype = train.value.dtype

    def score(self, prediction: Values, target: Values) -> dict[str, Any]:
        assert isinstance(prediction, Masked) and isinstance(target, Masked)
        profile = self._profile(target.mask.shape[1])
        squared = squared_constant = 0.0
        off = total = 0
        for rows in row_chunks(len(target), profile.size):
            wanted, lengths = compact(_some(target, rows))
            there = np.arange(wanted.shape[1]) < lengths[:, None]
            given = self._frames(_some(prediction, rows), wanted.shape[1])
            squared += ((given - wanted)[there] ** 2).sum()
            squared_constant += ((profile - wanted)[there] ** 2).sum()
            off += np.abs(prediction.mask[rows].sum(dim=1).cpu().numpy() - lengths).sum()
            total += lengths.sum()
        return {"error": relative(squared, squared_constant), "length_error": float(off / max(total, 1))}

    def constant(self, num_rows: int) -> Masked:
        value = torch.as_tensor(self.profile, dtype=self.dtype).expand(num_rows, *self.profile.shape)
        return Masked(value, torch.ones(value.shape[:2], dtype=torch.bool))

    def dense(self, values: Values) -> np.ndarray:
        assert isinstance(values, Masked)
        return self._frames(values, len(self.profile)).reshape(len(values), -1)

    def restore(self, dense: np.ndarray) -> Masked:
        value = torch.as_tensor(dense.reshape(-1, *self.profile.shape), dtype=self.dtype)
        return Masked(value, torch.ones(value.shape[:2], dtype=torch.bool))

    def _profile(self, length: int) -> np.ndarray:
        """The mean training step of each place; behind the longest training sequence, of the last place."""
        return self.profile[np.arange(length).clip(max=len(self.profile) - 1)]

    def _frames(self, values: Masked, length: int) -> np.ndarray:
        """Frames `(n, length, ...)`, the profile where a sequence has ended."""
        frames, lengths = compact(values)
        profile = self._profile(length)
        result = np.repeat(profile[None], len(frames), axis=0)
        shared = min(length, frames.shape[1])
        there = np.arange(shared) < lengths[:, None]
        result[:, :shared][there] = frames[:, :shared][there]
        return result


class TokenMeasure(Measure):
    """Texts as tokens."""

    metric = "edits per token"

    def __init__(self, train: Masked):
        ids, lengths = compact(train)
        commonest, _ = Counter(tuple(row[:n].tolist()) for row, n in zip(ids, lengths, strict=True)).most_common(1)[0]
        self.commonest = torch.tensor(commonest, dtype=train.value.dtype)

    def score(self, prediction: Values, target: Values) -> dict[str, Any]:
        assert isinstance(prediction, Masked) and isinstance(target, Masked)
        edits = edit_distance(prediction, target)
        total = int(target.mask.sum())
        return {
            "error": float(edits.sum() / total) if total else None,
            "exact": float((edits == 0).mean()) if len(edits) else None,
        }

    def constant(self, num_rows: int) -> Masked:
        value = self.commonest.expand(num_rows, -1)
        return Masked(value, torch.ones(value.shape, dtype=torch.bool))


class TableMeasure(Measure):
    """Mixed tables: the mean over columns of the relative error of numbers and the error rate of levels."""

    metric = "mean over columns: relative error of numbers, share of wrong levels"

    def __init__(self, train: Masked, columns: Sequence[ColumnLike] = ()):
        num_columns = train.value.shape[1]
        self.rows, self.levels = TableRows(train, columns), num_levels(columns, num_columns)
        self.names = [column.name for column in columns] or [str(c) for c in range(num_columns)]
        self.dtype = train.value.dtype
        value, mask = numpy64(train.value), train.mask.cpu().numpy()
        self.centre = self.rows.mean.copy()
        for c, levels in enumerate(self.levels):
            if levels:
                there = value[mask[:, c], c].astype(np.int64)
                self.centre[c] = np.bincount(there, minlength=levels).argmax()

    def score(self, prediction: Values, target: Values) -> dict[str, Any]:
        columns = self.score_columns(prediction, target)
        errors = [column["error"] for column in columns if column["error"] is not None]
        return {"error": float(np.mean(errors)) if errors else None, "columns": columns}

    def score_columns(self, prediction: Values, target: Values) -> list[dict[str, Any]]:
        """Per column: its name, error, number of cells compared, and for numbers the correlation `r`."""
        assert isinstance(prediction, Masked) and isinstance(target, Masked)
        given, wanted, mask = numpy64(prediction.value), numpy64(target.value), target.mask.cpu().numpy()
        scores: list[dict[str, Any]] = []
        for c, (name, levels) in enumerate(zip(self.names, self.levels, strict=True)):
            x, y = given[mask[:, c], c], wanted[mask[:, c], c]
            score: dict[str, Any] = {"column": name, "n": len(y)}
            if levels:
                score |= {"metric": ClassMeasure.metric, "error": float((x != y).mean()) if len(y) else None}
            else:
                error = relative(((x - y) ** 2).sum(), ((self.centre[c] - y) ** 2).sum())
                score |= {"metric": RELATIVE, "error": error, "r": correlation(x, y)}
            scores.append(score)
        return scores

    def constant(self, num_rows: int) -> Masked:
        value = torch.as_tensor(self.centre, dtype=self.dtype).expand(num_rows, -1)
        return Masked(value, torch.ones(value.shape, dtype=torch.bool))

    def dense(self, values: Values) -> np.ndarray:
        assert isinstance(values, Masked)
        return self.rows.encode(values)

    def restore(self, dense: np.ndarray) -> Masked:
        ends = np.cumsum([max(levels, 1) for levels in self.levels])[:-1]
        parts = [
            part.argmax(axis=1) if levels else part[:, 0]
            for part, levels in zip(np.split(dense, ends, axis=1), self.levels, strict=True)
        ]
        value = torch.as_tensor(np.stack(parts, axis=1), dtype=self.dtype)
        return Masked(value, torch.ones(value.shape, dtype=torch.bool))


def _some(values: Masked, rows: slice) -> Masked:
    return Masked(values.value[rows], values.mask[rows])


def relative(squared: float, squared_constant: float) -> float | None:
    """The root of a ratio of squared errors; None where a constant is exact, and nothing can be compared."""
    return float(np.sqrt(squared / squared_constant)) if squared_constant > 1e-12 else None


def correlation(x: np.ndarray, y: np.ndarray) -> float | None:
    """Pearson's r; None where either does not vary."""
    if len(x) < 2 or x.std() < 1e-9 or y.std() < 1e-9:
        return None
    return float(np.corrcoef(x, y)[0, 1])


def edit_distance(first: Masked, second: Masked) -> np.ndarray:
    """Levenshtein distance of each pair of token sequences, `(n,)`."""
    a, len_a = compact(first)
    b, len_b = compact(second)
    num_rows, width = len(a), b.shape[1] + 1
    place = np.arange(width)
    row = np.repeat(place[None], num_rows, axis=0)
    result = len_b.copy()  # what is left for an empty first sequence
    for i in range(a.shape[1]):
        change = row[:, :-1] + (a[:, i, None] != b)
        step = np.minimum(row[:, 1:] + 1, change)
        # Insertions run along the row: least over j <= k of step[j] + (k - j), a running minimum of step[j] - j.
        step = np.concatenate([np.full((num_rows, 1), i + 1), step], axis=1)
        row = np.minimum.accumulate(step - place, axis=1) + place
        done = len_a == i + 1
        result[done] = row[done, len_b[done]]
    return result
