"""Stored tensors: each cell decoded once, in compact types, gaps not stored; in memory, or memory-mapped from files.

Shapes: `N` items, `n` of them that have a modality, `B` items of a batch, `T` length of a ragged row.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from isthmus.batch import Batch, Masked, Values
from isthmus.data.rejected import Rejected
from isthmus.kinds.base import CellError, Kind
from isthmus.suggest import nearest

MEMORY_LIMIT = 2**30  # bytes of all modalities together; what is beyond goes to files
FORMAT_VERSION = 1
_CHUNK = 256  # cells encoded at a time: bounds what waits in memory
_THREADS = 4  # decoders of files release the interpreter while they decompress and read

Collate = Callable[[Any], Values]


@dataclass(frozen=True)
class Column:
    """One modality of `N` items: rows of those who have it, one behind the other.

    Args:
        values: `(n, ...)`; for ragged rows `(total, ...)`, all rows laid end to end.
        slots: Integers `(N,)`: which row belongs to each item, -1 for a gap.
        offsets: Integers `(n + 1,)`, where each ragged row begins and the last one ends; None for rows of one shape.
    """

    values: np.ndarray
    slots: np.ndarray
    offsets: np.ndarray | None = None

    def __post_init__(self) -> None:
        num_rows = len(self.values) if self.offsets is None else len(self.offsets) - 1
        if int((self.slots >= 0).sum()) != num_rows:
            raise ValueError(
                f"A column got {num_rows} rows, but {int((self.slots >= 0).sum())} items have it. "
                "Expected rows of the present items alone, one each."
            )

    def gather(self, slots: np.ndarray, collate: Collate | None = None) -> Values:
        """The rows `slots` as one tensor, padded and masked where ragged, unless `collate` does that its own way."""
        if self.offsets is None:
            rows = np.asarray(self.values[slots])
            return torch.from_numpy(rows) if collate is None else collate(rows)
        starts, ends = self.offsets[slots], self.offsets[slots + 1]
        if collate is not None and len(slots):
            return collate([self.values[start:end] for start, end in zip(starts, ends, strict=True)])
        # One indexed read for the whole batch: a Python loop over its items can cost more than a small network.
        steps = np.arange(max(int((ends - starts).max(initial=0)), 1))
        mask = steps < (ends - starts)[:, None]
        value = np.zeros((*mask.shape, *self.values.shape[1:]), dtype=self.values.dtype)
        value[mask] = self.values[(starts[:, None] + steps)[mask]]
        return Masked(torch.from_numpy(value), torch.from_numpy(mask))


class Store:
    """What a model is trained on: one `Column` per modality, and batches of any items of them.

    Args:
        columns: By modality, all over the same `N` items.
        kinds: By modality; a kind that overrides `collate` collates its own rows. Others are stacked or padded here.

    Raises:
        ValueError: No column, or columns over different numbers of items.
    """

    def __init__(self, columns: Mapping[str, Column], kinds: Mapping[str, Kind] | None = None):
        lengths = {name: len(column.slots) for name, column in columns.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(
                f"Store got columns over {lengths or 'no'} items. Expected at least one, all over the same items."
            )
        self.columns = dict(columns)
        self._length = next(iter(lengths.values()))
        self._collate = {
            name: kind.collate for name, kind in (kinds or {}).items() if type(kind).collate is not Kind.collate
        }
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __len__(self) -> int:
        return self._length

    @property
    def modalities(self) -> tuple[str, ...]:
        return tuple(self.columns)

    @property
    def num_bytes(self) -> int:
        """Of the values of all modalities, in memory or in files."""
        return sum(column.values.nbytes for column in self.columns.values())

    @property
    def memory_mapped(self) -> bool:
        """Whether any values are read from files."""
        return any(isinstance(column.values, np.memmap) for column in self.columns.values())

    def present(self, name: str) -> Tensor:
        """Bool `(N,)`: which items have modality `name`."""
        if name not in self.columns:
            raise ValueError(
                f"Unknown modality '{name}'. This store has {', '.join(self.columns)}.{nearest(name, self.columns)}"
            )
        return torch.from_numpy(self.columns[name].slots >= 0)

    @property
    def largest_row(self) -> int:
        """Numbers of the largest row of any modality, as stored; ragged rows are padded to it in a batch."""
        sizes = []
        for column in self.columns.values():
            length = 1 if column.offsets is None else int(np.diff(column.offsets).max(initial=0))
            sizes.append(length * math.prod(column.values.shape[1:]))
        return max(sizes)

    def batch(self, rows: Tensor, names: Iterable[str] | None = None) -> Batch:
        """The items `rows`, long `(B,)`, in that order; values as they are stored, not yet normalised.

        `names` are the modalities that are read; all if not given.
        """
        index = rows.numpy()
        values, present = {}, {}
        for name in self.columns if names is None else names:
            column = self.columns[name]
            slots = column.slots[index]
            there = slots >= 0
            values[name] = column.gather(slots[there], self._collate.get(name))
            present[name] = torch.from_numpy(there)
        return Batch(values, present, rows)

    @classmethod
    def from_arrays(
        cls,
        arrays: Mapping[str, np.ndarray | Sequence[np.ndarray]],
        present: Mapping[str, np.ndarray | Tensor] | None = None,
        kinds: Mapping[str, Kind] | None = None,
    ) -> Store:
        """A store of arrays in memory.

        Args:
            arrays: By modality: one array `(n, ...)` of the rows that are there, or a list of `n` ragged arrays.
            present: By modality, bool `(N,)`; a modality left out is present everywhere.
            kinds: As for `Store`.
        """
        columns = {}
        for name, rows in arrays.items():
            there = np.ones(len(rows), dtype=bool) if name not in (present or {}) else np.asarray((present or {})[name])
            slots = np.where(there, np.cumsum(there) - 1, -1)
            if isinstance(rows, np.ndarray):
                columns[name] = Column(rows, slots)
            else:
                offsets = np.cumsum([0, *map(len, rows)])
                columns[name] = Column(np.concatenate(list(rows)), slots, offsets)
        return cls(columns, kinds)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write all columns as `.npy` files and a `store.json` that names them, the latter last."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        listed = []
        for number, (name, column) in enumerate(self.columns.items()):
            parts = {"values": column.values, "slots": column.slots, "offsets": column.offsets}
            for part, array in parts.items():
                if array is not None:
                    np.save(folder / f"{number}.{part}.npy", array)
            # Files go by number: a name may hold characters that no file name can.
            listed.append({"name": name, "ragged": column.offsets is not None})
        (folder / "store.json").write_text(json.dumps({"version": FORMAT_VERSION, "columns": listed}), encoding="utf-8")

    @classmethod
    def open(cls, folder: str | os.PathLike[str], kinds: Mapping[str, Kind] | None = None) -> Store:
        """A saved store, its values memory-mapped.

        Raises:
            FileNotFoundError: There is none in `folder`.
            ValueError: It was written by a newer version.
        """
        folder = Path(folder)
        config = json.loads((folder / "store.json").read_text(encoding="utf-8"))
        if config["version"] > FORMAT_VERSION:
            raise ValueError(f"{folder} was written by a newer version of isthmus. Expected format {FORMAT_VERSION}.")
        columns = {}
        for number, entry in enumerate(config["columns"]):
            columns[entry["name"]] = Column(
                np.load(folder / f"{number}.values.npy", mmap_mode="r"),
                np.load(folder / f"{number}.slots.npy"),
                np.load(folder / f"{number}.offsets.npy") if entry["ragged"] else None,
            )
        return cls(columns, kinds)


def build_store(
    num_rows: int,
    cells: Mapping[str, Iterable[Any]],
    kinds: Mapping[str, Kind],
    *,
    source: str = "",
    row_numbers: Sequence[int] | np.ndarray | None = None,
    columns: Mapping[str, str] | None = None,
    folder: str | os.PathLike[str] | None = None,
    memory_limit: int = MEMORY_LIMIT,
) -> tuple[Store, list[Rejected]]:
    """Decode every cell once.

    Args:
        num_rows: Items `N`.
        cells: By modality, `N` cells, None for a gap.
        kinds: By modality, fitted.
        source: The table, for `rejected.csv`.
        row_numbers: Of each item in the table, from 1; counted if not given.
        columns: The table's column of each modality, where it has another name.
        folder: Where values go that are beyond the limit; a temporary one if not given, gone with the store.
        memory_limit: Bytes that may stay in memory, all modalities together.

    Returns:
        The store, and what could not be read: a `CellError` makes a gap and a row in `rejected.csv`.

    Raises:
        ValueError: A modality has another number of cells, or a kind encoded rows of different shapes.
    """
    own_folder = None
    if folder is None:
        own_folder = tempfile.TemporaryDirectory(prefix="isthmus-store-")
        folder = own_folder.name
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    numbers = np.arange(1, num_rows + 1) if row_numbers is None else np.asarray(row_numbers)
    built: dict[str, Column] = {}
    rejected: list[Rejected] = []
    left = memory_limit
    for number, (name, of_modality) in enumerate(cells.items()):
        writer = _Rows(name, folder / f"{number}.values.npy", left, kinds[name].ragged)
        slots = np.full(num_rows, -1, dtype=np.int64)
        count = 0
        for row, (cell, array, complaints) in enumerate(_encoded(kinds[name], of_modality)):
            count += 1
            if count > num_rows:
                break
            for column, reason in complaints:
                file = str(cell) if isinstance(cell, os.PathLike) else source
                column = column or (columns or {}).get(name, name)
                rejected.append(Rejected(file, int(numbers[row]), column, reason))
            if array is not None:
                slots[row] = writer.add(array)
        if count != num_rows:
            raise ValueError(
                f"Modality '{name}' has {'more' if count > num_rows else count} cells for {num_rows} items."
            )
        built[name] = writer.column(slots)
        left -= writer.bytes_in_memory
    store = Store(built, kinds)
    store._folder = own_folder
    return store, rejected


Encoded = tuple[Any, np.ndarray | None, list[tuple[str, str]]]


def _encoded(kind: Kind, cells: Iterable[Any]) -> Iterator[Encoded]:
    """Each cell, its array or None, and `(column, reason)` of all that could not be read in it."""
    notes = type(kind).drain_notes is not Kind.drain_notes

    def encode(cell: Any) -> Encoded:
        if cell is None:
            return None, None, []
        array, complaints = None, []
        try:
            array = kind.encode(cell)
        except CellError as error:
            complaints = [("", str(error))]
        # A cell whose every value was noted by its column needs no second complaint about the whole.
        return cell, array, (kind.drain_notes() or complaints) if notes else complaints

    if notes:  # they belong to the last cell encoded, so cells must come one by one
        yield from map(encode, cells)
        return
    rest = iter(cells)
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as threads:
        while chunk := list(islice(rest, _CHUNK)):
            yield from threads.map(encode, chunk)


class _Rows:
    """Rows of one modality as they come: in memory up to a limit, then in an `.npy` file that grows."""

    def __init__(self, name: str, path: Path, limit: int, ragged: bool):
        self.name, self.path, self.limit, self.ragged = name, path, limit, ragged
        self.buffer = np.zeros(0, dtype=np.uint8)  # takes the shape and type of the first row
        self.num_filled = 0  # rows, or steps of ragged rows, in buffer or file
        self.lengths: list[int] = []
        self.shape: tuple[int, ...] | None = None
        self.in_file = False
        self.file: Any = None

    @property
    def bytes_in_memory(self) -> int:
        return 0 if self.in_file else self.buffer.nbytes

    def add(self, array: np.ndarray) -> int:
        """Store a row; its slot."""
        row = array if self.ragged else array[None]
        if self.shape is None:
            self.shape = row.shape[1:]
            self.buffer = np.zeros((0, *self.shape), dtype=row.dtype)
        if row.shape[1:] != self.shape or row.dtype != self.buffer.dtype:
            raise ValueError(
                f"Kind of '{self.name}' encoded a row of shape {array.shape} and type {array.dtype} after rows of "
                f"{'steps' if self.ragged else 'shape'} {self.shape} and type {self.buffer.dtype}. Expected one shape "
                "and type."
            )
        needed = self.num_filled + len(row)
        if not self.in_file and needed > len(self.buffer):
            most = self.limit // max(self.buffer.itemsize * math.prod(self.shape), 1)
            capacity = min(max(needed, 2 * len(self.buffer), _CHUNK), most)
            if capacity >= needed:
                # Grows in place: copies of what may be a gigabyte would double the peak.
                self.buffer.resize((capacity, *self.shape), refcheck=False)
            else:
                self._move_to_file()
        if self.in_file:
            self.file.write(np.ascontiguousarray(row).data)
        else:
            self.buffer[self.num_filled : needed] = row
        self.num_filled = needed
        self.lengths.append(len(row))
        return len(self.lengths) - 1

    def column(self, slots: np.ndarray) -> Column:
        """All rows added, and which item has which."""
        offsets = np.cumsum([0, *self.lengths]) if self.ragged else None
        if self.in_file:
            self._write_header()
            self.file.close()
            return Column(np.load(self.path, mmap_mode="r"), slots, offsets)
        if self.num_filled:
            self.buffer.resize((self.num_filled, *self.buffer.shape[1:]), refcheck=False)
        return Column(self.buffer, slots, offsets)

    def _move_to_file(self) -> None:
        self.in_file = True
        self.file = self.path.open("wb")
        filled, self.buffer = self.buffer[: self.num_filled], self.buffer[:0].copy()
        self._write_header()
        self.file.write(np.ascontiguousarray(filled).data)

    def _write_header(self) -> None:
        # NumPy pads this header so that the first number of the shape can grow in place.
        self.file.seek(0)
        shape = (self.num_filled, *self.buffer.shape[1:])
        description = np.lib.format.dtype_to_descr(self.buffer.dtype)
        np.lib.format.write_array_header_1_0(self.file, {"descr": description, "fortran_order": False, "shape": shape})
