"""How the training went: charts of what `metrics.csv` holds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from isthmus.report.figures import Line, colour, line_chart
from isthmus.report.html import Html
from isthmus.report.wording import duration

SPLITS = ("train", "validation")
NOT_TERMS = ("epoch", "step", "phase", "split", "loss", "bound", "learning_rate", "seconds")
RECONSTRUCTION = "reconstruction/"


@dataclass(frozen=True)
class Curves:
    """Charts, each with its heading.

    Args:
        loss: Of all.
        reconstructions: One per modality.
        terms: All else.
        num_epochs: Done.
        best_epoch: Whose weights were kept, or None where it is the last one.
        seconds: Of training; None where the log does not say.
    """

    loss: Html
    reconstructions: list[tuple[str, Html]]
    terms: list[tuple[str, Html]]
    num_epochs: int
    best_epoch: int | None
    time: str


def curves(metrics: Sequence[Mapping[str, str]], modalities: Sequence[str], best: int | None = None) -> Curves | None:
    """Charts of a training, with a mark at the epoch `best` whose weights were kept; None where there are none."""
    by_split = {split: [row for row in metrics if row["split"] == split] for split in SPLITS}
    if not by_split["train"]:
        return None
    phases = _phases(by_split["train"])
    marks = [(float(epoch), f"{phase} →") for phase, epoch in phases] if len(phases) > 1 else []
    loss_marks = marks + ([(float(best), f"kept: epoch {best}")] if best is not None else [])
    order = {name: m for m, name in enumerate(modalities)}
    terms = dict.fromkeys(name for row in metrics for name in row if name not in NOT_TERMS)
    reconstructions: list[tuple[str, Html]] = []
    others: list[tuple[str, Html]] = []
    for term in terms:
        name = term.removeprefix(RECONSTRUCTION)
        lines = _lines(by_split, term, colour(order[name]) if name != term and name in order else "var(--ink)")
        if not lines:
            continue
        drawn = line_chart(lines, title=f"{term} over epochs", marks=marks, size=(360, 190))
        (reconstructions if term.startswith(RECONSTRUCTION) else others).append((name, drawn))
    last = by_split["train"][-1]
    return Curves(
        line_chart(
            _lines(by_split, "loss", "var(--accent)"), title="Loss over epochs", marks=loss_marks, size=(960, 260)
        ),
        reconstructions,
        others,
        len(by_split["train"]),
        best,
        duration(float(last["seconds"])) if last.get("seconds") else "",
    )


def _lines(by_split: Mapping[str, Sequence[Mapping[str, str]]], term: str, fill: str) -> list[Line]:
    """The term on training items, dashed, and on validation items."""
    lines = []
    for split, rows in by_split.items():
        points = [(float(row["epoch"]), float(row[term])) for row in rows if row.get(term)]
        points = [(x, y) for x, y in points if math.isfinite(y)]
        if points:
            x, y = zip(*points, strict=True)
            lines.append(Line(split, x, y, fill, dashed=split == "train"))
    return lines


def _phases(rows: Sequence[Mapping[str, str]]) -> list[tuple[str, int]]:
    """Each phase and its first epoch."""
    first: dict[str, int] = {}
    for row in rows:
        first.setdefault(row["phase"], int(row["epoch"]))
    return list(first.items())
