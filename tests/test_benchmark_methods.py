"""The benchmark of methods: rows survive a kill, are made once, and go stale with their settings."""

from __future__ import annotations

import copy
import importlib
import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import isthmus.methods.base as methods
from isthmus.data.demo import write_demo
from isthmus.estimator import Autoencoder
from isthmus.evaluation import study as studies

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("trainings", "methods", "method_choice", "method_rows", "method_tables", "method_reruns", "method_scores")


@pytest.fixture(scope="module")
def bench():
    """The scripts of the benchmark, which are no package."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in PARTS})
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


def fake(modalities, *, latent_dim, beta=1.0, share=None):
    """A method that is never built."""


@pytest.fixture
def registry(monkeypatch):
    """The registry, with `fake` in it; what a test files is forgotten."""
    methods.list_methods()
    monkeypatch.setattr(methods, "_METHODS", {**methods._METHODS, "fake": fake})
    return methods._METHODS


def row_for(wanted, **scores):
    return {
        "hash": wanted.hash,
        **{"data": wanted.data, "method": wanted.method, "seed": wanted.seed, "options": dict(wanted.options)},
        "couplings": dict(wanted.couplings),
        "scores": scores,
        "costs": {
            "seconds": 1.0,
            "train_seconds": 2.0,
            "train_cpu_seconds": 1.0,
            "epoch_seconds": 0.5,
            "score_cpu_seconds": 3.0,
        },
        "config": wanted.config(),
    }


# --- what names a row -------------------------------------------------------------------------------------------------


def test_the_hash_follows_what_decides_a_row_and_nothing_else(bench, registry, monkeypatch):
    wanted = bench.method_rows.Wanted
    first = wanted("digits-small", "fake").hash
    assert wanted("digits-small", "fake").hash == first
    others = [
        wanted("digits", "fake"),
        wanted("digits-small", "fake", seed=1),
        wanted("digits-small", "fake", options={"beta": 2.0}),
        wanted("digits-small", "fake", couplings={"contrastive": 0.05}),
        wanted("digits-small", "mvae"),
        wanted("digits-small", bench.method_rows.FLOORS),
    ]
    assert len({first, *(other.hash for other in others)}) == 7
    # An option that is given as it is by default decides nothing.
    assert wanted("digits-small", "fake", options={"beta": 1.0}).hash == first

    monkeypatch.setitem(registry, "fake", lambda modalities, *, latent_dim, share=None, beta=1.0: None)
    assert wanted("digits-small", "fake").hash == first
    monkeypatch.setitem(registry, "fake", lambda modalities, *, latent_dim, beta=0.5, share=None: None)
    assert wanted("digits-small", "fake").hash != first
    monkeypatch.setitem(registry, "fake", fake)
    assert wanted("digits-small", "fake").hash == first
    monkeypatch.setattr(bench.method_rows, "VERSION", bench.method_rows.VERSION + 1)
    assert wanted("digits-small", "fake").hash != first


def test_the_hash_follows_a_setting_that_the_estimator_gains(bench, registry, monkeypatch):
    wanted = bench.method_rows.Wanted("digits-small", "fake")
    before = wanted.hash
    assert wanted.config()["networks"] == {"latent_dim": 64, "width": 256}
    monkeypatch.setattr(bench.method_rows, "Autoencoder", lambda latent_dim=64, *, width=256, key=None, extra=(): None)
    assert wanted.hash == before, "a switch that is off decides nothing"
    monkeypatch.setattr(bench.method_rows, "Autoencoder", lambda latent_dim=64, *, width=256, key=None, depth=2: None)
    assert wanted.hash != before


@pytest.mark.parametrize("setting", ["epochs", "train", "missing"])
def test_the_hash_follows_the_data_and_the_epochs(bench, registry, monkeypatch, setting):
    rows = bench.method_rows
    before = rows.Wanted("digits-small", "fake").hash
    known = rows.DATA_SETS["digits-small"]
    other = {"epochs": 1, "train": 40, "missing": 0.1}[setting]
    monkeypatch.setitem(rows.DATA_SETS, "digits-small", rows.DataSet(**{**known.__dict__, setting: other}))
    assert rows.Wanted("digits-small", "fake").hash != before


def test_epochs_follow_the_number_of_training_items_as_the_library_has_it(bench):
    # 9,500 of 10,000 items are for training: 7000 / sqrt(9500).
    assert bench.method_rows.DATA_SETS["digits"].num_epochs == 72
    assert bench.method_rows.Wanted("digits", "mvae").config()["training"]["epochs"] == 72


# --- the file ---------------------------------------------------------------------------------------------------------


def test_a_torn_last_line_is_no_row_and_goes_with_the_next(bench, tmp_path):
    rows, path = bench.method_rows, tmp_path / "results" / "rows.jsonl"
    assert rows.read_rows(path) == []
    for number in range(3):
        rows.append_row(path, {"number": number, "name": "字"})
    whole = path.read_bytes()
    lengths = [len(line) for line in whole.splitlines(keepends=True)]
    for cut in (1, 5, lengths[-1] - 1, lengths[-1]):  # down to the whole of the last line, and into a character
        path.write_bytes(whole[:-cut])
        assert [row["number"] for row in rows.read_rows(path)] == [0, 1]
    path.write_bytes(whole[:-4])
    rows.append_row(path, {"number": 7})
    assert [row["number"] for row in rows.read_rows(path)] == [0, 1, 7]
    assert path.read_bytes().count(b"\n") == 3


def test_a_broken_line_elsewhere_is_said(bench, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n{"a": \n{"a": 3}\n', encoding="utf-8")
    with pytest.raises(ValueError, match=r"rows\.jsonl, line 2, is no JSON"):
        bench.method_rows.read_rows(path)


def test_of_rows_for_one_thing_the_last_is_in_force(bench, registry):
    rows = bench.method_rows
    wanted = rows.Wanted("digits-small", "fake")
    old, new, other = (
        {**row_for(one), "mark": mark} for mark, one in enumerate([wanted, wanted, rows.Wanted("digits", "fake")])
    )
    assert [row["mark"] for row in rows.in_force([old, other, new])] == [1, 2]


# --- running ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def trainings(bench, registry, monkeypatch):
    """What was trained, in order; nothing truly is. `trainings.ends` is what happens instead, by method."""
    made = SimpleNamespace(names=[], ends={})

    def make_row(shared, work, wanted):
        if wanted.method in made.ends:
            raise made.ends[wanted.method]
        made.names.append(wanted.method)
        return row_for(wanted)

    monkeypatch.setattr(bench.methods, "make_row", make_row)
    return made


def test_a_stopped_benchmark_goes_on_and_makes_no_row_twice(bench, trainings, tmp_path):
    path = tmp_path / "rows.jsonl"
    wanted = bench.method_rows.wanted_rows("digits-small", ["fake", "mvae", "mvtcae"], [0], {})
    trainings.ends["mvae"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        bench.methods.run_all(tmp_path, tmp_path, wanted, path)
    assert trainings.names == ["floors", "fake"]

    path.write_bytes(path.read_bytes()[:-9])  # killed while the row of `fake` was written
    trainings.ends.clear()
    assert bench.methods.run_all(tmp_path, tmp_path, wanted, path) == []
    assert trainings.names == ["floors", "fake", "fake", "mvae", "mvtcae"]

    assert bench.methods.run_all(tmp_path, tmp_path, wanted, path) == []
    assert len(trainings.names) == 5


def test_a_changed_default_makes_a_row_anew(bench, trainings, registry, monkeypatch, tmp_path):
    path = tmp_path / "rows.jsonl"
    wanted = bench.method_rows.wanted_rows("digits-small", ["fake", "mvae"], [0], {})
    bench.methods.run_all(tmp_path, tmp_path, wanted, path)
    monkeypatch.setitem(registry, "fake", lambda modalities, *, latent_dim, beta=0.5, share=None: None)
    bench.methods.run_all(tmp_path, tmp_path, wanted, path)
    assert trainings.names == ["floors", "fake", "mvae", "fake"]
    force = bench.method_rows.in_force(bench.method_rows.read_rows(path))
    assert len(force) == 3 and bench.method_rows.stale_rows(force) == []


def test_a_method_that_fails_is_named_and_the_others_go_on(bench, trainings, tmp_path):
    trainings.ends["fake"] = subprocess.CalledProcessError(3, ["python"])
    wanted = bench.method_rows.wanted_rows("digits-small", ["fake", "mvae"], [0], {})
    (failed,) = bench.methods.run_all(tmp_path, tmp_path, wanted, tmp_path / "rows.jsonl")
    assert failed.startswith("fake on digits-small, seed 0: ") and "exit status 3" in failed
    assert trainings.names == ["floors", "mvae"]


def test_the_cost_of_a_training_that_was_stopped_is_not_known(bench, monkeypatch, tmp_path):
    trainings, said = bench.trainings, []

    def isthmus(*words):
        said.append(words)
        return trainings.Cost(seconds=5.0, cpu_seconds=4.0, peak_mib=300.0)

    monkeypatch.setattr(trainings, "isthmus", isthmus)
    fresh, stopped = tmp_path / "fresh", tmp_path / "stopped"
    for run in (fresh, stopped):
        run.mkdir()
    (stopped / "config.yaml").touch()
    table = tmp_path / "digits.csv"
    known = {"train_seconds": 5.0, "train_cpu_seconds": 4.0, "train_peak_mib": 300.0}
    assert trainings.train(table, fresh, "--method", "mvae") == known
    assert trainings.train(table, stopped, "--method", "mvae") == dict.fromkeys(known)
    assert said[0][:4] == ("train", str(table), "--method", "mvae") and said[1][:2] == ("train", "--resume")
    assert trainings.train(table, fresh, "--method", "mvae") == known and len(said) == 2


def test_a_process_that_fails_raises_and_one_that_ends_costs(bench):
    cost = bench.trainings.python("-c", "pass")
    assert cost.cpu_seconds > 0 and 0 < cost.seconds < 60 and cost.peak_mib > 1
    with pytest.raises(subprocess.CalledProcessError, match="exit status 7"):
        bench.trainings.python("-c", "raise SystemExit(7)")


def test_the_command_says_what_it_wants(bench, monkeypatch, capsys):
    for words, said in ([], "Where are the data"), (["a", "b", "--methods", "mvtcea"], "no method mvtcea"):
        monkeypatch.setattr(sys, "argv", ["methods.py", *words])
        with pytest.raises(SystemExit) as ended:
            bench.methods.main()
        assert ended.value.code == 2
        assert said in capsys.readouterr().err


# --- stale rows -------------------------------------------------------------------------------------------------------


def test_a_stale_row_is_named_with_what_changed(bench, registry, monkeypatch, tmp_path, capsys):
    rows = bench.method_rows
    monkeypatch.setattr(bench.methods, "PAGES", ())
    made = [row_for(rows.Wanted("digits-small", name)) for name in ("fake", "mvae", rows.FLOORS)]
    made.append(row_for(rows.Wanted("digits-small", "fake", 3, {"beta": 4.0})))
    assert bench.methods.check(made) == 0

    monkeypatch.setitem(registry, "fake", lambda modalities, *, latent_dim, beta=0.5, dropout=0.1: None)
    said = "options.beta was 1.0 and is 0.5; options.dropout is new"
    assert rows.stale_rows(made) == [
        f"fake on digits-small, seed 0: {said}",
        "fake beta=4.0 on digits-small, seed 3: options.dropout is new",
    ]
    assert bench.methods.check(made) == 1
    assert f"Stale row, run it again: fake on digits-small, seed 0: {said}" in capsys.readouterr().out

    monkeypatch.delitem(registry, "fake")
    assert rows.stale_rows(made)[0] == "fake on digits-small, seed 0: there is no such method any more"
    edited = copy.deepcopy(made[1])
    edited["config"]["training"]["epochs"] += 1
    assert rows.stale_rows([edited]) == ["mvae on digits-small, seed 0: its configuration was changed by hand"]


# --- tables -----------------------------------------------------------------------------------------------------------


def test_tables_hold_means_over_seeds_and_floors(bench, registry):
    rows = bench.method_rows
    made = [
        row_for(rows.Wanted("digits-small", "fake", seed), routes={"image->caption": {"coherence": value}})
        for seed, value in enumerate((90.0, 94.0))
    ]
    made.append(row_for(rows.Wanted("digits-small", "mvae"), joint=None, likelihood={"nats": -1234.5}))
    made.append(row_for(rows.Wanted("digits", "mvae"), likelihood={"nats": 7.0}))
    coupled = rows.Wanted("digits-small", "mvae", couplings={"contrastive": 0.05})
    made.append(row_for(coupled, likelihood={"nats": 55.0}))
    page = "before\n<!-- benchmark: digits-small -->\nobsolete\n<!-- end -->\nafter"
    filled = bench.method_tables.fill(page, made)
    assert filled.startswith("before\n<!-- benchmark: digits-small -->\n\n") and filled.endswith(
        "\n\n<!-- end -->\nafter"
    )
    assert "| `fake` | 92.0 ± 2.8 |  |" in filled
    assert "| -1,234 |" in filled
    assert re.search(r"\| `mvae` \+ contrastive 0\.05 \|.*\| 55 \|", filled)
    assert "| `mvae` | 0.25 | 1 | 3 | 4 |" in filled  # half a second an epoch, half of the time on the processor
    assert "obsolete" not in filled and "| 7 |" not in filled
    assert bench.method_tables.fill(filled, made) == filled
    assert bench.method_tables.fill(filled, made[1:]) != filled


def test_the_tables_of_routes_show_what_the_judges_make_of_real_cells(bench):
    route = dict.fromkeys(bench.method_tables.ROUTES, 50.0)
    judges = {"image": 98.4, "audio": 100.0, "caption": 99.9}
    floor = {"supervised": route, "nearest": route, "judge": judges, "frechet": judges, "cca": {}, "probe": {}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench.method_tables, "_floors_of_codes", lambda floor: {})
        shown = bench.method_tables.tables(
            "digits-small", [row_for(bench.method_rows.Wanted("digits-small", bench.method_rows.FLOORS), **floor)]
        )
    assert "| *real test cells, judged* | 99.9 | 99.9 | 100.0 | 98.4 | 98.4 | 100.0 |" in shown


def drawn(bench, method, coherence, variance, frechet, seed=0):
    """A row whose routes are all alike."""
    route = {"coherence": coherence, "variance": variance, "frechet": frechet}
    return row_for(
        bench.method_rows.Wanted("digits-small", method, seed),
        routes={name: route for name in bench.method_tables.ROUTES},
        joint=None,
    )


def test_the_best_for_an_aim_are_told_by_its_figure_among_those_that_may_be(bench, registry):
    choice = bench.method_choice
    made = [
        drawn(bench, "mvae", 95.0, 0.2, 9.0),
        drawn(bench, "mopoe", 91.0, 0.6, 4.0),
        drawn(bench, "mvtcae", 80.0, 0.9, 2.0),
        row_for(bench.method_rows.Wanted("digits-small", "fake")),  # does none of it
        drawn(bench, "fake", 100.0, 1.0, 0.0, seed=1),  # of another seed
    ]
    floors = bench.method_rows.Wanted("digits-small", bench.method_rows.FLOORS)
    made.append(row_for(floors, supervised={"a": 98.0, "b": 99.0}, nearest={"a": 60.0}, cca={}, probe={}))
    _, right, varied, real, *_ = choice.AIMS
    aims = {aim.title: aim for aim in (right, varied, real)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choice, "AIMS", list(aims.values()))
        filled = choice.fill("<!-- choice: digits-small -->\nold\n<!-- end -->", made)
    lines = [line.rsplit(" | ", 2) for line in filled.splitlines() if line.startswith("| **")]
    assert [best for _, best, _ in lines] == [
        "`mvae` 95.0, `mopoe` 91.0, `mvtcae` 80.0",
        "`mopoe` 91.0, `mvtcae` 80.0",
        "`mopoe` 4.0, `mvae` 9.0",
    ]
    (overall, *_) = choice.AIMS
    assert overall.best(made) == []  # no row has new items
    likes = {"image": {"variance": 0.5}, "audio": {"variance": 2.0}, "coherence": 81.0}
    whole = copy.deepcopy(made[0])
    whole["scores"]["joint"] = likes
    ((row, figure),) = overall.best([whole])
    assert row is whole
    assert figure == pytest.approx((95.0 * 81.0 * 100 * (4 * 0.2 + 0.5 + 1.0) / 6) ** (1 / 3))
    assert [floor for _, _, floor in lines] == ["supervised 98.5 |", "nearest training item 60.0 |", " |"]


def test_a_page_that_is_not_what_the_rows_give_fails(bench, registry, monkeypatch, tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text("<!-- benchmark: digits-small -->\n<!-- end -->", encoding="utf-8")
    monkeypatch.setattr(bench.method_tables, "PAGE", page)
    monkeypatch.setattr(bench.methods, "PAGES", (bench.method_tables,))
    wanted = bench.method_rows.Wanted("digits-small", "mvae")
    made = [row_for(wanted, likelihood={"nats": -1234.5})]
    assert bench.methods.check(made) == 1
    assert "is not what the rows give" in capsys.readouterr().out
    bench.methods.write_tables(made)
    assert bench.methods.check(made) == 0
    page.write_text(page.read_text(encoding="utf-8").replace("-1,234", "-1,233"), encoding="utf-8")
    assert bench.methods.check(made) == 1


def test_the_committed_rows_and_page_are_of_this_code(bench, capsys):
    rows = bench.method_rows.in_force(bench.method_rows.read_rows(bench.methods.ROWS))
    assert rows, "benchmarks/results/methods.jsonl is gone"
    assert bench.methods.check(rows) == 0, capsys.readouterr().out


# --- running again ----------------------------------------------------------------------------------------------------


def test_scores_too_far_off_are_named(bench):
    before = {
        "routes": {"image->audio": {"coherence": 90.0, "frechet": 10.0, "variance": None}},
        "likelihood": {"nats": -1000.0, "standard_error": 3.0},
        "probe": {"all": 95.0},
    }
    wrong = bench.method_reruns.wrong_scores
    assert wrong(before, before) == []
    again = copy.deepcopy(before)
    again["likelihood"] = {"nats": -1040.0, "standard_error": 9.0}
    again["routes"]["image->audio"]["coherence"] = 85.0
    assert wrong(before, again) == []
    again["likelihood"]["nats"] = -1060.0
    again["routes"]["image->audio"] |= {"coherence": 80.0, "variance": 0.5}
    again["probe"]["all"] = None
    assert wrong(before, again) == [
        "routes/image->audio/coherence was 90.0 and is 80.0",
        "routes/image->audio/variance was None and is 0.5",
        "likelihood/nats was -1000.0 and is -1060.0",
        "probe/all was 95.0 and is None",
    ]
    assert wrong({**before, "likelihood": None}, before)
    # A share of next to nothing is less than what chance does.
    nothing = {"joint": {"variance": 0.01, "frechet": 1.0}, "likelihood": {"nats": -10.0}}
    assert wrong(nothing, {"joint": {"variance": 0.1, "frechet": 2.9}, "likelihood": {"nats": -39.0}}) == []
    assert wrong(nothing, {"joint": {"variance": 0.12, "frechet": 3.1}, "likelihood": {"nats": -41.0}}) == [
        "joint/variance was 0.01 and is 0.12",
        "joint/frechet was 1.0 and is 3.1",
        "likelihood/nats was -10.0 and is -41.0",
    ]


def test_rows_to_run_again_are_fast_ones_of_the_first_seed(bench):
    rows, made = bench.method_rows, []
    for number, name in enumerate(methods.list_methods()[:6]):
        row = row_for(rows.Wanted("digits-small", name))
        made.append({**row, "costs": {"train_cpu_seconds": 100.0 - number}})
    fast = {row["method"] for row in made[3:]}
    # These took a second, and are not among those to choose from.
    made += [row_for(rows.Wanted("digits-small", "mvtcae", seed)) for seed in range(1, 30)]
    made += [row_for(rows.Wanted("digits", "mvtcae")), row_for(rows.Wanted("digits-small", rows.FLOORS))]
    chosen = bench.method_reruns.choose(made, 2)
    assert len(chosen) == 2 and {row["method"] for row in chosen} < fast
    assert [row["hash"] for row in chosen] == sorted(row["hash"] for row in made[3:6])[:2]


def test_rows_run_again_fail_where_scores_are_off_or_there_are_none(bench, registry, monkeypatch, tmp_path, capsys):
    row = row_for(bench.method_rows.Wanted("digits-small", "fake"), probe={"all": 95.0})
    again = copy.deepcopy(row)
    monkeypatch.setattr(bench.methods, "make_row", lambda shared, work, wanted: again)
    assert bench.methods.rerun(tmp_path, tmp_path, [row], 1) == 0
    again["scores"]["probe"]["all"] = 90.0
    assert bench.methods.rerun(tmp_path, tmp_path, [row], 1) == 1
    assert "fake on digits-small, seed 0: probe/all was 95.0 and is 90.0" in capsys.readouterr().out
    assert bench.methods.rerun(tmp_path, tmp_path, [], 1) == 1


@pytest.mark.slow
def test_two_rows_come_out_again(bench, shared, tmp_path, capfd):
    # capfd and not capsys: the trainings run in processes of their own and write to real file descriptors.
    assert bench.methods.rerun(shared, tmp_path, bench.method_rows.read_rows(bench.methods.ROWS), 2) == 0, (
        capfd.readouterr().out
    )


# --- scoring ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A model of the demo's digits, hardly trained."""
    folder = tmp_path_factory.mktemp("digits")
    table = write_demo(folder, num_items=160, missing=0.3)
    model = Autoencoder(key="key", split="split", label="label", latent_dim=4, width=16, epochs=1)
    model.fit(table)
    return model, table, folder / "judges"


