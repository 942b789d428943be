"""Rows of the benchmark of methods: what decides one, its hash, and the file of JSON lines that keeps them.

A row is one training, scored, or the floors of a data set. What decides its scores is its configuration, resolved to
the last default; the hash of this names the row. Where a default changes, the hash does: the row is then stale, and is
made anew.
"""

from __future__ import annotations

import fcntl
import hashlib
import inspect
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import isthmus
from isthmus.estimator import ROLES, Autoencoder
from isthmus.kinds.base import get_kind
from isthmus.methods import list_methods, method_defaults
from isthmus.training import TrainingConfig, default_epochs
from isthmus.training.config import FREE_SETTINGS

VERSION = 2  # of what is done beside the settings: raise it where scores mean something else
FLOORS = "floors"  # in the place of a method
KINDS = ("image", "audio", "text")
# How rows are scored. Judges are trained on the same seed whatever seed a method is trained on.
SCORING = {"seed": 0, "judge_steps": 1000, "judge_width": 128, "likelihood_items": 300, "likelihood_draws": 128}
# Arguments of the estimator that the data set or the row says, or that its kinds' own settings stand for.
SAID = {*ROLES, "settings", "method", "options", "couplings", "encoder", "decoder"}

Row = dict[str, Any]


@dataclass(frozen=True)
class DataSet:
    """Arguments of `data_digits.py`, and for how many epochs to train; None follows the number of items."""

    train: int
    test: int
    epochs: int | None = None
    missing: float = 0.3
    seed: int = 0

    @property
    def recipe(self) -> dict[str, Any]:
        return {"train": self.train, "test": self.test, "missing": self.missing, "seed": self.seed}

    @property
    def num_epochs(self) -> int:
        validation = self.train // 20  # as data_digits.py has it
        return self.epochs or default_epochs(self.train - validation, TrainingConfig().batch_size)


# So many epochs that most methods take less than two minutes on one core that does nothing else, and none over three.
DATA_SETS = {"digits-small": DataSet(3_000, 1_000, epochs=30), "digits": DataSet(10_000, 2_000)}


@dataclass(frozen=True)
class Wanted:
    """One row that there should be.

    Args:
        data: Name of a data set.
        method: Name of a method, or `FLOORS`.
        seed: Of the training; 0 for floors.
        options: Those of the method that are not at their defaults.
        couplings: Switched on beside the method, with their weights.
    """

    data: str
    method: str
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    couplings: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, row: Row) -> Wanted:
        """What a row was made for."""
        return cls(row["data"], row["method"], row["seed"], row["options"], row.get("couplings", {}))

    def config(self) -> dict[str, Any]:
        """All that decides the scores, as JSON holds it.

        Raises:
            KeyError: No such data set.
            ValueError: No such method.
        """
        data = DATA_SETS[self.data]
        config: dict[str, Any] = {
            "version": VERSION,
            "data": data.recipe,
            "kinds": {name: _defaults(get_kind(name)) for name in KINDS},
            "networks": {name: value for name, value in _defaults(Autoencoder).items() if name not in SAID},
            "scoring": SCORING,
        }
        if self.method != FLOORS:
            training = TrainingConfig(epochs=data.num_epochs, seed=self.seed).model_dump()
            config["method"] = self.method
            config["options"] = {**_on(method_defaults(self.method)), **self.options}
            if self.couplings:
                config["couplings"] = dict(self.couplings)
            config["training"] = {name: value for name, value in training.items() if name not in FREE_SETTINGS}
        plain: dict[str, Any] = json.loads(json.dumps(config))
        return plain

    @property
    def hash(self) -> str:
        return hash_of(self.config())

    @property
    def key(self) -> str:
        """One text for each data set, method, seed, options and couplings."""
        return json.dumps([self.data, self.method, self.seed, self.options, self.couplings], sort_keys=True)

    def describe(self) -> str:
        options = "".join(f" {name}={value}" for name, value in self.options.items())
        options += "".join(f" + {name} {weight}" for name, weight in self.couplings.items())
        return f"{self.method}{options} on {self.data}, seed {self.seed}"


def _defaults(function: Any) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    return _on({p.name: p.default for p in parameters if p.default is not p.empty})


def _on(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those that are on: a switch that comes later, and is off by default, makes no row stale."""
    return {name: value for name, value in settings.items() if value not in (None, False, ())}


def hash_of(config: Mapping[str, Any]) -> str:
    """Twelve characters that name a configuration, whatever the order of its entries."""
    text = json.dumps(config, sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def code_digest() -> str:
    """Eight characters that name the present source of the library."""
    root = Path(isthmus.__file__).parent
    digest = hashlib.blake2b(digest_size=4)
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def wanted_rows(
    data: str,
    methods: Sequence[str],
    seeds: Iterable[int],
    options: Mapping[str, Any],
    couplings: Mapping[str, float] | None = None,
) -> list[Wanted]:
    """The floors of the data set, then each method with each seed."""
    made = [Wanted(data, name, seed, options, couplings or {}) for seed in seeds for name in methods]
    return [Wanted(data, FLOORS), *made]


# --- the file ---------------------------------------------------------------------------------------------------------


def read_rows(path: Path) -> list[Row]:
    """The rows of a file, in order; none where there is no file.

    What follows the last end of a line, as a killed process leaves it, is no row.

    Raises:
        ValueError: A line is no JSON.
    """
    if not path.is_file():
        return []
    rows = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise ValueError(f"{path}, line {number}, is no JSON: {error}. Mend the line or take it out.") from None
    return rows


def append_row(path: Path, row: Row) -> None:
    """Add a row at the end; it is on the disk when this returns. A torn last line goes.

    Several processes may add rows to one file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        whole = file.read().rfind(b"\n") + 1
        file.truncate(whole)
        file.write((json.dumps(row, ensure_ascii=False) + "\n").encode())
        file.flush()
        os.fsync(file.fileno())


def in_force(rows: Iterable[Row]) -> list[Row]:
    """Of rows made for the same data set, method, seed and options, the last alone."""
    return list({Wanted.of(row).key: row for row in rows}.values())


# --- rows and the present code ----------------------------------------------------------------------------------------


def stale_rows(rows: Iterable[Row]) -> list[str]:
    """What the present code would do otherwise, in words: one line for each row whose hash is not that of today."""
    return [f"{Wanted.of(row).describe()}: {why}" for row in rows if (why := _why_stale(row))]


def _why_stale(row: Row) -> str:
    wanted = Wanted.of(row)
    if wanted.data not in DATA_SETS:
        return "there is no such data set any more"
    if wanted.method != FLOORS and wanted.method not in list_methods():
        return "there is no such method any more"
    if hash_of(row["config"]) != row["hash"]:
        return "its configuration was changed by hand"
    now = wanted.config()
    return "" if hash_of(now) == row["hash"] else "; ".join(_differences(row["config"], now))


def _differences(before: Any, now: Any, name: str = "") -> list[str]:
    """Entries that differ, by their dotted names."""
    if not isinstance(before, dict) or not isinstance(now, dict):
        return [] if before == now else [f"{name} was {json.dumps(before)} and is {json.dumps(now)}"]
    found = []
    for key in [*before, *(key for key in now if key not in before)]:
        whole = f"{name}.{key}" if name else key
        if key not in now:
            found.append(f"{whole} is gone")
        elif key not in before:
            found.append(f"{whole} is new")
        else:
            found += _differences(before[key], now[key], whole)
    return found
