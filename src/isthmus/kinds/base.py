"""The contract of a kind of data: from a cell of a table to tensors and back.

A new kind is one file: a class with `@register_kind`. The command line, the estimator, the documentation and the
conformance suite find it by its name.
"""

from __future__ import annotations

import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from isthmus.batch import Masked, Values
from isthmus.suggest import nearest

MAX_FILE_BYTES = 2**30


class CellError(ValueError):
    """One cell cannot be read. The message is the reason that `rejected.csv` gives; the job goes on without it."""


class Kind(ABC):
    """One kind of data. Settings are keyword arguments stored under their own names; `fit` learns the rest.

    What `fit` learns is held in attributes that end in an underscore and are listed in `state_names`; together with
    the settings they are all that is saved, as JSON.
    """

    name: ClassVar[str]
    ragged: ClassVar[bool] = False
    setting_names: ClassVar[tuple[str, ...]] = ()
    state_names: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def fit(self, cells: Sequence[Any]) -> Self:
        """Learn sizes, vocabularies and scales from training cells; unreadable cells are skipped.

        Raises:
            ValueError: Not one cell could be read; the message quotes the first reason.
        """

    @abstractmethod
    def encode(self, cell: Any) -> np.ndarray:
        """One cell as a compact array, decoded once.

        Raises:
            CellError: The cell cannot be read.
        """

    @abstractmethod
    def decode(self, array: np.ndarray) -> Any:
        """One row of normalised values (a ragged row cut to its mask) as the cell a person knows."""

    @abstractmethod
    def encoder(self, width: int) -> nn.Module:
        """A network from normalised values of n rows to features `(n, F)`."""

    def tokens(self, width: int) -> nn.Module | None:
        """A network from normalised values to tokens `Masked (n, T, width)`, each made of its own part of the value.

        None, by default: the features of the encoder are then the one token.
        """
        return None

    @abstractmethod
    def decoder(self, width: int) -> nn.Module:
        """A network from `z (R, width)` to the parameters that `likelihood()` takes."""

    @abstractmethod
    def likelihood(self) -> nn.Module:
        """The head that makes a `Likelihood` of a decoder's parameters."""

    @property
    @abstractmethod
    def num_dimensions(self) -> int:
        """Data dimensions of one event, the unit of `balance="per_dimension"`."""

    @abstractmethod
    def describe(self) -> str:
        """Shape and likelihood in a few words, for the table printed before training."""

    @abstractmethod
    def html(self, cell: Any) -> str:
        """A self-contained, escaped fragment of HTML that shows one decoded cell."""

    @abstractmethod
    def write(self, cell: Any, stem: Path) -> str:
        """Write a cell to a file beside `stem` and return the file's name, or return the cell as text."""

    def collate(self, arrays: np.ndarray | Sequence[np.ndarray]) -> Values:
        """Stored arrays of n items as one tensor, padded with zeros and masked where rows are ragged."""
        if not self.ragged:
            stacked = arrays if isinstance(arrays, np.ndarray) else np.stack(arrays)
            return torch.from_numpy(np.ascontiguousarray(stacked))
        return pad(arrays)

    def normalise(self, values: Values) -> Values:
        """Stored values as the networks and likelihoods see them; runs on the device, after the transfer."""
        return values

    def corrupt(self, values: Values, uniform: Callable[..., Tensor]) -> Values:
        """Normalised values as the encoder sees them in training; targets stay whole. By default, as they are.

        A table hides some of its columns, so that codes learn to stand in for blanks.

        Args:
            values: Of `n` rows.
            uniform: `uniform(*shape)` draws `(n, *shape)` from the open interval (0, 1).
        """
        return values

    def cells(self, values: Values) -> list[Any]:
        """Normalised values as cells, one per row."""
        if not isinstance(values, Masked):
            return [self.decode(row) for row in values.detach().cpu().numpy()]
        value, mask = values.value.detach().cpu().numpy(), values.mask.cpu().numpy()
        return [self.decode(value[i][mask[i]] if self.ragged else value[i]) for i in range(len(value))]

    def drain_notes(self) -> list[tuple[str, str]]:
        """`(column, reason)` of every value left out of the last encoded cell, which could be read otherwise.

        A table row is the example: one bad number is masked and the row goes on. Whoever encodes a cell asks this
        right after, also after a `CellError`, and adds it to `rejected.csv`.
        """
        return []

    def to_config(self) -> dict[str, Any]:
        """Everything needed to build this kind again, as JSON."""
        return {
            "kind": self.name,
            "settings": {name: getattr(self, name) for name in self.setting_names},
            "state": {name: getattr(self, name) for name in self.state_names if hasattr(self, name)},
        }

    @staticmethod
    def from_config(config: dict[str, Any]) -> Kind:
        """The kind that `to_config` described."""
        kind = get_kind(config["kind"])(**config["settings"])
        for name, value in config["state"].items():
            if name not in kind.state_names:
                raise ValueError(
                    f"Kind '{kind.name}' has no state '{name}'. Was it saved by a newer version of isthmus?"
                )
            setattr(kind, name, value)
        return kind


