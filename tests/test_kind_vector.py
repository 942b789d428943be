"""What the vector kind promises: features in their own units in, and out again."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from isthmus.kinds.base import CellError, Kind
from isthmus.kinds.vector import VectorKind
from isthmus.likelihoods import LearnedScale, NormalHead
from isthmus.networks.dense import DenseDecoder, DenseEncoder


def vectors(num: int = 20, length: int = 5) -> list[np.ndarray]:
    """Features of very different units: one step of the scale is ten times the one before."""
    drawn = np.random.default_rng(0).normal(size=(num, length))
    return list((drawn * 10.0 ** (np.arange(length) % 6) + 3).astype(np.float32))


def normalised(kind: Kind, cells: Iterable[Any]) -> torch.Tensor:
    values = kind.normalise(kind.collate([kind.encode(cell) for cell in cells]))
    assert isinstance(values, torch.Tensor)
    return values


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz(array: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, array)
    return file.getvalue()


def test_vectors_come_back_in_their_own_units() -> None:
    cells = vectors()
    kind = VectorKind().fit(cells)
    values = normalised(kind, cells)
    assert_close(values.mean(dim=0), torch.zeros(5), atol=1e-5, rtol=0)
    assert_close(values.std(dim=0, correction=0), torch.ones(5), atol=1e-5, rtol=0)
    for cell, again in zip(cells, kind.cells(values), strict=True):
        assert again.dtype == np.float32
        np.testing.assert_allclose(again, cell, rtol=1e-4, atol=1e-5)


def test_every_form_of_a_cell_is_the_same_vector(tmp_path: Path) -> None:
    kind = VectorKind(length=3).fit([[1, 2, 3], [4, 5, 7]])
    path = tmp_path / "x.npy"
    path.write_bytes(npy(np.array([1.0, 2.0, 4.0])))
    forms = [[1, 2, 4], (1, 2, 4), "[1, 2.0, 4]", path, str(path), path.read_bytes(), torch.tensor([1, 2, 4])]
    for cell in (*forms, np.array([1, 2, 4], np.uint8), np.array([1, 2, 4], np.float16)):
        stored = kind.encode(cell)
        assert stored.dtype == np.float32 and stored.tolist() == [1, 2, 4]


def test_bytes_of_pixels_and_booleans_are_features_as_well() -> None:
    assert VectorKind().fit([np.array([0, 255], np.uint8), np.array([2, 255], np.uint8)]).mean_ == [1.0, 255.0]
    assert VectorKind().fit([[True, False], [False, False]]).mean_ == [0.5, 0.0]


@pytest.mark.parametrize("constant", [0.0, 0.1, -3e7])
def test_a_constant_feature_is_centred_and_not_blown_up(constant: float) -> None:
    cells = [[constant, float(i)] for i in range(7)]
    kind = VectorKind().fit(cells)
    assert kind.std_[0] == 1.0
    values = normalised(kind, cells)
    assert_close(values[:, 0], torch.zeros(7), atol=1e-6, rtol=0)


def test_mean_and_spread_follow_the_default_dtype_and_a_new_fit() -> None:
    kind = VectorKind().fit(vectors())
    before = normalised(kind, vectors())
    assert before.dtype == torch.float32
    torch.set_default_dtype(torch.float64)
    try:
        assert normalised(kind, vectors()).dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    kind.fit([2 * cell for cell in vectors()])
    assert not torch.equal(normalised(kind, vectors()), before)


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ([1.0, 2.0], "vector of 2 features, where 5 are expected"),
        ([1, 2, float("nan"), 4, 5], "feature 2 is nan: not a finite number"),
        ([1, 2, 3, 4, float("-inf")], "feature 4 is -inf: not a finite number"),
        ([1, 1e300, 3, 4, 5], r"feature 1 is 1e\+300: too large"),
        (np.zeros((5, 1)), r"shape \(5, 1\), where a vector"),
        ([], r"shape \(0,\), where a vector"),
        (7.0, r"shape \(\), where a vector"),
        (["a", "b"], "not a list of numbers, but of <U1"),
        ([None, 1.0], "not a list of numbers, but of object"),
        ([[1, 2], [3]], "not a list of numbers"),
        ("[1, 2", "starts with '\\[' and is no list"),
        ("nowhere.npy", "file not found"),
        (b"no array", "not a readable .npy file"),
        (npy(np.zeros(5))[:-8], "not a readable .npy file"),
        (npy(np.array([{}], dtype=object)), "not a readable .npy file: Object arrays cannot be loaded"),
        (npz(np.zeros(5)), "npz archive"),
    ],
)
def test_cells_that_cannot_be_read_say_why(cell: Any, reason: str) -> None:
    kind = VectorKind().fit([*vectors(), cell])
    with pytest.raises(CellError, match=reason):
        kind.encode(cell)


def test_fitting_needs_a_vector_and_takes_the_most_common_length() -> None:
    assert VectorKind().fit([[1, 2, 3], [1, 2], [3, 4]]).length_ == 2
    with pytest.raises(ValueError, match=r"Not one vector could be read\..*no cell was given"):
        VectorKind().fit([])
    with pytest.raises(ValueError, match=r"Not one vector could be read\. The last of 1 tried: file not found"):
        VectorKind().fit(["nowhere.npy"])
    with pytest.raises(ValueError, match="vector of 2 features, where 9 are expected"):
        VectorKind(length=9).fit([[1, 2]])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"distribution": "norml"}, "Did you mean 'normal'"),
        ({"length": 0}, "length=0 is no length"),
        ({"scale": "learnt"}, "scale='learnt' is unknown"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VectorKind(**settings)


def test_a_saved_kind_reads_and_shows_exactly_the_same() -> None:
    kind = VectorKind(distribution="laplace", scale=0.3).fit(vectors())
    again = Kind.from_config(json.loads(json.dumps(kind.to_config())))
    assert again.to_config() == kind.to_config() and again.describe() == kind.describe()
    rows = normalised(kind, vectors())
    assert torch.equal(normalised(again, vectors()), rows)
    assert all(np.array_equal(a, b) for a, b in zip(kind.cells(rows), again.cells(rows), strict=True))


def test_html_is_one_drawing_and_files_open(tmp_path: Path) -> None:
    kind = VectorKind().fit(vectors(length=100))
    cell = vectors(length=100)[0]
    html = kind.html(cell)
    assert re.fullmatch(r"<svg [^<>]*><title>100 features: [^<>]*, …</title><path [^<>]*/></svg>", html)
    assert "http" not in html and "nan" not in VectorKind().fit([[0.0]]).html(np.zeros(1))
    assert kind.write(cell, tmp_path / "item.1") == "item.1.npy"
    assert np.array_equal(kind.encode(tmp_path / "item.1.npy"), cell)


@pytest.mark.parametrize("length", [1, 7, 300])
def test_rows_do_not_depend_on_each_other(length: int) -> None:
    torch.manual_seed(0)
    for network, given, out in (
        (DenseEncoder(length, 24), torch.randn(4, length), 24),
        (DenseDecoder(6, length), torch.randn(4, 6), length),
    ):
        all_rows = network(given)
        assert all_rows.shape == (4, out)
        assert_close(network(given[2:3])[0], all_rows[2], atol=1e-5, rtol=0)
        assert network(given[:0]).shape == (0, out)
        assert network.double()(given.double()).dtype == torch.float64


def test_each_feature_learns_its_own_scale_down_to_one_percent() -> None:
    head = VectorKind().fit(vectors()).likelihood()
    assert isinstance(head, NormalHead) and isinstance(head.log_scale, LearnedScale)
    assert_close(head.log_scale().exp(), torch.ones(5))
    with torch.no_grad():
        head.log_scale.raw[1] = -100.0
    assert_close(head.log_scale().exp(), torch.tensor([1.0, 0.01, 1.0, 1.0, 1.0]))


@pytest.mark.parametrize("distribution", ["normal", "laplace"])
def test_an_autoencoder_learns_a_handful_of_vectors(distribution: str) -> None:
    torch.manual_seed(0)
    kind = VectorKind(distribution=distribution).fit(vectors(12))
    values = normalised(kind, vectors(12))
    encoder, code, decoder, head = kind.encoder(32), torch.nn.Linear(32, 4), kind.decoder(4), kind.likelihood()
    modules = torch.nn.ModuleList([encoder, code, decoder, head])
    optimiser = torch.optim.Adam(modules.parameters(), 2e-3)
    for _ in range(200):
        loss = -head(decoder(code(encoder(values)))).log_prob(values).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    # Standardised features: the constant predictor is off by 1.
    assert (head(decoder(code(encoder(values)))).mean - values).square().mean() < 0.05


def test_a_feature_far_from_all_training_values_makes_the_vector_unreadable() -> None:
    kind = VectorKind().fit(vectors())
    for value in (9.96921e36, -1e30, 1e12):
        cell = vectors()[0]
        cell[3] = value
        with pytest.raises(CellError, match=r"feature 3 is .*: more than 1e\+06 deviations from the training values"):
            kind.encode(cell)
    cell[3] = kind.mean_[3] + 0.9e6 * kind.std_[3]
    assert kind.encode(cell)[3] == cell[3]
    kind.fit([1e9 * cell for cell in vectors()])
    assert kind.encode(1e9 * vectors()[0]).shape == (5,)  # a new fit has limits of its own


def test_numbers_that_fill_gaps_are_not_counted_in_mean_and_spread() -> None:
    cells = vectors(200)
    plain = VectorKind().fit(cells)
    for row in range(0, 200, 10):
        cells[row][2] = 1e20 if row % 20 else -3e38
    filled = VectorKind().fit(cells)
    others = [feature for feature in range(5) if feature != 2]
    assert [filled.mean_[feature] for feature in others] == [plain.mean_[feature] for feature in others]
    assert [filled.std_[feature] for feature in others] == [plain.std_[feature] for feature in others]
    there = np.array([cell[2] for row, cell in enumerate(cells) if row % 10], dtype=np.float64)
    assert (filled.mean_[2], filled.std_[2]) == pytest.approx((there.mean(), there.std()))


def test_a_large_constant_up_to_float32_stays_readable() -> None:
    cells = [np.array([value], np.float32) for value in (1e20, np.nextafter(np.float32(1e20), np.float32(2e20)))]
    kind = VectorKind().fit(cells * 5)
    assert all(kind.encode(cell)[0] == cell[0] for cell in cells)
    with pytest.raises(CellError, match="deviations"):
        kind.encode([1.1e20])


@pytest.mark.parametrize("unit", [1e-30, 1e30])
def test_a_feature_of_any_unit_and_with_a_long_tail_is_taken_as_it_is(unit: float) -> None:
    drawn = np.exp(6 * np.random.default_rng(0).normal(size=(300, 1))).clip(max=1e7) * unit
    kind = VectorKind().fit(list(drawn))
    single = drawn.astype(np.float32).astype(np.float64)
    assert (kind.mean_, kind.std_) == (single.mean(axis=0).tolist(), single.std(axis=0).tolist())
    assert all(kind.encode(cell).shape == (1,) for cell in drawn)
