"""Quality at equal time, without the libraries that are compared: clocks, scores, rows that go on, what is shown."""

from __future__ import annotations

import itertools
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from isthmus.batch import Masked
from isthmus.kinds.audio import AudioKind, Waveform
from isthmus.kinds.base import pad


@pytest.fixture(scope="module")
def bench(speed_scripts):
    return speed_scripts


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


# --- seconds ----------------------------------------------------------------------------------------------------------


def course(bench, seconds, step, scoring):
    """What a trainer reaches whose steps take so long, and the clock at its end; ten steps are an epoch."""
    clock, reached = Clock(), []

    def score(budget, used, epochs):
        reached.append((budget, used, epochs))
        clock.now += scoring

    budgets = bench.budgets.Budgets(seconds, score, clock)
    with pytest.raises(bench.budgets.Enough):
        while True:
            budgets.start()  # an epoch may begin at any step
            clock.now += step
            budgets.step(10)
    return reached, clock.now


@pytest.mark.parametrize("scoring", [0.0, 100.0])
def test_the_clock_stands_still_while_scores_are_taken(bench, scoring):
    reached, end = course(bench, [4, 10], step=1.5, scoring=scoring)
    assert reached == [(4, 4.5, 0.3), (10, 10.5, 0.7)], "at the first step past each budget"
    assert end == 10.5 + 2 * scoring


def test_a_step_longer_than_budgets_reaches_each_of_them_once(bench):
    reached, _ = course(bench, [1, 2, 12], step=5.0, scoring=3.0)
    assert reached == [(1, 5.0, 0.1), (2, 5.0, 0.1), (12, 15.0, 0.3)]


@pytest.mark.parametrize("seconds", [[], [0.0, 1.0], [2.0, 1.0], [1.0, 1.0]])
def test_budgets_have_to_rise(bench, seconds):
    with pytest.raises(ValueError, match="Expected rising seconds above 0"):
        bench.budgets.Budgets(seconds, print)


@pytest.mark.parametrize("once", [0.0, 0.5, 6.0])
@pytest.mark.parametrize("epoch", [0.7, 3.0, 50.0])
def test_each_training_ends_within_its_budget_and_no_longer_one_would(bench, once, epoch):
    lengths, reached = [], []

    def train(length):
        lengths.append(length)
        within = length.share * length.epochs * epoch
        return bench.budgets.Spent(length.share * once + within, within)

    bench.budgets.Budgets([20, 60, 180], lambda *figures: reached.append(figures), Clock()).each(train)
    for (budget, used, epochs), length in zip(reached, lengths[-3:], strict=True):
        assert epochs == length.epochs * length.share
        assert used <= budget * 1.001
        assert used + (epoch if length.share == 1 else 0) > budget * 0.999
        assert (length.share < 1) == (once + epoch > budget), "of the items, as many as there is time for"


@pytest.mark.parametrize("stalled", range(5))
def test_a_machine_that_stalls_once_changes_no_length(bench, stalled):
    reached, count = [], itertools.count()

    def train(length):
        within = (30.0 if next(count) == stalled else 1.0) * length.passes * 2.0
        return bench.budgets.Spent(within, within)

    bench.budgets.Budgets([20, 60, 180], lambda *figures: reached.append(figures), Clock()).each(train)
    assert [used for _, used, _ in reached] == [20.0, 60.0, 180.0]


def test_a_machine_that_stays_slow_is_not_tried_for_ever(bench):
    lengths, reached = [], []

    def train(length):
        lengths.append(length)
        within = 2.0 ** len(lengths) * length.passes
        return bench.budgets.Spent(within, within)

    bench.budgets.Budgets([20], lambda *figures: reached.append(figures), Clock()).each(train)
    assert len(lengths) == 2 + bench.budgets.TRIES and reached[0][1] > 20


