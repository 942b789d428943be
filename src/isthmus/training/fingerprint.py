"""What a run is made of, so that a resume with other settings, another model or other data is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any

import torch
from torch import Tensor

from isthmus.data.store import Store
from isthmus.methods import Method
from isthmus.objectives.couplings import uncoupled
from isthmus.training.config import FREE_SETTINGS, TrainingConfig

Fingerprint = dict[str, Any]
_ROUNDING = ("torch", "threads", "devices")


def fingerprint(method: Method, store: Store, splits: Mapping[str, Tensor], config: TrainingConfig) -> Fingerprint:
    """As JSON: settings as they are, model, objectives and data as digests."""
    shapes = {name: tuple(tensor.shape) for name, tensor in method.model.state_dict().items()}
    phases = [
        (phase.name, phase.share, phase.passes, phase.data, phase.frozen, [_told(player) for player in phase.players])
        for phase in method.phases
    ]
    data: list[object] = [(name, rows.numpy().tobytes()) for name, rows in sorted(splits.items())]
    data += [
        (name, store.present(name).numpy().tobytes(), column.values.shape) for name, column in store.columns.items()
    ]
    return {
        "settings": {name: value for name, value in config.model_dump().items() if name not in FREE_SETTINGS},
        "model": _digest(shapes),
        "method": _digest(phases),
        "data": _digest(data),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "devices": config.devices,
    }


def check_fingerprint(found: Fingerprint, wanted: Fingerprint) -> str:
    """Raise if a checkpoint belongs to another run.

    Returns:
        What else differs and may change the last digits of the weights, in words; empty if nothing does.

    Raises:
        ValueError: Names each setting that differs, or what else does.
    """
    settings = [
        f"{name} was {found['settings'].get(name)!r} and is now {value!r}"
        for name, value in wanted["settings"].items()
        if found["settings"].get(name) != value
    ]
    others = [f"the {part} is another" for part in ("model", "method") if found[part] != wanted[part]]
    others += ["the data or their splits are others"] * (found["data"] != wanted["data"])
    if settings or others:
        raise ValueError(
            f"Cannot resume, since {'; '.join(settings + others)}. Resume with what the run was started with, or start "
            "a new one in another folder."
        )
    rounding = [
        f"{part} was {found[part]} and is now {wanted[part]}" for part in _ROUNDING if found[part] != wanted[part]
    ]
    return f"Weights may differ in their last digits: {', '.join(rounding)}." if rounding else ""


def _told(player: Any) -> str:
    objective, couplings = uncoupled(player.objective)
    # An objective that is no dataclass shows its address in memory, which says nothing of it.
    told = f"{player.parameters} {objective if is_dataclass(objective) else type(objective).__name__}"
    return f"{told} {couplings}" if couplings else told


def _digest(value: object) -> str:
    return hashlib.blake2b(repr(value).encode(), digest_size=16).hexdigest()
