"""Cases: what is measured together, in interleaved rounds, and the rows that come of it.

A row is one figure, or ours and a peer's beside it. Rows of a case need some of its contenders; all of these are timed
in one process, A B C A B C ..., so that a machine that slows down slows all.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from peers import Refused
from results import Book, Row, identity

Times = Mapping[str, Sequence[float]]  # by contender, one figure of each round


@dataclass(frozen=True)
class Contender:
    """One library at one task.

    Args:
        warm: Done once before the rounds: what is slow the first time alone, and where a peer may refuse.
        timed: One round; its figure, seconds as a rule.
    """

    warm: Callable[[], object]
    timed: Callable[[], float]


def compare(ours: Sequence[float], theirs: Sequence[float] | None = None) -> dict[str, Any]:
    """Figures of a row: medians with the least and the most of all rounds; the ratio is taken in each round."""
    figures: dict[str, Any] = {"rounds": len(ours), "figure": spread(ours)}
    if theirs is not None:
        figures["other"] = spread(theirs)
        figures["ratio"] = spread([other / own for own, other in zip(ours, theirs, strict=True)])
    return figures


def spread(values: Sequence[float]) -> dict[str, float]:
    return {name: float(f"{of(values):.5g}") for name, of in (("median", median), ("min", min), ("max", max))}


@dataclass(frozen=True)
class Entry:
    """A row that there should be.

    Args:
        head: What is measured, in words and numbers: with the settings of the run, the row's identity.
        needs: Contenders, ours first, whose figures go to `figures`.
        notes: More of the row, which decides nothing.
        refused: Why it is not measured; a contender that refuses says it by itself.
        figures: What becomes of the rounds.
    """

    head: Mapping[str, Any]
    needs: Sequence[str] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)
    refused: str = ""
    figures: Callable[..., dict[str, Any]] = compare


@dataclass(frozen=True)
class Case:
    """What is measured together.

    Args:
        name: Printed.
        entries: The rows.
        contenders: By label, what builds each; `Refused` where a peer cannot do it.
        least: Rounds that are run however long they take.
        most: Rounds of which more would say nothing new; 0 for any number.
    """

    name: str
    entries: Sequence[Entry]
    contenders: Mapping[str, Callable[[], Contender]] = field(default_factory=dict)
    least: int = 2
    most: int = 0


def interleave(
    contenders: Mapping[str, Contender],
    rounds: int,
    *,
    seconds: float = math.inf,
    least: int = 2,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """All take turns.

    Args:
        contenders: By label, in the order of their turns; they are warm.
        rounds: Of all of them.
        seconds: No round is begun that would not end in these, by the time that the last one took, ...
        least: ... after so many.
        clock: Of seconds.
    """
    end = clock() + seconds
    times: dict[str, list[float]] = {label: [] for label in contenders}
    for number in range(rounds if contenders else 0):
        start = clock()
        for label, contender in contenders.items():
            times[label].append(contender.timed())
        if number + 1 >= least and 2 * clock() - start > end:
            break
    return times


def seconds_of(work: Callable[[], object], least: float = 0.0) -> float:
    """Seconds that a piece of work takes; the mean over as many as `least` seconds hold, and over one at least."""
    start, count = time.perf_counter(), 0
    while count == 0 or time.perf_counter() - start < least:
        work()
        count += 1
    return (time.perf_counter() - start) / count


def run_cases(cases: Sequence[Case], book: Book, settings: Mapping[str, Any], rounds: int, seconds: float) -> list[str]:
    """Measure the rows that are not there yet; what failed, in words.

    Args:
        cases: In order.
        book: Where rows are kept.
        settings: Of the run, a part of each row's identity.
        rounds: Wanted; fewer where the time does not suffice.
        seconds: For all of them: each case gets an equal part of what is left.
    """
    failed, end = [], time.perf_counter() + seconds
    for number, case in enumerate(cases):
        where = f"[{number + 1}/{len(cases)}] {case.name}"
        known = book.known()
        wanted = [entry for entry in case.entries if identity(entry.head, settings) not in known]
        if not wanted:
            print(f"{where}: is there", flush=True)
            continue
        start = time.perf_counter()
        try:
            rows = measure(case, wanted, rounds, (end - start) / (len(cases) - number))
        except Exception as error:  # a peer may fail in any way, and the others go on
            failed.append(f"{case.name}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
            print(f"{where}: FAILED {failed[-1]}", file=sys.stderr, flush=True)
            continue
        for entry, row in zip(wanted, rows, strict=True):
            book.add({"hash": identity(entry.head, settings), **entry.head, **entry.notes, **row, **settings})
        told = "; ".join(filter(None, map(tell, wanted, rows)))
        print(f"{where}: {told or 'refused'} ({time.perf_counter() - start:.0f} s)", flush=True)
    return failed


def measure(case: Case, entries: Sequence[Entry], rounds: int, seconds: float) -> list[Row]:
    """The rows of some entries of a case."""
    end = time.perf_counter() + seconds
    refused: dict[str, str] = {}
    built: dict[str, Contender] = {}

    def reason(entry: Entry) -> str:
        return entry.refused or next((refused[label] for label in entry.needs if label in refused), "")

    # Peers, which may refuse, before ours: what nobody is compared with is not measured.
    for label in sorted(case.contenders, key=is_ours):
        if any(label in entry.needs and not reason(entry) for entry in entries):
            try:
                contender = case.contenders[label]()
                contender.warm()
                built[label] = contender
            except Refused as error:
                refused[label] = str(error)
    running = {label for entry in entries if not reason(entry) for label in entry.needs}
    order = {label: built[label] for label in case.contenders if label in running}
    rounds = min(rounds, case.most or rounds)
    times = interleave(order, rounds, seconds=end - time.perf_counter(), least=case.least)
    return [
        {"refused": reason(entry)} if reason(entry) else entry.figures(*(times[label] for label in entry.needs))
        for entry in entries
    ]


def is_ours(label: str) -> bool:
    return label.startswith("isthmus")


def tell(entry: Entry, row: Row) -> str:
    """A row in a few words, for whoever watches."""
    if "figure" not in row:
        return ""
    sampled = "sampled" if entry.head.get("sampled") else ""
    where = str(entry.head.get("x", ""))
    what = " ".join(filter(None, [entry.head.get("what"), entry.head.get("who"), where, sampled]))
    told = f"{row['figure']['median']:.3g} {entry.head.get('unit', '')}"
    if "ratio" in row:
        ratio = row["ratio"]
        told += f", {ratio['median']:.2f} ({ratio['min']:.2f}-{ratio['max']:.2f}) by {entry.head['peer']}"
    return f"{what} {told}".strip()