@pytest.fixture
def short(bench, monkeypatch):
    few = {"judge_steps": 3, "likelihood_items": 4, "likelihood_draws": 2}
    for name, value in few.items():
        monkeypatch.setitem(bench.method_scores.SCORING, name, value)


def test_a_row_has_all_scores_and_judges_are_trained_once(bench, small, short, monkeypatch):
    model, table, judges = small
    prepared = model.prepare(table)
    first = bench.method_scores.scores(bench.method_scores.make_study(model, prepared, judges), model)
    routes = {f"{source}->{target}" for source in model.kinds_ for target in model.kinds_ if source != target}
    assert set(first["routes"]) == set(first["retrieval"]) == routes
    assert set(first["probe"]) == {"all", "image", "audio", "caption"}
    assert set(first["joint"]) == {"coherence", "image", "audio", "caption"}
    assert first["likelihood"]["nats"] < 0
    names = [name for name, _ in bench.method_reruns.leaves(first)]
    assert len(names) == 6 * 4 + (1 + 3 * 2) + 4 + 6 * 3 + 2
    json.dumps(first, allow_nan=False)

    assert {path.stem for path in judges.iterdir()} == set(model.kinds_)

    def train_no_judge(*arguments, **settings):
        raise AssertionError("a judge was trained again")

    monkeypatch.setattr(studies, "train_judge", train_no_judge)
    again = bench.method_scores.scores(bench.method_scores.make_study(model, prepared, judges), model)
    assert again == first


