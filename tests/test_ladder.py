"""Ladders of codes: densities against integrals, products against their definition, the objective written out."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch.distributions import Normal, kl_divergence
from torch.testing import assert_close

from isthmus.batch import Batch, take
from isthmus.fusions import Experts, ProductOfExperts
from isthmus.methods import get_method
from isthmus.model import pool
from isthmus.noise import Noise
from isthmus.objectives import LadderELBO, Step, random_parts
from isthmus.posteriors import Ladder
from isthmus.priors import LadderPrior
from isthmus.testing.conformance import toy_batch, toy_modalities
from shown import shows

WEIGHTS = {"vector0": 0.5, "ragged1": 2.0, "label2": 1.25}
NAMES = list(WEIGHTS)


def _shaken(module: torch.nn.Module, by: float = 0.2) -> torch.nn.Module:
    """The module in double precision, with weights that make every part of it matter."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        for parameter in module.double().parameters():
            parameter.data += by * torch.randn_like(parameter)
    return module


# --- densities -------------------------------------------------------------------------------------------------------


def _prior() -> LadderPrior:
    torch.manual_seed(0)
    return _shaken(LadderPrior([1, 1]), 0.1)


def _grid(half, steps):
    line = torch.linspace(-half, half, steps, dtype=torch.float64)
    return torch.cartesian_prod(line, line), float(line[1] - line[0]) ** 2


def test_a_ladders_density_sums_to_one_and_its_draws_follow_it():
    prior = _prior()
    points, area = _grid(14.0, 701)
    with torch.no_grad():
        density = prior.log_prob(points).exp() * area
        drawn = prior.sample(40_000, Noise(0))
    assert float(density.sum()) == pytest.approx(1, abs=1e-3)
    mean = (density[:, None] * points).sum(dim=0)
    std = ((density[:, None] * (points - mean) ** 2).sum(dim=0)).sqrt()
    assert_close(drawn.mean(dim=0), mean, atol=0.05, rtol=0)
    assert_close(drawn.std(dim=0), std, atol=0, rtol=0.03)
    # The lower level depends on the upper, or the test would not see a ladder that is none.
    above = torch.tensor([[-2.0], [2.0]], dtype=torch.float64)
    assert float(prior.conditional(1, above)[0].detach().diff(dim=0).abs()) > 0.1


def test_a_ladder_is_the_standard_normal_at_first():
    prior = LadderPrior([2, 1, 1])
    z = torch.randn(5, 4)
    assert_close(prior.log_prob(z), Normal(0.0, 1.0).log_prob(z).sum(dim=1))
    assert_close(prior.sample(7, Noise(1)), Noise(1).normal("prior", 7, 4, like=z))
    assert prior.sample(3, Noise(0)).dtype == torch.float32
    assert LadderPrior([2]).double().sample(3, Noise(0)).dtype == torch.float64
    with pytest.raises(ValueError, match="No closed form for the divergence from a ladder"):
        prior.kl_from("normal", z, z)


def _ladder(sizes=(1, 1), num_items=2) -> Ladder:
    """A ladder whose lower levels bend with those above."""
    shift = torch.arange(1.0, num_items + 1, dtype=torch.float64)[:, None]

    def conditional(level, above):
        loc = (torch.sin(above).sum(dim=-1, keepdim=True) + 0.3 * shift).expand(*above.shape[:-1], sizes[level])
        return loc, -0.5 + 0.2 * torch.tanh(above.sum(dim=-1, keepdim=True)).expand_as(loc)

    return Ladder(conditional, sizes, torch.zeros(num_items, 0, dtype=torch.float64))


