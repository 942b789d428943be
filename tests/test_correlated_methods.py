"""completer, idmvae, corrnet, corrae, dccae against the formulas of their papers, written out item by item.

The items have every pattern of gaps: all three modalities, two, one, none.
"""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
import torch
from sklearn.metrics import normalized_mutual_info_score
from torch.testing import assert_close

from isthmus.batch import Batch, take
from isthmus.contrasts import info_nce
from isthmus.correlations import canonical_correlation
from isthmus.methods import couple, get_method
from isthmus.model import pool
from isthmus.noise import Noise
from isthmus.objectives import SingleRoutes, Step
from isthmus.objectives.couplings import Augmentation, Information, uncoupled
from isthmus.testing.conformance import toy_modalities
from isthmus.training import TrainingConfig, train
from shown import shows
from test_objectives import LATENT_DIM, NAMES, NUM_ITEMS, PRESENT, WEIGHTS, hold, log_p, observed
from test_objectives import _batch as batch_with_gaps
from toy_training import toy_method, toy_splits, toy_store

ZERO = torch.zeros((), dtype=torch.float64)
PAIRS = list(combinations(range(3), 2))


def method_of(name, **options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        method = get_method(name)(toy_modalities(3), latent_dim=LATENT_DIM, balance=WEIGHTS, **options)
        method.model.double().eval()
        for parameter in method.model.parameters():  # so that no term is lost in being nearly zero
            if parameter.requires_grad and parameter.dim():
                parameter.data += 0.3 * torch.randn_like(parameter)
    return method


def terms_of(method, batch, noise=None, fraction=1.0):
    (phase,) = method.phases
    (player,) = phase.players
    return player.objective(method.model, batch, Step(0, fraction, noise or Noise(3)))


def hold_whole(model, terms, item_loss, batch_loss):
    """`hold`, of a loss with a part that the batch has as a whole."""
    assert_close(terms.batch_loss, batch_loss, rtol=1e-7, atol=1e-9)
    hold(model, terms.__class__(terms.per_item, terms.item_loss), item_loss, None)
    parameters = [p for p in model.parameters() if p.requires_grad]
    gradients = (torch.autograd.grad(loss, parameters, allow_unused=True) for loss in (terms.batch_loss, batch_loss))
    for got, other in zip(*gradients, strict=True):
        assert (got is None) == (other is None)
        if got is not None:
            assert_close(got, other, rtol=1e-6, atol=1e-8)


def size_of(model):
    return sum(model.weights[name] * size for name, size in model.num_dimensions.items())


def raw(model, batch, m, item):
    """What the head of a modality says of one item."""
    row = take(batch.values[NAMES[m]], batch.slots(NAMES[m])[item : item + 1])
    return model.inference.heads[NAMES[m]](pool(model.encoders[NAMES[m]](row)))[0]


def both(m, n):
    return [item for item in range(NUM_ITEMS) if PRESENT[m, item] and PRESENT[n, item]]


def mean_over_pairs(value, least=2):
    found = [(len(both(m, n)), value(m, n)) for m, n in PAIRS if len(both(m, n)) >= least]
    return sum(count * term for count, term in found) / sum(count for count, _ in found) if found else ZERO


def own_reconstruction(model, batch, m, code, item):
    """log p(x_m | z_m), weighted, from the code of this modality alone."""
    z = torch.zeros(model.latent_dim, dtype=torch.float64)
    z[model.private(NAMES[m])] = code
    return WEIGHTS[NAMES[m]] * log_p(model, batch, m, z, item)


def shares(scores):
    """Of the whole, with a mean of one."""
    return len(scores) * scores.softmax(dim=0)


def predicted(model, codes, n, others, soft):
    predictor = model.inference.predictor
    told = predictor.tell[NAMES[n]](sum(predictor.read[NAMES[m]](codes[m]) for m in others) / len(others))
    return shares(told) if soft else told


# --- COMPLETER ------------------------------------------------------------------------------------------------------


@shows("second implementation", "completer")
def test_completer_equals_its_formula():
    method, batch = method_of("completer", alpha=3.0, reconstruction=0.5, prediction=0.2, start=0.1), batch_with_gaps()
    model, size = method.model, size_of(method.model)
    codes = {(m, i): shares(raw(model, batch, m, i)) for i in range(NUM_ITEMS) for m in observed(i)}
    losses = []
    for item in range(NUM_ITEMS):
        has, errors = observed(item), []
        explained = sum((own_reconstruction(model, batch, m, codes[m, item], item) for m in has), start=ZERO)
        for n in has:
            if others := [m for m in has if m != n]:
                told = predicted(model, {m: codes[m, item] for m in others}, n, others, soft=True)
                errors.append((((told - codes[n, item]) / len(told)) ** 2).sum())
        losses.append(size * 0.2 / 0.5 * (sum(errors) / len(errors) if errors else ZERO) - explained)

    def information(m, n):
        items = both(m, n)
        joint = sum(torch.outer(codes[m, i], codes[n, i]) + torch.outer(codes[n, i], codes[m, i]) for i in items)
        joint = joint / joint.sum()
        one, two = joint.sum(dim=1, keepdim=True), joint.sum(dim=0, keepdim=True)
        # The loss of the authors' code, with one more than alpha in the exponents.
        return -(joint * (joint.log() - 4 * one.log() - 4 * two.log())).sum()

    hold_whole(model, terms_of(method, batch), losses, size / 0.5 * mean_over_pairs(information))


def test_completer_fills_in_codes_from_what_an_item_has():
    model, batch = method_of("completer").model, batch_with_gaps()
    whole = model.encode(batch).mean
    for item in range(NUM_ITEMS):
        has = observed(item)
        if not has:
            assert whole[item].abs().sum() == 0, "the mean training code, before there is one"
            continue
        codes = {m: shares(raw(model, batch, m, item)) for m in has}
        for n, name in enumerate(NAMES):
            expected = codes[n] if n in has else predicted(model, codes, n, has, soft=True)
            assert_close(whole[item, model.private(name)], expected)
            assert_close(whole[item, model.private(name)].mean().item(), 1.0)


def test_completer_waits_with_predictions():
    method, batch = method_of("completer", start=0.2), batch_with_gaps()
    early, late = (terms_of(method, batch, fraction=f).per_item["coupling/prediction"] for f in (0.19, 0.2))
    assert early.sum() == 0 and late.sum() > 0


def test_information_makes_soft_codes_agree_on_classes():
    # Two views of one number: their codes cut it into the same classes, by whatever names, and all are in use.
    store, method = toy_store(200, missing=0.3), toy_method("completer", latent_dim=4)
    before = agreement(method.model, store)
    config = TrainingConfig(epochs=30, batch_size=64, learning_rate=0.01)
    train(method, store, lambda b: b, toy_splits(200, 20), config, quiet=True)
    after = agreement(method.model, store)
    assert after > before + 0.3
    with torch.no_grad():
        used = method.model.encode(store.batch(torch.arange(200))).mean[:, :4].mean(dim=0)
    assert used.min() > 0.1


@torch.no_grad()
def agreement(model, store):
    """How much the likeliest class of either of the first two modalities tells of the other's, 0 to 1, over the items
    that have both.
    """
    batch = store.batch(torch.arange(200))
    codes = model.evidence(batch).own()
    items = batch.presence(model.modalities)[:2].all(dim=0)
    first, second = codes[:2, items].argmax(dim=-1)
    return float(normalized_mutual_info_score(first.numpy(), second.numpy()))


def test_information_is_for_soft_codes():
    with pytest.raises(ValueError, match=r"'information' does not go with this method. It needs codes that are shares"):
        couple(method_of("dccae"), {Information(): 1.0})
    with pytest.raises(ValueError, match="expected positive weights"):
        method_of("completer", reconstruction=0.0)


# --- IDMVAE ---------------------------------------------------------------------------------------------------------


@shows("second implementation", "idmvae")
def test_idmvae_is_mmvae_plus_and_two_contrasts():
    method = method_of("idmvae", information=0.3, augmentation=0.2, temperature=0.5)
    model, batch = method.model, batch_with_gaps()
    terms = terms_of(method, batch)
    plain, couplings = uncoupled(method.phases[0].players[0].objective)
    assert_close(terms.item_loss, plain(model, batch, Step(0, 1.0, Noise(3))).item_loss)
    assert_close(np.array([w for _, w in couplings]), size_of(model) * np.array([0.3, 0.2]))
    codes = model.evidence(batch).own()
    contrast = mean_over_pairs(lambda m, n: info_nce(codes[m, both(m, n)], codes[n, both(m, n)], 0.5))
    assert_close(terms.per_batch["coupling/contrastive"], contrast)
    expected = augmented(model, batch, 0.5)
    assert_close(terms.per_batch["coupling/augmentation"], expected)
    assert_close(terms.batch_loss, size_of(model) * (0.3 * contrast + 0.2 * expected))
    parameters = [p for p in model.parameters() if p.requires_grad]
    got, other = (
        torch.autograd.grad(loss, parameters, allow_unused=True)
        for loss in (terms.per_batch["coupling/augmentation"], expected)
    )
    assert sum(g is not None for g in got) > 10
    for one, two in zip(got, other, strict=True):
        zero = torch.zeros(()).double()
        assert_close(zero if one is None else one.sum(), zero if two is None else two.sum(), rtol=1e-6, atol=1e-9)


def augmented(model, batch, temperature):
    """Generative augmentation, one item at a time."""
    inference, noise = model.inference, Noise(3)
    like = torch.empty(0, dtype=torch.float64)
    drawn = {part: noise.laplace(f"augmentation/{part}", NUM_ITEMS, 3, LATENT_DIM, like=like) for part in ("z", "w")}

    def experts(m, row):
        features = pool(model.encoders[NAMES[m]](row))
        heads = (inference.heads[NAMES[m]], inference.private_heads[NAMES[m]])
        return [(loc, torch.exp(6 * torch.tanh(s / 6))) for loc, s in (head(features)[0].chunk(2) for head in heads)]

    total, count = 0.0, 0
    for m, name in enumerate(NAMES):
        has = [item for item in range(NUM_ITEMS) if PRESENT[m, item]]
        own = {i: experts(m, take(batch.values[name], batch.slots(name)[i : i + 1])) for i in has}
        wanted_z, found_z, wanted_w, found_w = [], [], [], []
        for place, item in enumerate(has):
            other = has[(place + 1) % len(has)]
            (z_loc, z_scale), (w_loc, w_scale) = own[item][0], own[other][1]
            code = torch.zeros(model.latent_dim, dtype=torch.float64)
            code[:LATENT_DIM] = z_loc + z_scale * drawn["z"][item, m]
            code[model.private(name)] = (w_loc + w_scale * drawn["w"][other, m]).detach()
            (z_again, _), (w_again, _) = experts(m, model.decode(name, code[None]).mean)
            wanted_z.append(z_loc)
            wanted_w.append(w_loc)
            found_z.append(z_again)
            found_w.append(w_again)
        pairs = ((wanted_z, found_z), (wanted_w, found_w))
        value = sum(info_nce(torch.stack(a), torch.stack(b), temperature) for a, b in pairs) / 2
        total, count = total + len(has) * value, count + len(has)
    return total / count


def test_augmentation_is_for_codes_with_private_parts():
    for name in ("mvtcae", "dccae"):
        with pytest.raises(ValueError, match="needs codes with shared and private parts"):
            couple(method_of(name), {Augmentation(): 1.0})


# --- routes from each modality alone --------------------------------------------------------------------------------


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("targets", ["own", "others", "all"])
def test_single_routes_equal_their_formula(targets, whole):
    method, batch = method_of("corrnet"), batch_with_gaps()
    model = method.model
    terms = SingleRoutes(targets, whole)(model, batch, Step(0, 1.0, Noise(0)))
    losses = []
    for item in range(NUM_ITEMS):
        has, loss = observed(item), ZERO
        for n in has:
            sources = {"own": [[n]], "others": [[m] for m in has if m != n] or [[n]], "all": [[m] for m in has]}[
                targets
            ]
            sources = sources + [has] * whole
            codes = [sum(raw(model, batch, m, item) for m in source).sigmoid() for source in sources]
            loss = loss - WEIGHTS[NAMES[n]] * sum(log_p(model, batch, n, z, item) for z in codes) / len(codes)
        losses.append(loss)
    hold(model, terms, losses, None)


# --- CorrNet --------------------------------------------------------------------------------------------------------


@shows("second implementation", "corrnet")
def test_corrnet_adds_correlations_of_the_codes_of_each_alone():
    method, batch = method_of("corrnet", correlation=0.7), batch_with_gaps()
    model = method.model
    terms = terms_of(method, batch)
    assert_close(terms.item_loss, SingleRoutes("all", True)(model, batch, Step(0, 1.0, Noise(3))).item_loss)

    def correlated(m, n):
        first, second = (
            torch.stack([raw(model, batch, k, i).sigmoid() for i in both(m, n)]).detach().numpy() for k in (m, n)
        )
        return torch.tensor(sum(np.corrcoef(first[:, d], second[:, d])[0, 1] for d in range(LATENT_DIM)))

    expected = -0.7 * size_of(model) * mean_over_pairs(correlated)
    # The ridge shows beside variances as small as those of squashed codes.
    assert_close(terms.batch_loss.item(), expected.item(), rtol=1e-3, atol=0)


def test_a_code_of_corrnet_is_a_squashed_sum():
    model, batch = method_of("corrnet").model, batch_with_gaps()
    for item, code in enumerate(model.encode(batch).mean):
        parts = [raw(model, batch, m, item) for m in observed(item)]
        assert_close(code, sum(parts).sigmoid() if parts else torch.zeros_like(code))


# --- correspondence autoencoders ------------------------------------------------------------------------------------


@shows("second implementation", "corrae")
@pytest.mark.parametrize(("variant", "targets"), [("corr", "own"), ("cross", "others"), ("full", "all")])
def test_corrae_equals_its_formula(variant, targets):
    method, batch = method_of("corrae", variant=variant, alpha=0.3), batch_with_gaps()
    model, fusion = method.model, method.model.inference.fusion
    terms = terms_of(method, batch)

    def code(m, item):
        row = take(batch.values[NAMES[m]], batch.slots(NAMES[m])[item : item + 1])
        return model.inference.head(fusion.project[NAMES[m]](pool(model.encoders[NAMES[m]](row))))[0]

    losses = []
    for item in range(NUM_ITEMS):
        has = observed(item)
        codes, loss = {m: code(m, item) for m in has}, ZERO
        for n in has:
            sources = {"own": [n], "others": [m for m in has if m != n] or [n], "all": has}[targets]
            loss = loss - WEIGHTS[NAMES[n]] * sum(log_p(model, batch, n, codes[m], item) for m in sources) / len(
                sources
            )
        pairs = list(combinations(has, 2))
        apart = sum((((codes[m] - codes[n]) ** 2).mean() for m, n in pairs), start=ZERO) / max(len(pairs), 1)
        losses.append(loss + size_of(model) * 0.3 / 0.7 * apart)
        if has:
            assert_close(model.encode(batch).mean[item], sum(codes.values()) / len(has))
    hold(model, terms, losses, None)


def test_corrae_refuses_what_it_does_not_know():
    with pytest.raises(
        ValueError, match=r"variant='cros' is unknown. Expected corr, cross, full. Did you mean 'cross'"
    ):
        method_of("corrae", variant="cros")
    for alpha in (0.0, 1.0):
        with pytest.raises(ValueError, match="Expected 0 < alpha < 1"):
            method_of("corrae", alpha=alpha)


# --- DCCAE ----------------------------------------------------------------------------------------------------------


@shows("second implementation", "dccae")
def test_dccae_equals_its_formula():
    method = method_of("dccae", correlation=0.4, ridge=0.1)
    model, size = method.model, size_of(method.model)
    # More items than dimensions: those of the others, twenty times over, each time with other values.
    batch = batch_of_many()
    terms = terms_of(method, batch)
    present, order = batch.presence(NAMES), batch.presence(NAMES).T.tolist()
    codes = {
        (m, i): model.inference.heads[NAMES[m]](
            pool(model.encoders[NAMES[m]](take(batch.values[NAMES[m]], batch.slots(NAMES[m])[i : i + 1])))
        )[0]
        for i, has in enumerate(order)
        for m in range(3)
        if has[m]
    }
    pairs = []
    for m, n in PAIRS:
        items = [i for i, has in enumerate(order) if has[m] and has[n]]
        first, second = (torch.stack([codes[k, i] for i in items]) for k in (m, n))
        pairs.append((len(items), plain_canonical(first, second, 0.1)))
    expected = -sum(count * value for count, value in pairs) / sum(count for count, _ in pairs)
    assert_close(terms.batch_loss, 0.4 * size * expected, rtol=1e-6, atol=0)
    for item in range(12):
        has = [m for m in range(3) if present[m, item]]
        explained = ZERO
        for m in has:
            z = torch.zeros(model.latent_dim, dtype=torch.float64)
            z[model.private(NAMES[m])] = codes[m, item]
            row = take(batch.values[NAMES[m]], batch.slots(NAMES[m])[item : item + 1])
            explained = explained + WEIGHTS[NAMES[m]] * model.decode(NAMES[m], z[None]).log_prob(row)[0]
        errors = []
        for n in has:
            if others := [m for m in has if m != n]:
                told = predicted(model, {m: codes[m, item] for m in others}, n, others, soft=False)
                errors.append(((told - codes[n, item]) ** 2).mean())
        error = sum(errors) / len(errors) if errors else ZERO
        assert_close(terms.item_loss[item], 0.01 * size * error - explained)


def batch_of_many():
    from isthmus.testing.conformance import toy_values

    values = toy_values(3, 40, seed=4, dtype=torch.float64)
    return Batch.from_dense(values, dict(zip(NAMES, PRESENT.repeat(1, 5), strict=True)))


def plain_canonical(first, second, ridge):
    """With roots of covariances by their eigenvectors, as the paper has it."""

    def root(codes):
        centred = codes - codes.mean(dim=0)
        values, vectors = torch.linalg.eigh(centred.T @ centred / (len(codes) - 1) + ridge * torch.eye(codes.shape[1]))
        return vectors @ torch.diag(values**-0.5) @ vectors.T

    between = (first - first.mean(dim=0)).T @ (second - second.mean(dim=0)) / (len(first) - 1)
    return torch.linalg.svdvals(root(first) @ between @ root(second)).sum()


def test_networks_that_fill_in_codes_of_dccae_do_not_move_them():
    method, batch = method_of("dccae"), batch_with_gaps()
    terms = terms_of(method, batch)
    learnt = {name: value for name, value in method.model.named_parameters() if value.requires_grad}
    gradients = torch.autograd.grad(
        terms.per_item["coupling/prediction"].sum(), list(learnt.values()), allow_unused=True
    )
    reached = {name.split(".")[1] for name, gradient in zip(learnt, gradients, strict=True) if gradient is not None}
    assert reached == {"predictor"}
    assert method.min_batch == 2 * LATENT_DIM


def test_training_correlates_the_codes_of_dccae():
    store, found = toy_store(200, missing=0.3), []
    for weight in (1e-6, 0.1):
        method = toy_method("dccae", correlation=weight)
        config = TrainingConfig(epochs=20, batch_size=64, learning_rate=0.01)
        train(method, store, lambda b: b, toy_splits(200, 20), config, quiet=True)
        with torch.no_grad():
            batch = store.batch(torch.arange(200))
            codes = method.model.evidence(batch).own()
            items = batch.presence(method.model.modalities)[:2].all(dim=0)
            found.append(float(canonical_correlation(codes[0, items], codes[1, items])))
    assert found[1] > found[0] + 0.05
    assert 0 < found[1] <= 2 and math.isfinite(found[1])
