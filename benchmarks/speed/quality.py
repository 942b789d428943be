"""Quality at equal time: what each library's model can do after the same seconds of training, beside two others.

    python benchmarks/speed/quality.py --data FOLDER [--sets digits] [--methods mvtcae] [--budgets 10,30,90] [--quick]
    python benchmarks/speed/quality.py --table

The first trains whom `quality_contenders.py` names on both sets of `quality_data.py`, each in a process of its own and
one after the other, and scores them as `quality_scores.py` says. Each row is added at once to `results/quality.jsonl`,
so that a run that was stopped goes on by the same command; it takes hours. The second prints the tables, writes them
where docs/benchmarks.md has a place for them, and draws the figure.

How time is counted:

- Only training counts: not start-up, not reading files, not scoring, during which the clock stands still.
- A peer is trained once, at one learning rate as its trainer does by default, and scored at the first step past each
  budget. Whole epochs would be coarser than the shortest budget where a mixture decodes everything from everything.
  So are our methods on a peer's networks, after the rise of 100 steps that our trainer begins with.
- By default our learning rate falls to the end of a training, which has to be known beforehand. So on its own networks
  ours is trained anew for each budget, for as many whole epochs as end within it, or on a part of the items where not
  one does; how long an epoch takes is tried before. Rows hold the seconds that were really used.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

os.environ["OMP_WAIT_POLICY"] = "PASSIVE"

import quality_tables
from peers import PEERS
from quality_contenders import BATCH, METHODS, SAME, SAMPLED, Contender, contenders
from quality_data import NAMES, Recipe
from quality_one import Job
from quality_scores import JUDGE_STEPS
from results import RESULTS, Book, Row, identity, read_rows

HERE = Path(__file__).resolve().parent
WORK = HERE.parents[1] / ".cache" / "quality"
VERSION = 1  # of how it is measured: raise it where figures mean something else
# Five pictures of 3 x 28 x 28 take longer to learn: for a minute and a half nobody tells one digit from another.
BUDGETS = {"digits": [10.0, 30.0, 90.0], "polydigits": [100.0, 300.0]}
# Scores of five pictures have 25 routes.
SIZES = {"digits": {"train": 10_000, "test": 2_000}, "polydigits": {"train": 10_000, "test": 1_000}}
# Small, but for the imports: each contender is a process of its own.
QUICK_BUDGETS, QUICK_METHODS = [0.5, 1.0], ["mvtcae"]

Run = Callable[[Job], Iterator[Row]]


def main() -> int:
    given = arguments()
    if given.table:
        return quality_tables.write(given.out, given.work, given.quick)
    absent = [name for name in PEERS if find_spec(name) is None]
    if absent:
        print(
            f"Not installed: {', '.join(absent)}. 'make bench-quality' makes an environment with all.", file=sys.stderr
        )
        return 2
    start, book = time.perf_counter(), Book(given.out, given.keep)
    failed = measure(jobs(given), book, given.quick, processed)
    print(f"{(time.perf_counter() - start) / 60:.1f} minutes")
    if rows := quality_tables.chosen(read_rows(given.out), given.quick):
        print(quality_tables.tables(rows))
    for line in failed:
        print(f"FAILED {line}", file=sys.stderr)
    return 1 if failed else 0


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """What the command was told, with what it was not told filled in."""

    def among(known: Sequence[str]) -> Callable[[str], list[str]]:
        def read(text: str) -> list[str]:
            names = text.split(",")
            if unknown := sorted(set(names) - set(known)):
                raise argparse.ArgumentTypeError(f"There is no {', '.join(unknown)}. There are {', '.join(known)}.")
            return names

        return read

    def rising(text: str) -> list[float]:
        return sorted({float(part) for part in text.split(",")})

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, help="folder with mnist.npz and fsdd/")
    parser.add_argument("--work", type=Path, default=WORK, help="where data and judges are kept")
    parser.add_argument("--sets", type=among(NAMES), default=list(NAMES), metavar="A,B")
    parser.add_argument("--methods", type=among(METHODS), metavar="A,B")
    parser.add_argument("--budgets", type=rising, metavar="SECONDS,SECONDS", help="of training, on every set")
    parser.add_argument("--threads", type=int, default=2, help="of every library")
    parser.add_argument("--quick", action="store_true", help="only to see that it works: small and few")
    parser.add_argument("--out", type=Path, default=RESULTS / "quality.jsonl", help="the file of JSON lines")
    parser.add_argument("--keep", action="store_true", help="rows of earlier states of the code count too")
    parser.add_argument("--table", action="store_true", help="measure nothing: show what there is")
    given = parser.parse_args(words)
    if given.data is None and not given.table:
        parser.error("Where are the data? As in: quality.py --data ../shared/data")
    given.methods = given.methods or list(QUICK_METHODS if given.quick else METHODS)
    return given


def jobs(given: argparse.Namespace) -> list[Job]:
    """One for each contender, and one before those of a data set for its data and judges.

    Whoever is compared first comes first; ours on a peer's networks, which says why, comes last.
    """
    steps = 100 if given.quick else JUDGE_STEPS
    found = []
    for name in given.sets:
        size = {"train": 400, "test": 100} if given.quick else SIZES[name]
        budgets = given.budgets or (QUICK_BUDGETS if given.quick else BUDGETS[name])
        whole = (Recipe(name, **size), str(given.data), str(given.work), budgets, given.threads, steps)
        found.append(Job(None, *whole))
        everyone = [one for method in given.methods for one in contenders(method, gaps=name == "digits")]
        found += [Job(one, *whole) for one in sorted(everyone, key=lambda one: one.who in (SAME, SAMPLED))]
    return found


def measure(wanted: Sequence[Job], book: Book, quick: bool, run: Run) -> list[str]:
    """Add the rows that are not there yet; what failed, in words."""
    failed = []
    for number, job in enumerate(wanted, start=1):
        where = f"[{number}/{len(wanted)}] {describe(job)}"
        settings = settings_of(job, quick)
        known, heads = book.known(), heads_of(job)
        lacking = [budget for budget, head in heads.items() if identity(head, settings) not in known]
        if not lacking:
            print(f"{where}: is there", flush=True)
            continue
        start = time.perf_counter()
        try:
            for row in run(job):
                for budget in [row["x"]] if "x" in row else lacking:  # a refusal is of all budgets
                    if budget in lacking:
                        marks = job.contender.marks if job.contender else ()
                        head = heads[budget]
                        told = {"hash": identity(head, settings), **head, "marks": marks, **row, "x": budget}
                        book.add({**told, **settings})
                        print(f"{where}: {tell(told)} ({time.perf_counter() - start:.0f} s)", flush=True)
        except RuntimeError as error:  # a peer may fail in any way, and the others go on
            failed.append(f"{describe(job)}: {error}")
            print(f"{where}: FAILED {failed[-1]}", file=sys.stderr, flush=True)
    return failed


def heads_of(job: Job) -> dict[float, dict[str, Any]]:
    """By budget, what its row is about; data alone have one, of no budget."""
    shared: dict[str, Any] = {"section": "quality", "task": job.recipe.name}
    if job.contender is None:
        return {0.0: {**shared, "who": "real", "x": 0.0}}
    one = {"method": job.contender.method, "who": job.contender.who, "peer": job.contender.peer, "unit": "s"}
    return {budget: {**shared, **one, "x": budget} for budget in job.budgets}


def settings_of(job: Job, quick: bool) -> dict[str, Any]:
    """What decides the figures beside who is trained, on what, and for how long."""
    return {
        "protocol": VERSION,
        "threads": job.threads,
        "quick": quick,
        "items": [job.recipe.train, job.recipe.test],
        "batch": BATCH,
        "judge_steps": job.judge_steps,
    }


def describe(job: Job) -> str:
    one = job.contender
    return f"{job.recipe.name}: data and judges" if one is None else f"{job.recipe.name} {one.method}, {named(one)}"


def named(contender: Contender) -> str:
    return contender.who if contender.peer in ("", contender.who) else f"{contender.who} as {contender.peer}"


def tell(row: Mapping[str, Any]) -> str:
    """A row in a few words, for whoever watches."""
    if "refused" in row:
        return f"refused, {row['refused']}"
    if "real" in row:
        return "; ".join(f"{name} {json.dumps(figures)}" for name, figures in row["real"].items())
    shown = ("coherence", "coherence_of_rest", "frechet", "probe", "probe_of_all")
    figures = ", ".join(f"{name} {row['scores'][name]:.3g}" for name in shown)
    return f"{row['seconds']:.1f} s, {row['epochs']:.3g} epochs: {figures}"


def processed(job: Job) -> Iterator[Row]:
    """The rows of a job, from a process of its own, as they come.

    Raises:
        RuntimeError: It failed.
    """
    words = [sys.executable, str(HERE / "quality_one.py"), job.to_json()]
    environment = {**os.environ, "OMP_NUM_THREADS": str(job.threads)}
    with tempfile.TemporaryFile("w+") as errors:
        with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                yield json.loads(line)
        if process.returncode:
            errors.seek(0)
            said = errors.read().strip().splitlines()
            raise RuntimeError(said[-1] if said else f"its process ended with {process.returncode}")


if __name__ == "__main__":
    sys.exit(main())