def test_ours_on_a_peers_networks_is_one_course_at_one_rate_and_stopped_on_its_way(bench, monkeypatch):
    torch.set_num_threads(1)
    task = bench.peers_networks.vectors({"a": 6, "b": 6})
    values = {name: torch.rand(64, 6) for name in task.shapes}
    own = bench.ours.of_pair(bench.pairs.pair("multivae", "mvtcae"), task, latent_dim=4)
    now, reached, modes, schedules = [0.0], [], [], []

    class Counted(bench.budgets.Budgets):
        """Two steps are a second."""

        def step(self, steps_per_epoch):
            now[0] += 0.5
            super().step(steps_per_epoch)

    def note(*figures):
        own.codes(values)  # leaves the model in eval mode
        reached.append((figures, own.model.state_dict()["encoders.a.0.weight"].clone()))

    def watched(method, store, normalise, splits, config, **options):
        schedules.append(config.schedule)
        method.model.encoders["a"].register_forward_hook(
            lambda module, *_: modes.append(module.training) if torch.is_grad_enabled() else None
        )
        return trained(method, store, normalise, splits, config, **options)

    trained = bench.ours.train
    monkeypatch.setattr(bench.ours, "train", watched)
    own.train_until(values, Counted([1.0, 6.0], note, lambda: now[0]), batch_size=16)
    assert [figures for figures, _ in reached] == [(1.0, 1.0, 0.5), (6.0, 6.0, 3.0)]
    assert not torch.equal(reached[0][1], reached[1][1]), "the course went on"
    assert torch.equal(reached[1][1], own.model.state_dict()["encoders.a.0.weight"]), "and ended with its last budget"
    assert schedules == ["constant"]
    assert modes == [True] * 12, "a step in training mode for each, after a score too"
    assert not own.model.training


# --- scores -----------------------------------------------------------------------------------------------------------

NAMES = ("a", "b", "c")


def tiny(bench, folder, gaps=False, items=600):
    """Three vectors of an item, each of whose largest number is the one at the item's digit."""
    rng = np.random.default_rng(0)
    parts = {}
    for part in ("train", "test"):
        labels = rng.integers(0, 10, items)
        noise = torch.from_numpy(rng.random((3, items, 10))).float()
        shown = nn.functional.one_hot(torch.from_numpy(labels), 10) + 0.5 * noise
        there = torch.from_numpy(rng.random((3, items)) > (0.3 if gaps else -1.0))
        values = {name: x * is_there[:, None] for name, x, is_there in zip(NAMES, shown, there, strict=True)}
        parts[part] = bench.quality_data.Part(values, dict(zip(NAMES, there, strict=True)), labels)
    task = bench.peers_networks.vectors(dict.fromkeys(NAMES, 10))
    recipe = bench.quality_data.Recipe("polydigits", items, items)
    return bench.quality_data.Data(recipe, task, parts, "", None, {}, folder)


def oracles(bench):
    judge = bench.quality_scores.Judge(lambda x: x.argmax(dim=1).numpy(), lambda x: x.double().numpy())
    return dict.fromkeys(NAMES, judge)


class Answers:
    """A model whose translations are the item's own cells, or another item's, or noise; codes are cells, or noise."""

    def __init__(self, data, shuffled=False, noise=False, asked=None):
        self.data, self.shuffled, self.noise, self.asked = data, shuffled, noise, [] if asked is None else asked

    def codes(self, part, names, rows):
        made = self.data.parts[part].values[names[0]][rows]
        return torch.randn(len(rows), 10) if self.shuffled else made

    def translate(self, names, targets, rows, drawn):
        self.asked.append((tuple(names), tuple(targets), rows, drawn))
        order = torch.randperm(len(rows)) if self.shuffled else torch.arange(len(rows))
        made = {name: self.data.parts["test"].values[name][rows[order]] for name in targets}
        return {name: torch.rand_like(x) for name, x in made.items()} if self.noise else made


def test_perfect_translations_score_100_and_shuffled_ones_at_chance(bench, tmp_path):
    data = tiny(bench, tmp_path)
    perfect = bench.quality_scores.scores(Answers(data), data, oracles(bench))
    for figure in ("coherence", "coherence_of_rest", "coherence_of_means", "probe", "probe_of_all"):
        assert perfect[figure] == 100, figure
    assert perfect["frechet"] == pytest.approx(0, abs=1e-9)
    assert set(perfect["routes"]) == {f"{s}->{t}" for s in NAMES for t in NAMES if s != t}
    shuffled = bench.quality_scores.scores(Answers(data, shuffled=True), data, oracles(bench))
    for figure in ("coherence", "coherence_of_rest", "coherence_of_means", "probe", "probe_of_all"):
        assert shuffled[figure] == pytest.approx(10, abs=4), figure
    assert shuffled["frechet"] == pytest.approx(0, abs=1e-9), "cells are real, though of other items"


