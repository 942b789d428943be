"""Clustering of items with several views, complete and with gaps: one recipe for all data, beside floors.

    python benchmarks/clustering.py SHARED_DATA WORK [--data scene15 mfeat] [--rates 0 0.5] [--seeds 5] [--json]

Scene-15 (two views) and mfeat (six views). `--rates` is the share of items that lack something: exactly so many items,
drawn by the seed, lose one view of two, or one to all but one of six, any number equally likely. Every item keeps a
view, all items are clustered, and labels are held against the clusters at the very end: they are not among what is
trained on, and of them only the number of classes is used. One seed draws the mask, the weights and the k-means.

Four contenders, of which the floors need no network:

- `k-means` and `spectral` of the views themselves, standardised, each divided by the root of its dimensions, side by
  side; a view that an item lacks is the mean of the 10 nearest items that have it, by the views that both have;
- `code k-means` and `code spectral` of the codes of the recipe, `isthmus train --for clustering`: train, fill the gaps
  from the model, encode again.

k-means has 10 restarts. `spectral` is the normalised cut of Ng, Jordan & Weiss 2001 (NIPS, "On spectral clustering")
on a graph of 10 nearest neighbours, whose distances count in units of the two items' own neighbourhoods (Zelnik-Manor
& Perona 2004, NIPS, "Self-tuning spectral clustering"). Accuracy is under the best match of clusters to classes; NMI is
over the arithmetic mean of the entropies. Each row of the results is kept in WORK, so a stopped benchmark goes on;
another recipe starts anew.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix, diags
from scipy.sparse.linalg import eigsh
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.neighbors import NearestNeighbors

from isthmus import Autoencoder, recipe
from isthmus.evaluation.floors import Scaling
from isthmus.evaluation.probes import matched_accuracy

VIEWS = {"scene15": ("x0", "x1"), "mfeat": ("fou", "fac", "kar", "pix", "zer", "mor")}
RECIPE = recipe("clustering")
NUM_NEIGHBOURS = 10
SCORES = ("ACC", "NMI", "ARI")

# What is held against: DCP's own result file, five runs (Lin et al. 2022, TPAMI, "Dual contrastive prediction for
# incomplete multi-view representation learning"). For mfeat there is no figure by the same masks.
PUBLISHED = {("scene15", 0.0): (41.07, 45.11, 24.78), ("scene15", 0.5): (39.50, 42.35, 23.51)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("shared", type=Path, help="the folder with multiview/")
    parser.add_argument("work", type=Path, help="where results go")
    parser.add_argument("--data", nargs="+", default=list(VIEWS), choices=list(VIEWS))
    parser.add_argument("--rates", nargs="+", type=float, default=[0.0, 0.5])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    wanted = [(d, r, s) for s in range(arguments.seeds) for d in arguments.data for r in arguments.rates]
    rows = run_all(arguments.shared / "multiview", arguments.work / "clustering.jsonl", wanted)
    print(json.dumps(rows) if arguments.json else report(rows))


def run_all(data: Path, kept: Path, wanted: Sequence[tuple[str, float, int]]) -> list[dict[str, Any]]:
    """One row of scores for each data set, rate and seed; rows that were there already are not computed again."""
    recipe = hashlib.sha256(json.dumps(RECIPE, sort_keys=True).encode()).hexdigest()[:12]
    kept.parent.mkdir(parents=True, exist_ok=True)
    lines = kept.read_text(encoding="utf-8").splitlines() if kept.is_file() else []
    done = {(row["recipe"], row["data"], row["rate"], row["seed"]): row for row in map(json.loads, lines)}
    for name, rate, seed in wanted:
        if (recipe, name, rate, seed) in done:
            continue
        start = time.perf_counter()
        row = {"recipe": recipe, "data": name, "rate": rate, "seed": seed, **run(data / f"{name}.npz", rate, seed)}
        row["seconds"] = round(time.perf_counter() - start, 1)
        with kept.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        done[recipe, name, rate, seed] = row
    return [done[recipe, name, rate, seed] for name, rate, seed in wanted]


def run(path: Path, rate: float, seed: int) -> dict[str, Any]:
    """Accuracy, NMI and ARI of each contender, in percent."""
    with np.load(path) as arrays:
        views = [arrays[name].reshape(len(arrays["y"]), -1).astype(np.float32) for name in VIEWS[path.stem]]
        labels = arrays["y"].astype(np.int64)
    present = draw_mask(len(labels), len(views), rate, seed)
    plain, code = side_by_side(views, present), encode(views, present, seed)
    count = len(np.unique(labels))
    return {
        "k-means": score(k_means(plain, count, seed), labels),
        "spectral": score(spectral(plain, count, seed), labels),
        "code k-means": score(k_means(code, count, seed), labels),
        "code spectral": score(spectral(code, count, seed), labels),
    }


def draw_mask(num_items: int, num_views: int, rate: float, seed: int) -> np.ndarray:
    """Which item has which view, bool `(n, V)`: a share `rate` of the items, rounded, lacks one to `V - 1` views."""
    rng = np.random.default_rng(seed)
    present = np.ones((num_items, num_views), dtype=bool)
    for row in rng.permutation(num_items)[: round(num_items * rate)]:
        lost = 1 if num_views == 2 else rng.integers(1, num_views)
        present[row, rng.permutation(num_views)[:lost]] = False
    return present


def encode(views: Sequence[np.ndarray], present: np.ndarray, seed: int) -> np.ndarray:
    """Codes of a trained model, `(n, D)`: of what an item has, and of what the model makes of it where it lacks."""
    columns: dict[str, list[Any]] = {
        f"view{v}": [row if there else None for row, there in zip(view, present[:, v], strict=True)]
        for v, view in enumerate(views)
    }
    kinds = dict.fromkeys(columns, "vector")
    table = {**columns, "split": ["train"] * len(present)}
    model = Autoencoder(**RECIPE, kinds=kinds, split="split", seed=seed).fit(table)
    return model.transform(table if present.all() else model.impute(table).table)


def side_by_side(views: Sequence[np.ndarray], present: np.ndarray) -> np.ndarray:
    """Standardised views, each divided by the root of its dimensions, in one row; gaps filled by nearest neighbours."""
    num_items = len(present)
    apart, shared = np.zeros((num_items, num_items)), np.zeros((num_items, num_items))
    scaled = []
    for v, view in enumerate(views):
        there = present[:, v]
        x = np.zeros(view.shape)
        x[there] = Scaling.fit(view[there].astype(np.float64))(view[there]) / np.sqrt(view.shape[1])
        scaled.append(x)
        if not present.all():
            square, both = (x**2).sum(axis=1), np.outer(there, there)
            apart += both * (square[:, None] + square - 2 * x @ x.T)
            shared += both
    mean = np.divide(apart, shared, out=np.full(apart.shape, np.inf), where=shared > 0)
    for v, x in enumerate(scaled):
        has, lacks = np.flatnonzero(present[:, v]), np.flatnonzero(~present[:, v])
        if len(lacks):
            nearest = np.argpartition(mean[np.ix_(lacks, has)], NUM_NEIGHBOURS, axis=1)[:, :NUM_NEIGHBOURS]
            x[lacks] = x[has[nearest]].mean(axis=1)
    return np.concatenate(scaled, axis=1)


def k_means(x: np.ndarray, count: int, seed: int) -> np.ndarray:
    """The cluster of each item, `(n,)`."""
    return np.asarray(KMeans(count, n_init=10, random_state=seed).fit_predict(x))


def spectral(x: np.ndarray, count: int, seed: int) -> np.ndarray:
    """The cluster of each item, `(n,)`: k-means of leading eigenvectors of the neighbour graph, rows of length 1."""
    num_items = len(x)
    distance, neighbour = NearestNeighbors(n_neighbors=NUM_NEIGHBOURS).fit(x).kneighbors()
    reach = np.maximum(distance[:, -1], 1e-12)
    weight = np.exp(-(distance**2) / (reach[:, None] * reach[neighbour]))
    rows = np.repeat(np.arange(num_items), NUM_NEIGHBOURS)
    graph = csr_matrix((weight.ravel(), (rows, neighbour.ravel())), shape=(num_items, num_items))
    graph = (graph + graph.T) / 2
    inverse_root = diags(1 / np.sqrt(np.asarray(graph.sum(axis=1)).ravel()))
    start = np.random.default_rng(seed).normal(size=num_items)  # eigsh else draws one, and the answer is not repeatable
    _, vectors = eigsh(inverse_root @ graph @ inverse_root, k=count, v0=start)
    return k_means(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12), count, seed)


def score(clusters: np.ndarray, labels: np.ndarray) -> list[float]:
    """Accuracy, NMI and ARI in percent."""
    found = (
        matched_accuracy(clusters, labels),
        normalized_mutual_info_score(labels, clusters),
        adjusted_rand_score(labels, clusters),
    )
    return [round(100 * float(value), 2) for value in found]


def report(rows: Sequence[dict[str, Any]]) -> str:
    """A Markdown table: mean and standard deviation over seeds, one contender a row."""
    lines = [f"| data | items with gaps | | {' | '.join(SCORES)} |", "|---|---|---|" + "---|" * len(SCORES)]
    for name, rate in dict.fromkeys((row["data"], row["rate"]) for row in rows):
        group = [row for row in rows if (row["data"], row["rate"]) == (name, rate)]
        for contender in ("k-means", "spectral", "code k-means", "code spectral"):
            found = np.array([row[contender] for row in group])
            cells = [f"{m:.1f} ± {s:.1f}" for m, s in zip(found.mean(axis=0), found.std(axis=0), strict=True)]
            lines.append(f"| {name} | {rate:.0%} | {contender} | {' | '.join(cells)} |")
        if (name, rate) in PUBLISHED:
            cells = [f"{value:.1f}" for value in PUBLISHED[name, rate]]
            lines.append(f"| {name} | {rate:.0%} | DCP, published | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
