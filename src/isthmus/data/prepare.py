"""From a table to what a model trains on: a schema, fitted kinds, a split, and every cell decoded once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from datetime import date
from typing import Any

import numpy as np
import torch
from torch import Tensor

from isthmus.batch import Batch
from isthmus.data.rejected import Rejected
from isthmus.data.schema import ModalityPlan, Schema, infer_schema
from isthmus.data.split import assign_split, count_duplicates, read_split
from isthmus.data.store import Store, build_store
from isthmus.data.table import Table
from isthmus.given import check_plain
from isthmus.kinds.base import Kind, get_kind
from isthmus.suggest import nearest

CHUNK = 512
_PLAIN = (str, bytes, int, float, date, type(None))


@dataclass(frozen=True)
class Prepared:
    """A table, read.

    Args:
        table: Raw cells.
        schema: Its columns and modalities.
        kinds: By modality, fitted.
        store: Stored tensors of every cell that could be read.
        keys: Name of each row.
        split: "train", "validation" or "test" of each row, `(N,)`.
        rejected: Cells that became gaps because they could not be read.
        notes: What should be known of this table, in words.
    """

    table: Table
    schema: Schema
    kinds: Mapping[str, Kind]
    store: Store
    keys: Sequence[str]
    split: np.ndarray
    rejected: Sequence[Rejected] = ()
    notes: Sequence[str] = field(default_factory=tuple)

    def rows(self, split: str) -> Tensor:
        """Long `(n,)`: the rows of one split, in order."""
        return torch.from_numpy(np.flatnonzero(self.split == split))

    def normalise(self, batch: Batch) -> Batch:
        """A batch as the store gives it, as networks see it."""
        return normalise(self.kinds, batch)

    def batch(self, rows: Tensor) -> Batch:
        """Normalised values of some rows."""
        return self.normalise(self.store.batch(rows))

    def chunks(self, size: int = CHUNK) -> Iterator[Batch]:
        """All rows in order, normalised, some at a time."""
        for rows in torch.arange(len(self.keys)).split(size):
            yield self.batch(rows)

    def describe(self) -> list[dict[str, Any]]:
        """One row for each column, to print: column, role, kind, modality, shape, missing, note."""
        modality_of = {column: plan for plan in self.schema.modalities.values() for column in plan.columns}
        described = []
        for row in self.schema.describe():
            plan = modality_of.get(row["column"]) if row["role"] == "modality" else None
            shape = self.kinds[plan.name].describe() if plan else ""
            described.append({**row, "modality": plan.name if plan else "", "shape": shape})
        return described


def normalise(kinds: Mapping[str, Kind], batch: Batch) -> Batch:
    """Stored values as networks see them; runs where the batch is. Modalities that nobody has are left as they are."""
    values = {name: kinds[name].normalise(v) if len(v) else v for name, v in batch.values.items()}
    return replace(batch, values=values)


def prepare_training(
    table: Table,
    *,
    roles: Mapping[str, Any],
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    folder: str | os.PathLike[str] | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Prepared:
    """Read a table to train on.

    Args:
        table: Raw cells.
        roles: Arguments of `infer_schema`.
        settings: Arguments of kinds, by modality.
        folder: Where values beyond memory go.
        say: Told what is being done.

    Raises:
        ValueError: There is nothing to train on, or a name is unknown.
    """
    schema = infer_schema(table, **roles)
    plans = dict(schema.modalities)
    for name in settings or {}:
        if name not in plans:
            raise ValueError(
                f"Settings name an unknown modality '{name}'. There are {', '.join(plans)}.{nearest(name, plans)}"
            )
    keys = schema.keys(table)
    split = _split(table, schema, keys)
    train = np.flatnonzero(split == "train")
    if not len(train):
        raise ValueError("No row of this table is in the training split. Say which are, with a split column.")
    kinds: dict[str, Kind] = {}
    cells: dict[str, list[Any]] = {}
    notes: list[str] = []
    rejected = list(table.rejected)
    for name, plan in plans.items():
        column = schema.cells(table, name, rejected)
        seen = [column[row] for row in train if column[row] is not None]
        say(f"Looking at {len(seen):,} cells of {name}")
        kind = _kind(plan, (settings or {}).get(name, {}))
        try:
            kinds[name] = kind.fit(seen)
        except ValueError as error:
            notes.append(f"modality '{name}' was left out: {error}")
            continue
        cells[name] = column
    if not kinds:
        raise ValueError("No modality of this table can be used:\n" + "\n".join(f"  {note}" for note in notes))
    schema = Schema(schema.columns, {name: plan for name, plan in plans.items() if name in kinds})
    say(f"Reading {sum(cell is not None for column in cells.values() for cell in column):,} cells")
    store, failed = build_store(
        table.num_rows,
        cells,
        kinds,
        source=table.source,
        row_numbers=table.row_numbers,
        columns=_columns(schema),
        folder=folder,
    )
    prepared = Prepared(table, schema, kinds, store, keys, split, _once([*rejected, *failed]), tuple(notes))
    return replace(prepared, notes=(*notes, *_duplicates(prepared)))


def prepare(
    table: Table,
    schema: Schema,
    kinds: Mapping[str, Kind],
    splits: Mapping[str, str] | None = None,
    needed: Iterable[str] | None = None,
) -> Prepared:
    """Read a new table with the schema and kinds of a training.

    Args:
        table: Raw cells; columns may be missing, and others are ignored.
        schema: Of the training.
        kinds: Of the training.
        splits: Split by key, for rows that the training knew; others are "test".
        needed: Modalities to read; all if not given.

    Raises:
        ValueError: The table has no column that the model knows, or a key twice.
    """
    notes = schema.check(table)
    keys = schema.keys(table)
    names = [name for name in schema.modalities if needed is None or name in set(needed)]
    rejected = list(table.rejected)
    cells = {name: schema.cells(table, name, rejected) for name in names}
    used = {name: kinds[name] for name in names}
    store, failed = build_store(
        table.num_rows, cells, used, source=table.source, row_numbers=table.row_numbers, columns=_columns(schema)
    )
    split = np.array([(splits or {}).get(key, "test") for key in keys])
    return Prepared(table, schema, kinds, store, keys, split, _once([*rejected, *failed]), tuple(notes))


def data_hash(table: Table) -> str:
    """Names of columns and their raw cells, as a short hexadecimal digest: the same table gives the same hash.

    Files are known by their path, not by what is in them; pictures and arrays in memory by what they hold.
    """
    digest = hashlib.blake2b(digest_size=8)
    for name in table.columns:
        digest.update(f"\0column {name}".encode())
        for cell in table[name]:
            digest.update(_bytes(cell))
    return digest.hexdigest()


def _kind(plan: ModalityPlan, settings: Mapping[str, Any]) -> Kind:
    cls = get_kind(plan.kind)
    for setting in settings:
        if setting not in cls.setting_names:
            raise ValueError(
                f"Kind '{plan.kind}' of modality '{plan.name}' has no setting '{setting}'. It has "
                f"{', '.join(cls.setting_names)}.{nearest(setting, cls.setting_names)}"
            )
    check_plain(cls.__init__, settings, f"Setting of modality '{plan.name}', kind '{plan.kind}'")
    return cls(**{**plan.options, **settings})


def _split(table: Table, schema: Schema, keys: Sequence[str]) -> np.ndarray:
    groups = None if schema.group is None else list(table[schema.group])
    if schema.split is not None:
        split = read_split(table[schema.split], schema.split)
        if "validation" not in split:
            # A table that says train and test alone still needs items to stop by: a ninth of the training items, by
            # hash of their key or group, so that test stays what the table says.
            train = np.flatnonzero(split == "train").tolist()
            split = split.astype("<U10")
            split[train] = assign_split(
                [keys[row] for row in train], groups and [groups[row] for row in train], fractions=(8 / 9, 1 / 9, 0.0)
            )
        return split
    return assign_split(keys, groups)


def _columns(schema: Schema) -> dict[str, str]:
    return {name: plan.columns[0] for name, plan in schema.modalities.items() if len(plan.columns) == 1}


def _once(rejected: Sequence[Rejected]) -> tuple[Rejected, ...]:
    """Without repeats, in the order of rows."""
    return tuple(sorted(dict.fromkeys(rejected), key=lambda entry: entry.row))


def _duplicates(prepared: Prepared) -> list[str]:
    """Exact copies of training items among the others, in words.

    Where a table has several modalities, an item that has only one of them is not compared: two items known by the
    same caption alone are no leak.
    """
    columns = [prepared.schema.cells(prepared.table, name) for name in prepared.schema.modalities]
    digests: list[bytes | None] = []
    for row in zip(*columns, strict=True):
        digest = hashlib.blake2b(digest_size=12)
        for cell in row:
            digest.update(_bytes(cell))
        there = sum(cell is not None for cell in row)
        digests.append(digest.digest() if there >= min(2, len(columns)) else None)
    counts = count_duplicates(digests, prepared.split)
    return [
        f"{count} {copy} item{'s are exact copies' if count > 1 else ' is an exact copy'} of {of} items: "
        "scores on them say little"
        for (copy, of), count in counts.items()
        if count
    ]


def _bytes(cell: Any) -> bytes:
    """A raw cell as bytes that tell it from others, the same each time that the table is read."""
    if cell is None:
        return b"\0-"
    if isinstance(cell, np.ndarray):
        if cell.dtype != object:
            return b"\0a" + np.ascontiguousarray(cell).tobytes()
        cell = cell.tolist()
        if _is_plain(cell):
            return repr(cell).encode()
    if isinstance(cell, bytes):
        return b"\0b" + cell
    return f"\0{type(cell).__name__} {cell}".encode("utf-8", "backslashreplace") if _is_plain(cell) else _whole(cell)


def _is_plain(cell: Any) -> bool:
    """Whether the text of a cell says all of it: that of an array is shortened, that of a picture is an address."""
    if isinstance(cell, _PLAIN):
        return True
    if isinstance(cell, list | tuple):
        return all(map(_is_plain, cell))
    if isinstance(cell, Mapping):
        return all(map(_is_plain, cell.values()))
    is_more = isinstance(cell, np.ndarray | set | frozenset) or is_dataclass(cell)
    return not (is_more or _is_tensor(cell) or _is_picture(cell))


def _whole(cell: Any) -> bytes:
    """All that a cell holds: pixels, samples and their type, each part with its length."""
    if _is_picture(cell):
        pixels = _pixels(cell)  # first, as reading a file may change what its header said
        return _joined("picture", [cell.mode.encode(), str(cell.size).encode(), *pixels])
    if _is_tensor(cell):
        cell = cell.detach().cpu().numpy()
    if isinstance(cell, np.ndarray):
        parts = map(_whole, cell.ravel().tolist()) if cell.dtype == object else [np.ascontiguousarray(cell).tobytes()]
        return _joined("array", [cell.dtype.str.encode(), str(cell.shape).encode(), *parts])
    if isinstance(cell, list | tuple):
        return _joined(type(cell).__name__, map(_whole, cell))
    if isinstance(cell, set | frozenset):  # in no order of its own
        return _joined("set", sorted(map(_whole, cell)))
    if isinstance(cell, Mapping):
        return _joined("mapping", [part for item in cell.items() for part in map(_whole, item)])
    if is_dataclass(cell):
        return _joined(type(cell).__name__, [_whole(getattr(cell, part.name, None)) for part in fields(cell)])
    return _bytes(cell)


def _joined(name: str, parts: Iterable[bytes]) -> bytes:
    parts = list(parts)
    return b"".join([f"\0{name} {[len(part) for part in parts]}".encode(), *parts])


def _pixels(picture: Any) -> list[bytes]:
    """The pixels of a PIL image and the palette that they point into; nothing of a damaged one."""
    try:
        return [picture.tobytes(), bytes(picture.getpalette() or ())]
    except Exception:  # Damaged files make Pillow's readers raise almost anything.
        return []


def _is_picture(cell: Any) -> bool:
    return hasattr(cell, "getbands")  # a PIL image, without importing PIL


def _is_tensor(cell: Any) -> bool:
    return hasattr(cell, "detach")