def test_frechet_is_the_mean_over_routes_and_sees_cells_that_are_off(bench, tmp_path):
    data = tiny(bench, tmp_path)

    class Off(Answers):
        def translate(self, names, targets, rows, drawn):
            made = super().translate(names, targets, rows, drawn)
            return {name: x + (3.0 if name == "c" else 0.0) for name, x in made.items()}

    found = bench.quality_scores.scores(Off(data), data, oracles(bench))
    # Two of six routes end at c, whose mean is off by 3 in each of 10 numbers.
    assert found["frechet"] == pytest.approx(2 / 6 * 10 * 9, rel=1e-3)
    assert found["coherence"] == 100


def test_items_that_lack_a_source_are_left_out(bench, tmp_path):
    data, asked = tiny(bench, tmp_path, gaps=True), []
    found = bench.quality_scores.scores(Answers(data, asked=asked), data, oracles(bench))
    test = data.parts["test"]
    for names, _, rows, _ in asked:
        assert torch.stack([test.present[name][rows] for name in names]).all()
        assert len(rows) == int(torch.stack([test.present[name] for name in names]).all(dim=0).sum())
    assert found["coherence"] < 100, "the cell of a target that is a gap shows no digit"


def test_scoring_leaves_a_training_the_numbers_it_would_have_drawn(bench, tmp_path):
    data = tiny(bench, tmp_path, items=50)

    def draw():
        return torch.rand(3).tolist(), np.random.rand(3).tolist()

    torch.manual_seed(1)
    np.random.seed(1)
    alone = draw()
    torch.manual_seed(1)
    np.random.seed(1)
    first = bench.quality_scores.scores(Answers(data, shuffled=True), data, oracles(bench))
    assert draw() == alone
    assert bench.quality_scores.scores(Answers(data, shuffled=True), data, oracles(bench)) == first, "one seed for all"


def test_judges_are_trained_once(bench, tmp_path, monkeypatch):
    data, test = tiny(bench, tmp_path), tiny(bench, tmp_path).parts["test"]
    first = bench.quality_scores.judges(data, tmp_path, steps=60)
    monkeypatch.setattr(bench.quality_scores, "train_judge", lambda *_, **__: pytest.fail("it is there"))
    again = bench.quality_scores.judges(data, tmp_path, steps=60)
    for name in NAMES:
        assert (first[name].predict(test.values[name]) == test.labels).mean() > 0.95
        np.testing.assert_array_equal(first[name].features(test.values[name]), again[name].features(test.values[name]))
    real = bench.quality_scores.real(data, first)
    noise = bench.quality_scores.scores(Answers(data, noise=True), data, first)["routes"]["b->a"]
    assert real["a"]["coherence"] > 95 > noise["coherence"]
    assert real["a"]["frechet"] < 0.1 * noise["frechet"]


# --- data -------------------------------------------------------------------------------------------------------------


def test_captions_come_back_from_characters(bench):
    alphabet = "abc 七" + bench.quality_data.END
    texts = ["a cab", "七", ""]
    ids = bench.quality_data.characters(texts, alphabet, 8)
    data = SimpleNamespace(alphabet=alphabet)
    logits = nn.functional.one_hot(torch.from_numpy(ids).long(), len(alphabet)).float()
    assert bench.quality_data.Data.texts(data, logits) == texts
    assert bench.quality_data.Data.texts(data, torch.from_numpy(ids[..., None] == np.arange(6)).float()) == texts
    strange = bench.quality_data.characters(["a!b", "abcabcabc"], alphabet, 4)
    assert strange.tolist() == [[0, 5, 1, 5], [0, 1, 2, 5]], "unknown ones are the end, and there is always an end"


def test_levels_of_a_sound_come_back_from_what_the_kind_makes_of_them(bench):
    rng = np.random.default_rng(0)
    cells = [Waveform(rng.standard_normal(length).astype(np.float32) * 0.1, 8000) for length in (1500, 4000, 2500)]
    kind = AudioKind().fit(cells)
    stored = pad([kind.encode(cell) for cell in cells])
    found = bench.quality_data.levels(kind.normalise(stored), kind)
    pictures = bench.quality_data.spectrograms(found, 64)
    assert pictures.shape == (3, 1, 64, kind.mels_)
    for row, mask, picture in zip(stored.value, stored.mask, pictures[:, 0], strict=True):
        length = int(mask.sum())
        torch.testing.assert_close(picture[:length], row[:length] / 255, atol=1e-5, rtol=0)
        assert not picture[length:].any(), "silence behind the end"


