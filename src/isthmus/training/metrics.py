"""Figures of a training: means over items, `metrics.csv`, TensorBoard."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from isthmus.batch import Batch
from isthmus.objectives import Terms

Row = dict[str, Any]
_FIRST = ("epoch", "step", "phase", "split", "loss", "bound")
_LAST = ("learning_rate", "seconds")


class Sums:
    """Sums of named terms and of the items they were taken over; sums stay on the device until they are asked for."""

    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()
        self.totals = torch.zeros(0, dtype=torch.float64)
        self.counts: list[float] = []

    @torch.no_grad()
    def add(self, terms: Terms, batch: Batch, weight: float) -> None:
        """Count a batch in; `reconstruction/<modality>` counts over the items that have the modality."""
        rows = dict(terms.per_item)
        if terms.bound is not None:
            rows["bound"] = terms.bound
        # Few operations, as this is done at every step: on a small model each costs a percent of it.
        totals = torch.stack([terms.item_loss, *rows.values()]).sum(dim=1, dtype=torch.float64)
        if terms.per_batch:
            totals[0] += float(terms.batch_loss) * len(batch)
            scalars = [torch.as_tensor(value).to(totals) * len(batch) for value in terms.per_batch.values()]
            totals = torch.stack([*totals, *scalars])
        names = ("loss", *rows, *terms.per_batch)
        self._merge(names, weight * totals, [weight * self._count(name, batch) for name in names])

    def _count(self, name: str, batch: Batch) -> int:
        prefix, _, modality = name.partition("/")
        return len(batch.values[modality] if prefix == "reconstruction" and modality in batch.values else batch)

    def _merge(self, names: tuple[str, ...], totals: Tensor, counts: Sequence[float]) -> None:
        if names == self.names:
            self.totals = self.totals.to(totals) + totals
            self.counts = [a + b for a, b in zip(self.counts, counts, strict=True)]
            return
        # A term that comes and goes, as in an objective that skips what a batch does not have; or the first batch.
        known = dict(zip(self.names, zip(self.totals.to(totals), self.counts, strict=True), strict=True))
        for name, total, count in zip(names, totals, counts, strict=True):
            before, before_count = known.get(name, (torch.zeros_like(total), 0.0))
            known[name] = (before + total, before_count + count)
        self.names = tuple(known)
        self.totals = torch.stack([total for total, _ in known.values()])
        self.counts = [count for _, count in known.values()]

    def means(self) -> dict[str, float]:
        """By name; a term that no item had is left out."""
        return {name: total / count for name, (total, count) in self.to_json().items() if count}

    def to_json(self) -> dict[str, tuple[float, float]]:
        return dict(zip(self.names, zip(self.totals.tolist(), self.counts, strict=True), strict=True))

    @classmethod
    def from_json(cls, config: Mapping[str, Sequence[float]]) -> Sums:
        sums = cls()
        sums.names = tuple(config)
        sums.totals = torch.tensor([total for total, _ in config.values()], dtype=torch.float64)
        sums.counts = [count for _, count in config.values()]
        return sums

    def blank(self) -> Sums:
        """The same names, nothing counted."""
        return Sums.from_json(dict.fromkeys(self.names, (0.0, 0.0)))


class MetricsLog:
    """Rows of `metrics.csv`, in memory and, if there is a run folder, on disk after each epoch."""

    def __init__(self, path: Path | None, rows: Sequence[Row] = ()):
        self.path = path
        self.rows: list[Row] = list(rows)
        self.columns: tuple[str, ...] = ()
        self._write()

    def add(self, row: Row) -> None:
        """One more; a term seen for the first time, as in a new phase, gets a column of its own."""
        self.rows.append(row)
        if self.path is None:
            return
        if not set(row) <= set(self.columns):
            self._write()
            return
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self.columns, restval="").writerow(row)

    def _write(self) -> None:
        if self.path is None:
            return
        terms = dict.fromkeys(name for row in self.rows for name in row)
        middle = [name for name in terms if name not in (*_FIRST, *_LAST)]
        self.columns = (*_FIRST, *middle, *_LAST)
        partial = self.path.with_name(self.path.name + ".partial")
        with partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns, restval="")
            writer.writeheader()
            writer.writerows(self.rows)
        os.replace(partial, self.path)


class TensorBoardLog:
    """The same figures for TensorBoard.

    Raises:
        ImportError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path, first_step: int = 0):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ImportError('tensorboard=True needs TensorBoard. Run: pip install "isthmus[tensorboard]"') from error
        self.writer = SummaryWriter(str(folder), purge_step=first_step or None)

    def add(self, row: Row) -> None:
        for name, value in row.items():
            if name not in ("epoch", "step", "seconds") and isinstance(value, float):
                self.writer.add_scalar(f"{name}/{row['split']}", value, row["step"])
        self.writer.flush()

    def close(self) -> None:
        self.writer.close()


def compared(figures: Mapping[str, Any]) -> dict[str, float]:
    """The validation figures that tell a better epoch: the loss, and each modality's reconstruction."""
    names = [name for name in figures if name.startswith("reconstruction/")]
    return {name: float(figures[name]) for name in ("loss", *names) if figures[name] not in (None, "")}


def is_better(figures: Mapping[str, Any], best: Mapping[str, float]) -> bool:
    """Whether an epoch is better than the best so far: more modalities are reconstructed better than worse.

    Counted by modality, and not by the loss, in which one modality that is learnt by heart (a few hundred texts that
    nothing predicts) outweighs all that the others still gain. The loss decides between equal counts, and alone where
    there is one modality or none is reconstructed.
    """
    new = compared(figures)
    if not best:
        return True
    balance = sum(
        (new[name] > best[name]) - (new[name] < best[name]) for name in new if name in best and name != "loss"
    )
    return balance > 0 or (balance == 0 and new["loss"] < best["loss"])
