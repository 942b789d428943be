"""All methods on one footing: trained, scored beside floors, kept as JSON lines, shown as tables.

    python benchmarks/methods.py SHARED_DATA WORK [--data digits-small] [--methods mvtcae,mopoe] [--seeds 0,1,2]
    python benchmarks/methods.py SHARED_DATA WORK --rerun 2
    python benchmarks/methods.py --table
    python benchmarks/methods.py --check

The first trains each method by the command line, scores it, and adds a row to `benchmarks/results/methods.jsonl` at
once. A row that is there with the hash of its configuration is not made again, so a benchmark that was stopped, at any
moment, goes on by the same command; so does a training within it. Data sets are `digits-small`, 3,000 items and a fixed
number of epochs, and `digits`, 10,000 items and the library's own number. Floors of a data set are its first row.

`--rerun` trains some rows of digits-small again, holds their scores against those in the file, and fails where one is
further off than `method_reruns.py` allows. `--table` writes the tables of docs/benchmarks.md and docs/which-method.md.
`--check` fails where they are not what the rows give, or where a row was made with other settings than the present code
has; it needs no data.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

# One thread wherever it runs: times compare, and sums come out the same. Has to be set before torch is imported.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import method_choice
import method_tables
import torch
from machine import processor
from method_reruns import choose, wrong_scores
from method_rows import (
    DATA_SETS,
    FLOORS,
    Row,
    Wanted,
    append_row,
    code_digest,
    in_force,
    read_rows,
    stale_rows,
    wanted_rows,
)
from trainings import python, train, write_data

from isthmus import __version__
from isthmus.cli.settings import read_pairs, read_value, read_weights
from isthmus.methods import list_methods
from isthmus.methods.coupled import check_couplings

ROWS = Path(__file__).parent / "results" / "methods.jsonl"
PAGES = (method_tables, method_choice)  # each with the path of a page of the documentation, and what fills it
ROLES = ["--key", "key", "--split", "split", "--label", "label"]


def main() -> int:
    given = arguments()
    if given.table or given.check:
        rows = in_force(read_rows(given.rows))
        return check(rows) if given.check else write_tables(rows)
    if given.rerun:
        return rerun(given.shared, given.work, read_rows(given.rows), given.rerun)
    options = {name: read_value(text) for name, text in read_pairs(given.option, "--option", "beta=2.0").items()}
    couplings = check_couplings(read_weights(given.couple))
    named = {coupling.name: weight for coupling, weight in couplings.items()}
    wanted = wanted_rows(given.data, given.methods, given.seeds, options, named)
    failed = run_all(given.shared, given.work, wanted, given.rows)
    for line in failed:
        print(f"FAILED {line}", file=sys.stderr)
    return 1 if failed else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("shared", type=Path, nargs="?", help="folder with mnist.npz and fsdd/")
    parser.add_argument("work", type=Path, nargs="?", help="where data, judges and unfinished runs go")
    parser.add_argument("--data", choices=DATA_SETS, default="digits-small")
    parser.add_argument("--methods", type=lambda text: text.split(","), default=list_methods(), metavar="A,B")
    parser.add_argument("--seeds", type=lambda text: [int(seed) for seed in text.split(",")], default=[0])
    parser.add_argument("--option", action="append", metavar="NAME=VALUE", help="of all methods that are run")
    parser.add_argument("--couple", action="append", metavar="NAME=WEIGHT", help="beside all methods that are run")
    parser.add_argument("--rows", type=Path, default=ROWS, help="the file of JSON lines")
    parser.add_argument("--rerun", type=int, metavar="N", help="train N rows again and compare")
    parser.add_argument("--table", action="store_true", help="write the pages of the documentation")
    parser.add_argument("--check", action="store_true", help="compare rows with the code and the pages with the rows")
    given = parser.parse_args()
    if not (given.table or given.check) and given.work is None:
        parser.error("Where are the data, and where may files go? As in: methods.py ../shared/data work")
    unknown = set(given.methods) - set(list_methods())
    if unknown:
        parser.error(f"There is no method {', '.join(sorted(unknown))}. Methods are {', '.join(list_methods())}.")
    return given


# --- making rows ------------------------------------------------------------------------------------------------------


def run_all(shared: Path, work: Path, wanted: Sequence[Wanted], path: Path) -> list[str]:
    """Make the rows that are not there yet, one after another; which ones failed, and how."""
    failed = []
    for number, one in enumerate(wanted, start=1):
        where = f"[{number}/{len(wanted)}] {one.describe()}"
        if one.hash in {row["hash"] for row in in_force(read_rows(path))}:
            print(f"{where}: is there", flush=True)
            continue
        print(where, flush=True)
        try:
            row = make_row(shared, work, one)
        except subprocess.CalledProcessError as error:  # what went wrong stands above; the others go on
            failed.append(f"{one.describe()}: {error}")
            continue
        append_row(path, row)
        print(f"{where}: {row['costs']['seconds']:.0f} s", flush=True)
    return failed


def make_row(shared: Path, work: Path, wanted: Wanted) -> Row:
    """Train, unless floors are wanted, and score.

    Raises:
        CalledProcessError: Training or scoring failed.
    """
    start = time.perf_counter()
    data = DATA_SETS[wanted.data]
    folder = work / f"{wanted.data}-{Wanted(wanted.data, FLOORS).hash}"  # other data, other judges: another folder
    recipe = [f"--{name}={value}" for name, value in data.recipe.items()]
    table = write_data(shared, folder / "data", *recipe)
    # A run that was stopped goes on only where the code is still that which it was started with.
    run, words, costs = folder / "runs" / f"{wanted.hash}-{code_digest()}", [], {}
    if wanted.method != FLOORS:
        options = [f"--option={name}={json.dumps(value)}" for name, value in wanted.options.items()]
        options += [f"--couple={name}={weight}" for name, weight in wanted.couplings.items()]
        settings = ["--method", wanted.method, "--epochs", str(data.num_epochs), "--seed", str(wanted.seed), *options]
        costs |= train(table, run, *ROLES, *settings, "--accelerator", "cpu")
        made = json.loads((run / "model" / "config.json").read_text(encoding="utf-8"))["made"]
        costs |= {"epochs": made["epochs"], "epoch_seconds": made["seconds"] / made["epochs"]}
        words = ["--run", str(run)]
    out = run / "scores.json"
    run.mkdir(parents=True, exist_ok=True)
    scored = python(
        str(Path(__file__).parent / "method_scores.py"), str(table), str(folder / "judges"), str(out), *words
    )
    costs |= {"score_seconds": scored.seconds, "score_cpu_seconds": scored.cpu_seconds}
    row = {
        "hash": wanted.hash,
        "data": wanted.data,
        "method": wanted.method,
        "seed": wanted.seed,
        "options": dict(wanted.options),
        "couplings": dict(wanted.couplings),
        "scores": json.loads(out.read_text(encoding="utf-8")),
        "costs": {name: _rounded(value) for name, value in (costs | {"seconds": time.perf_counter() - start}).items()},
        "machine": f"{processor()}, one used, torch {torch.__version__}",
        "isthmus": __version__,
        "config": wanted.config(),
    }
    shutil.rmtree(run)
    return row


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


# --- holding rows against the code ------------------------------------------------------------------------------------


def rerun(shared: Path, work: Path, rows: Sequence[Row], count: int) -> int:
    """Make some rows again, without the file; 1 if a score is too far off."""
    chosen = choose(rows, count)
    wrong = [f"There are {len(chosen)} rows to run again, not {count}."] if len(chosen) < count else []
    for row in chosen:
        wanted = Wanted.of(row)
        print(f"{wanted.describe()}, again", flush=True)
        again = make_row(shared, work, wanted)
        wrong += [f"{wanted.describe()}: {line}" for line in wrong_scores(row["scores"], again["scores"])]
    print("\n".join(wrong) or "All scores are as in the file.")
    return 1 if wrong else 0


def check(rows: Sequence[Row]) -> int:
    """Whether rows are those of the present code, and the pages those of the rows; what is wrong is printed."""
    wrong = [f"Stale row, run it again: {line}" for line in stale_rows(rows)]
    for page in PAGES:
        text = page.PAGE.read_text(encoding="utf-8")
        if page.fill(text, rows) != text:
            wrong.append(f"{page.PAGE.name} is not what the rows give: run 'python benchmarks/methods.py --table'.")
    without = set(list_methods()) - {row["method"] for row in rows}
    print("\n".join(wrong) or f"{len(rows)} rows, all of the present code, and the pages are made from them.")
    if without:
        print(f"No row yet: {', '.join(sorted(without))}.")
    return 1 if wrong else 0


def write_tables(rows: Sequence[Row]) -> int:
    for page in PAGES:
        page.PAGE.write_text(page.fill(page.PAGE.read_text(encoding="utf-8"), rows), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
