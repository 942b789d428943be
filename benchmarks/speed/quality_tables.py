"""Tables and the figure of quality at equal time, and their place in the documentation.

Only what stands between `<!-- quality -->` and `<!-- end -->` in docs/benchmarks.md is replaced.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from peers import PEERS
from quality_contenders import METHODS, OURS, SAME, SAMPLED
from quality_data import NAMES as SETS
from results import Row, fill_blocks, in_force, read_rows, start_of
from tables import NAMES, PAGE, Notes, made_on

NAME = "quality"  # of the block, and of the figure's file
FIGURE = PAGE.parent / "images" / f"{NAME}.svg"
TITLES = {"polydigits": "Five pictures of each digit, complete", "digits": "Written, spoken, in words, with gaps"}
COLOURS = {OURS: "#0b3d91", SAME: "#5b9bd5", SAMPLED: "#8e6bbf", "multivae": "#d1701f", "multiviewae": "#3f8f4f"}


@dataclass(frozen=True)
class Score:
    """One that is shown.

    Args:
        title: Heads its columns.
        key: Where it stands among a row's scores.
        beside: Another that is shown behind it; empty for none.
        sign: 1 where more is better, -1 where less is.
    """

    title: str
    key: str
    beside: str = ""
    sign: int = 1


SCORES = (
    Score("coherence, %", "coherence", "coherence_of_rest"),
    Score("Frechet distance", "frechet", sign=-1),
    Score("probe, %", "probe", "probe_of_all"),
)
LEGEND = (
    "Coherence: drawn translations that show the digit of their source, from one other modality / from all others. "
    "Frechet distance of cells drawn from one other modality, in what the judge of the target sees; lower is better. "
    "Probe: digits read from the codes of one modality / of all together. Means over modalities and routes."
)


def write(path: Path, work: Path, quick: bool) -> int:
    """Print the tables, and put them and the figure where they belong; what was only tried stays in `work`."""
    rows = chosen(read_rows(path), quick)
    if not _scored(rows):
        print(f"There are no rows in {path.name} yet.", file=sys.stderr)
        return 1
    print(tables(rows))
    if quick:
        draw(rows, work / FIGURE.name)
        print(f"The figure is {work / FIGURE.name}.")
        return 0
    draw(rows, FIGURE)
    text = PAGE.read_text(encoding="utf-8")
    if start_of(NAME) not in text:
        print(f"{PAGE.name} has no place for them: {start_of(NAME)} ... <!-- end -->", file=sys.stderr)
    PAGE.write_text(fill(text, rows), encoding="utf-8")
    return 0


def fill(page: str, rows: Sequence[Row]) -> str:
    """The page with its block made from the rows."""
    return fill_blocks(page, NAME, lambda _: f"{tables(rows)}\n\n{image()}")


def chosen(rows: Sequence[Row], quick: bool = False) -> list[Row]:
    """Those that are shown: of each data set, the last ones of the machine that its last one was made on.

    Seconds of two machines are not the same; within a data set all had the same, and two sets are never compared.
    """
    return [row for name in SETS for row in in_force([row for row in rows if row["task"] == name], quick)]


def image() -> str:
    """The figure, as the page shows it."""
    return f"![Coherence, Frechet distance and probe over seconds of training](images/{FIGURE.name})"


# --- tables -----------------------------------------------------------------------------------------------------------


def tables(rows: Sequence[Row]) -> str:
    """All tables, what they were made on, how ours stand, and the notes."""
    parts, notes = [LEGEND], Notes()
    for name in SETS:
        own = sorted((row for row in rows if row["task"] == name), key=place)
        if _scored(own):
            parts.append(f"{TITLES[name]}: {_items(own)}. {made_on(own[-1])}\n\n{table(own, notes)}")
    return "\n\n".join([*parts, *standings(rows), *notes.lines()])


def table(rows: Sequence[Row], notes: Notes) -> str:
    """One line a contender, a column for each score at each budget; below, who refused and why."""
    budgets = sorted({row["x"] for row in _scored(rows)})
    heads = ["method", "library", *(f"{score.title}, {budget:g} s" for score in SCORES for budget in budgets)]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for one in dict.fromkeys(map(_contender, _scored(rows))):
        found = {row["x"]: row for row in _scored(rows) if _contender(row) == one}
        first = next(iter(found.values()))
        cells = [
            _cell(found[budget]["scores"], score) if budget in found else "" for score in SCORES for budget in budgets
        ]
        name = f"{title(first, rows)}{notes.refer([*first['marks'], *_alone(first, rows)])}"
        lines.append(f"| `{first['method']}` | {name} | {' | '.join(cells)} |")
    for row in rows:
        if "real" in row:
            cells = [_real(row["real"], score) for score in SCORES for _ in budgets]
            lines.append(f"| | *real cells* | {' | '.join(cells)} |")
    refused: dict[str, dict[str, None]] = {}
    for row in rows:
        if "refused" in row:
            refused.setdefault(row["refused"], {})[f"{title(row, rows)} `{row['method']}`"] = None
    without = "; ".join(f"{', '.join(names)} ({reason})" for reason, names in refused.items())
    return "\n".join([*lines, *(["", f"Not measured: {without}."] if without else [])])


def standings(rows: Sequence[Row]) -> list[str]:
    """For each of ours, of how many of a peer's rows it is at or above the peer, score by score."""
    lines = []
    for who in (OURS, SAME):
        pairs = [
            (row, other)
            for row in _scored(rows)
            for other in _scored(rows)
            if row["who"] == who and other["who"] in PEERS and _beside(row, other, rows)
        ]
        if pairs:
            counts = ", ".join(f"{sum(_as_good(*pair, score) for pair in pairs)} in {score.key}" for score in SCORES)
            name = "Isthmus on its own networks" if who == OURS else "Isthmus on the same networks"
            lines.append(
                f"{name} is at or above a peer at the same method and budget, of {len(pairs)} comparisons, {counts}."
            )
    return lines


