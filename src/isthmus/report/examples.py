"""Cells that the model made, beside the real ones.

Shapes: `B` items, `D` latent dimensions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
import torch

from isthmus.report.code_map import groups_of
from isthmus.report.html import Html, within
from isthmus.report.material import Material
from isthmus.report.wording import figure, shortened

# Characters of fragments that each part of the page may hold.
RECONSTRUCTION_BYTES = 700_000
TRANSLATION_BYTES = 1_300_000
GENERATED_BYTES = 400_000
MISFIT_BYTES = 300_000
MAX_SCORED = 2_000
MIN_TO_COMPARE = 8
# Fragments by modality, None where there is no cell.
Cells = dict[str, Html | None]


@dataclass(frozen=True)
class Example:
    """One item: its real cells, and made ones.

    Args:
        key: Names the item.
        real: By modality.
        made: By modality.
        note: A few words on it.
    """

    key: str
    real: Cells
    made: Cells
    note: str = ""

    @property
    def size(self) -> int:
        cells = (*self.real.values(), *self.made.values())
        return sum(len(cell) for cell in cells if cell is not None)


def reconstructions(material: Material) -> dict[str, list[Example]]:
    """By modality, items rebuilt from their own cell alone."""
    number = 8 if len(material.modalities) <= 6 else 4
    budget = RECONSTRUCTION_BYTES // len(material.modalities)
    made = {name: _shown(material, name, [name], number, budget) for name in material.modalities}
    return {name: examples for name, examples in made.items() if examples}


def translations(material: Material) -> dict[str, list[Example]]:
    """By source, items with every other modality made from the source alone."""
    names = material.modalities
    if len(names) == 1:
        return {}
    number = 6 if len(names) <= 3 else max(3, 18 // len(names))
    budget = TRANSLATION_BYTES // len(names)
    made = {source: _shown(material, source, [n for n in names if n != source], number, budget) for source in names}
    return {name: examples for name, examples in made.items() if examples}


def _shown(material: Material, source: str, targets: Sequence[str], number: int, budget: int) -> list[Example]:
    """Some unseen items with the source, and the targets made from it; those of another split say so."""
    split, rows = material.unseen(source)
    note = "" if split == material.unseen()[0] else f"{split} item"
    examples = _made(material, choose(material, rows, number), [source], targets, note)
    return within(examples, budget, lambda example: example.size)


def generated(material: Material, number: int = 8) -> list[Cells]:
    """New items, all modalities of each from one code that was drawn; none if the method cannot draw any."""
    if not material.model.method_.capabilities.generative:
        return []
    kinds = material.model.kinds_
    made = material.model.generate(number, seed=material.model.training.seed)
    items: list[Cells] = [{name: Html(kinds[name].html(made[name][item])) for name in kinds} for item in range(number)]
    return within(items, GENERATED_BYTES, lambda cells: sum(len(cell or "") for cell in cells.values()))


@torch.inference_mode()
def misfits(material: Material, number: int = 6) -> tuple[list[Example], int]:
    """The items that fit worst, and among how many they were looked for.

    Each modality's log-likelihood given the code of all that the item has is compared with what is usual for that
    modality: nats of a picture and of a word cannot be compared as they are. An item is as good as its worst modality.
    """
    rank = {"test": 0, "validation": 1, "train": 2}
    known = np.flatnonzero(material.presence.any(axis=1))
    rows = np.array(sorted(known.tolist(), key=lambda row: rank[str(material.prepared.split[row])]), dtype=np.int64)
    rows = rows[:MAX_SCORED]
    there, nats = material.presence[rows], _log_likelihoods(material, rows)
    usual = np.array([float(np.median(nats[has, m])) if has.any() else 0.0 for m, has in enumerate(there.T)])
    distance = np.stack([_from_usual(nats[:, m], there[:, m]) for m in range(there.shape[1])], axis=1)
    examples = []
    for place in np.argsort(distance.min(axis=1), kind="stable")[:number].tolist():
        m = int(distance[place].argmin())
        if not distance[place, m] < 0:
            break
        name, row = material.modalities[m], rows[place]
        seen = [n for n, has in zip(material.modalities, there[place], strict=True) if has]
        (example,) = _made(material, rows[place : place + 1], seen, [name])
        note = (
            f"{name}: {figure(float(nats[place, m]))} nats, where {figure(usual[m])} is usual "
            f"({material.prepared.split[row]} item)"
        )
        examples.append(Example(example.key, {n: example.real[n] for n in seen}, example.made, note))
    return within(examples, MISFIT_BYTES, lambda e: e.size), len(rows)


def choose(material: Material, rows: np.ndarray, number: int) -> np.ndarray:
    """Rows to show: of every label in turn, those first that have most modalities. Never by how well they came out."""
    held = material.presence.sum(axis=1)
    ordered = sorted(rows.tolist(), key=lambda row: -held[row])
    groups = groups_of(material)
    queues: dict[Any, list[int]] = {}
    for row in ordered:
        queues.setdefault(groups.of_row[row] if groups is not None else None, []).append(row)
    rounds = zip_longest(*(queues[group] for group in sorted(queues, key=str)))
    dealt = [row for turn in rounds for row in turn if row is not None]
    return np.array(dealt[:number], dtype=np.int64)


@torch.inference_mode()
def _made(
    material: Material, rows: np.ndarray, sources: Sequence[str], targets: Sequence[str], note: str = ""
) -> Iterator[Example]:
    """The targets of some rows from the sources, beside all real cells, of items that have a source."""
    if not len(rows):
        return
    batch, kinds = material.batch(rows), material.model.kinds_
    made = {}
    for target in targets:
        values = material.network.translate(batch, list(sources), target)
        made[target] = [Html(kinds[target].html(cell)) for cell in material.cells(target, values)]
    real: dict[str, list[Html | None]] = {}
    for name in material.modalities:
        cells = iter(material.cells(name, batch.values[name]))
        real[name] = [Html(kinds[name].html(next(cells))) if has else None for has in batch.present[name].tolist()]
    for place, row in enumerate(rows.tolist()):
        yield Example(
            shortened(str(material.keys[row]), 40),
            {name: cells[place] for name, cells in real.items()},
            {name: cells[place] for name, cells in made.items()},
            note,
        )


def _log_likelihoods(material: Material, rows: np.ndarray) -> np.ndarray:
    """`(B, M)` nats of each modality given the code of all that the item has; zero in gaps."""
    parts = []
    for batch in material.chunks(rows):
        z = material.network.encode(batch).mean
        use = torch.ones(1, len(batch), dtype=torch.bool, device=batch.device)
        nats = [material.network.log_likelihood(name, z[None, None], use, batch)[0, 0] for name in material.modalities]
        parts.append(torch.stack(nats, dim=1).double().cpu().numpy())
    return np.concatenate(parts)


def _from_usual(nats: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Distance from the median in median deviations, `(B,)`; infinite in gaps, and where too few items have it."""
    distance = np.full(len(nats), np.inf)
    if there.sum() >= MIN_TO_COMPARE:
        centred = nats[there] - np.median(nats[there])
        distance[there] = centred / max(float(np.median(np.abs(centred))), 1e-9)
    return distance
