"""Codes matched to the prior: discrepancy, critics and both players against plain loops, and what training makes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from isthmus.batch import Batch, take
from isthmus.cli.methods import page, starred, tell
from isthmus.discrepancies import SCALES, maximum_mean_discrepancy
from isthmus.methods import get_method
from isthmus.model import pool
from isthmus.networks.critics import Critic
from isthmus.noise import Noise
from isthmus.objectives import CriticOfCodes, MatchedRoutes, Step
from isthmus.testing.conformance import toy_batch, toy_modalities
from isthmus.training import TrainingConfig, train
from shown import shows
from toy_training import toy_method, toy_splits, toy_store

WEIGHTS = {"vector0": 0.5, "ragged1": 2.0, "label2": 1.25}
NAMES = list(WEIGHTS)


# --- discrepancy -----------------------------------------------------------------------------------------------------


@shows("closed form", "mwae")
def test_the_discrepancy_equals_its_double_sum():
    first, second = torch.randn(2, 6, 3, dtype=torch.float64)

    def kernel(x, y):
        return sum(6.0 * s / (6.0 * s + float(((x - y) ** 2).sum())) for s in SCALES)

    pairs = [(i, j) for i in range(6) for j in range(6)]
    within = sum(kernel(first[i], first[j]) + kernel(second[i], second[j]) for i, j in pairs if i != j) / 30
    across = sum(kernel(first[i], second[j]) for i, j in pairs) / 36
    assert float(maximum_mean_discrepancy(first, second)) == pytest.approx(within - 2 * across, rel=1e-12)


def test_the_discrepancy_is_zero_on_average_for_one_distribution_and_above_it_for_two():
    generator = torch.Generator().manual_seed(0)
    draws = torch.randn(400, 3, 20, 2, generator=generator, dtype=torch.float64)
    same = torch.stack([maximum_mean_discrepancy(a, b) for a, b, _ in draws])
    assert abs(float(same.mean())) < 4 * float(same.std()) / 20
    other = torch.stack([maximum_mean_discrepancy(a, 0.5 * c) for a, _, c in draws])
    assert float(other.mean()) > 10 * float(other.std()) / 20


def test_the_discrepancy_of_equal_or_few_codes_has_a_gradient():
    z = torch.zeros(5, 2, requires_grad=True)
    assert torch.autograd.grad(maximum_mean_discrepancy(z, torch.randn(5, 2)), z)[0].isfinite().all()
    one = torch.ones(1, 2, requires_grad=True)
    alone = maximum_mean_discrepancy(one, torch.randn(1, 2))
    assert float(alone.detach()) == 0.0 and not torch.autograd.grad(alone, one)[0].any()


# --- critics ---------------------------------------------------------------------------------------------------------


def test_a_bounded_critic_is_never_steeper_than_one_and_measures_how_far_samples_are():
    torch.manual_seed(0)
    critic = Critic(3, lipschitz=True)
    shift = torch.tensor([2.0, -1.0, 2.0])  # 3 away, which is the Wasserstein distance of the two
    optimiser = torch.optim.Adam(critic.parameters(), lr=5e-3)
    for step in range(400):
        y = torch.randn(128, 3, generator=torch.Generator().manual_seed(step))
        z = torch.randn(128, 3, generator=torch.Generator().manual_seed(10_000 + step)) + shift
        optimiser.zero_grad()
        (critic(z) - critic(y)).mean().backward()
        optimiser.step()
    with torch.no_grad():
        y, z = torch.randn(20_000, 3), torch.randn(20_000, 3) + shift
        found = float(critic(y).mean() - critic(z).mean())
        slope = (critic(y) - critic(z)).abs() / (y - z).norm(dim=1)
    assert 2.7 < found < 3.05
    assert float(slope.max()) <= 1 + 1e-5
    steep = Critic(3)
    for layer in steep.layers:
        nn.init.constant_(layer.weight, 1.0)
    assert float((steep(torch.ones(1, 3)) - steep(torch.zeros(1, 3))).detach().abs()) > 100


def test_a_look_at_a_critic_changes_nothing():
    critic = Critic(3, lipschitz=True).train()
    before = {name: tensor.clone() for name, tensor in critic.state_dict().items()}
    first = critic(torch.ones(2, 3))
    assert torch.equal(critic(torch.ones(2, 3)), first)
    assert all(torch.equal(before[name], tensor) for name, tensor in critic.state_dict().items())


# --- the two players -------------------------------------------------------------------------------------------------


def _model(name="maae", **options):
    torch.manual_seed(0)
    made = get_method(name)(toy_modalities(3), latent_dim=4, balance=WEIGHTS, **options)
    return made.model.double().eval()


def _batch() -> Batch:
    """Items with every pattern of gaps; the first has nothing."""
    batch = toy_batch(3, 9)
    for name in batch:
        batch = batch.drop(name, at=0)
    batch = batch.drop("ragged1", at=1).drop("label2", at=1)
    return batch.to(dtype=torch.float64)


def _codes(model, batch, item):
    """By modality, the code of one item that it gives alone."""
    inference, codes = model.inference, {}
    for m, name in enumerate(NAMES):
        if batch.present[name][item]:
            row = take(batch.values[name], batch.slots(name)[item : item + 1])
            feature = inference.fusion.project[name](pool(model.encoders[name](row)))
            codes[m] = inference.head(feature)[0]
    return codes


def _sources(model, batch, item):
    """By number of the source, the code of one item: 0 is the mean of all."""
    codes = _codes(model, batch, item)
    if not codes:
        return {}
    found = {0: torch.stack(list(codes.values())).mean(dim=0)}
    return found | ({1 + m: code for m, code in codes.items()} if len(codes) > 1 else {})


def _explained(model, batch, code, item):
    total = torch.zeros((), dtype=torch.float64)
    for name in NAMES:
        if batch.present[name][item]:
            row = take(batch.values[name], batch.slots(name)[item : item + 1])
            total = total + WEIGHTS[name] * model.decode(name, code[None]).log_prob(row)[0]
    return total


def _drawn(item, source):
    return Noise(4).normal(f"prior/{source}", 9, 4, like=torch.empty(0, dtype=torch.float64))[item]


def _plain_critic(critic, code):
    """The critic, layer by layer."""
    z = code
    for number, layer in enumerate(critic.layers):
        if number and critic.lipschitz:
            halves = z[:32], z[32:]
            z = torch.cat([torch.maximum(*halves), torch.minimum(*halves)])
        elif number:
            z = torch.where(z > 0, z, 0.2 * z)
        weight = layer.weight / torch.linalg.svdvals(layer.weight)[0] if critic.lipschitz else layer.weight
        z = weight @ z + layer.bias
    return z[0]


def test_the_code_of_several_is_the_mean_of_theirs():
    model, batch = _model(), _batch()
    model.inference.mean_code.fill_(0.3)
    mean = model.encode(batch).mean
    for item in range(1, 9):
        assert_close(mean[item], _sources(model, batch, item)[0])
    assert_close(mean[0], torch.full((4,), 0.3, dtype=torch.float64))


def _same_gradients(model, value, expected, names):
    parameters = [p for name, p in model.named_parameters() if name in names and p.requires_grad]
    pairs = (torch.autograd.grad(loss, parameters, allow_unused=True, retain_graph=True) for loss in (value, expected))
    for got, other, parameter in zip(*pairs, parameters, strict=True):
        zero = torch.zeros_like(parameter)
        assert_close(zero if got is None else got, zero if other is None else other, rtol=1e-8, atol=1e-9)


@shows("second implementation", "maae", "mwae")
@pytest.mark.parametrize("match", ["critic", "wasserstein", "mmd"])
def test_the_autoencoder_equals_its_formula(match):
    model = _model("maae") if match == "critic" else _model("mwae", match=match)
    batch, weight, critic = _batch(), 1.7, model.inference.critic
    terms = MatchedRoutes(match, weight)(model, batch, Step(0, 1.0, Noise(4)))
    losses, by_source = [], {s: [] for s in range(4)}
    for item in range(9):
        sources = _sources(model, batch, item)
        loss = torch.zeros((), dtype=torch.float64)
        for s, code in sources.items():
            y = _drawn(item, s)
            by_source[s].append((code, y))
            loss = loss - _explained(model, batch, code, item) / len(sources)
            if match == "critic":
                away = -torch.sigmoid(_plain_critic(critic, code)).log()
            elif match == "wasserstein":
                away = _plain_critic(critic, y) - _plain_critic(critic, code)
            else:
                continue
            loss = loss + weight * away / len(sources)
        losses.append(loss)
    expected = torch.stack(losses)
    assert_close(terms.item_loss, expected, rtol=1e-9, atol=1e-9)
    whole = expected.mean()
    if match == "mmd":
        several = [pairs for pairs in by_source.values() if len(pairs) > 1]
        discrepancy = sum(maximum_mean_discrepancy(*map(torch.stack, zip(*p, strict=True))) for p in several)
        assert_close(terms.per_batch["discrepancy"], discrepancy / len(several))
        whole = whole + weight * discrepancy / len(several)
    assert_close(terms.loss, whole)
    own = {name for name, _ in model.named_parameters() if "critic" not in name}
    _same_gradients(model, terms.loss, whole, own)
    if critic is not None:
        found = torch.autograd.grad(terms.loss, list(critic.parameters()), allow_unused=True, retain_graph=True)
        assert found == (None,) * 6, "the critic learns from its opponent's loss"


@pytest.mark.parametrize("wasserstein", [True, False])
def test_the_critic_equals_its_formula(wasserstein):
    model = _model("mwae", match="wasserstein") if wasserstein else _model("maae")
    batch, critic = _batch(), model.inference.critic
    terms = CriticOfCodes(wasserstein)(model, batch, Step(0, 1.0, Noise(4)))
    losses = []
    for item in range(9):
        sources = _sources(model, batch, item)
        loss = torch.zeros((), dtype=torch.float64)
        for s, code in sources.items():
            of_code, of_prior = (_plain_critic(critic, z) for z in (code.detach(), _drawn(item, s)))
            if wasserstein:
                told = of_code - of_prior
            else:
                told = -(1 - torch.sigmoid(of_code)).log() - torch.sigmoid(of_prior).log()
            loss = loss + told / len(sources)
        losses.append(loss)
    expected = torch.stack(losses)
    assert_close(terms.item_loss, expected, rtol=1e-9, atol=1e-9)
    _same_gradients(model, terms.loss, expected.mean(), {name for name, _ in model.named_parameters()})
    others = [p for name, p in model.named_parameters() if "critic" not in name and p.requires_grad]
    assert not any(g is not None for g in torch.autograd.grad(terms.loss, others, allow_unused=True))


@pytest.mark.parametrize(("name", "options"), [("maae", {}), ("mwae", {"match": "wasserstein"}), ("mwae", {})])
def test_each_parameter_has_one_player(name, options):
    method = get_method(name)(toy_modalities(3), latent_dim=4, **options)
    names = [n for n, p in method.model.named_parameters() if p.requires_grad]
    for parameter in names:
        owners = [p for p in method.phases[0].players if parameter.startswith(p.parameters)]
        assert len(owners) == 1, parameter
        assert isinstance(owners[0].objective, CriticOfCodes) == ("critic" in parameter)
    assert method.capabilities.experimental


def test_an_unknown_match_is_named():
    with pytest.raises(ValueError, match=r"match='wasserstien' is unknown. Expected mmd, wasserstein. Did you mean"):
        get_method("mwae")(toy_modalities(2), latent_dim=4, match="wasserstien")


# --- training --------------------------------------------------------------------------------------------------------


def _fit(method, **settings):
    config = TrainingConfig(**{"epochs": 100, "batch_size": 64, "learning_rate": 0.01, **settings})
    return train(method, toy_store(300), lambda batch: batch, toy_splits(300, 50), config, quiet=True)


@pytest.mark.parametrize(
    ("name", "options", "most"),
    [
        ("maae", {"beta": 30.0}, 0.5),
        ("mwae", {"weight": None}, 0.25),
        ("mwae", {"weight": None, "match": "wasserstein"}, 0.8),
    ],
)
def test_codes_that_are_matched_lie_as_the_prior_does(name, options, most):
    away = []
    for changed in (options, options | {"beta" if name == "maae" else "weight": 0.0}):
        method = toy_method(name, **changed)
        codes = _fit(method).codes
        drawn = torch.randn(codes.shape, generator=torch.Generator().manual_seed(1))
        away.append(float(maximum_mean_discrepancy(codes, drawn)))
    assert away[0] < most * away[1], f"matched codes are {away[0]:.3f} away, others {away[1]:.3f}"


def test_a_critic_that_is_trained_alone_tells_codes_from_draws():
    method = toy_method("maae", beta=0.0)
    rows = _fit(method).rows
    told = [row["player 2/critic"] for row in rows if row["split"] == "train"]
    # Of one that tells nothing, 2 log 2.
    assert told[-1] < 0.7 * 2 * math.log(2)


def test_experimental_methods_say_so():
    told = tell("maae")
    assert told["experimental"] and starred(told) == "maae *"
    assert "Experimental, until it reproduces its paper." in page(told)
    plain = tell("mvtcae")
    assert not plain["experimental"] and starred(plain) == "mvtcae" and "Experimental" not in page(plain)
