"""Tables from files and folders.

CSV is read by pyarrow with every cell as text, so that the code 08376 keeps its zero. Whatever pyarrow refuses (bytes
that are not UTF-8, a row with too many or too few fields) is read again, slower, by Python's own reader, which tells
damaged cells from sound ones.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from isthmus.data.frames import from_arrow, from_records
from isthmus.data.rejected import Rejected, quote
from isthmus.data.table import Table, unique_names
from isthmus.suggest import nearest

DELIMITED = (".csv", ".tsv")
JSON_LINES = (".jsonl", ".ndjson")
TABLE_FILES = (*DELIMITED, *JSON_LINES, ".parquet")
# A byte that is not UTF-8, as "surrogateescape" brings it through decoding, or half a character in JSON.
_DAMAGED = re.compile("[\ud800-\udfff]")


def read_path(path: Path) -> Table:
    """The table in a file or a folder; see `read_table`."""
    if not path.exists():
        siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise FileNotFoundError(f"No file or folder {quote(path, 200)}.{nearest(path.name, siblings)}")
    if path.is_dir():
        return _read_folder(path)
    suffix = _suffix(path)
    if suffix in DELIMITED:
        table = _read_delimited(path, "\t" if suffix == ".tsv" else None)
    elif suffix in JSON_LINES:
        table = _read_json_lines(path)
    elif suffix == ".parquet":
        table = _read_parquet(path)
    else:
        raise ValueError(f"{path.name} is of no known table type. Expected {', '.join(TABLE_FILES)}, or a folder.")
    table.folder = path.parent
    return table


def _suffix(path: Path) -> str:
    return path.with_suffix("").suffix.lower() if path.suffix.lower() == ".gz" else path.suffix.lower()


def _read_text(path: Path) -> bytes:
    """The bytes of a text file: unpacked, without BOM, as UTF-8 where they were UTF-16."""
    data = path.read_bytes()
    if path.suffix.lower() == ".gz":
        data = gzip.decompress(data)
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        data = data.decode("utf-16", "replace").encode("utf-8")
    data = data.removeprefix(codecs.BOM_UTF8)
    if not data.strip():
        raise ValueError(f"{path.name} is empty. Expected a table with at least one row.")
    return data


# --- CSV and TSV


def _read_delimited(path: Path, delimiter: str | None) -> Table:
    import pyarrow as pa

    data = _read_text(path)
    if delimiter is None:
        delimiter = _guess_delimiter(data)
    try:
        table = _read_with_arrow(data, delimiter, str(path))
    except pa.ArrowInvalid:
        return _read_line_by_line(data, delimiter, str(path))
    # pyarrow takes a quote that is never closed for one that ends with the file, and its last cell has many lines.
    last = table.take([table.num_rows - 1])[table.columns[-1]][0] if table.num_rows else None
    return _read_line_by_line(data, delimiter, str(path)) if "\n" in (last or "") else table


def _guess_delimiter(data: bytes) -> str:
    """The comma, unless the header holds more of another: a comma is decimal where cells are parted by semicolons."""
    header = re.sub(rb'"[^"]*"', b"", data.lstrip()[: 1 << 16]).splitlines()[0].decode("utf-8", "replace")
    return max(",;\t|", key=header.count)


def _read_with_arrow(data: bytes, delimiter: str, source: str) -> Table:
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    # The header is read as the first row: only then can every column be declared as text before its name is known.
    num_fields = len(_header(data, delimiter))
    table = arrow_csv.read_csv(
        pa.BufferReader(data),
        read_options=arrow_csv.ReadOptions(autogenerate_column_names=True, block_size=1 << 24),
        parse_options=arrow_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=arrow_csv.ConvertOptions(column_types={f"f{i}": pa.string() for i in range(num_fields)}),
    )
    names = unique_names((column[0].as_py() for column in table.columns), source)
    return from_arrow(table.slice(1).rename_columns(names), source)


def _header(data: bytes, delimiter: str) -> list[str]:
    text = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8", errors="replace", newline="")
    return next(row for row in csv.reader(text, delimiter=delimiter) if row)


def _read_line_by_line(data: bytes, delimiter: str, source: str) -> Table:
    rows = _rows(data.decode("utf-8", "surrogateescape"), delimiter, source)
    names = unique_names((_DAMAGED.sub("\ufffd", name) for name in next(rows)), source)
    columns: list[list[str | None]] = [[] for _ in names]
    rejected = []
    for number, row in enumerate(rows, start=1):
        cells: list[str | None] = list(row)
        if len(row) > len(names) and not any(cell.strip() for cell in row[len(names) :]):
            cells = cells[: len(names)]  # nothing but delimiters at the end of the line
        if len(cells) != len(names):
            reason = f"{len(cells)} fields where the header has {len(names)}"
            if len(cells) > len(names):
                # Which cell was split cannot be known, so none behind it can be trusted.
                reason += "; the whole row is left out (a cell that holds the delimiter needs quotes)"
                cells = []
            rejected.append(Rejected(source, number, "", reason))
            cells += [None] * (len(names) - len(cells))
        for name, column, cell in zip(names, columns, cells, strict=True):
            if cell is not None and _DAMAGED.search(cell):
                rejected.append(Rejected(source, number, name, "not UTF-8"))
                cell = None
            column.append(cell)
    return Table(dict(zip(names, columns, strict=True)), source=source, rejected=rejected)


def _rows(text: str, delimiter: str, source: str) -> Iterator[list[str]]:
    """The rows of a CSV that are not blank, the header first.

    Raises:
        ValueError: A quote is never closed, which swallows every row behind it.
    """
    record: list[str] = []  # the lines of the record that is being read

    def lines() -> Iterator[str]:
        for line in io.StringIO(text, newline=""):
            record.append(line)
            yield line

    num_fields = 0
    limit = csv.field_size_limit(2**31 - 1)
    try:
        reader = csv.reader(lines(), delimiter=delimiter)
        for row in reader:
            lines_of_row = record.copy()
            record.clear()
            num_fields = num_fields or len(row)
            if row and (len(row) > 1 or num_fields == 1 or row[0].strip()):
                yield row
        if len(lines_of_row) > 1 and not _is_closed(lines_of_row, delimiter):
            raise ValueError(
                f"{source}: the quote opened in line {reader.line_num - len(lines_of_row) + 1} is never closed: all "
                "lines after it would be one cell. Close it, or double a quote that belongs to the text."
            )
    finally:
        csv.field_size_limit(limit)


def _is_closed(lines: list[str], delimiter: str) -> bool:
    try:
        list(csv.reader(lines, delimiter=delimiter, strict=True))
    except csv.Error as error:
        return "unexpected end of data" not in str(error)
    return True


# --- JSON lines and Parquet


def _read_json_lines(path: Path) -> Table:
    rejected = []
    records = []
    lines = [line for line in _read_text(path).split(b"\n") if line.strip()]
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line.decode("utf-8", "surrogateescape"))
            reason = None if isinstance(record, dict) else f"a JSON {type(record).__name__} where an object is expected"
        except (json.JSONDecodeError, RecursionError) as error:
            reason = f"not JSON: {error}"
        if reason is not None:
            rejected.append(Rejected(str(path), number, "", reason))
            record = {}
        record = dict(_flat(record))
        for name, cell in record.items():
            if isinstance(cell, str) and _DAMAGED.search(cell):
                rejected.append(Rejected(str(path), number, name, "not UTF-8"))
                record[name] = None
        records.append(record)
    table = from_records(records, str(path))
    table.rejected = rejected
    return table


def _flat(record: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Objects inside objects as names with dots: `{"size": {"wing": 3}}` has the column `size.wing`."""
    for name, cell in record.items():
        if isinstance(cell, dict):
            yield from _flat(cell, f"{prefix}{name}.")
        else:
            yield prefix + name, cell


