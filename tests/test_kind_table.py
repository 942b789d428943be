"""What the table kind promises: rows with blanks in; the same units, types and categories out."""

from __future__ import annotations

import csv
import json
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from isthmus.batch import Masked
from isthmus.kinds import get_kind
from isthmus.kinds.base import CellError, Kind
from isthmus.kinds.table import TableKind


def birds(num: int = 60) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    return [
        {
            "wing_mm": round(float(rng.normal(120, 25)), 1),
            "mass_g": float(f"{np.exp(rng.normal(4, 2)):.3f}"),
            "eggs": int(rng.poisson(3)),
            "migrates": bool(rng.integers(2)),
            "habitat": ["forest", "sea", "city", "08376"][int(rng.integers(4))],
            "class": int(rng.integers(3)),
            "seen": date(2020, 1, 1) + timedelta(days=int(rng.integers(1500))),
        }
        for _ in range(num)
    ]


TYPES = [
    {"name": "wing_mm", "type": "number"},
    {"name": "mass_g", "type": "number"},
    {"name": "eggs", "type": "number"},
    {"name": "migrates", "type": "category"},
    {"name": "habitat", "type": "category"},
    {"name": "class", "type": "category"},
    {"name": "seen", "type": "date"},
]


@pytest.fixture(scope="module")
def kind() -> TableKind:
    return TableKind(columns=TYPES).fit(birds())


def rows_of(kind: Kind, cells: list[Any]) -> Masked:
    values = kind.normalise(kind.collate([kind.encode(cell) for cell in cells]))
    assert isinstance(values, Masked)
    return values


def types_of(kind: TableKind) -> dict[str, str]:
    return {column["name"]: column["type"] for column in kind.columns_}


def only_column(cells: list[Any], type: str = "number", **settings: Any) -> TableKind:
    return TableKind(columns=[{"name": "x", "type": type}], **settings).fit([{"x": cell} for cell in cells])


def round_trip(cells: list[Any], type: str = "number", **settings: Any) -> list[Any]:
    kind = only_column(cells, type, **settings)
    return [row["x"] for row in kind.cells(rows_of(kind, [{"x": cell} for cell in cells]))]


def test_rows_come_back_with_their_units_types_and_order(kind: TableKind) -> None:
    for row, again in zip(birds(), kind.cells(rows_of(kind, birds())), strict=True):
        assert list(again) == list(row)
        assert {name: type(value) for name, value in again.items()} == {name: type(v) for name, v in row.items()}
        assert again["mass_g"] == pytest.approx(row["mass_g"], rel=1e-5, abs=1e-3)
        assert again | {"mass_g": None} == row | {"mass_g": None}


def test_types_are_told_by_the_values(kind: TableKind) -> None:
    assert types_of(kind) == {
        "wing_mm": "normal",
        "mass_g": "log_normal",
        "seen": "date",
        "eggs": "count",
        "migrates": "binary",
        "habitat": "categorical",
        "class": "categorical",
    }
    assert kind.describe() == "7 columns: 1 normal, 1 log-normal, 1 count, 1 binary, 2 categorical, 1 date"
    assert kind.num_dimensions == 7


def test_columns_may_be_left_to_the_cells() -> None:
    rows = [{"a": "1.5", "b": "red", "c": True}, {"a": "2", "b": "blue", "c": False}, {"a": "7", "b": "red"}]
    assert types_of(TableKind().fit(rows)) == {"a": "normal", "b": "binary", "c": "binary"}


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["1", "25", "300"], [1, 25, 300]),
        (["0.25", "12.50", "-3.00"], [0.25, 12.5, -3.0]),
        ([1.0, 2.0, 40.0], [1, 2, 40]),
        ([0, 1, 1], [0, 1, 1]),
        (["1", "0", "1.0"], [1, 0, 1]),
        ([-5, 4, 3], [-5, 4, 3]),
        (["1e-3", "2e-3", "5e-3"], [0.001, 0.002, 0.005]),
        ([-1.0, 12.5, 69.96666666, 0.0], [-1.0, 12.5, 69.96667, 0.0]),
        ([1_000_000, 2_000_001, 3_000_002], [1_000_000, 2_000_001, 3_000_002]),
    ],
)
def test_numbers_come_back_as_they_were(cells: list[Any], expected: list[Any]) -> None:
    again = round_trip(cells)
    assert again == expected
    assert [type(value) for value in again] == [type(value) for value in expected]


