"""Made cells as a folder: files that a person can open, and an `items.csv` that holds the cells or names the files."""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.data.prepare import Prepared
from isthmus.data.schema import Column
from isthmus.data.table import Table
from isthmus.estimator import Autoencoder
from isthmus.imputation import Imputed
from isthmus.runs import free_name, key_column

ITEMS = "items.csv"
MAX_STEM = 50  # characters of a key in a file's name: of up to four bytes each, in names of 255
# How the files begin that a cell may hold as bytes.
BEGINNINGS = {
    b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"GIF8": ".gif", b"BM": ".bmp", b"II*\0": ".tif", b"MM\0*": ".tif",
    b"fLaC": ".flac", b"OggS": ".ogg", b"ID3": ".mp3", b"\xff\xfb": ".mp3", b"\x93NUMPY": ".npy",
}  # fmt: skip


class ItemFolder:
    """A folder that cells are written to.

    Args:
        folder: Made if need be; files of the same name are replaced.
        model: Says of each column how its cells are written.
    """

    def __init__(self, folder: Path, model: Autoencoder):
        self.folder, self.model = folder, model
        self.num_files = 0
        self._folders: dict[str, Path] = {}  # of each column or modality that has files
        self._made: set[Path] = set()  # those that were not there before
        folder.mkdir(parents=True, exist_ok=True)

    def write_translated(
        self, prepared: Prepared, target: str, cells: Sequence[Any], observed: Sequence[int], num_draws: int = 0
    ) -> None:
        """One row for each item, or one for each draw of each item.

        Columns: the key (or `row`), `draw` from 1 where there are draws, the target's column or columns, and
        `observed`, how many of the sources the item has.

        Args:
            prepared: The rows that were translated.
            target: Modality, or column of a table modality.
            cells: What `translate` made of them.
            observed: Number of sources of each row.
            num_draws: As `translate` was told.
        """
        name, keys = key_column(prepared)
        made_of = self.model.resolve(target)
        rows: list[dict[str, Any]] = []
        for key, stem, made, seen in zip(keys, stems(prepared.keys), cells, observed, strict=True):
            for draw, cell in enumerate(made if num_draws else [made], start=1):
                numbered = {"draw": draw} if num_draws else {}
                row = {name: key} | numbered
                for column, value in self._columns(*made_of, cell, f"{stem}-{draw}" if num_draws else stem).items():
                    row[free_name(column, row)] = value
                rows.append(row | {free_name("observed", row): seen})
        self._write(rows)

    def write_generated(self, made: Mapping[str, Sequence[Any]]) -> None:
        """One row for each new item: `item`, counted from 1, and the columns of every modality."""
        rows: list[dict[str, Any]] = []
        for number in range(1, len(next(iter(made.values()))) + 1):
            row: dict[str, Any] = {"item": number}
            for name, cells in made.items():
                for column, value in self._columns(name, None, cells[number - 1], f"{number:04d}").items():
                    row[free_name(column, row)] = value
            rows.append(row)
        self._write(rows)

    def write_imputed(self, prepared: Prepared, imputed: Imputed) -> None:
        """All columns of the table with their gaps filled, `filled`, the names of the columns that were gaps, and
        `<column>_spread` for columns of numbers where there were draws.

        Paths of files that were there are written so that they open from this folder.
        """
        table, schema = imputed.table, self.model.schema_
        modality_of = {column: plan.name for plan in schema.modalities.values() for column in plan.columns}
        names = stems(prepared.keys)
        columns: dict[str, list[Any]] = {}
        for column in table.columns:
            cells = table[column]
            if column not in modality_of:
                columns[column] = [
                    self._kept(cell, table, None, column, stem) for cell, stem in zip(cells, names, strict=True)
                ]
                continue
            told, blank = schema.column(column), imputed.filled[column]
            columns[column] = [
                self._cell(modality_of[column], told, cell, stem)
                if is_blank
                else self._kept(cell, table, told, column, stem)
                for cell, stem, is_blank in zip(cells, names, blank.tolist(), strict=True)
            ]
        for column, spread in imputed.spread.items():
            columns[free_name(f"{column}_spread", columns)] = [value if value == value else "" for value in spread]
        columns[free_name("filled", columns)] = [
            ", ".join(column for column, blank in imputed.filled.items() if blank[row]) for row in range(len(names))
        ]
        self._write([dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)])

    # --- one cell -------------------------------------------------------------------------------------------------

    def _columns(self, name: str, column: str | None, cell: Any, stem: str) -> dict[str, Any]:
        """A made cell of a modality, or of one column of a table modality, by column."""
        schema = self.model.schema_
        plan = schema.modalities[name]
        if column is not None:
            return {column: _text(cell)}
        if plan.kind == "table":
            return {column: _text(cell.get(column)) for column in plan.columns}
        return {plan.columns[0]: self._cell(name, schema.column(plan.columns[0]), cell, stem)}

    def _cell(self, modality: str, column: Column, cell: Any, stem: str) -> Any:
        """A made cell as the table writes it: a file where the table has files, else text."""
        kind = self.model.kinds_[modality]
        if kind.name == "table" or cell is None:
            return _text(cell)
        if isinstance(cell, np.ndarray) and column.format != "file":
            return _text(cell)
        place = self._folder(modality) / stem
        name = kind.write(cell, place)
        if not (name.startswith(f"{stem}.") and place.with_name(name).is_file()):
            if column.format != "file":
                return name
            text, name = name, f"{stem}.txt"
            place.with_name(name).write_text(text, encoding="utf-8")
        self.num_files += 1
        return f"{place.parent.name}/{name}"

    def _kept(self, cell: Any, table: Table, told: Column | None, column: str, stem: str) -> Any:
        """A cell of the table that stays as it was."""
        if isinstance(cell, bytes):
            place = self._folder(column) / f"{stem}{_ending(cell)}"
            place.write_bytes(cell)
            self.num_files += 1
            return f"{place.parent.name}/{place.name}"
        if (
            told is not None
            and told.format == "file"
            and isinstance(cell, str)
            and not Path(cell.strip()).is_absolute()
        ):
            path = (table.folder or Path()) / cell.strip()
            return Path(os.path.relpath(path, self.folder)).as_posix()
        return _text(cell)

    def _folder(self, name: str) -> Path:
        """The folder of a column or modality: none is that of another, though their names be alike when made safe."""
        if name not in self._folders:
            named = stems([*self._folders, name])[-1]
            folder = self._folders[name] = self.folder / named
            if not folder.is_dir():
                folder.mkdir()
                self._made.add(folder)
        return self._folders[name]

    def _write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write `items.csv`, last of all files, whole or not at all."""
        for folder in self._made:
            if not any(folder.iterdir()):
                folder.rmdir()  # of a kind whose cells are their own text
        self._made.clear()
        partial = self.folder / f"{ITEMS}.partial"
        # Paths of the table may have letters that are not UTF-8.
        with partial.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        os.replace(partial, self.folder / ITEMS)


def stems(keys: Iterable[str]) -> list[str]:
    """A file name without ending for each key, all different, also where upper and lower case are one."""
    names, taken = [], set()
    for number, key in enumerate(keys, start=1):
        name = _safe(key)
        while name.casefold() in taken:
            name = f"{name}-{number}"
        taken.add(name.casefold())
        names.append(name)
    return names


def _safe(name: str) -> str:
    """Letters of any language, digits, `_`, `-` and `.` inside."""
    return re.sub(r"[^\w.-]+", "_", name)[:MAX_STEM].strip(".") or "item"


def _text(cell: Any) -> Any:
    """A cell as CSV holds it."""
    if cell is None:
        return ""
    if isinstance(cell, np.ndarray):
        # The shortest digits that give back the same float32: 0.1, not 0.10000000149011612.
        return json.dumps(cell.astype(str).astype(np.float64).tolist())
    if isinstance(cell, list | tuple | dict):
        return json.dumps(cell, ensure_ascii=False, default=str)
    return cell.isoformat() if isinstance(cell, date) else cell


def _ending(data: bytes) -> str:
    if data[:4] == b"RIFF":
        return ".webp" if data[8:12] == b"WEBP" else ".wav"
    return next((ending for beginning, ending in BEGINNINGS.items() if data.startswith(beginning)), ".bin")
