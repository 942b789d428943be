"""What a code knows of a label: read out linearly, and found without being told.

Shapes: `n` items, `D` dimensions. Labels are class numbers; -1 marks a class that training did not hold.
"""

from __future__ import annotations

import warnings

import numpy as np

from isthmus.evaluation.floors import Scaling

RAW_PENALTY = 100.0


def linear_probe(
    x: np.ndarray, labels: np.ndarray, x_test: np.ndarray, labels_test: np.ndarray, penalty: float = 1.0
) -> float | None:
    """Test accuracy of a logistic regression; None where training holds one class or a side is empty."""
    if len(np.unique(labels)) < 2 or not len(labels_test):
        return None
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        # Enough steps for the accuracy; the last digits of the weights do not matter.
        warnings.simplefilter("ignore", ConvergenceWarning)
        probe = LogisticRegression(C=1 / penalty, max_iter=200, tol=1e-3).fit(x, labels)
    return float((probe.predict(x_test) == labels_test).mean())


def code_probe(x: np.ndarray, labels: np.ndarray, x_test: np.ndarray, labels_test: np.ndarray) -> float | None:
    """As `linear_probe`, of codes whose dimensions are standardised on the training items."""
    scaled, scaled_test = standardised(x, x_test)
    return linear_probe(scaled, labels, scaled_test, labels_test)


def standardised(x: np.ndarray, x_test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both with mean zero and variance one in each dimension of the first."""
    scaling = Scaling.fit(x)
    return scaling(x), scaling(x_test)


def raw_probe(x: np.ndarray, labels: np.ndarray, x_test: np.ndarray, labels_test: np.ndarray) -> float | None:
    """As `linear_probe`, of plain features, which keep their proportions and share one scale."""
    scaling = Scaling.fit(x, same_unit=True)
    return linear_probe(scaling(x), labels, scaling(x_test), labels_test, penalty=RAW_PENALTY)


def majority(labels: np.ndarray, labels_test: np.ndarray) -> float | None:
    """Test accuracy of always naming the commonest training class."""
    if not len(labels) or not len(labels_test):
        return None
    return float((labels_test == np.bincount(labels).argmax()).mean())


def cluster(
    x: np.ndarray, x_test: np.ndarray, labels_test: np.ndarray, num_clusters: int, seed: int
) -> dict[str, float]:
    """k-means of the training vectors, held against the labels of test items: accuracy, NMI and ARI."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    means = KMeans(min(num_clusters, len(x)), n_init=10, random_state=seed).fit(x)
    found = means.predict(x_test)
    return {
        "accuracy": matched_accuracy(found, labels_test),
        "nmi": float(normalized_mutual_info_score(labels_test, found)),
        "ari": float(adjusted_rand_score(labels_test, found)),
    }


def matched_accuracy(clusters: np.ndarray, labels: np.ndarray) -> float:
    """Share of items whose cluster stands for their label, under the best one-to-one match (Kuhn 1955)."""
    from scipy.optimize import linear_sum_assignment

    names, cluster_numbers = np.unique(clusters, return_inverse=True)
    classes, label_numbers = np.unique(labels, return_inverse=True)
    table = np.zeros((len(names), len(classes)), dtype=np.int64)
    np.add.at(table, (cluster_numbers, label_numbers), 1)
    rows, columns = linear_sum_assignment(-table)
    return float(table[rows, columns].sum() / max(len(labels), 1))