def test_draws_mean_and_density_go_down_level_by_level():
    ladder, drawn = _ladder((2, 1, 1)), Noise(5).normal("z", 2, 3, 4, like=torch.empty(0, dtype=torch.float64))
    draws = ladder.rsample(3, Noise(5))
    assert draws.z.shape == (3, 1, 2, 4) and draws.weight.tolist() == [[1.0, 1.0]] and not draws.component.any()
    for item in range(2):
        for k in range(3):
            z, nats = torch.zeros(0, dtype=torch.float64), 0.0
            for size in (2, 1, 1):
                loc = torch.sin(z).sum() + 0.3 * (item + 1)
                scale = torch.exp(-0.5 + 0.2 * torch.tanh(z.sum()))
                part = loc + scale * drawn[item, k, len(z) : len(z) + size]
                nats += float(Normal(loc, scale).log_prob(part).sum())
                z = torch.cat([z, part])
            assert_close(draws.z[k, 0, item], z)
            assert float(ladder.log_prob(draws.z)[k, 0, item]) == pytest.approx(nats)
        z, spread = torch.zeros(0, dtype=torch.float64), []
        for size in (2, 1, 1):
            loc = torch.sin(z).sum() + 0.3 * (item + 1)
            spread += [math.exp(-0.5 + 0.2 * math.tanh(z.sum()))] * size
            z = torch.cat([z, loc.expand(size)])
        assert_close(ladder.mean[item], z)
        assert_close(ladder.spread[item], torch.tensor(spread, dtype=torch.float64))


def test_drawn_divergences_have_the_mean_of_the_integral():
    ladder, prior = _ladder(), _prior()
    points, area = _grid(6.0, 401)
    both = points[:, None].expand(-1, 2, -1)
    with torch.no_grad():
        nats = ladder.log_prob(both)
        exact = (nats.exp() * (nats - prior.log_prob(both)) * area).sum(dim=0)
        drawn = ladder.divergence(prior, ladder.rsample(40_000, Noise(0)).z)[:, 0]
    assert_close(drawn.mean(dim=0), exact, atol=0.02, rtol=0)
    assert bool((drawn >= 0).all())
    same = Ladder(prior.conditional, (1, 1), ladder.start)
    assert_close(same.divergence(prior, drawn.new_ones(2, 2)), torch.zeros(2, dtype=torch.float64))
    for closed in (ladder.kl, ladder.component_kl):
        with pytest.raises(TypeError, match=r"The divergence of a ladder has no closed form. Draw codes"):
            closed(prior)


# --- inference -------------------------------------------------------------------------------------------------------


def _model(num_levels=2, latent_dim=5, count=3, **options):
    torch.manual_seed(0)
    balance = WEIGHTS if count == 3 else "nats"
    made = get_method("mhvae")(
        toy_modalities(count), latent_dim=latent_dim, num_levels=num_levels, balance=balance, **options
    )
    return _shaken(made.model).eval()


def _batch(count=3) -> Batch:
    batch = toy_batch(count, 9)
    one = next(item for item in range(1, 9) if batch.present["vector0"][item])
    for place, name in enumerate(batch):
        batch = batch.drop(name, at=[0, one] if place else 0)
    return batch.to(dtype=torch.float64)


def _hidden(model, batch, name, item):
    row = take(batch.values[name], batch.slots(name)[item : item + 1])
    return model.inference.project[name](pool(model.encoders[name](row)))[0].chunk(len(model.inference.experts))


def _normal(raw):
    loc, raw = raw.chunk(2)
    return Normal(loc, torch.exp(6 * torch.tanh(raw / 6)))


def _given(prior, level, above):
    if not level:
        zero = torch.zeros(prior.sizes[0], dtype=torch.float64)
        return Normal(zero, zero + 1)
    return _normal(prior.networks[level - 1](above))


def _level(model, batch, names, item, level, above):
    """The product of the prior of one level and of an expert for each of the names."""
    inference, experts = model.inference, [_given(model.prior, level, above)]
    for name in names:
        hidden = _hidden(model, batch, name, item)[level]
        if level:
            hidden = hidden + inference.above[level - 1](above)
        experts.append(_normal(inference.experts[level](hidden[None])[0]))
    precision = sum(q.scale**-2 for q in experts)
    return Normal(sum(q.loc * q.scale**-2 for q in experts) / precision, precision**-0.5)