def _beside(row: Row, other: Row, rows: Sequence[Row]) -> bool:
    """Same data, method and budget; and, for ours on the same networks, the peer's objective if there are several."""
    same = all(row[name] == other[name] for name in ("task", "method", "x"))
    return same and (not _several(row, rows) or row["peer"] == other["peer"])


def _as_good(row: Row, other: Row, score: Score) -> bool:
    ours, theirs = (score.sign * one["scores"][score.key] for one in (row, other))
    return bool(ours >= theirs)


# --- cells ------------------------------------------------------------------------------------------------------------


def place(row: Row) -> tuple[Any, ...]:
    """Where a row stands, whenever it was made."""
    method = METHODS.index(row["method"]) if row.get("method") in METHODS else len(METHODS)
    who = list(COLOURS).index(row["who"]) if row["who"] in COLOURS else len(COLOURS)
    return method, who, row.get("peer", ""), row["x"]


def title(row: Row, rows: Sequence[Row]) -> str:
    """Names a contender."""
    if row["who"] == SAME:
        as_whom = f", as {NAMES[row['peer']]}" if _several(row, rows) else ""
        return f"{NAMES[OURS]}, same networks{as_whom}"
    if row["who"] == SAMPLED:
        return f"{NAMES[OURS]}, same networks, routes sampled"
    return NAMES[row["who"]]


def _several(row: Row, rows: Sequence[Row]) -> bool:
    """Whether ours on the same networks has an objective for each peer."""
    same = {other["peer"] for other in rows if other["who"] == SAME and _of(other) == _of(row)}
    return row["who"] == SAME and len(same) > 1


def _of(row: Row) -> tuple[Any, ...]:
    return row["task"], row.get("method")


def _contender(row: Row) -> tuple[Any, ...]:
    return *_of(row), row["who"], row["peer"]


def _scored(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if "scores" in row]


