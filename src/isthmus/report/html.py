"""Fragments of HTML, and how many of them a page can carry."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


class Html(str):
    """Text that is HTML already, so that a template leaves it as it is. All else is escaped there."""

    def __html__(self) -> str:
        return self


def within(rows: Iterable[T], budget: int, size: Callable[[T], int]) -> list[T]:
    """The first rows whose fragments stay within `budget` characters, and one row in any case.

    Ten seconds of sound weigh as much as all the rest of a page.
    """
    kept: list[T] = []
    for row in rows:
        budget -= size(row)
        if kept and budget < 0:
            break
        kept.append(row)
    return kept
