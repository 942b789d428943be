"""Markdown tables of the rows, and their places in the documentation.

Only what stands between `<!-- speed -->` and `<!-- end -->` in docs/benchmarks.md is replaced, and in
docs/performance.md what stands between `<!-- speed: ... -->` of one of `PROFILE` and `<!-- end -->`. What one has to
know of a row, a mark or a refusal, is a numbered note below its table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from peers import METHODS
from results import Row, fill_blocks

PAGE = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"
PERFORMANCE = PAGE.with_name("performance.md")
PAGES = (PAGE, PERFORMANCE)
NAME = "speed"  # of the blocks
NAMES = {"isthmus": "Isthmus", "multivae": "MultiVae", "multiviewae": "multi-view-AE"}

Column = tuple[str, Callable[[Row], str]]
Limits = Mapping[tuple[Any, ...], float]


def fill(page: str, rows: Sequence[Row]) -> str:
    """The page with its blocks made from the rows."""
    return fill_blocks(page, NAME, lambda of: PROFILE[of](rows) if of else tables(rows))


def tables(rows: Sequence[Row]) -> str:
    """Those of the headline, what they were made on, and the notes."""
    limits = {_limit(row): row["figure"]["median"] for row in rows if row["section"] == "floor"}
    parts, notes = [f"{made_on(rows[-1])} {READING}"], Notes()
    for section, (title, columns) in layout(limits).items():
        own = sorted((row for row in rows if row["section"] == section), key=_place)
        if own:
            parts.append(f"{title}\n\n{table(columns, own, notes)}")
    return "\n\n".join([*parts, *notes.lines()])


def limits_of(rows: Sequence[Row]) -> str:
    """The layers of a step of `mvtcae`, each alone."""
    parts = []
    for row in sorted((row for row in rows if row["section"] == "floor"), key=_place):
        if row["method"] == "mvtcae":
            on = f" on {row['task']}" if row.get("task") else ""
            parts.append(f"`mvtcae`{on}, batch {row['batch']}:\n\n{layer_table(row)}")
    return "\n\n".join([made_on(rows[-1]), *parts])


def breakdowns(rows: Sequence[Row]) -> str:
    """Where the time of steps goes: kinds of work down, steps across."""
    own = sorted((row for row in rows if row["section"] == "breakdown"), key=_place)
    if not own:
        return ""
    names = [f"`{row['method']}`, batch {row['batch']}" for row in own]
    lines = [f"| ms a step, watched | {' | '.join(names)} |", "|---" * (len(own) + 1) + "|"]
    totals = [sum(row["kinds"].values()) for row in own]
    for kind in own[0]["kinds"]:
        parts = [(row["kinds"][kind], total) for row, total in zip(own, totals, strict=True)]
        cells = [f"{1000 * part:.1f} ({part / total:.0%})" for part, total in parts]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return "\n".join([*lines, f"| all | {' | '.join(f'{1000 * total:.0f}' for total in totals)} |"])


def levers(rows: Sequence[Row]) -> str:
    """Steps with and without what may make them quicker, in the order in which they were measured; and what ratios
    came of it before.
    """
    own = [row for row in rows if row["section"] == "levers"]
    lines = ["| lever | beside | batch | with, ms | without, ms | ratio | earlier runs | |", "|---" * 8 + "|"]
    for row in own:
        if "figure" in row:
            times = [_spread(row[name], _ms) for name in ("figure", "other")]
            earlier = ", ".join(f"{ratio:.2f}" for ratio in row.get("earlier", []))
            cells = [
                row["what"],
                row["peer"],
                str(row["batch"]),
                *times,
                _spread(row["ratio"], "{:.2f}".format),
                earlier,
            ]
            lines.append(f"| {' | '.join(cells)} | {'in use' if row['pulled'] else 'left out'} |")
    return "\n".join(lines)


# By name: the blocks of docs/performance.md.
PROFILE: Mapping[str, Callable[[Sequence[Row]], str]] = {
    "limits": limits_of,
    "breakdown": breakdowns,
    "levers": levers,
}


class Notes:
    """Numbered notes, each once."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def refer(self, texts: Sequence[str]) -> str:
        return "".join(f" [{self.numbers.setdefault(text, len(self.numbers) + 1)}]" for text in texts)

    def lines(self) -> list[str]:
        return [f"[{number}] {text[0].upper()}{text[1:]}." for text, number in self.numbers.items()]


def made_on(row: Row) -> str:
    """The machine and the releases."""
    releases = ", ".join(f"{NAMES.get(name, name)} {version}" for name, version in row["releases"].items())
    return f"{row['machine']}, {row['threads']} threads, Isthmus {row['isthmus']}, {releases}."


READING = (
    "Medians of interleaved rounds, least and most in brackets; the ratio is taken in each round, and above 1 Isthmus "
    "is better. The limit is the sum of the times of all convolutions and matrix products, each alone, forward and "
    "backward."
)


