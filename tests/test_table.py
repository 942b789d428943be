"""Every door into a table: what comes in, what is a gap, what is damaged, and what cannot be read at all."""

from __future__ import annotations

import csv
import datetime
import gzip
import io
import json
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from isthmus.data import Rejected, Table, read_table, write_rejected
from isthmus.data.readers import _read_line_by_line, _read_with_arrow
from isthmus.suggest import nearest


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def as_dict(table: Table) -> dict[str, list]:
    return {name: table[name] for name in table.columns}


def equal(cell, other) -> bool:
    return np.array_equal(cell, other) if isinstance(cell, np.ndarray) else cell == other


class TestTable:
    def test_gaps_of_every_form_become_none(self):
        gaps = [None, "", "  \n", float("nan"), np.float32("nan"), pd.NA, pd.NaT, [], (), b"", np.array([])]
        gaps += [np.full(3, np.nan), torch.tensor(float("nan")), np.ma.masked, np.ma.masked_all(2), {}]
        assert Table({"x": gaps})["x"] == [None] * len(gaps)

    def test_what_is_no_gap_stays(self):
        cells = ["NA", "null", 0, 0.0, False, " a ", [0], b"\0", datetime.date(2024, 2, 29)]
        assert Table({"x": cells})["x"] == cells

    def test_tensors_and_numpy_scalars_become_plain(self):
        cells = Table({"x": [torch.tensor(3), np.int16(4), torch.ones(2), np.float64(0.5)]})["x"]
        assert cells[0] == 3 and cells[1] == 4 and cells[3] == 0.5 and isinstance(cells[2], np.ndarray)

    def test_take_keeps_row_numbers_and_rejections_of_the_rows(self):
        table = Table({"x": list("abcd")}, rejected=[Rejected("f", 2, "x", "r"), Rejected("f", 3, "x", "r")])
        taken = table.take([3, 1]).take([1])
        assert (taken["x"], taken.row_numbers.tolist(), [r.row for r in taken.rejected]) == (["b"], [2], [2])

    def test_nothing_changes_it(self):
        table = Table({"x": [1, 2]})
        table["x"].append(3)
        wider = table.with_columns({"y": [3, 4], "x": [5, 6]})
        assert table["x"] == [1, 2] and wider["x"] == [5, 6] and wider.select(["y"]).columns == ("y",)

    def test_columns_of_different_length(self):
        with pytest.raises(ValueError, match=r"differ in length: x 2, y 1"):
            Table({"x": [1, 2], "y": [1]})

    def test_a_typo_is_answered(self):
        with pytest.raises(ValueError, match=r"No column 'Wing-mm'.* Did you mean 'wing_mm'\?"):
            Table({"wing_mm": [1], "song": [2]})["Wing-mm"]

    def test_nearest(self):
        assert nearest("imgae", ["image", "text"]) == " Did you mean 'image'?"
        assert nearest("xyz", ["image", "text"]) == ""


