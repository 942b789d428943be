"""Which rows of the benchmark of methods are trained again, and how far their scores may be off.

On one machine one seed gives one result. Another processor adds in another order, and a training that differs in the
last digit at its first step ends about as far away as one of another seed. Tolerances are therefore wide: they tell a
method that broke, not one that was rounded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from method_rows import FLOORS, Row, in_force

DATA = "digits-small"
# By the last part of a score's name. Shares in percent points; the rest in units of the committed score, but not less
# than a number: a variance of 0.01 is not wrong by being 0.02.
POINTS = {"coherence": 6.0, "coherence_of_means": 6.0, "precision1": 6.0, "probe": 3.0, "r1": 3.0, "r10": 6.0}
RELATIVE = {"frechet": (0.3, 2.0), "variance": (0.3, 0.1), "nats": (0.05, 30.0)}


def choose(rows: Sequence[Row], count: int) -> list[Row]:
    """`count` rows of the first seed, by lot: those with the lowest hashes among the faster half.

    Any change of settings draws anew, so that it is not always the same methods; slow ones would not fit into CI.
    """
    methods = [row for row in in_force(rows) if row["data"] == DATA and row["method"] != FLOORS and row["seed"] == 0]
    by_time = sorted(methods, key=lambda row: row["costs"]["train_cpu_seconds"] or float("inf"))
    faster = by_time[: max(count, -(-len(by_time) // 2))]
    return sorted(faster, key=lambda row: row["hash"])[:count]


def wrong_scores(committed: Mapping[str, Any], again: Mapping[str, Any]) -> list[str]:
    """Scores further off than allowed, in words; also those that only one of the two has."""
    before, now = dict(leaves(committed)), dict(leaves(again))
    return [
        f"{name} was {before.get(name)} and is {now.get(name)}"
        for name in dict.fromkeys([*before, *now])
        if not near(name, before.get(name), now.get(name))
    ]


def leaves(scores: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float | None]]:
    """Every score by its path, as in `joint/coherence`."""
    for name, value in scores.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{name}/")
        else:
            yield prefix + name, value


def near(name: str, before: float | None, now: float | None) -> bool:
    """Whether a score is as near as it should be; one without a tolerance, such as an error bar, always is."""
    first, last = name.split("/")[0], name.split("/")[-1]
    points = POINTS.get(first, POINTS.get(last))
    relative = RELATIVE.get(last)
    if points is None and relative is None:
        return True
    if before is None or now is None:
        return before is now
    if points is None:
        share, least = relative or (0.0, 0.0)
        points = max(share * abs(before), least)
    return abs(now - before) <= points
