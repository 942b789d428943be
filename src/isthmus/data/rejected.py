"""Cells that could not be read: each becomes a gap and one row of `rejected.csv`; the job goes on."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path


@dataclass(frozen=True)
class Rejected:
    """One cell, or one whole row, that became a gap because it could not be read.

    Args:
        file: The file that is at fault, or the table it was read from; "" for a table that never was a file.
        row: Number of the item in its table, from 1. The header and blank lines do not count, so it is the line number
            less one in a plain CSV without line breaks inside quotes.
        column: Name of the column; "" where the whole row is at fault.
        reason: What is wrong, in words.
    """

    file: str
    row: int
    column: str
    reason: str


def write_rejected(path: str | os.PathLike[str], rejected: Iterable[Rejected]) -> None:
    """Write `rejected.csv`: the columns file, row, column and reason, in the order of the rows of the table.

    The file appears whole or not at all.
    """
    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    # A file name that is not UTF-8 is the likeliest thing to be reported here, and must not stop the report.
    with partial.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.writer(file)
        writer.writerow([field.name for field in fields(Rejected)])
        writer.writerows(astuple(entry) for entry in sorted(rejected, key=lambda entry: entry.row))
    partial.replace(path)


def quote(value: object, limit: int = 40) -> str:
    """A cell as it may stand in an error or a reason: quoted, on one line, cut to `limit` characters."""
    text = str(value)
    return repr(text if len(text) <= limit else text[: limit - 3] + "...")
