"""What each column of a table is for: its role, its kind, and the modality it belongs to.

Roles. A column is a *modality* (alone, or with others that share one), the *key* that names an item, a *label* kept for
evaluation and never shown to the model, the *split*, the *group* whose items stay in one split, or it is *ignored*.
Without being told:

- a column called `key` or `id` is the key if its values all differ; otherwise rows are named by their number, from 1;
- columns called `label`, `class`, `target` or `y` are labels;
- a column called `split` that holds nothing but names of splits is the split;
- a column that is blank throughout, the same in every row, or full of identifiers is ignored;
- every other column is a modality, of a kind judged by its cells (see `data/inference.py`); all columns of numbers,
  categories and dates share one modality, called `table`, or by the column's own name if there is one only.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from isthmus.data.columns import CellReader, restore_cell
from isthmus.data.inference import Guess, guess_kind, is_gap_word
from isthmus.data.rejected import Rejected, quote
from isthmus.data.split import SPLITS, read_split
from isthmus.data.table import Table
from isthmus.suggest import nearest

T = TypeVar("T")
KEY_NAMES = ("key", "id")
LABEL_NAMES = ("label", "class", "target", "y")
# Kinds of single columns that share the modality of kind "table".
TABLE_KINDS = ("number", "category", "date")
COLUMN_KINDS = ("image", "text", "audio", "vector", "series", *TABLE_KINDS)


@dataclass(frozen=True)
class Column:
    """One column and what it is for.

    Args:
        name: As in the table.
        role: "modality", "key", "ignore", "label", "split" or "group".
        kind: For a modality, and for a label what it would be: "image", "text", "audio", "vector", "series", "number",
            "category", "date", or the name of a registered kind. "" for every other role.
        note: Why it has this role and kind, and how to say otherwise.
        format: How its cells are written where that is to be known: "file" for paths, "json" for lists in text, the
            form of a date in text (see `data/dates.py`), "decimal comma".
        missing: Share of rows that are gaps, 0 to 1, in the table that the schema was made from.
    """

    name: str
    role: str
    kind: str
    note: str
    format: str = ""
    missing: float = 0.0


@dataclass(frozen=True)
class ModalityPlan:
    """One modality: its kind, the columns it is made of, and settings for the kind.

    For the kind "table", `options["columns"]` is `[{"name": "wing_mm", "type": "number"}, ...]`, of the types "number",
    "category" and "date".
    """

    name: str
    kind: str
    columns: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Schema:
    """Columns and modalities of a table, as `infer_schema` found them; good for new tables of the same make."""

    columns: list[Column]
    modalities: dict[str, ModalityPlan]

    @property
    def key(self) -> str | None:
        """Name of the key column; None where rows are named by their number."""
        return self._first("key")

    @property
    def split(self) -> str | None:
        """Name of the column that says which split a row is in."""
        return self._first("split")

    @property
    def group(self) -> str | None:
        """Name of the column whose equal values stay in one split."""
        return self._first("group")

    @property
    def labels(self) -> list[str]:
        """Names of the label columns."""
        return [column.name for column in self.columns if column.role == "label"]

    def column(self, name: str) -> Column:
        """One column by name.

        Raises:
            ValueError: There is no such column; names the nearest.
        """
        return _by_name("column", name, {column.name: column for column in self.columns})

    def plan(self, modality: str) -> ModalityPlan:
        """One modality by name.

        Raises:
            ValueError: There is no such modality; names the nearest.
        """
        return _by_name("modality", modality, self.modalities)

    def keys(self, table: Table) -> list[str]:
        """The name of each row, as text: its key, or its number where the table has no key or the key is blank.

        Raises:
            ValueError: A key comes twice.
        """
        numbers = [str(number) for number in table.row_numbers.tolist()]
        if self.key is None or self.key not in table.columns:
            return numbers
        cells = table[self.key]
        _require_unique(self.key, cells, table)
        return [f"row {number}" if cell is None else _plain(cell) for cell, number in zip(cells, numbers, strict=True)]

    def cells(self, table: Table, modality: str, rejected: list[Rejected] | None = None) -> list[Any]:
        """The cells of one modality, one per row of the table, ready for its kind; None is a gap.

        File paths come as absolute `Path`, unread; of text files the text. A cell of kind "table" is a dict from column
        to value, None where it is blank: numbers and categories as they stand in the table, dates as `date` or
        `datetime`. An item lacks the modality only if all of its columns are blank. A column that the table does not
        have is all gaps.

        Args:
            table: This table or a new one.
            modality: Name of the modality.
            rejected: Cells that could not be read are added to it; they are gaps.
        """
        plan = self.plan(modality)
        entries: list[Rejected] = [] if rejected is None else rejected
        columns = [self._column_cells(table, name, entries) for name in plan.columns]
        if plan.kind != "table":
            return columns[0]
        return [
            dict(zip(plan.columns, row, strict=True)) if any(cell is not None for cell in row) else None
            for row in zip(*columns, strict=True)
        ]

    def restore(self, modality: str, cell: Any) -> Any:
        """A decoded cell as the table writes it: dates in their own form, numbers with their decimal comma."""
        plan = self.plan(modality)
        if plan.kind != "table" or cell is None:
            return cell
        return {name: restore_cell(self.column(name), value) for name, value in cell.items()}

    def check(self, table: Table) -> list[str]:
        """What is different about a new table, in words; made before any work.

        Raises:
            ValueError: It has no column of any modality, or a key comes twice.
        """
        known = {column.name for column in self.columns}
        used = [name for plan in self.modalities.values() for name in plan.columns]
        absent = [name for name in used if name not in table.columns]
        if len(absent) == len(used):
            raise ValueError(
                f"This table has none of the columns {', '.join(used)}. It has {', '.join(table.columns)}."
                f"{nearest(used[0], table.columns)}"
            )
        self.keys(table)
        notes = [f"column '{name}' is not in this table: every item lacks it" for name in absent]
        if self.key is not None and self.key not in table.columns:
            notes.append(f"key column '{self.key}' is not in this table: items are named by their row number")
        extra = [name for name in table.columns if name not in known]
        return notes + [f"column '{name}' was not there in training: it is ignored" for name in extra]

    def describe(self) -> list[dict[str, Any]]:
        """One row for each column, to print: column, role, kind, missing (share, 0 to 1), note."""
        names = ("name", "role", "kind", "missing", "note")
        return [
            {"column" if name == "name" else name: getattr(column, name) for name in names} for column in self.columns
        ]

    def to_config(self) -> dict[str, Any]:
        """Everything that is needed to build this schema again, as JSON."""
        return {
            "columns": [asdict(column) for column in self.columns],
            "modalities": [
                {"name": plan.name, "kind": plan.kind, "columns": list(plan.columns), "options": plan.options}
                for plan in self.modalities.values()
            ],
        }

    @staticmethod
    def from_config(config: Mapping[str, Any]) -> Schema:
        """The schema that `to_config` described."""
        plans = [ModalityPlan(**{**plan, "columns": tuple(plan["columns"])}) for plan in config["modalities"]]
        return Schema([Column(**column) for column in config["columns"]], {plan.name: plan for plan in plans})

    def _first(self, role: str) -> str | None:
        return next((column.name for column in self.columns if column.role == role), None)

    def _column_cells(self, table: Table, name: str, rejected: list[Rejected]) -> list[Any]:
        if name not in table.columns:
            return [None] * table.num_rows
        return CellReader(self.column(name), table).read(rejected)


def infer_schema(
    table: Table,
    *,
    key: str | None = None,
    ignore: str | Iterable[str] = (),
    label: str | Iterable[str] = (),
    split: str | None = None,
    group: str | None = None,
    kinds: Mapping[str, str] | None = None,
    modalities: Mapping[str, str | Iterable[str]] | None = None,
) -> Schema:
    """Roles, kinds and modalities of a table's columns. What is not said is judged by the cells.

    Args:
        table: The table to train on.
        key: Column that names each item.
        ignore: Columns to leave out.
        label: Columns kept for evaluation, beside those called `label`, `class`, `target` and `y`.
        split: Column that says train, validation or test.
        group: Column whose equal values must stay in one split.
        kinds: Kind by column: image, text, audio, vector, series, number, category, date, `date:%d/%m/%Y` (a date in
            this form), table (whichever of number, category and date it is), ignore, or a registered kind. A column
            named here is a modality, be it called `label` or full of identifiers.
        modalities: Columns by modality, to name a modality or to part number, category and date columns into several:
            `{"body": ["wing_mm", "mass_g"]}`. Columns not named here are placed as usual.

    Raises:
        ValueError: No rows; no modality; an unknown column or kind (with the nearest right one); a column with two
            roles; a key that comes twice; a split that is none.
    """
    if table.num_rows == 0:
        raise ValueError("The table has no rows. Expected at least one.")
    kinds = dict(kinds or {})
    groups = {name: _names(columns) for name, columns in (modalities or {}).items()}
    ignored = [*_names(ignore), *(name for name, kind in kinds.items() if kind == "ignore")]
    kinds = {name: kind for name, kind in kinds.items() if kind != "ignore"}
    roles = {"key": key, "ignore": ignored, "label": label, "split": split, "group": group}
    told = {role: _names(names) for role, names in roles.items()}
    _check_flags(table, told, kinds, groups)

    role_of = {name: role for role, names in told.items() for name in names}
    asked = {*kinds, *(name for names in groups.values() for name in names)}
    columns = [_column(table, name, role_of.get(name), kinds.get(name), name in asked, told) for name in table.columns]
    schema = Schema(columns, _plan_modalities(columns, groups))
    if not schema.modalities:
        listed = "\n".join(f"  {column.name}: {column.role} ({column.note})" for column in columns)
        raise ValueError(f"No column of this table can be a modality:\n{listed}\nSay what one is, as in kinds={{...}}.")
    schema.keys(table)
    if schema.split is not None:
        read_split(table[schema.split], schema.split)
    return schema


def _check_flags(
    table: Table, told: Mapping[str, list[str]], kinds: Mapping[str, str], groups: Mapping[str, list[str]]
) -> None:
    """Every name that was said must be a column with one role, and every kind a kind."""
    place: dict[str, str] = {}
    in_groups = [(f"modality '{group}'", name) for group, names in groups.items() for name in names]
    for role, name in [*((role, name) for role, names in told.items() for name in names), *in_groups]:
        _by_name("column", name, dict.fromkeys(table.columns))
        if place.setdefault(name, role) != role:
            raise ValueError(f"Column '{name}' was given two roles, {place[name]} and {role}. Expected one.")
    for name, kind in kinds.items():
        _by_name("column", name, dict.fromkeys(table.columns))
        if name in place and not place[name].startswith("modality"):
            raise ValueError(f"Column '{name}' was given the role {place[name]} and the kind {kind}. Expected one.")
        _check_kind(name, kind)


def _check_kind(column: str, kind: str) -> None:
    if kind in (*COLUMN_KINDS, "table") or kind.startswith("date:"):
        return
    # Imported here and only for kinds that are not our own: they bring torch along, which takes two seconds.
    from isthmus.kinds import kind_names

    choices = sorted({*COLUMN_KINDS, *kind_names(), "table", "ignore"})
    if kind not in choices:
        raise ValueError(
            f"Unknown kind {quote(kind)} for column '{column}'. Kinds are {', '.join(choices)}.{nearest(kind, choices)}"
        )


def _column(
    table: Table, name: str, role: str | None, kind: str | None, asked: bool, told: Mapping[str, list[str]]
) -> Column:
    """One column's role and kind: as told, by its name, or by its cells."""
    cells = [cell for cell in table[name] if cell is not None]
    missing = 1 - len(cells) / table.num_rows
    if role is not None and role != "label":
        return Column(name, role, "", "as told", missing=missing)
    if role is None and not asked and (by_name := _role_by_name(name, cells, table, told)) is not None:
        return replace(by_name, missing=missing)
    if not cells:
        if asked:
            raise ValueError(f"Column '{name}' was asked for as a modality and is blank in every row.")
        return Column(name, role or "ignore", "", "blank in every row", missing=1.0)

    guess = guess_kind(name, cells, _folder(table))
    if asked:
        guess = _as_told(name, cells, guess, kind, _folder(table))
    if guess.kind in TABLE_KINDS[::2] or guess.format in ("file", "json"):
        missing += sum(is_gap_word(cell) for cell in cells) / table.num_rows
    if role == "label" or (not asked and name.casefold() in LABEL_NAMES):
        note = "as told" if role else f"a label by its name, kept for evaluation; --kind {name}=... makes it a modality"
        return Column(name, "label", guess.kind or guess.told, note, guess.format, missing)
    if not guess.kind:
        note = f"{guess.note}; --kind {name}={guess.told} makes it a modality"
        return Column(name, "ignore", "", note, missing=missing)
    return Column(name, "modality", guess.kind, guess.note, guess.format, missing)


