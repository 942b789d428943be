"""Raw cells: what counts as a gap, and how cells of other libraries become plain Python and numpy.

A gap is None, a blank string, NaN, pandas' NA and NaT, an empty list, array or bytes, and an array that is NaN or
masked throughout. The word "NA" is *not* a gap here: it is Namibia's country code. `inference.py` says where it is one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa


def clean(cell: Any) -> Any:
    """One cell as plain Python or numpy; None where it is a gap."""
    if cell is None:
        return None
    if isinstance(cell, str):
        return None if not cell or cell.isspace() else cell
    if isinstance(cell, float):
        return None if cell != cell else float(cell)
    if isinstance(cell, bool | int):
        return cell
    if hasattr(cell, "detach"):  # a torch tensor, without importing torch
        cell = cell.detach().cpu().numpy()
    if isinstance(cell, np.generic) or (isinstance(cell, np.ndarray) and cell.ndim == 0):
        return None if cell is np.ma.masked else clean(cell.item())
    if isinstance(cell, np.ndarray):
        return None if _is_hollow(cell) else cell
    if isinstance(cell, dict):
        return _unwrap(cell)
    if isinstance(cell, bytes | bytearray | memoryview):
        return bytes(cell) or None
    if isinstance(cell, Sequence) and len(cell) == 0:
        return None
    # pandas' own gaps, without importing pandas: NaT is an instance of datetime and would pass for a date.
    return None if type(cell).__name__ in ("NAType", "NaTType") else cell


def _is_hollow(array: np.ndarray) -> bool:
    if isinstance(array, np.ma.MaskedArray) and np.ma.getmaskarray(array).all():
        return True
    return array.size == 0 or (array.dtype.kind == "f" and bool(np.isnan(array).all()))


def _unwrap(cell: dict[str, Any]) -> Any:
    """A picture or sound as Hugging Face `datasets` hands it over; any other dict is left as it is."""
    if "array" in cell and "sampling_rate" in cell:
        return np.asarray(cell["array"], dtype=np.float32), int(cell["sampling_rate"])
    if cell.keys() <= {"bytes", "path"}:
        return clean(cell.get("bytes")) or clean(cell.get("path"))
    return cell or None


def arrow_cells(column: pa.ChunkedArray) -> list[Any]:
    """An Arrow column as cleaned cells. Lists of numbers become arrays that share the column's memory."""
    import pyarrow as pa

    kind = column.type
    if isinstance(kind, pa.ExtensionType):
        column = column.cast(kind.storage_type)
    elif pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
    kind = column.type
    if _is_list(kind) and (pa.types.is_integer(kind.value_type) or pa.types.is_floating(kind.value_type)):
        return [clean(cell) for chunk in column.chunks for cell in _list_arrays(chunk)]
    if pa.types.is_decimal(kind):
        column = column.cast(pa.float64())
    return [clean(cell) for cell in column.to_pylist()]


def blanks_to_null(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of strings whose blank cells are null, so that it can be kept as Arrow: a third of a list's memory."""
    import pyarrow as pa
    import pyarrow.compute as pc

    blank = pc.equal(pc.binary_length(pc.utf8_trim_whitespace(column)), 0)
    return pc.if_else(blank, pa.scalar(None, column.type), column)


def _is_list(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _list_arrays(chunk: pa.Array) -> Iterable[np.ndarray | None]:
    import pyarrow as pa

    if pa.types.is_fixed_size_list(chunk.type):
        chunk = chunk.cast(pa.large_list(chunk.type.value_type))
    values = chunk.values.to_numpy(zero_copy_only=False)
    offsets = chunk.offsets.to_numpy()
    there = chunk.is_valid().to_numpy(zero_copy_only=False)
    for start, end, is_there in zip(offsets[:-1], offsets[1:], there, strict=True):
        yield values[start:end] if is_there else None
