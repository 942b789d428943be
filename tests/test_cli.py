"""The command line: every verb from its words to its files, what it prints, and how it ends."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import yaml
from PIL import Image

import isthmus
from birds import write_files
from isthmus.cli.main import VERBS, main
from isthmus.cli.settings import known_settings
from isthmus.cli.voice import aligned
from isthmus.items import stems
from isthmus.recipes import recipe

SMALL = "--latent-dim 3 --width 16 --epochs 3 --batch-size 8 --key ring"
TINY = "latent_dim: 3\nwidth: 16\nepochs: 3\nbatch_size: 8\nkey: ring\n"
# Every setting as it is typed, and the value that this means; none is the default.
TYPED = {
    "table": ("birds.csv", "birds.csv"),
    "method": ("--method mvae", "mvae"),
    "latent_dim": ("--latent-dim 5", 5),
    "options": ("--option beta=2 --option warmup=1e-1", {"beta": 2, "warmup": 0.1}),
    "couplings": ("--couple contrastive=0.5 --couple cca", {"contrastive": 0.5, "cca": None}),
    "free_bits": ("--free-bits 0.5", 0.5),
    "sampler": ("--sampler flow", "flow"),
    "width": ("--width 17", 17),
    "key": ("--key ring", "ring"),
    "ignore": ("--ignore song,photo --ignore note", ["song", "photo", "note"]),
    "label": ("--label habitat --label sex,age", ["habitat", "sex", "age"]),
    "split": ("--split part", "part"),
    "group": ("--group owner", "owner"),
    "kinds": ("--kind wing_mm=category --kind a=b=text", {"wing_mm": "category", "a=b": "text"}),
    "modalities": ("--modality body=wing_mm,mass_g --modality place=habitat",
                   {"body": ["wing_mm", "mass_g"], "place": ["habitat"]}),
    "settings": ("--setting photo.size=32 --setting photo.mode=L --setting a.b.scale=0.5",
                 {"photo": {"size": 32, "mode": "L"}, "a.b": {"scale": 0.5}}),
    "epochs": ("--epochs 7", 7),
    "batch_size": ("--batch-size 9", 9),
    "learning_rate": ("--learning-rate 0.01", 0.01),
    "optimiser": ("--optimiser nadam", "nadam"),
    "weight_decay": ("--weight-decay 0.25", 0.25),
    "schedule": ("--schedule constant", "constant"),
    "clip_norm": ("--clip-norm 2.5", 2.5),
    "patience": ("--patience 4", 4),
    "precision": ("--precision bf16-mixed", "bf16-mixed"),
    "devices": ("--devices 2", 2),
    "accelerator": ("--accelerator cpu", "cpu"),
    "seed": ("--seed 3", 3),
    "checkpoint_every": ("--checkpoint-every 5", 5.0),
    "tensorboard": ("--tensorboard", True),
}  # fmt: skip


class Ended:
    """How a command ended: exit code, standard output, standard error."""

    def __init__(self, code: int, out: str, err: str):
        self.code, self.out, self.err = code, out, err

    @property
    def figures(self):
        (line,) = self.out.splitlines()
        return json.loads(line)


@pytest.fixture
def run_isthmus(capsys, monkeypatch):
    """A function from words to how `isthmus` ended with them; words may also be one string."""

    def run(*words: object) -> Ended:
        plain = str(words[0]).split() if len(words) == 1 else [str(word) for word in words]
        monkeypatch.setattr(sys, "argv", ["isthmus", *plain])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main()
        said = capsys.readouterr()
        return Ended(stopped.value.code or 0, said.out, said.err)

    return run


@pytest.fixture(scope="module")
def birds(tmp_path_factory):
    """Path of the table."""
    return write_files(tmp_path_factory.mktemp("birds"), 30)


@pytest.fixture(scope="module")
def run(birds, tmp_path_factory):
    """A trained run."""
    out = tmp_path_factory.mktemp("runs") / "birds"
    argv, sys.argv = sys.argv, ["isthmus", "train", str(birds), "--out", str(out), "--label", "habitat", *SMALL.split()]
    try:
        with pytest.raises(SystemExit) as stopped:
            main()
    finally:
        sys.argv = argv
    assert not stopped.value.code
    return out


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def codes(path: Path) -> np.ndarray:
    return np.array(pq.read_table(path)["code"].to_pylist(), dtype=np.float32)


# --- train ------------------------------------------------------------------------------------------------------------


def test_train_leaves_a_run_behind(run, birds):
    names = {path.name for path in run.iterdir()}
    assert names >= {"config.yaml", "model", "metrics.csv", "codes.parquet", "rejected.csv"}
    assert "store" not in names and not [name for name in names if name.endswith(".partial")]
    assert (run / "rejected.csv").read_text(encoding="utf-8").splitlines() == ["file,row,column,reason"]
    typed = {"latent_dim": 3, "width": 16, "key": "ring", "label": ["habitat"], "epochs": 3, "batch_size": 8}
    assert yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8")) == {"table": str(birds), **typed}


def test_codes_of_a_run_are_those_of_its_model(run, birds):
    table = pq.read_table(run / "codes.parquet")
    assert table.column_names == ["ring", "split", "habitat", "code", "spread", "observed"]
    assert table["ring"].to_pylist() == [f"r{row:02d}" for row in range(30)]
    assert set(table["split"].to_pylist()) == {"train", "validation", "test"}
    assert table["observed"][2].as_py() == 0
    assert np.array_equal(codes(run / "codes.parquet"), isthmus.load(run, device="cpu").transform(birds))


def test_a_runs_own_settings_train_it_again(run, run_isthmus, tmp_path):
    again = run_isthmus("train", "--config", run / "config.yaml", "--out", tmp_path / "again", "--json")
    assert again.code == 0, again.err
    assert again.figures["epochs"] == 3 and again.figures["items"]["train"] > 0
    assert np.array_equal(codes(tmp_path / "again" / "codes.parquet"), codes(run / "codes.parquet"))


def test_train_prints_what_the_columns_are(birds, run_isthmus, tmp_path):
    ended = run_isthmus(f"train {birds} --out {tmp_path / 'run'} {SMALL} --epochs 1 --ignore song,photo")
    lines = ended.out.splitlines()
    (wing,) = [line for line in lines if line.startswith("wing_mm")]
    assert wing.split()[1:4] == ["modality", "number", "table"]
    assert [line.split()[1] for line in lines if line.startswith(("song", "photo"))] == ["ignore", "ignore"]
    assert f"isthmus evaluate {tmp_path / 'run'}" in ended.out
    assert "Training mvtcae on" in ended.err


def test_flags_win_over_the_file(birds, run_isthmus, tmp_path):
    (tmp_path / "told.yaml").write_text(f"{TINY}method: mvae\noptions: {{beta: 1e-1, warmup: 0.5}}\nignore: [song]\n")
    words = ["--config", tmp_path / "told.yaml", "--out", tmp_path / "run", "--option", "beta=2", "--epochs", "1", "-q"]
    ended = run_isthmus("train", birds, *words)
    assert ended.code == 0, ended.err
    assert ended.err == ""
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text(encoding="utf-8"))
    assert (config["method"], config["epochs"]) == ("mvae", 1)
    assert config["options"] == {"beta": 2, "warmup": 0.5}


def test_couplings_are_kept_with_the_run(birds, run_isthmus, tmp_path):
    (tmp_path / "told.yaml").write_text(f"{TINY}couplings: [contrastive, distance]\n")
    words = ["--couple", "contrastive=0.5", "--couple", "prediction", "--epochs", "2"]
    ended = run_isthmus("train", birds, "--config", tmp_path / "told.yaml", "--out", tmp_path / "run", *words)
    assert ended.code == 0, ended.err
    assert "Training mvtcae with contrastive, distance, prediction on" in ended.err
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text(encoding="utf-8"))
    assert config["couplings"] == {"contrastive": 0.5, "distance": None, "prediction": None}
    figures = read_csv(tmp_path / "run" / "metrics.csv")[0]
    assert all(figures[f"coupling/{name}"] for name in config["couplings"])
    model = isthmus.load(tmp_path / "run", device="cpu")
    assert sorted(model.model.couplings) == ["contrastive", "prediction"]
    assert np.array_equal(codes(tmp_path / "run" / "codes.parquet"), model.transform(birds))
    again = run_isthmus("train", "--config", tmp_path / "run" / "config.yaml", "--out", tmp_path / "again", "-q")
    assert again.code == 0, again.err
    assert np.array_equal(codes(tmp_path / "again" / "codes.parquet"), codes(tmp_path / "run" / "codes.parquet"))


def test_every_setting_of_a_file_is_a_flag(run_isthmus):
    plural = {
        "kinds": "kind",
        "modalities": "modality",
        "settings": "setting",
        "options": "option",
        "couplings": "couple",
    }
    said = run_isthmus("train --help").out
    for name in known_settings():
        flag = f"--{plural.get(name, name).replace('_', '-')}"
        assert name == "table" or flag in said, flag


@pytest.mark.parametrize("name", known_settings())
def test_what_is_typed_is_what_is_trained_with(name, run_isthmus, monkeypatch):
    words, value = TYPED[name]
    told = {}

    def keep(run, settings, voice, **rest):
        told.update(settings)
        return {}

    monkeypatch.setattr("isthmus.cli.train.train_run", keep)
    ended = run_isthmus("train", *words.split())
    assert ended.code == 0, ended.err
    assert told == {name: value}
    if name != "table":
        assert isthmus.Autoencoder(**told).to_config() == told, "the default would pass too"


def test_a_run_is_not_replaced_unasked(run, birds, run_isthmus, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    refused = run_isthmus("train", birds, "--out", copy, *SMALL.split())
    assert refused.code == 2 and "--force" in refused.err
    done = run_isthmus("train", "--resume", "--out", copy, "--json")
    assert done.code == 0 and done.figures["epochs"] == 3
    (copy / "mine.txt").write_text("a file of one's own")
    replaced = run_isthmus("train", birds, "--out", copy, *SMALL.split(), "--epochs", "1", "--force", "--json")
    assert replaced.figures["epochs"] == 1
    assert (copy / "mine.txt").exists()


def test_what_no_run_wrote_is_not_replaced_even_if_asked(birds, run_isthmus, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.bin").write_text("of somebody else")
    (tmp_path / "config.yaml").write_text("colour: red")
    for words in (("train", birds, "--out", tmp_path, "--force"), ("demo", "--quick", "--out", tmp_path)):
        refused = run_isthmus(*words)
        assert refused.code == 2 and "another folder" in refused.err
        assert "holds config.yaml, model, but not the config.yaml of a run" in refused.err or words[0] == "demo"
    assert {path.name for path in tmp_path.iterdir()} == {"model", "config.yaml"}
    assert (tmp_path / "model" / "mine.bin").is_file()


def test_a_demo_replaces_a_demo_and_no_other_run(run, run_isthmus, tmp_path, monkeypatch):
    from isthmus.cli import demo
    from isthmus.runs import Run

    refused = run_isthmus("demo", "--quick", "--out", run)
    assert refused.code == 2 and "holds something that is no demo" in refused.err
    assert (run / "model").is_dir() and not (run / "data").exists()
    Run(tmp_path).write_config({}, tmp_path / "data" / "digits.csv")
    asked = []

    def stop(run, settings, voice, force):
        asked.append(force)
        raise ValueError("far enough")

    monkeypatch.setattr(demo, "train_run", stop)
    assert "far enough" in run_isthmus("demo", "--quick", "--out", tmp_path).err
    assert asked == [True]


def test_a_wrong_word_does_not_stand_in_the_way_of_the_right_one(birds, run_isthmus, tmp_path):
    out = tmp_path / "run"
    wrong = run_isthmus("train", birds, "--out", out, *SMALL.split(), "--option", "balance=foo")
    assert wrong.code == 2 and "balance" in wrong.err
    right = run_isthmus("train", birds, "--out", out, *SMALL.split(), "--epochs", "1")
    assert right.code == 0, right.err


def test_a_trained_model_outlives_what_goes_wrong_after_it(birds, run_isthmus, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr("isthmus.runs.write_codes", fail)
    ended = run_isthmus("train", birds, "--out", tmp_path / "run", *SMALL.split(), "--epochs", "1")
    assert ended.code == 1 and "no space left" in ended.err
    assert isthmus.load(tmp_path / "run", device="cpu").transform(birds).shape == (30, 3)


def test_stopped_and_resumed_it_comes_to_the_same_codes(run, birds, run_isthmus, tmp_path, monkeypatch):
    from isthmus.training.progress import Reporter

    def stop(self, train, validation):
        if train["epoch"] == 1:
            os.kill(os.getpid(), signal.SIGINT)

    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(Reporter, "epoch", stop)
        stopped = run_isthmus("train", birds, "--out", out, "--label", "habitat", *SMALL.split())
    assert stopped.code == 1
    assert f"isthmus train --resume --out {out}" in stopped.err and "Traceback" not in stopped.err
    assert not (out / "model").exists()
    unfinished = run_isthmus("embed", out)
    assert unfinished.code == 1 and "has not come to its end" in unfinished.err
    refused = run_isthmus("train", "--resume", "--out", out, "--learning-rate", "0.1")
    assert refused.code == 1 and "learning_rate was 0.001 and is now 0.1" in refused.err
    resumed = run_isthmus("train", "--resume", "--out", out)
    assert resumed.code == 0, resumed.err
    assert np.array_equal(codes(out / "codes.parquet"), codes(run / "codes.parquet"))


# --- what a trained run is used for -----------------------------------------------------------------------------------


def test_embed_keeps_rows_and_their_order(run, birds, run_isthmus, tmp_path):
    rows = birds.read_text(encoding="utf-8").splitlines()
    new = birds.with_name("new.csv")
    new.write_text("\n".join([rows[0], *rows[:0:-1], "zz,missing.png,,,,"]) + "\n", encoding="utf-8")
    ended = run_isthmus("embed", run, new, "-o", tmp_path / "out" / "codes.parquet", "--json")
    assert ended.code == 0, ended.err
    assert ended.figures["items"] == 31 and ended.figures["rejected"] == 1
    table = pq.read_table(tmp_path / "out" / "codes.parquet")
    assert table["ring"].to_pylist() == [*(f"r{row:02d}" for row in reversed(range(30))), "zz"]
    assert table["observed"][30].as_py() == 0 and not any(table["code"][30].as_py())
    assert np.allclose(codes(tmp_path / "out" / "codes.parquet")[29::-1], codes(run / "codes.parquet"), atol=1e-5)
    (rejected,) = read_csv(tmp_path / "out" / "rejected.csv")
    assert (rejected["row"], rejected["column"], rejected["reason"]) == ("31", "photo", "file not found")


def test_translate_writes_files_that_open(run, birds, run_isthmus, tmp_path):
    ended = run_isthmus("translate", run, birds, "--from", "note,wing_mm", "--to", "photo", "-o", tmp_path, "--json")
    assert ended.code == 0, ended.err
    items = read_csv(tmp_path / "items.csv")
    assert [item["ring"] for item in items] == [f"r{row:02d}" for row in range(30)]
    assert all(Image.open(tmp_path / item["photo"]).size == (6, 6) for item in items)
    assert items[2]["observed"] == "0"
    assert ended.figures["files"] == 30 and ended.figures["empty"] >= 1
    assert f"{ended.figures['empty']} of 30 rows have no note or wing_mm" in ended.err


def test_translate_draws_rows_for_each_item(run, birds, run_isthmus, tmp_path):
    words = ("translate", run, birds, "--from", "photo", "--to", "song", "--draws", 2, "-o")
    ended = run_isthmus(*words, tmp_path / "a")
    assert ended.code == 0, ended.err
    items = read_csv(tmp_path / "a" / "items.csv")
    assert [(item["ring"], item["draw"]) for item in items[:3]] == [("r00", "1"), ("r00", "2"), ("r01", "1")]
    assert len({item["song"] for item in items}) == 60
    assert soundfile.read(tmp_path / "a" / items[0]["song"])[1] == 8000
    run_isthmus(*words, tmp_path / "b")
    for item in items:
        assert (tmp_path / "a" / item["song"]).read_bytes() == (tmp_path / "b" / item["song"]).read_bytes()


def written(model, name, cell, folder) -> bytes:
    """The file that a kind makes of a cell."""
    return (folder / model.kinds_[name].write(cell, folder / "expected")).read_bytes()


@pytest.mark.parametrize("target", ["photo", "song"])
@pytest.mark.parametrize("draws", [0, 2])
def test_every_file_is_what_the_model_makes_of_its_row_and_draw(target, draws, run, birds, run_isthmus, tmp_path):
    out, sources = tmp_path / "out", ["note", "wing_mm"]
    words = ("--from", ",".join(sources), "--to", target, "--draws", draws, "--seed", 4, "-o", out)
    ended = run_isthmus("translate", run, birds, *words)
    assert ended.code == 0, ended.err
    model, items = isthmus.load(run), read_csv(out / "items.csv")
    made = model.translate(birds, sources, target, num_draws=draws, seed=4)
    expected = [written(model, target, cell, tmp_path) for row in made for cell in (row if draws else [row])]
    assert [(out / item[target]).read_bytes() for item in items] == expected
    assert len(set(expected)) > len(expected) / 2, "one file for all would pass too"


def test_translate_writes_text_and_columns_as_cells(run, birds, run_isthmus, tmp_path):
    model = isthmus.load(run)
    for target in ("note", "wing_mm"):
        assert (
            run_isthmus("translate", run, birds, "--from", "photo", "--to", target, "-o", tmp_path / target).code == 0
        )
        cells = [str(cell) for cell in model.translate(birds, "photo", target)]
        assert [item[target] for item in read_csv(tmp_path / target / "items.csv")] == cells and all(cells)
        assert {path.name for path in (tmp_path / target).iterdir()} == {"items.csv", "rejected.csv"}


def test_columns_whose_names_are_alike_have_folders_of_their_own(run_isthmus, tmp_path):
    rng = np.random.default_rng(0)
    lines = ["id,front view,front/view"]
    for row in range(12):
        for side in "ab":
            Image.fromarray(rng.integers(0, 255, (4, 4), dtype=np.uint8)).save(tmp_path / f"{row}{side}.png")
        lines.append(f"{row},{row}a.png,{row}b.png")
    (tmp_path / "table.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    words = "--latent-dim 2 --width 8 --epochs 1 --key id".split()
    assert run_isthmus("train", tmp_path / "table.csv", "--out", tmp_path / "run", *words).code == 0
    assert run_isthmus("generate", tmp_path / "run", "-n", 2, "-o", tmp_path / "new").code == 0
    items = read_csv(tmp_path / "new" / "items.csv")
    files = [item[name] for item in items for name in ("front view", "front/view")]
    assert len(set(files)) == 4 and all((tmp_path / "new" / file).is_file() for file in files)


def test_an_empty_folder_that_was_there_before_is_left_alone(run, birds, run_isthmus, tmp_path):
    for name in ("mine", "note"):
        (tmp_path / name).mkdir()
    ended = run_isthmus("translate", run, birds, "--from", "photo", "--to", "note", "-o", tmp_path)
    assert ended.code == 0, ended.err
    assert {path.name for path in tmp_path.iterdir()} == {"items.csv", "rejected.csv", "mine", "note"}


def test_impute_fills_gaps_and_leaves_the_rest(run, birds, run_isthmus, tmp_path):
    ended = run_isthmus("impute", run, birds, "--draws", 2, "-o", tmp_path, "--json")
    assert ended.code == 0, ended.err
    old, new = read_csv(birds), read_csv(tmp_path / "items.csv")
    modalities = ("photo", "song", "note", "wing_mm")
    assert list(new[0]) == [*old[0], "wing_mm_spread", "filled"]
    for before, after in zip(old, new, strict=True):
        assert after["filled"] == ", ".join(name for name in modalities if not before[name])
        assert bool(after["wing_mm_spread"]) == (not before["wing_mm"])
        for name in ("ring", "habitat", "note", "wing_mm"):
            assert after[name] == before[name] or (not before[name] and name in after["filled"])
        for name in ("photo", "song"):
            assert (tmp_path / after[name]).is_file()
            if before[name]:
                assert (tmp_path / after[name]).resolve() == (birds.parent / before[name]).resolve()
    assert ended.figures["filled"]["photo"] == sum(not row["photo"] for row in old)


def test_what_impute_writes_is_what_the_model_fills_in(run, birds, run_isthmus, tmp_path):
    out = tmp_path / "out"
    ended = run_isthmus("impute", run, birds, "--draws", 2, "--seed", 4, "-o", out)
    assert ended.code == 0, ended.err
    model = isthmus.load(run)
    imputed = model.impute(birds, num_draws=2, seed=4)
    for row, item in enumerate(read_csv(out / "items.csv")):
        assert all(item[name] for name in ("photo", "song", "note", "wing_mm"))
        assert item["filled"] == ", ".join(name for name, blank in imputed.filled.items() if blank[row])
        for name in ("note", "wing_mm"):
            assert item[name] == str(imputed.table[name][row])
        for name in ("photo", "song"):
            if imputed.filled[name][row]:
                assert (out / item[name]).read_bytes() == written(model, name, imputed.table[name][row], tmp_path)
        spread = imputed.spread["wing_mm"][row]
        assert item["wing_mm_spread"] == (str(spread) if np.isfinite(spread) else "")


def test_generate_makes_whole_items(run, run_isthmus, tmp_path):
    ended = run_isthmus("generate", run, "-n", 3, "-o", tmp_path, "--json")
    assert ended.figures == {"output": str(tmp_path), "items": 3, "files": 6}
    items = read_csv(tmp_path / "items.csv")
    assert list(items[0]) == ["item", "photo", "song", "note", "wing_mm"]
    assert all((tmp_path / item["photo"]).is_file() and item["wing_mm"] for item in items)


def test_generated_items_are_those_of_the_model_and_of_the_seed(run, run_isthmus, tmp_path):
    out = tmp_path / "out"
    assert run_isthmus("generate", run, "-n", 4, "--seed", 3, "-o", out).code == 0
    model, items = isthmus.load(run), read_csv(out / "items.csv")
    made = model.generate(4, seed=3)
    assert [item["item"] for item in items] == ["1", "2", "3", "4"]
    for row, item in enumerate(items):
        assert (item["note"], item["wing_mm"]) == (made["note"][row], str(made["wing_mm"][row]["wing_mm"]))
        for name in ("photo", "song"):
            assert (out / item[name]).read_bytes() == written(model, name, made[name][row], tmp_path)


@pytest.mark.parametrize(
    ("words", "verb", "told"),
    [
        ("generate {run} -n 2", "generate", {"seed": 5}),
        ("translate {run} {birds} --from photo --to note --draws 2", "translate_prepared", {"num_draws": 2, "seed": 5}),
        ("impute {run} {birds} --draws 2", "impute_prepared", {"num_draws": 2, "seed": 5}),
    ],
)
def test_seed_draws_and_folder_reach_what_makes_cells(
    words, verb, told, run, birds, run_isthmus, tmp_path, monkeypatch
):
    heard, own = {}, getattr(isthmus.Autoencoder, verb)

    def call(*given, **named):
        heard.update(named)
        return own(*given, **named)

    monkeypatch.setattr(isthmus.Autoencoder, verb, call)
    ended = run_isthmus(f"{words.format(run=run, birds=birds)} --seed 5 -o {tmp_path / 'out'} -q")
    assert ended.code == 0, ended.err
    assert heard == told
    assert (tmp_path / "out" / "items.csv").is_file()


def test_label_draws_seed_and_file_reach_the_scores(run, run_isthmus, tmp_path, monkeypatch):
    heard, scores = {}, {name: [] for name in ("routes", "retrieval", "probe", "coherence", "notes")}

    def evaluate(model, table, **named):
        heard.update(named)
        return scores

    monkeypatch.setattr(isthmus.Autoencoder, "evaluate", evaluate)
    path = tmp_path / "scores.json"
    ended = run_isthmus("evaluate", run, "--label", "habitat", "--draws", 3, "--seed", 5, "-o", path, "-q")
    assert ended.code == 0, ended.err
    assert (heard["label"], heard["num_draws"], heard["seed"]) == ("habitat", 3, 5)
    assert json.loads(path.read_text(encoding="utf-8")) == scores


def test_evaluate_prints_and_writes_scores(run, run_isthmus):
    ended = run_isthmus("evaluate", run, "--draws", 2, "--json")
    assert ended.code == 0, ended.err
    assert ended.figures == json.loads((run / "evaluation.json").read_text(encoding="utf-8"))
    assert ended.figures["label"] == "habitat"
    assert "photo -> song" in ended.err


def test_a_new_table_is_scored_by_floors_of_the_old(run, birds, run_isthmus, tmp_path):
    lines = birds.read_text(encoding="utf-8").splitlines()
    new = birds.with_name("others.csv")
    new.write_text("\n".join([lines[0], *(f"new-{line}" for line in lines[1:])]) + "\n", encoding="utf-8")
    ended = run_isthmus("evaluate", run, new, "--draws", 2, "-o", tmp_path / "scores.json", "--json", "-q")
    assert ended.code == 0, ended.err
    assert ended.figures["items"]["test"] == 30 and ended.figures["items"]["train"] < 30
    assert ended.err == ""


def test_a_run_whose_table_is_gone_says_so(run, run_isthmus, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    config = (copy / "config.yaml").read_text(encoding="utf-8")
    (copy / "config.yaml").write_text(config.replace("birds.csv", "gone.csv"))
    ended = run_isthmus("embed", copy, "-o", tmp_path / "codes.parquet")
    assert ended.code == 1 and "gone.csv, is not there any more. Give a table." in ended.err


def test_methods_come_from_the_registry(run_isthmus):
    listed = run_isthmus("methods --json").figures
    assert [told["name"] for told in listed] == isthmus.list_methods()
    assert all(told["paper"] and told["modalities"] for told in listed)
    # One line each, without titles.
    assert all("\n" not in told["paper"] and '"' not in told["paper"] for told in listed)
    assert {told["name"]: told["paper"] for told in listed}["cmvae"] == "Palumbo et al. 2024, ICLR"
    found = [told["name"] for told in run_isthmus("methods", "m*vae", "--json").figures]
    assert found == ["mcvae", "mhvae", "mmvae", "mvae"]
    page = " ".join(run_isthmus("methods mvtcae").out.split())
    assert "--option alpha=0.8333 Between 0 (a VAE)" in page and "eq. 8" in page
    assert "KL( q(z|x) || p(z) )" in page and "Weak: codes do not fill the prior" in page


@pytest.mark.slow
def test_the_demo_comes_to_its_end(run_isthmus, tmp_path):
    ended = run_isthmus("demo", "--quick", "--out", tmp_path / "demo", "--json")
    assert ended.code == 0, ended.err
    assert set(ended.figures) == {"train", "evaluation", "report"}
    assert len(read_csv(tmp_path / "demo" / "translations" / "audio-to-image" / "items.csv")) == 8
    assert Path(ended.figures["report"]).is_file()


# --- how it ends ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("trian birds.csv", "Did you mean 'train'"),
        ("train {birds} --epohcs 3", "--epochs"),
        ("train {birds} --out {new} --method mvtca", "Did you mean 'mvtcae'"),
        ("train {birds} --out {new} --option betta=1", "Did you mean 'beta'"),
        ("train {birds} --out {new} --option beta", "as in --option beta=2.0"),
        ("train {birds} --out {new} --couple contrastiv=0.1", "Did you mean 'contrastive'"),
        ("train {birds} --out {new} --couple cca=much", "as in --couple contrastive=0.1"),
        ("train {birds} --out {new} --couple cca=-1", "Expected a positive number"),
        ("train {birds} --out {new} --setting size=3", "as in photo.size=32"),
        ("train {birds} --out {new} --setting fhoto.size=3", "Did you mean 'photo'"),
        ("train {birds} --out {new} --ignore wing-mn", "Did you mean 'wing_mm'"),
        ("train {birds} --out {new} --kind photo=imgae", "Did you mean 'image'"),
        ("train {birds} --out {new} --batch-size 0", "batch_size is 0"),
        ("train {birds} --out {new} --resume --force", "give one of them"),
        ("train --out {new}", "Which table?"),
        ("train {birds} --out {new} --config {birds}", "holds no settings"),
        ("translate {run} {birds} --from foto --to song", "Did you mean 'photo'"),
        ("translate {run} {birds} --from photo --to sing", "Did you mean 'song'"),
        ("evaluate {run} --label habitt", "Did you mean 'habitat'"),
        ("methods mvea", "Did you mean 'mvae'"),
        ("methods x*", "No method matches"),
    ],
)
def test_wrong_use_ends_with_two_and_the_nearest_right_name(words, message, run, birds, run_isthmus, tmp_path):
    ended = run_isthmus(words.format(birds=birds, run=run, new=tmp_path / "new"))
    assert ended.code == 2
    assert message in ended.err and "Traceback" not in ended.err
    assert not (tmp_path / "new" / "model").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("train {folder}/brids.csv --out {new}", "Did you mean 'birds.csv'"),
        ("train {folder}/r00.txt --out {new}", "No file or folder"),
        ("embed {folder}", "holds no model"),
        ("embed {run} {folder}/nothing.csv", "is empty"),
    ],
)
def test_failures_end_with_one_and_say_why(words, message, run, birds, run_isthmus, tmp_path):
    (birds.parent / "nothing.csv").write_text("")
    ended = run_isthmus(words.format(folder=birds.parent, run=run, new=tmp_path / "new"))
    assert ended.code == 1
    assert message in ended.err and "Traceback" not in ended.err


def test_an_unknown_setting_in_a_file_is_answered(birds, run_isthmus, tmp_path):
    (tmp_path / "told.yaml").write_text("latent-dim: 3\nepoch: 3\n")
    ended = run_isthmus("train", birds, "--config", tmp_path / "told.yaml", "--out", tmp_path / "run")
    assert ended.code == 2 and "Unknown setting 'epoch'" in ended.err and "Did you mean 'epochs'" in ended.err


def test_a_bug_is_called_one_and_shows_where(run, run_isthmus, monkeypatch):
    def broken(*_: object) -> None:
        raise KeyError("nobody caught this")

    monkeypatch.setattr("isthmus.estimator.Autoencoder.generate", broken)
    ended = run_isthmus("generate", run)
    assert ended.code == 1 and "Traceback" in ended.err and "This is a bug" in ended.err


def test_a_traceback_can_be_asked_for(run_isthmus, monkeypatch, tmp_path):
    monkeypatch.setenv("ISTHMUS_TRACEBACK", "1")
    ended = run_isthmus("embed", tmp_path)
    assert ended.code == 1 and "Traceback" in ended.err


def test_help_names_every_verb(run_isthmus):
    said = run_isthmus("--help")
    assert said.code == 0
    assert all(f"  {verb.__name__} " in said.out for verb in VERBS)
    assert run_isthmus("--version").out == f"isthmus {isthmus.__version__}\n"


# --- small parts ------------------------------------------------------------------------------------------------------


def test_keys_become_file_names_that_differ():
    assert stems(["a/b", "a b", "A_B", "鳥", "..", "x" * 300])[:5] == ["a_b", "a_b-2", "A_B-3", "鳥", "item"]
    assert len(stems(["x" * 300])[0]) == 50


def test_tables_line_up_in_any_script():
    assert aligned(["name", "n", "none"], [["数字", 5, None], ["seven", 12, None]]) == "name    n\n数字    5\nseven  12"


def test_a_run_keeps_the_recipe_in_full_and_flags_win(birds, run_isthmus, tmp_path):
    ended = run_isthmus("train", birds, "--for", "clustering", "--epochs", "1", "--out", tmp_path / "run")
    assert ended.code == 0, ended.err
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text(encoding="utf-8"))
    told = {name: value for name, value in config.items() if name != "table"}
    assert (
        isthmus.Autoencoder(**told).to_config()
        == isthmus.Autoencoder(**recipe("clustering") | {"epochs": 1}).to_config()
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--for", "clustering", "--method", "mvae"], "--for clustering trains mcvae; leave out the method, mvae, or"),
        (["--for", "clustring"], "Did you mean 'clustering'"),
    ],
)
def test_wrong_uses_are_told(birds, run_isthmus, tmp_path, words, message):
    ended = run_isthmus("train", birds, *words, "--out", tmp_path / "run")
    assert ended.code == 2 and message in " ".join(ended.err.split())
