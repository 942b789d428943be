"""Which method for which aim: the best rows of the benchmark of methods, by figures alone.

Only what stands between `<!-- choice: DATA_SET -->` and `<!-- end -->` in docs/which-method.md is replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import geometric_mean, mean
from typing import Any

from blocks import fill_blocks
from method_rows import FLOORS, Row
from method_tables import ROUTES, at, epoch_cpu_seconds, name_of

PAGE = Path(__file__).resolve().parents[1] / "docs" / "which-method.md"
SHOWN = 5
AGREES = 90.0  # percent of draws that show the digit of their source: what is asked of a method before its time counts
VARIED = 0.5  # of the variance of real ones within a digit

MADE = ("audio->image", "caption->image", "image->audio", "caption->audio")
Figure = Callable[[Row], float | None]


def average(*places: str) -> Figure:
    """The mean of figures; None where one of them is not there."""

    def figure(row: Row) -> float | None:
        found = [at(row, f"scores/{place}") for place in places]
        return mean(found) if None not in found else None

    return figure


def all_at_once(row: Row) -> float | None:
    """Percent: the geometric mean of right answers, of agreement within new items, and of how much pictures and sounds
    drawn on routes and for new items vary, a real cell's variance or more being all that is asked.
    """
    varies = [f"routes/{route}/variance" for route in MADE] + ["joint/image/variance", "joint/audio/variance"]
    found = [at(row, f"scores/{place}") for place in varies]
    right, agree = agreement(row), at(row, "scores/joint/coherence")
    if right is None or agree is None or None in found:
        return None
    variety = 100 * mean(min(1.0, figure) for figure in found if figure is not None)
    return geometric_mean([max(figure, 1e-6) for figure in (right, agree, variety)])


agreement = average(*(f"routes/{route}/coherence" for route in ROUTES))
variance = average(*(f"routes/{route}/variance" for route in MADE))
variance_of_new = average("joint/image/variance", "joint/audio/variance")


@dataclass(frozen=True)
class Aim:
    """What somebody wants, and the figure that tells how well a method does it.

    Args:
        title: Of the aim.
        says: What the figure is.
        figure: Of a row; None where a method does not do this at all.
        form: Of the figure in print.
        lowest: The lowest figure is the best.
        among: Only rows that this holds of.
        floor: The same figure of a floor, and its name.
    """

    title: str
    says: str
    figure: Figure
    form: str = ".1f"
    lowest: bool = False
    among: Callable[[Row], bool] = lambda row: True
    floor: Callable[[Mapping[str, Any]], tuple[str, float]] | None = None

    def best(self, rows: Sequence[Row]) -> list[tuple[Row, float]]:
        """The rows that do it best, best first."""
        found = [(row, self.figure(row)) for row in rows if self.among(row)]
        known = [(row, figure) for row, figure in found if figure is not None]
        return sorted(known, key=lambda one: one[1], reverse=not self.lowest)[:SHOWN]


AIMS = [
    Aim(
        "All at once",
        "geometric mean of right answers, agreement of new items, and variance of pictures and sounds up to that of "
        "real ones, %",
        all_at_once,
    ),
    Aim(
        "The right answer from another modality",
        "share of draws that show the digit of their source, mean over six routes, %",
        agreement,
        floor=lambda found: ("supervised", mean(found["supervised"].values())),
    ),
    Aim(
        "The right answer, in as many ways as there are",
        f"the same, among those whose pictures and sounds vary at least {VARIED:.1f} times as much as real ones "
        "of the same digit",
        agreement,
        among=lambda row: (variance(row) or 0) >= VARIED,
        floor=lambda found: ("nearest training item", mean(found["nearest"].values())),
    ),
    Aim(
        "Translations like real cells",
        f"Frechet distance of pictures and sounds drawn from other modalities, among those right at least {AGREES:.0f} "
        "% of the time, lower is better",
        average(*(f"routes/{route}/frechet" for route in MADE)),
        lowest=True,
        among=lambda row: (agreement(row) or 0) >= AGREES,
    ),
    Aim(
        "New items whose parts agree",
        f"share of new items of which picture, sound and caption show one digit, %, among those whose new pictures and "
        f"sounds vary at least {VARIED:.1f} times as much as real ones",
        lambda row: at(row, "scores/joint/coherence"),
        among=lambda row: (variance_of_new(row) or 0) >= VARIED,
    ),
    Aim(
        "Codes for a classifier",
        "digit read from the code of a picture alone and of a sound alone by a linear probe, %",
        average("probe/image", "probe/audio"),
        floor=lambda found: (
            "raw values",
            mean(found["probe"]["logistic_raw"][name] for name in ("image", "audio")),
        ),
    ),
    Aim(
        "Search across modalities",
        "nearest code of the other modality is of the same digit, pictures and sounds, %",
        average("retrieval/image->audio/precision1", "retrieval/audio->image/precision1"),
        floor=lambda found: (
            "CCA",
            mean(found["cca"][route]["precision1"] for route in ("image->audio", "audio->image")),
        ),
    ),
    Aim(
        "How likely an item is",
        "log p of all that a test item has, in nats",
        lambda row: at(row, "scores/likelihood/nats"),
        form=",.0f",
    ),
    Aim(
        "Little time",
        f"processor time of an epoch, s, among those right at least {AGREES:.0f} % of the time",
        epoch_cpu_seconds,
        form=".2f",
        lowest=True,
        among=lambda row: (agreement(row) or 0) >= AGREES,
    ),
]


def fill(page: str, rows: Sequence[Row]) -> str:
    """The page with every block made from the rows of its data set."""
    return fill_blocks(page, "choice", lambda data: table(data, rows))


def table(data: str, rows: Sequence[Row]) -> str:
    """One line an aim: the methods that do it best, with their figures, and a floor; of the first seed."""
    own = [row for row in rows if row["data"] == data and row["seed"] == 0]
    floor = next((row["scores"] for row in own if row["method"] == FLOORS), None)
    made = [row for row in own if row["method"] != FLOORS]
    lines = ["| aim, and what is measured | best first | floor |", "|---|---|---|"]
    for aim in AIMS:
        best = ", ".join(f"{name_of(row)} {figure:{aim.form}}" for row, figure in aim.best(made))
        lines.append(f"| **{aim.title}**: {aim.says} | {best or 'none'} | {_floor(aim, floor)} |")
    return "\n".join(lines)


def _floor(aim: Aim, floor: Mapping[str, Any] | None) -> str:
    if aim.floor is None or floor is None:
        return ""
    name, figure = aim.floor(floor)
    return f"{name} {figure:{aim.form}}"
