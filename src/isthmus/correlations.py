"""Correlations between the codes of two modalities, over the items of a batch that have both.

Shapes: `n` items, `D` and `E` dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor


def canonical_correlation(first: Tensor, second: Tensor, ridge: float = 1e-4) -> Tensor:
    r"""The sum of all canonical correlations between `first (n, D)` and `second (n, E)`, a scalar.

    .. math:: \big\| \Sigma_{11}^{-1/2} \Sigma_{12} \Sigma_{22}^{-1/2} \big\|_{tr}

    Andrew et al. 2013, "Deep canonical correlation analysis", ICML, section 3.1. Covariances take `ridge` on their
    diagonal; with few items to a dimension every correlation is near one, whatever the codes say.

    Returns:
        Between zero and `min(D, E)`; zero for fewer than two items.
    """
    if len(first) < 2:
        return (first.sum() + second.sum()) * 0.0
    first, second = first - first.mean(dim=0), second - second.mean(dim=0)
    whitened = []
    for codes in (first, second):
        covariance = codes.T @ codes / (len(codes) - 1)
        eye = torch.eye(codes.shape[1], dtype=codes.dtype, device=codes.device)
        # Beside large codes the ridge is lost in rounding, and with it the factor: this much more is never lost.
        lost = 10 * torch.finfo(codes.dtype).eps * covariance.detach().trace()
        factor = torch.linalg.cholesky(covariance + (ridge + lost) * eye)
        # Any root of the inverse covariance gives the same singular values, and this one needs no eigenvectors.
        whitened.append(torch.linalg.solve_triangular(factor, codes.T, upper=False))
    return torch.linalg.svdvals(whitened[0] @ whitened[1].T / (len(first) - 1)).sum()


def correlation(first: Tensor, second: Tensor, ridge: float = 1e-8) -> Tensor:
    """Pearson's correlation of each dimension of `first (n, D)` with the same of `second`, `(D,)`.

    Args:
        first: Codes of one modality.
        second: Codes of another.
        ridge: Added to variances: a dimension that says nothing correlates with nothing.
    """
    return (_standardised(first, ridge) * _standardised(second, ridge)).sum(dim=0)


def cross_correlation(first: Tensor, second: Tensor, ridge: float = 1e-8) -> Tensor:
    """Pearson's correlation of each dimension of `first (n, D)` with each of `second (n, E)`, `(D, E)`.

    Barlow Twins (Zbontar et al. 2021, arXiv:2103.03230, eq. 2). `ridge` is as in `correlation`.
    """
    return _standardised(first, ridge).T @ _standardised(second, ridge)


def _standardised(codes: Tensor, ridge: float) -> Tensor:
    """Each dimension with mean zero and length one."""
    centred = codes - codes.mean(dim=0)
    return centred / ((centred**2).sum(dim=0) + ridge).sqrt()
