"""What the series kind promises: series of any length in; the same units, channels and lengths out."""

from __future__ import annotations

import io
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from isthmus.batch import Masked
from isthmus.kinds.base import CellError, Kind
from isthmus.kinds.series import SeriesKind
from isthmus.likelihoods import SequenceNormal
from isthmus.likelihoods_series import SequenceMixed
from isthmus.networks.series import SeriesEncoder
from isthmus.noise import Noise

NETWORKS = ["cnn", "gru", "lstm", "transformer"]


def pens(num: int = 12, seed: int = 0) -> list[np.ndarray]:
    """Pen lines: a switch between x and y, so that no test passes by leaving channels where they stand."""
    rng = np.random.default_rng(seed)
    lines = []
    for row in range(num):
        length = int(rng.integers(5, 30))
        angle = np.linspace(0, 2 + row / 2, length)
        lift = (np.arange(length) % 4 == 3).astype(float)
        lines.append(np.stack([500 + 300 * np.cos(angle), lift, 40 * np.sin(angle)], axis=1).astype(np.float32))
    return lines


def rows_of(kind: Kind, cells: list[Any]) -> Masked:
    values = kind.normalise(kind.collate([kind.encode(cell) for cell in cells]))
    assert isinstance(values, Masked)
    return values


@pytest.fixture(scope="module")
def kind() -> SeriesKind:
    return SeriesKind(max_steps=30).fit(pens())


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def test_series_come_back_in_their_units_channels_and_lengths(kind: SeriesKind) -> None:
    values = rows_of(kind, pens())
    for line, again in zip(pens(), kind.cells(values), strict=True):
        assert again.dtype == np.float32
        np.testing.assert_allclose(again, line, rtol=1e-5, atol=1e-3)
    steps = values.value[values.mask]
    assert_close(steps[:, :2].mean(dim=0), torch.zeros(2), atol=1e-4, rtol=0)
    assert_close(steps[:, :2].std(dim=0, correction=0), torch.ones(2), atol=1e-4, rtol=0)
    assert set(steps[:, 2].tolist()) == {0.0, 1.0}


def test_every_form_of_a_cell_is_the_same_series(tmp_path: Path) -> None:
    kind = SeriesKind().fit([[1, 2, 3], [4, 5, 7]])
    path = tmp_path / "x.npy"
    np.save(path, np.array([2, 4, 6], dtype=np.int16))
    expected = kind.encode([2, 4, 6])
    assert expected.shape == (3, 1)
    forms = [path, str(path), path.read_bytes(), "[2, 4, 6]", np.array([[2.0], [4], [6]]), [[2], [4], [6]], (2, 4, 6)]
    for form in forms:
        np.testing.assert_array_equal(kind.encode(form), expected)


def test_large_offsets_keep_their_digits() -> None:
    stamps = [1.7e9 + np.arange(5.0), 1.7e9 + np.arange(3.0)]
    kind = SeriesKind().fit(stamps)
    again = kind.encode(stamps[0])[:, 0].astype(np.float64) * kind.std_[0] + kind.mean_[0]
    np.testing.assert_allclose(again, stamps[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ([[1, 2, 0], [3, float("nan"), 0], [1, 2, float("inf")]], "at step 1, 2 of 3 steps"),
        ([[1, 2, 1e200]], "a number above 1e100 at step 0"),
        ([[1, 2, 1e30]], "more than 1e\\+06 deviations"),
        ([[1, 2], [3, 4]], "has 2 channels per step, where training series have 3"),
        ([[1, 2], [3]], "different numbers of channels"),
        ([], r"got shape \(0, 1\)"),
        (np.zeros((0, 3)), r"got shape \(0, 3\)"),
        (np.zeros((2, 2, 3)), r"got shape \(2, 2, 3\)"),
        (3.5, r"got shape \(\)"),
        (["a", "b"], "real numbers, got one of <U1"),
        ([None, 1], "real numbers, got one of object"),
        (np.array([1j]), "real numbers, got one of complex128"),
        ("[1, 2", "starts with '\\['"),
        ("no such file.npy", "file not found"),
        (b"", "file is empty"),
        (b"PNG and so on", "not an .npy file"),
        (npy(np.arange(6.0))[:-9], "a damaged .npy file"),
        (npy(np.arange(6.0)).replace(b"'shape': (6,)", b"'shape': (6x)"), "a damaged .npy file"),
        (npy(np.arange(6.0)).replace(b"(6,), }           ", b"(6999999999999,), }"), "a damaged .npy file"),
        (npy(np.array([[1], None], dtype=object)), "never unpickled"),
    ],
)
def test_what_cannot_be_read_says_why(kind: SeriesKind, cell: Any, reason: str) -> None:
    with pytest.raises(CellError, match=reason):
        kind.encode(cell)