def test_each_level_is_the_product_of_the_prior_and_what_is_there():
    model, batch = _model(3), _batch()
    posterior = model.encode(batch)
    drawn = posterior.rsample(2, Noise(0)).z[:, 0]
    ends = [0, 2, 4, 5]
    for level in range(3):
        loc, log_scale = posterior.conditional(level, drawn[..., : ends[level]])
        for item in range(9):
            names = [name for name in NAMES if batch.present[name][item]]
            for k in range(2):
                q = _level(model, batch, names, item, level, drawn[k, item, : ends[level]])
                assert_close(loc[k, item], q.loc)
                assert_close(log_scale[k, item].exp(), q.scale)
    # Nothing observed: the prior itself, at any code.
    z = torch.randn(9, 5, dtype=torch.float64)
    assert_close(posterior.log_prob(z)[0], model.prior.log_prob(z[0]))


@shows("identity", "mhvae")
def test_one_level_is_a_product_of_experts_with_the_prior():
    # The identity: without levels below, MHVAE infers as MVAE does.
    model, batch = _model(1), _batch()
    evidence, posterior = model.evidence(batch), model.encode(batch)
    raw = model.inference.experts[0](evidence.hidden[0])
    loc, raw = raw.chunk(2, dim=-1)
    experts = Experts(loc, 6 * torch.tanh(raw / 6), evidence.present)
    product = ProductOfExperts(with_prior=True)(experts)
    assert_close(posterior.mean, product.mean)
    assert_close(posterior.spread, product.spread)
    z = posterior.rsample(1, Noise(0)).z
    assert_close(z, product.rsample(1, Noise(0)).z)
    zero = torch.zeros_like(product.loc[0])
    exact = kl_divergence(Normal(product.loc[0], product.log_scale[0].exp()), Normal(zero, zero + 1)).sum(dim=-1)
    assert_close(posterior.divergence(model.prior, z)[0, 0], exact)


def test_two_proposals_weigh_to_the_same_evidence():
    # Importance weights with the ladder's own density, and with the prior's, estimate the same number.
    torch.manual_seed(0)
    model, batch = get_method("mhvae")(toy_modalities(3), latent_dim=2, num_levels=2).model.double().eval(), _batch()
    _shaken(model.prior, 0.1)
    _shaken(model.inference, 0.05)
    posterior, num_draws = model.encode(batch), 20_000

    def wider(level, above):
        loc, log_scale = posterior.conditional(level, above)
        return loc, log_scale + 0.5

    broad = replace(posterior, conditional=wider)
    with torch.no_grad():
        from_prior = model.prior.sample(num_draws * 9, Noise(1)).view(num_draws, 1, 9, 2)
        found = []
        for z, density in ((broad.rsample(num_draws, Noise(0)).z, broad), (from_prior, model.prior)):
            joint = model.prior.log_prob(z) - density.log_prob(z)
            for name in batch:
                joint = joint + model.log_likelihood(name, z, torch.ones(1, 9, dtype=torch.bool), batch)
            found.append(joint.logsumexp(dim=0)[0] - math.log(num_draws))
    assert_close(*found, atol=0.1, rtol=0)


def test_detached_beliefs_are_the_same_without_gradient():
    posterior = _model().encode(_batch())
    still = posterior.detach()
    z = torch.randn(9, 5, dtype=torch.float64)
    assert posterior.mean.requires_grad and not still.mean.requires_grad and not still.log_prob(z).requires_grad
    assert_close(still.log_prob(z), posterior.log_prob(z))
    assert_close(still.spread, posterior.spread)


def test_the_priors_weights_are_saved_once():
    state = _model().state_dict()
    assert len({tensor.data_ptr() for tensor in state.values() if tensor.numel()}) == sum(
        tensor.numel() > 0 for tensor in state.values()
    )
    assert [name for name in state if "networks" in name] == [name for name in state if name.startswith("prior.")]


def test_levels_that_cannot_be_are_named():
    with pytest.raises(ValueError, match="num_levels=5 is not between 1 and 4, the dimensions of the code"):
        get_method("mhvae")(toy_modalities(2), latent_dim=4, num_levels=5)
    assert [get_method("mhvae")(toy_modalities(1), latent_dim=8).model.prior.sizes] == [(3, 3, 2)]


# --- the objective ---------------------------------------------------------------------------------------------------


