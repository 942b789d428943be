"""Laws of the estimator: rows keep number and order, gaps are filled and nothing else, one seed gives one result."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import isthmus
from birds import HABITATS, NUM_ROWS, birds, write_files
from isthmus.data.table import read_table
from isthmus.imputation import gaps
from isthmus.kinds.audio import Waveform


def small(**settings) -> isthmus.Autoencoder:
    return isthmus.Autoencoder(latent_dim=3, width=16, epochs=2, batch_size=8, key="ring", **settings)


@pytest.fixture(scope="module")
def table():
    return birds()


@pytest.fixture(scope="module")
def model(table):
    return small().fit(table)


def test_every_row_has_a_code_in_its_place(model, table):
    whole = model.embed(table)
    rows = [7, 3, 20]
    some = model.embed(read_table(table).take(rows))
    assert whole.code.shape == whole.spread.shape == (NUM_ROWS, 3)
    assert whole.keys == table["ring"] and some.keys == [table["ring"][row] for row in rows]
    assert np.allclose(some.code, whole.code[rows], atol=1e-5)


def test_a_row_with_nothing_has_the_code_of_the_prior(model, table):
    codes = model.embed(table)
    assert codes.observed[2] == 0
    assert np.array_equal(codes.code[2], np.zeros(3)) and np.array_equal(codes.spread[2], np.ones(3))


def test_one_seed_gives_the_same_codes_to_the_bit(model, table):
    assert np.array_equal(small().fit_transform(table), model.transform(table))
    assert not np.array_equal(small(seed=1).fit_transform(table), model.transform(table))


def test_the_generator_of_torch_is_left_as_it_was(table):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    small().fit(table)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_it_learns_whatever_the_callers_mode_is(model, table, mode):
    with mode():
        own = small().fit(table)
    assert np.array_equal(own.transform(table), model.transform(table))
    own.fit(table)


def test_a_use_that_breaks_off_leaves_the_mode_of_torch_alone(model, table, monkeypatch):
    caught = []

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(model.model, "event", stop)
    for use in (model.impute, model.reconstruct, lambda rows: model.translate(rows, "note", "photo")):
        with pytest.raises(KeyboardInterrupt) as stopped:
            use(table)
        caught.append(stopped)  # whose frames stay alive, as those of the last error in a notebook do
        assert not torch.is_inference_mode_enabled()


def test_sources_are_counted_by_what_is_named(model, table):
    blank = {**table, "wing_mm": [None] * NUM_ROWS}
    prepared = model.prepare(blank)
    there = np.array([[cell is not None for cell in blank[name]] for name in ("wing_mm", "habitat", "note")])
    assert model.observed(prepared, ["wing_mm"]).tolist() == [0] * NUM_ROWS
    assert model.observed(prepared, ["habitat", "wing_mm", "note"]).tolist() == there.sum(axis=0).tolist()
    assert model.observed(prepared, ["table"]).tolist() == there[1].astype(int).tolist()


def test_translations_are_cells_as_people_know_them(model, table):
    made = {
        name: model.translate(table, "note", name) for name in ("photo", "song", "note", "wing_mm", "habitat", "table")
    }
    assert all(len(cells) == NUM_ROWS for cells in made.values())
    assert isinstance(made["photo"][0], Image.Image) and made["photo"][0].size == (6, 6)
    assert isinstance(made["song"][0], Waveform) and made["song"][0].rate == 8000
    assert isinstance(made["note"][0], str)
    assert all(isinstance(cell, float) and 40 < cell < 120 for cell in made["wing_mm"])
    assert set(made["habitat"]) <= set(HABITATS)
    assert made["table"][0] == {"wing_mm": made["wing_mm"][0], "habitat": made["habitat"][0]}


def test_a_column_alone_can_be_a_source(model, table):
    whole = model.translate(table, "table", "note")
    assert model.translate(table, ["wing_mm", "habitat"], "note") == whole
    no_habitat = {**table, "habitat": [None] * NUM_ROWS}
    assert (
        model.translate(table, "wing_mm", "photo")[0].tobytes()
        == model.translate(no_habitat, "table", "photo")[0].tobytes()
    )


def test_other_modalities_do_not_leak_into_a_translation(model, table):
    without = {**table, "photo": [None] * NUM_ROWS, "song": [None] * NUM_ROWS}
    wanted = model.translate(without, "note", "wing_mm")
    assert model.translate(table, "note", "wing_mm") == wanted


def test_draws_differ_and_come_again_with_their_seed(model, table):
    drawn = model.translate(table, "note", "wing_mm", num_draws=3)
    assert [len(cells) for cells in drawn] == [3] * NUM_ROWS
    assert any(len(set(cells)) > 1 for cells in drawn)
    assert model.translate(table, "note", "wing_mm", num_draws=3) == drawn
    assert model.translate(table, "note", "wing_mm", num_draws=3, seed=9) != drawn


def test_impute_fills_gaps_and_nothing_else(model, table):
    imputed = model.impute(table, num_draws=3)
    for name, cells in table.items():
        if name == "ring":
            continue
        blank = [cell is None for cell in cells]
        assert imputed.filled[name].tolist() == blank
        filled = imputed.table[name]
        assert all(cell is not None for cell in filled)
        assert all(filled[row] is cells[row] or filled[row] == cells[row] for row in range(NUM_ROWS) if not blank[row])
    assert imputed.table["ring"] == table["ring"]
    assert set(imputed.spread) == {"wing_mm"}
    assert np.array_equal(np.isfinite(imputed.spread["wing_mm"]), imputed.filled["wing_mm"])


def test_what_is_filled_in_is_made_from_the_items_own_code(model, table):
    imputed, rebuilt = model.impute(table), model.reconstruct(table)
    assert any(blank.sum() > 1 for blank in imputed.filled.values())
    for column, blank in imputed.filled.items():
        modality, of_table = model.resolve(column)
        for row in np.flatnonzero(blank):
            made = rebuilt[modality][row] if of_table is None else rebuilt[modality][row][column]
            assert _same_cell(imputed.table[column][row], made)


def test_every_draw_of_a_filled_cell_has_noise_of_its_own(model, table):
    first, second = (model.impute(table, num_draws=2, seed=seed).draws["wing_mm"] for seed in (5, 6))
    assert len(first) == int(model.impute(table).filled["wing_mm"].sum()) > 1
    assert all(one != two for one, two in first)
    # Draw by draw, seeds count on.
    assert [two for _, two in first] == [one for one, _ in second]


def test_rows_in_parts_are_filled_and_translated_as_all_at_once(model, table, monkeypatch):
    names = ("photo", "song", "note", "table")
    whole, made = model.impute(table), {name: model.translate(table, "note", name) for name in names}
    monkeypatch.setattr("isthmus.estimator.CHUNK", 7)
    parts = model.impute(table)
    for column, blank in whole.filled.items():
        assert parts.filled[column].tolist() == blank.tolist()
        assert all(map(_same_cell, parts.table[column], whole.table[column]))
    for name in names:
        again = model.translate(table, "note", name)
        assert len(again) == NUM_ROWS and all(map(_same_cell, again, made[name]))


def test_equal_rows_in_two_parts_draw_each_their_own(model, table, monkeypatch):
    lacking = next(row for row, cell in enumerate(table["wing_mm"]) if cell is None and table["note"][row])
    twins = {name: [cells[lacking]] * 2 for name, cells in table.items()} | {"ring": ["one", "other"]}
    monkeypatch.setattr("isthmus.estimator.CHUNK", 1)
    for one, other in (
        model.translate(twins, "note", "wing_mm", num_draws=3),
        model.impute(twins, num_draws=3).draws["wing_mm"],
    ):
        assert len(one) == len(other) == 3 and one != other


def _same_cell(cell, other) -> bool:
    if isinstance(cell, dict):
        return cell.keys() == other.keys() and all(_same_cell(cell[name], other[name]) for name in cell)
    if isinstance(cell, float):
        return cell == pytest.approx(other, rel=1e-5)
    if isinstance(cell, tuple):  # a sound as it stood in the table
        return np.array_equal(cell[0], other[0]) and cell[1] == other[1]
    if isinstance(cell, Waveform):
        return np.allclose(cell.samples, other.samples, atol=1e-4)
    if isinstance(cell, Image.Image | np.ndarray):
        return np.allclose(np.asarray(cell, float), np.asarray(other, float), atol=1.01)
    return bool(cell == other)


def test_reconstruct_and_generate_give_every_modality(model, table):
    made, new = model.reconstruct(table), model.generate(4)
    assert {name: len(cells) for name, cells in made.items()} == dict.fromkeys(
        ("photo", "song", "note", "table"), NUM_ROWS
    )
    assert {name: len(cells) for name, cells in new.items()} == dict.fromkeys(("photo", "song", "note", "table"), 4)
    assert model.generate(4)["note"] == new["note"]
    assert not torch.equal(model.draw_codes(4, seed=1), model.draw_codes(4))


def test_new_items_are_decoded_from_the_codes_of_their_seed(model):
    with torch.inference_mode():
        values = model.model.generate(model.draw_codes(4, seed=3))
    made = model.generate(4, seed=3)
    for name, kind in model.kinds_.items():
        cells = [model.schema_.restore(name, cell) for cell in kind.cells(values[name])]
        assert len(made[name]) == 4 and all(map(_same_cell, made[name], cells))
    wings = [[cell["wing_mm"] for cell in model.generate(4, seed=seed)["table"]] for seed in (3, 4)]
    assert wings[0] != wings[1]


def test_a_new_table_may_lack_columns_and_have_others(model, table):
    fewer = {"note": table["note"], "colour": ["red"] * NUM_ROWS, "ring": table["ring"]}
    prepared = model.prepare(fewer)
    codes = model.embed_prepared(prepared)
    assert len(codes.code) == NUM_ROWS and set(codes.observed.tolist()) == {0, 1}
    assert any("photo" in note for note in prepared.notes)
    assert all(cell is not None for cell in model.impute(fewer).table["wing_mm"])


def test_saved_and_loaded_it_is_the_same_in_a_fresh_process(model, table, tmp_path):
    paths = write_files(tmp_path)
    own = small().fit(paths)
    own.save(tmp_path / "model")
    code = f"""
