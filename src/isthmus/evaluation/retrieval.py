"""Finding an item by another modality of it: recall among all test items, by exact counting.

Shapes: `n` items, `D` dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from isthmus.evaluation.floors import CCA, Ridge

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)


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
