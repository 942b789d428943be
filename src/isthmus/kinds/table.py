"""Rows of a table: numbers, counts, categories and dates side by side, with blanks."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from isthmus.batch import Masked, Values
from isthmus.kinds.base import CellError, Kind, register_kind
from isthmus.kinds.columns import COLUMN_TYPES, Column, in_network_order, is_blank, read_number
from isthmus.likelihoods_table import TableHead
from isthmus.networks.dense import DenseDecoder
from isthmus.networks.tabular import TableEncoder
from isthmus.networks.tokens import ColumnTokens
from isthmus.suggest import nearest

_SETTABLE_TYPES = ("number", "category", *COLUMN_TYPES)


@register_kind
class TableKind(Kind):
    """A cell is a row: a dict from column name to value, where None, an empty string or a name left out is a blank.

    Numbers are told apart by their training values: two values are `binary`; whole numbers from zero to 100,000 are
    `count`; positive ones that reach over a factor of ten (5th to 95th percentile) and are less skewed on a
    logarithmic scale are `log_normal`, also where up to one in a hundred is not positive; the rest is `normal`.
    Categories are `binary` or `categorical`. Dates (`date`, `datetime`, or text in ISO 8601) count days, or the longest
    shorter unit that all training dates fill, down to a second. `overrides` has the last word.

    What happens to the odd cell:

    - a blank is masked: no number stands for it in an encoder or a likelihood;
    - a word in a column of numbers, NaN, infinity, a value that the type forbids (zero in a `log_normal` column) and a
      category that no training row had are masked like a blank, and `drain_notes` tells of them;
    - a row of which nothing is left is a `CellError`;
    - a column that is blank, unreadable or constant in training is left out; `dropped_` says which and why;
    - columns of a new table that training did not know are not looked at.

    Cells come back in their own units and types: whole numbers as int, others rounded to the decimals seen in
    training, categories exactly as they were, dates as what they were (time zones brought to UTC). Numbers pass
    through float32, which holds seven digits.

    Args:
        columns: `[{"name": "wing_mm", "type": "number"}, ...]`, the types "number", "category", "date" or a settled
            one such as "count". None takes every column of the training cells and tells numbers from categories.
        overrides: Column name to type, over `columns` and over what the values say.
        num_blocks: Residual blocks of each network.
        hide: Share of the cells that the encoder does not see in training, though the decoder must give them.

    Raises:
        ValueError: Unknown type, `hide` outside [0, 1), or `overrides` names no column.
    """

    name = "table"
    setting_names = ("columns", "overrides", "num_blocks", "hide")
    state_names = ("columns_", "dropped_")

    def __init__(
        self,
        *,
        columns: Sequence[Mapping[str, str]] | None = None,
        overrides: Mapping[str, str] | None = None,
        num_blocks: int = 2,
        hide: float = 0.3,
    ):
        if not 0 <= hide < 1:
            raise ValueError(f"Table setting hide={hide!r} is no share. Expected 0 <= hide < 1.")
        self.columns = columns
        self.overrides = overrides
        self.num_blocks = num_blocks
        self.hide = hide
        self._notes: list[tuple[str, str]] = []
        types = {column["name"]: column["type"] for column in columns or ()}
        for name, type in {**types, **(overrides or {})}.items():
            if type not in _SETTABLE_TYPES:
                raise ValueError(
                    f"Column '{name}' was given type '{type}'. Expected one of {', '.join(_SETTABLE_TYPES)}."
                    f"{nearest(type, _SETTABLE_TYPES)}"
                )
        if columns is not None:
            self._check_overrides(types)

    @property
    def columns_(self) -> list[dict[str, Any]]:
        return [column.to_config() for column in self._columns]

    @columns_.setter
    def columns_(self, configs: Sequence[Mapping[str, Any]]) -> None:
        self._columns = [Column(**config) for config in configs]

    def fit(self, cells: Sequence[Any]) -> Self:
        rows = [cell for cell in cells if isinstance(cell, Mapping)]
        types = self._types(rows)
        fitted, self.dropped_ = [], {}
        for place, (name, type) in enumerate(types.items()):
            there = [row[name] for row in rows if not is_blank(row.get(name))]
            column = Column.fit(name, type, place, there)
            if isinstance(column, Column):
                fitted.append(column)
            else:
                self.dropped_[name] = column
        if not fitted:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in self.dropped_.items())
            raise ValueError(
                f"No column of this table can be learnt from {len(rows)} training rows ({reasons or 'no columns'}). "
                "Expected at least one column with two different values."
            )
        self._columns = in_network_order(fitted)
        return self

    def encode(self, cell: Any) -> np.ndarray:
        """A row as float32 `(2, C)`: values, and 1 where there is one."""
        self._notes = []
        if not isinstance(cell, Mapping):
            if isinstance(cell, list | tuple | np.ndarray | set) or len(self._columns) != 1:
                raise CellError(f"expected a row, a dict from column to value, got {type(cell).__name__}")
            cell = {self._columns[0].name: cell}
        row = np.zeros((2, len(self._columns)), dtype=np.float32)
        for place, column in enumerate(self._columns):
            value = cell.get(column.name)
            if is_blank(value):
                continue
            try:
                row[:, place] = column.read(value), 1.0
            except CellError as error:
                self._notes.append((column.name, str(error)))
        if not row[1].any():
            reasons = "; ".join(f"{name}: {reason}" for name, reason in self._notes)
            raise CellError(f"no column of this row can be read ({reasons})" if reasons else "every column is blank")
        return row

    def drain_notes(self) -> list[tuple[str, str]]:
        notes, self._notes = self._notes, []
        return notes

    def collate(self, arrays: np.ndarray | Sequence[np.ndarray]) -> Masked:
        stacked = torch.from_numpy(np.asarray(arrays, dtype=np.float32).reshape(-1, 2, len(self._columns)))
        return Masked(stacked[:, 0].contiguous(), stacked[:, 1] > 0)

    def normalise(self, values: Values) -> Values:
        return values.to(dtype=torch.get_default_dtype())

    def corrupt(self, values: Values, uniform: Callable[..., Tensor]) -> Masked:
        """Hide each column of a row with probability `hide`, so that the code learns to stand in for blanks."""
        assert isinstance(values, Masked)
        kept = values.mask & (uniform(values.mask.shape[1]) >= self.hide)
        # A row of which all would be hidden is shown whole.
        return Masked(values.value, torch.where(kept.any(dim=1, keepdim=True), kept, values.mask))

    def decode(self, array: np.ndarray) -> dict[str, Any]:
        """`(C,)` normalised values as a row, columns in the order of the table."""
        return self._row(array, np.ones(len(self._columns), dtype=bool))

    def cells(self, values: Values) -> list[dict[str, Any]]:
        """Rows as dicts; a blank is None."""
        if not isinstance(values, Masked):
            return [self.decode(row) for row in values.detach().cpu().numpy()]
        value, mask = values.value.detach().cpu().numpy(), values.mask.cpu().numpy()
        return [self._row(row, there) for row, there in zip(value, mask, strict=True)]

    @property
    def column_names(self) -> tuple[str, ...]:
        """Columns that are learnt, in the order of the `C` axis: numbers, counts, binary, categorical ones."""
        return tuple(column.name for column in self._columns)

    def column_mask(self, names: str | Iterable[str]) -> Tensor:
        """Bool `(C,)`, True for these columns: to mask a source or a target down to some of them.

        Raises:
            ValueError: A column is unknown, or was left out in training; says which and why.
        """
        wanted = [names] if isinstance(names, str) else list(names)
        for name in wanted:
            if name in self.dropped_:
                raise ValueError(f"Column '{name}' was left out in training: {self.dropped_[name]}.")
            if name not in self.column_names:
                raise ValueError(
                    f"Unknown column '{name}'. This table has {', '.join(self.column_names)}."
                    f"{nearest(name, self.column_names)}"
                )
        return torch.tensor([name in wanted for name in self.column_names])

    def encoder(self, width: int) -> nn.Module:
        return TableEncoder(self._network_columns(), width, self.num_blocks)

    def tokens(self, width: int) -> nn.Module:
        return ColumnTokens(self._network_columns(), width)

    def decoder(self, width: int) -> nn.Module:
        return DenseDecoder(width, self.likelihood().num_parameters, num_blocks=self.num_blocks)

    def likelihood(self) -> TableHead:
        return TableHead(self._network_columns())

    @property
    def num_dimensions(self) -> int:
        return len(self._columns)

    def describe(self) -> str:
        counts = Counter(column.type for column in self._columns)
        parts = [f"{counts[type]} {type.replace('_', '-')}" for type in COLUMN_TYPES if counts[type]]
        left_out = f"; left out: {', '.join(self.dropped_)}" if self.dropped_ else ""
        plural = "" if len(self._columns) == 1 else "s"
        return f"{len(self._columns)} column{plural}: {', '.join(parts)}{left_out}"

    def html(self, cell: Any) -> str:
        rows = "".join(
            f"<tr><th>{escape(str(name))}</th><td>{'' if value is None else escape(str(value))}</td></tr>"
            for name, value in cell.items()
        )
        return f'<table class="cell-table">{rows}</table>'

    def write(self, cell: Any, stem: Path) -> str:
        """The row as one line of JSON, or the value alone where the table has one column; no file is written."""
        if len(cell) == 1:
            (value,) = cell.values()
            return "" if value is None else str(value)
        return json.dumps(cell, ensure_ascii=False, default=str)

    def _network_columns(self) -> list[Any]:
        return [column.for_networks() for column in self._columns]

    def _row(self, values: np.ndarray, there: np.ndarray) -> dict[str, Any]:
        row = {
            c.place: (c.name, c.write(v) if t else None) for c, v, t in zip(self._columns, values, there, strict=True)
        }
        return dict(row[place] for place in sorted(row))

    def _types(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
        if self.columns is None:
            names = dict.fromkeys(name for row in rows for name in row)
            types = {name: _guess_type([row.get(name) for row in rows]) for name in names}
            self._check_overrides(types)
        else:
            types = {column["name"]: column["type"] for column in self.columns}
        return {name: (self.overrides or {}).get(name, type) for name, type in types.items()}

    def _check_overrides(self, names: Mapping[str, str]) -> None:
        for name in self.overrides or ():
            if name not in names:
                raise ValueError(
                    f"overrides names column '{name}', which this table does not have. Its columns are "
                    f"{', '.join(names)}.{nearest(name, names)}"
                )


def _guess_type(cells: Sequence[Any]) -> str:
    there = [cell for cell in cells if not is_blank(cell)]
    try:
        # True and False are categories: they come back as what they were.
        return (
            "category"
            if any(isinstance(cell, bool) for cell in there) or not [read_number(c) for c in there]
            else "number"
        )
    except CellError:
        return "category"
