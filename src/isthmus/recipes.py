"""Named recipes: settings that were found to suit an aim, whatever the data.

    isthmus train cells.csv --for clustering
    isthmus.Autoencoder(**isthmus.recipe("clustering"))

A recipe is what one could type; a run keeps it in full in its `config.yaml`.
"""

from __future__ import annotations

import copy
from typing import Any

from isthmus.suggest import nearest

# Clusters lie between modalities: every modality's code has to tell all others, and little is asked of the prior, so
# that codes may stand apart. docs/benchmarks.md has the figures, and how it was chosen.
_RECIPES: dict[str, dict[str, Any]] = {
    "clustering": {"method": "mcvae", "options": {"beta": 0.1}, "latent_dim": 64, "epochs": 30, "batch_size": 256}
}


def list_recipes() -> list[str]:
    """Names of all recipes."""
    return sorted(_RECIPES)


def recipe(aim: str) -> dict[str, Any]:
    """Settings of `Autoencoder` for an aim.

    Raises:
        ValueError: There is no recipe of this name; the message names the nearest.
    """
    if aim not in _RECIPES:
        raise ValueError(
            f"There is no recipe for '{aim}'. Recipes are for {', '.join(_RECIPES)}.{nearest(aim, _RECIPES)}"
        )
    return copy.deepcopy(_RECIPES[aim])