def test_digits_have_networks_that_fit_and_the_likelihood_that_peers_have(bench):
    torch.manual_seed(0)
    task = bench.peers_networks.digits(24, 40, 7, 11)
    for name, shape in task.shapes.items():
        assert task.encoder(shape)(torch.rand(2, *shape)).shape == (2, task.width), name
        assert task.decoder(shape, 5)(torch.rand(2, 5)).shape == (2, *shape), name
    logits, ids = torch.randn(3, 7, 11), torch.randint(11, (3, 7))
    caption = bench.peers_ours.modalities(task)["caption"]
    ours = caption.likelihood()(logits).log_prob(Masked(ids, torch.ones(3, 7, dtype=torch.bool)))
    # As multivae/models/base/base_utils.py and multiviewae/base/distributions.py have it, summed over the event.
    theirs = (nn.functional.one_hot(ids, 11) * logits.log_softmax(dim=2)).sum(dim=(1, 2))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("method", ["mvtcae", "mmvae+", "jmvae"])
def test_ours_takes_texts_and_gaps_and_answers_in_tensors_for_all(bench, method):
    torch.set_num_threads(1)
    task = bench.peers_networks.digits(8, 8, 4, 5)
    values = {name: torch.randint(256, (12, *shape)) / 255 for name, shape in task.shapes.items()}
    values["caption"] = nn.functional.one_hot(torch.randint(5, (12, 4)), 5).float()
    present = bench.peers_networks.draw_presence(12, list(values), 0.3)
    own = bench.ours.of_pair(bench.pairs.pair("multivae", method), task, latent_dim=4)
    own.train(values, batch_size=6, present=present)
    seen = {"image": values["image"], "caption": values["caption"]}
    made = own.translate(seen, ["audio", "caption"], drawn=True)
    assert {name: x.shape[1:] for name, x in made.items()} == {"audio": (1, 8, 8), "caption": (4, 5)}
    codes = own.codes(seen)
    assert codes.shape == (12, 2 if method == "mmvae+" else 4)
    order = torch.randperm(12)
    torch.testing.assert_close(own.codes({name: x[order] for name, x in seen.items()}), codes[order])


# --- who --------------------------------------------------------------------------------------------------------------


def test_ours_on_the_same_networks_stands_once_for_each_objective(bench):
    def of(method, gaps=False):
        return [(one.who, one.peer) for one in bench.quality_contenders.contenders(method, gaps)]

    same, peers = bench.quality_contenders.SAME, [("multivae", "multivae"), ("multiviewae", "multiviewae")]
    assert of("mvtcae") == [("isthmus", ""), (same, "multivae"), *peers]
    assert of("mvae") == [("isthmus", ""), (same, "multivae"), (same, "multiviewae"), *peers]
    assert of("mvae", gaps=True) == of("mvtcae"), "with gaps, both peers have the bound of what there is"
    assert of("jmvae") == of("mvtcae"), "the peer that refuses is there, to say so"
    sampled = bench.quality_contenders.SAMPLED
    for method in bench.quality_contenders.METHODS:
        assert ((sampled, "multivae") in of(method)) == (method in ("mmvae", "mmvae+"))


def test_routes_are_sampled_for_whom_it_is_said(bench, tmp_path, monkeypatch):
    quality, asked = bench.quality_contenders, []

    class Enough(Exception):
        pass

    def stop(pair, task):
        asked.append((pair.sampled, dict(pair.ours)))
        raise Enough

    monkeypatch.setattr(bench.ours, "of_pair", stop)
    for one in quality.contenders("mmvae", gaps=False):
        if one.who in (quality.SAME, quality.SAMPLED):
            with pytest.raises(Enough):
                quality.train(one, tiny(bench, tmp_path), [1.0], lambda *_: None)
    assert asked == [(False, {}), (False, {}), (True, {"stratified": False})]


def test_who_cannot_have_gaps_is_given_complete_items(bench, tmp_path):
    data = tiny(bench, tmp_path, gaps=True)
    complete = int(torch.stack(list(data.parts["train"].present.values())).all(dim=0).sum())
    for one in bench.quality_contenders.contenders("jmvae", gaps=True):
        alone = one.who in ("multivae", "multiviewae")
        assert bench.quality_contenders.num_items(one, data) == (complete if alone else 600), one.who
    (theirs,) = (one for one in bench.quality_contenders.contenders("mvtcae", True) if one.who == "multivae")
    assert bench.quality_contenders.num_items(theirs, data) == 600


