"""Contrasts between the codes of two modalities of the same items: own partners against those of other items.

Shapes: `n` items, `D` dimensions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def cosines(first: Tensor, second: Tensor) -> Tensor:
    """The cosine of the angle between every code of `first (n, D)` and every one of `second (n, D)`, `(n, n)`."""
    # Near zero a code has no direction; the floor keeps its gradient in bounds.
    return F.normalize(first, dim=1, eps=1e-6) @ F.normalize(second, dim=1, eps=1e-6).T


def info_nce(first: Tensor, second: Tensor, temperature: Tensor | float) -> Tensor:
    r"""How badly each code finds its partner among those of all items, in nats, a scalar.

    .. math:: -\frac{1}{2n} \sum_i \Big( \log \frac{e^{s_{ii}}}{\sum_j e^{s_{ij}}}
        + \log \frac{e^{s_{ii}}}{\sum_j e^{s_{ji}}} \Big), \qquad s_{ij} = \cos(z_i, y_j) / \tau

    InfoNCE (van den Oord et al. 2018, arXiv:1807.03748, eq. 4) in both directions, as in CLIP (Radford et al. 2021,
    arXiv:2103.00020, figure 3).

    Returns:
        Not below zero; `log n` where codes tell nothing of their partners. `log n` minus it is a lower bound of the
        mutual information.
    """
    score = cosines(first, second) / temperature
    own = torch.arange(len(score), device=score.device)
    return 0.5 * (F.cross_entropy(score, own) + F.cross_entropy(score.T, own))


def sigmoid_contrast(first: Tensor, second: Tensor, sharpness: Tensor | float, bias: Tensor | float) -> Tensor:
    r"""How badly each pair of codes is told to be of one item or not, pair by pair, in nats by item, a scalar.

    .. math:: -\frac{1}{n} \sum_i \sum_j \log \sigma\big( y_{ij} (t \cos(z_i, y_j) + b) \big),
        \qquad y_{ij} = 1 \text{ for } i = j, \text{ else } -1

    SigLIP (Zhai et al. 2023, arXiv:2303.15343, section 3.2).
    """
    logits = sharpness * cosines(first, second) + bias
    same = 2 * torch.eye(len(logits), dtype=logits.dtype, device=logits.device) - 1
    return -F.logsigmoid(same * logits).sum() / len(logits)


def shared_information(first: Tensor, second: Tensor, alpha: float) -> Tensor:
    r"""Mutual information of the classes that soft codes stand for, and the entropy of either, in nats, a scalar.

    .. math:: I(Z_1; Z_2) + \alpha \big( H(Z_1) + H(Z_2) \big), \qquad
        P = \frac{1}{2n} \sum_i z_i y_i^T + y_i z_i^T

    COMPLETER (Lin et al. 2021, CVPR, "COMPLETER: incomplete multi-view clustering via contrastive prediction"), its
    contrastive loss with the sign turned: `P` is the joint distribution of the two classes, and the entropies keep all
    classes in use.

    Args:
        first: Soft codes `(n, D)`: shares that sum to one.
        second: As `first`, of the other modality.
        alpha: Weight of the entropies.
    """
    joint = first.T @ second / len(first)
    joint = (joint + joint.T) / 2
    either = joint.sum(dim=0)  # of both, as the joint is symmetric
    return 2 * (1 + alpha) * _entropy(either) - _entropy(joint)


def _entropy(shares: Tensor) -> Tensor:
    # A share that is rounded to zero has an entropy of zero, and a slope without end.
    return torch.special.entr(shares.clamp_min(torch.finfo(shares.dtype).eps)).sum()