def layout(limits: Limits) -> dict[str, tuple[str, list[Column]]]:
    """By section, what stands above its table, and its columns up to the ratio."""
    batch: Column = ("batch", lambda row: str(row["batch"]))
    limit: Column = ("share of the limit", lambda row: _share(row, limits))
    return {
        "step": (
            "A step: forward, backward and Adam on tensors in memory, five pictures of 3x28x28; ms.",
            [METHOD, batch, *_both(_ms), limit],
        ),
        "trainer": (
            "A step within an epoch of our trainer, from the store, beside a bare one; and a bare one beside the "
            "limit, each layer alone, taken in the same rounds; ms.",
            [METHOD, ("step", lambda row: row.get("step", "")), batch, *_both(_ms)],
        ),
        "epoch": (
            "An epoch by each library's own trainer from its own data set object, five pictures; s.",
            [METHOD, batch, ("missing", lambda row: f"{row['missing']:.0%}"), ITEMS, *_both("{:.2f}".format), limit],
        ),
        "overhead": (
            "An epoch of small dense networks on the six views of mfeat, by each library's own trainer; s.",
            [METHOD, batch, *_both("{:.2f}".format), limit],
        ),
        "likelihood": (
            "Joint log-likelihood by importance sampling; items a second.",
            [("data", lambda row: row["task"]), METHOD, ("draws", lambda row: row["what"].removeprefix("K=")), *_RATES],
        ),
        "embed": ("Mean codes of five pictures; items a second.", [METHOD, ITEMS, *_RATES]),
        "startup": (
            "Starting up: whole processes; s.",
            [("what", lambda row: row["what"]), *_both("{:.2f}".format)],
        ),
        "memory": (
            "Peak memory of a process that trains an epoch on five pictures; MiB.",
            [METHOD, batch, *_both("{:,.0f}".format)],
        ),
    }


def table(columns: Sequence[Column], rows: Sequence[Row], notes: Notes) -> str:
    """One line a row that was measured; below them what was not, and why."""
    heads = [*(head for head, _ in columns), "beside", "ratio"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in rows:
        if "figure" in row:
            beside = f"{_peer(row)}{notes.refer(row.get('marks', ()))}"
            cells = [*(of(row) for _, of in columns), beside, _spread(row.get("ratio"), "{:.2f}".format)]
            lines.append(f"| {' | '.join(cells)} |")
    refused: dict[str, dict[str, None]] = {}
    for row in rows:
        if row.get("refused"):
            refused.setdefault(row["refused"], {})[f"{_peer(row)} {METHOD[1](row)}"] = None
    without = "; ".join(f"{', '.join(names)} ({reason})" for reason, names in refused.items())
    return "\n".join([*lines, *(["", f"Not measured: {without}."] if without else [])])


def layer_table(row: Row) -> str:
    """Every layer in the way that is quickest, all of its runs together."""
    lines = ["| layer | networks | decodes | quickest | GFLOP | ms | GFLOP/s |", "|---" * 7 + "|"]
    for one in row["layers"]:
        figures = _rates(one["operations"], one["seconds"][one["best"]])
        lines.append(f"| {one['layer']} | {one['times']} | {one['decodes']} | {one['best']} | {figures} |")
    return "\n".join([*lines, f"| all | | | | {_rates(row['operations'], row['figure']['median'])} |"])


def _rates(operations: float, seconds: float) -> str:
    return f"{operations / 1e9:.2f} | {1000 * seconds:.2f} | {operations / seconds / 1e9:.0f}"


# --- cells ------------------------------------------------------------------------------------------------------------

Form = Callable[[float], str]


def _peer(row: Row) -> str:
    return NAMES.get(row.get("peer", ""), row.get("peer", ""))


def _method(row: Row) -> str:
    draws = f", K={row['draws']}" if row.get("draws", 1) > 1 else ""
    return f"`{row['method']}`{draws}{', routes sampled' if row.get('sampled') else ''}"


METHOD: Column = ("method", _method)
ITEMS: Column = ("items", lambda row: f"{row.get('measured_items', row['items']):,}")


def _both(form: Form) -> list[Column]:
    return [
        ("Isthmus", lambda row: _spread(row.get("figure"), form)),
        ("the other", lambda row: _spread(row.get("other"), form)),
    ]


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.0f}"


def _rate(seconds: float) -> str:
    return f"{1 / seconds:,.3g}" if seconds > 0.01 else f"{1 / seconds:,.0f}"


_RATES = _both(_rate)


def _spread(values: Mapping[str, float] | None, form: Form) -> str:
    """The median, and the least and the most of the rounds."""
    if not values:
        return "-"
    ends = sorted((form(values["min"]), form(values["max"])), key=lambda text: float(text.replace(",", "")))
    return f"{form(values['median'])} ({'-'.join(ends)})"


def _share(row: Row, limits: Limits) -> str:
    """Of a step, or of all of an epoch; none is known where items have gaps."""
    limit = limits.get(_limit(row))
    if limit is None or "figure" not in row or row.get("missing"):
        return "-"
    steps = row["items"] / row["batch"] if row["section"] in ("epoch", "overhead") else 1
    return f"{steps * limit / row['figure']['median']:.2f}"


def _limit(row: Row) -> tuple[Any, ...]:
    return row.get("task", ""), row["method"], row["batch"], row.get("decodes", 0)


def _place(row: Row) -> tuple[Any, ...]:
    """Where a row stands in its table: as sections go through them, whenever it was measured."""
    method = METHODS.index(row["method"]) if row.get("method") in METHODS else -1
    size = row.get("missing", 0), -row.get("batch", 0)
    return row.get("task", ""), *size, method, row.get("draws", 1), row.get("sampled", False), row.get("what", "")
