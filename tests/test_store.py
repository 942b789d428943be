from __future__ import annotations

import numpy as np
import pytest
import torch

from isthmus.batch import Batch, Masked
from isthmus.data.store import Column, Store, build_store
from isthmus.kinds.base import CellError, Kind, pad


class Numbers(Kind):
    """A list of numbers as a row of fixed or free length; a string cannot be read; counts what it encodes."""

    name = "numbers"

    def __init__(self, ragged: bool = False):
        self.ragged = ragged  # type: ignore[misc]
        self.encoded: list[object] = []

    def encode(self, cell):
        self.encoded.append(cell)
        if isinstance(cell, str):
            raise CellError(f"not numbers: {cell}")
        return np.asarray(cell, dtype=np.float32)


Numbers.__abstractmethods__ = frozenset()


class Noted(Numbers):
    """As a table row: what cannot be read inside a cell is noted and the cell is kept."""

    def encode(self, cell):
        self.notes = [("wing_mm", "no number: x")] if "x" in cell else []
        return super().encode([0.0 if value == "x" else value for value in cell])

    def drain_notes(self):
        notes, self.notes = self.notes, []
        return notes


class Collated(Numbers):
    def collate(self, arrays):
        values = torch.from_numpy(arrays)
        return Masked(values, values > 0)


def ragged_rows(num_rows: int, seed: int = 0) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.normal(size=(int(length), 2)).astype("float32") for length in random.integers(0, 6, num_rows)]


def dense(num_items: int = 9, seed: int = 0):
    random = np.random.default_rng(seed)
    image = random.integers(0, 256, (num_items, 3, 3)).astype("uint8")
    sound = ragged_rows(num_items)
    present = {"image": random.random(num_items) < 0.6, "sound": random.random(num_items) < 0.6}
    return image, sound, present


def same(a: Batch, b: Batch) -> None:
    assert a.modalities == b.modalities
    for name in a:
        assert torch.equal(a.present[name], b.present[name])
        left, right = a.values[name], b.values[name]
        assert type(left) is type(right)
        if isinstance(left, Masked) and isinstance(right, Masked):
            width = min(left.mask.shape[1], right.mask.shape[1])
            assert not left.mask[:, width:].any() and not right.mask[:, width:].any()
            assert torch.equal(left.mask[:, :width], right.mask[:, :width])
            assert torch.equal(left.value[:, :width], right.value[:, :width])
        else:
            assert torch.equal(left, right) and left.dtype == right.dtype


@pytest.mark.parametrize("seed", range(5))
def test_a_batch_is_what_its_items_are(seed):
    image, sound, present = dense(seed=seed)
    store = Store.from_arrays(
        {
            "image": image[present["image"]],
            "sound": [row for row, there in zip(sound, present["sound"], strict=True) if there],
        },
        present,
    )
    rows = torch.from_numpy(np.random.default_rng(seed).permutation(9))[:6]
    whole = Batch.from_dense(
        {"image": torch.from_numpy(image), "sound": pad(sound)},
        {name: torch.from_numpy(mask) for name, mask in present.items()},
    )
    batch = store.batch(rows)
    batch.check_counts()
    same(batch, whole.take(rows))
    assert torch.equal(batch.index, rows)


def test_a_batch_may_be_of_some_modalities_alone():
    image, sound, present = dense()
    store = Store.from_arrays({"image": image[present["image"]], "sound": sound}, {"image": present["image"]})
    rows = torch.tensor([5, 0, 3])
    same(store.batch(rows, ["image"]), store.batch(rows).only("image"))


def test_the_largest_row_is_told_without_reading_any():
    arrays = {"image": np.zeros((2, 3, 4, 5), "uint8"), "sound": [np.zeros((n, 2), "float32") for n in (9, 31)]}
    assert Store.from_arrays(arrays).largest_row == 62
    assert Store.from_arrays({"image": arrays["image"]}).largest_row == 60
    assert Store.from_arrays({"number": np.zeros(3)}).largest_row == 1


def test_padding_is_zero_and_masked():
    column = Column(np.arange(1, 6, dtype=np.int16), np.array([1, -1, 0]), np.array([0, 2, 5]))
    values = column.gather(np.array([1, 0]))
    assert values.value.tolist() == [[3, 4, 5], [1, 2, 0]]
    assert values.mask.tolist() == [[True, True, True], [True, True, False]]


def test_nobody_has_it_gives_no_rows():
    store = Store.from_arrays(
        {"a": np.ones((2, 4), "float32"), "b": ragged_rows(2)},
        {"a": np.array([0, 1, 1, 0]) > 0, "b": np.array([0, 1, 1, 0]) > 0},
    )
    batch = store.batch(torch.tensor([0, 3]))
    assert len(batch.values["a"]) == len(batch.values["b"]) == 0
    assert batch.values["a"].shape == (0, 4)


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("limit", [0, 5_000, 2**30])
def test_memory_and_files_hold_the_same(tmp_path, ragged, limit):
    random = np.random.default_rng(0)
    cells = [
        None if i % 5 == 0 else list(random.normal(size=int(random.integers(1, 9)) if ragged else 3))
        for i in range(900)
    ]
    store, rejected = build_store(900, {"a": cells}, {"a": Numbers(ragged)}, folder=tmp_path, memory_limit=limit)
    assert store.memory_mapped == (limit < 2**30) and not rejected
    if store.memory_mapped:
        assert np.array_equal(np.load(tmp_path / "0.values.npy"), store.columns["a"].values)
    kept = [np.asarray(cell, dtype="float32") for cell in cells if cell is not None]
    present = {"a": np.array([cell is not None for cell in cells])}
    expected = Store.from_arrays({"a": kept if ragged else np.stack(kept)}, present)
    rows = torch.from_numpy(random.permutation(900))
    same(store.batch(rows), expected.batch(rows))


