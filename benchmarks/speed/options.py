"""What both commands of the benchmark of speed are told."""

from __future__ import annotations

import argparse
from collections.abc import Collection
from pathlib import Path


def parser_of(doc: str | None, sections: Collection[str], *, rounds: int, out: Path) -> argparse.ArgumentParser:
    """The options that they share.

    Args:
        doc: Of the command; its first line is shown.
        sections: Names of all.
        rounds: Of each case, by default.
        out: The file of results, by default.
    """

    def some(text: str) -> list[str]:
        names = text.split(",")
        if unknown := sorted(set(names) - set(sections)):
            raise argparse.ArgumentTypeError(
                f"There is no section {', '.join(unknown)}. Sections are {', '.join(sections)}."
            )
        return names

    parser = argparse.ArgumentParser(description=doc.splitlines()[0] if doc else None)
    parser.add_argument("--sections", type=some, default=list(sections), metavar="A,B")
    parser.add_argument("--rounds", type=int, default=rounds, help="of each case, fewer where time does not suffice")
    parser.add_argument("--threads", type=int, default=2, help="of every library")
    parser.add_argument("--quick", action="store_true", help="only to see that it works: small and few")
    parser.add_argument("--out", type=Path, default=out, help="the file of JSON lines")
    parser.add_argument("--keep", action="store_true", help="rows of earlier states of the code count too")
    parser.add_argument("--table", action="store_true", help="measure nothing: show what there is")
    return parser
