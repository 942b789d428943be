"""Splits: a pure function of the key, groups whole, shares right, columns read as people write them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.data import assign_split, count_duplicates, read_split

KEYS = [f"item {i}" for i in range(5000)]


def test_the_split_of_known_keys_never_changes():
    # Runs of years ago must still find their test items: a change here breaks every run folder there is.
    split = assign_split([f"k{i}" for i in range(30)])
    assert np.flatnonzero(split == "validation").tolist() == [0, 16, 17, 22, 24]
    assert np.flatnonzero(split == "test").tolist() == [3, 5, 6, 9, 11, 15]


def test_shares():
    split = assign_split(KEYS, fractions=(0.5, 0.2, 0.3))
    for name, share in (("train", 0.5), ("validation", 0.2), ("test", 0.3)):
        # Five standard deviations of a binomial share.
        assert abs((split == name).mean() - share) < 5 * (share * (1 - share) / len(KEYS)) ** 0.5


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(300)), st.integers(150, 300))
def test_an_item_stays_where_it_is(order, num_rows):
    whole = dict(zip(KEYS[:300], assign_split(KEYS[:300]), strict=True))
    keys = [KEYS[i] for i in order[:num_rows]]
    assert assign_split(keys).tolist() == [whole[key] for key in keys]


def test_another_salt_gives_another_split():
    assert (assign_split(KEYS) != assign_split(KEYS, salt="other")).mean() > 0.2


@pytest.mark.parametrize("num_groups", [10, 40, 400])
def test_groups_stay_whole(num_groups):
    groups = [i % num_groups for i in range(5000)]
    split = assign_split(KEYS, groups)
    assert all(len(set(split[group::num_groups])) == 1 for group in range(num_groups))
    assert set(split) == {"train", "validation", "test"}


def test_an_item_without_group_goes_by_its_key():
    assert assign_split(KEYS, [None] * 5000).tolist() == assign_split(KEYS).tolist()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(max_size=3), min_size=10, max_size=14, unique=True), st.text(max_size=2))
def test_ten_items_fill_every_split(keys, salt):
    assert set(assign_split(keys, salt=salt)) == {"train", "validation", "test"}
    assert "test" not in assign_split(keys, fractions=(0.8, 0.2, 0.0), salt=salt)


def test_wrong_shares_and_groups():
    with pytest.raises(ValueError, match=r"Fractions of a split are \(0.8, 0.1, 0.2\)"):
        assign_split(KEYS, fractions=(0.8, 0.1, 0.2))
    with pytest.raises(ValueError, match="1 groups for 2 keys"):
        assign_split(["a", "b"], ["x"])


def test_a_split_column_is_read_as_people_write_it():
    cells = ["train", " Training", "VAL", "valid", "dev", "validation", "Test", "testing", None]
    expected = ["train"] * 2 + ["validation"] * 4 + ["test"] * 2 + [""]
    assert read_split(cells).tolist() == expected


def test_a_split_column_that_is_none():
    with pytest.raises(ValueError, match=r"'fold' holds 'tset' \(row 2\), '3' \(row 5\)\..* Did you mean 'test'\?"):
        read_split(["train", "tset", None, "tset", 3], "fold")
    with pytest.raises(ValueError, match="'fold' has no training item"):
        read_split(["test", None], "fold")


def test_duplicates_across_splits():
    split = ["train", "train", "validation", "validation", "test", "test", "test"]
    digests = ["a", None, "a", "b", "a", "b", None]
    assert count_duplicates(digests, np.array(split)) == {
        ("validation", "train"): 1,
        ("test", "train"): 1,
        ("test", "validation"): 2,
    }
