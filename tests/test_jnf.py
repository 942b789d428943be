"""JNF: what flows learn, item by item; products of flows against closed forms and integrals; what stays frozen."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch.distributions import Normal
from torch.testing import assert_close

from isthmus import posteriors_flows
from isthmus.batch import take
from isthmus.correlations import canonical_correlation
from isthmus.fusions import Attention
from isthmus.inference import FlowInference
from isthmus.methods.base import build_method
from isthmus.model import MultimodalAutoencoder, pool
from isthmus.networks.flows import CouplingFlow
from isthmus.noise import Noise
from isthmus.objectives import FlowLikelihood, JointELBO, PairedCorrelation, Step
from isthmus.posteriors_flows import FlowExpert, ProductOfFlows, fixed_points
from isthmus.priors import StandardNormal
from isthmus.testing.conformance import toy_batch, toy_modalities
from isthmus.training import TrainingConfig, train
from shown import shows
from test_objectives import (
    LATENT_DIM,
    NAMES,
    NUM_ITEMS,
    PRESENT,
    WEIGHTS,
    _batch,
    explained,
    hold,
    normal_noise,
    observed,
    prior,
    product,
)
from toy_training import FEATURES, toy_method, toy_splits, toy_store


def _model(embedding_dim=None, stir=0.3) -> MultimodalAutoencoder:
    modalities = {name: modality.twin() for name, modality in toy_modalities(3).items()}
    inference = partial(FlowInference, joint=Attention, embedding_dim=embedding_dim)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MultimodalAutoencoder(modalities, latent_dim=LATENT_DIM, fusion=inference, balance=WEIGHTS).double()
        for parameter in model.parameters():
            if parameter.requires_grad and parameter.dim():
                parameter.data += stir * torch.randn_like(parameter)
    return model.eval()


def _row(batch, m, item):
    return take(batch.values[NAMES[m]], batch.slots(NAMES[m])[item : item + 1])


def joint(model, batch, item) -> Normal:
    """q(z | x_A) by the joint network, from encoders of its own."""
    if not observed(item):
        return product([])
    rows = {NAMES[m]: pool(model.encoders[NAMES[m]].joint(_row(batch, m, item))) for m in observed(item)}
    loc, raw = model.inference.joint_head(model.inference.joint(rows, PRESENT[:, item : item + 1]))[0].chunk(2)
    return Normal(loc, torch.exp(6 * torch.tanh(raw / 6)))


def context(model, batch, m, item) -> torch.Tensor:
    return model.inference.embed[NAMES[m]](pool(model.encoders[NAMES[m]].own(_row(batch, m, item))))


def log_q(model, batch, m, z, item) -> torch.Tensor:
    """log q(z | x_m) of one item: the standard Normal of its noise, and the determinant of the whole way there."""
    heeded = context(model, batch, m, item)
    loc, raw = model.inference.heads[NAMES[m]](heeded)[0].chunk(2)
    scale = torch.exp(-6 * torch.tanh(torch.log1p(raw.exp()) / 6))

    def noise(z):
        return model.inference.flows[NAMES[m]](((z - loc) / scale)[None], heeded)[0][0]

    jacobian = torch.autograd.functional.jacobian(noise, z, create_graph=True)
    return Normal(0.0, 1.0).log_prob(noise(z)).sum() + torch.linalg.slogdet(jacobian).logabsdet


# --- what is trained ------------------------------------------------------------------------------------------------


@shows("second implementation", "jnf", "jnf-dcca")
@pytest.mark.parametrize("embedding_dim", [None, 3])
def test_flows_are_trained_on_what_the_joint_network_draws(embedding_dim):
    model, batch = _model(embedding_dim), _batch()
    terms = FlowLikelihood()(model, batch, Step(0, 1.0, Noise(9)))
    drawn, losses = normal_noise(9, "z", 1, 1, LATENT_DIM), []
    for item in range(NUM_ITEMS):
        q = joint(model, batch, item)
        z = (q.loc + q.scale * drawn[item, 0, 0]).detach()
        zero = torch.zeros((), dtype=torch.float64)
        losses.append(-sum((log_q(model, batch, m, z, item) for m in observed(item)), start=zero))
    hold(model, terms, losses, None)
    for m, name in enumerate(NAMES):
        assert terms.per_item[f"flow/{name}"][~PRESENT[m]].abs().sum() == 0


def test_the_first_stage_is_the_bound_of_the_joint_network():
    model, batch = _model(), _batch()
    terms = JointELBO(alpha=0.0, beta=1.7)(model, batch, Step(0, 1.0, Noise(9)))
    drawn, losses, bounds = normal_noise(9, "z", 1, 1, LATENT_DIM), [], []
    for item in range(NUM_ITEMS):
        q = joint(model, batch, item)
        z = q.loc + q.scale * drawn[item, 0, 0]
        kl = torch.distributions.kl_divergence(q, prior(model)).sum()
        losses.append(1.7 * kl - explained(model, batch, observed(item), z, item))
        bounds.append(explained(model, batch, observed(item), z, item, weighted=False) - kl)
    hold(model, terms, losses, bounds)


@shows("second implementation", "jnf-dcca")
def test_correlations_are_those_of_pairs_over_the_items_that_have_both():
    model, batch = _model(embedding_dim=2), toy_batch(3, 40).to(dtype=torch.float64)
    terms = PairedCorrelation()(model, batch, Step(0, 1.0, Noise(0)))
    evidence, found = model.evidence(batch), []
    for m, n in ((0, 1), (0, 2), (1, 2)):
        pairs = [item for item in range(40) if batch.present[NAMES[m]][item] and batch.present[NAMES[n]][item]]
        one, two = (
            torch.stack([evidence.experts[k].context[batch.slots(NAMES[k])[item]] for item in pairs]) for k in (m, n)
        )
        assert 2 < len(pairs) < 40
        found.append(canonical_correlation(one, two))
    assert_close(terms.per_batch["correlation"], sum(found) / 3)
    assert_close(terms.loss, -sum(found) / 3)
    assert not terms.item_loss.any()


def test_without_pairs_there_is_nothing_to_correlate():
    model, batch = _model(embedding_dim=2), toy_batch(3, 1).to(dtype=torch.float64)
    terms = PairedCorrelation()(model, batch, Step(0, 1.0, Noise(0)))
    assert terms.loss == 0 and not terms.loss.requires_grad


# --- posteriors -----------------------------------------------------------------------------------------------------


def _expert(loc, log_scale, stir=0.0, seed=0) -> FlowExpert:
    num_items, dim = loc.shape
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        flow = CouplingFlow(dim, 2, hidden=8).double()
        for parameter in flow.parameters():
            parameter.data += stir * torch.randn_like(parameter)
    return FlowExpert(flow, loc, log_scale, torch.randn(num_items, 2, generator=_seeded(seed)).double())


def _seeded(seed):
    return torch.Generator().manual_seed(seed)


def _products(use, stir=0.0, dim=2, spread=0.5) -> ProductOfFlows:
    """Beliefs of items who have all three of whose modalities some are used."""
    num_items = use.shape[1]
    loc, log_scale = torch.randn(2, 3, num_items, dim, generator=_seeded(3)).double()
    experts = [_expert(loc[m], -1.0 + spread * log_scale[m], stir, seed=m) for m in range(3)]
    whole = torch.full((num_items, dim), 7.0).double()
    loc = torch.where(use.all(dim=0)[:, None], whole, 0.0)
    return ProductOfFlows(experts, torch.ones_like(use), use, loc, loc / 10)


USES = torch.tensor([[1, 1, 1, 0, 0, 0], [1, 0, 1, 1, 0, 0], [1, 0, 0, 1, 1, 0]], dtype=torch.bool)


def test_without_flows_beliefs_are_products_of_normals_divided_by_the_prior():
    # Flows that change nothing leave Normals; the prior is in each expert, and counts once.
    beliefs = _products(USES)
    draws = beliefs.rsample(3000, Noise(1)).z[:, 0]
    for item in range(6):
        among = [beliefs.experts[m] for m in range(3) if USES[m, item]]
        precision = sum(torch.exp(-2 * q.log_scale[item]) for q in among) - (len(among) - 1)
        loc, scale = torch.zeros(2).double(), torch.ones(2).double()
        if among:
            loc = sum(q.loc[item] * torch.exp(-2 * q.log_scale[item]) for q in among) / precision
            scale = precision**-0.5
        if len(among) == 3:
            loc, scale = torch.full((2,), 7.0).double(), torch.full((2,), 0.7).exp().double()
        exact = len(among) != 2
        # Chains in opposite pairs meet the mean of a Normal to rounding; its spread they draw.
        assert_close(beliefs.mean[item], loc, rtol=1e-6, atol=1e-6)
        assert_close(beliefs.spread[item], scale, rtol=1e-6 if exact else 0.15, atol=1e-9)
        assert_close(
            draws[:, item].mean(dim=0), loc + torch.zeros(2).double(), rtol=0, atol=4 * float(scale.max()) / 3000**0.5
        )
        assert_close(draws[:, item].std(dim=0), scale, rtol=0.06, atol=0)


@shows("closed form", "jnf", "jnf-dcca")
@pytest.mark.parametrize("item", [1, 2])
def test_beliefs_of_flows_are_those_of_their_densities_on_a_grid(item):
    # One flow (item 1) and a product of two (item 2), neither of them Normal.
    beliefs = _products(USES, stir=0.6, spread=0.2)
    grid = torch.linspace(-4, 4, 801).double()
    points = torch.cartesian_prod(grid, grid)
    among = [beliefs.experts[m].map(lambda v: v[item : item + 1]) for m in range(3) if USES[m, item]]
    with torch.no_grad():
        height = sum(q.log_prob(points[:, None])[:, 0] for q in among)
        height = height + (len(among) - 1) * 0.5 * (points**2).sum(dim=1)
        weight = height.softmax(0)
        mean = (weight[:, None] * points).sum(dim=0)
        spread = (weight[:, None] * (points - mean) ** 2).sum(dim=0).sqrt()
        density = height.log_softmax(0) - 2 * (grid[1] - grid[0]).log()
        away = (weight * (density - Normal(mean, spread).log_prob(points).sum(dim=1))).sum()
        draws = beliefs.rsample(4000, Noise(1)).z[:, 0, item]
    assert away > 0.02, f"the test shows little but a Normal: {away} nats"
    assert_close(draws.mean(dim=0), mean, rtol=0, atol=0.06 * float(spread.max()))
    assert_close(draws.std(dim=0), spread, rtol=0.08, atol=0)
    assert_close(beliefs.mean[item], mean, rtol=0, atol=0.15 * float(spread.max()))
    assert_close(beliefs.spread[item], spread, rtol=0.2, atol=0)


def test_means_are_the_same_each_time_and_draws_follow_their_noise():
    one, two = _products(USES, stir=0.3), _products(USES, stir=0.3)
    torch.manual_seed(5)
    assert torch.equal(one.mean, two.mean)
    whole = one.rsample(3, Noise(4)).z
    assert torch.equal(whole, two.rsample(3, Noise(4)).z)
    assert not torch.isclose(whole, two.rsample(3, Noise(5)).z).any()
    part = _products(USES, stir=0.3)
    rows = torch.tensor([2, 3])
    part = ProductOfFlows(
        [q.map(lambda v: v[rows]) for q in part.experts],
        part.present[:, rows],
        USES[:, rows],
        part.loc[rows],
        part.log_scale[rows],
    )
    assert_close(part.mean, one.mean[rows])
    assert_close(part.rsample(3, Noise(4, offset=2, total=6)).z, whole[:, :, rows])


def test_every_item_has_chains_of_its_own():
    alike = _products(USES[:, 2:3].expand(3, 40), stir=0.3)
    alike = replace(alike, experts=[q.map(lambda v: v[:1].expand(40, -1)) for q in alike.experts])
    drawn = alike.rsample(1, Noise(0)).z[0, 0]
    assert len(drawn.unique(dim=0)) == 40
    assert_close(alike.mean, alike.mean[:1].expand(40, -1))


def test_items_lack_rows_where_they_lack_modalities():
    # Experts hold rows of the items that have them alone; any part of these is found again.
    model, batch = _model(stir=0.1), _batch()
    evidence = model.evidence(batch)
    for among in ([True, True, False], [False, True, True], [True, True, True]):
        posterior = evidence.posterior(torch.tensor(among)[:, None].expand(3, NUM_ITEMS))
        for item in range(NUM_ITEMS):
            has = [m for m in observed(item) if among[m]]
            alone = model.encode(batch.take(torch.tensor([item])).only(*(NAMES[m] for m in has))) if has else None
            expected = torch.zeros(LATENT_DIM).double() if alone is None else alone.mean[0]
            assert_close(posterior.mean[item], expected, rtol=1e-6, atol=1e-6)
            if len(has) == 3:
                assert_close(posterior.mean[item], joint(model, batch, item).loc)


def test_experts_wider_than_the_prior_leave_codes_finite():
    use = torch.ones(12, 1, dtype=torch.bool)
    use[0] = False
    wide = [_expert(torch.full((1, 2), 0.5).double(), torch.full((1, 2), 0.3).double(), seed=m) for m in range(12)]
    zero = torch.zeros(1, 2).double()
    beliefs = ProductOfFlows(wide, torch.ones_like(use), use, zero, zero)
    assert torch.isfinite(beliefs.mean).all() and (beliefs.mean.abs() < 20).all()
    assert (beliefs.rsample(100, Noise(0)).z.abs() < 40).all()


def test_what_is_not_known_of_a_product_is_not_said():
    beliefs = _products(USES)
    with pytest.raises(TypeError, match=r"has no density that can be computed\. Choose a method whose"):
        beliefs.log_prob(torch.zeros(6, 2))
    for asked in (beliefs.kl, beliefs.component_kl):
        with pytest.raises(TypeError, match="divergence of a product of flows from a prior is not known"):
            asked(StandardNormal(2))


def test_gradients_reach_flows_that_are_alone_and_stop_where_they_are_asked_to():
    beliefs = _products(USES, stir=0.3)
    for expert in beliefs.experts:
        expert.loc.requires_grad_()
    drawn = beliefs.rsample(2, Noise(0)).z
    slopes = torch.autograd.grad(drawn.sum(), [beliefs.experts[m].loc for m in (0, 2)])
    assert slopes[0][1].all() and slopes[1][4].all(), "items 1 and 4 use one modality"
    assert not any(slope[2:4].any() for slope in slopes), "a product has no gradient"
    assert not any(q.loc.requires_grad for q in beliefs.detach().experts)


def test_codes_are_made_in_inference_mode_and_gradients_are_taken_afterwards():
    for function in (posteriors_flows.fixed_points, posteriors_flows.fixed_chains):
        function.cache_clear()
    method = build_method("jnf", toy_modalities(3), latent_dim=LATENT_DIM)
    model, batch = method.model.eval(), toy_batch(3)
    with torch.inference_mode():
        inside, drawn = model.encode(batch).mean, model.encode(batch).rsample(2, Noise(0)).z
    assert_close(inside.clone(), model.encode(batch).mean.detach())
    assert_close(drawn.clone(), model.encode(batch).rsample(2, Noise(0)).z.detach())
    model.encode(batch.only("vector0")).mean.sum().backward()


def test_fixed_points_have_the_moments_of_the_prior():
    points = fixed_points(32, 5)
    assert_close(points.mean(dim=0), torch.zeros(5), atol=1e-6, rtol=0)
    assert_close(points.std(dim=0, correction=0), torch.ones(5))
    assert len(points.unique(dim=0)) == 32


# --- stages ---------------------------------------------------------------------------------------------------------


def _trained(name: str, stage: int) -> tuple[set[str], set[str]]:
    """Weights that a stage of training moves, and all there are."""
    method = toy_method(name)
    before = {key: value.clone() for key, value in method.model.state_dict().items()}
    alone = replace(method, phases=method.phases[stage : stage + 1])
    train(alone, toy_store(), lambda b: b, toy_splits(), TrainingConfig(epochs=3, batch_size=16), quiet=True)
    after = method.model.state_dict()
    return {key for key in before if not torch.equal(before[key], after[key])}, set(before)


def test_flows_learn_while_all_else_stays_to_the_bit():
    moved, every = _trained("jnf", 1)
    assert moved == {key for key in every if ".own." in key or key.startswith(("inference.heads.", "inference.flows."))}


def test_embeddings_learn_while_all_else_stays_to_the_bit():
    moved, every = _trained("jnf-dcca", 1)
    assert moved == {key for key in every if ".own." in key or key.startswith("inference.embed.")}


def test_flows_learn_while_embeddings_stay_to_the_bit():
    moved, every = _trained("jnf-dcca", 2)
    assert moved == {key for key in every if key.startswith(("inference.heads.", "inference.flows."))}


@pytest.mark.parametrize("name", ["jnf", "jnf-dcca"])
def test_all_but_what_a_stage_trains_is_frozen(name):
    method = build_method(name, dict.fromkeys(("a.b", "values"), toy_modalities(1)["vector0"]), latent_dim=2)
    names = {key for key, _ in method.model.named_parameters() if not key.startswith("prior.")}
    own = ("inference.heads.", "inference.flows.")
    left = [{key for key in names if not key.startswith(phase.frozen or "?")} for phase in method.phases]
    if name == "jnf-dcca":
        assert left[1] == {key for key in names if ".own." in key or key.startswith("inference.embed.")}
        assert left[2] == {key for key in names if key.startswith(own)}
    else:
        assert left[1] == {key for key in names if ".own." in key or key.startswith(own)}


def test_training_raises_correlations():
    # What modalities share is one of many numbers that each has.
    random = np.random.default_rng(0)
    arrays = {name: random.normal(size=(300, size)).astype("float32") for name, size in FEATURES.items()}
    for rows in arrays.values():
        rows[:, 0] = arrays["image"][:, 0]
    method = toy_method("jnf-dcca", embedding_dim=1)
    alone = replace(method, phases=method.phases[1:2])
    config = TrainingConfig(epochs=30, batch_size=120, learning_rate=0.01)
    history = train(alone, toy_store(300, arrays=arrays), lambda b: b, toy_splits(300, 60), config, quiet=True)
    found = [row["correlation"] for row in history.rows if row["split"] == "validation"]
    assert found[0] < 0.7 and found[-1] > 0.9


def test_flows_tell_what_normals_cannot():
    # Codes with two modes given what one modality says: a flow comes nearer to them than the best Normal.
    generator = _seeded(0)
    side = (torch.rand(600, 1, generator=generator) < 0.5).double() * 2 - 1
    codes = 0.9 * side + 0.2 * torch.randn(600, 2, generator=generator).double()
    expert = _expert(torch.zeros(1, 2).double(), torch.zeros(1, 2).double())
    optimiser = torch.optim.Adam(expert.flow.parameters(), lr=0.01)
    for _ in range(400):
        optimiser.zero_grad()
        loss = -expert.log_prob(codes[:, None]).mean()
        loss.backward()
        optimiser.step()
    normal = -Normal(codes.mean(dim=0), codes.std(dim=0)).log_prob(codes).sum(dim=1).mean()
    assert loss < normal - 0.5


def test_one_modality_has_nothing_to_be_correlated_with():
    with pytest.raises(ValueError, match=r"jnf-dcca correlates modalities and got 'vector0' alone\. Expected two"):
        build_method("jnf-dcca", toy_modalities(1), latent_dim=2)


@pytest.mark.parametrize(
    "options", [{"joint_share": 0.0}, {"dcca_share": 1.0}, {"joint_share": 0.7, "dcca_share": 0.3}]
)
def test_shares_that_leave_a_phase_without_epochs_are_refused(options):
    with pytest.raises(ValueError, match="leaves a phase without epochs"):
        build_method("jnf-dcca", toy_modalities(2), latent_dim=2, options=options)
