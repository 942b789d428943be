"""Checkpoints: everything a run needs to go on as if it had never stopped, one safe file each.

A checkpoint is one safetensors file: tensors by name, and where the run stands as JSON in the file's header, so that
the two can never disagree.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

KEEP = 2


def save_checkpoint(folder: Path, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> Path:
    """Write one, whole or not at all, and remove all but the last two."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{step:09d}.safetensors"
    write_tensors(path, tensors, state)
    for old in checkpoint_paths(folder)[:-KEEP]:
        old.unlink(missing_ok=True)
    return path


def load_checkpoint(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The newest that can be read, or None if there is none.

    Raises:
        ValueError: There are checkpoints, and not one can be read.
    """
    problems = []
    for path in reversed(checkpoint_paths(folder)):
        try:
            return read_tensors(path)
        except (SafetensorError, OSError, ValueError) as error:
            problems.append(f"{path.name}: {error}")
    if problems:
        raise ValueError(f"No checkpoint in {folder} can be read ({'; '.join(problems)}). Start again without resume.")
    return None


def checkpoint_paths(folder: Path) -> list[Path]:
    """From the oldest to the newest."""
    return sorted(folder.glob("step-*.safetensors"))


def write_tensors(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Tensors and JSON as one file that appears whole or not at all, also if power fails."""
    partial = path.with_name(path.name + ".partial")
    # Copies, since two names may share memory (tied weights), which the format does not hold.
    plain = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    save_file(plain, partial, metadata={"state": json.dumps(state)})
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(partial, path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `write_tensors` wrote."""
    with safe_open(path, framework="pt") as file:
        state = json.loads((file.metadata() or {})["state"])
        return {name: file.get_tensor(name) for name in file.keys()}, state  # noqa: SIM118
