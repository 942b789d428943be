"""Numbers and names as a reader wants them."""

from __future__ import annotations

import math
from collections.abc import Sequence

NONE = "–"


def figure(value: float | None, digits: int = 3) -> str:
    """A number with so many significant digits, in plain notation where that is short; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return NONE
    # Rounded first: 0.9999 has one digit before the point, as 1.00 does.
    mantissa, size = f"{value:.{digits - 1}e}".split("e")
    if not -4 <= int(size) < 7:
        return f"{mantissa}e{int(size)}"
    return f"{value:,.{max(0, digits - 1 - int(size))}f}" if value else "0"


def percent(share: float | None, n: int | None = None) -> str:
    """A share as per cent. A place behind the point is shown where `n` items are enough for it to mean something."""
    if share is None or not math.isfinite(share):
        return NONE
    decimals = 1 if (n is not None and n >= 1000) or 0 < share < 0.0095 or 0.9905 < share < 1 else 0
    return f"{100 * share:.{decimals}f}%"


def count(number: int, noun: str) -> str:
    """`"1,234 items"`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def listed(names: Sequence[str], limit: int = 12) -> str:
    """`"image, audio and caption"`."""
    shown = list(names)
    if len(shown) > limit:
        shown = [*shown[: limit - 1], f"{len(names) - limit + 1} more"]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}" if shown else "nothing"


def duration(seconds: float) -> str:
    """`"4 min 10 s"`."""
    whole = round(seconds)
    if whole < 60:
        return f"{figure(seconds, 2)} s"
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {whole % 60} s"


def shortened(text: str, limit: int = 60) -> str:
    """On one line, cut in the middle to `limit` characters."""
    line = " ".join(text.split())
    half = (limit - 1) // 2
    return line if len(line) <= limit else f"{line[:half]}…{line[-half:]}"
