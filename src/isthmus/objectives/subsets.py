"""Random parts of what each item has.

Shapes: `S` subsets, `M` modalities, `B` items.
"""

from __future__ import annotations

import torch
from torch import Tensor

from isthmus.noise import Noise


def random_subsets(present: Tensor, count: int, noise: Noise, name: str) -> Tensor:
    """Bool `(count, M, B)`: random non-empty subsets of what each item has; empty where it has nothing."""
    num_modalities, num_items = present.shape
    like = torch.empty(0, device=present.device)
    score = noise.uniform(name, num_items, count, num_modalities, like=like).permute(1, 2, 0)
    # Each modality is kept with probability one half; an empty draw falls back on one observed modality at random.
    # That makes single modalities a little likelier than uniform, which is where translation needs practice most.
    kept = (score < 0.5) & present
    fallback = torch.where(present, score, torch.inf).argmin(dim=1, keepdim=True)
    alone = torch.zeros_like(kept).scatter(1, fallback, True) & present
    return torch.where(kept.any(dim=1, keepdim=True), kept, alone)


def random_parts(present: Tensor, noise: Noise, name: str, least: int = 1, last: int | None = None) -> Tensor:
    """Bool `(M, B)`: of each item a random part of what it has, less than all wherever it has several.

    Every size is equally likely. Among all subsets of many modalities almost none is one alone, which is what
    translation starts from.

    Args:
        present: Bool `(M, B)`: what each item has.
        noise: Of the step.
        name: Of the draw.
        least: Modalities in the smallest part; with 0 a part may be empty, and that of an item with one always is.
        last: The place of a modality that is in no part which is less than all.
    """
    like = torch.empty(0, device=present.device)
    size_of, place_of = noise.uniform(name, present.shape[1], 1 + len(present), like=like).split([1, len(present)], 1)
    count = present.sum(dim=0)
    size = least + (size_of.squeeze(1) * (count - least).clamp_min(1)).long()
    order = place_of.T.clone()
    if last is not None:
        order[last] = 2.0  # behind all others, which are below one, and before those that are not there
    place = torch.where(present, order, torch.inf).argsort(dim=0).argsort(dim=0)
    return (place < size) & present
