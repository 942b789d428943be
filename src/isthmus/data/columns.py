"""One column's cells made ready for its kind, and decoded cells written as the column writes them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import date
from numbers import Number
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.data import dates
from isthmus.data.inference import DECIMAL_COMMA, INFINITE, NUMBER, is_gap_word
from isthmus.data.rejected import Rejected, quote
from isthmus.data.table import Table

if TYPE_CHECKING:
    from isthmus.data.schema import Column

MAX_TEXT_BYTES = 2**20


class CellReader:
    """Reads the cells of one column of a table, each by the column's kind and format."""

    def __init__(self, column: Column, table: Table) -> None:
        self.column = column
        self.table = table
        self.folder = (Path() if table.folder is None else table.folder).absolute()

    def read(self, rejected: list[Rejected]) -> list[Any]:
        """One cell per row; None for a gap, and for a cell that cannot be read, which is added to `rejected`."""
        readers: dict[str, Callable[[Any], Any]] = {
            "number": self._number, "category": self._category, "date": self._date, "image": self._image
        }  # fmt: skip
        read = readers.get(self.column.kind, self._other)
        known: dict[str, Any] = {}  # a text that comes again is read once
        cells = []
        for number, cell in zip(self.table.row_numbers.tolist(), self.table[self.column.name], strict=True):
            is_text = isinstance(cell, str)
            if cell is None or (is_text and cell in known):
                cells.append(None if cell is None else known[cell])
                continue
            try:
                value = read(cell)
            except ValueError as error:
                rejected.append(Rejected(self.table.source, number, self.column.name, str(error)))
                value = None
            else:
                if is_text:
                    known[cell] = value
            cells.append(value)
        return cells

    def _number(self, cell: Any) -> Any:
        # The text stays text where it is a number: the table kind learns from it how many decimals to write.
        if not isinstance(cell, str):
            return _finite(cell)
        if is_gap_word(cell):
            return None
        text = cell.strip()
        if self.column.format == "decimal comma" and DECIMAL_COMMA.fullmatch(text):
            text = text.replace(",", ".")
        if not NUMBER.fullmatch(text) and not INFINITE.fullmatch(text):
            raise ValueError(f"not a number: {quote(cell)}")
        _finite(text)
        return text

    def _category(self, cell: Any) -> Any:
        if isinstance(cell, str | Number | date):
            return cell
        raise ValueError(f"not a category: {type(cell).__name__}")

    def _date(self, cell: Any) -> date | None:
        if isinstance(cell, date):
            return cell
        if is_gap_word(cell):
            return None
        try:
            return dates.parse(str(cell), self.column.format)
        except (ValueError, OverflowError):
            raise ValueError(f"not a date: {quote(cell)}") from None

    def _image(self, cell: Any) -> Any:
        if isinstance(cell, np.ndarray) and cell.ndim == 3:
            first, _, last = (size in (1, 3, 4) for size in cell.shape)
            return np.moveaxis(cell, 0, -1) if first and not last else cell  # torch has channels first
        return self._other(cell)

    def _other(self, cell: Any) -> Any:
        if not isinstance(cell, str):
            return ", ".join(map(str, cell)) if self.column.kind == "text" and isinstance(cell, list | tuple) else cell
        if self.column.format == "file":
            return None if is_gap_word(cell) else self._file(cell)
        if self.column.format == "json":
            return None if is_gap_word(cell) else _numbers(cell)
        return cell

    def _file(self, cell: str) -> Path | str:
        path = self.folder / cell.strip()
        if self.column.kind != "text":
            return path
        from isthmus.kinds.base import read_bytes

        try:
            return read_bytes(path, MAX_TEXT_BYTES).decode("utf-8-sig")
        except UnicodeDecodeError:
            raise ValueError("not UTF-8") from None


def restore_cell(column: Column, value: Any) -> Any:
    """A decoded value of a table as the column writes it: a date in its form, a number with its decimal comma."""
    if column.kind == "date" and column.format and value is not None:
        return dates.write(value, column.format)
    if column.format == "decimal comma" and value is not None:
        return str(value).replace(".", ",")
    return value


def _finite(cell: Any) -> Any:
    try:
        is_finite = math.isfinite(float(cell))
    except (TypeError, ValueError):
        raise ValueError(f"not a number: {type(cell).__name__}") from None
    except OverflowError:
        is_finite = False
    if not is_finite:
        raise ValueError(f"not a finite number: {quote(cell)}")
    return cell


def _numbers(cell: str) -> np.ndarray:
    try:
        return np.asarray(json.loads(cell), dtype=np.float32)
    except (ValueError, TypeError, RecursionError):
        raise ValueError(f"not a list of numbers: {quote(cell)}") from None
