"""A table of raw cells, and the one door through which every table comes in."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from isthmus.data.cells import arrow_cells, clean
from isthmus.data.rejected import Rejected, quote
from isthmus.suggest import nearest

# A sequence, or a `pyarrow.ChunkedArray`, which stays as it is until its cells are asked for.
Cells: TypeAlias = Any


class Table:
    """Raw cells, column by column; None is a gap. Nothing in it changes.

    Args:
        columns: Cells by column name, all of one length; gaps of any form (see `data/cells.py`) become None.
        folder: What relative file paths in cells are relative to; None is the current directory.
        source: The file the table was read from; "" for one that never was a file.
        row_numbers: Number of each row in its source, from 1: what `rejected.csv` says, and the key of a table without
            a key column. It stays with the row when rows are taken.
        rejected: Cells that were damaged in the source and are gaps here.

    Raises:
        ValueError: Columns differ in length.
    """

    def __init__(
        self,
        columns: Mapping[str, Cells],
        *,
        folder: str | os.PathLike[str] | None = None,
        source: str = "",
        row_numbers: Sequence[int] | np.ndarray | None = None,
        rejected: Iterable[Rejected] = (),
    ) -> None:
        lengths = {name: len(cells) for name, cells in columns.items()}
        if len(set(lengths.values())) > 1:
            listed = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise ValueError(f"Columns of a table differ in length: {listed}. Expected one cell for every row.")
        self._columns: dict[str, Any] = {
            name: cells if _is_arrow(cells) else [clean(cell) for cell in cells] for name, cells in columns.items()
        }
        self.num_rows = next(iter(lengths.values()), 0)
        self.folder = None if folder is None else Path(folder)
        self.source = source
        self.row_numbers = np.arange(1, self.num_rows + 1) if row_numbers is None else np.asarray(row_numbers)
        self.rejected = list(rejected)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, in their order."""
        return tuple(self._columns)

    def __len__(self) -> int:
        return self.num_rows

    def __repr__(self) -> str:
        return f"Table({self.num_rows} rows: {', '.join(self.columns)})"

    def __getitem__(self, column: str) -> list[Any]:
        """The cells of one column, as a new list.

        Raises:
            ValueError: There is no such column; names the nearest.
        """
        self._require([column])
        cells = self._columns[column]
        return arrow_cells(cells) if _is_arrow(cells) else list(cells)

    def select(self, columns: Iterable[str]) -> Table:
        """The same rows with these columns only, in this order."""
        columns = list(columns)
        self._require(columns)
        return self._with({name: self._columns[name] for name in columns}, self.row_numbers, self.rejected)

    def take(self, rows: Sequence[int] | np.ndarray) -> Table:
        """These rows (positions from 0), in this order."""
        rows = np.asarray(rows, dtype=np.int64)
        columns = {
            name: cells.take(rows) if _is_arrow(cells) else [cells[row] for row in rows]
            for name, cells in self._columns.items()
        }
        numbers = self.row_numbers[rows]
        kept = set(numbers.tolist())
        return self._with(columns, numbers, [entry for entry in self.rejected if entry.row in kept])

    def with_columns(self, columns: Mapping[str, Cells]) -> Table:
        """The same table with these columns put in place of those of the same name, or added at the end."""
        return self._with({**self._columns, **columns}, self.row_numbers, self.rejected)

    def _with(self, columns: Mapping[str, Cells], row_numbers: np.ndarray, rejected: list[Rejected]) -> Table:
        return Table(columns, folder=self.folder, source=self.source, row_numbers=row_numbers, rejected=rejected)

    def _require(self, columns: Iterable[str]) -> None:
        for column in columns:
            if column not in self._columns:
                raise ValueError(
                    f"No column {quote(column)} in this table. It has {', '.join(self.columns)}."
                    f"{nearest(column, self.columns)}"
                )


def read_table(source: Any, *, folder: str | os.PathLike[str] | None = None) -> Table:
    """A table from whatever holds one. Nothing is decoded here: a picture stays a path, a number from a CSV its text.

    Args:
        source: One of

            - a file: `.csv`, `.tsv` (either may be `.gz`), `.jsonl` or `.ndjson`, `.parquet`. UTF-8, with or without
              BOM, or UTF-16 with BOM. The cells of a `.csv` are parted by commas, unless its header holds more
              semicolons (or tabs, or bars) than commas.
            - a folder: one sub-folder to a modality, files of one item matched by their stem, which is the key. A
              table file beside the sub-folders is joined by the column that holds the stems. Also a folder of
              `.parquet` files that make one table.
            - a pandas or polars frame, or an Arrow table;
            - a dict of columns: lists, arrays or tensors with one row for each item; in an array of floats, a row
              that is NaN throughout is a gap;
            - a PyTorch `Dataset`, or any iterable, of dicts; a missing name or None is a gap;
            - a `Table`.
        folder: What relative paths in cells are relative to. Default: the folder of the file; the current directory
            for what is no file.

    Returns:
        A table with every row of the source, in order. What was damaged (bytes that are not UTF-8, a row with too many
        or too few fields, a line that is not JSON) is a gap and has an entry in `table.rejected`.

    Raises:
        FileNotFoundError: There is no such file or folder.
        ValueError: Two columns of one name, columns of different length, an empty table, an unknown file type, a
            file that cannot be read at all.
        TypeError: The source is none of the above.
    """
    if isinstance(source, str | os.PathLike):
        from isthmus.data.readers import read_path

        table = read_path(Path(source))
    elif isinstance(source, Table):
        table = source
    else:
        from isthmus.data.frames import read_object

        table = read_object(source)
    if table.num_rows == 0:
        raise ValueError(f"{quote(table.source) if table.source else 'The table'} has no rows. Expected at least one.")
    if folder is None:
        return table
    return Table(
        table._columns, folder=folder, source=table.source, row_numbers=table.row_numbers, rejected=table.rejected
    )


def unique_names(names: Iterable[object], source: str) -> list[str]:
    """Column names as text without blanks around them; one without a name is called by its place.

    Raises:
        ValueError: Two columns have one name.
    """
    plain = [str(name).strip() or f"column {place}" for place, name in enumerate(names, start=1)]
    for place, name in enumerate(plain):
        first = plain.index(name)
        if first != place:
            raise ValueError(
                f"{source or 'The table'} has two columns named {quote(name)} (column {first + 1} and column "
                f"{place + 1}). Rename or remove one: a name must mean one column."
            )
    return plain


def _is_arrow(cells: object) -> bool:
    # Asked of every column, also where pyarrow was never imported.
    return type(cells).__module__.startswith("pyarrow")