def test_every_count_that_is_allowed_comes_back_exactly() -> None:
    counts = [0, 1, 2, 3, 99_999, 100_000, 12_345, 67_891]
    assert round_trip(counts) == counts
    assert types_of(only_column(counts)) == {"x": "count"}


@pytest.mark.parametrize(
    "cells",
    [
        ["forest", "sea", "Forest", " sea"],
        ["08376", "8376", "0", "00"],
        [3, 1, 2],
        [True, False],
        ["NA", "null", "-"],
        ["一", "二", "三"],
    ],
)
def test_categories_come_back_exactly(cells: list[Any]) -> None:
    again = round_trip(cells, "category")
    assert again == cells and [type(value) for value in again] == [type(value) for value in cells]


def test_an_integer_category_is_found_in_text_and_beside_gaps() -> None:
    kind = only_column([1, 2, 3], "category")
    for cell in ("2", 2.0, np.int64(2)):
        assert kind.cells(rows_of(kind, [{"x": cell}])) == [{"x": 2}]


@pytest.mark.parametrize(
    "cells",
    [
        [date(1900, 1, 1), date(2024, 2, 29), date(2100, 12, 31)],
        [datetime(2024, 1, 1), datetime(2024, 2, 29), datetime(2025, 1, 1)],
        [datetime(2024, 1, 1, 12, 30), datetime(2024, 1, 2), datetime(2024, 3, 1)],
        [datetime(2024, 1, 1, 12, 30, 59), datetime(2024, 1, 2), datetime(2024, 1, 3)],
        ["2024-01-31", "2023-12-01", "1999-05-05"],
        ["2024-01-31T10:00:00", "2023-12-01T11:30:00", "2023-12-01T00:00:00"],
        [datetime(2024, 1, 1, 12, tzinfo=UTC), datetime(2024, 1, 2, tzinfo=UTC)],
    ],
)
def test_dates_come_back_as_they_were(cells: list[Any]) -> None:
    assert round_trip(cells, "date") == cells


def test_time_zones_are_brought_to_utc() -> None:
    cells = [datetime(2024, 1, 1, 12, tzinfo=timezone(timedelta(hours=8))), datetime(2024, 1, 2, tzinfo=UTC)]
    assert round_trip(cells, "date")[0] == datetime(2024, 1, 1, 4, tzinfo=UTC)


def test_a_wild_code_still_decodes_to_a_calendar_date_and_a_finite_number() -> None:
    days = only_column([date(2024, 1, 1), date(2024, 3, 1)], "date")
    assert days.decode(np.array([1e12]))["x"].year == 9999
    assert days.decode(np.array([-1e12]))["x"].year == 1
    wild = only_column([0.1, 1.0, 10.0, 1000.0, 1e5 + 0.5])
    assert types_of(wild) == {"x": "log_normal"}
    assert np.isfinite(wild.decode(np.array([1e9]))["x"])
    counts = only_column([0, 1, 2, 5])
    assert counts.decode(np.array([-9.0])) == {"x": 0}
    assert counts.decode(np.array([1e9])) == {"x": 100_000}
    assert only_column(["a", "b", "c"], "category").decode(np.array([7.0])) == {"x": "c"}


def test_a_blank_is_masked_and_comes_back_as_none(kind: TableKind) -> None:
    row = birds()[0] | {"wing_mm": None, "habitat": "  "}
    del row["eggs"]
    values = rows_of(kind, [row])
    assert kind.drain_notes() == []
    assert values.mask.sum() == 4 and (values.value[~values.mask] == 0).all()
    (again,) = kind.cells(values)
    assert again["wing_mm"] is again["habitat"] is again["eggs"] is None
    assert again["class"] == row["class"]


