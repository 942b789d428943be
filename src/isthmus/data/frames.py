"""Tables that are in memory already: frames, Arrow tables, dicts of arrays, data sets of dicts.

pandas, polars and torch are known by their objects and never imported here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from isthmus.data.cells import blanks_to_null, clean
from isthmus.data.rejected import quote
from isthmus.data.table import Table, unique_names

if TYPE_CHECKING:
    import pyarrow as pa


def read_object(source: Any) -> Table:
    """The table in a frame, an Arrow table, a dict of columns, or a data set of dicts; see `read_table`."""
    library = type(source).__module__.split(".")[0]
    if library == "pandas":
        return _from_pandas(source)
    if library == "polars":
        return from_arrow(source.to_arrow())
    if library == "pyarrow":
        import pyarrow as pa

        return from_arrow(pa.Table.from_batches([source]) if isinstance(source, pa.RecordBatch) else source)
    if isinstance(source, Mapping):
        return _from_columns(source)
    return from_records(_iterate(source))


def from_arrow(table: pa.Table, source: str = "") -> Table:
    """An Arrow table. A struct of bytes and path is a picture or sound; any other becomes columns `outer.inner`."""
    import pyarrow as pa

    columns: list[tuple[str, Any]] = []
    waiting = list(zip(table.column_names, table.columns, strict=True))
    while waiting:
        name, column = waiting.pop(0)
        if pa.types.is_struct(column.type) and not {field.name for field in column.type} <= {"bytes", "path"}:
            inner = column.flatten()
            names = [f"{name}.{field.name}" for field in column.type]
            waiting = [*zip(names, inner, strict=True), *waiting]
        else:
            columns.append((name, blanks_to_null(column) if _is_text(column.type) else column))
    names = unique_names((name for name, _ in columns), source)
    return Table(dict(zip(names, (column for _, column in columns), strict=True)), source=source)


def from_records(records: Iterable[Any], source: str = "") -> Table:
    """Rows that are dicts; their keys in order of first appearance are the columns."""
    columns: dict[str, list[Any]] = {}
    num_rows = 0
    for record in records:
        if not isinstance(record, Mapping):
            raise TypeError(
                f"Row {num_rows + 1} of the data set is a {type(record).__name__}. Expected a dict with one entry for "
                "each modality that the item has, such as {'image': ..., 'text': ...}."
            )
        for name, cell in record.items():
            column = columns.setdefault(str(name), [])
            # A name seen for the first time was a gap in all rows before.
            column.extend([None] * (num_rows - len(column)))
            column.append(clean(cell))
        num_rows += 1
    for column in columns.values():
        column.extend([None] * (num_rows - len(column)))
    return Table(dict(zip(unique_names(columns, source), columns.values(), strict=True)), source=source)


def _from_pandas(frame: Any) -> Table:
    # A named index is a column that somebody chose as the key; the unnamed one merely counts.
    if any(name is not None for name in frame.index.names):
        frame = frame.reset_index()
    names = unique_names(frame.columns, "The frame")
    # By position: a name may be anything that pandas allows, a number or a tuple too.
    return Table({name: frame.iloc[:, place].tolist() for place, name in enumerate(names)})


def _from_columns(source: Mapping[Any, Any]) -> Table:
    columns = {}
    for name, column in zip(unique_names(source, "The dict"), source.values(), strict=True):
        if hasattr(column, "detach"):
            column = column.detach().cpu().numpy()
        if isinstance(column, str | bytes) or not hasattr(column, "__len__"):
            raise TypeError(
                f"Column {quote(name)} of the dict is a {type(column).__name__}. Expected a list, array or tensor with "
                "one row for each item."
            )
        columns[name] = column
    return Table(columns)


def _iterate(source: Any) -> Iterable[Any]:
    # A map-style Dataset need not raise IndexError at its end, so that plain iteration over it may never stop.
    if hasattr(source, "__getitem__") and hasattr(source, "__len__"):
        return (source[place] for place in range(len(source)))
    if isinstance(source, Iterable):
        return source
    raise TypeError(
        f"Cannot read a table from a {type(source).__name__}. Expected a path, a pandas or polars frame, an Arrow "
        "table, a dict of columns, or a data set of dicts."
    )


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
