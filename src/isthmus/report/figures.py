"""Pictures as inline SVG, drawn in the colours of the page: light, dark and in print alike."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from isthmus.report.html import Html
from isthmus.report.wording import figure

NUM_COLOURS = 12  # --c0 .. --c11 in style.css


def colour(number: int) -> str:
    """The colour of the page with this number; they come again after the last."""
    return f"var(--c{number % NUM_COLOURS})"


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Args:
        name: In the legend.
        x: `(n,)`, ascending.
        y: `(n,)`, finite.
        colour: A CSS colour.
        dashed: Drawn with gaps.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    colour: str
    dashed: bool = False


def line_chart(
    lines: Sequence[Line], *, title: str, marks: Sequence[tuple[float, str]] = (), size: tuple[int, int] = (480, 220)
) -> Html:
    """Lines over epochs. The steep start of a training may run out of the top or bottom: what follows stays legible.

    Args:
        lines: At least one, none empty.
        title: Read out in place of the picture.
        marks: Upright lines at `x`, with a word each.
        size: Width and height; text keeps its size, so a small chart needs a small number here.
    """
    width, height = size
    left, right, top, bottom = 58, 10, 14 if marks else 6, 24
    inner_width, inner_height = width - left - right, height - top - bottom
    x_low, x_high = min(line.x[0] for line in lines), max(line.x[-1] for line in lines)
    y_low, y_high = _range(lines)
    x_unit = inner_width / max(x_high - x_low, 1e-12)
    y_unit = inner_height / (y_high - y_low)

    def x_at(x: float) -> float:
        return (x - x_low) * x_unit if x_high > x_low else inner_width / 2

    parts = []
    for tick in nice_ticks(y_low, y_high, 4):
        y = top + (y_high - tick) * y_unit
        parts.append(f'<path class="rule" d="M{left} {y:.1f}h{inner_width}"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 3.5:.1f}" text-anchor="end">{_tick(tick)}</text>')
    for tick in nice_ticks(x_low, x_high, max(2, inner_width // 80)):
        if tick == round(tick):
            anchor = f'<text x="{left + x_at(tick):.1f}" y="{height - 8}" text-anchor="middle">{tick:,.0f}</text>'
            parts.append(anchor)
    for x, word in marks:
        place = left + x_at(x)
        late = place > left + 0.6 * inner_width
        parts.append(f'<path class="mark" d="M{place:.1f} {top}v{inner_height}"/>')
        parts.append(
            f'<text class="note" x="{place + (-4 if late else 4):.1f}" y="{top - 4}" '
            f'text-anchor="{"end" if late else "start"}">{escape(word)}</text>'
        )
    drawn = []
    for line in lines:
        points = [(x_at(x), (y_high - y) * y_unit) for x, y in zip(line.x, line.y, strict=True)]
        style = f'stroke="{line.colour}"' + (' stroke-dasharray="5 3"' if line.dashed else "")
        if len(points) == 1:
            drawn.append(f'<circle cx="{points[0][0]:.1f}" cy="{points[0][1]:.1f}" r="3" fill="{line.colour}"/>')
        else:
            path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
            drawn.append(f'<path d="M{path}" fill="none" stroke-width="1.8" stroke-linejoin="round" {style}/>')
    # An inner svg cuts off what leaves its frame.
    inner = f'<svg x="{left}" y="{top}" width="{inner_width}" height="{inner_height}">{"".join(drawn)}</svg>'
    return _svg(width, height, title, "".join(parts) + inner)


def scatter(
    points: np.ndarray, groups: np.ndarray, colours: Sequence[str], titles: Sequence[str], *, title: str
) -> Html:
    """Points in the plane, coloured by group, each with words that appear under the pointer.

    Args:
        points: `(n, 2)`.
        groups: Integers `(n,)`, positions in `colours`.
        colours: CSS colours.
        titles: `n` words.
        title: Read out in place of the picture.
    """
    width, edge = 560, 12
    low, high = points.min(axis=0), points.max(axis=0)
    # As high as the points ask for, so that a flat cloud leaves no empty half.
    height = round(min(max(width * (high[1] - low[1]) / max(high[0] - low[0], 1e-9), 220), 460))
    # One unit for both axes: a distance means the same in every direction.
    unit = min((width - 2 * edge) / max(high[0] - low[0], 1e-9), (height - 2 * edge) / max(high[1] - low[1], 1e-9))
    centre = (low + high) / 2
    places = (points - centre) * unit * (1, -1) + (width / 2, height / 2)
    radius = 2.6 if len(points) > 700 else 3.6 if len(points) > 200 else 4.6
    parts = []
    for number, fill in enumerate(colours):
        circles = "".join(
            f'<circle cx="{places[i, 0]:.0f}" cy="{places[i, 1]:.0f}" r="{radius}"><title>{escape(titles[i])}</title>'
            "</circle>"
            for i in np.flatnonzero(groups == number).tolist()
        )
        parts.append(f'<g fill="{fill}">{circles}</g>')
    return _svg(width, height, title, f'<g class="points">{"".join(parts)}</g>')


def strip(there: np.ndarray, fill: str, title: str) -> Html:
    """One row of many items as a bar: coloured where an item has something. `there` is bool `(n,)`."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], there.astype(int), [0]])))
    unit = 1000 / len(there)
    runs = zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
    path = "".join(f"M{start * unit:.4g} 8h{(end - start) * unit:.4g}" for start, end in runs)
    return Html(
        f'<svg class="strip" viewBox="0 0 1000 16" preserveAspectRatio="none" role="img" aria-label="{escape(title)}">'
        f'<path d="{path}" stroke="{fill}" stroke-width="16" fill="none"/></svg>'
    )


def nice_ticks(low: float, high: float, number: int) -> list[float]:
    """About `number` round values from `low` to `high`."""
    if high <= low:
        return [low]
    raw = (high - low) / max(number, 1)
    unit = 10 ** math.floor(math.log10(raw))
    step = next(factor * unit for factor in (1, 2, 5, 10) if factor * unit >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 12) + 0.0 for i in range(first, last + 1)]


def _range(lines: Sequence[Line]) -> tuple[float, float]:
    """Lowest and highest `y`, without the first eighth of long lines, and with a little air."""
    kept = np.concatenate([np.asarray(line.y, dtype=float)[len(line.y) // 8 :] for line in lines])
    low, high = float(kept.min()), float(kept.max())
    air = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    return low - air, high + air


def _tick(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) and abs(value) < 1e6 else figure(value)


def _svg(width: int, height: int, title: str, content: str) -> Html:
    return Html(
        f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">{content}</svg>'
    )
