"""The report: one page that holds all it needs, says nothing that was not measured, and runs nothing."""

from __future__ import annotations

import base64
import csv
import io
import json
import math
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from isthmus.estimator import Autoencoder
from isthmus.report import write_report
from isthmus.report.code_map import Plane, _grouped
from isthmus.report.curves import curves
from isthmus.report.examples import misfits, translations
from isthmus.report.figures import Line, line_chart, nice_ticks, strip
from isthmus.report.html import Html, within
from isthmus.report.material import read_material
from isthmus.report.score_table import Form, make_table, verdict
from isthmus.report.scores import score_tables
from isthmus.report.wording import count, duration, figure, listed, percent, shortened

EVIL = "<script>alert('x')</script><img src=x onerror=alert(1)>"
SECTIONS = "summary warnings translations reconstructions generated codes scores misfits data training made glossary"
VOID = {"meta", "img", "br", "link", "input", "hr"}
MODALITIES = ("photo", "song", "words", "pen", "table")


# --- a page, parsed ---------------------------------------------------------------------------------------------------


@dataclass
class Page(HTMLParser):
    """Tags with their attributes, text by section, and whether every tag was closed in order."""

    source: str
    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    text: dict[str, str] = field(default_factory=dict)
    section: str = ""

    def __post_init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.feed(self.source)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "section":
            self.section = str(dict(attrs).get("id"))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text[self.section] = self.text.get(self.section, "") + data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text.values()).split())


def outside_requests(page: Page) -> list[str]:
    """Everything that a browser would fetch: only fragments of this page and data in it are none."""
    addresses = [
        value or ""
        for _, attributes in page.tags
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "data", "action", "poster", "xlink:href", "formaction", "background")
    ]
    found = [address for address in addresses if not address.startswith(("#", "data:"))]
    return found + re.findall(r"url\([^)]*\)|@import[^;]*", page.source)


# --- runs to report on ------------------------------------------------------------------------------------------------