def test_pipes_directories_and_archives_are_no_series(kind: SeriesKind, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", np.zeros(3))
    with pytest.raises(CellError, match=r"not an .npy file"):
        kind.encode(tmp_path / "x.npz")
    with pytest.raises(CellError, match="not a regular file"):
        kind.encode(tmp_path)
    os.mkfifo(tmp_path / "pipe.npy")
    with pytest.raises(CellError, match="not a regular file"):
        kind.encode(tmp_path / "pipe.npy")


def test_fit_skips_what_cannot_be_read_and_goes_with_most() -> None:
    kind = SeriesKind().fit([[[1, 2], [3, 5]], "none.npy", [1, 2, 3], [[4, 4]], [[float("nan"), 1]]])
    assert kind.num_channels == 2
    assert_close(kind.mean_, [8 / 3, 11 / 3])
    with pytest.raises(ValueError, match="None of 2 series could be read; the first: file not found"):
        SeriesKind().fit(["none.npy", [float("nan")]])
    with pytest.raises(ValueError, match="no cells"):
        SeriesKind().fit([])


def test_a_constant_channel_is_no_trouble() -> None:
    kind = SeriesKind().fit([[[1, 7], [2, 7]], [[3, 7], [4, 7], [5, 7]]])
    values = rows_of(kind, [[[1, 7], [2, 7]]])
    assert values.value.isfinite().all()
    np.testing.assert_allclose(kind.cells(values)[0], [[1, 7], [2, 7]])
    assert kind.likelihood()(kind.decoder(4)(torch.zeros(1, 4))).log_prob(values).isfinite().all()


def test_longer_series_are_cropped_and_counted() -> None:
    kind = SeriesKind().fit([np.arange(float(10 + row)) for row in range(101)])
    assert kind.max_steps_ == 105
    assert kind.describe() == "series of 1 channel, up to 105 steps, 5 of 101 cropped"
    long = np.arange(200.0)
    np.testing.assert_allclose(kind.cells(rows_of(kind, [long]))[0][:, 0], long[:105], rtol=1e-5, atol=1e-4)
    assert SeriesKind(max_steps=7).fit([long]).encode(long).shape == (7, 1)


def test_resampling_keeps_both_ends_and_the_switches() -> None:
    kind = SeriesKind(resample=9).fit(pens())
    assert kind.describe() == "series of 3 channels (1 of 0 and 1), resampled to 9 steps"
    for line, again in zip(pens(), kind.cells(rows_of(kind, pens())), strict=True):
        assert again.shape == (9, 3)
        np.testing.assert_allclose(again[[0, -1]], line[[0, -1]], rtol=1e-5, atol=1e-3)
        assert set(np.unique(again[:, 1])) <= {0.0, 1.0}
    ramp = SeriesKind(resample=5).fit([np.arange(3.0), np.arange(9.0)])
    np.testing.assert_allclose(ramp.cells(rows_of(ramp, [np.arange(3.0)]))[0][:, 0], [0, 0.5, 1, 1.5, 2], atol=1e-6)


def test_settings_that_cannot_be() -> None:
    with pytest.raises(ValueError, match=r"network 'transfomer' is unknown.*Did you mean 'transformer'"):
        SeriesKind(network="transfomer")
    with pytest.raises(ValueError, match="max_steps=0"):
        SeriesKind(max_steps=0)


def test_a_saved_kind_is_the_same_kind(kind: SeriesKind) -> None:
    again = Kind.from_config(json.loads(json.dumps(kind.to_config())))
    assert isinstance(again, SeriesKind) and again.describe() == kind.describe()
    values = rows_of(kind, pens())
    assert_close(rows_of(again, pens()).value, values.value, atol=0, rtol=0)
    for one, other in zip(again.cells(values), kind.cells(values), strict=True):
        np.testing.assert_array_equal(one, other)
    assert again.num_dimensions == kind.num_dimensions


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("num", [0, 1, 5])
def test_networks_take_any_number_of_rows(network: str, num: int, dtype: torch.dtype) -> None:
    kind = SeriesKind(network=network).fit(pens())
    values = rows_of(kind, pens()).to(dtype=dtype).take(torch.arange(num))
    features = kind.encoder(32).to(dtype)(values)
    assert features.shape == (num, 32) and features.dtype == dtype
    likelihood = kind.likelihood().to(dtype)(kind.decoder(8).to(dtype)(torch.zeros(num, 8, dtype=dtype)))
    assert likelihood.log_prob(values).shape == (num,)
    assert len(kind.cells(likelihood.mode)) == num


@pytest.mark.parametrize("network", NETWORKS)
def test_neither_neighbours_nor_padding_change_a_row(network: str) -> None:
    kind = SeriesKind(network=network).fit(pens())
    cells = [line[:25] for line in pens()]
    encoder = kind.encoder(16)
    together = encoder(rows_of(kind, cells))
    for row, cell in enumerate(cells):
        assert_close(together[row], encoder(rows_of(kind, [cell]))[0], atol=1e-5, rtol=0)


def test_long_series_are_shortened_inside() -> None:
    kind = SeriesKind().fit([np.sin(np.arange(1000.0)), np.cos(np.arange(1000.0))])
    values = rows_of(kind, [np.sin(np.arange(990.0)), np.cos(np.arange(3.0))])
    encoder, inside = kind.encoder(8), []
    encoder.network.layers[-1].register_forward_hook(lambda _, __, steps: inside.append(steps.shape[1]))
    assert encoder(values).shape == (2, 8)
    assert inside == [62]  # 990, halved four times
    steps, lengths = kind.decoder(4)(torch.zeros(2, 4))
    assert steps.shape == (2, 1000, 1) and lengths.shape == (2, 1000)


@pytest.mark.parametrize(("num_steps", "shorter"), [(1, 2), (128, 2), (129, 4), (256, 4), (257, 8), (1000, 16)])
def test_time_is_halved_until_64_steps_are_left(num_steps: int, shorter: int) -> None:
    layers = SeriesEncoder(1, 8, "cnn", num_steps).network.layers
    assert math.prod(layer.stride for layer in layers) == shorter
    assert layers[0].stride == 1


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        # The deviation of 0 to 99 is sqrt((100² - 1) / 12), in whatever unit.
        ([np.arange(100.0)], (12 / 9999) ** 0.5),
        ([7 * np.arange(60.0) - 3, 7 * np.arange(60.0, 100.0) - 3], (12 / 9999) ** 0.5),
        # The finest channel decides; a constant one and a switch do not.
        (
            [np.stack([np.arange(100) // 20, np.arange(100), np.full(100, 5), np.arange(100) % 2], 1)],
            (12 / 9999) ** 0.5,
        ),
        ([np.arange(4.0)], 0.1),  # steps of 0.9 deviations would blur all
        ([np.linspace(0, 1, 5000)], 1e-3),
        ([[0, 1, 1, 0]], 1e-3),
    ],
)
def test_a_scale_ends_at_the_step_between_values(cells: list[Any], expected: float) -> None:
    kind = SeriesKind().fit(cells)
    assert kind.step_ == pytest.approx(expected)
    head = kind.likelihood()
    with torch.no_grad():
        head.log_scale.raw.fill_(-100.0)
    assert_close(head.log_scale().exp(), torch.full_like(head.log_scale.raw, expected))


def test_switches_are_bernoullis_beside_normals() -> None:
    torch.manual_seed(0)
    normal = SequenceNormal(torch.randn(2, 6, 2), torch.tensor([0.1, -0.2]), torch.randn(2, 6))
    logits = torch.randn(2, 6, 1)
    likelihood = SequenceMixed(normal, logits)
    target = likelihood.sample(Noise(0), "x")
    probability = torch.distributions.Bernoulli(logits=logits).log_prob(target.value[..., 2:])[..., 0] * target.mask
    expected = normal.log_prob(Masked(target.value[..., :2], target.mask)) + probability.sum(dim=1)
    assert_close(likelihood.log_prob(target), expected)
    assert set(likelihood.mode.value[..., 2].flatten().tolist()) <= {0.0, 1.0}
    drawn = SequenceMixed(
        SequenceNormal(torch.zeros(20_000, 1, 0), torch.zeros(0), torch.zeros(20_000, 1)),
        torch.full((20_000, 1, 1), 1.0),
    ).sample(Noise(0), "x")
    assert_close(drawn.value.mean(), torch.tensor(1.0).sigmoid(), atol=0.01, rtol=0)


def test_series_of_switches_alone_work() -> None:
    cells = [[0, 1, 1, 0], [1, 0], [1, 1, 1]]
    kind = SeriesKind(max_steps=4).fit(cells)
    values = rows_of(kind, cells)
    likelihood = kind.likelihood()(kind.decoder(4)(torch.zeros(3, 4)))
    assert likelihood.log_prob(values).isfinite().all()
    assert all(np.isin(cell, (0, 1)).all() for cell in kind.cells(likelihood.sample(Noise(0), "x")))


def test_it_learns_lines_and_lengths(kind: SeriesKind) -> None:
    torch.manual_seed(0)
    lines = pens(8)
    values = rows_of(kind, lines)
    encoder, decoder, head = kind.encoder(64), nn.Sequential(nn.Linear(64, 16), kind.decoder(16)), kind.likelihood()
    parameters = [p for module in (encoder, decoder, head) for p in module.parameters()]
    optimiser = torch.optim.Adam(parameters, lr=2e-3)
    # The decoder knows nothing yet and scales start at the spread of the data: this is the constant predictor.
    constant = -head(decoder(encoder(values))).log_prob(values).mean().item()
    for _ in range(200):
        loss = -head(decoder(encoder(values))).log_prob(values).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < constant / 2
    with torch.no_grad():
        again = kind.cells(head(decoder(encoder(values))).mode)
    assert np.mean([len(a) == len(b) for a, b in zip(again, lines, strict=True)]) > 0.8
    shared = [min(len(a), len(b)) for a, b in zip(again, lines, strict=True)]
    errors = [np.abs(a[:n, 0] - b[:n, 0]).mean() for a, b, n in zip(again, lines, shared, strict=True)]
    assert np.mean(errors) < 60  # of a spread of about 220


def test_html_is_self_contained_and_escaped(kind: SeriesKind) -> None:
    html = kind.html(pens()[0])
    assert html.count("<svg") == 1 and html.count("<polyline") == 3
    assert "http" not in html and "<script" not in html and "nan" not in html
    path = kind.html(np.array([[0, 0, 0], [1, 1, 1], [2, 0, 0], [3, 3, 1]]))
    assert path.count("<svg") == 2 and path.count("<polyline") == 3 + 2
    assert kind.html(np.zeros((5, 2))).count("<svg") == 2
    assert len(kind.html(np.random.default_rng(0).normal(size=(100_000, 1)))) < 10_000


def test_a_written_series_opens_and_is_read_again(kind: SeriesKind, tmp_path: Path) -> None:
    name = kind.write(pens()[0], tmp_path / "item.1")
    assert name == "item.1.npy"
    np.testing.assert_array_equal(np.load(tmp_path / name, allow_pickle=False), pens()[0])
    np.testing.assert_array_equal(kind.encode(tmp_path / name), kind.encode(pens()[0]))


@pytest.mark.parametrize("value", [0.1, -1e5 / 3, 1.7e9])
def test_a_channel_that_is_constant_up_to_rounding_is_only_centred(value: float) -> None:
    rng = np.random.default_rng(0)
    cells = [np.stack([rng.integers(0, 10, num), np.full(num, value)], axis=1) for num in range(10, 300)]
    for cell in cells[::7]:
        cell[::3, 1] = np.nextafter(value, np.inf)
    kind = SeriesKind().fit(cells)
    assert kind.std_[1] == 1.0
    near = np.stack([np.zeros(4), np.full(4, value + 1e-4)], axis=1)
    assert np.abs(kind.encode(near)[:, 1]).max() < 0.01
    assert kind.step_ == SeriesKind().fit([cell[:, :1] for cell in cells]).step_ == 0.1  # rounding is no step


def test_a_channel_far_from_zero_keeps_its_own_unit() -> None:
    kind = SeriesKind().fit([1.7e9 + np.arange(300.0)])  # a clock: its deviation is 5e-8 of its mean
    assert kind.std_[0] == pytest.approx(np.arange(300).std())


def test_of_very_many_series_evenly_spread_ones_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = pens(100)
    whole = SeriesKind().fit(lines)
    held: list[int] = []
    monkeypatch.setattr("isthmus.kinds.series.NUM_LOOKED_AT", 1000)
    monkeypatch.setattr("isthmus.kinds.series._smallest_step", lambda steps: held.append(3 * len(steps)) or 0.1)
    some = SeriesKind().fit(lines)
    assert max(held) <= 1000 < sum(line.size for line in lines)
    assert some.mean_ == SeriesKind().fit(lines[::8]).mean_
    # Lengths are those of all series.
    lengths = ("max_steps_", "mean_steps_", "num_cropped_", "num_fitted_")
    assert all(getattr(some, name) == getattr(whole, name) for name in lengths)
    # Where every second cell has another number of channels, those of the commoner kind are not thinned to none.
    mixed = [part for line in lines for part in (line[:, :2], line)] + lines[:1]
    assert SeriesKind().fit(mixed).num_channels == 3


def test_one_series_may_be_longer_than_all_that_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("isthmus.kinds.series.NUM_LOOKED_AT", 10)
    assert SeriesKind().fit([np.arange(100.0)]).mean_ == [49.5]