def test_a_share_of_a_table_is_of_training_and_validation_items_alone(bench):
    from isthmus.data.prepare import Prepared

    split = np.array(["train"] * 100 + ["validation"] * 20 + ["test"] * 30)
    prepared = Prepared(None, None, {}, None, [], split)
    part = bench.quality_contenders.share_of(prepared, 0.25)
    assert [len(part.rows(name)) for name in ("train", "validation", "test")] == [25, 5, 30]
    assert part.rows("train").tolist() == list(range(25))
    assert len(bench.quality_contenders.share_of(prepared, 1.0).rows("train")) == 100


# --- rows -------------------------------------------------------------------------------------------------------------

SCORED = {"coherence": 50.0, "coherence_of_rest": 60.0, "frechet": 3.0, "probe": 70.0, "probe_of_all": 90.0}


def job(bench, who="multivae", method="mvtcae", budgets=(1.0, 2.0)):
    one = bench.quality_contenders.Contender(who, method, who, ("a mark",))
    return bench.quality_one.Job(one, bench.quality_data.Recipe("digits", 9, 3), "data", "work", list(budgets), 1)


def run_of(ran, rows):
    def run(one):
        ran.append(one)
        yield from rows(one)

    return run


def scored_rows(one):
    return [{"x": x, "seconds": x, "epochs": 1.0, "trained": 9, "scores": SCORED} for x in one.budgets]


