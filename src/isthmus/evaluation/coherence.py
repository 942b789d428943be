"""Whether what is generated shows what it should, looks like real data, and varies as real data does.

A model that answers every seven with one mean picture of a seven is coherent; its Frechet distance and its variance
within the class tell it from a good one.

Shapes: `n` rows, `F` features.
"""

from __future__ import annotations

import numpy as np


def agreement(judged: np.ndarray, labels: np.ndarray) -> float | None:
    """Share of rows judged to be of their label; None without rows. A judge that sees no class, -1, says no."""
    return float((judged == labels).mean()) if len(labels) else None


def joint_agreement(judged: np.ndarray) -> float | None:
    """Share of items `(judges, n)` of which all judges see one and the same class."""
    if len(judged) < 2 or not judged.shape[1]:
        return None
    return float(((judged == judged[0]).all(axis=0) & (judged[0] >= 0)).mean())


def frechet_distance(x: np.ndarray, y: np.ndarray) -> float | None:
    """Frechet distance of Normals fitted to two sets of features, `(n, F)` and `(m, F)`; None below two rows.

    Heusel et al. 2017, arXiv:1706.08500, section 4, there with the features of another network.
    """
    if len(x) < 2 or len(y) < 2:
        return None
    cov_x, cov_y = (np.atleast_2d(np.cov(features.T)) for features in (x, y))
    return frechet_of_normals(x.mean(axis=0), cov_x, y.mean(axis=0), cov_y)


def frechet_of_normals(mean_x: np.ndarray, cov_x: np.ndarray, mean_y: np.ndarray, cov_y: np.ndarray) -> float:
    r"""The squared 2-Wasserstein distance of two Normals (Dowson & Landau 1982, eq. 16):

    .. math:: \|\mu_x - \mu_y\|^2 + \mathrm{tr}\big(C_x + C_y - 2 (C_x^{1/2} C_y C_x^{1/2})^{1/2}\big)

    The product is symmetric in this form, so its root is real and exact also where a covariance is singular.
    """
    root = _root(cov_x)
    cross = np.linalg.eigvalsh(root @ cov_y @ root)
    distance = ((mean_x - mean_y) ** 2).sum() + np.trace(cov_x) + np.trace(cov_y) - 2 * np.sqrt(cross.clip(0)).sum()
    return float(max(distance, 0.0))


def _root(cov: np.ndarray) -> np.ndarray:
    values, axes = np.linalg.eigh(cov)
    root: np.ndarray = (axes * np.sqrt(values.clip(0))) @ axes.T
    return root


def within_class_variance(x: np.ndarray, labels: np.ndarray) -> dict[int, float]:
    """Per class with at least two rows: the variance of its rows around their mean, summed over features."""
    classes, counts = np.unique(labels, return_counts=True)
    return {int(c): float(x[labels == c].var(axis=0, ddof=1).sum()) for c in classes[counts > 1]}


def variance_ratio(x: np.ndarray, labels: np.ndarray, real: np.ndarray, real_labels: np.ndarray) -> float | None:
    """Variance within classes of generated rows over that of real ones, in the classes that both have twice.

    Near 0 where one mean picture stands for a class, 1 where rows vary as real ones do.
    """
    generated, wanted = within_class_variance(x, labels), within_class_variance(real, real_labels)
    shared = generated.keys() & wanted.keys() - {-1}
    total = sum(wanted[c] for c in shared)
    return sum(generated[c] for c in shared) / total if total > 1e-12 else None
