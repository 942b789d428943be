"""Codes of two modalities vary together.

Shapes: `n` items that have both modalities of a pair, `D` latent dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from isthmus.correlations import canonical_correlation, correlation, cross_correlation
from isthmus.model import MultimodalAutoencoder
from isthmus.objectives.couplings.base import PairCoupling


@dataclass(frozen=True)
class Canonical(PairCoupling):
    """The sum of canonical correlations, with the sign turned: DCCA (Andrew et al. 2013, ICML, section 3.1). Codes need
    to tell each other by a linear map, not to be the same.

    With no more items than dimensions all correlations are one, whatever the codes say, and below twice as many some
    are: a pair with so few of a batch is left out, and a batch that is too small is refused before training.

    Args:
        ridge: Added to the diagonal of covariances.
    """

    name: ClassVar[str] = "cca"
    default_weight: ClassVar[float] = 0.01

    ridge: float = 1e-4

    def min_items(self, dimensions: int) -> int:
        return dimensions + 2

    def min_batch(self, model: MultimodalAutoencoder) -> int:
        return 2 * (model.shared_dim or model.private_dim)

    def between(self, model: MultimodalAutoencoder, first: Tensor, second: Tensor) -> Tensor:
        return -canonical_correlation(first, second, self.ridge)


@dataclass(frozen=True)
class Barlow(PairCoupling):
    r"""Barlow Twins (Zbontar et al. 2021, arXiv:2103.03230, eq. 1): each dimension of one code correlates with the same
    of the other, and with no other.

    .. math:: \sum_d (1 - C_{dd})^2 + \lambda \sum_d \sum_{e \neq d} C_{de}^2

    Args:
        redundancy: `lambda`, the weight of correlations between different dimensions.
    """

    name: ClassVar[str] = "barlow"
    default_weight: ClassVar[float] = 0.01

    redundancy: float = 0.005

    def between(self, model: MultimodalAutoencoder, first: Tensor, second: Tensor) -> Tensor:
        matrix = cross_correlation(first, second)
        same = torch.eye(len(matrix), dtype=torch.bool, device=matrix.device)
        return ((1 - matrix[same]) ** 2).sum() + self.redundancy * (matrix[~same] ** 2).sum()


@dataclass(frozen=True)
class Correlation(PairCoupling):
    """The sum of the correlations of each dimension with the same of the other code, with the sign turned: CorrNet
    (Chandar et al. 2016, arXiv:1504.07225, section 2.2).
    """

    name: ClassVar[str] = "correlation"
    default_weight: ClassVar[float] = 0.01

    def between(self, model: MultimodalAutoencoder, first: Tensor, second: Tensor) -> Tensor:
        return -correlation(first, second).sum()
