"""What is said of retrieval: which routes are no better than chance, and which are too good to be believed."""

from __future__ import annotations

from html import unescape
from typing import Any

import numpy as np
import pytest

from isthmus.cli.evaluate import summary
from isthmus.evaluation.retrieval import at_chance, recall, remarks
from isthmus.report.scores import score_tables

NUM_ITEMS = 220


def entry(source: str, target: str, r1: float, r10: float, n: int = NUM_ITEMS, **floors: Any) -> dict[str, Any]:
    chance = {"chance1": 1 / n, "chance10": min(10, n) / n}
    return {"source": source, "target": target, "n": n, "r1": r1, "r10": r10, **chance, "floors": floors}


def test_codes_that_share_nothing_are_at_chance_and_one_shared_number_is_not():
    at, shared_at = [], []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        query, candidates, shared = (rng.normal(size=(NUM_ITEMS, width)) for width in (16, 16, 1))
        found = recall(query, candidates)
        at.append(at_chance({"r1": found[1], "r10": found[10]}, NUM_ITEMS))
        found = recall(np.hstack([query, 4 * shared]), np.hstack([candidates, 4 * shared]))
        shared_at.append(at_chance({"r1": found[1], "r10": found[10]}, NUM_ITEMS))
    # Two standard errors, in either of two scores: about one in twenty is called better without being so.
    assert np.mean(at) > 0.85 and np.mean(shared_at) < 0.1


@pytest.mark.parametrize(
    ("r1", "r10", "n", "expected"),
    [
        (1 / 220, 10 / 220, 220, True),
        (0.0, 0.0, 220, True),  # worse than chance is no better either
        (0.0, 0.073, 220, True),  # 0.0455 + 2 * 0.0140 = 0.0735
        (0.0, 0.074, 220, False),
        (0.013, 0.0, 220, True),  # 0.0045 + 2 * 0.0045 = 0.0136
        (0.014, 0.0, 220, False),
        (0.25, 1.0, 12, False),  # 10 of 12 are always among the first 10, but not in the first place
        (1.0, 1.0, 1, True),
    ],
)
def test_chance_ends_two_standard_errors_above_blind_guesses(r1, r10, n, expected):
    assert at_chance({"r1": r1, "r10": r10}, n) is expected


def test_routes_at_chance_are_named_with_their_figures_and_others_are_not():
    entries = [entry("picture", "sound", 0.005, 0.05), entry("picture", "pen", 0.9, 1.0, cca={"r1": 0.2, "r10": 0.7})]
    (said,) = remarks(entries)
    assert said.startswith("No better than chance: picture -> sound (5.0% among the first 10; chance 4.5%). Here")
    assert "this model learnt" in said and "leak" in said and "pen" not in said


def test_a_route_that_finds_all_where_linear_floors_find_none_may_be_a_leak():
    blind = {"cca": {"r1": 0.0, "r10": 0.05}, "ridge": {"r1": 0.01, "r10": 0.04}}
    (said,) = remarks([entry("picture", "sound", 0.95, 1.0, **blind)])
    assert said.startswith("Look for a leak: picture -> sound (100.0% among the first 10; chance 4.5%).")
    seen = {**blind, "cca": {"r1": 0.05, "r10": 0.2}}
    assert remarks([entry("picture", "sound", 0.95, 1.0, **seen)]) == []
    assert remarks([entry("picture", "sound", 0.5, 1.0, **blind)]) == []
    # Without a floor there is nothing to hold it against.
    assert remarks([entry("picture", "sound", 0.95, 1.0)]) == []
    # Of a single item all that finds anything finds it.
    assert "leak:" not in " ".join(remarks([entry("picture", "sound", 1.0, 1.0, n=1, **blind)]))


def test_many_routes_are_counted_and_none_says_nothing():
    many = [entry(f"m{i}", "sound", 0.0, 0.04) for i in range(8)]
    (said,) = remarks(many)
    assert "m5 -> sound" in said and "m6" not in said and "and 2 more routes." in said
    assert remarks([]) == [] and remarks([entry("a", "b", 0.5, 0.9, cca={"r1": 0.4, "r10": 0.8})]) == []


def test_report_and_command_line_say_it_too():
    entries = [entry("picture", "sound", 0.005, 0.05), entry("picture", "pen", 0.9, 1.0, cca={"r1": 0.2, "r10": 0.7})]
    scores = {name: [] for name in ("routes", "probe", "coherence", "notes")} | {"retrieval": entries, "label": None}
    (said,) = remarks(entries)
    assert said in summary(scores)
    (table,) = score_tables(scores)
    assert said in unescape(table.explanation)
    assert "chance:" not in score_tables({"retrieval": entries[1:]})[0].explanation
