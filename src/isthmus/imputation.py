"""Filling the gaps of a table: every item is encoded once, from all that it has, and decoded where it lacks something.

Shapes: `N` rows of a table.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from isthmus.batch import Batch, Masked
from isthmus.data.prepare import CHUNK, Prepared
from isthmus.data.table import Table
from isthmus.model import MultimodalAutoencoder
from isthmus.noise import Noise


@dataclass(frozen=True)
class Imputed:
    """A table whose gaps are filled.

    Args:
        table: The columns of the modalities, gaps filled, all else as it was.
        filled: By column, bool `(N,)`: which cells were gaps.
        spread: By column of numbers, `(N,)`: standard deviation over draws where a gap was filled, NaN elsewhere. Empty
            without draws.
        draws: By column, for each filled row its draws, in order of rows. Empty without draws.
    """

    table: Table
    filled: dict[str, np.ndarray]
    spread: dict[str, np.ndarray]
    draws: dict[str, list[list[Any]]]


def impute(
    model: MultimodalAutoencoder,
    prepared: Prepared,
    batches: Iterable[Batch],
    *,
    num_draws: int = 0,
    seed: int = 0,
) -> Imputed:
    """Fill the gaps of a table; what is there stays as it is.

    Args:
        model: In eval mode.
        prepared: The table as it was read.
        batches: All of its rows, in order.
        num_draws: Draws for the spread of numbers; the value filled in is the likeliest either way.
        seed: Of the draws.
    """
    table, schema, kinds = prepared.table, prepared.schema, prepared.kinds
    filled = {column: gap for name in kinds for column, gap in gaps(prepared, name).items()}
    makers: list[int | None] = [None, *range(num_draws)]
    # Cells by column, one list for the likeliest and one for each draw, in order of the rows that are filled.
    made: dict[str, list[list[Any]]] = {column: [[] for _ in makers] for column in filled}
    start = 0
    for chunk, batch in enumerate(batches):
        here = slice(start, start := start + len(batch))
        posterior = model.encode(batch)
        for place, draw in enumerate(makers):
            noise = None if draw is None else Noise(seed + draw, chunk)
            codes = model.codes(posterior, noise)
            for name, plan in schema.modalities.items():
                lacking = {column: filled[column][here] for column in plan.columns}
                rows = np.flatnonzero(np.any(list(lacking.values()), axis=0))
                if not len(rows):
                    continue
                z = codes[torch.from_numpy(rows).to(codes.device)]
                event = model.event(name, z, noise, sample=noise is not None)
                cells = [schema.restore(name, cell) for cell in kinds[name].cells(event)]
                for column, gap in lacking.items():
                    some = (cell for row, cell in zip(rows, cells, strict=True) if gap[row])
                    made[column][place] += [cell[column] if plan.kind == "table" else cell for cell in some]
    columns: dict[str, list[Any]] = {}
    for column, gap in filled.items():
        cells = list(table[column]) if column in table.columns else [None] * table.num_rows
        for row, cell in zip(np.flatnonzero(gap).tolist(), made[column][0], strict=True):
            cells[row] = cell
        columns[column] = cells
    draws = {column: [list(cells) for cells in zip(*made[column][1:], strict=True)] for column in filled if num_draws}
    spread = {column: found for column, drawn in draws.items() if (found := _spread(filled[column], drawn)) is not None}
    return Imputed(table.with_columns(columns), filled, spread, draws)


def gaps(prepared: Prepared, name: str) -> dict[str, np.ndarray]:
    """By column of a modality, bool `(N,)`: cells that are blank or could not be used."""
    absent = ~prepared.store.present(name).numpy()
    plan, kind = prepared.schema.modalities[name], prepared.kinds[name]
    if plan.kind != "table":
        return dict.fromkeys(plan.columns, absent)
    there = torch.cat([_there(prepared, name, rows) for rows in torch.arange(len(absent)).split(CHUNK)])
    found = {}
    for column in plan.columns:
        # A column that training could not use (constant, blank) has nothing to be filled with.
        gap = np.zeros_like(absent)
        if column in kind.column_names:  # type: ignore[attr-defined]
            gap |= absent
            gap[~absent] = ~there[:, kind.column_mask([column])][:, 0].numpy()  # type: ignore[attr-defined]
        found[column] = gap
    return found


def _there(prepared: Prepared, name: str, rows: Tensor) -> Tensor:
    """Bool `(n, C)`: the cells that are there in those of `rows` that have a table modality."""
    values = prepared.store.batch(rows, [name]).values[name]
    assert isinstance(values, Masked)
    return values.mask


def _spread(gap: np.ndarray, draws: Sequence[Sequence[Any]]) -> np.ndarray | None:
    """Standard deviation over draws at the gaps of a column of numbers; None for other columns."""
    if not draws or not all(isinstance(cell, int | float) and not isinstance(cell, bool) for cell in draws[0]):
        return None
    spread = np.full(len(gap), np.nan)
    spread[gap] = [np.std(np.asarray(cells, dtype=float)) for cells in draws]
    return spread
