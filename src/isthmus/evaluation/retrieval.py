"""Finding an item by another modality of it: recall among all test items, by exact counting.

Shapes: `n` items, `D` dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from isthmus.evaluation.floors import CCA, Ridge

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)
NEARLY_ALL = 0.9
MAX_NAMED = 6


def cosine(query: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Cosine similarity of every query to every candidate, `(n, m)`."""
    return unit(query) @ unit(candidates).T


def unit(x: np.ndarray) -> np.ndarray:
    """Rows of length one; a zero row stays zero."""
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


def recall(
    query: np.ndarray, candidates: np.ndarray, ks: Sequence[int] = (1, 10), chunk: int = 512
) -> dict[int, float]:
    """Share of queries whose own candidate, in the same row, is among the `k` most similar by cosine.

    Candidates that tie, as equal captions do, count as if their order were drawn at random: with `b` better ones and
    `t` equal ones, itself included, the expected hit is `(k - b) / t`, between 0 and 1.
    """
    hits = dict.fromkeys(ks, 0.0)
    for start in range(0, len(query), chunk):
        score = cosine(query[start : start + chunk], candidates)
        own = score[np.arange(len(score)), start + np.arange(len(score))][:, None]
        # Equal inputs may differ in the last digit when they are encoded in different places of a batch.
        tied = np.abs(score - own) <= 1e-6
        better = ((score > own) & ~tied).sum(axis=1)
        for k in ks:
            hits[k] += float(((k - better) / tied.sum(axis=1)).clip(0, 1).sum())
    return {k: hit / max(len(query), 1) for k, hit in hits.items()}


def label_precision(query: np.ndarray, candidates: np.ndarray, labels: np.ndarray, chunk: int = 512) -> float:
    """Share of queries whose most similar candidate has the query's label; the mean over candidates that tie."""
    total = 0.0
    for start in range(0, len(query), chunk):
        score = cosine(query[start : start + chunk], candidates)
        top = score >= score.max(axis=1, keepdims=True) - 1e-6
        same = labels[start : start + chunk, None] == labels
        total += float(((top & same).sum(axis=1) / top.sum(axis=1)).sum())
    return total / max(len(query), 1)


def scores(query: np.ndarray, candidates: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """`r1`, `r10`, and where items have labels (not -1) `precision1`."""
    found = recall(query, candidates)
    result = {"r1": found[1], "r10": found[10]}
    known = labels >= 0
    if known.any():
        result["precision1"] = label_precision(query[known], candidates[known], labels[known])
    return result


def fit_cca(x: np.ndarray, y: np.ndarray, num_components: int) -> CCA:
    """CCA with the penalty that finds most of a held-out fifth of the training pairs."""
    held = np.arange(len(x)) % 5 == 4
    if held.sum() < 2:
        return CCA.fit(x, y, num_components, PENALTIES[-1])

    def found(penalty: float) -> float:
        cca = CCA.fit(x[~held], y[~held], num_components, penalty)
        ahead, back = cca.x(x[held]), cca.y(y[held])
        return recall(ahead, back, (10,))[10] + recall(back, ahead, (10,))[10]

    return CCA.fit(x, y, num_components, max(PENALTIES, key=found))


def floor_embeddings(
    x: np.ndarray, y: np.ndarray, query: np.ndarray, candidates: np.ndarray, num_components: int
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Comparable vectors of queries and candidates by floor: canonical variates, and ridge regression of `y` on `x`."""
    cca, ridge = fit_cca(x, y, num_components), Ridge.fit(x, y)
    return {"cca": (cca.x(query), cca.y(candidates)), "ridge": (ridge(query), candidates)}


# --- in words ---------------------------------------------------------------------------------------------------------


def at_chance(scores: Mapping[str, Any], n: int) -> bool:
    """Whether `r1` and `r10` among `n` items are no more than two standard errors above what blind guesses give."""
    chances = {"r1": 1 / n, "r10": min(10, n) / n}
    return all(scores[name] <= p + 2 * math.sqrt(p * (1 - p) / n) for name, p in chances.items())


def remarks(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """What recall by route says of the modalities, in sentences; none where there is nothing to say.

    Two things a table of numbers does not say by itself: that a route is no better than chance, and that it finds
    nearly every item although linear regression and CCA, where both were measured, find none, which a leak would
    explain.

    Args:
        entries: As in `retrieval` of what `evaluate` returns: `source`, `target`, `n`, `r1`, `r10` and `floors`.
    """
    blind = [entry for entry in entries if at_chance(entry, entry["n"])]
    too_good = [
        entry
        for entry in entries
        if entry["r1"] >= NEARLY_ALL
        and entry["floors"]
        and not at_chance(entry, entry["n"])
        and all(at_chance(floor, entry["n"]) for floor in entry["floors"].values())
    ]
    sentences = []
    if blind:
        sentences.append(
            f"No better than chance: {_routes(blind)}. Here one tells nothing of the other that this model learnt, as "
            "far as so many items can show. Where two modalities have little in common but the item, that is as it "
            "should be: a high score there would mean a leak, something that names the item in both."
        )
    if too_good:
        sentences.append(
            f"Look for a leak: {_routes(too_good)}. Nearly every item is found, and linear floors find none. Either "
            "what the two share is far from linear, or something names the item in both."
        )
    return sentences


def _routes(entries: Sequence[Mapping[str, Any]]) -> str:
    named = [
        f"{entry['source']} -> {entry['target']} ({100 * entry['r10']:.1f}% among the first 10; "
        f"chance {100 * min(10, entry['n']) / entry['n']:.1f}%)"
        for entry in entries[:MAX_NAMED]
    ]
    more = len(entries) - len(named)
    return "; ".join([*named, f"and {more} more {'route' if more == 1 else 'routes'}"] if more else named)
