"""Dates in text: finding the form they are written in, reading them, and writing them in that very form again.

A form is a `strftime` format in which `%-d`, `%-m` stand for a day and month without leading zero, on every system.
Times with a zone are brought to UTC.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from functools import cache

# Of two forms that read a column equally well the one that writes it back unchanged is taken, then the earlier one.
FORMS = (
    "%Y-%m-%d",
    "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M:%SZ",
    "%Y-%m-%dT%H:%M:%S%z",
    "%Y-%m-%d %H:%M:%S%z",
    "%Y-%m-%dT%H:%M:%S.%f",
    "%Y-%m-%d %H:%M:%S.%f",
    "%Y-%m-%dT%H:%M:%S.%fZ",
    "%Y-%m-%dT%H:%M:%S.%f%z",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%d %H:%M",
    "%Y-%m",
    "%Y/%m/%d",
    "%Y/%-m/%-d",
    "%Y.%m.%d",
    "%Y-%-m-%-d",
    "%d.%m.%Y",
    "%-d.%-m.%Y",
    "%d/%m/%Y",
    "%-d/%-m/%Y",
    "%m/%d/%Y",
    "%-m/%-d/%Y",
    "%d-%m-%Y",
    "%m-%d-%Y",
    "%d %b %Y",
    "%-d %b %Y",
    "%d %B %Y",
    "%-d %B %Y",
    "%b %d, %Y",
    "%b %-d, %Y",
    "%B %d, %Y",
    "%B %-d, %Y",
    "%Y年%m月%d日",
    "%Y年%-m月%-d日",
)
# A text in one of these says the same as ISO 8601, which Python reads twenty times as fast as a form. Any other form
# that begins alike may mean something else, as `%Y-%m-%d %I:%M %p` does.
ISO_FORMS = frozenset(form for form in FORMS if form.startswith("%Y-%m-%d"))


def find_forms(counts: Mapping[str, int], share: float = 0.9, sample: int = 200) -> list[str]:
    """The forms in which at least `share` of the cells can be read, best first.

    Where no day is above 12 the cells do not tell 01/02/2024 from 02/01/2024, and both forms come back.

    Args:
        counts: The cells of a column and how often each occurs.
        share: Share of them that a form must be able to read.
        sample: How many different ones are looked at.
    """
    step = max(1, len(counts) // sample)
    cells = list(counts)[::step]
    total = sum(counts[cell] for cell in cells)
    fits = []
    for form in FORMS:
        if all(_in_form(cell, form) is None for cell in (cells[0], cells[-1], cells[len(cells) // 2])):
            continue  # three cells settle most columns that hold no dates
        moments = {cell: moment for cell in cells if (moment := _in_form(cell, form)) is not None}
        read = sum(counts[cell] for cell in moments)
        unchanged = sum(counts[cell] for cell, moment in moments.items() if write(moment, form) == cell.strip())
        if read >= share * total:
            fits.append((-read, -unchanged, form))
    best = min((read for read, _, _ in fits), default=0)
    # Python's sort keeps the order of FORMS among equals.
    return [form for read, _, form in sorted(fits, key=lambda fit: fit[:2]) if read == best]


def is_ambiguous(forms: Sequence[str]) -> bool:
    """Whether these forms differ in which comes first, day or month."""
    plain = {form.replace("%-", "%") for form in forms}
    return {"%d/%m/%Y", "%m/%d/%Y"} <= plain or {"%d-%m-%Y", "%m-%d-%Y"} <= plain


def parse(cell: str, form: str) -> date:
    """The `date` that a text says, or the `datetime` (in UTC where the text has a zone) if the form has a time.

    Parts may lack their leading zeros, as in 2024-1-5. A text in another form is read as well if it is ISO 8601: a new
    table may be written otherwise.

    Raises:
        ValueError: The text is no date in either form.
        OverflowError: A zone brings it before the year 1 or behind the year 9999.
    """
    text = cell.strip()
    first, second = (_from_iso, _from_form) if form in ISO_FORMS else (_from_form, _from_iso)
    try:
        moment = first(text, form)
    except ValueError:
        moment = second(text, form)
    return _settled(moment, form)


def write(moment: date, form: str) -> str:
    """The date or time in its form."""
    # Written by hand: strftime pads years below 1000 on some systems only, and knows %-d on some only.
    form = form.replace("%Y", f"{moment.year:04d}").replace("%-d", str(moment.day)).replace("%-m", str(moment.month))
    return moment.strftime(form.replace("%z", "+00:00"))


def _in_form(cell: str, form: str) -> date | None:
    """What a text says if it is written in this very form, else None."""
    try:
        return _settled(_from_form(cell.strip(), form), form)
    except (ValueError, OverflowError):
        return None


def _from_form(text: str, form: str) -> datetime:
    return datetime.strptime(text, form.replace("%-", "%"))


def _from_iso(text: str, form: str) -> datetime:
    # A bare run of digits is ISO 8601 too, but far more often it is a number that went astray.
    if text.isdigit():
        raise ValueError(f"{text} is not a date")
    return datetime.fromisoformat(text)


def _settled(moment: datetime, form: str) -> date:
    """In UTC without saying so, and without a time where the form has none."""
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    return moment if _has_time(form) else moment.date()


@cache
def _has_time(form: str) -> bool:
    return not {"H", "I", "M", "S", "f", "c", "X"}.isdisjoint(re.findall("%-?(.)", form))
