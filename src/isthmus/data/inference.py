"""What a column holds, judged by its cells. Every answer carries its reason, and every answer can be overruled.

The rules, in their order, for text cells that are not blank:

1. paths, by their ending: picture, sound, `.npy` (what the arrays are like decides: vector, series or image), `.txt`
2. numbers: nine in ten cells are; but one leading zero (08376) makes all of them codes, which are categories
3. dates: nine in ten cells are, in one form; 01/02/2024 alone does not tell day from month, and is no date
4. lists of numbers, as JSON: vector if of one length, else series
5. text, by the column's name: caption, description, comment...
6. identifiers: at least 95% different, each a single word of ASCII. They tell nothing and are ignored
7. categories: each appears twice on average, in four words at most
8. text

The words NA, N/A, NaN, null, None, "-" and "?" are gaps under 1 to 4 and ordinary values under 5 to 8: "NA" in a column
of country codes is Namibia.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from math import inf, isfinite
from numbers import Number
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.data import dates

IMAGE_FILES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".jp2")
AUDIO_FILES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".aif", ".aiff", ".au")
ARRAY_FILES = (".npy",)
TEXT_FILES = (".txt", ".md")

GAP_WORDS = frozenset({"na", "n/a", "nan", "null", "none", "-", "?"})
NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
DECIMAL_COMMA = re.compile(r"[+-]?\d+(?:,\d+)?")
INFINITE = re.compile(r"[+-]?inf(?:inity)?", re.IGNORECASE)

# 3,5 and 0,125 but not 1,000: three digits behind a comma may as well be thousands.
_SURE_DECIMAL_COMMA = re.compile(r"[+-]?(?:0,\d+|\d+(?:,(?:\d{1,2}|\d{4,}))?)")
_LEADING_ZERO = re.compile(r"[+-]?0\d+")
_CODE = re.compile(r"[\x21-\x7e]+")
_TEXT_NAMES = frozenset(
    "abstract answer caption captions comment comments definition desc description lyrics message prompt question "
    "review sentence summary text transcript transcription utterance 描述 说明 文本 文字 标题 句子 评论".split()
)
_ID_NAMES = frozenset("id uuid guid index key".split())
_MAX_CATEGORIES = 1000
_MOST = 0.9


@dataclass(frozen=True)
class Guess:
    """What a column holds.

    Args:
        kind: Name of its kind; "" where it should be ignored.
        note: Why, in words.
        format: How its cells are written, see `Column.format`.
        told: The kind it has if it is to be a modality all the same; for a kind that is "" only.
    """

    kind: str
    note: str
    format: str = ""
    told: str = "text"


def guess_kind(name: str, cells: Sequence[Any], folder: Path) -> Guess:
    """The kind of a column by its cells.

    Args:
        name: The column's name: it decides between text and category, and helps to know identifiers.
        cells: Cells that are not gaps; at least one.
        folder: What relative paths are relative to, to look into `.npy` files.
    """
    kinds = Counter(_type(cell) for cell in cells)
    commonest = kinds.most_common(1)[0][0]
    if set(kinds) == {"text", "number"}:
        cells = [str(cell) for cell in cells]
        commonest = "text"
    if commonest == "text":
        guess = _guess_text(name, [cell for cell in cells if isinstance(cell, str)], folder)
    else:
        guess = _guess_object(commonest, [cell for cell in cells if _type(cell) == commonest], name)
    return guess if not guess.kind else _unless_constant(guess, cells)


def _type(cell: Any) -> str:
    match cell:
        case str():
            return "text"
        case bool():
            return "bool"
        case Number():
            return "number"
        case date():
            return "date"
        case bytes():
            return "bytes"
        case np.ndarray():
            return "array"
        case (np.ndarray() | list(), int() | float()):
            return "sound"
        case list() | tuple():
            return "list"
        case _ if hasattr(cell, "getbands"):  # a PIL image, without importing PIL
            return "picture"
        case _:
            return type(cell).__name__


def _unless_constant(guess: Guess, cells: Sequence[Any]) -> Guess:
    if guess.kind in ("number", "date") or guess.format in ("file", "json"):
        cells = [cell for cell in cells if not is_gap_word(cell)]
    first = cells[0] if cells else None
    is_plain = isinstance(first, str | bytes | Number | date)
    if len(cells) > 1 and (not is_plain or any(cell != first for cell in cells)):
        return guess
    note = "only one row has a value" if len(cells) == 1 else "the same in every row"
    return Guess("", f"{note}; tells nothing", guess.format, told=guess.kind)


def is_gap_word(cell: Any) -> bool:
    """Whether a cell is a word for a gap, such as NA; see the module for the columns in which it is one."""
    # The length is asked first as this is asked of every cell: four letters, and some blanks around them.
    return isinstance(cell, str) and len(cell) < 12 and cell.strip().casefold() in GAP_WORDS


# --- Text


def _guess_text(name: str, cells: list[str], folder: Path) -> Guess:
    counts = Counter(cells)
    words = {cell: count for cell, count in counts.items() if not is_gap_word(cell)}
    if not words:
        return Guess("", f"nothing but {', '.join(sorted(counts)[:3])}", told="category")
    total = sum(words.values())
    return (
        _guess_files(words, total, folder)
        or _guess_number(name, words, total, cells)
        or _guess_date(words)
        or _guess_json(words, total)
        or _guess_words(name, counts, len(cells))
    )


def _guess_files(words: dict[str, int], total: int, folder: Path) -> Guess | None:
    endings: Counter[str] = Counter()
    for cell, count in words.items():
        stem, dot, ending = cell.rstrip().rpartition(".")
        if stem and len(cell) <= 1024 and "\n" not in cell:
            endings[dot + ending.lower()] += count
    for kind, files in (("image", IMAGE_FILES), ("audio", AUDIO_FILES), ("", ARRAY_FILES), ("text", TEXT_FILES)):
        if 2 * sum(endings[ending] for ending in files) > total:
            found = ", ".join(ending for ending, _ in endings.most_common() if ending in files)
            if not kind:
                kind, shape = _guess_array_files(list(words), folder)
                found += shape
            return Guess(kind, f"files ending in {found}", "file")
    return None


def _guess_number(name: str, words: dict[str, int], total: int, cells: list[str]) -> Guess | None:
    counts = {"": 0, "decimal comma": 0}
    has_leading_zero = has_comma = False
    for cell, count in words.items():
        cell = cell.strip()
        if NUMBER.fullmatch(cell) or INFINITE.fullmatch(cell):
            counts[""] += count
            has_leading_zero = has_leading_zero or _LEADING_ZERO.fullmatch(cell) is not None
        if _SURE_DECIMAL_COMMA.fullmatch(cell):
            counts["decimal comma"] += count
            has_comma = has_comma or "," in cell
    format = "decimal comma" if has_comma and counts["decimal comma"] > counts[""] else ""
    if counts[format] < _MOST * total:
        return None
    if has_leading_zero and not format:
        return _guess_codes(words, total)
    numbers = [cell for cell in cells if NUMBER.fullmatch(cell.strip())]
    return _guess_counter(name, numbers, len(words) == total) or Guess("number", _number_note(words, format), format)


def _number_note(words: dict[str, int], format: str) -> str:
    if format:
        return "numbers with a decimal comma"
    whole = all(cell.strip().lstrip("+-").isdigit() for cell in words)
    if whole and len(words) <= 20 and sum(words.values()) >= 2 * len(words):
        return f"{len(words)} whole numbers; say category if they are codes"
    return "whole numbers" if whole else "numbers"


def _guess_codes(words: dict[str, int], total: int) -> Guess:
    if len(words) >= 0.95 * total and total > 1:
        return Guess("", "codes with leading zeros, nearly all different")
    if len(words) > _MAX_CATEGORIES:
        return Guess("", f"{len(words)} codes with leading zeros, too many to be categories")
    return Guess("category", f"{len(words)} codes with leading zeros")


def _guess_counter(name: str, numbers: Sequence[Any], are_different: bool) -> Guess | None:
    """Row counters (0, 1, 2... or 1, 2, 3...), and different numbers in a column that is named like an identifier."""
    if are_different and len(numbers) >= 10:
        first = _as_float(numbers[0])
        if first in (0, 1) and all(_as_float(number) - first == place for place, number in enumerate(numbers)):
            return Guess("", "counts the rows", told="number")
        if _name_words(name)[-1:] in ([word] for word in _ID_NAMES):
            return Guess("", "identifiers, by the name and as all are different", told="number")
    return None


def _as_float(number: Any) -> float:
    try:
        return float(number)
    except OverflowError:  # an int beyond the largest float
        return inf


def _guess_date(words: dict[str, int]) -> Guess | None:
    forms = dates.find_forms(words, _MOST)
    if not forms:
        return None
    if dates.is_ambiguous(forms):
        month_first = next(form for form in forms if form.startswith(("%m", "%-m")))
        note = f"dates that may start with the day or the month; say date:{forms[0]} or date:{month_first}"
        return Guess("", note, told="date")
    return Guess("date", f"dates such as {next(iter(words))}", forms[0])


def _guess_json(words: dict[str, int], total: int) -> Guess | None:
    if 2 * sum(count for cell, count in words.items() if cell.lstrip().startswith("[")) <= total:
        return None
    arrays = []
    for cell in list(words)[:100]:
        try:
            arrays.append(np.asarray(json.loads(cell), dtype=np.float32))
        except (ValueError, TypeError):
            continue
    if 2 * len(arrays) <= min(len(words), 100):
        return None
    kind, shape = _guess_arrays([(array.shape, array.dtype) for array in arrays])
    return Guess(kind, f"lists of numbers{shape}", "json")


def _guess_words(name: str, counts: Counter[str], total: int) -> Guess:
    words = list(counts)
    if not _TEXT_NAMES.isdisjoint(_name_words(name)):
        return Guess("text", "text, by its name")
    num_codes = sum(_CODE.fullmatch(cell.strip()) is not None for cell in words)
    if total > 1 and len(words) >= 0.95 * total and num_codes >= 0.95 * len(words):
        return Guess("", "single words, nearly all different: identifiers tell nothing")
    # In a few rows hardly anything has the time to come twice.
    repeats = total >= 2 * len(words) or (total < 20 and len(words) < total)
    mean_words = sum(len(cell.split()) for cell in words) / len(words)
    if repeats and mean_words <= 4 and len(words) <= _MAX_CATEGORIES:
        return Guess("category", f"{len(words)} different values")
    return Guess("text", "text")


def _name_words(name: str) -> list[str]:
    """The words of a column name: `definition_en`, `imageCaption`, `patient-id`."""
    return [word.casefold() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_a-zA-Z]+", name)]


# --- Objects


def _guess_object(type_name: str, cells: Sequence[Any], name: str) -> Guess:
    match type_name:
        case "bool":
            return Guess("category", "true or false")
        case "number":
            whole = all(value.is_integer() for value in map(_as_float, cells) if isfinite(value))
            counter = _guess_counter(name, cells, len(set(cells)) == len(cells)) if whole else None
            return counter or Guess("number", "whole numbers" if whole else "numbers")
        case "date":
            has_time = any(isinstance(cell, datetime) for cell in cells)
            return Guess("date", "times" if has_time else "dates")
        case "picture":
            return Guess("image", "pictures")
        case "sound":
            return Guess("audio", "waveforms with their rate")
        case "bytes":
            return _guess_bytes(cells)
        case "array" | "list":
            return _guess_lists(cells)
        case _:
            return Guess("", f"cells of type {type_name}, which no kind reads")


def _guess_lists(cells: Sequence[Any]) -> Guess:
    parts = [part for cell in cells[:100] if isinstance(cell, list | tuple) for part in cell]
    if parts and all(isinstance(part, str) for part in parts):
        return Guess("text", "lists of words, joined by commas")
    try:
        arrays = [np.asarray(cell) for cell in cells]
    except ValueError:
        return Guess("", "lists whose inner lists differ in length")
    if any(array.dtype.kind not in "biuf" for array in arrays[:100]):
        return Guess("", "arrays that hold no numbers")
    kind, shape = _guess_arrays([(array.shape, array.dtype) for array in arrays])
    return Guess(kind, f"arrays{shape}")


def _guess_arrays(arrays: Sequence[tuple[tuple[int, ...], np.dtype]]) -> tuple[str, str]:
    """Kind of the arrays that have these shapes and types, and the commonest shape in words."""
    shape = Counter(shape for shape, _ in arrays).most_common(1)[0][0]
    same_shape = all(other == shape for other, _ in arrays)
    words = f" of shape {' x '.join(map(str, shape))}" if same_shape else " of different lengths"
    bytes_ = all(dtype in (np.uint8, np.uint16) for _, dtype in arrays)
    if (len(shape) == 3 and (shape[0] in (1, 3, 4) or shape[-1] in (1, 3, 4))) or (len(shape) == 2 and bytes_):
        return "image", words
    if len(shape) == 1 and same_shape:
        return "vector", words
    return "series", words


def _guess_array_files(cells: Sequence[str], folder: Path) -> tuple[str, str]:
    found = [header for cell in cells[:50] if (header := _npy_header(folder / cell.strip())) is not None]
    return _guess_arrays(found) if found else ("series", "")


def _npy_header(path: Path) -> tuple[tuple[int, ...], np.dtype] | None:
    """Shape and type of the array in an `.npy` file; None where it is none. Reads the header alone."""
    if not os.path.isfile(path):  # `Path.is_file` raises where a name is too long
        return None
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(file)
    except (OSError, ValueError):
        return None
    return shape, dtype


def _guess_bytes(cells: Sequence[bytes]) -> Guess:
    kinds = Counter(_sniff(cell) for cell in cells[:1000])
    kind = kinds.most_common(1)[0][0]
    notes = {"image": "bytes that are pictures", "audio": "bytes that are sounds"}
    return Guess(kind, notes.get(kind, "bytes of no known kind"))


def _sniff(data: bytes) -> str:
    """Kind of the file that these bytes are, by how they start."""
    if data.startswith((b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\x00", b"MM\x00*", b"P5", b"P6")):
        return "image"
    if data.startswith(b"RIFF"):
        return "image" if data[8:12] == b"WEBP" else "audio"
    mp3 = (b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2")
    return "audio" if data.startswith((b"fLaC", b"OggS", b"FORM", *mp3)) else ""