def _role_by_name(name: str, cells: Sequence[Any], table: Table, told: Mapping[str, list[str]]) -> Column | None:
    """The role that a column has by its name and values: key or split."""
    plain = name.casefold()
    if plain in KEY_NAMES and not told["key"] and cells:
        first = next(other for wanted in KEY_NAMES for other in table.columns if other.casefold() == wanted)
        repeated = len(cells) - len(set(map(_plain, cells)))
        if name == first and not repeated and 2 * len(cells) > table.num_rows:
            return Column(name, "key", "", "the key, by its name")
        if repeated:
            note = f"called '{name}', but {repeated} of its values come again: rows are named by their number"
            return Column(name, "ignore", "", f"{note}; --group {name} keeps equal ones in one split")
    is_split = plain == "split" and not told["split"] and bool(cells)
    if is_split and all(str(cell).strip().casefold() in SPLITS for cell in cells):
        return Column(name, "split", "", "the split, by its name and values")
    return None


def _as_told(name: str, cells: Sequence[Any], guess: Guess, kind: str | None, folder: Path) -> Guess:
    """The guess with the kind that was asked for in place of the one that was found."""
    if kind is None or (kind == "table" and guess.kind in TABLE_KINDS):
        return guess if guess.kind else Guess(guess.told, "as told", guess.format)
    if kind == "table":
        kind = guess.told if guess.told in TABLE_KINDS else "category"
    kind, _, form = kind.partition(":")
    if form or guess.kind == kind or (not guess.kind and guess.told == kind != "date"):
        return Guess(kind, "as told", form or guess.format)
    if kind == "date" and not isinstance(cells[0], str | int):
        raise ValueError(f"Column '{name}' was told to be a date, but holds {type(cells[0]).__name__} cells.")
    if kind == "date":
        raise ValueError(
            f"Column '{name}' was told to be a date, but how to read {quote(cells[0])} is not clear ({guess.note}). "
            "Say its form, such as date:%d/%m/%Y or date:%Y%m%d."
        )
    return Guess(kind, "as told", _format_as_told(kind, cells, guess, folder))


