"""Couplings: each formula against a plain one, its limits, what gaps do to it, and how couplings are switched on."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from isthmus.batch import Batch
from isthmus.contrasts import cosines, info_nce, shared_information, sigmoid_contrast
from isthmus.correlations import canonical_correlation, correlation, cross_correlation
from isthmus.discrepancies import SCALES, maximum_mean_discrepancy
from isthmus.methods import Phase, Player, couple, get_method, list_methods
from isthmus.methods.coupled import check_couplings, coupled
from isthmus.networks.predictor import Predictor
from isthmus.noise import Noise
from isthmus.objectives import Objective, Step, Terms
from isthmus.objectives.couplings import COUPLINGS, Canonical, Contrastive, Coupled, Prediction, uncoupled
from isthmus.objectives.couplings.cycle import random_ways
from isthmus.testing.conformance import toy_batch, toy_modalities, toy_values
from isthmus.training import TrainingConfig, train
from isthmus.training.fingerprint import fingerprint
from toy_training import toy_method, toy_splits, toy_store

NAMES = list(toy_modalities(3))
LATENT_DIM = 4
PAIRS = ["contrastive", "sigmoid", "cca", "barlow", "correlation"]
BY_ITEM = ["distance", "prediction", "cycle", "adversarial"]


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def method_with(couplings, name="mvtcae", count=3, **options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        method = get_method(name)(toy_modalities(count), latent_dim=LATENT_DIM, **options)
        method = couple(method, couplings)
    method.model.double().eval()
    return method


def values_of(count, num_items, seed=4):
    return toy_values(count, num_items, seed, dtype=torch.float64)


def terms_of(method, batch, noise=None, fraction=1.0, player=0):
    return method.phases[0].players[player].objective(method.model, batch, Step(0, fraction, noise or Noise(3)))


def coupling_of(method, batch, name, **step):
    """The value of a coupling: per item, or a scalar."""
    terms = terms_of(method, batch, **step)
    return {**terms.per_item, **terms.per_batch}[f"coupling/{name}"]


def scale_of(model):
    return sum(model.weights[name] * size for name, size in model.num_dimensions.items())


# --- the formulas, written out --------------------------------------------------------------------------------------


def test_info_nce_equals_its_formula():
    first, second = normal(5, 3), normal(5, 3, seed=1)
    score = [[float(a @ b / (a.norm() * b.norm())) / 0.3 for b in second] for a in first]
    there = [math.log(math.exp(score[i][i]) / sum(math.exp(score[i][j]) for j in range(5))) for i in range(5)]
    back = [math.log(math.exp(score[i][i]) / sum(math.exp(score[j][i]) for j in range(5))) for i in range(5)]
    assert_close(info_nce(first, second, 0.3).item(), -(sum(there) + sum(back)) / 10, rtol=1e-9, atol=0)


def test_info_nce_knows_its_limits():
    codes = normal(64, 32)
    assert info_nce(codes, 3 * codes, 0.01) < 1e-6, "codes that are the same are told at once, whatever their length"
    alike = torch.ones(64, 32, dtype=torch.float64)
    assert_close(info_nce(alike, alike, 0.07).item(), math.log(64))
    assert_close(info_nce(codes, normal(64, 32, seed=1), 1.0).item(), math.log(64), atol=0.1, rtol=0)
    assert info_nce(codes[:1], codes[1:2], 0.07) == 0, "one item has nobody to be taken for"


def test_a_learnt_temperature_stops_at_its_floor():
    method, first, second = method_with(["contrastive"]), normal(5, LATENT_DIM), normal(5, LATENT_DIM, seed=1)
    for temperature, counts in ((1e-4, 0.01), (0.02, 0.02)):
        with torch.no_grad():
            method.model.couplings["contrastive"].value.fill_(math.log(temperature))
        assert_close(Contrastive().between(method.model, first, second), info_nce(first, second, counts))


def test_sigmoid_contrast_equals_its_formula():
    first, second = normal(4, 3), normal(4, 3, seed=1)
    total = 0.0
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            logit = 2.5 * float(a @ b / (a.norm() * b.norm())) - 1.5
            total += math.log(1 + math.exp(-logit if i == j else logit))
    assert_close(sigmoid_contrast(first, second, 2.5, -1.5).item(), total / 4, rtol=1e-9, atol=0)


def test_a_code_near_zero_has_a_gradient_in_bounds():
    codes = torch.cat([torch.zeros(1, 3), torch.randn(3, 3)]).requires_grad_()
    cosines(codes, torch.randn(4, 3)).sum().backward()
    assert codes.grad.isfinite().all() and codes.grad.abs().max() < 1e7


def test_cross_correlation_is_that_of_numpy():
    first, second = normal(20, 3), normal(20, 2, seed=1) + normal(20, 3)[:, :2]
    expected = np.corrcoef(first.T, second.T)[:3, 3:]
    assert_close(cross_correlation(first, second), torch.from_numpy(expected), rtol=1e-6, atol=1e-8)
    assert_close(cross_correlation(first[:, :2], second).diagonal(), correlation(first[:, :2], second))


def test_canonical_correlation_survives_codes_that_dwarf_the_ridge():
    first = 1e4 * torch.randn(40, 30, generator=torch.Generator().manual_seed(0))
    first[:, 10:20] = first[:, :10]
    value = canonical_correlation(first, torch.randn(40, 30, generator=torch.Generator().manual_seed(1)))
    assert value.isfinite() and 0 < value < 30


def test_shared_information_equals_its_formula():
    first, second = normal(7, 3).softmax(dim=1), normal(7, 3, seed=1).softmax(dim=1)
    joint = sum(torch.outer(a, b) + torch.outer(b, a) for a, b in zip(first, second, strict=True)) / 14
    either = joint.sum(dim=0)
    information = sum(joint[d, e] * math.log(joint[d, e] / (either[d] * either[e])) for d in range(3) for e in range(3))
    entropy = -sum(p * math.log(p) for p in either)
    assert_close(shared_information(first, second, 9.0), information + 9.0 * 2 * entropy, rtol=1e-9, atol=0)


def test_shared_information_knows_its_limits():
    classes = torch.eye(4, dtype=torch.float64).repeat(5, 1)
    assert_close(shared_information(classes, classes, 0.0).item(), math.log(4), atol=1e-9, rtol=0)
    even = torch.full((20, 4), 0.25, dtype=torch.float64)
    assert_close(shared_information(even, even, 0.0).item(), 0.0, atol=1e-9, rtol=0)
    # A class that nobody is in, to the last digit.
    sure = (200 * torch.eye(4)[:2]).repeat(4, 1).requires_grad_()
    shared_information(sure.softmax(dim=1), sure.softmax(dim=1), 9.0).backward()
    assert sure.grad.isfinite().all()


def test_discrepancy_equals_its_formula():
    first, second = normal(4, 3), normal(4, 3, seed=1) + 1

    def kernel(a, b):
        return sum(6 * s / (6 * s + float(((a - b) ** 2).sum())) for s in SCALES)

    others = [(i, j) for i in range(4) for j in range(4) if i != j]
    within = sum(kernel(first[i], first[j]) + kernel(second[i], second[j]) for i, j in others) / 12
    between = sum(kernel(a, b) for a in first for b in second) / 16
    assert_close(maximum_mean_discrepancy(first, second).item(), within - 2 * between, rtol=1e-9, atol=1e-12)


def test_discrepancy_is_zero_in_the_mean_for_one_distribution_and_not_for_two():
    same = [maximum_mean_discrepancy(normal(50, 4, seed=s), normal(50, 4, seed=s + 100)).item() for s in range(60)]
    assert abs(np.mean(same)) < 4 * np.std(same) / 60**0.5
    assert maximum_mean_discrepancy(normal(50, 4) + 1, normal(50, 4, seed=1)) > 10 * np.std(same)
    codes = normal(3, 2)[[0, 0, 1]].requires_grad_()
    maximum_mean_discrepancy(codes, normal(3, 2, seed=1)).backward()
    assert codes.grad.isfinite().all(), "two codes are the same"


def test_predictor_tells_each_code_from_the_others_alone():
    codes, present = normal(3, 5, 4), torch.tensor([[1, 1, 1, 0, 0], [1, 1, 0, 1, 0], [1, 0, 0, 0, 0]]).bool()
    predictor = Predictor(["a", "b.c", "values"], 4).double()
    told, known = predictor(torch.where(present[..., None], codes, 0.0), present)
    for item in range(5):
        for n, tell in enumerate(predictor.tell.values()):
            others = [m for m in range(3) if m != n and present[m, item]]
            assert bool(known[n, item]) == bool(others)
            if others:
                read = list(predictor.read.values())
                hidden = sum(read[m](codes[m, item]) for m in others) / len(others)
                assert_close(told[n, item], tell(hidden))


# --- what a coupling acts on ----------------------------------------------------------------------------------------


def pair_value(method, name, first, second):
    if name == "contrastive":
        return info_nce(first, second, 0.07)
    if name == "sigmoid":
        return sigmoid_contrast(first, second, 10.0, -10.0)
    if name == "cca":
        return -canonical_correlation(first, second)
    if name == "correlation":
        return -correlation(first, second).sum()
    matrix = cross_correlation(first, second)
    return sum((1 - matrix[d, e]) ** 2 if d == e else 0.005 * matrix[d, e] ** 2 for d in range(4) for e in range(4))


@pytest.mark.parametrize("name", PAIRS)
def test_a_pair_coupling_is_the_mean_over_pairs_by_their_items(name):
    method, batch = method_with([name]), batch_with_gaps()
    codes = method.model.evidence(batch).own()
    sums, counts = 0.0, 0
    for m, n in [(0, 1), (0, 2), (1, 2)]:
        both = [i for i in range(len(batch)) if batch.present[NAMES[m]][i] and batch.present[NAMES[n]][i]]
        if len(both) >= (LATENT_DIM + 2 if name == "cca" else 2):
            sums = sums + len(both) * pair_value(method, name, codes[m, both], codes[n, both])
            counts += len(both)
    assert (counts and name != "cca") or counts == 16, "one pair of three has too few items for cca"
    value = coupling_of(method, batch, name)
    assert value.dim() == 0
    assert_close(value, sums / counts, rtol=1e-6, atol=1e-7)


def batch_with_gaps():
    """Twenty items; ten have all, six more the first two, and some have one or nothing."""
    present = torch.zeros(3, 20, dtype=torch.bool)
    present[:, :4] = True
    present[:2, 4:16] = True
    present[2, 16:18] = True
    present[0, 18] = True
    return Batch.from_dense(values_of(3, 20), dict(zip(NAMES, present, strict=True)))


def test_the_mean_over_pairs_is_theirs():
    batch = batch_with_gaps()
    present = batch.presence()
    assert [int((present[m] & present[n]).sum()) for m, n in [(0, 1), (0, 2), (1, 2)]] == [16, 4, 4]


def test_two_items_more_than_dimensions_are_the_fewest_that_count_for_cca():
    present = torch.zeros(3, 11, dtype=torch.bool)
    present[0], present[1, : LATENT_DIM + 2], present[2, LATENT_DIM + 2 :] = True, True, True
    batch = Batch.from_dense(values_of(3, 11), dict(zip(NAMES, present, strict=True)))
    assert [int((present[0] & other).sum()) for other in present[1:]] == [LATENT_DIM + 2, LATENT_DIM + 1]
    method = method_with(["cca"])
    first, second = method.model.evidence(batch).own()[:2, : LATENT_DIM + 2]
    assert_close(coupling_of(method, batch, "cca"), -canonical_correlation(first, second), rtol=1e-6, atol=1e-7)


def test_distance_is_the_mean_over_the_pairs_of_each_item():
    method, batch = method_with(["distance"]), batch_with_gaps()
    codes, present = method.model.evidence(batch).own(), batch.presence()
    expected = []
    for item in range(20):
        has = [m for m in range(3) if present[m, item]]
        pairs = [(m, n) for m in has for n in has if m < n]
        each = [((codes[m, item] - codes[n, item]) ** 2).mean() for m, n in pairs]
        expected.append(sum(each) / len(each) if each else torch.zeros((), dtype=torch.float64))
    assert_close(coupling_of(method, batch, "distance"), torch.stack(expected))


def test_prediction_is_the_mean_error_over_what_the_others_can_tell():
    method, batch = method_with(["prediction"]), batch_with_gaps()
    codes, present = method.model.evidence(batch).own(), batch.presence()
    parts = method.model.couplings["prediction"]
    read, tell = list(parts.read.values()), list(parts.tell.values())
    expected = []
    for item in range(20):
        has, errors = [m for m in range(3) if present[m, item]], []
        for n in has:
            if others := [m for m in has if m != n]:
                told = tell[n](sum(read[m](codes[m, item]) for m in others) / len(others))
                errors.append(((told - codes[n, item]) ** 2).mean())
        expected.append(sum(errors) / len(errors) if errors else torch.zeros((), dtype=torch.float64))
    assert_close(coupling_of(method, batch, "prediction"), torch.stack(expected))


def test_prediction_waits_and_may_leave_the_codes_alone():
    batch = batch_with_gaps()
    waits = method_with({Prediction(start=0.5): 0.1})
    assert coupling_of(waits, batch, "prediction", fraction=0.4).sum() == 0
    assert coupling_of(waits, batch, "prediction", fraction=0.5).sum() > 0
    free = method_with({Prediction(free=True): 0.1})
    coupling_of(free, batch, "prediction").sum().backward()
    reached = {name.split(".")[0] for name, p in free.model.named_parameters() if p.grad is not None}
    assert reached == {"couplings"}


def test_cycle_compares_a_code_with_that_of_what_was_decoded_from_it():
    method, batch = method_with(["cycle"]), batch_with_gaps()
    model = method.model
    value = coupling_of(method, batch, "cycle", noise=Noise(5))
    source, target = random_ways(batch.presence(), Noise(5), "cycle")
    for item in range(20):
        if batch.presence()[:, item].sum() < 2:
            assert value[item] == 0
            continue
        (m,), (n,) = (rows[:, item].nonzero().squeeze(1).tolist() for rows in (source, target))
        alone = batch.take(torch.tensor([item]))
        code = model.encode(alone.only(NAMES[m])).mean
        again = model.encode(Batch.from_dense({NAMES[n]: model.event(NAMES[n], code)})).mean
        assert_close(value[item], ((code - again) ** 2).mean())


def test_no_gradient_of_a_cycle_runs_through_a_decoder():
    method = method_with(["cycle"])
    coupling_of(method, batch_with_gaps(), "cycle").sum().backward()
    reached = {name.split(".")[0] for name, p in method.model.named_parameters() if p.grad is not None}
    assert reached == {"encoders", "inference"}


def test_random_ways_are_pairs_of_what_an_item_has_each_as_likely():
    has = torch.tensor([[1, 1, 1], [0, 1, 1], [0, 0, 1], [0, 0, 0]], dtype=torch.bool).T.repeat_interleave(3000, dim=1)
    source, target = random_ways(has, Noise(0), "cycle")
    assert not ((source | target) & ~has).any() and not (source & target).any()
    several = has.sum(dim=0) > 1
    assert torch.equal(source.sum(dim=0), several.long()) and torch.equal(target.sum(dim=0), several.long())
    way = (3 * source.int().argmax(dim=0) + target.int().argmax(dim=0))[:3000]
    share = torch.bincount(way, minlength=9)[[1, 2, 3, 5, 6, 7]] / 3000
    assert_close(share, torch.full((6,), 1 / 6), atol=0.03, rtol=0)


def test_mmd_is_that_of_codes_of_known_items_and_of_as_many_draws_from_the_prior():
    method, batch = method_with(["mmd"], name="fused"), batch_with_gaps()
    known = batch.presence().any(dim=0)
    assert not known.all()
    codes = method.model.encode(batch).mean[known]
    drawn = method.model.prior.sample(20, Noise(3), "mmd/prior")[known].double()
    assert_close(coupling_of(method, batch, "mmd"), maximum_mean_discrepancy(codes, drawn))


def test_critic_and_model_pull_against_each_other():
    method, batch = method_with(["adversarial"], name="fused"), batch_with_gaps()
    second = method.phases[0].players[1]
    assert second.parameters == ("couplings.adversarial.",)
    critic = method.model.couplings["adversarial"]
    known, codes = batch.presence().any(dim=0), method.model.encode(batch).mean
    drawn = method.model.prior.sample(20, Noise(3), "adversarial/prior").double()
    own = -critic(codes).sigmoid().log()[:, 0]
    assert_close(coupling_of(method, batch, "adversarial"), torch.where(known, own, 0.0))
    against = -critic(drawn).sigmoid().log()[:, 0] - (1 - critic(codes).sigmoid()).log()[:, 0]
    terms = terms_of(method, batch, player=1)
    assert_close(terms.item_loss, torch.where(known, against, 0.0))
    terms.loss.backward()
    reached = {name.rsplit(".", 2)[0] for name, p in method.model.named_parameters() if p.grad is not None}
    assert reached == {"couplings.adversarial"}
    method.model.zero_grad(set_to_none=True)
    coupling_of(method, batch, "adversarial").sum().backward()
    reached = {name.split(".")[0] for name, p in method.model.named_parameters() if p.grad is not None}
    assert reached == {"encoders", "inference"}


@pytest.mark.parametrize("name", [*PAIRS, *BY_ITEM, "mmd"])
def test_items_without_a_pair_change_nothing(name):
    method, whole = method_with([name]), Batch.from_dense(values_of(3, 16))
    extra = torch.zeros(3, 16, dtype=torch.bool)
    extra[:, :12] = True
    if name not in ("adversarial", "mmd"):  # these are about items, and not about pairs
        extra[0, 12:14] = True
    gaps = Batch.from_dense(values_of(3, 16), dict(zip(NAMES, extra, strict=True)))
    value = coupling_of(method, gaps, name)
    alone = coupling_of(method, whole.take(torch.arange(12)), name, noise=Noise(3, total=16))
    if value.dim():
        assert value[12:].abs().sum() == 0
        value = value[:12]
    assert_close(value, alone)


@pytest.mark.parametrize("name", COUPLINGS)
@pytest.mark.parametrize("shared", [0, 1])
def test_gradients_are_finite_where_pairs_have_one_item_or_none(name, shared):
    # Two modalities that at most one item has both of; the third nobody has.
    present = torch.zeros(3, 6, dtype=torch.bool)
    present[0, :3], present[1, 3 - shared :] = True, True
    method = method_with([name])
    batch = Batch.from_dense(values_of(3, 6), dict(zip(NAMES, present, strict=True)))
    for player in range(len(method.phases[0].players)):
        method.model.zero_grad(set_to_none=True)
        terms_of(method, batch, player=player).loss.backward()
        gradients = [p.grad for p in method.model.parameters() if p.grad is not None]
        assert gradients and all(gradient.isfinite().all() for gradient in gradients)
    if name in PAIRS:
        assert coupling_of(method, batch, name) == 0


@pytest.mark.parametrize("name", [*PAIRS, "distance", "prediction", "cycle"])
def test_one_modality_has_no_pairs(name):
    method = method_with([name], count=1)
    assert coupling_of(method, Batch.from_dense(values_of(1, 8)), name).abs().sum() == 0


@pytest.mark.parametrize("name", COUPLINGS)
def test_the_order_of_modalities_is_free(name):
    if name == "cycle":
        pytest.skip("which way is drawn goes by place")
    batch = Batch.from_dense(values_of(3, 20))
    modalities = toy_modalities(3)
    one = method_with([name])
    other = couple(get_method("mvtcae")({n: modalities[n] for n in NAMES[::-1]}, latent_dim=LATENT_DIM), [name])
    other.model.double().load_state_dict(one.model.state_dict())
    other.model.eval()
    assert_close(coupling_of(other, batch, name), coupling_of(one, batch, name))


# --- switching on ---------------------------------------------------------------------------------------------------


def test_a_weight_counts_in_nats_per_dimension():
    batch = batch_with_gaps()
    plain, both = method_with({}), method_with({"contrastive": 0.5, "distance": 0.25})
    a, b = terms_of(plain, batch), terms_of(both, batch)
    size = scale_of(both.model)
    assert size > 5
    assert_close(b.item_loss, a.item_loss + 0.25 * size * b.per_item["coupling/distance"])
    assert_close(b.batch_loss, 0.5 * size * b.per_batch["coupling/contrastive"])
    assert_close(b.loss, b.item_loss.mean() + b.batch_loss)
    assert_close(b.bound, a.bound)
    assert {name for name in b.per_item if not name.startswith("coupling/")} == set(a.per_item)


def test_names_alone_take_default_weights():
    expected = {coupling(): coupling.default_weight for coupling in (COUPLINGS["sigmoid"], COUPLINGS["mmd"])}
    assert check_couplings(["sigmoid", "mmd"]) == expected
    assert check_couplings({"sigmoid": None, "mmd": None}) == expected
    assert check_couplings("cca") == {Canonical(): Canonical.default_weight}
    assert check_couplings({Contrastive(temperature=1.0): 2}) == {Contrastive(temperature=1.0): 2.0}
    assert check_couplings(()) == {}


def test_the_page_of_couplings_lists_them_all_with_their_weights():
    page = (Path(__file__).resolve().parents[1] / "docs" / "couplings.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \|.*\| `([\d.]+)` \| \w+ \| [^|]+ \|$", page, re.MULTILINE)
    assert {name: float(weight) for name, weight in rows} == {n: c.default_weight for n, c in COUPLINGS.items()}


def test_unknown_couplings_and_weights_are_errors():
    with pytest.raises(ValueError, match=r"Unknown coupling 'contrastiv'\..* Did you mean 'contrastive'\?"):
        check_couplings({"contrastiv": 0.1})
    for weight in (0, -1.0, math.inf, math.nan, "much", True):
        with pytest.raises(ValueError, match=r"weight of coupling 'cca' is .* Expected a positive number"):
            check_couplings({"cca": weight})


def test_a_coupling_is_not_switched_on_twice():
    with pytest.raises(ValueError, match="already has the coupling 'contrastive'"):
        couple(method_with(["contrastive"]), {Contrastive(learnt=False): 1.0})
    both = couple(method_with(["contrastive", "adversarial"]), ["barlow"])
    assert coupled(both) == ["contrastive", "adversarial", "barlow"]
    assert len(both.phases[0].players) == 2
    inner, couplings = uncoupled(both.phases[0].players[0].objective)
    assert not isinstance(inner, Coupled) and len(couplings) == 3


def test_phases_in_which_no_codes_are_learnt_are_left_as_they_are():
    method = method_with({})
    (phase,) = method.phases
    later = [Phase(phase.players, data="codes"), replace(phase, frozen=("encoders", "inference"))]
    three = couple(replace(method, phases=[phase, *later]), ["contrastive"])
    assert [isinstance(p.players[0].objective, Coupled) for p in three.phases] == [True, False, False]
    decoders = Phase([Player(phase.players[0].objective, ("decoders.",))])
    with pytest.raises(ValueError, match="learns no codes from items"):
        couple(replace(method_with({}), phases=[*later, decoders]), ["cca"])


def test_a_player_of_some_parameters_trains_what_couplings_learn():
    method = method_with({})
    (phase,) = method.phases
    some = replace(method, phases=[Phase([Player(phase.players[0].objective, ("encoders.",))])])
    assert couple(some, ["cca"]).phases[0].players[0].parameters == ("encoders.",)
    assert couple(some, ["contrastive"]).phases[0].players[0].parameters == ("encoders.", "couplings.")


@pytest.mark.parametrize("name", list_methods())
def test_every_method_takes_couplings(name):
    modalities = toy_modalities(2)
    wanted = [coupling for coupling in COUPLINGS if coupling not in coupled(get_method(name)(modalities, latent_dim=4))]
    method = couple(get_method(name)(modalities, latent_dim=4), wanted)
    method.model.train()
    for player in method.phases[0].players:
        terms = player.objective(method.model, toy_batch(2, 16), Step(0, 1.0, Noise(0)))
        assert terms.loss.isfinite()
        terms.loss.backward()
    left = [n for n, p in method.model.couplings.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not left, "parts that nothing trains"


def test_what_couplings_learn_is_trained():
    method = couple(toy_method(), ["contrastive", "sigmoid", "prediction", "adversarial"])
    before = {name: value.clone() for name, value in method.model.couplings.state_dict().items()}
    train(method, toy_store(), lambda b: b, toy_splits(), TrainingConfig(epochs=3, batch_size=16), quiet=True)
    after = method.model.couplings.state_dict()
    assert len(before) > 10 and not [name for name in before if torch.equal(before[name], after[name])]


def test_a_batch_too_small_for_correlations_is_refused_before_training():
    method = couple(toy_method(), ["cca"])  # two dimensions
    with pytest.raises(
        ValueError, match=r"Batches have 3 items, and this method needs 4.* smaller latent_dim, or larger"
    ):
        train(method, toy_store(), lambda b: b, toy_splits(), TrainingConfig(batch_size=3, epochs=1), quiet=True)
    train(method, toy_store(), lambda b: b, toy_splits(), TrainingConfig(batch_size=4, epochs=1), quiet=True)


def test_a_resume_notices_other_couplings():
    class Odd(Objective):
        def __call__(self, model, batch, step) -> Terms: ...

    config, store = TrainingConfig(epochs=1), toy_store()
    marks = [
        fingerprint(couple(toy_method(), couplings), store, toy_splits(), config)["method"]
        for couplings in ({}, {"cca": 0.1}, {"cca": 0.2}, {"barlow": 0.1}, {"barlow": 0.1})
    ]
    assert len(set(marks)) == 4 and marks[3] == marks[4]
    odd = [replace(toy_method(), phases=[Phase([Player(Odd())])]) for _ in range(2)]
    first, second = (fingerprint(couple(m, ["cca"]), store, toy_splits(), config)["method"] for m in odd)
    assert first == second, "an objective that shows its address in memory makes every run another"


def test_contrast_brings_partners_together():
    # Of how many items is the partner's code among the nearest tenth, by the cosine?
    store, found = toy_store(400, missing=0.0), {}
    for couplings in ({}, {"contrastive": 1.0}):
        method = couple(toy_method("mmvae", latent_dim=4), couplings)
        config = TrainingConfig(epochs=30, batch_size=64, learning_rate=0.01)
        train(method, store, lambda b: b, toy_splits(400, 100), config, quiet=True)
        with torch.no_grad():
            codes = method.model.evidence(store.batch(torch.arange(100))).own()
        nearest = cosines(codes[0], codes[1]).argsort(dim=1, descending=True)[:, :10]
        found[bool(couplings)] = float((nearest == torch.arange(100)[:, None]).any(dim=1).float().mean())
    assert found[True] > found[False] + 0.2


def test_networks_of_absent_modalities_get_no_gradient_from_couplings():
    batch = Batch.from_dense(values_of(3, 12)).drop("label2")
    for name in COUPLINGS:
        method = method_with([name])
        coupling_of(method, batch, name).sum().backward()
        for key, parameter in method.model.named_parameters():
            touched = parameter.grad is not None and parameter.grad.abs().sum() > 0
            assert not (touched and ".label2." in key and key.startswith(("encoders", "decoders"))), (name, key)


def test_the_encoders_run_once_however_many_couplings_ask():
    method, calls = method_with([name for name in COUPLINGS if name != "cycle"]), []
    for encoder in method.model.encoders.values():
        encoder.register_forward_hook(lambda *_: calls.append(1))
    terms_of(method, batch_with_gaps())
    assert len(calls) == 3


def test_a_step_gathers_codes_once_for_all_pair_couplings():
    method, gathered = method_with(PAIRS), []

    def gather(rows):
        gathered.append(rows.shape)
        return rows

    batch = batch_with_gaps()
    method.phases[0].players[0].objective(method.model, batch, Step(0, 1.0, Noise(0), gather))
    assert gathered == [(20, 3, LATENT_DIM + 1)]


def test_parts_of_couplings_are_saved_with_the_model():
    one, other = method_with(["contrastive", "prediction"]), method_with(["contrastive", "prediction"])
    with torch.no_grad():
        one.model.couplings["contrastive"].value.fill_(-1.0)
    other.model.load_state_dict(one.model.state_dict())
    assert_close(other.model.couplings["contrastive"]().item(), -1.0)
    assert_close(
        coupling_of(one, batch_with_gaps(), "contrastive"), coupling_of(other, batch_with_gaps(), "contrastive")
    )


def test_half_precision_stays_out_of_contrasts():
    method = method_with(["contrastive"])
    method.model.float()
    batch = batch_with_gaps().to(dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = coupling_of(method, batch, "contrastive")
        codes = method.model.evidence(batch).own().float()
    assert value.dtype == torch.float32
    assert_close(value, mean_of_pairs(codes, batch.presence(), partial(info_nce, temperature=0.07)))


def mean_of_pairs(codes, present, value):
    pairs = [(m, n, present[m] & present[n]) for m, n in [(0, 1), (0, 2), (1, 2)]]
    return sum(both.sum() * value(codes[m, both], codes[n, both]) for m, n, both in pairs) / sum(
        both.sum() for *_, both in pairs
    )
