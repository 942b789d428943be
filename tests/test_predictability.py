"""How much of each modality the others tell: exact where the truth is known, zero where there is nothing to tell."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from isthmus.batch import Batch, Masked
from isthmus.evaluation import predictability
from isthmus.evaluation.predictability import View, explained

MODULE = sys.modules[View.__module__]  # the package shows the function under this name


@dataclass(frozen=True)
class Column:
    name: str
    distribution: str
    num_classes: int = 0


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("signal", [0.0, 0.3, 0.9])
def test_the_share_is_that_of_the_signal(signal):
    common, first, second = drawn(4000, 3), drawn(4000, 3, seed=1), drawn(4000, 3, seed=2)
    told = (signal**0.5) * common + (1 - signal) ** 0.5 * first
    batch = Batch.from_dense({"told": told, "telling": common, "noise": second})
    shares = predictability(batch)
    assert shares["told"] == pytest.approx(signal, abs=0.03)
    assert shares["telling"] == pytest.approx(signal, abs=0.03)  # squared correlations go both ways
    assert shares["noise"] < 0.01


def test_two_that_each_tell_half_tell_all_together():
    left, right = drawn(1000, 2), drawn(1000, 2, seed=1)
    shares = predictability(Batch.from_dense({"left": left, "right": right, "both": torch.cat([left, right], dim=1)}))
    assert shares["both"] == pytest.approx(1.0, abs=0.01)
    assert shares["left"] == pytest.approx(1.0, abs=0.01) and shares["right"] == pytest.approx(1.0, abs=0.01)


def test_items_that_lack_one_of_the_two_are_not_compared():
    common = drawn(600, 3)
    present = torch.arange(600) < 300
    broken = torch.where(present[:, None], common, 1000.0 * drawn(600, 3, seed=5))
    batch = Batch.from_dense({"a": common, "b": broken}, {"b": present})
    assert predictability(batch)["a"] == pytest.approx(1.0, abs=0.01)
    few = Batch.from_dense({"a": common, "b": common}, {"a": torch.arange(600) < 305, "b": torch.arange(600) >= 295})
    assert predictability(few) == {"a": 0.0, "b": 0.0}  # ten pairs say nothing


def test_one_modality_and_a_constant_one_are_told_nothing_of():
    assert predictability(Batch.from_dense({"alone": drawn(100, 3)})) == {"alone": 0.0}
    batch = Batch.from_dense({"same": torch.ones(100, 1, 4, 4), "other": drawn(100, 3)})
    assert predictability(batch) == {"same": 0.0, "other": 0.0}


def test_columns_of_a_table_tell_one_another():
    x = drawn(800, 1)
    level = (x[:, 0] > 0).double()
    value = torch.stack([x[:, 0], x[:, 0], level, drawn(800, 1, seed=3)[:, 0]], dim=1)
    mask = torch.ones(800, 4, dtype=torch.bool)
    mask[::3, 1] = False
    value[::3, 1] = 1e6  # whatever stands in a blank is nobody's business
    columns = [Column("x", "normal"), Column("again", "normal"), Column("sign", "binary"), Column("noise", "normal")]
    batch = Batch.from_dense({"table": Masked(value, mask), "other": drawn(800, 2, seed=7)})
    share = predictability(batch, {"table": columns})["table"]
    # x from its copy (two thirds of the rows) and its sign, the copy from x, the sign from x (2 / pi), noise from none.
    assert share == pytest.approx((0.88 + 1.0 + 2 / np.pi + 0.0) / 4, abs=0.03)


def test_tokens_and_series_have_shares_too():
    words = torch.randint(0, 5, (400, 1), generator=torch.Generator().manual_seed(0))
    picture = torch.nn.functional.one_hot(words[:, 0], 5).double()[:, None, None].expand(-1, 1, 5, 5)
    tokens = Masked(words.repeat(1, 3), torch.ones(400, 3, dtype=torch.bool))
    series = Masked(words[:, :, None].double().expand(-1, 6, 1), torch.ones(400, 6, dtype=torch.bool))
    shares = predictability(Batch.from_dense({"tokens": tokens, "picture": picture.clone(), "series": series}))
    assert all(share > 0.99 for share in shares.values())


def test_explained_is_never_below_zero_nor_without_sources():
    rng = np.random.default_rng(0)
    view = View.of(rng.normal(size=(40, 30)), np.ones(40, dtype=bool))
    other = View.of(rng.normal(size=(40, 30)), np.ones(40, dtype=bool))
    assert explained([other], view) == pytest.approx(0.0, abs=0.02) and explained([other], view) >= 0.0
    assert explained([], view) == 0.0


def told(num_items: int, num_columns: int, seed: int = 0) -> Batch:
    """A table of two factors: the further right a column, the more noise is in it."""
    noise = torch.linspace(0.1, 3, num_columns, dtype=torch.float64)
    value = drawn(num_items, 2, seed=seed) @ drawn(2, num_columns, seed=seed + 1)
    value = value + noise * drawn(num_items, num_columns, seed=seed + 2)
    mask = drawn(num_items, num_columns, seed=seed + 3) < 1.5
    return Batch.from_dense({"table": Masked(torch.where(mask, value, 0.0), mask)})


def test_columns_of_a_narrow_table_are_each_told_by_all_others():
    table = told(120, 7).values["table"]

    def view(columns: list[int]) -> View:
        return View.of(table_rows(table, columns), np.ones(120, dtype=bool))

    def column(number: int) -> View:
        there = table.mask[:, number].numpy()
        return View.of(table_rows(table, [number])[there], there)

    shares = [explained([view([c for c in range(7) if c != number])], column(number)) for number in range(7)]
    assert predictability(told(120, 7))["table"] == pytest.approx(float(np.mean(shares)), rel=1e-9)


def table_rows(table: Masked, columns: list[int]) -> np.ndarray:
    value, mask = table.value[:, columns].numpy(), table.mask[:, columns].numpy()
    return np.where(mask, value, np.where(mask, value, 0.0).sum(axis=0) / mask.sum(axis=0))


def test_columns_of_a_wide_table_are_sampled_evenly_and_cost_no_more(monkeypatch):
    compared, widths, of = [], [], View.of
    monkeypatch.setattr(MODULE, "explained", lambda sources, target: compared.append(target) or 0.5)
    monkeypatch.setattr(View, "of", lambda plain, *rest: widths.append(plain.shape[1]) or of(plain, *rest))
    assert predictability(told(30, 300)) == {"table": 0.5}
    assert len(compared) == 64
    assert sum(width > 1 for width in widths) == 1 + 8 and widths.count(292) == 8
    widths.clear()
    monkeypatch.setattr(MODULE, "MAX_BESIDE", 50)
    predictability(told(30, 300))
    assert sum(width > 1 for width in widths) == 1 + 8 and widths.count(50) == 8


def test_the_share_of_a_wide_table_is_that_of_all_its_columns(monkeypatch):
    few = predictability(told(150, 80))["table"]
    assert predictability(told(150, 80))["table"] == few
    monkeypatch.setattr(MODULE, "MAX_COLUMNS", 80)
    assert predictability(told(150, 80))["table"] == pytest.approx(few, abs=0.03)