@pytest.mark.parametrize(
    ("name", "cell", "reason"),
    [
        ("wing_mm", "abc", "'abc' is not a number"),
        ("wing_mm", "1_000", "'1_000' is not a number"),
        ("wing_mm", [1.0], "is not a number"),
        ("wing_mm", float("nan"), "nan is not a finite number"),
        ("wing_mm", "-inf", "'-inf' is not a finite number"),
        ("wing_mm", 10**400, "is not a finite number"),
        ("wing_mm", 1e200, "too large"),
        ("wing_mm", 1e20, "more than 1e\\+06 deviations from the training values"),
        ("mass_g", 0, "0 is not above zero, as a log-normal"),
        ("eggs", 2.5, "2.5 is not a whole number"),
        ("eggs", -1, "-1 is not a whole number from zero up"),
        ("eggs", 10**6, "above 100000"),
        ("habitat", "desert", "'desert' was not among the training values"),
        ("migrates", float("nan"), "nan is not a category"),
        ("seen", "31.12.2024", "'31.12.2024' is not a date like"),
        ("seen", 20240131, "20240131 is not a date"),
        ("seen", "20240131", "is not a date"),
    ],
)
def test_what_cannot_be_read_is_masked_and_told(kind: TableKind, name: str, cell: Any, reason: str) -> None:
    values = rows_of(kind, [birds()[0] | {name: cell}])
    ((column, told),) = kind.drain_notes()
    assert column == name
    with pytest.raises(ValueError, match=reason):
        raise ValueError(told)
    assert kind.drain_notes() == []
    assert not values.mask[0, kind.column_names.index(name)] and values.mask.sum() == 6


def test_a_row_of_nothing_is_unreadable(kind: TableKind) -> None:
    with pytest.raises(CellError, match="every column is blank"):
        kind.encode({"wing_mm": None, "unknown column": 3})
    with pytest.raises(CellError, match=r"no column of this row can be read \(habitat: 'desert' was not among"):
        kind.encode({"habitat": "desert"})
    assert kind.drain_notes() == [("habitat", "'desert' was not among the training values")]
    with pytest.raises(CellError, match="expected a row, a dict from column to value, got str"):
        kind.encode("forest")


def test_notes_are_of_the_last_row_alone(kind: TableKind) -> None:
    kind.encode(birds()[0] | {"eggs": "many"})
    kind.encode(birds()[1])
    assert kind.drain_notes() == []


def test_one_column_takes_plain_values() -> None:
    kind = only_column([1, 2, 3])
    assert kind.cells(rows_of(kind, [2])) == [{"x": 2}]


def test_constant_blank_and_unreadable_columns_are_left_out() -> None:
    rows = [{"a": i, "same": 3, "blank": None, "words": "x", "one": "only"} for i in range(5)]
    types = {"a": "number", "same": "number", "blank": "category", "words": "number", "one": "category"}
    kind = TableKind(columns=[{"name": name, "type": type} for name, type in types.items()]).fit(rows)
    assert kind.column_names == ("a",)
    assert kind.dropped_ == {
        "same": "constant, always 3.0",
        "blank": "blank in every training row",
        "words": "no number could be read, such as 'x'",
        "one": "constant, always 'only'",
    }
    assert kind.describe() == "1 column: 1 count; left out: same, blank, words, one"
    with pytest.raises(ValueError, match=r"No column of this table can be learnt from 2 training rows .a: constant"):
        TableKind().fit([{"a": 1}, {"a": 1}])
    with pytest.raises(ValueError, match="no columns"):
        TableKind().fit([])


def test_overrides_have_the_last_word() -> None:
    assert types_of(only_column([1, 2, 3], overrides={"x": "normal"})) == {"x": "normal"}
    assert types_of(only_column([1, 2, 3], overrides={"x": "log_normal"})) == {"x": "log_normal"}
    assert types_of(only_column(["1", "2", "3"], overrides={"x": "categorical"})) == {"x": "categorical"}
    assert round_trip(["01", "1", "001"], overrides={"x": "category"}) == ["01", "1", "001"]
    with pytest.raises(
        ValueError, match="told to be log_normal, but 1 of its 3 values cannot be, such as 0, which is not above"
    ):
        only_column([0, 1, 2], overrides={"x": "log_normal"})
    with pytest.raises(ValueError, match="told to be binary, but holds 3 values, such as 1, 2, 3"):
        only_column([1, 2, 3], overrides={"x": "binary"})
    with pytest.raises(ValueError, match=r"given type 'log_norml'.*Did you mean 'log_normal'"):
        TableKind(overrides={"x": "log_norml"})
    with pytest.raises(ValueError, match=r"overrides names column 'wing_m'.*Did you mean 'wing_mm'"):
        TableKind(columns=TYPES, overrides={"wing_m": "normal"})
    with pytest.raises(ValueError, match="overrides names column 'y'"):
        TableKind(overrides={"y": "normal"}).fit([{"x": 1}, {"x": 2}])


