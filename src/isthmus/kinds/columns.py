"""One column of a table: what kind of numbers or categories it holds, and how a cell becomes a number and back."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Self

import numpy as np

from isthmus.kinds.base import CellError
from isthmus.likelihoods_table import DISTRIBUTIONS, LARGEST_COUNT, TableColumn

COLUMN_TYPES = ("normal", "log_normal", "count", "binary", "categorical", "date")
EPOCH = datetime(1970, 1, 1)
# An area of -1 among 250 says "unknown"; it must not decide how the other 249 are seen.
STRAY_SHARE = 0.01
# In standard deviations. The square of what lies farther out would drown every other number in a loss.
FARTHEST = 1e6
LARGEST_NUMBER = 1e100  # its square is still finite


@dataclass(frozen=True)
class Column:
    """One fitted column; all of it is JSON.

    Args:
        name: Of the column.
        type: One of `COLUMN_TYPES`.
        place: Where it stands among the columns of the table.
        loc: Mean of the training values on the scale that is standardised: the value itself, its logarithm for
            log-normal ones, `log(1 + count)`.
        scale: Their standard deviation.
        step: Quantisation step, in standardised units.
        decimals: Digits behind the point in the training cells; None where there are more than six.
        levels: Categories in their own type, or the two values of a binary column.
        number_levels: The two values are numbers, so 1, 1.0 and "1" are one level.
        date_type: What a date comes back as: `"date"` or `"datetime"` objects, or `"text"` in ISO 8601.
        date_unit: Seconds of a date's unit: the longest of a day, an hour, a minute, a second that all training dates
            fill.
        utc: Dates carried a time zone; they come back in UTC.
    """

    name: str
    type: str
    place: int
    loc: float = 0.0
    scale: float = 1.0
    step: float = 1e-3
    decimals: int | None = None
    levels: list[Any] = field(default_factory=list)
    number_levels: bool = False
    date_type: str = ""
    date_unit: int = 1
    utc: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "_index", {_key(level): place for place, level in enumerate(self.levels)})

    @property
    def distribution(self) -> str:
        return "normal" if self.type in ("log_normal", "date") else self.type

    def for_networks(self) -> TableColumn:
        return TableColumn(self.name, self.distribution, len(self.levels), self.loc, self.scale, self.step)

    def read(self, cell: Any) -> float:
        """A cell as the number that networks and likelihoods see.

        Raises:
            CellError: Not a number, not finite, not a date, outside what the type allows, or an unseen category.
        """
        if self.levels:
            key = _key(read_number(cell) if self.number_levels else cell)
            if key not in self._index:  # type: ignore[attr-defined]
                raise CellError(f"{_quote(cell)} was not among the training values")
            return float(self._index[key])  # type: ignore[attr-defined]
        value = _seconds(read_date(cell)) / self.date_unit if self.type == "date" else read_number(cell)
        reason = _why_not(self.type, value)
        if reason:
            raise CellError(f"{_quote(cell)} is {reason}")
        standardised = (_forward(self.type, value) - self.loc) / self.scale
        if abs(standardised) > FARTHEST:
            raise CellError(f"{_quote(cell)} lies more than {FARTHEST:.0g} deviations from the training values")
        return standardised

    def write(self, value: float) -> Any:
        """The cell that a number stands for, in its own unit, type and number of decimals."""
        if self.levels:
            return self.levels[min(max(round(float(value)), 0), len(self.levels) - 1)]
        raw = self.loc + self.scale * float(value)
        if self.type == "count":
            return max(round(math.expm1(min(raw, math.log1p(LARGEST_COUNT)))), 0)
        if self.type == "date":
            return self._write_date(raw)
        if self.type == "log_normal":
            raw = math.exp(min(max(raw, -700.0), 700.0))
        if self.decimals is None:  # as many digits as float32 holds of the standardised value
            digits = -math.floor(math.log10(1e-6 * self.scale))
            return float(f"{raw:.6g}") if self.type == "log_normal" else round(raw, digits) + 0.0
        return round(raw) if self.decimals == 0 else round(raw, self.decimals) + 0.0

    def to_config(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def fit(cls, name: str, type: str, place: int, cells: Sequence[Any]) -> Self | str:
        """A column fitted to its training cells that are not blank, or, as text, the reason to leave it out.

        Args:
            name: Of the column.
            type: `"number"` and `"category"` are told apart further by the cells; the rest is taken as said.
            place: Where it stands in the table.
            cells: None of them blank; unreadable ones are skipped.

        Raises:
            ValueError: The cells do not allow the type.
        """
        if not cells:
            return "blank in every training row"
        if type == "category" or (type in ("binary", "categorical") and not _mostly_numbers(cells)):
            return cls._fit_levels(name, type, place, cells, numbers=False)
        if type == "date":
            return cls._fit_date(name, place, cells)
        readable = _readable(cells, read_number)
        if not readable:
            return f"no number could be read, such as {_quote(cells[0])}"
        values = np.array([value for _, value in readable])
        if type == "number":
            type = _refine(values)
        if type in ("binary", "categorical"):
            return cls._fit_levels(name, type, place, [cell for cell, _ in readable], numbers=True)
        forbidden = [(cell, reason) for cell, value in readable if (reason := _why_not(type, value))]
        if len(forbidden) > STRAY_SHARE * len(readable):
            cell, reason = forbidden[0]
            raise ValueError(
                f"Column '{name}' was told to be {type}, but {len(forbidden)} of its {len(readable)} values cannot be, "
                f"such as {_quote(cell)}, which is {reason}. Expected another type, such as 'normal'."
            )
        readable = [(cell, value) for cell, value in readable if not _why_not(type, value)]
        values = np.array([value for _, value in readable])
        decimals = max(_decimals(cell) for cell, _ in readable)
        return cls._standardised(name, type, place, values, decimals=decimals if decimals <= 6 else None)

    @classmethod
    def _standardised(cls, name: str, type: str, place: int, values: np.ndarray, **rest: Any) -> Self | str:
        if values.min() == values.max():
            return f"constant, always {_quote(values[0].item())}"
        forward = np.array([_forward(type, value) for value in values.tolist()])
        scale = float(forward.std())
        decimals = rest.get("decimals")
        step = 0.0 if decimals is None else 10.0**-decimals
        if type == "log_normal":
            step /= float(np.median(values))  # of a logarithm: the relative step in the middle of the data
        return cls(name, type, place, float(forward.mean()), scale, step / scale, **rest)

    @classmethod
    def _fit_levels(cls, name: str, type: str, place: int, cells: Sequence[Any], numbers: bool) -> Self | str:
        levels: dict[str, Any] = {}
        for cell in cells:
            level = _whole(read_number(cell)) if numbers else cell
            try:
                levels.setdefault(_key(level), level if isinstance(level, str | int | float) else str(level))
            except CellError:
                continue
        if len(levels) < 2:
            return f"constant, always {_quote(cells[0])}"
        if type == "binary" and len(levels) > 2:
            raise ValueError(
                f"Column '{name}' was told to be binary, but holds {len(levels)} values, such as "
                f"{', '.join(_quote(level) for level in list(levels.values())[:3])}. Expected two; say 'categorical'."
            )
        ordered = sorted(levels.items(), key=lambda item: float(item[1]) if numbers else item[0])
        kind = "binary" if len(levels) == 2 else "categorical"
        return cls(name, kind, place, levels=[level for _, level in ordered], number_levels=numbers)

    @classmethod
    def _fit_date(cls, name: str, place: int, cells: Sequence[Any]) -> Self | str:
        readable = _readable(cells, read_date)
        if not readable:
            return f"no date could be read, such as {_quote(cells[0])}"
        seconds = np.array([_seconds(moment) for _, moment in readable])
        unit = next(unit for unit in (86400, 3600, 60, 1) if unit == 1 or not np.any(seconds % unit))
        types = [_date_type(cell) for cell, _ in readable]
        return cls._standardised(
            name,
            "date",
            place,
            seconds / unit,
            decimals=0,
            date_type=max(sorted(set(types)), key=types.count),
            date_unit=unit,
            utc=any(moment.tzinfo is not None for _, moment in readable),
        )

    def _write_date(self, number: float) -> Any:
        # A decoder may say any number; a calendar ends.
        seconds = min(max(round(number) * self.date_unit, _seconds(datetime.min)), _seconds(datetime.max) - 1)
        moment = EPOCH + timedelta(seconds=seconds)
        if self.date_type == "date" or (self.date_type == "text" and self.date_unit == 86400):
            return moment.date() if self.date_type == "date" else moment.date().isoformat()
        moment = moment.replace(tzinfo=UTC) if self.utc else moment
        return moment if self.date_type == "datetime" else moment.isoformat()


def in_network_order(columns: Sequence[Column]) -> list[Column]:
    """Columns in the order of `likelihoods_table.DISTRIBUTIONS`, and among equals as in the table."""
    return sorted(columns, key=lambda column: (DISTRIBUTIONS.index(column.distribution), column.place))


def is_blank(cell: Any) -> bool:
    return cell is None or (isinstance(cell, str) and not cell.strip())


def read_number(cell: Any) -> float:
    """A number, or text that is one (`12`, `-3.5`, `1e-3`).

    Raises:
        CellError: Anything else, also NaN and infinity.
    """
    try:
        # Python reads 1_000 as a number; in a table it is a code.
        value = float("nothing" if isinstance(cell, str) and "_" in cell else cell)
    except (TypeError, ValueError):
        raise CellError(f"{_quote(cell)} is not a number") from None
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise CellError(f"{_quote(cell)} is not a finite number")
    if abs(value) > LARGEST_NUMBER:
        raise CellError(f"{_quote(cell)} is too large a number")
    return value


def _quote(cell: Any) -> str:
    text = str(cell)
    text = text if len(text) <= 40 else text[:37] + "..."
    return f"'{text}'" if isinstance(cell, str) else text


def _key(level: Any) -> str:
    """Levels by what they say, so that an integer category is found again in a file of text."""
    if isinstance(level, float | np.floating):
        if not math.isfinite(level):
            raise CellError(f"{level} is not a category")
        level = _whole(float(level))
    return str(level)


def _whole(value: float) -> int | float:
    return int(value) if value.is_integer() else value


def _readable(cells: Sequence[Any], read: Callable[[Any], Any]) -> list[tuple[Any, Any]]:
    pairs = []
    for cell in cells:
        try:
            pairs.append((cell, read(cell)))
        except CellError:
            continue
    return pairs


def _mostly_numbers(cells: Sequence[Any]) -> bool:
    return 2 * len(_readable(cells, read_number)) > len(cells) and not any(isinstance(cell, bool) for cell in cells)


def _decimals(cell: Any) -> int:
    value = read_number(cell)
    text = cell.strip() if isinstance(cell, str) else str(_whole(value))
    exponent = Decimal(text).as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _why_not(type: str, value: float) -> str:
    if type == "log_normal" and value <= 0:
        return "not above zero, as a log-normal column needs"
    if type == "count" and (value < 0 or not value.is_integer()):
        return "not a whole number from zero up, as a count needs"
    if type == "count" and value > LARGEST_COUNT:
        return f"above {LARGEST_COUNT}, the largest count that is held exactly"
    return ""


def _forward(type: str, value: float) -> float:
    if type == "log_normal":
        return math.log(value)
    return math.log1p(value) if type == "count" else value


def _refine(values: np.ndarray) -> str:
    if len(np.unique(values)) == 2:
        return "binary"
    if values.min() >= 0 and values.max() <= LARGEST_COUNT and np.all(values == np.round(values)):
        return "count"
    positive = values[values > 0]
    if len(positive) > 2 and len(values) - len(positive) <= STRAY_SHARE * len(values):
        low, high = np.quantile(positive, [0.05, 0.95])
        if high >= 10 * low and abs(_skewness(np.log(positive))) < abs(_skewness(positive)):
            return "log_normal"
    return "normal"


def _skewness(values: np.ndarray) -> float:
    centred = values - values.mean()
    deviation = values.std()
    return float((centred**3).mean() / deviation**3) if deviation > 0 else 0.0


def read_date(cell: Any) -> datetime:
    """A date or time, or text that is one in ISO 8601.

    Raises:
        CellError: Anything else.
    """
    if isinstance(cell, datetime):
        return cell
    if isinstance(cell, date):
        return datetime(cell.year, cell.month, cell.day)
    text = cell.strip() if isinstance(cell, str) else ""
    try:
        # A bare run of digits is ISO 8601 too, but far more often it is a number that went astray.
        return datetime.fromisoformat("" if text.isdigit() else text)
    except ValueError:
        raise CellError(f"{_quote(cell)} is not a date like 2024-05-31") from None


def _date_type(cell: Any) -> str:
    return "text" if isinstance(cell, str) else "datetime" if isinstance(cell, datetime) else "date"


def _seconds(moment: datetime) -> float:
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    return (moment - EPOCH).total_seconds()
