"""What a report is made of: a trained model, its table read again, and the figures that its run left behind."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from isthmus.batch import Batch, Values
from isthmus.data.prepare import Prepared
from isthmus.data.table import Table, read_table
from isthmus.estimator import Autoencoder, load
from isthmus.model import MultimodalAutoencoder
from isthmus.runs import Run

MAX_ROWS = 20_000  # what is said of the data is then a sample's, and the page says so
CHUNK = 256


@dataclass(frozen=True)
class Material:
    """A run, read.

    Args:
        model: Trained.
        prepared: Its table, or a new one; of a large table `MAX_ROWS` rows, evenly spread.
        num_rows: Of the whole table.
        metrics: Rows of `metrics.csv`; empty without one.
        evaluation: What `isthmus.evaluation.evaluate` gave; None without.
    """

    model: Autoencoder
    prepared: Prepared
    num_rows: int
    metrics: Sequence[Mapping[str, str]]
    evaluation: Mapping[str, Any] | None

    @property
    def network(self) -> MultimodalAutoencoder:
        return self.model.model

    @property
    def modalities(self) -> tuple[str, ...]:
        return tuple(self.model.kinds_)

    @property
    def keys(self) -> Sequence[str]:
        return self.prepared.keys

    @cached_property
    def presence(self) -> np.ndarray:
        """Bool `(N, M)`: which item has which modality."""
        return np.stack([self.prepared.store.present(name).numpy() for name in self.modalities], axis=1)

    def unseen(self, name: str | None = None) -> tuple[str, np.ndarray]:
        """The most honest split that has any item (with the modality `name`), and those items' rows.

        Test, else validation, else train; "" and no rows where no item has the modality.
        """
        there = np.ones(len(self.keys), dtype=bool) if name is None else self.presence[:, self.modalities.index(name)]
        for split in ("test", "validation", "train"):
            rows = np.flatnonzero((self.prepared.split == split) & there)
            if len(rows):
                return split, rows
        return "", np.array([], dtype=np.int64)

    def batch(self, rows: np.ndarray | Tensor) -> Batch:
        """Rows as the networks see them, where the networks are."""
        batch = self.prepared.batch(torch.as_tensor(rows, dtype=torch.long))
        return batch.to(self.network.device, self.network.dtype)

    def chunks(self, rows: np.ndarray) -> Iterator[Batch]:
        for part in torch.as_tensor(rows, dtype=torch.long).split(CHUNK):
            yield self.batch(part)

    def cells(self, name: str, values: Values) -> list[Any]:
        """Values as the cells a person knows."""
        schema, kind = self.model.schema_, self.model.kinds_[name]
        return [schema.restore(name, cell) for cell in kind.cells(values)] if len(values) else []


def read_material(
    run: Path, table: Any | None, evaluation: Mapping[str, Any] | None, model: Autoencoder | None
) -> Material:
    """Open a run.

    Raises:
        FileNotFoundError: No model in the folder, or its table is gone.
        ValueError: The table was never a file, or does not fit the model.
    """
    folder = Run(run)
    model = load(run) if model is None else model
    source = _own_table(folder, model) if table is None else read_table(table)
    num_rows = source.num_rows
    rows = np.linspace(0, num_rows - 1, MAX_ROWS).round().astype(int) if num_rows > MAX_ROWS else None
    evaluation = folder.read_evaluation() if evaluation is None else evaluation
    model.model.eval()
    return Material(model, model.prepare(source, rows=rows), num_rows, _read_metrics(folder.metrics), evaluation)


def _own_table(run: Run, model: Autoencoder) -> Table:
    if run.config.is_file():
        return run.read_table()
    # A folder that Autoencoder.save wrote: the model itself knows where its table was.
    source = model.made_["source"]
    if not source:
        raise ValueError(
            "This model was trained on a table that was never a file, so that it cannot be read again. Give the table: "
            "write_report(run, table)."
        )
    if not Path(source).exists():
        raise FileNotFoundError(
            f"The table that this model was trained on is no longer at '{source}'. Give it, or a new one of the same "
            "make: write_report(run, table)."
        )
    return read_table(source)


def _read_metrics(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