def test_a_stray_value_does_not_decide_the_type() -> None:
    areas = [*np.geomspace(1, 1e7, 199), -1.0]
    kind = only_column(areas)
    assert types_of(kind) == {"x": "log_normal"}
    with pytest.raises(CellError, match=r"-1.0 is not above zero"):
        kind.encode({"x": -1.0})
    assert types_of(only_column([*areas, -1.0, -1.0])) == {"x": "normal"}


@pytest.mark.parametrize(
    ("cells", "type", "expected"),
    [
        ([-0.5, 1.0, 4.5], "normal", 0.1 / np.std([-0.5, 1.0, 4.5])),
        (["-1.25", "2.50", "4"], "normal", 0.01 / np.std([-1.25, 2.5, 4])),
        ([-500, 40, 3000], "normal", 1 / np.std([-500, 40, 3000])),
        ([0.123456789, 1.0, 2.0], "normal", 0.0),  # of so many digits none is the last
        ([1.5, 10.0, 400.0], "log_normal", 0.1 / 10 / np.std(np.log([1.5, 10, 400]))),
        ([200, 3000, 40_000], "log_normal", 1 / 3000 / np.std(np.log([200, 3000, 40_000]))),
        ([date(2024, 1, 1), date(2024, 1, 2), date(2024, 1, 4)], "date", 1 / np.std([0, 1, 3])),
        ([datetime(2024, 1, 1, hour) for hour in (0, 1, 12)], "date", 1 / np.std([0, 1, 12])),
    ],
)
def test_the_step_of_a_column_is_its_last_digit_in_units_of_its_spread(
    cells: list[Any], type: str, expected: float
) -> None:
    kind = only_column(cells, type)
    assert kind.columns_[0]["step"] == pytest.approx(expected)
    head = kind.likelihood()
    with torch.no_grad():
        head.raw.fill_(-100.0)
    scale = head(torch.zeros(1, 1)).log_scale.exp()
    assert_close(scale, torch.tensor([min(max(expected, 1e-3), 0.5)], dtype=scale.dtype))


def test_columns_are_addressable(kind: TableKind) -> None:
    mask = kind.column_mask(["eggs", "wing_mm"])
    assert [name for name, there in zip(kind.column_names, mask, strict=True) if there] == ["wing_mm", "eggs"]
    assert kind.column_mask("eggs").sum() == 1
    with pytest.raises(ValueError, match=r"Unknown column 'egs'.*Did you mean 'eggs'"):
        kind.column_mask("egs")
    dropping = TableKind().fit([{"a": 1, "b": 1}, {"a": 2, "b": 1}])
    with pytest.raises(ValueError, match="Column 'b' was left out in training: constant, always 1"):
        dropping.column_mask("b")


def test_a_saved_kind_is_the_same_kind(kind: TableKind) -> None:
    again = Kind.from_config(json.loads(json.dumps(kind.to_config())))
    assert isinstance(again, get_kind("table"))
    odd = birds()[0] | {"habitat": "desert", "wing_mm": 1e9}
    for row in [*birds(), odd]:
        np.testing.assert_array_equal(again.encode(row), kind.encode(row))
    values = rows_of(kind, birds())
    assert again.cells(values) == kind.cells(values)
    assert again.describe() == kind.describe()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("num", [0, 1, 7])
def test_networks_take_any_number_of_rows(kind: TableKind, num: int, dtype: torch.dtype) -> None:
    values = rows_of(kind, birds()).to(dtype=dtype).take(torch.arange(num))
    features = kind.encoder(32).to(dtype)(values)
    assert features.shape == (num, 32) and features.dtype == dtype
    likelihood = kind.likelihood().to(dtype)(kind.decoder(8).to(dtype)(torch.zeros(num, 8, dtype=dtype)))
    assert likelihood.log_prob(values).shape == (num,)
    assert len(kind.cells(likelihood.mode)) == num


def test_no_row_depends_on_its_neighbours_nor_on_what_stands_in_a_blank(kind: TableKind) -> None:
    rows = birds()
    rows[0]["wing_mm"] = rows[1]["habitat"] = None
    values = rows_of(kind, rows)
    encoder = kind.encoder(16)
    together = encoder(values)
    alone = torch.cat([encoder(values.take(torch.tensor([row]))) for row in range(len(values))])
    assert_close(together, alone, atol=1e-5, rtol=0)
    assert_close(together, encoder(Masked(values.value.masked_fill(~values.mask, torch.nan), values.mask)))


