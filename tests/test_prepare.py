"""From a table to stored tensors: what is learnt, what is left out, and what is said of it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from isthmus import saving
from isthmus.batch import Masked
from isthmus.data.prepare import data_hash, prepare, prepare_training
from isthmus.data.table import read_table
from isthmus.kinds.audio import Waveform


def _table(num_items=40, **columns):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(num_items, 3)).round(3)
    return read_table(
        {
            "id": [f"k{i}" for i in range(num_items)],
            "vector": values.astype(np.float32),
            "size": values[:, 0].tolist(),
            **columns,
        }
    )


def _split(train, validation, test):
    return ["train"] * train + ["validation"] * validation + ["test"] * test


def test_scaling_is_learnt_on_training_rows_only():
    table = _table(split=_split(30, 5, 5))
    far = table["vector"][:30] + [cell + 100 for cell in table["vector"][30:]]
    moved = prepare_training(table.with_columns({"vector": far}), roles={})
    near = prepare_training(table, roles={})
    assert near.kinds["vector"].to_config() == moved.kinds["vector"].to_config()


def test_a_split_column_without_validation_takes_it_from_training_and_leaves_test_alone():
    prepared = prepare_training(_table(90, split=_split(80, 0, 10)), roles={})
    assert prepared.rows("test").tolist() == list(range(80, 90))
    assert 2 <= len(prepared.rows("validation")) <= 20
    again = prepare_training(_table(90, split=_split(80, 0, 10)), roles={})
    assert np.array_equal(prepared.split, again.split)


@pytest.mark.parametrize("split", [None, _split(100, 0, 20)])
def test_groups_stay_whole_in_every_split(split):
    owners = [f"owner {row // 4}" for row in range(120)]
    columns = {"owner": owners} if split is None else {"owner": owners, "split": split}
    prepared = prepare_training(_table(120, **columns), roles={"group": "owner"})
    found = {name: {owners[row] for row in prepared.rows(name)} for name in ("train", "validation", "test")}
    assert all(found.values()) and sum(map(len, found.values())) == 30


def test_settings_reach_their_kind_and_typos_are_answered():
    prepared = prepare_training(_table(), roles={}, settings={"vector": {"scale": 0.5}})
    assert prepared.kinds["vector"].scale == 0.5
    with pytest.raises(ValueError, match=r"Settings name an unknown modality 'vectr'.*Did you mean 'vector'"):
        prepare_training(_table(), roles={}, settings={"vectr": {}})
    with pytest.raises(ValueError, match=r"Setting of modality 'vector', kind 'vector': length is 'abc'\. Expected a"):
        prepare_training(_table(), roles={}, settings={"vector": {"length": "abc"}})
    with pytest.raises(ValueError, match=r"has no setting 'scal'.*Did you mean 'scale'"):
        prepare_training(_table(), roles={}, settings={"vector": {"scal": 1}})


def test_a_modality_that_cannot_be_read_is_left_out_and_said(tmp_path):
    for i in range(40):
        (tmp_path / f"{i}.png").write_bytes(b"no picture")
    table = read_table(
        {"photo": [f"{i}.png" for i in range(40)], "size": np.linspace(0, 1, 40).tolist()}, folder=tmp_path
    )
    prepared = prepare_training(table, roles={})
    assert list(prepared.schema.modalities) == ["size"]
    assert "modality 'photo' was left out: Not one picture could be read" in prepared.notes[0]


def test_nothing_usable_is_an_error_before_any_work(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    table = read_table({"photo": ["a.png"] * 3 + [None]}, folder=tmp_path)
    with pytest.raises(ValueError, match=r"No modality of this table can be used:\n  modality 'photo' was left out"):
        prepare_training(table, roles={"kinds": {"photo": "image"}})


def test_exact_copies_across_splits_are_told_but_not_items_known_by_one_modality_alone():
    table = _table(split=_split(30, 5, 5))
    vectors, sizes = table["vector"], table["size"]
    copied = table.with_columns({"vector": [*vectors[:39], vectors[0]], "size": [*sizes[:39], sizes[0]]})
    assert prepare_training(copied, roles={}).notes == (
        "1 test item is an exact copy of train items: scores on them say little",
    )
    alone = copied.with_columns({"size": [*sizes[:39], None]})
    assert prepare_training(alone, roles={}).notes == ()


def test_a_new_table_is_read_with_the_old_scaling_and_known_rows_keep_their_split():
    trained = prepare_training(_table(split=_split(30, 5, 5)), roles={"key": "id"})
    new = _table(3)
    prepared = prepare(new, trained.schema, trained.kinds, {"k0": "train", "k1": "validation"})
    assert prepared.split.tolist() == ["train", "validation", "test"]
    assert torch.equal(
        prepared.batch(torch.arange(3)).values["vector"], trained.batch(torch.arange(3)).values["vector"]
    )


def test_the_hash_of_a_table_follows_its_cells():
    one, same, other = _table(), _table(), _table(size=[0.0] * 40)
    assert data_hash(one) == data_hash(same) != data_hash(other)
    assert data_hash(one) != data_hash(one.take(np.arange(39)))


def _pictures(num=40, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (num, 4, 5, 3), dtype=np.uint8)
    return [Image.fromarray(picture) for picture in pixels]


def _clip(at=None, rate=8000):
    samples = np.zeros(5000, np.float32)
    if at is not None:
        samples[at] = 0.5
    return samples, rate


def test_the_hash_of_texts_numbers_bytes_and_arrays_stays_what_it_was():
    # Written down before pictures were hashed by their pixels: a model knows its training table by this.
    table = read_table(
        {
            "text": ["数字七", "a text", None],
            "number": [1, 2.5, True],
            "bytes": [b"\x00\x01", None, b"abc"],
            "array": [np.arange(3.0), np.arange(4, dtype=np.int16), np.ones((2, 3), np.float32)],
            "list": [["red", "blue"], [1, 2.5], [[1, 2], [3]]],
            "row": [{"a": 1, "b": "x"}, None, {"a": None}],
        }
    )
    assert data_hash(table) == "225f9f39bbcc0e82"


def test_pictures_in_memory_are_known_by_their_pixels():
    one, again = read_table({"photo": _pictures()}), read_table({"photo": _pictures()})
    assert data_hash(one) == data_hash(again) != data_hash(read_table({"photo": _pictures(seed=1)}))
    grey = [picture.convert("L") for picture in _pictures()]
    flat, tall = (read_table({"photo": [picture.resize(size) for picture in grey]}) for size in ((2, 6), (6, 2)))
    assert len({data_hash(table) for table in (one, read_table({"photo": grey}), flat, tall)}) == 4
    red, blue = (Image.new("P", (3, 3)) for _ in range(2))
    red.putpalette([255, 0, 0])
    blue.putpalette([0, 0, 255])
    assert data_hash(read_table({"photo": [red]})) != data_hash(read_table({"photo": [blue]}))


def test_copies_of_pictures_and_clips_in_memory_are_found_across_splits():
    split = _split(30, 5, 5)
    pictures, sizes = _pictures(), np.linspace(0, 1, 40).tolist()
    pictures[39], sizes[39] = pictures[0].copy(), sizes[0]
    copied = prepare_training(read_table({"photo": pictures, "size": sizes, "split": split}), roles={})
    assert copied.notes == ("1 test item is an exact copy of train items: scores on them say little",)
    clips = [_clip(100 * (1 + row)) for row in range(40)]  # zeros at both ends, as numpy shows them
    parted = prepare_training(read_table({"song": clips, "split": split}), roles={})
    assert parted.notes == ()


@pytest.mark.parametrize(
    "changed",
    [_clip(2500), _clip(rate=8001), (_clip()[0].astype(np.float64), 8000), _clip()[0], (_clip()[0][:, None], 8000)],
)
def test_clips_in_memory_are_known_by_every_sample_and_their_rate(changed):
    one, again, other = (read_table({"song": [clip, _clip(7)]}) for clip in (_clip(), _clip(), changed))
    assert data_hash(one) == data_hash(again) != data_hash(other)


def test_what_stands_inside_a_cell_is_known_as_well():
    def hashed(cell):
        return data_hash(read_table({"x": [cell, "something"]}))

    makers = [
        lambda at: Waveform(*_clip(at)),
        lambda at: {"left": _clip(at)[0], "right": 1},
        lambda at: [torch.from_numpy(_clip(at)[0]), _pictures(1)[0]],
        lambda at: np.array([_clip(at)[0], None], dtype=object),
    ]
    hashes = [hashed(make(at)) for make in makers for at in (2000, 3000)]
    assert hashes == [hashed(make(at)) for make in makers for at in (2000, 3000)]
    assert len(set(hashes)) == len(hashes)
    assert hashed((np.zeros(3), np.zeros(2))) != hashed((np.zeros(2), np.zeros(3)))


def test_a_picture_that_cannot_be_decoded_costs_no_run(tmp_path):
    _pictures(1)[0].resize((64, 64)).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:300])
    tables = [read_table({"photo": [Image.open(tmp_path / "cut.png")]}) for _ in range(2)]
    assert data_hash(tables[0]) == data_hash(tables[1])


def test_a_vector_with_a_filler_is_rejected_and_spoils_neither_scaling_nor_training():
    table = _table(split=_split(30, 5, 5))
    cells = [cell.copy() for cell in table["vector"]]
    for row in (3, 32):  # of the training rows, and of those that are not looked at
        cells[row][1] = 9.969209968386869e36
    filled = prepare_training(table.with_columns({"vector": cells}), roles={})
    kept = [row for row in range(40) if row not in (3, 32)]
    assert filled.store.present("vector").nonzero().squeeze(1).tolist() == kept
    assert [(entry.row, entry.column) for entry in filled.rejected] == [(4, "vector"), (33, "vector")]
    assert "feature 1 is 9.97e+36: more than 1e+06 deviations" in filled.rejected[0].reason
    assert filled.kinds["vector"].std_[1] == pytest.approx(np.std([cells[row][1] for row in kept[:29]]))


def test_a_model_folder_holds_json_and_plain_tensors_and_refuses_what_it_cannot_read(tmp_path):
    values = Masked(torch.randn(2, 3, 1), torch.tensor([[True, True, False], [True, False, False]]))
    saving.write_model(tmp_path / "m", {"a": 1}, saving.pack_values("example/x", values), "card")
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == ["README.md", "config.json", "weights.safetensors"]
    config, tensors = saving.read_model(tmp_path / "m")
    assert config["a"] == 1
    back = saving.unpack_values("example/x", tensors)
    assert torch.equal(back.value, values.value) and torch.equal(back.mask, values.mask)
    assert load_file(tmp_path / "m" / "weights.safetensors").keys() == tensors.keys()
    with pytest.raises(FileNotFoundError, match=r"holds no model: there is no config.json"):
        saving.read_model(tmp_path)
    (tmp_path / "m" / "config.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(ValueError, match=r"has format 99, and this version of isthmus reads 1"):
        saving.read_model(tmp_path / "m")


def test_weights_that_do_not_fit_are_named_with_the_call_that_would():
    model = nn.Linear(3, 2)
    custom = {"encoder": ["photo"], "decoder": []}
    with pytest.raises(ValueError, match=r"weight: \(4, 2\) in the file, \(2, 3\) in this model"):
        saving.load_weights(model, {"weight": torch.zeros(4, 2), "bias": torch.zeros(2)}, {})
    with pytest.raises(ValueError, match=r"isthmus.load\(path, encoder=\{'photo': <module>\}\)"):
        saving.load_weights(model, {"weight": torch.zeros(2, 3)}, custom)
