"""The speed of Isthmus beside two other libraries, on the same work, in one run: the headline.

    python benchmarks/speed/run.py [--data FOLDER] [--sections step,epoch] [--rounds 5] [--quick] [--out FILE]
    python benchmarks/speed/run.py --table

The first measures what is not in the file of results yet for this machine and the present code, and adds each row at
once, so that a run that was stopped goes on by the same command. The second prints the tables, and writes them where
docs/benchmarks.md and docs/performance.md have a place for them. `make bench` makes an environment with all three
libraries and runs both.
"""

from __future__ import annotations

import os
import sys
import time
from importlib.util import find_spec
from pathlib import Path

# Idle threads that spin make a busy machine up to ten times slower. Has to be set before torch is imported.
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"

import tables
import torch
from cases import run_cases
from options import parser_of
from peers import PEERS
from results import RESULTS, Book, in_force, read_rows
from sections import SECTIONS, Settings


def main() -> int:
    parser = parser_of(__doc__, SECTIONS, rounds=5, out=RESULTS / "speed.jsonl")
    parser.add_argument("--data", type=Path, help="folder of data sets, with multiview/mfeat.npz")
    given = parser.parse_args()
    if given.table:
        return write_tables(given.out, given.quick)
    absent = [name for name in PEERS if find_spec(name) is None]
    if absent:
        print(f"Not installed: {', '.join(absent)}. 'make bench' makes an environment with all.", file=sys.stderr)
        return 2
    torch.set_num_threads(given.threads)
    settings = Settings(2 if given.quick else given.rounds, given.threads, given.quick, given.data)
    if settings.mfeat is None:
        print("Left out: what needs the six views of mfeat. --data says the folder with multiview/mfeat.npz.")
    start, book, failed = time.perf_counter(), Book(given.out, given.keep), []
    for name in given.sections:
        cases, minutes = SECTIONS[name]
        failed += run_cases(cases(settings), book, settings.identity, settings.rounds, 60 * minutes)
    print(f"{(time.perf_counter() - start) / 60:.1f} minutes")
    for line in failed:
        print(f"FAILED {line}", file=sys.stderr)
    return 1 if failed else 0


def write_tables(path: Path, quick: bool) -> int:
    rows = in_force(read_rows(path), quick)
    if not rows:
        print(f"There are no rows in {path.name} yet.", file=sys.stderr)
        return 1
    print(tables.tables(rows))
    if quick:
        return 0  # no page shows what was only tried
    for page in tables.PAGES:
        text = page.read_text(encoding="utf-8")
        page.write_text(tables.fill(text, rows), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
