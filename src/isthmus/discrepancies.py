"""How far two samples are from being of one distribution.

Shapes: `n` items, `D` dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor

SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


def maximum_mean_discrepancy(first: Tensor, second: Tensor) -> Tensor:
    r"""The squared maximum mean discrepancy between two samples of `n` codes `(n, D)`, unbiased, a scalar.

    .. math:: \frac{1}{n(n-1)} \sum_{i \neq j} k(z_i, z_j) + k(y_i, y_j) - \frac{2}{n^2} \sum_{i,j} k(z_i, y_j),
        \qquad k(z, y) = \sum_s \frac{2 D s}{2 D s + \|z - y\|^2}

    WAE-MMD (Tolstikhin et al. 2018, arXiv:1711.01558, algorithm 2): the inverse multiquadratic kernel of section 4 for
    a prior of unit scale, summed over the scales 0.1 to 10 of the authors' code.

    Returns:
        Zero in the mean where both are of one distribution, so sometimes below it; zero for fewer than two items.
    """
    count = len(first)
    if count < 2:
        return (first.sum() + second.sum()) * 0.0
    others = ~torch.eye(count, dtype=torch.bool, device=first.device)
    within = (_kernel(first, first) + _kernel(second, second))[others].sum() / (count * (count - 1))
    return within - 2 * _kernel(first, second).mean()


def _kernel(first: Tensor, second: Tensor) -> Tensor:
    # Not `cdist`, whose root has no gradient where two codes are the same.
    squares = (first**2).sum(dim=1)[:, None] + (second**2).sum(dim=1) - 2 * first @ second.T
    distance = squares.clamp_min(0.0)
    width = 2 * first.shape[1]
    return torch.stack([width * scale / (width * scale + distance) for scale in SCALES]).sum(dim=0)
