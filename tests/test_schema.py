"""What columns are taken for, how to say otherwise, and what comes out of them."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.data import Schema, Table, infer_schema, read_table
from isthmus.data import dates as date_forms

N = 40
PHOTOS = [f"photo/{i}.png" for i in range(N)]
WORDS = [f"a bird that sings in tree number {i}" for i in range(N)]


def cycle(*cells):
    return [cells[i % len(cells)] for i in range(N)]


def column(cells, name="x", **flags):
    """What a column of these cells is taken for, beside a photo that makes the table usable."""
    return infer_schema(Table({name: cells, "photo": PHOTOS[: len(cells)]}), **flags).column(name)


class TestKinds:
    @pytest.mark.parametrize(
        ("cells", "kind", "note"),
        [
            (PHOTOS, "image", "files ending in .png"),
            ([*[f"{i}.WAV" for i in range(21)], *["oops"] * 15, *["NA"] * 4], "audio", "files ending in .wav"),
            ([f"pen/{i}.npy" for i in range(N)], "series", "files ending in .npy"),
            ([f"texts/{i}.txt" for i in range(N)], "text", "files ending in .txt"),
            ([f"{i * i}.5" for i in range(N)], "number", "numbers"),
            ([*["1e-3", "+7", ".5", "12.", "inf", "NaN", "?"] * 5, "oops"] + ["3"] * 4, "number", "numbers"),
            (cycle("1", "2", "NA"), "number", "2 whole numbers; say category"),
            ([f"{i},25" for i in range(N)], "number", "numbers with a decimal comma"),
            (cycle("01067", "80331", "20095"), "category", "3 codes with leading zeros"),
            ([f"2024-01-{1 + i % 28:02d}" for i in range(N)], "date", "dates such as 2024-01-01"),
            (cycle("[1, 2]", "[3, 4]"), "vector", "of shape 2"),
            (cycle("[1, 2]", "[3]"), "series", "of different lengths"),
            (WORDS, "text", "text"),
            (["数字七", "the digit seven"] * 20, "category", "2 different values"),
            ([f"汉{i}字" for i in range(N)], "text", "text"),
            (cycle("North America", "Asia"), "category", "2 different values"),
            (cycle("NA", "DE", "FR"), "category", "3 different values"),
            (cycle(True, False), "category", "true or false"),
            ([i / 7 for i in range(N)], "number", "numbers"),
            ([datetime.date(2024, 1, 1) + datetime.timedelta(i) for i in range(N)], "date", "dates"),
            ([b"\x89PNG" + bytes([i]) for i in range(N)], "image", "bytes that are pictures"),
            ([b"RIFF....WAVE" + bytes([i]) for i in range(N)], "audio", "bytes that are sounds"),
            ([(np.zeros(9, np.float32), 8000)] * N, "audio", "waveforms with their rate"),
            (list(np.zeros((N, 8, 8), np.uint8)), "image", "arrays of shape 8 x 8"),
            (list(np.zeros((N, 3, 8, 8))), "image", "arrays of shape 3 x 8 x 8"),
            (list(np.zeros((N, 8, 2))), "series", "arrays of shape 8 x 2"),
            (list(np.zeros((N, 8))), "vector", "arrays of shape 8"),
            ([[0.0] * (1 + i % 3) for i in range(N)], "series", "of different lengths"),
            ([["red", "blue"]] * N, "text", "lists of words"),
        ],
    )
    def test_kinds(self, cells, kind, note):
        found = column(cells)
        assert (found.role, found.kind) == ("modality", kind) and note in found.note

    @pytest.mark.parametrize(
        ("name", "cells", "note"),
        [
            ("x", [None] * N, "blank in every row"),
            ("x", cycle("lake", None), "the same in every row"),
            ("x", cycle(5.0), "the same in every row"),
            ("x", cycle("5", "NA"), "the same in every row"),
            ("x", ["a", *[None] * (N - 1)], "only one row has a value"),
            ("x", cycle("-", "NA"), "nothing but -, NA"),
            ("x", [f"9f1c-{i:04x}" for i in range(N)], "--kind x=text makes it a modality"),
            ("zip", [f"0{i + 1000}" for i in range(N)], "codes with leading zeros, nearly all different"),
            ("x", [str(i) for i in range(N)], "counts the rows; --kind x=number"),
            ("patientId", [i * 37 % 1009 for i in range(N)], "identifiers, by the name"),
            ("x", cycle("03/04/2024", "01/02/2024"), "say date:%d/%m/%Y or date:%m/%d/%Y"),
            ("x", [object()] * N, "cells of type object"),
            ("x", cycle(b"??", b"!!"), "bytes of no known kind"),
        ],
    )
    def test_what_tells_nothing_is_ignored(self, name, cells, note):
        found = column(cells, name)
        assert (found.role, found.kind) == ("ignore", "") and note in found.note

    def test_a_name_can_make_it_text(self):
        assert column(["数字七", "the digit seven"] * 20, "image_caption").kind == "text"

    def test_npy_files_are_looked_into(self, tmp_path):
        shapes = {"vector": (5,), "series": (5, 3), "image": (5, 5)}
        for name, shape in shapes.items():
            np.save(tmp_path / f"{name}.npy", np.zeros(shape, np.uint8 if name == "image" else np.float32))
            table = Table({"x": [f"{name}.npy", "missing.npy"]}, folder=tmp_path)
            assert infer_schema(table).column("x").kind == name

    def test_a_text_too_long_for_a_name_is_no_file(self):
        found = column(cycle("a" * 300, "b" * 300), kinds={"x": "text"})
        assert (found.kind, found.format) == ("text", "")
        assert column([f"{i}{'a' * 300}.npy" for i in range(N)]).kind == "series"

    def test_missing_counts_words_for_gaps_where_they_are_gaps(self):
        assert column(cycle("1.5", "NA", None, "2")).missing == 0.5
        assert column(cycle("DE", "NA", None, "FR")).missing == 0.25


class TestRoles:
    def test_columns_without_flags(self):
        columns = {"id": [f"b{i}" for i in range(N)], "photo": PHOTOS, "caption": WORDS, "wing_mm": range(3, N + 3)}
        columns |= {"habitat": cycle("lake", "wood"), "Label": cycle("a", "b"), "split": cycle("train", "test")}
        schema = infer_schema(Table(columns))
        assert (schema.key, schema.labels, schema.split, schema.group) == ("id", ["Label"], "split", None)
        assert list(schema.modalities) == ["photo", "caption", "table"]
        plan = schema.plan("table")
        assert (plan.kind, plan.columns) == ("table", ("wing_mm", "habitat"))
        types = [{"name": "wing_mm", "type": "number"}, {"name": "habitat", "type": "category"}]
        assert plan.options == {"columns": types}

    def test_one_column_of_the_table_keeps_its_name(self):
        schema = infer_schema(Table({"photo": PHOTOS, "habitat": cycle("lake", "wood")}))
        assert schema.plan("habitat").kind == "table"
        assert schema.cells(Table({"habitat": ["lake", None]}), "habitat") == [{"habitat": "lake"}, None]

    def test_flags_have_the_last_word(self):
        columns = {"id": range(N), "photo": PHOTOS, "who": cycle("a", "b"), "fold": cycle("train", "dev"), "y": WORDS}
        columns |= {
            "code": [f"c{i}" for i in range(N)],
            "mass": cycle(1, 2),
            "wing": cycle(1, 3, 4),
            "age": cycle(3, 9),
        }
        schema = infer_schema(
            Table(columns),
            key="code",
            ignore="id",
            group="who",
            split="fold",
            kinds={"y": "text", "mass": "category", "age": "table"},
            modalities={"body": ["mass", "wing"], "picture": "photo"},
        )
        assert (schema.key, schema.group, schema.split, schema.labels) == ("code", "who", "fold", [])
        assert {name: plan.kind for name, plan in schema.modalities.items()} == {
            "picture": "image", "y": "text", "body": "table", "age": "table"
        }  # fmt: skip
        assert schema.column("mass").kind == "category"

    def test_a_label_that_was_told_is_no_modality(self):
        schema = infer_schema(Table({"photo": PHOTOS, "habitat": cycle("lake", "wood")}), label="habitat")
        assert schema.labels == ["habitat"] and list(schema.modalities) == ["photo"]

    def test_an_identifier_can_be_asked_for(self):
        codes = [f"c{i}" for i in range(N)]
        assert column(codes, kinds={"x": "text"}).kind == "text"
        assert column(codes, modalities={"name": ["x"]}).role == "modality"
        assert column(codes, kinds={"x": "ignore"}).note == "as told"

    def test_a_key_by_name_must_name_one_row_each(self):
        found = column(cycle(1, 2, 3), "id")
        assert found.role == "ignore" and "37 of its values come again" in found.note
        # A damaged row without key does not take the key from all others.
        table = Table({"id": ["a", None, "c"], "t": WORDS[:3]})
        assert infer_schema(table).keys(table) == ["a", "row 2", "c"]

    def test_rows_without_key_are_named_by_their_number(self):
        table = Table({"filename": [f"f{i}" for i in range(N)], "photo": PHOTOS})
        schema = infer_schema(table)
        assert schema.key is None and schema.keys(table.take([7, 3])) == ["8", "4"]

    def test_a_table_modality_beside_a_column_of_that_name(self):
        columns = {"table": WORDS, "a": cycle(1, 2), "b": cycle(3, 4)}
        assert list(infer_schema(Table(columns)).modalities) == ["table", "table_"]


class TestErrors:
    table = Table({"photo": PHOTOS, "wing_mm": cycle(1, 2, 3), "habitat": cycle("lake", "wood")})

    @pytest.mark.parametrize(
        ("flags", "message"),
        [
            ({"ignore": "wing-mm"}, r"Unknown column 'wing-mm'. .* Did you mean 'wing_mm'\?"),
            ({"kinds": {"habitta": "text"}}, r"Unknown column 'habitta'. .* Did you mean 'habitat'\?"),
            ({"modalities": {"x": ["foto"]}}, r"Unknown column 'foto'. .* Did you mean 'photo'\?"),
            ({"kinds": {"photo": "imgae"}}, r"Unknown kind 'imgae' for column 'photo'.* Did you mean 'image'\?"),
            ({"key": "photo", "label": ["photo"]}, "Column 'photo' was given two roles, key and label"),
            ({"ignore": "photo", "kinds": {"photo": "image"}}, "given the role ignore and the kind image"),
            ({"modalities": {"a": ["photo"], "b": ["photo"]}}, "two roles, modality 'a' and modality 'b'"),
            ({"modalities": {"a": ["photo", "wing_mm"]}}, r"'a' is to hold photo \(image\), wing_mm \(number\)"),
            ({"key": "habitat"}, r"Key 'habitat' does not name one row each: 'lake' in rows 1, 3, 5, ...; 'wood'"),
            ({"split": "habitat"}, r"Split column 'habitat' holds 'lake' \(row 1\), 'wood' \(row 2\)"),
            (
                {"ignore": ["photo", "wing_mm", "habitat"]},
                r"No column of this table can be a modality:\n  photo: ignore",
            ),
            ({"kinds": {"habitat": "date"}}, r"how to read 'lake' is not clear .*such as date:%d/%m/%Y"),
        ],
    )
    def test_flags(self, flags, message):
        with pytest.raises(ValueError, match=message):
            infer_schema(self.table, **flags)

    def test_tables(self):
        with pytest.raises(ValueError, match="The table has no rows"):
            infer_schema(Table({"x": []}))
        with pytest.raises(ValueError, match="'x' was asked for as a modality and is blank in every row"):
            column([None, ""], kinds={"x": "text"})

    def test_names_of_modalities(self):
        with pytest.raises(ValueError, match=r"Unknown modality 'pohto'. .* Did you mean 'photo'\?"):
            infer_schema(self.table).plan("pohto")


class TestCells:
    def test_files(self, tmp_path):
        (tmp_path / "1.txt").write_text("\ufeffein Vögelchen", encoding="utf-8")
        (tmp_path / "2.txt").write_bytes(b"caf\xe9")
        columns = {"photo": [" a.png", "NA", None, "b.png"], "story": ["1.txt", "2.txt", "3.txt", "none"]}
        table = Table(columns, folder=tmp_path, source="t.csv")
        schema, rejected = infer_schema(table), []
        assert schema.cells(table, "photo") == [tmp_path / "a.png", None, None, tmp_path / "b.png"]
        assert schema.cells(table, "story", rejected) == ["ein Vögelchen", None, None, None]
        assert [(entry.row, entry.column, entry.reason) for entry in rejected] == [
            (2, "story", "not UTF-8"), (3, "story", "file not found")
        ]  # fmt: skip

    def test_relative_paths_without_a_folder_start_here(self):
        (path, *_) = infer_schema(Table({"photo": PHOTOS})).cells(Table({"photo": PHOTOS}), "photo")
        assert path == Path.cwd() / PHOTOS[0]

    def test_bad_cells_of_a_table_are_reported(self):
        numbers = ["1.50", " 2", "NaN", "?", "inf", "1e999", "oops", None, *[str(i) for i in range(60)]]
        days = ["2024-02-29", "2024-02-30", *["2023-01-01", "NA"] * 33]
        table = Table({"n": numbers, "d": days}, source="t.csv")
        rejected = []
        cells = infer_schema(table).cells(table, "table", rejected)
        assert [cell and cell["n"] for cell in cells[:8]] == ["1.50", "2", None, None, None, None, None, None]
        assert cells[0]["d"] == datetime.date(2024, 2, 29) and cells[3] is None
        assert {(entry.file, entry.row, entry.column, entry.reason) for entry in rejected} == {
            ("t.csv", 5, "n", "not a finite number: 'inf'"),
            ("t.csv", 6, "n", "not a finite number: '1e999'"),
            ("t.csv", 7, "n", "not a number: 'oops'"),
            ("t.csv", 2, "d", "not a date: '2024-02-30'"),
        }

    def test_bad_cells_of_frames(self):
        table = Table({"n": [1, float("inf"), 10**400, *[2.5] * 20], "c": [True, [1], *[False] * 21]})
        rejected = []
        cells = infer_schema(table).cells(table, "table", rejected)
        assert cells[:3] == [{"n": 1, "c": True}, None, {"n": None, "c": False}]
        assert [(entry.row, entry.column) for entry in rejected] == [(2, "n"), (3, "n"), (2, "c")]

    def test_decimal_commas_come_back(self):
        table = Table({"n": [f"{i},25" for i in range(N)]})
        schema = infer_schema(table)
        assert schema.cells(table, "n")[3] == {"n": "3.25"}
        assert schema.restore("n", {"n": 3.25}) == {"n": "3,25"}

    def test_lists_pictures_and_words(self):
        columns = {"v": cycle("[1, 2]", "[3, 4"), "w": [["red", "blue"]] * N, "i": list(np.zeros((N, 3, 8, 9)))}
        columns["v"][2] = "[5, 6]"
        schema, rejected = infer_schema(Table(columns), kinds={"v": "vector"}), []
        assert schema.cells(Table(columns), "v", rejected)[0].tolist() == [1, 2]
        assert len(rejected) == N // 2 and "not a list of numbers" in rejected[0].reason
        assert schema.cells(Table(columns), "w")[0] == "red, blue"
        assert schema.cells(Table(columns), "i")[0].shape == (8, 9, 3)


class TestDates:
    moments = st.datetimes(datetime.datetime(1, 1, 1), datetime.datetime(9999, 12, 31))

    @settings(max_examples=20, deadline=None)
    @pytest.mark.parametrize("form", date_forms.FORMS)
    @given(moment=moments)
    def test_every_form_reads_what_it_wrote(self, form, moment):
        text = date_forms.write(moment, form)
        read = date_forms.parse(text, form)
        assert date_forms.write(read, form) == text
        assert "%d" not in form.replace("%-", "%") or read.isoformat()[:10] == moment.isoformat()[:10]

    @pytest.mark.parametrize("form", date_forms.FORMS)
    def test_every_form_is_found_and_comes_back(self, form):
        days = [datetime.datetime(2023, 1, 1, 5, 7, 9, 11) + datetime.timedelta(days=9 * i) for i in range(N)]
        texts = [date_forms.write(day, form) for day in days]
        table = Table({"x": texts, "photo": PHOTOS})
        schema = infer_schema(table)
        assert schema.column("x").format == form
        assert [schema.restore("x", cell)["x"] for cell in schema.cells(table, "x")] == texts

    def test_day_and_month_first_are_told_apart_by_one_cell(self):
        assert column(cycle("01/02/2024", "03/04/2024", "25/12/2024")).format == "%d/%m/%Y"
        assert column(cycle("01/02/2024", "03/04/2024", "12/25/2024")).format == "%m/%d/%Y"

    def test_an_ambiguous_form_can_be_told(self):
        cells = cycle("01/02/2024", "03/04/2024")
        schema = infer_schema(Table({"x": cells}), kinds={"x": "date:%m/%d/%Y"})
        assert schema.cells(Table({"x": cells}), "x")[0] == {"x": datetime.date(2024, 1, 2)}

    @pytest.mark.parametrize(
        ("cells", "first", "form"),
        [
            (cycle("2024-1-5", "2024-1-15", "2024-11-5"), datetime.date(2024, 1, 5), "%Y-%-m-%-d"),
            (["2024-1-5", *cycle("2024-01-06", "2024-12-31")], datetime.date(2024, 1, 5), "%Y-%m-%d"),
            (
                cycle("2024-01-05 9:30:00", "2024-01-05 10:30:00"),
                datetime.datetime(2024, 1, 5, 9, 30),
                "%Y-%m-%d %H:%M:%S",
            ),
            (
                cycle("2024-1-05T9:30:00.5+02:00", "2024-01-05T10:30:00.25Z"),
                datetime.datetime(2024, 1, 5, 7, 30, 0, 500_000),
                "%Y-%m-%dT%H:%M:%S.%f%z",
            ),
        ],
    )
    def test_parts_may_lack_their_leading_zeros(self, cells, first, form):
        table, rejected = Table({"x": cells}), []
        schema = infer_schema(table)
        assert schema.column("x").format == form
        read = schema.cells(table, "x", rejected)
        assert read[0] == {"x": first} and not rejected
        again = [schema.restore("x", cell)["x"] for cell in read]
        assert [date_forms.parse(text, form) for text in again] == [cell["x"] for cell in read]
        assert form != "%Y-%-m-%-d" or again == cells

    def test_a_told_form_that_begins_like_iso_is_used(self):
        cells = cycle("2024-01-05 09:30 PM", "2024-01-06 10:15 AM")
        schema = infer_schema(Table({"x": cells}), kinds={"x": "date:%Y-%m-%d %I:%M %p"})
        read = schema.cells(Table({"x": cells}), "x")
        assert read[0] == {"x": datetime.datetime(2024, 1, 5, 21, 30)}
        assert [schema.restore("x", cell)["x"] for cell in read] == cells
        assert date_forms.parse("2024-01-05 10:20", "%Y-%m-%d %M:%H") == datetime.datetime(2024, 1, 5, 20, 10)

    def test_a_zone_that_leads_out_of_the_calendar_is_no_date(self):
        cells = [*cycle("2024-01-05T10:00:00+02:00", "2024-01-06T10:00:00+02:00"), "0001-01-01T00:00:00+05:00"]
        schema, rejected = infer_schema(Table({"x": cells})), []
        assert schema.cells(Table({"x": cells}), "x", rejected)[-1] is None
        assert [entry.reason for entry in rejected] == ["not a date: '0001-01-01T00:00:00+05:00'"]

    def test_zones_are_brought_to_utc(self):
        cells = [f"2024-01-{day:02d}T01:30:00+02:00" for day in range(2, 12)]
        schema = infer_schema(Table({"x": cells}))
        (first, *_) = schema.cells(Table({"x": cells}), "x")
        assert first == {"x": datetime.datetime(2024, 1, 1, 23, 30)}
        assert schema.restore("x", first) == {"x": "2024-01-01T23:30:00+00:00"}

    def test_a_new_table_may_write_them_as_iso(self):
        schema = infer_schema(Table({"x": [f"{day}.12.2024" for day in range(11, 29)]}))
        new = Table({"x": ["2025-01-31", datetime.date(2025, 1, 31)]})
        assert [cell["x"] for cell in schema.cells(new, "x")] == [datetime.date(2025, 1, 31)] * 2


class TestNewTables:
    table = Table(
        {"key": [f"k{i}" for i in range(N)], "photo": PHOTOS, "wing": cycle(1, 2), "zip": cycle("01067", "2")}
    )
    schema = infer_schema(table)

    def test_the_same_table_has_no_notes(self):
        assert self.schema.check(self.table) == []

    def test_columns_that_came_and_went(self):
        new = Table({"photo": ["a.png"], "zip": ["01067"], "song": ["a.wav"]})
        notes = self.schema.check(new)
        assert [note.split("'")[1] for note in notes] == ["wing", "key", "song"]
        assert self.schema.keys(new) == ["1"]
        assert self.schema.cells(new, "table") == [{"wing": None, "zip": "01067"}]
        assert self.schema.cells(new.select(["photo"]), "table") == [None]

    def test_a_table_of_something_else(self):
        with pytest.raises(
            ValueError, match=r"none of the columns photo, wing, zip. It has foto.* Did you mean 'foto'\?"
        ):
            self.schema.check(Table({"foto": ["a.png"]}))

    def test_a_key_that_comes_twice(self):
        with pytest.raises(ValueError, match="Key 'key' does not name one row each: 'k1' in rows 1, 2"):
            self.schema.check(Table({"key": ["k1", "k1"], "photo": ["a.png", "b.png"]}))

    def test_through_json_and_back(self):
        config = json.loads(json.dumps(self.schema.to_config()))
        assert Schema.from_config(config) == self.schema

    def test_describe(self):
        assert self.schema.describe()[1] == {
            "column": "photo", "role": "modality", "kind": "image", "missing": 0.0, "note": "files ending in .png"
        }  # fmt: skip


def test_a_registered_kind_is_a_kind(monkeypatch):
    monkeypatch.setattr("isthmus.kinds.kind_names", lambda: ("graph",))
    schema = infer_schema(Table({"x": ["C1=CC", "CCO"]}), kinds={"x": "graph"})
    assert schema.plan("x").kind == "graph" and schema.cells(Table({"x": ["CCO"]}), "x") == ["CCO"]
    assert infer_schema(Table({"x": ["C" * 300, "CCO"]}), kinds={"x": "graph"}).column("x").format == ""


def test_hanzi(shared):
    """Real data: 1,484 characters; radical and structure repeat, definitions do not."""
    table = read_table(shared / "hanzi" / "hanzi.csv")
    schema = infer_schema(table, key="char", ignore=["row", "codepoint", "split", "mp3"])
    kinds = {column.name: column.kind for column in schema.columns if column.role == "modality"}
    assert kinds == {
        "pinyin": "text", "tone": "number", "definition_en": "text", "radical": "category", "structure": "category",
        "decomposition": "text", "etymology_type": "category", "etymology_hint": "text", "n_strokes": "number",
    }  # fmt: skip
    assert table.rejected == [] and schema.keys(table)[0] == "一"