def _format_as_told(kind: str, cells: Sequence[Any], guess: Guess, folder: Path) -> str:
    first = next((cell for cell in cells if isinstance(cell, str) and not is_gap_word(cell)), None)
    if first is None or kind in TABLE_KINDS:
        return ""
    if kind in ("vector", "series") and first.lstrip().startswith("["):
        return "json"
    if kind in ("image", "audio", "vector", "series"):
        return "file"
    # Text that looks like file names is text where there are no such files; of what another's kind reads the disk
    # alone can tell.
    # `os.path` says no to what can be no file's name, such as 256 letters, where `Path.is_file` raises.
    return "file" if len(first) < 1024 and os.path.isfile(folder / first.strip()) else ""


def _plan_modalities(columns: Sequence[Column], groups: Mapping[str, list[str]]) -> dict[str, ModalityPlan]:
    """Modalities in the order of their first columns."""
    by_name = {column.name: column for column in columns if column.role == "modality"}
    in_group = {name: group for group, names in groups.items() for name in names}
    loose = [name for name, column in by_name.items() if column.kind in TABLE_KINDS and name not in in_group]
    taken = {*groups, *(name for name in by_name if name not in loose)}
    shared = loose[0] if len(loose) == 1 else "table"
    while shared in taken:
        shared += "_"
    members: dict[str, list[Column]] = {}
    for name, column in by_name.items():
        modality = in_group.get(name, shared if name in loose else name)
        members.setdefault(modality, []).append(column)
    return {name: _plan(name, group) for name, group in members.items()}


