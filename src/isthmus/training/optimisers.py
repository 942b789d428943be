"""Optimisers by name, and their state as plain named tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from isthmus.training.config import TrainingConfig

_FAMILY: dict[str, Callable[..., Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
}
_FUSED = {"adam", "adamw"}


def make_optimiser(config: TrainingConfig, parameters: Mapping[str, nn.Parameter]) -> Optimizer:
    """The optimiser of one player; fused into one kernel where torch has that, else one call per operation."""
    fast: dict[str, Any] = {"fused": True} if config.optimiser in _FUSED else {"foreach": True}
    return _FAMILY[config.optimiser](
        list(parameters.values()), lr=config.learning_rate, weight_decay=config.weight_decay, **fast
    )


def optimiser_tensors(optimiser: Optimizer, parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """State as `{"<parameter>/<entry>": tensor}`; a parameter that was never stepped has none."""
    return {
        f"{name}/{entry}": value
        for name, parameter in parameters.items()
        for entry, value in optimiser.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def load_optimiser_tensors(
    optimiser: Optimizer, parameters: Mapping[str, nn.Parameter], tensors: Mapping[str, Tensor]
) -> None:
    """Put back what `optimiser_tensors` gave."""
    fused = bool(optimiser.defaults.get("fused"))
    for key, value in tensors.items():
        name, entry = key.rsplit("/", 1)
        parameter = parameters[name]
        # Counters stay on the CPU unless a fused kernel reads them.
        device = parameter.device if fused or value.dim() else torch.device("cpu")
        # Laid out in memory as the parameter is: a fused kernel walks through both side by side.
        like = parameter if value.shape == parameter.shape else value
        optimiser.state[parameter][entry] = torch.empty_like(like, dtype=value.dtype, device=device).copy_(value)
