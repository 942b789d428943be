"""How verbs speak: to a person on standard output, of what goes on on standard error, to a program in JSON."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TextIO


class WrongUse(Exception):
    """What was said on the command line does not fit: exit code 2."""


@contextmanager
def judging_words() -> Iterator[None]:
    """A ValueError within says that something on the command line is wrong."""
    try:
        yield
    except ValueError as error:
        raise WrongUse(str(error)) from error


class Voice:
    """Where words go.

    Args:
        json: Standard output gets one line of JSON and nothing else.
        quiet: What goes on is not told.
    """

    def __init__(self, json: bool = False, quiet: bool = False):
        self.json, self.quiet = json, quiet

    def say(self, text: str) -> None:
        """What is being done, for who waits."""
        if not self.quiet:
            _print(text, sys.stderr)

    def show(self, text: str = "") -> None:
        """What came of it, for who reads."""
        if not self.json:
            _print(text, sys.stdout)
        elif not self.quiet:
            _print(text, sys.stderr)

    def figures(self, figures: Mapping[str, Any] | Sequence[Any]) -> None:
        """What came of it, for programs."""
        if self.json:
            print(json.dumps(figures, ensure_ascii=False, allow_nan=False), flush=True)


def _print(text: str, stream: TextIO) -> None:
    # A cell's text may hold what a terminal would take for a command, or what its encoding has no letters for.
    plain = "".join(c if c == "\n" or unicodedata.category(c) != "Cc" else "\N{REPLACEMENT CHARACTER}" for c in text)
    encoding = stream.encoding or "utf-8"
    print(plain.encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)


def aligned(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table in plain text; numbers to the right. Columns that are blank throughout are left out."""
    cells = [[format_cell(cell) for cell in row] for row in rows]
    kept = [c for c in range(len(header)) if any(row[c] for row in cells)]
    right = [all(isinstance(row[c], int | float | None) for row in rows) for c in range(len(header))]
    widths = [max(_width(line[c]) for line in [list(header), *cells]) for c in range(len(header))]
    lines = []
    for line in [list(header), *cells]:
        padded = []
        for c in kept:
            space = " " * (widths[c] - _width(line[c]))
            padded.append(space + line[c] if right[c] else line[c] + space)
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def format_cell(cell: object) -> str:
    """A cell of such a table: nothing for None, three decimals for a fraction."""
    if cell is None:
        return ""
    return f"{cell:.3f}" if isinstance(cell, float) else str(cell)


def _width(text: str) -> int:
    """Columns on a terminal: Chinese characters take two, combining marks none."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def contents(items: int, files: int, folder: object) -> str:
    """What a folder of made cells holds."""
    made = f" and {count(files, 'file')}" if files else ""
    return f"{count(items, 'item')}{made} are in {folder}."


def count(number: int, noun: str) -> str:
    """`1 cell`, `1,200 cells`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
