"""A table of scores, each beside floors that need no network, with a verdict in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from isthmus.report.wording import figure, percent

FLOOR_NAMES = {
    "mean": "mean",
    "nearest": "nearest neighbour",
    "ridge": "linear regression",
    "pca": "PCA",
    "cca": "CCA",
    "chance": "chance",
    "majority": "commonest label",
    "logistic_raw": "raw values",
    "scaled_kmeans": "k-means of the data",
    "marginal": "source unseen",
}
MAX_ROWS_OPEN = 24
MAX_NAMES = 3
# Below this difference, relative to the floor, two errors count as level: they come without standard errors.
LEVEL = 0.02
Entry = Mapping[str, Any]
Floors = Mapping[str, float | None]


@dataclass(frozen=True)
class Number:
    """A number to print.

    Args:
        value: As it is in the evaluation; None where it is not defined.
        text: Rounded.
        place: Where it stands on the bar of its row, 0 to 100; None without a bar.
    """

    value: float | None
    text: str
    place: float | None = None


@dataclass(frozen=True)
class Verdict:
    """How a score stands against its floors.

    Args:
        mark: "above" every floor, "level" with the best one, "below" it, or "none" where nothing can be said.
        words: The same, said.
        gain: Distance to the best floor, relative to it; positive is better.
    """

    mark: str
    words: str
    gain: float = 0.0


@dataclass(frozen=True)
class Row:
    """One score; `floors` and `extras` in the order of the table's names, None where it has no such number."""

    source: list[str]
    target: list[str]
    n: int | None
    own: Number
    floors: list[Number | None]
    extras: list[Number | None]
    verdict: Verdict


@dataclass(frozen=True)
class Form:
    """How one kind of score is read from an entry of the evaluation and printed.

    Args:
        own: Name of the score in the entry.
        column: Name of its column in the table.
        is_share: A proportion of `n` items, printed as per cent, with an error that follows from `n`.
        higher: More is better.
        extras: Further numbers: their name in the entry, the column's name, and whether they are proportions.
        floors: Floors of an entry, by name.
    """

    own: str
    column: str
    is_share: bool
    higher: bool
    extras: Sequence[tuple[str, str, bool]] = ()
    floors: Callable[[Entry], Floors] = lambda entry: entry.get("floors") or {}


@dataclass(frozen=True)
class ScoreTable:
    """Scores of one kind: heading, what they are in words for a newcomer, names of columns, rows."""

    title: str
    explanation: str
    form: Form
    floors: list[str]
    extras: list[str]
    rows: list[Row]

    @property
    def judged(self) -> list[Row]:
        """Rows that could be held against a floor."""
        return [row for row in self.rows if row.verdict.mark != "none"]

    @property
    def has_bars(self) -> bool:
        return any(row.own.place is not None for row in self.rows)

    @property
    def is_long(self) -> bool:
        return len(self.rows) > MAX_ROWS_OPEN

    @property
    def summary(self) -> str:
        """How many are better than every floor, in words; nothing where there are no floors."""
        marks = [row.verdict.mark for row in self.judged]
        if not marks:
            return ""
        if len(marks) == 1:
            words = {"above": "Better than every floor.", "level": "Level with the best floor."}
            return words.get(marks[0], "A floor is better.")
        above, level = marks.count("above"), marks.count("level")
        number = {len(marks): f"All {above} are", 0: f"None of {len(marks)} is", 1: f"1 of {len(marks)} is"}
        sentence = f"{number.get(above, f'{above} of {len(marks)} are')} better than every floor"
        return f"{sentence}, {level} level with the best one." if level else f"{sentence}."


def make_table(title: str, explanation: str, form: Form, entries: Sequence[Entry]) -> ScoreTable:
    """A table of entries that share one form; their bars share one scale."""
    floor_keys = list(dict.fromkeys(name for entry in entries for name in form.floors(entry)))
    extras = [extra for extra in form.extras if any(entry.get(extra[0]) is not None for entry in entries)]
    own = [_known(entry.get(form.own)) for entry in entries]
    floors = [{name: _known(value) for name, value in form.floors(entry).items()} for entry in entries]
    numbers = [value for value in (*own, *(v for f in floors for v in f.values())) if value is not None]
    # Bars begin at zero; where a number is below it, as log-likelihoods are, there are none.
    top = 0.0 if min(numbers, default=-1.0) < 0 else 1.0 if form.is_share else max(numbers)
    num_modalities = len({name for e in entries for part in ("source", "target") for name in names_of(e.get(part))})

    def number(value: float | None, n: int | None, is_share: bool = form.is_share, bar: bool = True) -> Number:
        place = round(100 * min(value / top, 1.0), 1) if bar and top and value is not None else None
        return Number(value, percent(value, n) if is_share else figure(value), place)

    rows = []
    for entry, score, beside in zip(entries, own, floors, strict=True):
        n = entry.get("n")
        rows.append(
            Row(
                _source(entry, num_modalities),
                _in_short(names_of(entry.get("target"))),
                n,
                number(score, n),
                [number(beside[key], n) if key in beside else None for key in floor_keys],
                [number(_known(entry.get(key)), n, is_share, bar=False) for key, _, is_share in extras],
                verdict(score, beside, form, n, _known(entry.get("standard_error")) or 0.0),
            )
        )
    headings = [floor_name(key) for key in floor_keys]
    return ScoreTable(title, explanation, form, headings, [name for _, name, _ in extras], rows)


def verdict(own: float | None, floors: Floors, form: Form, n: int | None, error: float = 0.0) -> Verdict:
    """Hold a score against its floors.

    A difference counts where it is larger than two standard errors of the score: of a proportion
    sqrt(p (1 - p) / n), else as given in `error`. Without one it must be larger than 2% of the floor.
    """
    known = {name: value for name, value in floors.items() if value is not None}
    if own is None or not known:
        return Verdict("none", "not defined here" if own is None else "no floor to compare with")
    best = (max if form.higher else min)(known, key=lambda name: known[name])
    ahead = (own - known[best]) * (1 if form.higher else -1)
    if form.is_share and n:
        error = math.sqrt(max(own * (1 - own), 0.0) / n)
    gain = ahead / max(abs(known[best]), 1e-9)
    if abs(ahead) <= (2 * error or LEVEL * abs(known[best])):
        return Verdict("level", f"level with {floor_name(best)}", gain)
    if ahead > 0:
        return Verdict("above", "better than every floor", gain)
    return Verdict("below", f"{floor_name(best)} is better", gain)


def floor_name(name: str) -> str:
    """A floor as people call it; of a new one, its own name."""
    return FLOOR_NAMES.get(name, name.replace("_", " "))


def names_of(value: Any) -> list[str]:
    """A source or target of an entry as a list: some have one name, some several, some none."""
    return [] if value is None else [value] if isinstance(value, str) else [str(name) for name in value]


def _source(entry: Entry, num_modalities: int) -> list[str]:
    names = names_of(entry.get("source"))
    is_rest = len(names) == num_modalities - 1 and entry.get("target") not in names
    return ["all others"] if is_rest and len(names) > MAX_NAMES else _in_short(names)


def _in_short(names: list[str]) -> list[str]:
    return names if len(names) <= MAX_NAMES else [f"{len(names)} modalities"]


def _known(value: Any) -> float | None:
    """A finite number, or None."""
    return float(value) if value is not None and math.isfinite(value) else None
