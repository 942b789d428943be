"""Markdown tables of the rows, and their place in the documentation.

Only what stands between `<!-- speed -->` and `<!-- end -->` in docs/benchmarks.md is replaced. What one has to know of
a row, a mark or a refusal, is a numbered note below its table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from peers import METHODS
from results import Row, fill_blocks

PAGE = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"
NAME = "speed"  # of the block
NAMES = {"isthmus": "Isthmus", "multivae": "MultiVae", "multiviewae": "multi-view-AE"}

Column = tuple[str, Callable[[Row], str]]
Limits = Mapping[tuple[Any, ...], float]


def fill(page: str, rows: Sequence[Row]) -> str:
    """The page with its block made from the rows."""
    return fill_blocks(page, NAME, lambda _: tables(rows))


def tables(rows: Sequence[Row]) -> str:
    """All tables, what they were made on, and the notes."""
    limits = {_limit(row): row["figure"]["median"] for row in rows if row["section"] == "floor"}
    parts, notes = [made_on(rows[-1])], Notes()
    for section, (title, columns) in layout(limits).items():
        own = sorted((row for row in rows if row["section"] == section), key=_place)
        if own:
            parts.append(f"{title}\n\n{table(columns, own, notes)}")
    for row in rows:
        if row["section"] == "floor" and row["method"] == "mvtcae":
            title = f"The limit of a step of `mvtcae`, batch {row['batch']}: its layers, each alone."
            parts.append(f"{title}\n\n{layer_table(row)}")
    return "\n\n".join([*parts, *notes.lines()])


class Notes:
    """Numbered notes, each once."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def refer(self, texts: Sequence[str]) -> str:
        return "".join(f" [{self.numbers.setdefault(text, len(self.numbers) + 1)}]" for text in texts)

    def lines(self) -> list[str]:
        return [f"[{number}] {text[0].upper()}{text[1:]}." for text, number in self.numbers.items()]


def made_on(row: Row) -> str:
    """The machine and the releases, and how to read a cell."""
    releases = ", ".join(f"{NAMES.get(name, name)} {version}" for name, version in row["releases"].items())
    return (
        f"{row['machine']}, {row['threads']} threads, Isthmus {row['isthmus']}, {releases}. Medians of interleaved "
        "rounds, least and most in brackets; the ratio is taken in each round, and above 1 Isthmus is better."
    )


def layout(limits: Limits) -> dict[str, tuple[str, list[Column]]]:
    """By section, what stands above its table, and its columns up to the ratio."""
    batch: Column = ("batch", lambda row: str(row["batch"]))
    limit: Column = ("share of the limit", lambda row: _share(row, limits))
    return {
        "step": (
            "A step: forward, backward and Adam on tensors in memory, five pictures of 3x28x28; ms. The limit is the "
            "sum of the times of its convolutions and matrix products, each alone.",
            [METHOD, batch, *_both(lambda seconds: f"{1000 * seconds:.0f}"), limit],
        ),
        "trainer": (
            "A step within an epoch of our trainer, from the store, and a bare one; ms.",
            [METHOD, batch, *_both(lambda seconds: f"{1000 * seconds:.0f}")],
        ),
        "epoch": (
            "An epoch by each library's own trainer from its own data set object, five pictures; s.",
            [METHOD, batch, ("missing", lambda row: f"{row['missing']:.0%}"), ITEMS, *_both("{:.2f}".format)],
        ),
        "overhead": (
            "An epoch of small dense networks on the six views of mfeat, by each library's own trainer; s.",
            [METHOD, batch, *_both("{:.2f}".format)],
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
    limit = limits.get(_limit(row))
    return "-" if limit is None or "figure" not in row else f"{limit / row['figure']['median']:.2f}"


def _limit(row: Row) -> tuple[Any, ...]:
    return row["method"], row["batch"], row["decodes"]


def _place(row: Row) -> tuple[Any, ...]:
    """Where a row stands in its table: as sections go through them, whenever it was measured."""
    method = METHODS.index(row["method"]) if row.get("method") in METHODS else -1
    size = row.get("missing", 0), -row.get("batch", 0)
    return row.get("task", ""), *size, method, row.get("draws", 1), row.get("sampled", False), row.get("what", "")