import numpy as np, isthmus
model = isthmus.load({str(tmp_path / "model")!r}, device="cpu")
np.save({str(tmp_path / "codes.npy")!r}, model.transform({str(paths)!r}))
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
    assert np.array_equal(np.load(tmp_path / "codes.npy"), own.transform(paths))
    again = isthmus.load(tmp_path / "model", device="cpu")
    assert torch.equal(again.draw_codes(5), own.draw_codes(5))
    assert again.to_config() == own.to_config()
    assert again.splits_ == own.splits_
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "README.md",
        "config.json",
        "weights.safetensors",
    ]


def test_files_that_cannot_be_read_are_gaps(tmp_path):
    path = write_files(tmp_path)
    pictures = sorted(tmp_path.glob("*.png"))
    pictures[0].write_bytes(b"")
    pictures[1].unlink()
    model = small()
    prepared = model.prepare_fit(path)
    assert [(entry.column, entry.reason) for entry in prepared.rejected] == [
        ("photo", "file is empty"),
        ("photo", "file not found"),
    ]
    model.train_prepared()
    rows = [int(entry.row) - 1 for entry in prepared.rejected]
    assert model.impute_prepared(prepared).filled["photo"][rows].all()
    assert len(model.transform(path)) == 12
    assert model.made_["rejected"] == 2


