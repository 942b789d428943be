"""A digit on five backgrounds: written digits on crops of natural photographs, after PolyMNIST (Sutter et al. 2021,
arXiv:2105.02470, section 4.2), made from pictures that come with scikit-learn and matplotlib.

Each modality has a photograph of its own, or half of one. A picture is a crop of it, in colours, whose values are
turned round where the digit is: nothing but the digit is shared, and five different instances of it are seen.

Shapes: `N` items, five modalities `(N, 3, 28, 28)`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

SIZE = 28
# Photographs are made smaller, so that a crop of 28 x 28 shows more than a patch of one colour.
SHORT_SIDE = 120


def photographs() -> dict[str, np.ndarray]:
    """By modality, `(H, W, 3)` uint8."""
    import matplotlib
    from sklearn.datasets import load_sample_images

    temple, flower = load_sample_images().images
    hopper = np.asarray(
        Image.open(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg").convert("RGB")
    )
    halves = {"temple": temple, "flower": flower}
    found = {}
    for name, picture in halves.items():
        middle = picture.shape[1] // 2
        found[f"{name}_left"], found[f"{name}_right"] = picture[:, :middle], picture[:, middle:]
    return {name: _smaller(picture) for name, picture in {**found, "portrait": hopper}.items()}


def polydigits(mnist: Path, split: str, num_items: int, seed: int = 0) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Five pictures of each of `num_items` digits, and the digits.

    Args:
        mnist: A file with `x_train`, `y_train`, `x_test` and `y_test`.
        split: "train" or "test"; they share no written digit, but the photographs.
        num_items: `N`.
        seed: Of all that is drawn.

    Returns:
        By modality, `(N, 3, 28, 28)` uint8; and labels `(N,)`.
    """
    rng = np.random.default_rng([seed, split == "test"])
    with np.load(mnist) as archive:
        written, digits = archive[f"x_{split}"], archive[f"y_{split}"]
    of_digit = [np.flatnonzero(digits == digit) for digit in range(10)]
    labels = rng.integers(0, 10, num_items)
    values = {}
    for name, photograph in photographs().items():
        shown = np.array([rng.choice(of_digit[label]) for label in labels])
        top = rng.integers(0, photograph.shape[0] - SIZE + 1, num_items)
        left = rng.integers(0, photograph.shape[1] - SIZE + 1, num_items)
        rows = top[:, None] + np.arange(SIZE), left[:, None] + np.arange(SIZE)
        crops = photograph[rows[0][:, :, None], rows[1][:, None, :]]  # (N, 28, 28, 3)
        ink = (written[shown] > 127)[..., None]
        values[name] = np.where(ink, 255 - crops, crops).transpose(0, 3, 1, 2).copy()
    return values, labels


def _smaller(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    factor = SHORT_SIDE / min(height, width)
    return np.asarray(Image.fromarray(picture).resize((round(width * factor), round(height * factor))))
