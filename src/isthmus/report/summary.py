"""The first screen: what was trained, and how it did, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from isthmus.report.curves import Curves
from isthmus.report.data import missing_share
from isthmus.report.material import Material
from isthmus.report.score_table import ScoreTable
from isthmus.report.wording import count, listed, percent

MARKS = {
    "above": "better than every floor",
    "level": "level with the best floor",
    "below": "below the best floor",
}


def lead(material: Material) -> str:
    """What was trained on what, in two sentences."""
    names, missing = material.modalities, missing_share(material)
    what = f"one modality ({names[0]})" if len(names) == 1 else f"{len(names)} modalities ({listed(names, limit=6)})"
    code = count(material.model.latent_dim, "number")
    sentence = f"A table of {count(material.num_rows, 'item')} in {what}, each learned as one code of {code}."
    if missing == 0:
        return f"{sentence} Nothing is missing."
    return f"{sentence} {percent(missing, material.num_rows)} of the cells are missing; no item is left out for that."


def tiles(material: Material, curves: Curves | None) -> list[tuple[str, str]]:
    """Headline figures, as `(number, what it is)`."""
    items = material.model.made_["items"]
    found = [
        (f"{items['train']:,}", "items learned from"),
        (f"{items['test']:,}", "items kept for testing"),
        (str(len(material.modalities)), "modality" if len(material.modalities) == 1 else "modalities"),
        (percent(missing_share(material), material.num_rows), "of cells missing"),
        (str(material.model.latent_dim), "numbers in a code"),
    ]
    return [*found, (curves.time, "of training")] if curves is not None and curves.time else found


def tally(tables: Sequence[ScoreTable]) -> dict[str, Any]:
    """All scores together: how many are better than every floor, level with the best one, and below it."""
    marks = [row.verdict.mark for table in tables for row in table.judged]
    shares = [(mark, marks.count(mark)) for mark in MARKS if mark in marks]
    said = ", ".join(f"{number:,} {MARKS[mark]}" for mark, number in shares)
    return {"words": f"Of {count(len(marks), 'score')}: {said}.", "shares": shares}


def findings(tables: Sequence[ScoreTable]) -> list[dict[str, Any]]:
    """One sentence for each kind of score: how many are better than every floor, and the clearest of them."""
    found = []
    for table in tables:
        if table.judged:
            marks = {row.verdict.mark for row in table.judged}
            mark = marks.pop() if len(marks) == 1 else "level"
            found.append({"mark": mark, "title": table.title, "words": f"{table.summary} {_example(table)}"})
    return found


def _example(table: ScoreTable) -> str:
    """The row that is furthest ahead of its floors, or least behind them."""
    row = max(table.judged, key=lambda row: row.verdict.gain)
    floors = {
        name: floor for name, floor in zip(table.floors, row.floors, strict=True) if floor and floor.value is not None
    }
    name = (max if table.form.higher else min)(floors, key=lambda name: floors[name].value or 0.0)
    route = " → ".join(listed(names) for names in (row.source, row.target) if names)
    which = "Here" if len(table.judged) == 1 else "Clearest" if row.verdict.mark == "above" else "Nearest to it"
    return f"{which}: {route} {row.own.text} ({table.form.column}); best floor, {name}: {floors[name].text}."