def test_modalities_share_one_memory_limit(tmp_path):
    cells = [[float(i)] * 4 for i in range(300)]
    kinds = {name: Numbers() for name in "abc"}
    store, _ = build_store(300, dict.fromkeys("abc", cells), kinds, folder=tmp_path, memory_limit=16 * 800)
    files = [isinstance(store.columns[name].values, np.memmap) for name in "abc"]
    assert files == [False, False, True]
    assert store.num_bytes == 3 * 300 * 16


def test_every_cell_is_encoded_once_and_in_order():
    kind = Noted()
    cells = [[float(i)] if i % 3 else None for i in range(20)]
    store, _ = build_store(20, {"a": cells}, {"a": kind})
    assert kind.encoded == [cell for cell in cells if cell is not None]
    assert store.batch(torch.arange(20)).values["a"].squeeze(1).tolist() == [float(i) for i in range(20) if i % 3]


def test_an_unreadable_cell_is_a_gap_and_a_row_in_the_report(tmp_path):
    cells = [[1.0], "broken", None, tmp_path / "no.txt"]

    class Files(Numbers):
        def encode(self, cell):
            if not isinstance(cell, list):
                raise CellError("file not found" if cell == tmp_path / "no.txt" else "no file at all")
            return super().encode(cell)

    store, rejected = build_store(
        4,
        {"photo": cells},
        {"photo": Files()},
        source="birds.csv",
        row_numbers=[2, 3, 5, 8],
        columns={"photo": "Photo"},
    )
    assert store.present("photo").tolist() == [True, False, False, False]
    assert [(r.file, r.row, r.column, r.reason) for r in rejected] == [
        ("birds.csv", 3, "Photo", "no file at all"),
        (str(tmp_path / "no.txt"), 8, "Photo", "file not found"),
    ]


def test_a_note_names_its_own_column_and_the_row_is_kept():
    store, rejected = build_store(2, {"table": [[1.0, "x"], [2.0, 3.0]]}, {"table": Noted()})
    assert store.present("table").all()
    assert [(r.row, r.column, r.reason) for r in rejected] == [(1, "wing_mm", "no number: x")]


def test_other_errors_are_bugs_and_stop():
    class Buggy(Numbers):
        def encode(self, cell):
            raise KeyError("oops")

    with pytest.raises(KeyError, match="oops"):
        build_store(1, {"a": [[1.0]]}, {"a": Buggy()})


def test_a_modality_nobody_can_read_is_all_gaps():
    store, rejected = build_store(3, {"a": ["x", "y", None], "b": [[1.0]] * 3}, {"a": Numbers(), "b": Numbers()})
    assert not store.present("a").any() and len(rejected) == 2
    assert len(store.batch(torch.arange(3)).values["a"]) == 0


def test_a_kind_may_collate_its_own_way():
    store, _ = build_store(2, {"a": [[1.0, 0.0], [0.0, 2.0]]}, {"a": Collated()})
    values = store.batch(torch.tensor([1, 0])).values["a"]
    assert isinstance(values, Masked) and values.mask.tolist() == [[False, True], [True, False]]


def test_save_then_open_changes_nothing(tmp_path):
    image, sound, present = dense()
    arrays = {"a/b: *": image[present["image"]], "sound": sound}
    store = Store.from_arrays(arrays, {"a/b: *": present["image"]})
    store.save(tmp_path / "store")
    again = Store.open(tmp_path / "store")
    assert again.memory_mapped and len(again) == len(store)
    same(again.batch(torch.arange(9)), store.batch(torch.arange(9)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Store({}), "Store got columns over no items"),
        (lambda: Store.from_arrays({"a": np.ones(2), "b": np.ones(3)}), "'a': 2, 'b': 3"),
        (
            lambda: Store.from_arrays({"a": np.ones(3)}, {"a": np.array([True, False, True])}),
            "3 rows, but 2 items have it",
        ),
        (lambda: Store.from_arrays({"image": np.ones(3)}).present("imgae"), "Did you mean 'image'"),
        (lambda: build_store(2, {"a": [[1.0]]}, {"a": Numbers()}), "'a' has 1 cells for 2 items"),
        (lambda: build_store(1, {"a": [[1.0], None]}, {"a": Numbers()}), "'a' has more cells for 1 items"),
        (
            lambda: build_store(2, {"a": [[1.0], [1.0, 2.0]]}, {"a": Numbers()}),
            r"shape \(2,\).* after rows of shape \(1,\)",
        ),
    ],
)
def test_errors_say_what_is_wrong(make, message):
    with pytest.raises(ValueError, match=message):
        make()
