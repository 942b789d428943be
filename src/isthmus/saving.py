"""A model as a folder: `config.json`, `weights.safetensors` and a card. Plain tensors and JSON, nothing that runs.

No import path is ever written: a model with a module of the user's own is opened by giving that module again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from isthmus.batch import Masked, Values

FORMAT_VERSION = 1


def write_text(path: Path, text: str) -> None:
    """Write a text file that appears whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


def write_json(path: Path, value: Any) -> None:
    """Write JSON that appears whole or not at all."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1) + "\n")


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write plain tensors, whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, partial)
    os.replace(partial, path)


def write_model(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor], card: str) -> None:
    """Write a model's folder; the configuration comes last, so a folder that has one is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    save_tensors(folder / "weights.safetensors", tensors)
    write_text(folder / "README.md", card)
    write_json(folder / "config.json", {"format": FORMAT_VERSION, **config})


def read_model(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The configuration and tensors of a model's folder.

    Raises:
        FileNotFoundError: It is no model's folder.
        ValueError: It was written by a newer format.
    """
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(
            f"'{folder}' holds no model: there is no config.json in it. Expected the folder of a run that was trained "
            "to its end, or one that Autoencoder.save wrote."
        )
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if config.get("format") != FORMAT_VERSION:
        raise ValueError(
            f"'{folder}' has format {config.get('format')}, and this version of isthmus reads {FORMAT_VERSION}. "
            "Install the version that wrote it, or train again."
        )
    return config, load_file(folder / "weights.safetensors")


def pack(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def unpack(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    start = f"{prefix}/"
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}


def pack_values(name: str, values: Values) -> dict[str, Tensor]:
    if isinstance(values, Masked):
        return {f"{name}/value": values.value, f"{name}/mask": values.mask}
    return {f"{name}/value": values}


def unpack_values(name: str, tensors: Mapping[str, Tensor]) -> Values:
    value, mask = tensors[f"{name}/value"], tensors.get(f"{name}/mask")
    return value if mask is None else Masked(value, mask)


def load_weights(model: nn.Module, state: Mapping[str, Tensor], custom: Mapping[str, list[str]]) -> None:
    """Load weights, naming what does not fit.

    Args:
        model: Built again.
        state: Saved weights.
        custom: Names of modalities whose "encoder" or "decoder" is the user's own.

    Raises:
        ValueError: Keys or shapes differ; the message shows the first few, and the call that is expected.
    """
    own = model.state_dict()
    wrong = [f"{key}: missing in the file" for key in own if key not in state]
    wrong += [f"{key}: not in this model" for key in state if key not in own]
    wrong += [
        f"{key}: {tuple(state[key].shape)} in the file, {tuple(own[key].shape)} in this model"
        for key in own
        if key in state and own[key].shape != state[key].shape
    ]
    if wrong:
        shown = "\n".join(f"  {line}" for line in wrong[:5])
        hint = ""
        if any(custom.values()):
            hint = f"\nThis model was trained with modules of your own. Build them as then: {load_call(custom)}"
        raise ValueError(f"{len(wrong)} weights do not fit this model:\n{shown}{hint}")
    model.load_state_dict({key: value.to(own[key].dtype) for key, value in state.items()})


def load_call(custom: Mapping[str, list[str]]) -> str:
    """The call that opens a model with modules of the user's own."""
    arguments = [
        f"{part}={{{', '.join(f'{name!r}: <module>' for name in names)}}}" for part, names in custom.items() if names
    ]
    return f"isthmus.load(path, {', '.join(arguments)})"


def default_device() -> torch.device:
    """A CUDA device if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
