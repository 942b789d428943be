"""A run: the folder that one training leaves behind. The names of its files, and what reads and writes them.

config.yaml         what one would type to train it again
model/              the trained model; there only once training has come to its end
checkpoints/        where an unfinished training goes on
metrics.csv         losses by epoch
codes.parquet       the codes of the table that was trained on
rejected.csv        cells that could not be read
evaluation.json     scores, once `evaluate` has been asked for
report.html         once `report` has been asked for
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.data.table import Table, read_table
from isthmus.saving import write_json, write_text

if TYPE_CHECKING:
    import pyarrow as pa

    from isthmus.data.prepare import Prepared
    from isthmus.estimator import Autoencoder, Codes


class Run:
    """A run's folder, which need not be there yet.

    Args:
        folder: Its path.
    """

    def __init__(self, folder: str | os.PathLike[str]):
        self.folder = Path(folder)
        self.config = self.folder / "config.yaml"
        self.model = self.folder / "model"
        self.checkpoints = self.folder / "checkpoints"
        self.metrics = self.folder / "metrics.csv"
        self.codes = self.folder / "codes.parquet"
        self.rejected = self.folder / "rejected.csv"
        self.evaluation = self.folder / "evaluation.json"
        self.report = self.folder / "report.html"
        # Values beyond memory, for as long as training lasts.
        self.store = self.folder / "store"

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"

    @property
    def is_finished(self) -> bool:
        """Whether it holds a trained model; its `config.json` is the last file that training writes."""
        return (self.model / "config.json").is_file()

    @property
    def table(self) -> Path | None:
        """Where the table is that it was trained on, as its `config.yaml` says; None if no run wrote one."""
        import yaml

        try:
            return Path(self.read_config()["table"])
        except (KeyError, OSError, TypeError, ValueError, yaml.YAMLError):
            return None

    @property
    def is_started(self) -> bool:
        """Whether it holds anything of a run, or that is called like it."""
        return bool(self._there())

    def clear(self) -> None:
        """Remove what a run writes, and nothing else.

        Raises:
            ValueError: What is there is called as a run's files are, but no run wrote it: its `config.yaml` is missing.
        """
        if (there := self._there()) and self.table is None:
            listed = ", ".join(path.name for path in there)
            raise ValueError(
                f"'{self.folder}' holds {listed}, but not the config.yaml of a run: this may be something else, and is "
                "not replaced. Name another folder, or remove these yourself."
            )
        for path in (*self._files(), self.store):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def remove_store(self) -> None:
        """Remove values that training kept outside memory; an open store stays readable until it is closed."""
        shutil.rmtree(self.store, ignore_errors=True)

    def _files(self) -> tuple[Path, ...]:
        """All that outlasts a training: values outside memory do not, if nothing went wrong."""
        files = (self.config, self.metrics, self.codes, self.rejected, self.evaluation, self.report)
        return (*files, self.model, self.checkpoints, self.folder / "tensorboard")

    def _there(self) -> list[Path]:
        return [path for path in self._files() if path.exists()]

    # --- what was asked for ---------------------------------------------------------------------------------------

    def write_config(self, config: Mapping[str, Any], table: str | os.PathLike[str]) -> None:
        """Write `config.yaml`: the settings, and where the table is.

        Args:
            config: As `Autoencoder.to_config` gives it.
            table: Path of the table; written as an absolute one, as the run may be opened from elsewhere.
        """
        import yaml

        self.folder.mkdir(parents=True, exist_ok=True)
        whole = {"table": str(Path(table).absolute()), **config}
        write_text(self.config, yaml.safe_dump(whole, sort_keys=False, allow_unicode=True))

    def read_config(self) -> dict[str, Any]:
        """What `config.yaml` says.

        Raises:
            FileNotFoundError: There is none.
        """
        import yaml

        if not self.config.is_file():
            raise FileNotFoundError(f"'{self.folder}' is no run: there is no config.yaml in it.")
        config: dict[str, Any] = yaml.safe_load(self.config.read_text(encoding="utf-8"))
        return config

    # --- what came of it ------------------------------------------------------------------------------------------

    def load(self) -> Autoencoder:
        """The trained model.

        Raises:
            FileNotFoundError: There is none; says whether a training can go on.
        """
        from isthmus.estimator import load

        if not self.is_finished and self.checkpoints.is_dir():
            raise FileNotFoundError(
                f"Training of '{self.folder}' has not come to its end. Go on with it: "
                f"isthmus train --resume --out {self.folder}"
            )
        return load(self.folder)

    def read_table(self, table: str | os.PathLike[str] | None = None) -> Table:
        """A table: `table` if given, else the one that was trained on.

        Raises:
            FileNotFoundError: It is gone, or this run does not know it.
        """
        if table is not None:
            return read_table(table)
        if not self.config.is_file():
            raise FileNotFoundError(f"'{self.folder}' does not say which table it was trained on. Give a table.")
        own = self.read_config().get("table")
        if not own or not Path(own).exists():
            raise FileNotFoundError(f"The table of '{self.folder}', {own}, is not there any more. Give a table.")
        return read_table(own)

    def read_evaluation(self) -> dict[str, Any] | None:
        """The scores, or None if they were not asked for yet."""
        if not self.evaluation.is_file():
            return None
        scores: dict[str, Any] = json.loads(self.evaluation.read_text(encoding="utf-8"))
        return scores

    def write_evaluation(self, scores: Mapping[str, Any]) -> None:
        """Write `evaluation.json`."""
        write_json(self.evaluation, scores)


def write_codes(path: Path, codes: Codes, prepared: Prepared) -> None:
    """Write codes as Parquet, one row for each row of the table, in its order.

    Columns: the key under its own name, or `row`, the number of the row from 1; `split`; the label columns; `code`, a
    list of float32; `spread`, likewise, where the method has one; `observed`, how many modalities the row has, 0 where
    nothing could be read. A label column that is called like one of these gets an underscore behind its name.

    Args:
        path: The file, which appears whole or not at all.
        codes: Of all rows.
        prepared: The same rows.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table, schema = prepared.table, prepared.schema
    name, key = key_column(prepared)
    columns = {name: _array(key), "split": pa.array(prepared.split.tolist(), pa.string())}
    own = {"code": _lists(codes.code)}
    if codes.spread is not None:
        own["spread"] = _lists(codes.spread)
    own["observed"] = pa.array(codes.observed.astype(np.int32))
    for label in schema.labels:
        if label in table.columns:
            columns[free_name(label, (*columns, *own))] = _array(table[label])
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    pq.write_table(pa.table({**columns, **own}), partial)
    os.replace(partial, path)


def key_column(prepared: Prepared) -> tuple[str, list[Any]]:
    """What names the rows: the key column under its own name, or `row`, the number of each row from 1."""
    table, key = prepared.table, prepared.schema.key
    if key is None or key not in table.columns:
        return "row", table.row_numbers.tolist()
    cells = table[key]
    is_plain = len({type(cell) for cell in cells}) == 1 and isinstance(cells[0], str | int)
    return key, cells if is_plain else list(prepared.keys)


def free_name(name: str, taken: Iterable[str]) -> str:
    """The name, with underscores behind it if it is taken."""
    taken = set(taken)
    while name in taken:
        name += "_"
    return name


def _array(cells: Sequence[Any]) -> pa.Array:
    import pyarrow as pa

    try:
        return pa.array(cells)
    except (pa.ArrowInvalid, pa.ArrowTypeError):  # cells of several types
        return pa.array([None if cell is None else str(cell) for cell in cells], pa.string())


def _lists(rows: np.ndarray) -> pa.Array:
    import pyarrow as pa

    offsets = np.arange(len(rows) + 1, dtype=np.int32) * rows.shape[1]
    return pa.ListArray.from_arrays(offsets, pa.array(rows.astype(np.float32).ravel()))