def write_birds(folder: Path, num_rows: int = 40) -> Path:
    """A table of five kinds with gaps, a malicious text, and a damaged picture."""
    rng = np.random.default_rng(0)
    rows = []
    for row in range(num_rows):
        kind = row % 3
        photo = folder / f"{row}.png"
        Image.fromarray(rng.integers(0, 80, (8, 8)).astype(np.uint8) + 80 * kind).save(photo)
        soundfile.write(folder / f"{row}.wav", 0.5 * np.sin(np.arange(1200) * (0.2 + 0.2 * kind)), 8000)
        np.save(folder / f"{row}.npy", np.cumsum(rng.normal(size=(9 + row % 4, 2)) + kind, axis=0).astype(np.float32))
        words = EVIL if row == 0 else f"a bird of sort {'abc'[kind]} seen on day {row}"
        cells = [photo.name, f"{row}.wav", words, f"{row}.npy", f"{20 + 5 * kind + rng.normal():.1f}", "xyz"[kind]]
        gaps = rng.random(6) < 0.25
        gaps[row % 6] = False
        gaps[2] &= row != 0
        cells = ["" if gap else cell for cell, gap in zip(cells, gaps, strict=True)]
        split = "test" if row % 4 == 0 else "validation" if row % 4 == 1 else "train"
        rows.append([f"b{row}" if row else EVIL, *cells, "sparrow finch crow".split()[kind], split])
    (folder / "2.png").write_bytes(b"no picture")
    rows[2][1] = "2.png"
    with (folder / "birds.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow("name photo song words pen wing_mm habitat species split".split())
        writer.writerows(rows)
    return folder / "birds.csv"


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A folder such as training leaves behind, with scores of every sort."""
    folder = tmp_path_factory.mktemp("birds")
    model = Autoencoder(latent_dim=3, width=16, epochs=2, key="name", label="species", split="split")
    model.settings = {"words": {"max_tokens": 64}}
    model.fit(write_birds(folder), out=folder / "run")
    model.save(folder / "run" / "model")
    assert set(model.kinds_) == set(MODALITIES)
    (folder / "run" / "evaluation.json").write_text(json.dumps(evaluation()), encoding="utf-8")
    return folder / "run"


@pytest.fixture(scope="module")
def page(run) -> Page:
    return Page(write_report(run).read_text(encoding="utf-8"))


def fitted(columns: dict[str, Any], **settings: Any) -> Autoencoder:
    return Autoencoder(**{"latent_dim": 2, "width": 8, "epochs": 2, **settings}).fit(columns)


def evaluation() -> dict[str, Any]:
    """Scores as `isthmus.evaluation.evaluate` lays them out, some undefined."""
    relative = "root mean squared error / that of the mean predictor"
    floors = {"mean": 1.0, "nearest": 0.8125, "ridge": 0.6875}
    return {
        "version": 1,
        "label": "species",
        "items": {"train": 20, "test": 10},
        "routes": [
            {"source": ["photo"], "target": "song", "n": 7, "metric": relative, "error": 0.5125, "floors": floors},
            {"source": ["song"], "target": "photo", "n": 7, "metric": relative, "error": None, "floors": floors},
            {"source": ["photo"], "target": "photo", "n": 8, "metric": relative, "error": 0.3, "floors": {"pca": 0.2}},
            {
                "source": ["photo", "song", "words", "pen"],
                "target": "table",
                "n": 9,
                "metric": "mean over columns",
                "error": 0.61,
                "floors": {"mean": 0.9},
                "columns": [
                    {"column": "wing_mm", "n": 9, "error": 0.71, "r": 0.8375, "floors": {"mean": 1.0}},
                    {"column": "habitat", "n": 8, "error": 0.25, "floors": {"mean": 0.5}},
                ],
            },
        ],
        "retrieval": [
            {
                "source": "photo",
                "target": "song",
                "n": 2000,
                "r1": 0.1375,
                "r10": 0.4625,
                "chance1": 0.0005,
                "chance10": 0.005,
                "precision1": 0.875,
                "floors": {"cca": {"r1": 0.1, "r10": 0.3125, "precision1": 0.75}},
            }
        ],
        "probe": [
            {
                "source": ["photo", "song", "words", "pen", "table"],
                "label": "species",
                "n": 10,
                "accuracy": 0.9,
                "floors": {"majority": 0.4, "pca": 0.8},
                "supervised": None,
            }
        ],
        "clusters": [
            {
                "source": ["photo"],
                "label": "species",
                "n": 10,
                "accuracy": 0.7,
                "nmi": 0.5,
                "ari": 0.4375,
                "floors": {"scaled_kmeans": {"accuracy": 0.6, "nmi": 0.4, "ari": 0.3}},
            }
        ],
        "coherence": [
            {
                "source": "photo",
                "target": "words",
                "n": 10,
                "coherence": 0.2,
                "variance_ratio": 0.775,
                "frechet": 12.25,
                "judge_accuracy": 1.0,
                "floors": {"majority": 0.4, "nearest": 0.9},
            }
        ],
        "joint": {"n": 10, "coherence": 0.6, "modalities": {"photo": {"frechet": 7.5, "variance_ratio": float("nan")}}},
        "judges": {"photo": {"judge": "network", "accuracy": 1.0, "n": 10, "frechet_real": 5.5}},
        "likelihood": [
            {"source": [], "target": ["photo", "song"], "n": 9, "nats": -123.5, "standard_error": 4.5},
            {
                "source": ["photo"],
                "target": ["song"],
                "n": 9,
                "nats": -80.25,
                "standard_error": 1.5,
                "floors": {"marginal": -99.5},
            },
        ],
        "notes": ["of 40 items, 30 were used <b>"],
    }


# --- the page ---------------------------------------------------------------------------------------------------------


def test_the_page_has_every_section_and_each_link_leads_somewhere(page):
    ids = [attributes["id"] for attributes in page.all("section")]
    assert ids == SECTIONS.split()
    assert {str(a["href"])[1:] for a in page.all("a")} <= set(ids)
    assert all(page.text[section].strip() for section in ids)


def test_the_page_asks_nothing_of_anybody_and_runs_nothing(page):
    assert not outside_requests(page)
    assert not page.all("script") and not page.all("iframe") and not page.all("object")
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    (policy,) = (a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert str(policy).startswith("default-src 'none'")


def test_text_of_cells_is_escaped_and_can_be_read(page):
    assert EVIL not in page.source
    assert EVIL in page.text["translations"]
    assert shortened(EVIL, 40) in page.text["translations"]  # as the name of the item
    assert "<b>" not in page.source and "30 were used <b>." in page.words


def test_every_modality_is_translated_to_every_other(page):
    given = ""
    pairs = set()
    for _, attributes in page.tags:
        given = attributes.get("data-source") or given
        if "data-target" in attributes:
            pairs.add((given, attributes["data-target"]))
    assert pairs == {(source, target) for source in MODALITIES for target in MODALITIES if source != target}


def test_a_translation_is_what_the_model_makes_of_its_own_row(run):
    material = read_material(run, None, None, None)
    place = {shortened(key, 40): row for row, key in enumerate(material.keys)}
    shown = translations(material)
    assert set(shown) == set(MODALITIES)
    for source, examples in shown.items():
        # The same rows at once, so that not one pixel is rounded otherwise.
        rows = material.prepared.table.take([place[example.key] for example in examples])
        for target in (name for name in MODALITIES if name != source):
            cells = material.model.translate(rows, source, target)
            expected = [material.model.kinds_[target].html(cell) for cell in cells]
            assert [example.made[target] for example in examples] == expected and len(expected) > 2


def test_an_item_with_the_picture_of_another_fits_worst(tmp_path):
    rng = np.random.default_rng(0)
    bright = np.linspace(0.1, 0.9, 60)
    columns = {
        "photo": [(250 * level + 5 * rng.random((4, 4))).astype(np.uint8) for level in bright],
        "shine": [np.array([level, 1 - level, level**2]) + 0.02 * rng.normal(size=3) for level in bright],
    }
    model = fitted(columns, epochs=40, learning_rate=0.01, kinds={"photo": "image", "shine": "vector"})
    columns["photo"][3], columns["photo"][55] = columns["photo"][55], columns["photo"][3]
    examples, looked_at = misfits(read_material(tmp_path, columns, None, model))
    assert looked_at == 60 and {example.key for example in examples[:2]} == {"4", "56"}
    assert "nats, where" in examples[0].note


def test_of_a_large_table_without_a_key_each_row_stays_in_its_split(tmp_path, monkeypatch):
    columns = {"v": [np.arange(3.0) + n for n in range(40)]}
    model = fitted(columns, epochs=1)
    monkeypatch.setattr("isthmus.report.material.MAX_ROWS", 10)
    material = read_material(tmp_path, columns, None, model)
    assert material.num_rows == 40
    assert list(material.keys) == [str(row + 1) for row in np.linspace(0, 39, 10).round().astype(int)]
    split = material.prepared.split.tolist()
    assert split == [model.splits_[key] for key in material.keys] and "train" in split


def test_pictures_are_pictures_and_sounds_are_sounds(page):
    pictures = [str(a["src"]) for a in page.all("img")]
    sounds = [str(a["src"]) for a in page.all("audio")]
    assert len(pictures) > 10 and len(sounds) > 10
    for source in pictures:
        picture = Image.open(io.BytesIO(base64.b64decode(source.removeprefix("data:image/png;base64,"), validate=True)))
        picture.load()
        assert picture.format == "PNG" and picture.size == (8, 8)
    for source in sounds:
        data = base64.b64decode(source.removeprefix("data:audio/wav;base64,"), validate=True)
        samples, rate = soundfile.read(io.BytesIO(data))
        assert rate == 8000 and len(samples) and np.isfinite(samples).all()


def test_every_score_is_on_the_page_as_it_was_measured(page):
    printed = {float(str(a["value"])) for a in page.all("data")}
    scores = evaluation()
    wanted = {0.5125, 0.8125, 0.6875, 0.3, 0.2, 0.61, 0.71, 0.8375, 0.25, 0.4625, 0.1375, 0.3125, 0.005, 0.875, 0.75}
    wanted |= {0.9, 0.4, 0.8, 0.7, 0.4375, 0.6, 0.775, 12.25, 7.5, 5.5, -123.5, -80.25, -99.5, 4.5}
    assert wanted <= printed
    assert all(math.isfinite(value) for value in printed)
    assert scores["retrieval"][0]["r10"] in printed and "46.2%" in page.words


def test_nothing_that_is_undefined_is_printed_as_a_number(page):
    said = page.words.replace(": None ", " ") + " ".join(
        v or "" for _, attributes in page.tags for v in attributes.values()
    )
    assert not re.findall(r"\bnan\b|\binf\b|\bNaN\b|=None|\bNone%", said)
    assert "not defined here" in page.text["scores"]


def test_the_page_says_how_it_was_made(page, run):
    config = json.loads((run / "model" / "config.json").read_text(encoding="utf-8"))
    made = page.text["made"]
    assert config["made"]["data_hash"] in made and f"torch {torch.__version__}" in made
    assert "birds.csv" in made and str(run.parent) not in page.source
    assert "epochs: 2" in made and "latent_dim: 3" in made and "Seed" in made


def test_a_damaged_cell_and_the_gaps_are_told(page):
    data = page.text["data"]
    assert "1 cell became a gap." in " ".join(data.split())
    assert "2.png" in data and "photo" in data
    assert len(page.all("svg")) > 5 and "Combinations" in data


def test_what_the_modalities_tell_of_one_another_is_told(page, run):
    told = json.loads((run / "model" / "config.json").read_text(encoding="utf-8"))["made"]["predictability"]
    assert set(told) == set(MODALITIES) and all(0 <= share <= 1 for share in told.values())
    assert "told by the others" in page.text["data"]
    assert all(percent(share) in page.text["data"] for share in told.values())


def test_one_run_gives_one_page(run, tmp_path):
    first, second = (write_report(run, out=tmp_path / name).read_bytes() for name in ("a.html", "b.html"))
    assert first == second


def test_a_run_without_scores_and_log_still_has_a_page(run, tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    for path in (run / "model").iterdir():
        (model / path.name).write_bytes(path.read_bytes())
    page = Page(write_report(tmp_path).read_text(encoding="utf-8"))
    assert "has not been scored yet" in page.words and "no log of the training" in page.words


def test_a_new_table_may_lack_a_modality_and_the_label(run, tmp_path):
    table = {"photo": [str(run.parent / f"{row}.png") for row in (4, 5, 6)], "words": ["a bird", None, None]}
    page = Page(write_report(run, table, tmp_path / "new.html").read_text(encoding="utf-8"))
    assert [a["id"] for a in page.all("section")] == SECTIONS.split()
    assert "0%" in page.text["data"]


def test_one_modality_is_enough(tmp_path):
    columns = {"note": [f"word {n % 5} and {n % 3}" for n in range(30)]}
    model = fitted(columns, kinds={"note": "text"})
    page = Page(write_report(tmp_path, columns, model=model).read_text(encoding="utf-8"))
    assert "nothing to translate to" in page.words and "one modality (note)" in page.words
    assert "told by the others" not in page.words


def test_a_dozen_modalities_fit(tmp_path):
    rng = np.random.default_rng(0)
    names = [f"sensor {n}" for n in range(12)]
    columns = {name: [rng.normal(size=4) if rng.random() < 0.7 else None for _ in range(60)] for name in names}
    model = fitted(columns)
    page = Page(write_report(tmp_path, columns, model=model).read_text(encoding="utf-8"))
    # A modality that no test item has is shown of other items, which says so.
    assert len([a for a in page.all("th") if "data-target" in a]) == 12 * 11
    assert "validation item" in page.text["translations"] or "train item" in page.text["translations"]
    assert len(page.source) < 3_000_000


def test_a_table_that_was_no_file_must_be_given(tmp_path):
    columns = {"v": [np.arange(3.0) + n for n in range(20)]}
    model = fitted(columns)
    with pytest.raises(ValueError, match=r"never a file.*write_report\(run, table\)"):
        write_report(tmp_path, model=model)


def test_a_table_that_is_gone_is_named(run, tmp_path):
    model = Autoencoder(latent_dim=2, width=8, epochs=1)
    path = tmp_path / "gone.csv"
    path.write_text("note\n" + "\n".join(f"some words {n} here" for n in range(20)), encoding="utf-8")
    model.kinds = {"note": "text"}
    model.fit(path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"gone\.csv.*Give it"):
        write_report(tmp_path, model=model)


# --- verdicts ---------------------------------------------------------------------------------------------------------

SHARE = Form("x", "x", is_share=True, higher=True)
ERROR = Form("x", "x", is_share=False, higher=False)


@pytest.mark.parametrize(
    ("form", "own", "floors", "n", "mark"),
    [
        (SHARE, 0.9, {"a": 0.5, "b": 0.7}, 400, "above"),
        (SHARE, 0.9, {"a": 0.5, "b": 0.89}, 400, "level"),  # two standard errors are 0.03
        (SHARE, 0.9, {"a": 0.5, "b": 0.89}, 40_000, "above"),
        (SHARE, 0.9, {"a": 0.99}, 400, "below"),
        (SHARE, 1.0, {"a": 1.0}, 40, "level"),
        (ERROR, 0.5, {"a": 0.6, "b": 1.0}, 40, "above"),
        (ERROR, 0.5, {"a": 0.505}, 40, "level"),
        (ERROR, 0.5, {"a": 0.4, "b": 1.0}, 40, "below"),
        (ERROR, 0.5, {"a": None}, 40, "none"),
        (ERROR, None, {"a": 0.4}, 40, "none"),
    ],
)
def test_a_score_is_held_against_its_best_floor(form, own, floors, n, mark):
    assert verdict(own, floors, form, n).mark == mark


def test_a_given_standard_error_decides():
    nats = Form("nats", "nats", is_share=False, higher=True)
    assert verdict(-80.0, {"marginal": -90.0}, nats, 10, error=4.0).mark == "above"
    assert verdict(-80.0, {"marginal": -90.0}, nats, 10, error=6.0).mark == "level"


def test_bars_of_a_table_share_one_scale_that_begins_at_zero():
    entries = [
        {"source": "a", "target": "b", "n": 9, "x": 0.5, "floors": {"mean": 2.0}},
        {"source": "b", "target": "a", "n": 9, "x": 1.0, "floors": {"nearest": 4.0}},
    ]
    table = make_table("t", "e", ERROR, entries)
    assert [row.own.place for row in table.rows] == [12.5, 25.0]
    assert [[floor and floor.place for floor in row.floors] for row in table.rows] == [[50.0, None], [None, 100.0]]
    assert table.summary == "All 2 are better than every floor."
    below_zero = make_table("t", "e", ERROR, [{"x": -3.0, "n": 2, "floors": {"mean": 1.0}}])
    assert not below_zero.has_bars


def test_an_evaluation_without_scores_has_no_tables():
    assert score_tables({"version": 1}) == []


# --- pictures and words -----------------------------------------------------------------------------------------------


def test_a_plane_holds_the_widest_directions():
    rng = torch.Generator().manual_seed(0)
    scales = torch.tensor([0.1, 3.0, 1.0, 0.1], dtype=torch.double)
    codes = torch.randn(4000, 4, generator=rng, dtype=torch.double) * scales + 5
    plane = Plane.fit(codes)
    assert abs(plane.axes[1, 0]) > 0.99 and abs(plane.axes[2, 1]) > 0.99
    assert plane.shares == pytest.approx((9 / 10.02, 1 / 10.02), abs=0.02)
    assert np.allclose(plane(codes).mean(axis=0), 0, atol=1e-9)
    # An axis has no sign of its own; a fixed one gives one picture.
    assert plane.axes[1, 0] > 0 and plane.axes[2, 1] > 0 and torch.equal(Plane.fit(10 - codes).axes > 0, plane.axes > 0)
    assert Plane.fit(codes[:, :1])(codes[:, :1]).shape == (4000, 2)


def test_numbers_of_many_values_are_coloured_in_fifths():
    groups = _grouped("age", [str(n) for n in range(100)] + [""])
    assert len(groups.names) == 5 and groups.of_row[-1] == ""
    assert [groups.of_row[:100].count(name) for name in groups.names] == [20, 20, 20, 20, 20]
    assert _grouped("digit", ["10", "9", "9"]).names == ["9", "10"]


def test_curves_tell_phases_and_the_epoch_that_was_kept():
    rows = [
        {"epoch": str(e), "phase": "first" if e < 3 else "second", "split": split, "loss": str(loss), "seconds": "75.2"}
        for e, loss in ((1, 9.0), (2, 1.0), (3, 5.0), (4, 3.0), (5, 4.0))
        for split in ("train", "validation")
    ]
    drawn = curves(rows, ["a"], 4)
    assert drawn is not None and drawn.best_epoch == 4 and drawn.num_epochs == 5 and drawn.time == "1 min 15 s"
    assert "second →" in drawn.loss and "kept: epoch 4" in drawn.loss
    assert curves([], ["a"]) is None


def test_a_term_that_is_not_finite_or_missing_is_left_out_of_its_line():
    rows = [
        {"epoch": str(e), "phase": "train", "split": "train", "loss": "1", "reconstruction/a": value}
        for e, value in enumerate(["-5", "", "nan", "-3"], start=1)
    ]
    drawn = curves(rows, ["a"])
    assert drawn is not None
    ((name, chart),) = drawn.reconstructions
    assert name == "a" and chart.count("L") == 1 and "nan" not in chart


def test_a_single_epoch_is_a_point():
    assert "<circle" in line_chart([Line("train", [1], [2.0], "red")], title="t")


def test_a_strip_colours_what_is_there():
    assert 'd="M0 8h500M750 8h250"' in strip(np.array([True, True, False, True]), "red", 'a "b"')
    assert "&quot;b&quot;" in strip(np.array([False]), "red", 'a "b"')


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(0, 10, [0, 2, 4, 6, 8, 10]), (0.13, 0.31, [0.15, 0.2, 0.25, 0.3]), (-7, 3, [-6, -4, -2, 0, 2]), (3, 3, [3])],
)
def test_ticks_are_round(low, high, ticks):
    assert nice_ticks(low, high, 5 if high != 0.31 else 4) == pytest.approx(ticks)


def test_fragments_stay_within_their_budget_and_one_is_always_shown():
    assert within(["aaa", "bbb", "ccc"], 7, len) == ["aaa", "bbb"]
    assert within(["a" * 100], 7, len) == ["a" * 100]
    assert within([], 7, len) == []


def test_html_is_left_alone_and_text_is_not():
    assert Html("<b>").__html__() == "<b>"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.84213, "0.842"),
        (0.9997, "1.00"),
        (-1234.6, "-1,235"),
        (12.345, "12.3"),
        (0, "0"),
        (None, "–"),
        (math.nan, "–"),
        (1e-7, "1.00e-7"),
        (2.5e9, "2.50e9"),
        (-0.0021, "-0.00210"),
    ],
)
def test_figures_have_three_digits(value, text):
    assert figure(value) == text


def test_words_for_numbers():
    assert percent(0.842, 100) == "84%" and percent(0.842, 2000) == "84.2%" and percent(0.004) == "0.4%"
    assert percent(None) == "–" and percent(1.0, 5) == "100%" and percent(0.998, 5) == "99.8%"
    assert count(1, "item") == "1 item" and count(1200, "item") == "1,200 items"
    assert listed(["a", "b", "c"]) == "a, b and c" and listed(["a"]) == "a" and listed([]) == "nothing"
    assert listed([str(n) for n in range(20)], limit=3) == "0, 1 and 18 more"
    assert duration(3.21) == "3.2 s" and duration(250) == "4 min 10 s" and duration(3700) == "1 h 1 min"
