"""Markdown tables of the rows of the benchmark of methods, and their place in the documentation.

Only what stands between `<!-- benchmark: DATA_SET -->` and `<!-- end -->` in docs/benchmarks.md is replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from blocks import fill_blocks
from method_rows import FLOORS, Row

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"

# Columns of a table: heading, where the figure stands in a row or what makes it of one, and its form.
Place = str | Callable[[Row], float | None]
Columns = Sequence[tuple[str, Place, str]]
ROUTES = "image->caption audio->caption image->audio audio->image caption->image caption->audio".split()
AGREE: Columns = [
    *((route.replace("->", " → "), f"scores/routes/{route}/coherence", ".1f") for route in ROUTES),
    ("new items", "scores/joint/coherence", ".1f"),
]
MAKERS = {
    "picture from sound": "routes/audio->image",
    "picture from caption": "routes/caption->image",
    "new picture": "joint/image",
    "sound from picture": "routes/image->audio",
    "sound from caption": "routes/caption->audio",
    "new sound": "joint/audio",
}
LIKE: Columns = [
    (f"{'F' if figure == 'frechet' else 'V'} {name}", f"scores/{place}/{figure}", form)
    for name, place in MAKERS.items()
    for figure, form in (("frechet", ".1f"), ("variance", ".2f"))
]
CODES: Columns = [
    *((f"digit from {name}", f"scores/probe/{name}", ".1f") for name in ("image", "audio", "caption", "all")),
    ("image → audio", "scores/retrieval/image->audio/precision1", ".1f"),
    ("audio → image", "scores/retrieval/audio->image/precision1", ".1f"),
    ("log p, nats", "scores/likelihood/nats", ",.0f"),
]


def epoch_cpu_seconds(row: Row) -> float | None:
    """Of the processor: an epoch's time on the clock, by the share of the clock that the training had it."""
    costs = row["costs"]
    if not costs.get("train_cpu_seconds"):  # a training that was stopped and went on
        return None
    return costs["epoch_seconds"] * costs["train_cpu_seconds"] / costs["train_seconds"]


def _cpu_seconds(row: Row) -> float | None:
    costs = row["costs"]
    return costs["train_cpu_seconds"] + costs["score_cpu_seconds"] if costs.get("train_cpu_seconds") else None


COST: Columns = [
    ("an epoch", epoch_cpu_seconds, ".2f"),
    ("reading, training, codes", "costs/train_cpu_seconds", ",.0f"),
    ("scoring", "costs/score_cpu_seconds", ",.0f"),
    ("in total", _cpu_seconds, ",.0f"),
    ("peak memory, MiB", "costs/train_peak_mib", ",.0f"),
]


def fill(page: str, rows: Sequence[Row]) -> str:
    """The page with every block made from the rows of its data set."""
    return fill_blocks(page, "benchmark", lambda data: tables(data, rows))


def tables(data: str, rows: Sequence[Row]) -> str:
    """All tables of one data set, methods by name, floors last."""
    own = [row for row in rows if row["data"] == data]
    floor: dict[str, Any] = next((row["scores"] for row in own if row["method"] == FLOORS), {})
    groups: dict[str, list[Row]] = {}
    for row in sorted((row for row in own if row["method"] != FLOORS), key=name_of):
        groups.setdefault(name_of(row), []).append(row)
    parts = [
        ("Draws that show the digit of their source, and new items that agree, %.", AGREE, _floors_of_routes(floor)),
        (
            "How like real ones: Frechet distance (F, in what the judge of the modality sees; lower is better) and "
            "variance within a digit over the real one (V; 1 is right).",
            LIKE,
            _floors_of_likeness(floor),
        ),
        (
            "Digit read from codes by a linear probe, and nearest code of the other modality that is of the same "
            "digit, %; likelihood of all that an item has.",
            CODES,
            _floors_of_codes(floor),
        ),
        ("What it costs: seconds of processor time, and memory in training.", COST, {}),
    ]
    return "\n\n".join(f"{title}\n\n{table(columns, groups, floors)}" for title, columns, floors in parts)


def table(columns: Columns, groups: Mapping[str, Sequence[Row]], floors: Mapping[str, Mapping[str, Any]]) -> str:
    """One line a method, with mean and standard deviation over seeds where there are several; floors by heading."""
    lines = ["| | " + " | ".join(heading for heading, _, _ in columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, rows in groups.items():
        cells = [_cell([at(row, place) for row in rows], form) for _, place, form in columns]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    for name, figures in floors.items():
        cells = [_cell([figures.get(heading)], form) for heading, _, form in columns]
        lines.append(f"| *{name}* | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _floors_of_routes(floor: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    if not floor:
        return {}
    names = {"supervised": "supervised, same pairs", "nearest": "nearest training item"}
    found = {name: {route: floor[key][route] for route in ROUTES} for key, name in names.items()}
    found["real test cells, judged"] = {route: floor["judge"][route.split("->")[1]] for route in ROUTES}
    return {
        name: {heading: figures[route] for (heading, _, _), route in zip(AGREE, ROUTES, strict=False)}
        for name, figures in found.items()
    }


def _floors_of_likeness(floor: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    if not floor:
        return {}
    made = {name: "image" if name.startswith(("picture", "new picture")) else "audio" for name in MAKERS}
    return {"real training items": {f"F {name}": floor["frechet"][modality] for name, modality in made.items()}}


def _floors_of_codes(floor: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    if not floor:
        return {}
    probes = {"logistic_raw": "raw values", "pca": "PCA", "supervised": "supervised"}
    found = {
        title: {f"digit from {name}": value for name, value in floor["probe"][key].items()}
        for key, title in probes.items()
    }
    pairs = ("image->audio", "audio->image")
    return found | {"CCA": {pair.replace("->", " → "): floor["cca"][pair]["precision1"] for pair in pairs}}


def name_of(row: Row) -> str:
    options = "".join(f" {name}={value}" for name, value in sorted(row["options"].items()))
    couplings = "".join(f" + {name} {weight}" for name, weight in sorted(row.get("couplings", {}).items()))
    return f"`{row['method']}`{options}{couplings}"


def at(row: Row, place: Place) -> float | None:
    """The figure at a path such as `scores/joint/coherence`; None where something on the way is not there."""
    if callable(place):
        return place(row)
    found: Any = row
    for name in place.split("/"):
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _cell(values: Sequence[float | None], form: str) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    spread = f" ± {stdev(known):{form}}" if len(known) > 1 else ""
    return f"{mean(known):{form}}{spread}"