def test_own_networks_take_the_place_of_ours(table, tmp_path):
    class Flat(nn.Module):
        def __init__(self, width: int):
            super().__init__()
            self.linear = nn.Linear(36, width)

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return self.linear(pixels.flatten(1))

    own = small(encoder={"photo": Flat(7)}).fit(table)
    own.save(tmp_path / "own")
    with pytest.raises(
        ValueError, match=r"encoders of your own for photo.*isthmus.load\(path, encoder=\{'photo': <module>\}\)"
    ):
        isthmus.load(tmp_path / "own")
    with pytest.raises(
        ValueError, match=r"(?s)linear.weight: \(7, 36\) in the file, \(5, 36\) in this model.*Build them as then"
    ):
        isthmus.load(tmp_path / "own", encoder={"photo": Flat(5)})
    opened = isthmus.load(tmp_path / "own", encoder={"photo": Flat(7)}, device="cpu")
    assert np.array_equal(opened.transform(table), own.transform(table))
    assert "Flat" not in (tmp_path / "own" / "config.json").read_text(encoding="utf-8")


def test_scores_come_beside_floors(model, table):
    bigger = birds(120, seed=3)
    scores = model.evaluate(bigger, train=table, label="habitat", num_draws=2)
    assert {"photo", "song", "note", "table"} == {entry["target"] for entry in scores["routes"]}
    assert all(entry["floors"] for entry in scores["routes"])
    assert any("'habitat' was trained on" in note for note in scores["notes"])