def test_floors_need_no_trained_model(bench, small, short):
    _, table, judges = small
    found = []
    for seed in (0, 1):
        untrained = Autoencoder(key="key", split="split", label="label", latent_dim=4, width=16, seed=seed)
        prepared = untrained.prepare_fit(table)
        study = bench.method_scores.make_study(untrained, prepared, judges)
        found.append(bench.method_scores.floors(study, untrained.kinds_))
    assert found[0] == found[1]
    assert set(found[0]["supervised"]) == set(found[0]["nearest"]) == set(found[0]["cca"]) and len(found[0]["cca"]) == 6
    assert set(found[0]["probe"]) == {"logistic_raw", "pca", "supervised"}


def test_the_supervised_network_learns_from_items_that_have_both(bench, small, short, monkeypatch):
    model, table, judges = small
    study = bench.method_scores.make_study(model, model.prepare(table), judges)
    seen = []

    def train_judge(encoder, values, labels, *arguments, **settings):
        seen.append(len(values))
        assert len(values) == len(labels)
        return SimpleNamespace(predict=lambda values: study.labels["test"][study.labelled("test", ["image"])])

    monkeypatch.setattr(bench.method_scores, "train_judge", train_judge)
    share = bench.method_scores.supervised(study, model.kinds_["image"], "image", "caption")
    there = study.present["train"]
    assert seen == [int((there["image"] & there["caption"]).sum())] and share == 100
    assert seen[0] < there["image"].sum()


def test_the_supervised_network_sees_shifted_pictures_in_training_alone(bench, small):
    model, table, _ = small
    network = bench.method_scores.Seen(model.kinds_["image"], 16)
    values = model.prepare(table).batch(torch.arange(8)).values["image"]
    assert not torch.equal(network.train()(values), network(values))
    assert torch.equal(network.eval()(values), network(values))