def _alone(row: Row, rows: Sequence[Row]) -> list[str]:
    most = max(other["trained"] for other in _scored(rows))
    return [f"trained on the {row['trained']:,} complete items alone"] if row["trained"] < most else []


def _items(rows: Sequence[Row]) -> str:
    scored = _scored(rows)
    used = [row["seconds"] / row["x"] for row in scored if row["who"] == OURS]
    kept = (
        f"; trainings of Isthmus on its own networks took {min(used):.0%} to {max(used):.0%} of their budgets"
        if used
        else ""
    )
    return f"{max(row['trained'] for row in scored):,} training items, {scored[0]['items'][1]:,} test items{kept}"


def _cell(scores: Mapping[str, float], score: Score) -> str:
    return " / ".join(f"{scores[key]:.1f}" for key in (score.key, score.beside) if key)


def _real(figures: Mapping[str, Mapping[str, float]], score: Score) -> str:
    found = [figure[score.key] for figure in figures.values() if score.key in figure]
    return f"{mean(found):.1f}" if found else ""


# --- the figure -------------------------------------------------------------------------------------------------------


def draw(rows: Sequence[Row], path: Path) -> None:
    """Scores over the seconds that were used: a column for each method, a row for each score of each data set."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    scored = sorted(_scored(rows), key=place)
    sets = [name for name in SETS if any(row["task"] == name for row in scored)]
    methods = [name for name in METHODS if any(row["method"] == name for row in scored)]
    lines = [(name, score) for name in sets for score in SCORES]
    # The same rows give the same file: no date, and names of parts that are not drawn by lot.
    with rc_context({"svg.hashsalt": NAME, "font.size": 8}):
        size = (1.2 + 2.0 * len(methods), 0.9 + 1.5 * len(lines))
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(len(lines), len(methods), squeeze=False, sharey="row")
        for (name, score), row_of_axes in zip(lines, axes, strict=True):
            budgets = sorted({row["x"] for row in scored if row["task"] == name})
            for method, axis in zip(methods, row_of_axes, strict=True):
                own = [row for row in scored if _of(row) == (name, method)]
                axis.set_visible(bool(own))  # a run that was stopped has no empty panels
                _panel(axis, own, score)
                axis.set_xscale("log")
                axis.set_xticks(budgets, [f"{budget:g}" for budget in budgets])
                axis.minorticks_off()
                axis.tick_params(labelbottom=score is SCORES[-1])
            row_of_axes[0].set_ylabel(f"{name}\n{score.title}")
        for row_of_axes in axes[:: len(SCORES)]:
            for method, axis in zip(methods, row_of_axes, strict=True):
                axis.set_title(method)
        for axis in axes[len(SCORES) - 1 :: len(SCORES)].flat:
            axis.set_xlabel("seconds of training")
        shown = {text: line for axis in axes.flat for line, text in zip(*axis.get_legend_handles_labels(), strict=True)}
        columns = min(len(shown), 1 + len(methods))
        figure.legend(shown.values(), shown.keys(), loc="outside upper center", ncols=columns, frameon=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Date": None})


def _panel(axis: Any, rows: Sequence[Row], score: Score) -> None:
    """One line a contender; of ours on the same networks, that with the objective of a second peer is dotted."""
    for one in dict.fromkeys(map(_contender, rows)):
        own = [row for row in rows if _contender(row) == one]
        who, label = own[0]["who"], title(own[0], rows)
        style = "--" if who in (SAME, SAMPLED) else "-"
        if _several(own[0], rows):
            second = own[0]["peer"] == list(PEERS)[1]
            style, label = (":", label) if second else (style, f"{NAMES[OURS]}, same networks")
        seconds, figures = [row["seconds"] for row in own], [row["scores"][score.key] for row in own]
        axis.plot(seconds, figures, style, color=COLOURS[who], marker="o", markersize=2.5, label=label)
    axis.grid(alpha=0.25)