class TestDelimited:
    def test_every_cell_is_text_and_blank_is_a_gap(self, tmp_path):
        path = write(tmp_path / "a.csv", "zip,country,n\n08376,NA,1.50\n,  ,\n")
        table = read_table(path)
        assert as_dict(table) == {"zip": ["08376", None], "country": ["NA", None], "n": ["1.50", None]}
        assert table.folder == tmp_path and table.source == str(path) and table.rejected == []

    @pytest.mark.parametrize(
        "content",
        [
            "x,y\n1,ä\n".encode("utf-8-sig"),
            "x,y\n1,ä\n".encode("utf-16"),
            "x;y\r\n1;ä\r\n".encode(),
            "x\ty\n1\tä".encode(),
            "x|y\n1|ä".encode(),
            "\n x , y \n1,ä\n\n".encode(),
        ],
        ids=["bom", "utf-16", "semicolons", "tabs", "bars", "blank lines"],
    )
    def test_dialects(self, tmp_path, content):
        assert as_dict(read_table(write(tmp_path / "a.csv", content))) == {"x": ["1"], "y": ["ä"]}

    def test_commas_belong_to_the_cells_of_a_tsv_and_of_a_european_csv(self, tmp_path):
        assert read_table(write(tmp_path / "a.tsv", "x\ty\na,b\tc;d\n"))["x"] == ["a,b"]
        assert read_table(write(tmp_path / "a.csv", 'x;"y,z,u";v\n1,5;2;3\n'))["x"] == ["1,5"]

    def test_packed(self, tmp_path):
        assert read_table(write(tmp_path / "a.csv.gz", gzip.compress(b"x,y\n1,2\n")))["y"] == ["2"]

    def test_columns_without_a_name_are_called_by_their_place(self, tmp_path):
        assert read_table(write(tmp_path / "a.csv", ",x\n0,a\n")).columns == ("column 1", "x")

    cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)

    @settings(max_examples=150, deadline=None)
    @given(st.lists(st.tuples(cells, cells), min_size=1, max_size=6))
    @example([('say "a, b"\r\n', "\u2028"), ("'", '"')])
    def test_any_text_survives(self, tmp_path_factory, rows):
        file = io.StringIO(newline="")
        csv.writer(file).writerows([("x", "y"), *rows])
        data = file.getvalue().encode()
        expected = {name: [row[i] if row[i].strip() else None for row in rows] for i, name in enumerate("xy")}
        for read in (_read_with_arrow, _read_line_by_line):
            assert as_dict(read(data, ",", "")) == expected

    def test_bytes_that_are_not_utf8_cost_one_cell(self, tmp_path):
        path = write(tmp_path / "a.csv", b"key,text\n1,good\n2,caf\xe9\n3,fine\n")
        table = read_table(path)
        assert table["text"] == ["good", None, "fine"] and table["key"] == ["1", "2", "3"]
        assert table.rejected == [Rejected(str(path), 2, "text", "not UTF-8")]

    def test_ragged_rows(self, tmp_path):
        table = read_table(write(tmp_path / "a.csv", "a,b,c\n1,2,3\n\n4,5\n6,7,8,9\n1,2,3,,\n"))
        # Of a row that is too long no cell can be trusted; what a short one has is kept.
        assert as_dict(table) == {
            "a": ["1", "4", None, "1"],
            "b": ["2", "5", None, "2"],
            "c": ["3", None, None, "3"],
        }
        assert [(entry.row, entry.column) for entry in table.rejected] == [(2, ""), (3, "")]
        assert "2 fields where the header has 3" in table.rejected[0].reason
        assert "needs quotes" in table.rejected[1].reason

    def test_both_readers_agree_on_blank_rows(self):
        data = b"a,b\n1,2\n,\n\n3,4\n"
        assert as_dict(_read_with_arrow(data, ",", "")) == as_dict(_read_line_by_line(data, ",", ""))

    def test_a_quote_that_is_never_closed(self, tmp_path):
        with pytest.raises(ValueError, match="quote opened in line 3 is never closed"):
            read_table(write(tmp_path / "a.csv", 'a,b\n1,2\n3,"4\n5,6\n7,8\n'))

    def test_a_cell_larger_than_a_block(self, tmp_path):
        long = "x" * (1 << 25)
        assert len(read_table(write(tmp_path / "a.csv", f"a,b\n1,{long}\n2,y\n"))["b"][0]) == 1 << 25

    @pytest.mark.parametrize("content", ["", " \n\n", "\ufeff"])
    def test_empty_files(self, tmp_path, content):
        with pytest.raises(ValueError, match=r"a.csv is empty"):
            read_table(write(tmp_path / "a.csv", content))

    def test_a_header_alone(self, tmp_path):
        with pytest.raises(ValueError, match="has no rows"):
            read_table(write(tmp_path / "a.csv", "a,b\n"))

    def test_two_columns_of_one_name(self, tmp_path):
        with pytest.raises(ValueError, match=r"two columns named 'a' \(column 1 and column 3\)"):
            read_table(write(tmp_path / "a.csv", "a,b, a\n1,2,3\n"))

    def test_a_wrong_path_is_answered(self, tmp_path):
        write(tmp_path / "birds.csv", "a\n1\n")
        with pytest.raises(FileNotFoundError, match=r"Did you mean 'birds.csv'\?"):
            read_table(tmp_path / "brids.csv")
        with pytest.raises(ValueError, match=r"notes.doc is of no known table type. Expected .csv"):
            read_table(write(tmp_path / "notes.doc", "x"))