def test_a_blank_is_not_the_mean(kind: TableKind) -> None:
    values = rows_of(kind, birds()[:1])
    mean = Masked(values.value * 0, values.mask)
    blank = Masked(values.value * 0, values.mask & ~kind.column_mask("wing_mm"))
    encoder = kind.encoder(16)
    assert not torch.allclose(encoder(mean), encoder(blank), atol=1e-3)


def test_it_learns(kind: TableKind) -> None:
    torch.manual_seed(0)
    values = rows_of(kind, birds())
    encoder, decoder, head = kind.encoder(64), nn.Sequential(nn.Linear(64, 16), kind.decoder(16)), kind.likelihood()
    parameters = [p for module in (encoder, decoder, head) for p in module.parameters()]
    optimiser = torch.optim.Adam(parameters, lr=2e-3)
    losses = []
    for _ in range(200):
        loss = -head(decoder(encoder(values))).log_prob(values).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    # Scales start at the spread of the data, so a decoder that knows nothing yet stands near the constant predictor.
    assert losses[-1] < losses[0] - 8
    with torch.no_grad():
        again = kind.cells(head(decoder(encoder(values))).mode)
    for name in ("habitat", "migrates", "class"):
        assert np.mean([a[name] == b[name] for a, b in zip(again, birds(), strict=True)]) > 0.95


def test_html_is_escaped_and_self_contained(kind: TableKind) -> None:
    html = kind.html({"<b>": "<script>alert('x')</script>", "blank": None})
    assert "<script>" not in html and "&lt;script&gt;" in html and "&lt;b&gt;" in html
    assert "http" not in html and "<td></td>" in html


def test_a_row_is_written_as_text(kind: TableKind, tmp_path: Path) -> None:
    text = kind.write({"x": 1, "day": date(2024, 1, 31), "名": "鸟"}, tmp_path / "row")
    assert json.loads(text) == {"x": 1, "day": "2024-01-31", "名": "鸟"} and "鸟" in text
    assert kind.write({"x": 1.5}, tmp_path / "row") == "1.5"
    assert list(tmp_path.iterdir()) == []


def test_countries_come_back(shared: Path) -> None:
    """A real table, as text, with real blanks."""
    with (shared / "countries" / "countries.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    types = {name: "number" for name in ("lat", "lng", "area_km2", "n_borders", "landlocked")}
    types |= {"region": "category", "subregion": "category"}
    columns = [{"name": name, "type": type} for name, type in types.items()]
    kind = TableKind(columns=columns).fit(rows)
    told = types_of(kind)
    assert told["area_km2"] == "log_normal" and told["n_borders"] == "count" and told["landlocked"] == "binary"
    for row, again in zip(rows, kind.cells(rows_of(kind, rows)), strict=True):
        for name, type in types.items():
            if not row[name] or (name == "area_km2" and row[name] == "-1"):  # the area of one country is not known
                assert again[name] is None
            elif type == "category":
                assert again[name] == row[name]
            else:
                assert again[name] == pytest.approx(float(row[name]), rel=1e-5, abs=1e-5)


def test_training_hides_columns_from_the_encoder_and_never_a_whole_row():
    rows = [{"a": float(i), "b": float(-i), "c": "xyz"[i % 3]} for i in range(400)]
    kind = TableKind(columns=[{"name": n, "type": t} for n, t in (("a", "number"), ("b", "number"), ("c", "category"))])
    kind.fit(rows)
    values = kind.normalise(kind.collate([kind.encode(row) for row in rows]))
    values = Masked(values.value, values.mask.clone())
    values.mask[:50, 0] = False
    generator = torch.Generator().manual_seed(0)
    seen = kind.corrupt(values, lambda *shape: torch.rand(len(values), *shape, generator=generator))
    assert not bool((seen.mask & ~values.mask).any()), "a blank was made to look observed"
    assert bool(seen.mask.any(dim=1).all()), "a row was hidden whole"
    hidden = 1 - seen.mask[50:].double().mean() / values.mask[50:].double().mean()
    assert 0.2 < float(hidden) < 0.35
    assert torch.equal(seen.value, values.value), "targets must stay as they are"
