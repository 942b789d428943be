"""How figures grow, by least squares: straight lines and exponents."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from pairs import MIXTURES
from peers import PEERS
from results import Row
from tables import NAMES

AXES = {"modalities": "M", "batch": "batch", "memory": "batch", "draws": "K", "latent": "D"}


def fit(x: Sequence[float], y: Sequence[float]) -> dict[str, float]:
    """The straight line of least squares: how much of the variance it explains, and its worst relative deviation."""
    slope, start = np.polyfit(x, y, 1)
    line = slope * np.asarray(x) + start
    rest, whole = np.asarray(y) - line, np.asarray(y) - np.mean(y)
    explained = 1 - (rest @ rest) / (whole @ whole) if whole @ whole else math.nan
    return {"slope": slope, "start": start, "r2": explained, "worst": float(np.max(np.abs(rest) / np.asarray(y)))}


def power(x: Sequence[float], y: Sequence[float]) -> float:
    """The exponent of growth: the slope of the logarithms."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def fits(rows: Sequence[Row]) -> str:
    """A table of all curves with three points or more."""
    curves: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        curves.setdefault((row["section"], row["method"], row["who"]), []).append(row)
    lines = [
        "| what | method | who | from | to | figures | line | R² | furthest off | grows as |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (section, method, who), points in sorted(curves.items()):
        points = sorted(points, key=lambda row: row["x"])
        if len(points) < 3:
            continue
        axis, unit = AXES.get(section, "items"), points[0]["unit"]
        x, y = [row["x"] for row in points], [row["figure"]["median"] for row in points]
        # All experts' draws are decoded to all modalities: the work itself is M², and is held against that.
        squared = section == "modalities" and method in MIXTURES and who in ("isthmus", *PEERS)
        made = fit([value**2 for value in x] if squared else x, y)
        line = f"{made['start']:.3g} + {made['slope']:.3g} {axis}{'²' if squared else ''} {unit}"
        figures = ", ".join(f"{value:.3g}" for value in y)
        name = ", ".join([NAMES.get(who.split(",")[0], who), *who.split(", ")[1:]])
        lines.append(
            f"| {section} | `{method}` | {name} | {x[0]} | {x[-1]} | {figures} | {line} | {made['r2']:.4f} | "
            f"{made['worst']:.0%} | {axis}^{power(x, y):.2f} |"
        )
    return "\n".join(lines)
