"""Values that people type are held against what takes them, before anything is done."""

from __future__ import annotations

import numpy as np
import pytest

from isthmus.given import check_plain
from isthmus.methods.base import build_method
from isthmus.testing.conformance import toy_modalities


def taker(
    number: float, count: int, maybe: int | None = None, either: str | float = "a", flag: bool = True, many: object = 0
) -> None: ...


@pytest.mark.parametrize(
    "given",
    [
        {"number": 1, "count": 3, "flag": False},
        {"number": np.float32(0.5), "count": np.int64(2)},
        {"maybe": None, "either": 0.3},
        {"maybe": 4, "either": "learned"},
        {"many": "what no plain annotation says", "unknown": []},
    ],
)
def test_values_of_the_right_type_pass(given):
    check_plain(taker, given, "Setting")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"number": "high"}, r"Setting: number is 'high'\. Expected a number\."),
        ({"number": True}, r"number is True\. Expected a number\."),
        ({"number": None}, r"number is None\. Expected a number\."),
        ({"count": 2.5}, r"count is 2\.5\. Expected a whole number\."),
        ({"maybe": "two"}, r"maybe is 'two'\. Expected a whole number or nothing \(null\)\."),
        ({"either": [1]}, r"either is \[1\]\. Expected a text or a number\."),
        ({"flag": 1}, r"flag is 1\. Expected true or false\."),
    ],
)
def test_others_are_refused_with_what_was_expected(given, message):
    with pytest.raises(ValueError, match=message):
        check_plain(taker, given, "Setting")


def test_annotations_that_cannot_be_read_are_left_alone():
    def strange(number: NotThere) -> None: ...  # noqa: F821

    check_plain(strange, {"number": "high"}, "Setting")


def test_an_option_of_a_method_is_looked_at_before_its_networks_are_made():
    with pytest.raises(ValueError, match=r"Option of method 'mvtcae': beta is 'high'\. Expected a number or"):
        build_method("mvtcae", toy_modalities(2), latent_dim=2, options={"beta": "high"})
