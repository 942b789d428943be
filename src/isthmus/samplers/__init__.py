"""Densities of codes, fitted to those of the training items: what new items are drawn from, and draws of known heed."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from isthmus.samplers.base import Sampler
from isthmus.samplers.diffusion import CodeDiffusion, Diffusion
from isthmus.samplers.flow import CodeFlow
from isthmus.samplers.mixture import CodeDensity
from isthmus.suggest import nearest

FITTED: dict[str, type[Sampler]] = {"mixture": CodeDensity, "flow": CodeFlow, "diffusion": CodeDiffusion}
SAMPLERS = (*FITTED, "prior")


def check_sampler(name: str) -> str:
    """The name itself, if a sampler has it.

    Raises:
        ValueError: None has; the message names them all.
    """
    if name not in SAMPLERS:
        raise ValueError(f"sampler='{name}' is unknown. Expected {', '.join(SAMPLERS)}.{nearest(name, SAMPLERS)}")
    return name


@torch.inference_mode(False)  # whatever the caller's mode is: some learn by gradients
def fit_samplers(name: str, codes: Tensor, observed: Tensor, seed: int) -> dict[str, Sampler]:
    """What a model is given to draw from: `density`, which draws for known items heed, too, and `sampler`, where new
    items are to be drawn from something else.

    Args:
        name: Of a sampler.
        codes: `(N, D)`, of the training items.
        observed: `(N,)`, how many modalities each has.
        seed: Of the fit.
    """
    return {part: FITTED[which].fit(codes, observed, seed) for part, which in _parts(name).items()}


def samplers_like(name: str, state: Mapping[str, Tensor]) -> dict[str, Sampler]:
    """As `fit_samplers`, to load the saved state of a model into."""
    return {
        part: FITTED[which].like({k.removeprefix(f"{part}."): v for k, v in state.items() if k.startswith(f"{part}.")})
        for part, which in _parts(name).items()
    }


def _parts(name: str) -> dict[str, str]:
    # Bayes' rule has a closed form with a mixture of Normals as the prior, and with nothing else here.
    return {} if name == "prior" else {"density": "mixture"} | ({} if name == "mixture" else {"sampler": name})


__all__ = [
    "FITTED",
    "SAMPLERS",
    "CodeDensity",
    "CodeDiffusion",
    "CodeFlow",
    "Diffusion",
    "Sampler",
    "check_sampler",
    "fit_samplers",
    "samplers_like",
]