def _expected(model, batch, parts_of, beta, seed):
    """Losses and bounds item by item; `parts_of(item)` gives numbers of sources and the modalities of each."""
    names, prior = list(model.modalities), model.prior
    like = torch.empty(0, dtype=torch.float64)
    losses, bounds = [], []
    for item in range(9):
        elbos, plain = [], torch.zeros((), dtype=torch.float64)
        for s, among in parts_of(item):
            drawn = Noise(seed).normal(f"z/{s}", 9, 1, sum(prior.sizes), like=like)[item, 0]
            z, divergence = drawn[:0], torch.zeros((), dtype=torch.float64)
            for level, size in enumerate(prior.sizes):
                q = _level(model, batch, among, item, level, z)
                divergence = divergence + kl_divergence(q, _given(prior, level, z)).sum()
                z = torch.cat([z, q.loc + q.scale * drawn[len(z) : len(z) + size]])
            explained = {}
            for name in names:
                if batch.present[name][item]:
                    row = take(batch.values[name], batch.slots(name)[item : item + 1])
                    explained[name] = model.decode(name, z[None]).log_prob(row)[0]
            elbos.append(sum(model.weights[n] * score for n, score in explained.items()) - beta * divergence)
            if s == 0:
                plain = sum(explained.values()) - divergence
        losses.append(-sum(elbos) / len(elbos) if elbos else torch.zeros((), dtype=torch.float64))
        bounds.append(plain)
    return torch.stack(losses), torch.stack(bounds)


def _hold(model, terms, losses, bounds):
    assert_close(terms.item_loss, losses, rtol=1e-9, atol=1e-9)
    assert_close(terms.bound, bounds, rtol=1e-9, atol=1e-9)
    parameters = [p for p in model.parameters() if p.requires_grad]
    pairs = (torch.autograd.grad(loss.mean(), parameters, allow_unused=True) for loss in (terms.item_loss, losses))
    for got, other, parameter in zip(*pairs, parameters, strict=True):
        zero = torch.zeros_like(parameter)
        assert_close(zero if got is None else got, zero if other is None else other, rtol=1e-8, atol=1e-9)


@shows("second implementation", "mhvae")
def test_the_objective_is_the_mean_over_all_parts_of_what_an_item_has():
    model, batch = _model(), _batch()
    terms = LadderELBO(beta=1.3, warmup=0.5)(model, batch, Step(0, 0.25, Noise(8)))
    # Sources after the first: singles, then pairs of the three, in the order of their binary codes.
    members = [["vector0"], ["ragged1"], ["label2"], NAMES[:2], [NAMES[0], NAMES[2]], NAMES[1:]]

    def parts_of(item):
        has = [name for name in NAMES if batch.present[name][item]]
        if has:
            yield 0, has
        for s, names in enumerate(members, start=1):
            if set(names) < set(has):
                yield s, names

    assert {len(list(parts_of(item))) for item in range(9)} == {0, 1, 3, 7}
    _hold(model, terms, *_expected(model, batch, parts_of, 1.3 * 0.5, seed=8))


def test_above_three_modalities_parts_are_drawn():
    model, batch = _model(count=5), _batch(5)
    terms = LadderELBO(random_parts=2)(model, batch, Step(0, 1.0, Noise(8)))
    names = list(model.modalities)
    present = batch.presence(names)
    drawn = [random_parts(present, Noise(8), f"part/{s}") for s in range(2)]

    def parts_of(item):
        has = [names[m] for m in range(5) if present[m, item]]
        if has:
            yield 0, has
        if len(has) > 1:
            for s, part in enumerate(drawn, start=1):
                yield s, [names[m] for m in range(5) if part[m, item]]

    assert {len(list(parts_of(item))) for item in range(9)} == {0, 1, 3}
    _hold(model, terms, *_expected(model, batch, parts_of, 1.0, seed=8))


def test_decodes_grow_linearly_with_the_number_of_modalities():
    for count in (4, 8, 12):
        present = torch.ones(count, 6, dtype=torch.bool)
        assert len(LadderELBO().subsets(present, Noise(0))) == 1 + 3
    assert [len(LadderELBO().subsets(torch.ones(n, 6, dtype=torch.bool), Noise(0))) for n in (1, 2, 3)] == [1, 3, 7]