def test_a_label_that_was_trained_on_is_hidden_when_it_is_scored_by(model, table):
    said = {**table, "habitat": [None] * NUM_ROWS}
    rows = torch.arange(NUM_ROWS)
    hidden = model._split(model.prepare(table), rows, "habitat", 0).batch
    blank = model.prepare(said).batch(rows)
    model_codes = [model.model.encode(batch).mean for batch in (hidden, blank)]
    assert torch.allclose(*model_codes, atol=1e-6)


def test_rows_of_another_table_without_a_key_are_not_taken_for_training_rows(table):
    bare = {name: cells for name, cells in table.items() if name != "ring"}
    model = isthmus.Autoencoder(latent_dim=2, width=8, epochs=1).fit(bare)
    assert "train" in model.prepare(bare).split
    other = {name: cells[5:] for name, cells in bare.items()}
    assert set(model.prepare(other).split.tolist()) == {"test"}


def test_one_column_of_numbers_is_translated_to_plain_values(table):
    columns = {name: table[name] for name in ("ring", "note", "wing_mm")}
    model = small().fit(columns)
    assert all(isinstance(cell, float) for cell in model.translate(columns, "note", "wing_mm"))


def test_settings_are_told_as_they_were_typed():
    typed = {"method": "mvae", "latent_dim": 5, "options": {"beta": 2.0}, "ignore": ["x"], "epochs": 3, "seed": 7}
    assert isthmus.Autoencoder(**typed).to_config() == typed
    assert isthmus.Autoencoder().to_config() == {}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "mvtca"}, "Unknown method 'mvtca'.*Did you mean 'mvtcae'"),
        ({"options": {"betta": 1}}, "has no option 'betta'.*Did you mean 'beta'"),
        ({"epoch": 3}, "no setting 'epoch'.*Did you mean 'epochs'"),
        ({"latent_dim": 0}, "latent_dim is 0"),
        ({"latent_dim": "8"}, "Expected whole numbers"),
        ({"epochs": 0}, "epochs is 0: input should be greater than or equal to 1"),
    ],
)
def test_wrong_settings_are_refused_at_once(settings, message):
    with pytest.raises(ValueError, match=message):
        isthmus.Autoencoder(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ignore": "wingmm"}, "Unknown column 'wingmm'.*Did you mean 'wing_mm'"),
        ({"kinds": {"photo": "imgae"}}, "Unknown kind 'imgae'.*Did you mean 'image'"),
        ({"settings": {"foto": {"size": 8}}}, "unknown modality 'foto'.*Did you mean 'photo'"),
        ({"settings": {"photo": {"sise": 8}}}, "has no setting 'sise'.*Did you mean 'size'"),
        ({"encoder": {"phto": nn.Identity()}}, "unknown modality 'phto'.*Did you mean 'photo'"),
    ],
)
def test_names_that_are_not_in_the_table_are_answered_with_the_nearest(table, settings, message):
    with pytest.raises(ValueError, match=message):
        small(**settings).fit(table)


def test_unknown_sources_and_targets_are_answered_with_the_nearest(model, table):
    with pytest.raises(ValueError, match=r"no modality or column 'foto'.*Did you mean 'photo'"):
        model.translate(table, "foto", "song")
    with pytest.raises(ValueError, match=r"no modality or column 'wing'.*Did you mean 'wing_mm'"):
        model.translate(table, "photo", "wing")
    with pytest.raises(ValueError, match="at least one source"):
        model.translate(table, [], "song")


def test_an_untrained_model_says_so(table):
    with pytest.raises(RuntimeError, match=r"Call fit\(table\) first"):
        isthmus.Autoencoder().transform(table)


def test_a_folder_without_a_model_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no model"):
        isthmus.load(tmp_path)


def test_a_column_that_is_a_modality_of_its_own_is_named_once_among_the_known(tmp_path):
    rng = np.random.default_rng(0)
    table = {"x": rng.normal(size=12).tolist(), "v": rng.normal(size=(12, 3)).astype("float32")}
    model = isthmus.Autoencoder(latent_dim=2, width=8, epochs=1).fit(table)
    with pytest.raises(ValueError, match=r"no modality or column 'z'\. There are x, v\.$"):
        model.translate(table, "v", "z")