def _read_parquet(path: Path) -> Table:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        return from_arrow(parquet.read_table(path), str(path))
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{path.name} cannot be read as Parquet: {error}") from None


# --- Folders


def _read_folder(folder: Path) -> Table:
    entries = sorted(entry for entry in folder.iterdir() if not _is_clutter(entry.name))
    modalities = [entry for entry in entries if entry.is_dir()]
    tables = [entry for entry in entries if entry.is_file() and _suffix(entry) in TABLE_FILES]
    if not modalities and tables and all(table.suffix.lower() == ".parquet" for table in tables):
        table = _read_parquet(folder)
        table.folder = folder
        return table
    if not modalities:
        found = ", ".join(entry.name for entry in entries[:5]) or "nothing"
        raise ValueError(
            f"The folder {quote(folder, 200)} has no sub-folders; it holds {found}. Expected one sub-folder to a "
            "modality, with files of one item under the same name: photo/001.png, song/001.wav."
        )
    if len(tables) > 1:
        listed = " and ".join(table.name for table in tables[:2])
        raise ValueError(f"Folder {quote(folder, 200)} has two tables, {listed}. Keep one, or give the one to read.")
    return _join_files(folder, modalities, read_path(tables[0]) if tables else None)


def _join_files(folder: Path, modalities: list[Path], table: Table | None) -> Table:
    files: dict[str, dict[str, str]] = {}
    second: list[tuple[str, str, str, str]] = []  # stem, modality, this file, the file that came first
    for modality in modalities:
        of_stem = files.setdefault(_legible(modality.name), {})
        for file in _files(modality):
            stem = file.relative_to(modality).with_suffix("").as_posix()
            if stem in of_stem:
                second.append((stem, _legible(modality.name), str(file), of_stem[stem]))
            else:
                of_stem[stem] = file.relative_to(folder).as_posix()
    stems = dict.fromkeys(sorted({stem for of_stem in files.values() for stem in of_stem}))
    row_of = {} if table is None else _rows_by_stem(table, stems)
    keys = [*stems, *(stem for stem in row_of if stem not in stems)]
    number = {key: place for place, key in enumerate(keys, start=1)}
    # A row that names no file is an item all the same, without a key.
    unnamed = [] if table is None else sorted(set(range(table.num_rows)) - set(row_of.values()))
    rows = [*(row_of.get(key) for key in keys), *unnamed]

    columns: dict[str, list[Any]] = {"key": [*map(_legible, keys), *([None] * len(unnamed))]}
    columns |= {name: [of_stem.get(key) for key in keys] + [None] * len(unnamed) for name, of_stem in files.items()}
    rejected = [
        Rejected(file, number[stem], modality, f"a second file for one item: {first} is taken")
        for stem, modality, file, first in second
    ]
    if table is not None:
        unique_names([*columns, *(name for name in table.columns if name != "key")], str(folder))
        for name in table.columns:
            cells = table[name]
            columns.setdefault(name, [None if row is None else cells[row] for row in rows])
        rejected += table.rejected
    return Table(columns, folder=folder, source=str(folder), rejected=rejected)


