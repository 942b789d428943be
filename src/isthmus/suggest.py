"""The nearest right name, for errors that answer a typo."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: object, choices: Iterable[object]) -> str:
    """`" Did you mean 'image'?"`, to end an error message with, or `""` where no choice is near.

    Case, and the difference between `-`, `_`, `.` and a space, do not count: `Wing-MM` is `wing_mm`.
    """
    by_plain = {_plain(choice): str(choice) for choice in choices}
    matches = get_close_matches(_plain(name), by_plain, n=1, cutoff=0.6)
    return f" Did you mean '{by_plain[matches[0]]}'?" if matches else ""


def _plain(name: object) -> str:
    return str(name).casefold().translate(str.maketrans("-. ", "___"))
