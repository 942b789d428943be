"""The codes as points on a page: their two widest directions.

Shapes: `n` items, `D` latent dimensions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from isthmus.report.figures import NUM_COLOURS, colour, scatter
from isthmus.report.html import Html
from isthmus.report.material import Material
from isthmus.report.wording import figure, percent, shortened

MAX_POINTS = 1200
OTHER = "var(--other)"


@dataclass(frozen=True)
class Groups:
    """What the items of a table are told apart by.

    Args:
        title: What it is.
        of_row: Group of each row, as words; "" for none.
        names: Groups with a colour of their own, in order.
    """

    title: str
    of_row: list[str]
    names: list[str]


@dataclass(frozen=True)
class Map:
    """One picture of codes: what it shows, its legend as `(name, colour, number)`, and the picture."""

    title: str
    note: str
    legend: list[tuple[str, str, str]]
    picture: Html


@dataclass(frozen=True)
class Plane:
    """The two directions in which codes vary most (PCA).

    Args:
        mean: `(D,)`.
        axes: `(D, 2)`.
        shares: Of the whole variance, along each.
    """

    mean: Tensor
    axes: Tensor
    shares: tuple[float, float]

    @classmethod
    def fit(cls, codes: Tensor) -> Plane:
        mean = codes.mean(dim=0)
        centred = codes - mean
        values, vectors = torch.linalg.eigh(centred.T @ centred / max(len(codes) - 1, 1))
        axes = vectors.flip(1)[:, :2]
        if axes.shape[1] < 2:
            axes = torch.nn.functional.pad(axes, (0, 1))
        # An axis has no sign of its own; a fixed one gives the same picture on every machine.
        largest = axes.gather(0, axes.abs().argmax(dim=0, keepdim=True))
        axes = axes * torch.where(largest < 0, -1.0, 1.0)
        shares = torch.nn.functional.pad(values.flip(0), (0, 1))[:2] / values.sum().clamp_min(1e-12)
        return cls(mean, axes, (float(shares[0]), float(shares[1])))

    def __call__(self, codes: Tensor) -> np.ndarray:
        """`(n, 2)` of codes `(n, D)`."""
        points: np.ndarray = ((codes - self.mean) @ self.axes).numpy()
        return points


@torch.inference_mode()
def code_maps(material: Material) -> tuple[list[Map], str]:
    """Maps of the codes, and a sentence on how much of them a plane can show."""
    rows = np.flatnonzero(material.presence.any(axis=1))
    if len(rows) > MAX_POINTS:
        rows = rows[np.linspace(0, len(rows) - 1, MAX_POINTS).round().astype(int)]
    if len(rows) < 3:
        return [], ""
    codes = _codes(material, rows, material.modalities)
    plane = Plane.fit(codes)
    maps = [_by_group(material, rows, plane(codes))]
    if len(material.modalities) > 1:
        maps.append(_by_source(material, rows, plane))
    width = codes.shape[1]
    across, up = (percent(share) for share in plane.shares)
    sentence = f"The two directions hold {across} and {up} of the variance of all {width}." if width > 2 else ""
    return maps, sentence


def groups_of(material: Material) -> Groups | None:
    """The label, or the first column of categories, as groups of rows; None where there is neither."""
    schema, table = material.model.schema_, material.prepared.table
    used = {name for plan in schema.modalities.values() for name in plan.columns}
    seen = [column.name for column in schema.columns if column.kind == "category" and column.name in used]
    for name in (*schema.labels, *seen):
        if name in table.columns:
            cells = ["" if cell is None else shortened(str(cell), 30) for cell in table[name]]
            return _grouped(name, cells)
    return None


def _grouped(title: str, cells: Sequence[str]) -> Groups:
    """Groups by equal words; numbers of many values fall into fifths."""
    counts = Counter(cell for cell in cells if cell)
    if len(counts) > NUM_COLOURS and (numbers := _numbers(cells)) is not None:
        known = numbers[~np.isnan(numbers)]
        edges = np.unique(np.quantile(known, [0, 0.2, 0.4, 0.6, 0.8, 1]))
        if len(edges) > 1:
            names = [f"{figure(low)} to {figure(high)}" for low, high in pairwise(edges.tolist())]
            part = np.searchsorted(edges[1:-1], numbers, side="left")
            named = ["" if np.isnan(x) else names[p] for x, p in zip(numbers, part.tolist(), strict=True)]
            return Groups(title, named, names)
    names = [name for name, _ in counts.most_common(NUM_COLOURS)]
    return Groups(title, list(cells), sorted(names, key=lambda name: (_number(name), name)))


def _numbers(cells: Sequence[str]) -> np.ndarray | None:
    numbers = np.array([_number(cell) if cell else np.nan for cell in cells])
    return None if np.isinf(numbers).any() else numbers


def _number(text: str) -> float:
    """The number that a text is; infinity for one that is none, to sort it behind all numbers."""
    try:
        number = float(text)
    except ValueError:
        return np.inf
    return number if np.isfinite(number) else np.inf


def _by_group(material: Material, rows: np.ndarray, points: np.ndarray) -> Map:
    groups = groups_of(material)
    if groups is None:
        names = np.array(material.modalities)
        patterns = [shortened(" + ".join(names[has]), 50) for has in material.presence]
        groups = _grouped("what each item has", patterns)
    of_row = [groups.of_row[row] for row in rows]
    place = {name: number for number, name in enumerate(groups.names)}
    numbers = np.array([place.get(name, len(place)) for name in of_row])
    titles = [f"{material.keys[row]}: {name or 'no value'}" for row, name in zip(rows, of_row, strict=True)]
    legend = [
        (name, colour(number), f"{int((numbers == number).sum()):,}")
        for name, number in place.items()
        if (numbers == number).any()
    ]
    if (numbers == len(place)).any():
        legend.append(("all else", OTHER, f"{int((numbers == len(place)).sum()):,}"))
    # The grey ones are drawn first and lie below.
    order = np.argsort(numbers != len(place), kind="stable")
    colours = [OTHER, *(colour(number) for number in range(len(place)))]
    picture = scatter(
        points[order],
        (numbers[order] + 1) % (len(place) + 1),
        colours,
        [titles[i] for i in order],
        title=f"Codes of {len(rows)} items, coloured by {groups.title}",
    )
    note = f"{len(rows):,} items, each from all that it has."
    if groups.title in material.model.schema_.labels:
        note += f" The model was never shown ‘{groups.title}’."
    return Map(f"Coloured by {groups.title}", note, legend, picture)


def _by_source(material: Material, rows: np.ndarray, plane: Plane) -> Map:
    points, numbers, titles, legend = [], [], [], []
    share = rows[:: max(1, len(material.modalities) * len(rows) // MAX_POINTS)]
    for m, name in enumerate(material.modalities):
        own = share[material.presence[share, m]]
        if len(own):
            points.append(plane(_codes(material, own, (name,))))
            numbers += [m] * len(own)
            titles += [f"{material.keys[row]} from {name}" for row in own]
            legend.append((name, colour(m), f"{len(own):,}"))
    colours = [colour(m) for m in range(len(material.modalities))]
    title = "Codes of items from each modality alone, coloured by modality"
    picture = scatter(np.concatenate(points), np.array(numbers), colours, titles, title=title)
    note = "Each point is an item seen through one modality alone. Colours that mix share one code; islands do not."
    return Map("Coloured by the modality that was seen", note, legend, picture)


def _codes(material: Material, rows: np.ndarray, sources: Sequence[str]) -> Tensor:
    """Mean codes `(n, D)` from the sources, of what modalities share, double, on the CPU."""
    network = material.network
    parts = [network.shared(network.encode(batch.only(*sources)).mean) for batch in material.chunks(rows)]
    return torch.cat(parts).double().cpu()
