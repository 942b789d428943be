"""Batches: gaps hold nothing, and views of a batch agree with each other."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from isthmus.batch import Batch, Masked, concatenate, take


def _batch() -> Batch:
    image = torch.arange(4.0)[:, None].expand(4, 2)
    text = Masked(torch.arange(12).view(4, 3), torch.tensor([[1, 1, 1], [1, 0, 0], [1, 1, 0], [1, 1, 1]]).bool())
    return Batch.from_dense(
        {"image": image, "text": text},
        {"image": torch.tensor([True, False, True, True]), "text": torch.tensor([False, True, True, False])},
    )


def test_from_dense_keeps_only_what_is_there():
    batch = _batch()
    assert_close(batch.values["image"][:, 0], torch.tensor([0.0, 2.0, 3.0]))
    assert_close(batch.values["text"].value[:, 0], torch.tensor([3, 6]))
    assert_close(batch.rows("image"), torch.tensor([0, 2, 3]))
    assert_close(batch.presence(["text", "sound"]), torch.tensor([[False, True, True, False], [False] * 4]))
    batch.check_counts()


@given(st.lists(st.integers(0, 3), min_size=0, max_size=6))
@settings(deadline=None, max_examples=50)
def test_take_equals_taking_one_by_one(rows):
    batch = _batch()
    taken = batch.take(torch.tensor(rows, dtype=torch.long))
    taken.check_counts()
    assert taken.index.tolist() == rows
    expected = [float(r) for r in rows if r != 1]
    assert taken.values["image"][:, 0].tolist() == expected


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_rows_of_pictures_keep_their_layout(layout):
    pictures = torch.arange(3 * 2 * 4 * 5.0).view(3, 2, 4, 5).contiguous(memory_format=layout)
    rows = torch.tensor([2, 0, 2, 1])
    taken = take(pictures, rows)
    assert torch.equal(taken, pictures[rows])
    assert taken.is_contiguous(memory_format=layout)


def test_slots_point_at_rows():
    batch = _batch()
    for name in ("image",):
        values = batch.values[name][batch.slots(name)]
        assert_close(values[batch.present[name]], batch.values[name])


def test_drop_and_only():
    batch = _batch()
    assert batch.drop("image", at=0).present["image"].tolist() == [False, False, True, True]
    assert len(batch.drop("image").values["image"]) == 0
    assert batch.drop("image", at=[]).present["image"].equal(batch.present["image"])
    assert batch.only("text").modalities == ("text",)
    assert batch.modalities == ("image", "text"), "a view changed the batch"


def test_concatenate_pads_to_the_longest():
    short, long = Masked(torch.ones(1, 1), torch.ones(1, 1).bool()), Masked(torch.ones(2, 3), torch.ones(2, 3).bool())
    joined = concatenate([short, long])
    assert joined.mask.tolist() == [[True, False, False], [True] * 3, [True] * 3]


def test_errors_name_what_was_given():
    batch = _batch()
    with pytest.raises(ValueError, match=r"'imgae' in only\(...\). This batch has image, text. Did you mean 'image'"):
        batch.only("imgae")
    with pytest.raises(ValueError, match=r"one row per item"):
        Batch.from_dense({"a": torch.zeros(3, 1), "b": torch.zeros(2, 1)})
    with pytest.raises(ValueError, match=r"presence of 'c', which has no values"):
        Batch.from_dense({"a": torch.zeros(3, 1)}, {"c": torch.ones(3).bool()})
    with pytest.raises(TypeError, match=r"Expected bool, True = observed"):
        Batch({"a": torch.zeros(3, 1)}, {"a": torch.ones(3)})
    with pytest.raises(ValueError, match=r"got 3 rows of 'a', but 2 items have it"):
        Batch({"a": torch.zeros(3, 1)}, {"a": torch.tensor([True, True, False])}).check_counts()
    with pytest.raises(ValueError, match=r"Expected a bool mask over the leading axes"):
        Masked(torch.zeros(2, 3), torch.zeros(2, 4).bool())