def _rows_by_stem(table: Table, stems: dict[str, None]) -> dict[str, int]:
    """The row of each stem, by the column whose cells name the most files, with or without their suffix."""

    def to_stem(cell: Any) -> str:
        return cell if (cell := str(cell)) in stems else os.path.splitext(cell)[0]

    by_column = {name: [None if cell is None else to_stem(cell) for cell in table[name]] for name in table.columns}
    name = max(by_column, key=lambda name: sum(stem in stems for stem in by_column[name]))
    named = [stem for stem in by_column[name] if stem is not None]
    if not any(stem in stems for stem in named):
        raise ValueError(
            f"No column of {table.source} holds the names of the files beside it, such as "
            f"{quote(next(iter(stems), ''))}. Add one, or give the table itself if its cells are paths."
        )
    if len(set(named)) < len(named):
        raise ValueError(f"Column {quote(name)} of {table.source} names one file in two rows. Expected one row each.")
    return {stem: row for row, stem in enumerate(by_column[name]) if stem is not None}


def _legible(name: str) -> str:
    """The name of a file, with codes in the place of bytes that are not UTF-8: it is written to tables and models."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def _files(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not _is_clutter(name))
        yield from (Path(root, name) for name in sorted(names) if not _is_clutter(name))


def _is_clutter(name: str) -> bool:
    """What file managers leave behind."""
    return name.startswith((".", "__MACOSX")) or name.lower() in ("thumbs.db", "desktop.ini")
