"""How much of each modality the others tell, before anything is trained: what a shared code can be about.

Shapes: `N` items, `F` features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from isthmus.batch import Batch, Masked
from isthmus.evaluation.features import ColumnLike, TableRows, flat_features
from isthmus.evaluation.floors import VIEW_WIDTH, Components, Ridge, Scaling

NUM_FOLDS = 4
FEWEST_ITEMS = 20  # fewer items than this say nothing
SOURCES_WIDTH = 768  # components of all that tell together
# Of a table: columns whose shares are measured, and columns that tell one of them; of a wider table evenly spread ones.
# Measuring each by all others takes time by the square of their number, for a mean that some of them tell well enough.
MAX_COLUMNS, MAX_BESIDE = 64, 2048
NUM_GROUPS = 8  # of the columns of a wide table that are measured: one view of the rest serves a group


@dataclass(frozen=True)
class View:
    """Features of something, `(N, F)`, of total variance one and zero in its gaps; `present`, bool `(N,)`."""

    feature: np.ndarray
    present: np.ndarray

    @classmethod
    def of(cls, plain: np.ndarray, present: np.ndarray, same_unit: bool = False) -> View:
        """From plain features of the items that are there, reduced to principal components."""
        scaled = Scaling.fit(plain, same_unit)(plain)
        reduced = Components.fit(scaled, VIEW_WIDTH)(scaled)
        full = np.zeros((len(present), reduced.shape[1]))
        full[present] = reduced
        return cls(full, present)


def predictability(batch: Batch, columns: Mapping[str, Sequence[ColumnLike]] | None = None) -> dict[str, float]:
    """The share of each modality's variance that ridge regression finds in the others, on items it was not fitted to.

    Pictures are pooled to 16x16 pixels, tokens counted, sounds and series put on a common clock
    (`features.flat_features`), and all are reduced to principal components. Of the regressions from each other modality
    alone and from all together, the best counts. A table is many small modalities: its columns tell one another too,
    and the mean over columns is its share. Of a table of more than 64 columns 64 are measured, evenly spread over it,
    eight at a time by all columns but these eight, or, where those are more than 2,048, by so many of them, evenly
    spread.

    Args:
        batch: Normalised values, of training items.
        columns: Of the modalities that are tables, by name.

    Returns:
        By name, from 0 (noise to the others, or nothing to compare with) to 1.
    """
    columns = columns or {}
    there = [name for name in batch if bool(batch.present[name].any())]
    features = {name: flat_features(batch.values[name], columns.get(name, ())) for name in there}
    views = {
        name: View.of(plain(batch.values[name]), batch.present[name].cpu().numpy(), plain.same_unit)
        for name, plain in features.items()
    }
    shares = dict.fromkeys(batch, 0.0)
    for name, view in views.items():
        others = [other for label, other in views.items() if label != name]
        values = batch.values[name]
        if isinstance(features[name], TableRows) and isinstance(values, Masked):
            shares[name] = _of_table(values, columns.get(name, ()), view.present, others)
        else:
            shares[name] = max(explained(sources, view) for sources in [*([other] for other in others), others])
    return shares


def explained(sources: Sequence[View], target: View) -> float:
    """The share of the target's variance that ridge regression from the sources explains across folds, at least 0.

    Counted are items that have the target and one of the sources.
    """
    sources = [view for view in sources if view.feature.shape[1]]  # a constant has no components
    if not sources:
        return 0.0
    rows = (target.present & np.logical_or.reduce([view.present for view in sources])).nonzero()[0]
    if len(rows) < FEWEST_ITEMS:
        return 0.0
    width = SOURCES_WIDTH // len(sources) or 1
    x, y = np.concatenate([view.feature[rows, :width] for view in sources], axis=1), target.feature[rows]
    fold = np.arange(len(rows)) % NUM_FOLDS
    error = total = 0.0
    for held in range(NUM_FOLDS):
        inner, outer = fold != held, fold == held
        error += float(((Ridge.fit(x[inner], y[inner])(x[outer]) - y[outer]) ** 2).sum())
        total += float(((y[inner].mean(axis=0) - y[outer]) ** 2).sum())
    return max(0.0, 1 - error / total) if total > 0 else 0.0


def _of_table(values: Masked, columns: Sequence[ColumnLike], present: np.ndarray, others: Sequence[View]) -> float:
    num_columns = values.value.shape[1]
    measured = _spread(range(num_columns), MAX_COLUMNS)
    num_groups = len(measured) if len(measured) == num_columns else NUM_GROUPS
    shares = []
    for group in (measured[first::num_groups] for first in range(num_groups)):
        # Those of a group lie far apart, so that each keeps its neighbours, which tell it best in many a table.
        rest = _spread([column for column in range(num_columns) if column not in group], MAX_BESIDE)
        beside = [View.of(_columns(values, columns, rest), present)] if rest else []
        for column in group:
            target = _of_column(values, columns, present, column)
            ways = [beside, [*beside, *others]] if others else [beside]
            shares.append(max(explained(sources, target) for sources in ways))
    return float(np.mean(shares))


def _spread(places: Sequence[int], most: int) -> list[int]:
    """At most so many of them, evenly spread."""
    if len(places) <= most:
        return list(places)
    return [places[place] for place in np.linspace(0, len(places) - 1, most).round().astype(int).tolist()]


def _of_column(values: Masked, columns: Sequence[ColumnLike], present: np.ndarray, column: int) -> View:
    there = values.mask[:, column].cpu().numpy()
    known = np.zeros_like(present)
    known[present.nonzero()[0][there]] = True
    if not there.any():
        return View(np.zeros((len(present), 1)), known)
    return View.of(_columns(values, columns, [column])[there], known)


def _columns(values: Masked, columns: Sequence[ColumnLike], kept: Sequence[int]) -> np.ndarray:
    """Some columns of a table as features."""
    part = Masked(values.value[:, list(kept)], values.mask[:, list(kept)])
    return TableRows(part, [columns[c] for c in kept] if columns else ()).encode(part)