_KINDS: dict[str, type[Kind]] = {}
K = TypeVar("K", bound=type[Kind])


def register_kind(kind: K) -> K:
    """File a kind under its name."""
    _KINDS[kind.name] = kind
    return kind


def kind_names() -> tuple[str, ...]:
    """Names of all kinds: ours, and those that installed packages bring by the entry point `isthmus.kinds`."""
    for module in iter_modules([str(Path(__file__).parent)]):
        import_module(f"isthmus.kinds.{module.name}")  # each file registers its kind; a new one needs no line here
    for entry in entry_points(group="isthmus.kinds"):
        if entry.name not in _KINDS:
            register_kind(entry.load())
    return tuple(sorted(_KINDS))


def get_kind(name: str) -> type[Kind]:
    """The class of a kind, by name.

    Raises:
        ValueError: There is no such kind; names the nearest.
    """
    names = kind_names()
    if name not in names:
        raise ValueError(f"Unknown kind '{name}'. Kinds are {', '.join(names)}.{nearest(name, names)}")
    return _KINDS[name]


def read_bytes(cell: Any, limit: int = MAX_FILE_BYTES) -> bytes:
    """The bytes of a file cell: a path to a regular file, or bytes themselves.

    Raises:
        CellError: Not found, not a regular file (a directory, a named pipe, a device), empty, or larger than `limit`.
    """
    if isinstance(cell, bytes | bytearray | memoryview):
        data = bytes(cell)
    elif isinstance(cell, str | os.PathLike):
        data = _read_file(Path(cell), limit)
    else:
        raise CellError(f"expected a path or bytes, got {type(cell).__name__}")
    if not data:
        raise CellError("file is empty")
    return data


def _read_file(path: Path, limit: int) -> bytes:
    try:
        # O_NONBLOCK: opening a named pipe would otherwise wait for a writer for ever. The type is asked of the open
        # file, so that it cannot change in between.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        raise CellError("file not found") from None
    except (OSError, ValueError) as error:
        raise CellError(f"file cannot be opened: {getattr(error, 'strerror', None) or error}") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise CellError("not a regular file (a directory, named pipe or device)")
        if status.st_size > limit:
            raise CellError(f"file of {status.st_size} bytes is larger than the limit of {limit}")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)


def pad(arrays: np.ndarray | Sequence[np.ndarray]) -> Masked:
    """Arrays `(T_i, ...)` as one `Masked (n, max T_i, ...)`, zeros behind the end of each."""
    lengths = [len(array) for array in arrays]
    length = max(lengths, default=0)
    if not lengths:
        raise ValueError("pad needs at least one array.")
    value = np.zeros((len(lengths), length, *arrays[0].shape[1:]), dtype=arrays[0].dtype)
    for row, array in zip(value, arrays, strict=True):
        row[: len(array)] = array
    mask = np.arange(length)[None, :] < np.asarray(lengths)[:, None]
    return Masked(torch.from_numpy(value), torch.from_numpy(mask))