class TestJsonLinesAndParquet:
    def test_json_lines(self, tmp_path):
        rows = [
            {"v": [1, 2.5], "size": {"wing": 3}},
            {"t": "鸟\n", "v": None, "n": float("nan")},
        ]
        content = "\n".join(json.dumps(row) for row in rows) + "\n\n"
        assert as_dict(read_table(write(tmp_path / "a.jsonl", content))) == {
            "v": [[1, 2.5], None], "size.wing": [3, None], "t": [None, "鸟\n"], "n": [None, None]
        }  # fmt: skip

    def test_damaged_lines_cost_a_row(self, tmp_path):
        path = write(tmp_path / "a.ndjson", b'{"a": 1}\n{"a": \n[1]\n{"a": "\xff"}\n{"a": "\\ud800"}\n{"a": 2}\n')
        table = read_table(path)
        assert table["a"] == [1, None, None, None, None, 2]
        assert [(entry.row, entry.column) for entry in table.rejected] == [(2, ""), (3, ""), (4, "a"), (5, "a")]
        assert "not JSON" in table.rejected[0].reason and "JSON list where an object" in table.rejected[1].reason

    def test_parquet_types(self, tmp_path):
        columns = {
            "date": pa.array([datetime.date(2024, 1, 2), None]),
            "colour": pa.array(["red", None]).dictionary_encode(),
            "vector": pa.array([[1.0, 2.0], None]),
            "fixed": pa.array([None, [3, 4]], pa.list_(pa.int32(), 2)),
            "pen": pa.array([[[1, 2], [3, 4]], None]),
            "nan": pa.array([1.5, float("nan")]),
            "photo": pa.array([{"bytes": b"\x89PNG", "path": None}, {"bytes": None, "path": "b.png"}]),
            "size": pa.array([{"wing": 1, "id": "x"}, None]),
            "money": pa.array([None, "2.50"]).cast(pa.decimal128(8, 2)),
        }
        parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
        table = read_table(tmp_path / "a.parquet")
        expected = {
            "date": [datetime.date(2024, 1, 2), None], "colour": ["red", None], "vector": [np.array([1.0, 2.0]), None],
            "fixed": [None, np.array([3, 4])], "pen": [[[1, 2], [3, 4]], None], "nan": [1.5, None],
            "photo": [b"\x89PNG", "b.png"], "size.wing": [1, None], "size.id": ["x", None], "money": [None, 2.5],
        }  # fmt: skip
        assert table.columns == tuple(expected)
        assert all(equal(a, b) for name in expected for a, b in zip(table[name], expected[name], strict=True))
        assert equal(table.take([1])["fixed"][0], np.array([3, 4]))

    def test_a_folder_of_parquet_is_one_table(self, tmp_path):
        for part in (0, 1):
            parquet.write_table(pa.table({"x": [part]}), tmp_path / f"part-{part}.parquet")
        assert read_table(tmp_path)["x"] == [0, 1]

    def test_a_file_that_is_no_parquet(self, tmp_path):
        with pytest.raises(ValueError, match=r"a.parquet cannot be read as Parquet"):
            read_table(write(tmp_path / "a.parquet", b"PAR1 nonsense"))


class TestFolder:
    def test_files_are_matched_by_stem(self, tmp_path):
        for name in ("photo/a/1.png", "photo/a/2.jpg", "song/a/1.wav", "song/3.wav", "photo/.hidden", "readme.md"):
            write(tmp_path / name, "x")
        assert as_dict(read_table(tmp_path)) == {
            "key": ["3", "a/1", "a/2"],
            "photo": [None, "photo/a/1.png", "photo/a/2.jpg"],
            "song": ["song/3.wav", "song/a/1.wav", None],
        }

    def test_a_second_format_is_reported(self, tmp_path):
        for name in ("photo/0.png", "photo/1.jpg", "photo/1.png", "song/1.wav"):
            write(tmp_path / name, "x")
        table = read_table(tmp_path)
        assert table["photo"] == ["photo/0.png", "photo/1.jpg"]
        (entry,) = table.rejected
        assert (entry.file, entry.row, entry.column) == (str(tmp_path / "photo/1.png"), 2, "photo")
        assert "photo/1.jpg is taken" in entry.reason

    def test_a_table_beside_the_folders_is_joined(self, tmp_path):
        for name in ("photo/1.png", "photo/2.png", "song/1.wav"):
            write(tmp_path / name, "x")
        write(tmp_path / "metadata.csv", "habitat,file\nlake,2.png\nsea,7.png\nwood,1.png\n")
        table = read_table(tmp_path)
        assert table["key"] == ["1", "2", "7"] and table["habitat"] == ["wood", "lake", "sea"]
        assert table["photo"] == ["photo/1.png", "photo/2.png", None]

    def test_a_row_that_names_no_file_is_an_item_all_the_same(self, tmp_path):
        write(tmp_path / "photo/1.png", "x")
        write(tmp_path / "metadata.csv", "habitat,file\nlake,\nwood,1.png\nsea,\n")
        table = read_table(tmp_path)
        assert table["key"] == ["1", None, None] and table["habitat"] == ["wood", "lake", "sea"]
        assert table["photo"] == ["photo/1.png", None, None]

    @pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes")
    def test_keys_are_legible_whatever_files_are_called(self, tmp_path):
        for folder in (b"photo", b"song"):
            os.makedirs(os.path.join(os.fsencode(tmp_path), folder), exist_ok=True)
            Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), folder, b"\xc4\xe3.png"))).write_bytes(b"x")
        table = read_table(tmp_path)
        (key,) = table["key"]
        assert key.encode("utf-8") and "udcc4" in key
        assert all((tmp_path / table[name][0]).is_file() for name in ("photo", "song"))

    def test_a_table_that_names_no_file(self, tmp_path):
        write(tmp_path / "photo/1.png", "x")
        write(tmp_path / "metadata.csv", "habitat\nlake\n")
        with pytest.raises(ValueError, match=r"No column of .* holds the names of the files beside it, such as '1'"):
            read_table(tmp_path)

    def test_a_folder_without_sub_folders(self, tmp_path):
        write(tmp_path / "1.png", "x")
        with pytest.raises(ValueError, match=r"has no sub-folders; it holds 1.png"):
            read_table(tmp_path)


