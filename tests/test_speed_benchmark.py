"""The benchmark of speed, without the libraries that it compares: rows, rounds, ratios, operations, tables."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

SETTINGS = {"threads": 1, "wanted_rounds": 3, "quick": False}


@pytest.fixture(scope="module")
def bench(speed_scripts):
    return speed_scripts


class Watch:
    """A clock that contenders move on, and who ran when."""

    def __init__(self):
        self.now, self.order = 0.0, []

    def __call__(self):
        return self.now

    def contender(self, bench, label, *figures):
        """Takes as long as its figures say, one each round."""
        left = iter(figures)

        def timed():
            self.order.append(label)
            figure = next(left)
            self.now += figure
            return figure

        return bench.cases.Contender(lambda: self.order.append(f"warm {label}"), timed)


def entry(bench, peer, *needs, **rest):
    return bench.cases.Entry({"section": "step", "method": "mvae", "peer": peer}, needs, **rest)


# --- rounds -----------------------------------------------------------------------------------------------------------


def test_rounds_go_from_one_to_the_next_and_round_again(bench):
    watch = Watch()
    contenders = {label: watch.contender(bench, label, 1, 2, 3) for label in "abc"}
    times = bench.cases.interleave(contenders, 3, clock=watch)
    assert watch.order == list("abcabcabc")
    assert times == {label: [1, 2, 3] for label in "abc"}


@pytest.mark.parametrize(("seconds", "least", "rounds"), [(100, 2, 5), (9, 2, 4), (7.9, 2, 3), (0, 2, 2), (0, 1, 1)])
def test_a_round_is_begun_only_if_it_would_end_in_time(bench, seconds, least, rounds):
    watch = Watch()
    contenders = {label: watch.contender(bench, label, *[1] * 5) for label in "ab"}
    times = bench.cases.interleave(contenders, 5, seconds=seconds, least=least, clock=watch)
    assert [len(figures) for figures in times.values()] == [rounds] * 2


def test_a_case_may_have_enough_of_one_round(bench):
    watch = Watch()
    contenders = {"isthmus": lambda: watch.contender(bench, "ours", 1, 1, 1)}
    entries = [entry(bench, "first", "isthmus")]
    for most, rounds in ((1, 1), (0, 3), (5, 3)):
        made = bench.cases.Case("", entries, contenders, most=most)
        assert bench.cases.measure(made, entries, 3, 100)[0]["rounds"] == rounds


def test_the_ratio_is_taken_in_each_round(bench):
    # The machine is half as fast in the second round and a third in the third: the ratio is 2, 1, 4 all the same.
    figures = bench.cases.compare([1.0, 2.0, 3.0], [2.0, 2.0, 12.0])
    assert figures["ratio"] == {"median": 2.0, "min": 1.0, "max": 4.0}
    assert figures["figure"] == {"median": 2.0, "min": 1.0, "max": 3.0}
    assert figures["other"] == {"median": 2.0, "min": 2.0, "max": 12.0}
    assert figures["rounds"] == 3
    assert "ratio" not in bench.cases.compare([1.0])


def test_peers_are_asked_first_and_what_all_refuse_is_not_measured(bench):
    watch, refused = Watch(), bench.peers.Refused

    def refuse():
        raise refused("it has no gaps")

    def late():
        return bench.cases.Contender(refuse, lambda: 1.0)

    contenders = {
        "isthmus a": lambda: watch.contender(bench, "ours", 1, 1),
        "isthmus b": lambda: pytest.fail("nobody is compared with it"),
        "first": lambda: watch.contender(bench, "first", 2, 2),
        "second": refuse,
        "third": late,
    }
    entries = [
        entry(bench, "first", "isthmus a", "first"),
        entry(bench, "second", "isthmus b", "second"),
        entry(bench, "third", "isthmus b", "third"),
        entry(bench, "fourth", "isthmus b", "fourth", refused="another objective"),
    ]
    rows = bench.cases.measure(bench.cases.Case("", entries, contenders), entries, 2, 100)
    assert rows[0]["ratio"]["median"] == 2
    assert [row["refused"] for row in rows[1:]] == ["it has no gaps", "it has no gaps", "another objective"]
    assert watch.order == ["warm first", "warm ours", "ours", "first", "ours", "first"]


# --- rows -------------------------------------------------------------------------------------------------------------


def case(bench, watch, *peers):
    contenders = {"isthmus": lambda: watch.contender(bench, "ours", 1, 1, 1)}
    contenders |= {peer: lambda peer=peer: watch.contender(bench, peer, 2, 2, 2) for peer in peers}
    return bench.cases.Case("a case", [entry(bench, peer, "isthmus", peer) for peer in peers], contenders)


def test_what_is_there_is_not_measured_again(bench, tmp_path):
    path, watch = tmp_path / "speed.jsonl", Watch()
    book = bench.results.Book(path)
    assert bench.cases.run_cases([case(bench, watch, "first")], book, SETTINGS, 3, 100) == []
    assert watch.order[-6:] == ["ours", "first"] * 3
    watch.order.clear()
    both = case(bench, watch, "first", "second")
    bench.cases.run_cases([both], book, SETTINGS, 3, 100)
    assert "first" not in watch.order and watch.order.count("second") == 3, "the row that lacks is made alone"
    watch.order.clear()
    bench.cases.run_cases([both], bench.results.Book(path), SETTINGS, 3, 100)
    assert not watch.order
    assert [row["peer"] for row in bench.results.read_rows(path)] == ["first", "second"]


@pytest.mark.parametrize("other", ["settings", "machine", "code", "version", "releases"])
def test_another_machine_code_or_setting_is_measured_again(bench, tmp_path, monkeypatch, other):
    results, head = bench.results, {"section": "step", "method": "mvae"}
    book, settings = results.Book(tmp_path / "speed.jsonl"), dict(SETTINGS)
    book.add({"hash": results.identity(head, settings), **head})
    assert results.identity(head, settings) in book.known()
    if other == "settings":
        settings["threads"] = 2
    elif other == "version":
        monkeypatch.setattr(results, "VERSION", results.VERSION + 1)
    elif other == "releases":
        monkeypatch.setattr(results, "_release", lambda name: "9.9")
    else:
        book.stamp[other] = "another"
    assert results.identity(head, settings) not in book.known()
    book.keep = True
    assert (results.identity(head, settings) in book.known()) == (other == "code"), "--keep is of code alone"


def test_a_failure_is_told_and_the_others_go_on(bench, tmp_path, capsys):
    watch, book = Watch(), bench.results.Book(tmp_path / "speed.jsonl")

    def broken():
        raise ValueError("NaN detected\nin train loss")

    bad = bench.cases.Case("bad", [entry(bench, "first", "first")], {"first": broken})
    failed = bench.cases.run_cases([bad, case(bench, watch, "second")], book, SETTINGS, 3, 100)
    assert failed == ["bad: ValueError: NaN detected"]
    assert [row["peer"] for row in bench.results.read_rows(book.path)] == ["second"]
    assert "FAILED" in capsys.readouterr().err


def test_rows_of_the_last_machine_and_measurement_are_in_force(bench):
    def row(machine, peer, number, quick=False):
        return {"section": "step", "peer": peer, "machine": machine, "number": number, "quick": quick}

    rows = [row("old", "a", 0), row("new", "a", 1), row("new", "b", 2), row("new", "a", 3), row("new", "a", 4, True)]
    assert [one["number"] for one in bench.results.in_force(rows)] == [3, 2]
    assert [one["number"] for one in bench.results.in_force(rows, quick=True)] == [4]
    assert bench.results.in_force([]) == []


def test_a_note_makes_no_other_row_but_of_limits(bench):
    head = {"machine": "new", "section": "trainer", "method": "mvae"}
    rows = [head, {**head, "decodes": 2}, *({**head, "section": "floor", "decodes": count} for count in (1, 2))]
    assert bench.results.in_force(rows) == [{**row, "earlier": []} for row in rows[1:]]


def test_ratios_of_earlier_runs_are_kept_in_order(bench):
    head = {"machine": "new", "section": "levers"}
    rows = [{**head, "ratio": {"median": ratio}} for ratio in (0.9, 1.1, 1.3)]
    elsewhere = {**rows[0], "machine": "old"}
    assert bench.results.in_force([elsewhere, rows[0], {**head, "refused": "no"}, *rows[1:]]) == [
        {**rows[2], "earlier": [0.9, 1.1]}
    ]


# --- what is compared -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [0.0, 0.5])
@pytest.mark.parametrize("num_draws", [1, 10])
def test_every_pair_can_be_built_on_our_side(bench, missing, num_draws):
    task = bench.peers_networks.vectors({"a": 3, "b": 4, "c": 2})
    values = {name: torch.randn_like(x) for name, x in task.zeros(8).items()}
    present = bench.peers_networks.draw_presence(8, list(values), missing) if missing else None
    torch.set_num_threads(1)
    for peer, method in bench.ours.MATCHED:
        if num_draws > 1 and method not in bench.pairs.MIXTURES:
            continue
        for sampled in (False, True) if method in bench.pairs.MIXTURES else (False,):
            pair = bench.pairs.pair(peer, method, num_draws=num_draws, gaps=bool(missing), sampled=sampled)
            made = bench.ours.of_pair(pair, task, latent_dim=8)
            assert torch.isfinite(made.step(values, present)())
            (epoch,) = made.train(values, batch_size=4, present=present)
            assert epoch > 0


def test_ours_embeds_and_scores_by_its_own_means(bench):
    task = bench.peers_networks.pictures(2)
    values = {name: torch.rand(1, *shape).expand(6, *shape) for name, shape in task.shapes.items()}
    made = bench.ours.of_pair(bench.pairs.pair("multivae", "mvtcae"), task, latent_dim=4)
    codes = made.embed(values)
    assert codes.shape == (6, 4) and torch.equal(codes[0], codes[5])
    assert bench.ours.store(values).columns["m0"].values.strides[0] == 0, "one row that is shown six times"
    assert made.log_likelihood(values, num_draws=5) < 0


def test_decodes_of_an_item(bench):
    def decodes(peer, method, **options):
        return bench.pairs.pair(peer, method, **options).decodes(5)

    assert decodes("multivae", "mvtcae") == decodes("multivae", "jmvae") == decodes("multiviewae", "mvae") == 1
    assert decodes("multivae", "mvae") == 2, "from the whole and from itself"
    assert decodes("multivae", "mmvae") == decodes("multiviewae", "fused") == 5
    assert decodes("multivae", "mmvae", num_draws=10) == 50
    assert decodes("multivae", "mmvae+", sampled=True) == 1


def test_decodes_are_those_that_ours_does(bench):
    task = bench.peers_networks.vectors({"a": 3, "b": 4, "c": 2})
    values = task.zeros(8)
    for peer, method in bench.ours.MATCHED:
        pair = bench.pairs.pair(peer, method)
        made, rows = bench.ours.of_pair(pair, task, latent_dim=8), []
        made.model.decoders["a"].register_forward_hook(lambda _, inputs, __, rows=rows: rows.append(len(inputs[0])))
        made.step(values)()
        assert sum(rows) == 8 * pair.decodes(3), (peer, method)


def test_what_is_compared_is_said(bench):
    pairs = bench.pairs.pairs_of("mmvae", num_draws=10)
    assert [(pair.peer, pair.sampled, bool(pair.left_out)) for pair in pairs] == [
        ("multivae", False, False),
        ("multiviewae", False, True),
        ("multivae", True, False),
        ("multiviewae", True, True),
    ]
    assert bench.pairs.SAMPLED in pairs[2].marks and bench.pairs.SAMPLED not in pairs[0].marks
    gaps = bench.pairs.pair("multivae", "mvae", gaps=True)
    assert gaps.ours == {"scheme": "joint"} and gaps.theirs == {"use_subsampling": False} and len(gaps.marks) == 1


def test_items_are_embedded_in_parts_that_make_up_all(bench):
    case = bench.sections.embed_cases(bench.sections.Settings(rounds=5))[0]
    amount = case.contenders[case.entries[0].needs[0]].args[1].keywords["amount"]
    amount.costs.update(ours=1e-4, peer=2e-4)
    assert amount.items == 20_000
    assert case.entries[0].figures(5 * [1.0], 5 * [2.0])["measured_items"] == case.entries[0].head["items"] == 100_000
    amount.costs.update(ours=1e-2, peer=2e-2)  # a slow machine: 30 s a round
    assert case.entries[0].figures(5 * [1.0], 5 * [2.0])["measured_items"] == 5 * 1000


@pytest.mark.parametrize("quick", [False, True])
def test_every_row_of_the_headline_has_an_identity_of_its_own(bench, quick):
    settings = bench.sections.Settings(quick=quick)
    for cases, minutes in bench.sections.SECTIONS.values():
        heads = [
            {"about": json.loads(bench.results.thing(entry.head)), **entry.head}
            for case in cases(settings)
            for entry in case.entries
        ]
        about = [json.dumps(head["about"]) for head in heads]
        assert len(set(about)) == len(about), "a row would be taken for another one"
        assert minutes > 0
    assert sum(minutes for _, minutes in bench.sections.SECTIONS.values()) < 40


# --- the limit --------------------------------------------------------------------------------------------------------


def test_operations_against_a_count_by_hand(bench):
    layer = bench.floor.Layer
    # Each of 14 x 14 x 32 outputs sums over 3 x 3 x 3 inputs: a multiplication and an addition each.
    first = layer(nn.Conv2d(3, 32, 3, stride=2, padding=1), (10, 3, 28, 28), first=True)
    assert first.forward_operations == 10 * 14 * 14 * 32 * 27 * 2
    assert first.operations == 2 * first.forward_operations, "no gradient of data"
    # Each of 14 x 14 x 32 inputs is spread over 3 x 3 x 3 outputs.
    last = layer(nn.ConvTranspose2d(32, 3, 3, stride=2, padding=1, output_padding=1), (10, 32, 14, 14))
    assert last.forward_operations == 10 * 14 * 14 * 32 * 27 * 2
    assert last.operations == 3 * last.forward_operations
    assert layer(nn.Linear(64, 128), (10, 64)).operations == 3 * 10 * 64 * 128 * 2


def test_operations_are_those_that_torch_counts(bench):
    networks = bench.peers_networks
    encoder, decoder = networks.picture_encoder((3, 28, 28)), networks.picture_decoder((3, 28, 28), 64)
    for network, shape, first in ((encoder, (4, 3, 28, 28), True), (decoder, (4, 64), False)):
        layers = bench.floor.layers_of(network, torch.zeros(shape), first=first)
        with FlopCounterMode(display=False) as counter:
            network(torch.zeros(shape, requires_grad=not first)).sum().backward()
        assert sum(layer.operations for layer in layers) == counter.get_total_flops()


def test_parts_of_a_step(bench):
    task = bench.peers_networks.pictures(5)

    def operations(method, decodes):
        return sum(part.operations for part in bench.floor.step_parts(task, method, 4, decodes))

    decoder = bench.floor.layers_of(bench.peers_networks.picture_decoder((3, 28, 28), 64), torch.zeros(4, 64))
    one = 5 * sum(layer.operations for layer in decoder)
    assert operations("mmvae", 5) - operations("mmvae", 1) == 4 * one
    assert operations("jmvae", 1) > operations("mvtcae", 1)
    parts = bench.floor.step_parts(task, "mmvae", 4, 5)
    assert len(parts) == 9 and {part.times for part in parts} == {5}, "layers of one shape are one part"
    last = next(part for part in parts if part.decodes == 5)
    ways = [(layer.shape[0], count) for layer, _, count in last.ways()]
    assert set(ways) == {(4, 25), (20, 5)}, "five batches one by one, or in one call"


def test_the_better_way_of_each_layer_counts(bench):
    case = bench.floor.floor_case(bench.peers_networks.pictures(2), 2, [("mvtcae", 1), ("mmvae", 2)], least=0.0)
    entry = case.entries[1]
    assert set(entry.needs) <= set(case.contenders)
    row = entry.figures(*([2.0, 4.0] if "channels last" in label else [3.0, 5.0] for label in entry.needs))
    # Six convolutions are better in channels last, three matrix products have one format; all of decoders in one call.
    assert row["figure"] == {"median": 60.0, "min": 2 * (6 * 2 + 3 * 3), "max": 2 * (6 * 4 + 3 * 5)}
    assert {line["times"] for line in row["layers"]} == {2}


def test_a_layer_alone_runs_in_every_format(bench):
    for layer in bench.floor.layers_of(bench.peers_networks.picture_encoder((3, 28, 28)), torch.zeros(2, 3, 28, 28)):
        for form in layer.formats:
            contender = bench.floor.layer_contender(layer, form, least=0.0)
            contender.warm()
            assert contender.timed() > 0


def test_layers_alone_are_counted_as_a_step_has_them_in_the_quicker_way(bench, monkeypatch):
    parts = bench.floor.step_parts(bench.peers_networks.pictures(2), "mmvae", 4, 2)
    rows, warmed = {"default": 3.0, "channels last": 2.0}, []

    def contender(layer, form, least):
        # Twice the rows take half as long again: one call for both batches is quicker.
        taken = rows[form] * (1.5 if layer.shape[0] == 8 else 1.0)
        return bench.cases.Contender(lambda: warmed.append(form), lambda: taken)

    monkeypatch.setattr(bench.floor, "layer_contender", contender)
    alone = bench.floor.layers_contender(parts, 0.0)
    alone.warm()
    # Two networks: three convolutions and two products of encoders; a product and three convolutions of decoders.
    assert alone.timed() == 2 * (3 * 2.0 + 2 * 3.0) + 2 * 1.5 * (3.0 + 3 * 2.0)
    assert len(warmed) == (3 * 2 + 2) + 2 * (1 + 3 * 2)


# --- where time goes --------------------------------------------------------------------------------------------------


def test_every_operation_is_of_one_kind_of_work(bench):
    kinds = {
        "aten::mkldnn_convolution": "convolutions",
        "aten::convolution_backward": "convolutions",
        "aten::addmm": "matrix products",
        "aten::mm": "matrix products",
        "aten::mul": "sums and other arithmetic",
        "aten::mse_loss_backward": "sums and other arithmetic",
        "aten::threshold_backward": "activations",
        "aten::_fused_adam_": "Adam",
        "aten::index_select": "copies",
        "autograd::engine::evaluate_function: AddmmBackward0": None,
    }
    assert {name: bench.breakdown.kind_of(name) for name in kinds} == kinds


def test_kinds_of_work_add_up_to_the_step(bench):
    x, layer = torch.randn(64, 256), nn.Linear(256, 256)
    found = bench.breakdown.breakdown(lambda: layer(x).relu().sum().backward(), steps=20)
    assert set(found) == {*bench.breakdown.KINDS, bench.breakdown.REST}
    assert found["matrix products"] > found["Adam"] == found["convolutions"] == 0
    figures = bench.breakdown._figures([found, found, found], [sum(found.values())] * 3)
    assert sum(figures["kinds"].values()) == pytest.approx(figures["figure"]["median"], rel=1e-3)


def test_a_grouped_call_is_a_call_for_each_network(bench):
    values = {name: torch.rand(3, 3, 28, 28) for name in "ab"}
    networks = bench.levers.Networks.of(values)
    features, made = networks.each()
    (grouped_features,), (grouped_made,) = networks.grouped()
    torch.testing.assert_close(grouped_features, torch.stack(features), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(grouped_made, torch.cat(made, dim=1), rtol=1e-4, atol=1e-5)


def test_a_step_with_a_lever_is_the_step_without(bench, monkeypatch):
    # Which step is taken is the same: what weights become shows it.
    values, kept = bench.work.picture_values(4), []
    monkeypatch.setattr(bench.levers, "_ours", lambda made=bench.levers._ours: kept.append(made()) or kept[-1])
    makers = [bench.levers.plain, bench.levers.default_layout, bench.levers.unfused, bench.levers.one_by_one]
    for make in makers:
        torch.manual_seed(0)
        make(values)()
    first, *others = [torch.cat([p.flatten() for p in made.model.parameters()]) for made in kept]
    for other in others:
        # Adam's first step is the sign of a gradient; of gradients next to nothing rounding decides it.
        assert (first - other).abs().mean() < 1e-5
    untouched = torch.cat([p.flatten() for p in bench.levers._ours().model.parameters()])
    assert (first - untouched).abs().mean() > 1e-4


def test_every_lever_is_beside_the_library_as_it_is(bench):
    for lever in bench.levers.LEVERS:
        own = lever.with_it if lever.pulled else lever.without_it
        assert own is bench.levers.plain or "networks alone" in lever.beside, lever.what


# --- tables and fits --------------------------------------------------------------------------------------------------


def rows_of_a_step(bench):
    shared = {"machine": "a machine", "threads": 2, "isthmus": "0.1", "releases": {"torch": "2", "multivae": "1"}}
    head = {"section": "step", "method": "mvae", "batch": 256, "draws": 1, "sampled": False, "decodes": 2}
    measured = bench.cases.compare([0.1, 0.2, 0.4], [0.3, 0.4, 0.5])
    return [
        {**shared, **head, "section": "floor", **bench.cases.compare([0.16, 0.16]), "layers": []},
        {**shared, **head, "peer": "multivae", "marks": ["same work"], **measured},
        {**shared, **head, "peer": "multiviewae", "sampled": True, "marks": ["same work", "sampled"], **measured},
        {**shared, **head, "method": "fused", "peer": "multivae", "marks": ["none"], "refused": "has none"},
    ]


def test_a_table_shows_ranges_the_share_of_the_limit_and_notes_once(bench):
    text = bench.tables.tables(rows_of_a_step(bench))
    assert "| `mvae` | 256 | 200 (100-400) | 400 (300-500) | 0.80 | MultiVae [1] | 2.00 (1.25-3.00) |" in text
    assert "| `mvae`, routes sampled | 256 | 200 (100-400) | 400 (300-500) | 0.80 | multi-view-AE [1] [2] |" in text
    assert "Not measured: MultiVae `fused` (has none)." in text
    assert text.count("[1] Same work.") == text.count("[2] Sampled.") == 1
    assert "None." not in text, "what is not measured needs no mark"
    assert text.startswith("a machine, 2 threads, Isthmus 0.1, torch 2, MultiVae 1.")


def test_rates_run_from_the_slowest_to_the_fastest(bench):
    row = {**rows_of_a_step(bench)[1], "section": "likelihood", "task": "mfeat", "what": "K=1000"}
    assert "| mfeat | `mvae` | 1000 | 5 (2.5-10) | 2.5 (2-3.33) |" in bench.tables.tables([row])


def test_only_its_own_block_of_the_page_is_replaced(bench):
    page = "before\n<!-- benchmark: a -->\nkept\n<!-- end -->\n<!-- speed -->\nold\n<!-- end -->\nafter\n"
    filled = bench.tables.fill(page, rows_of_a_step(bench))
    assert "old" not in filled and "MultiVae [1]" in filled
    assert filled.startswith("before\n<!-- benchmark: a -->\nkept\n<!-- end -->\n<!-- speed -->\n")
    assert filled.endswith("<!-- end -->\nafter\n")
    assert bench.tables.fill(filled, rows_of_a_step(bench)) == filled


def test_fits_find_the_line_and_the_exponent(bench):
    line = bench.fits.fit([1, 2, 4, 8], [3, 5, 9, 17])
    assert line == pytest.approx({"slope": 2, "start": 1, "r2": 1, "worst": 0}, abs=1e-9)
    assert bench.fits.power([1, 2, 4], [3, 12, 48]) == pytest.approx(2)

    def row(who, x, y):
        head = {"section": "modalities", "method": "mmvae", "unit": "s"}
        return {**head, "who": who, "x": x, "figure": {"median": y}}

    rows = [row("isthmus", x, 1 + 0.5 * x**2) for x in (2, 4, 6)]
    rows += [row("isthmus, routes sampled", x, 0.5 * x) for x in (6, 2, 4)] + [row("multivae", 2, 1)]
    text = bench.fits.fits(rows)
    assert "| Isthmus | 2 | 6 | 3, 9, 19 | 1 + 0.5 M² s | 1.0000 | 0% |" in text
    assert "| Isthmus, routes sampled | 2 | 6 | 1, 2, 3 |" in text and "M^1.00" in text
    assert "MultiVae" not in text, "one point is no curve"


def test_all_points_of_a_curve_take_turns(bench, monkeypatch):
    watch = Watch()

    def work(peer):
        return watch.contender(bench, peer, 1.0, 2.0)

    monkeypatch.setattr(bench.growth, "made_contender", lambda make, work: work(make()))
    points = [(x, {who: lambda x=x, who=who: f"{who} {x}" for who in ("isthmus", "multivae")}, work) for x in (2, 4)]
    case = bench.growth.curve("modalities", "mvae", points)
    rows = bench.cases.measure(case, case.entries, 2, 60)
    assert [name for name in watch.order if "warm" not in name] == 2 * [
        "isthmus 2",
        "multivae 2",
        "isthmus 4",
        "multivae 4",
    ]
    assert [(one.head["who"], one.head["x"]) for one in case.entries] == [
        ("isthmus", 2), ("multivae", 2), ("isthmus", 4), ("multivae", 4)
    ]  # fmt: skip
    assert {row["rounds"] for row in rows} == {2}


def test_every_point_of_growth_has_an_identity_of_its_own(bench):
    cases = [case for section in bench.growth.SECTIONS.values() for case in section(False, 2)]
    heads = [entry.head for case in cases for entry in case.entries]
    assert len({bench.results.thing(head) for head in heads}) == len(heads)
    assert len({case.name for case in cases}) == len(cases)


def test_an_epoch_is_held_against_the_limit_of_its_steps(bench):
    limit, row = rows_of_a_step(bench)[:2]
    # 16 steps, each with a limit of 0.16 s, in an epoch of 3.2 s.
    epoch = {**row, "section": "epoch", "items": 4096, "missing": 0.0, "figure": bench.cases.spread([3.2])}
    text = bench.tables.tables([limit, epoch, {**epoch, "missing": 0.5}])
    assert "| `mvae` | 256 | 0% | 4,096 | 3.20 (3.20-3.20) | 0.40 (0.30-0.50) | 0.80 |" in text
    assert "| `mvae` | 256 | 50% | 4,096 | 3.20 (3.20-3.20) | 0.40 (0.30-0.50) | - |" in text
    elsewhere = bench.tables.tables([{**limit, "task": "mfeat"}, epoch])
    assert "| 0.40 (0.30-0.50) | - |" in elsewhere, "the limit of other layers says nothing"


def test_the_page_of_performance_has_a_block_for_each_profile(bench):
    head = {"machine": "a machine", "threads": 2, "isthmus": "0.1", "releases": {}, "batch": 64}
    kinds = {"convolutions": 0.3, "Adam": 0.1}
    rows = [
        {**head, "section": "breakdown", "method": "mvtcae", "kinds": kinds},
        {**head, "section": "levers", "what": "tea", "peer": "none", "pulled": False, "earlier": [0.5, 1.25]}
        | bench.cases.compare([1], [2]),
        {**head, "section": "levers", "what": "wine", "peer": "none", "pulled": False, "refused": "it is early"},
    ]
    page = "".join(f"<!-- speed: {name} -->\n<!-- end -->\n" for name in bench.tables.PROFILE)
    text = bench.tables.fill(page, rows)
    assert "| convolutions | 300.0 (75%) |" in text and "| all | 400 |" in text
    assert (
        "| tea | none | 64 | 1000 (1000-1000) | 2000 (2000-2000) | 2.00 (2.00-2.00) | 0.50, 1.25 | left out |" in text
    )
    assert "wine" not in text
    wanted = {mark for mark in bench.tables.PERFORMANCE.read_text().splitlines() if mark.startswith("<!-- speed")}
    assert wanted == {f"<!-- speed: {name} -->" for name in bench.tables.PROFILE}


def test_the_pages_show_the_committed_rows(bench):
    results, shown = bench.results, bench.results.in_force
    for path, choose, fill, pages in (
        (results.RESULTS / "speed.jsonl", shown, bench.tables.fill, bench.tables.PAGES),
        (results.RESULTS / "growth.jsonl", shown, bench.growth.fill, [bench.tables.PERFORMANCE]),
        (
            results.RESULTS / "quality.jsonl",
            bench.quality_tables.chosen,
            bench.quality_tables.fill,
            [bench.tables.PAGE],
        ),
    ):
        rows = choose(results.read_rows(path))
        assert rows, f"{path.name} is gone"
        for page in pages:
            text = page.read_text(encoding="utf-8")
            assert fill(text, rows) == text, f"{page.name} shows other rows than {path.name} has: run make bench again"
