"""Predictors that need no network: what every score must be held against.

All take arrays `(n, F)` and are exact linear algebra or nearest neighbours; nothing is drawn at random.

Shapes: `n` items, `p` source features, `q` target features, `k` components.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from isthmus.evaluation.features import row_chunks

# Covariances up to this width are diagonalised; wider data through the Gram matrix of as many rows.
MAX_WIDTH = 1024
VIEW_WIDTH = 256  # components that stand for a modality's plain features
PENALTIES = np.logspace(-4, 3, 15)


@dataclass(frozen=True)
class Scaling:
    """Features with mean zero on the training items, in units of their spread."""

    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def fit(cls, x: np.ndarray, same_unit: bool = False) -> Scaling:
        """`same_unit` keeps the proportions between features; else each is scaled alone, and a constant one is zero."""
        mean, spread = x.mean(axis=0), x.std(axis=0)
        if same_unit:
            spread = np.full_like(spread, np.sqrt((spread**2).mean()))
        return cls(mean, np.where(spread > 1e-9, spread, np.inf))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return (x - self.mean) / self.scale


@dataclass(frozen=True)
class PCA:
    """Principal components: `mean (F,)`, orthonormal `axes (F, k)`."""

    mean: np.ndarray
    axes: np.ndarray

    @classmethod
    def fit(cls, x: np.ndarray, num_components: int) -> PCA:
        mean = x.mean(axis=0)
        is_wide = x.shape[1] > MAX_WIDTH
        rows = x[np.linspace(0, len(x) - 1, min(len(x), MAX_WIDTH)).astype(int)] - mean if is_wide else x - mean
        values, vectors = np.linalg.eigh(rows @ rows.T if is_wide else rows.T @ rows)
        order = np.argsort(-values)[:num_components]
        order = order[values[order] > 1e-10 * max(values.max(), 1e-300)]
        if not is_wide:
            return cls(mean, vectors[:, order])
        return cls(mean, rows.T @ vectors[:, order] / np.sqrt(np.maximum(values[order], 1e-300)))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return np.concatenate([(x[rows] - self.mean) @ self.axes for rows in row_chunks(*x.shape)])

    def inverse(self, code: np.ndarray) -> np.ndarray:
        return self.mean + code @ self.axes.T


@dataclass(frozen=True)
class Components:
    """Principal components, on one scale by which the total variance of the fitted rows is one."""

    pca: PCA
    size: float

    @classmethod
    def fit(cls, x: np.ndarray, num_components: int) -> Components:
        pca = PCA.fit(x, num_components)
        return cls(pca, float(np.sqrt(max(float(pca(x).var(axis=0).sum()), 1e-12))))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return self.pca(x) / self.size


@dataclass(frozen=True)
class Ridge:
    """Linear regression with a penalty on the squared weights: `weight (p, q)`, `mean_x (p,)`, `mean_y (q,)`."""

    weight: np.ndarray
    mean_x: np.ndarray
    mean_y: np.ndarray

    @classmethod
    def fit(cls, x: np.ndarray, y: np.ndarray) -> Ridge:
        r"""The penalty with the least generalised cross-validation error (Golub, Heath & Wahba 1979, eq. 1.4):

        .. math:: \frac{n\, \|y - \hat y\|^2}{(n - \sum_i s_i^2 / (s_i^2 + \lambda))^2}

        with `s` the singular values of `x`; penalties are tried in units of their mean square.
        """
        mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
        x, y = x - mean_x, y - mean_y
        square, axes = np.linalg.eigh(x.T @ x)
        square = np.maximum(square, 0.0)
        moment = axes.T @ (x.T @ y)  # (p, q)
        power = (moment**2).sum(axis=1) / np.maximum(square, 1e-12 * max(square.max(), 1e-300))
        rest = max(float((y**2).sum() - power.sum()), 0.0)
        best, best_error = 1.0, np.inf
        for penalty in PENALTIES * max(float(square.mean()), 1e-300):
            kept = square / (square + penalty)
            # The mean costs one degree of freedom too.
            free = max(len(x) - 1 - kept.sum(), 1e-9)
            error = (rest + ((1 - kept) ** 2 * power).sum()) / free**2
            if error < best_error:
                best, best_error = penalty, error
        return cls(axes @ (moment / (square + best)[:, None]), mean_x, mean_y)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return self.mean_y + (x - self.mean_x) @ self.weight


@dataclass(frozen=True)
class CCA:
    """Canonical correlation: directions of two views, most correlated first.

    Args:
        mean_x: `(p,)`.
        mean_y: `(q,)`.
        weight_x: `(p, k)`.
        weight_y: `(q, k)`.
        correlation: `(k,)`, decreasing.
    """

    mean_x: np.ndarray
    mean_y: np.ndarray
    weight_x: np.ndarray
    weight_y: np.ndarray
    correlation: np.ndarray

    @classmethod
    def fit(cls, x: np.ndarray, y: np.ndarray, num_components: int, penalty: float = 0.0) -> CCA:
        r"""Singular vectors of :math:`C_{xx}^{-1/2} C_{xy} C_{yy}^{-1/2}` (Hardoon et al. 2004, section 3).

        `penalty` adds this multiple of the mean variance to each view's covariance; directions without variance are
        left out.
        """
        mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
        x, y = x - mean_x, y - mean_y
        white_x, white_y = _whitening(x, penalty), _whitening(y, penalty)
        left, correlation, right = np.linalg.svd(white_x.T @ (x.T @ y / len(x)) @ white_y, full_matrices=False)
        k = min(num_components, len(correlation))
        return cls(mean_x, mean_y, white_x @ left[:, :k], white_y @ right[:k].T, correlation[:k])

    def x(self, x: np.ndarray) -> np.ndarray:
        """Canonical variates of the first view, weighed by their correlations: weak ones hardly count in a distance."""
        return (x - self.mean_x) @ self.weight_x * self.correlation

    def y(self, y: np.ndarray) -> np.ndarray:
        return (y - self.mean_y) @ self.weight_y * self.correlation


def _whitening(x: np.ndarray, penalty: float) -> np.ndarray:
    values, axes = np.linalg.eigh(x.T @ x / len(x))
    there = values > 1e-10 * max(values.max(), 1e-300)
    values, axes = values[there], axes[:, there]
    return axes / np.sqrt(values + penalty * values.sum() / x.shape[1])


def nearest_rows(query: np.ndarray, candidates: np.ndarray, chunk: int = 512) -> np.ndarray:
    """The place of the Euclidean nearest candidate `(m, F)` of each query `(n, F)`; the first of equals."""
    candidates = candidates.astype(np.float32)
    square = (candidates**2).sum(axis=1)
    parts = [query[start : start + chunk].astype(np.float32) for start in range(0, len(query), chunk)]
    places = [(square - 2 * part @ candidates.T).argmin(axis=1) for part in parts]
    return np.concatenate(places) if places else np.zeros(0, dtype=np.int64)


def joined(views: Mapping[str, np.ndarray], names: Sequence[str]) -> np.ndarray:
    """Views `(n, p_m)` of total variance one, side by side, so that a wide view does not drown a narrow one."""
    return np.concatenate([views[name] for name in names], axis=1)


def fill_gaps(
    views: Mapping[str, np.ndarray],
    present: Mapping[str, np.ndarray],
    train_views: Mapping[str, np.ndarray],
    train_present: Mapping[str, np.ndarray],
    num_neighbours: int = 5,
    chunk: int = 512,
) -> dict[str, np.ndarray]:
    """Views with each gap filled by the mean of the nearest training items that have what is missing.

    Near means: least mean squared distance over the views that both have. Where no training item shares a view, the
    gap stays at the mean, which is zero.

    Args:
        views: Per modality `(n, p_m)`, zeros in gaps.
        present: Per modality, bool `(n,)`.
        train_views: As `views`, of the training items.
        train_present: As `present`.
        num_neighbours: Training items that are averaged.
        chunk: Rows compared at a time.
    """
    filled = {name: view.copy() for name, view in views.items()}
    for name in views:
        holders = train_present[name].nonzero()[0]
        missing = (~present[name]).nonzero()[0]
        others = [other for other in views if other != name]
        if not len(holders) or not others:
            continue
        count = min(num_neighbours, len(holders))
        held = {other: train_views[other][holders].astype(np.float32) for other in others}
        for start in range(0, len(missing), chunk):
            rows = missing[start : start + chunk]
            distance = np.zeros((len(rows), len(holders)), dtype=np.float32)
            shared = np.zeros_like(distance)
            for other in others:
                query = views[other][rows].astype(np.float32)
                both = np.outer(present[other][rows], train_present[other][holders]).astype(np.float32)
                square = (query**2).sum(axis=1)[:, None] + (held[other] ** 2).sum(axis=1) - 2 * query @ held[other].T
                distance += both * square
                shared += both
            distance = np.where(shared > 0, distance / np.maximum(shared, 1), np.inf)
            near = np.argpartition(distance, count - 1, axis=1)[:, :count]
            weight = np.isfinite(np.take_along_axis(distance, near, axis=1)).astype(np.float64)
            values = train_views[name][holders[near]]
            mean = (weight[..., None] * values).sum(axis=1) / np.maximum(weight.sum(axis=1), 1)[:, None]
            filled[name][rows] = mean
    return filled