def _plan(name: str, columns: Sequence[Column]) -> ModalityPlan:
    names = tuple(column.name for column in columns)
    if all(column.kind in TABLE_KINDS for column in columns):
        types = [{"name": column.name, "type": column.kind} for column in columns]
        return ModalityPlan(name, "table", names, {"columns": types})
    if len(columns) > 1:
        listed = ", ".join(f"{column.name} ({column.kind})" for column in columns)
        raise ValueError(
            f"Modality '{name}' is to hold {listed}. Only number, category and date columns can share a modality; a "
            "text column of few values can be told to be one: kinds={'column': 'category'}."
        )
    return ModalityPlan(name, columns[0].kind, names)


def _require_unique(key: str, cells: Sequence[Any], table: Table) -> None:
    plain = [None if cell is None else _plain(cell) for cell in cells]
    if len(set(plain)) == len(plain):
        return
    rows: dict[str, list[int]] = {}
    for cell, number in zip(plain, table.row_numbers.tolist(), strict=True):
        if cell is not None:
            rows.setdefault(cell, []).append(number)
    twice = {cell: numbers for cell, numbers in rows.items() if len(numbers) > 1}
    if not twice:
        return
    listed = "; ".join(
        f"{quote(cell)} in rows {', '.join(map(str, numbers[:3]))}{', ...' if len(numbers) > 3 else ''}"
        for cell, numbers in list(twice.items())[:3]
    )
    more = f"; and {len(twice) - 3} more" if len(twice) > 3 else ""
    raise ValueError(
        f"Key '{key}' does not name one row each: {listed}{more}. Give a column whose values all differ, or none: then "
        "rows are named by their number."
    )


def _plain(cell: Any) -> str:
    """A key as text; 7.0 is 7, as pandas makes floats of whole numbers beside gaps."""
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)


def _names(names: str | Iterable[str] | None) -> list[str]:
    if names is None:
        return []
    return [names] if isinstance(names, str) else list(names)


def _folder(table: Table) -> Path:
    return Path() if table.folder is None else table.folder


def _by_name(what: str, name: str, choices: Mapping[str, T]) -> T:
    if name not in choices:
        raise ValueError(f"Unknown {what} {quote(name)}. There is {', '.join(choices)}.{nearest(name, choices)}")
    return choices[name]
