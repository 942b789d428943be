"""The page that says which tests show what of which method is true to the tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from isthmus.methods import list_methods
from shown import all_shown, shows

ROOT = Path(__file__).resolve().parents[1]


def test_the_page_of_tests_is_what_the_tests_say(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    from write_tests_of_methods import PAGE, fill

    page = PAGE.read_text(encoding="utf-8")
    assert fill(page) == page, "docs/tests-of-methods.md is out of date: run 'python scripts/write_tests_of_methods.py'"


def test_every_method_is_shown_right_in_some_way():
    shown = {method for mark in all_shown() for method in mark.methods}
    assert shown == set(list_methods()), "a method without a mark, or a mark of what is no method"


def test_a_mark_that_says_nothing_is_refused():
    for kind, methods in (("a closed form", ("mvae",)), ("identity", ())):
        with pytest.raises(ValueError, match=r"says nothing. Expected one of closed form, identity"):
            shows(kind, *methods)
