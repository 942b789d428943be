"""The file of JSON lines: what a row's identity is, and which rows need not be made again."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

# What the benchmarks share stands one folder up; the others here have it from this file.
sys.path.append(str(Path(__file__).resolve().parents[1]))
from blocks import fill_blocks as fill_blocks
from blocks import start_of as start_of
from machine import processor
from method_rows import append_row, code_digest, hash_of, read_rows

Row = dict[str, Any]
RESULTS = Path(__file__).resolve().parents[1] / "results"
VERSION = 1  # of how it is measured: raise it where figures mean something else
MEASURED = ("torch", "multivae", "multiviewae")


def identity(head: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """The hash of a row: what is measured, how, and on which releases of torch and the peers."""
    return hash_of({"version": VERSION, "head": dict(head), "settings": dict(settings), "releases": releases()})


def releases() -> dict[str, str]:
    return {name: _release(name) for name in MEASURED}


def _release(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


class Book:
    """The rows of a file.

    Args:
        path: Of the file.
        keep: Rows of an earlier state of the library's code count too.
    """

    def __init__(self, path: Path, keep: bool = False):
        self.path, self.keep = path, keep
        self.stamp = {"machine": processor(), "code": code_digest()}

    def known(self) -> set[str]:
        """Identities of the rows that were made on this machine, of the code as it is."""
        matters = ["machine"] if self.keep else ["machine", "code"]
        return {row["hash"] for row in read_rows(self.path) if all(row[name] == self.stamp[name] for name in matters)}

    def add(self, row: Row) -> None:
        append_row(self.path, {**row, **self.stamp, "isthmus": _release("isthmus"), "releases": releases()})


def in_force(rows: Iterable[Row], quick: bool = False) -> list[Row]:
    """Rows of the machine that the last one was made on; of those about one thing, the last.

    Those before it leave their ratios in its `earlier`: what a run may differ by from the next.
    """
    chosen = [row for row in rows if bool(row.get("quick")) == quick]
    found: dict[str, Row] = {}
    for row in chosen:
        if row["machine"] == chosen[-1]["machine"]:
            before = found.get(thing(row), {})
            ratios = [before["ratio"]["median"]] if "ratio" in before else []
            found[thing(row)] = {**row, "earlier": [*before.get("earlier", []), *ratios]}
    return list(found.values())


# What a row is about: it was measured again if these are equal.
ABOUT = "section what task method peer who x draws sampled batch missing items".split()


def thing(row: Row) -> str:
    # What else has `decodes` has it as a note, which follows from these.
    decodes = [row["decodes"]] if row["section"] == "floor" else []
    return json.dumps([*(row.get(name) for name in ABOUT), *decodes])
