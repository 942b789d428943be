"""What the tests show of each method: a mark on a test, and the marks of all of them.

    @shows("identity", "mopoe", "mvtcae")
    def test_...

`scripts/write_tests_of_methods.py` makes a page of the documentation of them. The name of a test is the sentence that
it shows.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# And how each is called where there are several.
KINDS = {
    "closed form": "closed forms",
    "identity": "identities",
    "second implementation": "second implementations",
}
MARKS = "__shows__"


@dataclass(frozen=True)
class Shown:
    """One mark: the test `test` of `module` shows something of `methods`, in a way that is one of `KINDS`."""

    kind: str
    methods: tuple[str, ...]
    module: str
    test: str

    @property
    def sentence(self) -> str:
        return self.test.removeprefix("test_").replace("_", " ")


def shows(kind: str, *methods: str) -> Callable[[Callable], Callable]:
    """Mark a test with what it shows: in which of `KINDS`, and of which methods.

    Raises:
        ValueError: Unknown kind, or no method.
    """
    if kind not in KINDS or not methods:
        raise ValueError(f"shows({kind!r}, {methods}) says nothing. Expected one of {', '.join(KINDS)}, and methods.")

    def mark(test: Callable) -> Callable:
        shown = Shown(kind, methods, test.__module__, test.__name__)
        setattr(test, MARKS, [*getattr(test, MARKS, []), shown])
        return test

    return mark


def all_shown() -> list[Shown]:
    """The marks of all tests, by module and in the order of its tests."""
    marked = (path for path in sorted(Path(__file__).parent.glob("test_*.py")) if "@shows(" in path.read_text("utf-8"))
    modules = [importlib.import_module(path.stem) for path in marked]
    tests = [test for module in modules for test in vars(module).values() if hasattr(test, MARKS)]
    # A helper or a test that one module has from another is told once, where it is written.
    return list({id(mark): mark for test in tests for mark in getattr(test, MARKS)}.values())