class MapStyle(torch.utils.data.Dataset):
    """A data set without IndexError at its end, as many are written."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> dict:
        return {"image": torch.zeros(1, 4, 4), "text": None} if index % 2 else {"text": "a", "label": torch.tensor(3)}


class TestObjects:
    expected = {"n": [1.5, None], "when": [datetime.datetime(2024, 1, 2), None], "text": ["a", None]}  # noqa: RUF012

    def test_pandas(self):
        frame = pd.DataFrame(self.expected).assign(colour=pd.Categorical(["red", None]), v=[[1, 2], None])
        assert as_dict(read_table(frame)) == {**self.expected, "colour": ["red", None], "v": [[1, 2], None]}

    def test_a_named_index_is_a_column(self):
        frame = pd.DataFrame({"key": ["a", "b"], "x": [1, 2]}).set_index("key")
        assert read_table(frame)["key"] == ["a", "b"]

    def test_pandas_with_two_columns_of_one_name(self):
        with pytest.raises(ValueError, match="two columns named 'x'"):
            read_table(pd.DataFrame([[1, 2]], columns=["x", "x"]))

    def test_polars_and_arrow(self):
        frame = pl.DataFrame(self.expected)
        assert as_dict(read_table(frame)) == as_dict(read_table(frame.to_arrow())) == self.expected

    def test_dict_of_arrays(self):
        vectors = np.array([[1.0, 2.0], [np.nan, np.nan], [np.nan, 3.0]])
        table = read_table({"image": torch.zeros(3, 4, 4), "vector": vectors, "n": np.array([1, 2, 3])})
        assert table["image"][0].shape == (4, 4) and table["n"] == [1, 2, 3]
        assert [cell is None for cell in table["vector"]] == [False, True, False]

    @pytest.mark.parametrize("source", [MapStyle(), (MapStyle()[i] for i in range(2))], ids=["dataset", "iterable"])
    def test_data_sets_of_dicts(self, source):
        table = read_table(source)
        assert table["text"] == ["a", None] and table["label"] == [3, None] and table["image"][0] is None
        assert table["image"][1].shape == (1, 4, 4)

    def test_an_empty_one(self):
        with pytest.raises(ValueError, match="The table has no rows"):
            read_table([])

    def test_hugging_face_sounds(self):
        table = read_table([{"audio": {"array": [0.0, 0.5], "sampling_rate": 8000, "path": None}}])
        wave, rate = table["audio"][0]
        assert rate == 8000 and wave.dtype == np.float32

    def test_what_is_no_table(self):
        with pytest.raises(TypeError, match="Cannot read a table from a int"):
            read_table(3)
        with pytest.raises(TypeError, match=r"Row 1 of the data set is a tuple. Expected a dict"):
            read_table([(1, 2)])
        with pytest.raises(TypeError, match="Column 'x' of the dict is a str"):
            read_table({"x": "abc"})

    def test_a_table_stays_itself_but_for_its_folder(self, tmp_path):
        table = Table({"x": [1]})
        assert read_table(table) is table and read_table(table, folder=tmp_path).folder == tmp_path


def test_rejected_file(tmp_path):
    entries = [Rejected("b.csv", 9, "x", 'say "no"'), Rejected("a\udcff.csv", 2, "", "two\nlines")]
    write_rejected(tmp_path / "rejected.csv", entries)
    rows = list(csv.reader((tmp_path / "rejected.csv").open(encoding="utf-8", newline="")))
    assert rows == [
        ["file", "row", "column", "reason"],
        ["a\\udcff.csv", "2", "", "two\nlines"],
        ["b.csv", "9", "x", 'say "no"'],
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["rejected.csv"]