def test_what_nothing_tells_of_weighs_little_also_after_loading(tmp_path):
    rng = np.random.default_rng(0)
    shape = rng.normal(size=(300, 2))
    table = {
        "left": (shape + 0.1 * rng.normal(size=(300, 2))).tolist(),
        "right": (shape @ rng.normal(size=(2, 3))).tolist(),
        "noise": rng.normal(size=(300, 2)).tolist(),
    }
    kinds = dict.fromkeys(table, "vector")
    model = isthmus.Autoencoder(latent_dim=2, width=8, epochs=1, kinds=kinds).fit(table)
    told = model.made_["predictability"]
    assert told["left"] > 0.9 and told["right"] > 0.9 and told["noise"] < 0.01
    weights = model.model.weights
    assert weights["noise"] == pytest.approx(0.05 * weights["left"])
    model.save(tmp_path)
    assert isthmus.load(tmp_path).model.weights == weights


# Names that torch's own dictionary of modules refuses: with a dot, or those of its attributes.
@pytest.mark.parametrize("method", ["mvtcae", "fused"])
def test_columns_may_have_any_name(method, tmp_path):
    random = np.random.default_rng(0)
    names = ("values", "a.b", "training", "50%/x")
    table = {name: random.normal(size=(40, 3)).astype("float32") for name in names}
    model = isthmus.Autoencoder(method, latent_dim=3, width=8, epochs=1, options={"share": "trunk"}).fit(table)
    assert list(model.model.modalities) == list(names)
    model.save(tmp_path)
    assert np.array_equal(isthmus.load(tmp_path, device="cpu").transform(table), model.transform(table))


def test_a_data_set_of_pictures_without_a_key_is_known_again():
    class Photos:
        def __init__(self, seed: int):
            self.pixels = np.random.default_rng(seed).integers(0, 256, (40, 6, 6), dtype=np.uint8)

        def __len__(self):
            return len(self.pixels)

        def __getitem__(self, place):  # anew each time, as a Dataset gives them
            return {"photo": Image.fromarray(self.pixels[place]), "light": float(self.pixels[place].mean())}

    model = isthmus.Autoencoder(latent_dim=2, width=8, epochs=1).fit(Photos(0))
    again = model.prepare(Photos(0)).split.tolist()
    assert {name: again.count(name) for name in model.made_["items"]} == model.made_["items"]
    assert set(model.prepare(Photos(1)).split.tolist()) == {"test"}


def test_gaps_are_looked_for_in_their_own_column_some_rows_at_a_time(model, table, monkeypatch):
    prepared = model.prepare(table)
    expected = {name: gap.tolist() for name, gap in gaps(prepared, "table").items()}
    asked, batch = [], prepared.store.batch

    def counted(rows, *names):
        asked.append((len(rows), *names))
        return batch(rows, *names)

    monkeypatch.setattr(prepared.store, "batch", counted)
    monkeypatch.setattr("isthmus.imputation.CHUNK", 8)
    assert {name: gap.tolist() for name, gap in gaps(prepared, "table").items()} == expected
    assert asked == [(8, ["table"])] * 3 + [(6, ["table"])]
    assert expected == {name: [cell is None for cell in table[name]] for name in ("wing_mm", "habitat")}


def test_large_items_are_scored_and_compared_in_smaller_numbers(model, table, monkeypatch):
    bigger = birds(60, seed=3)
    whole = model.evaluate(bigger, train=table, num_draws=2)
    assert not any("drawn at random were used" in note for note in whole["notes"])
    prepared = model.prepare(bigger)
    largest, num_test = prepared.store.largest_row, len(prepared.rows("test"))
    monkeypatch.setattr("isthmus.estimator.MAX_NUMBERS", 20 * largest)
    monkeypatch.setattr("isthmus.estimator.FEWEST", 5)
    scores = model.evaluate(bigger, num_draws=2)
    assert scores["items"]["train"] == scores["items"]["test"] == 20 < num_test
    assert any(f"Of {num_test} test items, 20 drawn at random were used" in note for note in scores["notes"])
    compared = []
    monkeypatch.setattr("isthmus.estimator.predictability", lambda batch, columns: compared.append(len(batch)) or {})
    monkeypatch.setattr("isthmus.estimator.MAX_NUMBERS", 6 * largest)
    small().prepare_fit(table)
    assert compared and compared[0] <= 6
