"""A small world to train in: two or three views of one hidden number, with gaps, and small networks for them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from isthmus.data.store import Store
from isthmus.likelihoods import NormalHead
from isthmus.methods import Method
from isthmus.methods.base import build_method
from isthmus.modality import Modality

FEATURES = {"image": 6, "audio": 4, "text": 3}


def toy_modality(features: int, width: int = 8) -> Modality:
    return Modality(
        encoder=lambda: nn.Sequential(nn.Linear(features, width), nn.Tanh()),
        decoder=lambda latent: nn.Sequential(nn.Linear(latent, width), nn.Tanh(), nn.Linear(width, features)),
        likelihood=lambda: NormalHead(),
        example=torch.zeros(2, features),
        num_dimensions=features,
    )


def toy_method(name: str = "mvtcae", seed: int = 0, latent_dim: int = 2, **options: object) -> Method:
    torch.manual_seed(seed)
    return build_method(
        name, {name: toy_modality(size) for name, size in FEATURES.items()}, latent_dim=latent_dim, options=options
    )


def toy_arrays(num_items: int = 60, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    hidden = random.normal(size=(num_items, 1))
    return {
        name: (np.tanh(hidden * random.normal(size=size)) + 0.1 * random.normal(size=(num_items, size))).astype(
            "float32"
        )
        for name, size in FEATURES.items()
    }


def toy_store(
    num_items: int = 60, missing: float = 0.3, seed: int = 0, arrays: Mapping[str, np.ndarray] | None = None
) -> Store:
    arrays = arrays or toy_arrays(num_items, seed)
    random = np.random.default_rng(seed + 1)
    present = {name: random.random(num_items) >= missing for name in arrays}
    return Store.from_arrays({name: rows[present[name]] for name, rows in arrays.items()}, present)


def toy_splits(num_items: int = 60, validation: int = 12) -> dict[str, torch.Tensor]:
    rows = torch.arange(num_items)
    return {"train": rows[validation:], "validation": rows[:validation]}
