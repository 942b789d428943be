"""What was in the data: columns, gaps, and cells that could not be read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np

from isthmus.data.rejected import Rejected
from isthmus.report.figures import colour, strip
from isthmus.report.material import Material
from isthmus.report.wording import count, listed, percent

MAX_STRIP_ITEMS = 800
MAX_PATTERNS = 8
MAX_COLUMNS = 60
MAX_REJECTED = 12


@dataclass(frozen=True)
class Gaps:
    """Who has what, as a picture.

    Args:
        rows: Per modality: name, colour, strip, share of items that have it, as words.
        patterns: Commonest combinations: names that are there, share, number of items.
        num_patterns: Of all.
        pairs: Share of items that have both, `(M, M)`, 0 to 1.
    """

    rows: list[dict[str, Any]]
    patterns: list[dict[str, Any]]
    num_patterns: int
    pairs: list[list[float]]


def columns_section(material: Material) -> dict[str, Any]:
    """The table of columns, the modalities they make, and how the items were split."""
    described = material.prepared.describe()
    told = material.model.made_.get("predictability", {}) if len(material.model.kinds_) > 1 else {}
    # A group of columns has one description; said once, it is easier to read.
    modalities = [
        {
            "name": name,
            "colour": colour(number),
            "kind": kind.name,
            "columns": listed(material.model.schema_.modalities[name].columns),
            "shape": kind.describe(),
            "told": percent(told[name]) if name in told else "",
        }
        for number, (name, kind) in enumerate(material.model.kinds_.items())
    ]
    splits = {name: int((material.prepared.split == name).sum()) for name in ("train", "validation", "test")}
    return {
        "columns": [{**row, "missing": percent(row["missing"])} for row in described[:MAX_COLUMNS]],
        "num_columns": len(described),
        "modalities": modalities,
        "any_told": bool(told),
        "splits": {name: f"{number:,}" for name, number in splits.items()},
    }


def gaps(material: Material) -> Gaps:
    """The picture of what is there and what is not."""
    there, names = material.presence, material.modalities
    codes = Counter(map(tuple, there.tolist()))
    # The commonest pattern first, so that the picture falls into blocks.
    order = sorted(range(len(there)), key=lambda row: (-codes[tuple(there[row].tolist())], (~there[row]).tolist()))
    shown = order
    if len(order) > MAX_STRIP_ITEMS:
        shown = [order[i] for i in np.linspace(0, len(order) - 1, MAX_STRIP_ITEMS).round().astype(int)]
    rows = []
    for m, name in enumerate(names):
        share = float(there[:, m].mean())
        words = f"{percent(share, len(there))} of items have {name}"
        rows.append({"name": name, "colour": colour(m), "strip": strip(there[shown, m], colour(m), words)})
        rows[-1] |= {"share": percent(share, len(there)), "number": f"{int(there[:, m].sum()):,}"}
    patterns = [
        {
            "names": [name for name, has in zip(names, pattern, strict=True) if has],
            "share": percent(number / len(there), len(there)),
            "number": f"{number:,}",
        }
        for pattern, number in codes.most_common(MAX_PATTERNS)
    ]
    both = there.T.astype(float) @ there.astype(float) / len(there)
    return Gaps(rows, patterns, len(codes), both.tolist())


def rejected_section(rejected: Sequence[Rejected]) -> dict[str, Any]:
    """Cells that could not be read: how many for each column and reason, and the first few by name."""
    reasons = Counter((entry.column, entry.reason) for entry in rejected)
    listing = [
        {"column": column or "whole row", "reason": reason, "number": f"{number:,}"}
        for (column, reason), number in reasons.most_common(MAX_REJECTED)
    ]
    # The name of a file says enough; the folders above it are nobody's business whom the page is sent to.
    first = [
        {"row": f"{e.row:,}", "file": PurePath(e.file).name, "column": e.column or "whole row", "reason": e.reason}
        for e in rejected[:MAX_REJECTED]
    ]
    return {
        "total": f"{count(len(rejected), 'cell')} became {'a gap' if len(rejected) == 1 else 'gaps'}",
        "any": bool(rejected),
        "reasons": listing,
        "num_reasons": len(reasons),
        "first": first,
    }


def missing_share(material: Material) -> float:
    """Share of all cells that are gaps, a cell being one modality of one item."""
    return float(1 - material.presence.mean())


def pair_table(gaps_: Gaps) -> list[list[dict[str, Any]]]:
    """The shares of `Gaps.pairs` with their shade, 0 to 100."""
    return [[{"text": percent(share), "shade": round(100 * share)} for share in row] for row in gaps_.pairs]