def test_a_run_goes_on_where_it_was_stopped(bench, tmp_path):
    book, ran = bench.results.Book(tmp_path / "quality.jsonl"), []

    def stopped(one):
        yield scored_rows(one)[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bench.quality.measure([job(bench)], book, False, run_of(ran, stopped))
    assert [row["x"] for row in bench.results.read_rows(book.path)] == [1.0], "a row is there as soon as it is known"
    both = [job(bench), job(bench, method="mopoe")]
    bench.quality.measure(both, book, False, run_of(ran, scored_rows))
    rows = bench.results.read_rows(book.path)
    assert [(row["method"], row["x"]) for row in rows] == [
        ("mvtcae", 1.0),
        ("mvtcae", 2.0),
        ("mopoe", 1.0),
        ("mopoe", 2.0),
    ]
    assert rows[0]["marks"] == ["a mark"]
    ran.clear()
    bench.quality.measure(both, book, False, run_of(ran, scored_rows))
    assert not ran
    bench.quality.measure([job(bench, budgets=(1.0, 2.0, 3.0))], book, False, run_of(ran, scored_rows))
    assert len(ran) == 1 and len(bench.results.read_rows(book.path)) == 5, "one more budget is one more row"


def test_a_refusal_is_a_row_of_each_budget_and_a_failure_is_none(bench, tmp_path, capsys):
    book, ran = bench.results.Book(tmp_path / "quality.jsonl"), []

    def rows(one):
        if one.contender.who == "multivae":
            raise RuntimeError("NaN detected")
        return [{"refused": "takes two modalities"}]

    failed = bench.quality.measure([job(bench), job(bench, "multiviewae")], book, False, run_of(ran, rows))
    assert failed == ["digits mvtcae, multivae: NaN detected"]
    assert [(row["x"], row["refused"]) for row in bench.results.read_rows(book.path)] == [
        (1.0, "takes two modalities"),
        (2.0, "takes two modalities"),
    ]
    assert "FAILED" in capsys.readouterr().err
    bench.quality.measure([job(bench, "multiviewae")], book, False, run_of(ran, rows))
    assert len(ran) == 2, "who refused is not asked again"


@pytest.mark.parametrize("quick", [[], ["--quick"]])
def test_every_row_has_an_identity_of_its_own(bench, quick):
    jobs = bench.quality.jobs(bench.quality.arguments(["--data", "data", *quick]))
    heads = [head for one in jobs for head in bench.quality.heads_of(one).values()]
    about = [bench.results.thing(head) for head in heads]
    assert len(set(about)) == len(about), "a row would be taken for another one"
    for one in jobs:
        assert bench.quality_one.Job.from_json(one.to_json()).to_json() == one.to_json()
        assert json.dumps(bench.quality.settings_of(one, bool(quick)))


def test_each_set_has_budgets_of_its_own_unless_they_are_told(bench):
    def budgets(*words):
        given = bench.quality.arguments(["--data", "data", *words])
        return {one.recipe.name: one.budgets for one in bench.quality.jobs(given)}

    assert budgets() == {"digits": [10, 30, 90], "polydigits": [100, 300]}
    assert budgets("--budgets", "7,5") == {"digits": [5, 7], "polydigits": [5, 7]}
    assert budgets("--quick", "--sets", "digits") == {"digits": [0.5, 1.0]}


def test_a_method_is_compared_before_it_is_said_why(bench):
    quality = bench.quality_contenders
    jobs = bench.quality.jobs(bench.quality.arguments(["--data", "data", "--sets", "digits"]))
    order = [one.contender.who if one.contender else None for one in jobs]
    last = [who in (quality.SAME, quality.SAMPLED) for who in order]
    assert order[:2] == [None, quality.OURS] and last == sorted(last) and any(last)
    every = [one for method in quality.METHODS for one in quality.contenders(method, gaps=True)]
    assert len(jobs) == 1 + len(every) and all(one in [job.contender for job in jobs] for one in every)


def test_what_was_not_understood_is_said(bench, capsys):
    for words, said in (
        (["--data", "x", "--methods", "mvcate"], "There is no mvcate. There are mvtcae, mopoe"),
        (["--data", "x", "--sets", "emoji"], "There is no emoji. There are polydigits, digits."),
        ([], "Where are the data? As in: quality.py --data"),
    ):
        with pytest.raises(SystemExit):
            bench.quality.arguments(words)
        assert said in capsys.readouterr().err


def test_a_process_tells_rows_as_they_come_and_why_it_failed(bench, tmp_path, monkeypatch):
    script = tmp_path / "quality_one.py"
    script.write_text('import sys\nprint(\'{"x": 1.0}\')\nsys.exit("Error: no digits" if len(sys.argv) else 0)\n')
    monkeypatch.setattr(bench.quality, "HERE", tmp_path)
    rows = bench.quality.processed(job(bench))
    assert next(rows) == {"x": 1.0}
    with pytest.raises(RuntimeError, match="no digits"):
        next(rows)


# --- tables and the figure --------------------------------------------------------------------------------------------


def rows_of(bench):
    shared = {"machine": "a machine", "threads": 2, "isthmus": "0.1", "releases": {"torch": "2", "multivae": "1"}}
    shared |= {"section": "quality", "task": "digits", "items": [9, 3], "quick": False}

    def row(who, peer, x, better=0.0, **rest):
        scores = {name: figure - (better if name == "frechet" else -better) for name, figure in SCORED.items()}
        measured = {"seconds": 0.9 * x, "epochs": 1.0, "trained": 9, "scores": scores, "marks": []}
        return {**shared, "method": "mvae", "who": who, "peer": peer, "x": x, **measured, **rest}

    same = bench.quality_contenders.SAME
    rows = [row("multivae", "multivae", x, trained=4) for x in (20.0, 60.0)]
    rows += [row("isthmus", "", x, better=1.0) for x in (60.0, 20.0)]
    rows += [row(same, "multivae", 20.0, better=-1.0), row(same, "multiviewae", 20.0, better=2.0, marks=["a mark"])]
    refused = {**shared, "method": "jmvae", "who": "multiviewae", "peer": "multiviewae", "marks": []}
    rows += [{**refused, "x": x, "refused": "takes two modalities"} for x in (20.0, 60.0)]
    real = {"image": {"coherence": 99.0, "frechet": 0.5}, "caption": {"coherence": 100.0}}
    return [*rows, {**shared, "who": "real", "x": 0.0, "real": real, "marks": []}]


def test_each_set_shows_the_machine_of_its_last_row(bench):
    def row(task, machine, number, quick=False):
        about = {"section": "quality", "method": "mvae", "who": "isthmus", "x": float(number % 2)}
        return {**about, "task": task, "machine": machine, "number": number, "quick": quick}

    rows = [row("digits", "old", 0), row("polydigits", "old", 1), row("digits", "new", 2), row("digits", "new", 3)]
    rows += [row("digits", "new", 4), row("digits", "new", 5, quick=True)]
    chosen = bench.quality_tables.chosen(rows)
    assert {(one["task"], one["number"]) for one in chosen} == {("polydigits", 1), ("digits", 3), ("digits", 4)}
    assert [one["number"] for one in bench.quality_tables.chosen(rows, quick=True)] == [5]


def test_tables_show_scores_at_each_budget_marks_and_refusals(bench):
    text = bench.quality_tables.tables(rows_of(bench))
    assert "coherence, %, 20 s | coherence, %, 60 s | Frechet distance, 20 s" in text
    assert "| `mvae` | Isthmus | 51.0 / 61.0 | 51.0 / 61.0 | 2.0 | 2.0 | 71.0 / 91.0 | 71.0 / 91.0 |" in text
    assert "| `mvae` | Isthmus, same networks, as MultiVae | 49.0 / 59.0 |  | 4.0 |  | 69.0 / 89.0 |  |" in text
    assert "| `mvae` | Isthmus, same networks, as multi-view-AE [1] |" in text
    assert "| `mvae` | MultiVae [2] | 50.0 / 60.0 |" in text
    assert "| | *real cells* | 99.5 | 99.5 | 0.5 | 0.5 |  |  |" in text
    assert "Not measured: multi-view-AE `jmvae` (takes two modalities)." in text
    assert "[1] A mark." in text and "[2] Trained on the 4 complete items alone." in text
    assert (
        "9 training items, 3 test items; trainings of Isthmus on its own networks took 90% to 90% of their budgets"
        in text
    )


def test_standings_are_counted_against_peers_with_the_same_objective(bench):
    text = bench.quality_tables.tables(rows_of(bench))
    assert "own networks is at or above a peer at the same method and budget, of 2 comparisons, 2 in coherence" in text
    assert "same networks is at or above a peer at the same method and budget, of 1 comparisons, 0 in coherence" in text


def test_the_page_and_the_figure_are_made_from_rows(bench, tmp_path, monkeypatch, capsys):
    tables, file = bench.quality_tables, tmp_path / "quality.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows_of(bench)))
    page = tmp_path / "benchmarks.md"
    page.write_text("before\n<!-- speed -->\nkept\n<!-- end -->\n<!-- quality -->\nold\n<!-- end -->\nafter\n")
    monkeypatch.setattr(tables, "PAGE", page)
    monkeypatch.setattr(tables, "FIGURE", tmp_path / "images" / "quality.svg")
    assert tables.write(file, tmp_path, quick=False) == 0
    text = page.read_text()
    assert text.startswith("before\n<!-- speed -->\nkept\n") and text.endswith("<!-- end -->\nafter\n")
    assert "old" not in text and "(images/quality.svg)" in text and "| *real cells* |" in text
    first = tables.FIGURE.read_bytes()
    assert b"<svg" in first
    tables.draw(rows_of(bench), tables.FIGURE)
    assert tables.FIGURE.read_bytes() == first, "the same rows, the same file"
    assert tables.write(file, tmp_path, quick=True) == 1
    assert "There are no rows in quality.jsonl yet" in capsys.readouterr().err


def test_the_figure_shows_what_the_rows_say(bench):
    from matplotlib.figure import Figure

    tables, axis = bench.quality_tables, Figure().subplots()
    own = sorted((row for row in rows_of(bench) if "scores" in row), key=tables.place)
    tables._panel(axis, own, tables.SCORES[0])
    lines = {line.get_label(): line for line in axis.lines}
    assert list(lines) == [
        "Isthmus",
        "Isthmus, same networks",
        "Isthmus, same networks, as multi-view-AE",
        "MultiVae",
    ]
    assert list(lines["Isthmus"].get_xdata()) == [18.0, 54.0] and list(lines["Isthmus"].get_ydata()) == [51.0, 51.0]
    assert len({(line.get_linestyle(), line.get_color()) for line in lines.values()}) == 4, "each line is told apart"


def test_a_page_without_a_place_is_said(bench, tmp_path, monkeypatch, capsys):
    page, file = tmp_path / "benchmarks.md", tmp_path / "quality.jsonl"
    page.write_text("nothing\n")
    file.write_text("".join(json.dumps(row) + "\n" for row in rows_of(bench)))
    monkeypatch.setattr(bench.quality_tables, "PAGE", page)
    monkeypatch.setattr(bench.quality_tables, "FIGURE", tmp_path / "quality.svg")
    bench.quality_tables.write(file, tmp_path, quick=False)
    assert "has no place for them: <!-- quality -->" in capsys.readouterr().err
    assert page.read_text() == "nothing\n"
