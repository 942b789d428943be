"""Objectives against the formulas of their papers, written out item by item, draw by draw, with the same draws.

The items have every pattern of gaps: all three modalities, two, one, none.
"""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch.distributions import Laplace, Normal, kl_divergence
from torch.testing import assert_close

from gappy import LATENT_DIM, NAMES, NUM_ITEMS, PRESENT, WEIGHTS
from gappy import gappy_batch as _batch
from isthmus.batch import take
from isthmus.fusions import (
    Attention,
    Concatenation,
    HoelderPooling,
    Mean,
    MixtureOfExperts,
    MixtureOfProducts,
    ProductOfExperts,
)
from isthmus.inference import ExpertEvidence, JointInference, PrivateInference
from isthmus.model import MultimodalAutoencoder, pool
from isthmus.noise import Noise
from isthmus.objectives import (
    ELBO,
    JensenShannon,
    JointELBO,
    MixtureIWAE,
    PrivateMixtureIWAE,
    Routes,
    SelfRoutes,
    SoftSharing,
    Step,
    SubsetELBO,
    Terms,
    TotalCorrelation,
    divergence_to_experts,
    random_parts,
    random_subsets,
    warm,
)
from isthmus.priors import LocationScale
from isthmus.testing.conformance import toy_modalities
from shown import shows

DISTRIBUTIONS = {"normal": Normal, "laplace": Laplace}


def _model(fusion, **options) -> MultimodalAutoencoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MultimodalAutoencoder(
            toy_modalities(3), latent_dim=LATENT_DIM, fusion=fusion, balance=WEIGHTS, **options
        ).double()
        for parameter in model.parameters():  # so that no term is lost in being nearly zero
            if parameter.requires_grad and parameter.dim():
                parameter.data += 0.3 * torch.randn_like(parameter)
    return model.eval()


# --- the second implementation: one item, one draw, one modality at a time ------------------------------------------


def observed(item: int) -> list[int]:
    return [m for m in range(3) if PRESENT[m, item]]


def expert(model, batch, m, item):
    """q(z | x_m) of one item, from an encoder that sees this one row."""
    row = take(batch.values[NAMES[m]], batch.slots(NAMES[m])[item : item + 1])
    loc, raw = model.inference.heads[NAMES[m]](model.encoders[NAMES[m]](row))[0].chunk(2)
    return DISTRIBUTIONS[model.inference.family](loc, torch.exp(6 * torch.tanh(raw / 6)))


def prior(model):
    zero = torch.zeros(LATENT_DIM, dtype=torch.float64)
    return DISTRIBUTIONS[model.prior.family](zero, model.prior.log_scale.exp() + zero)


def product(experts):
    """The Normal proportional to a product of Normals; the standard Normal where there are none."""
    if not experts:
        zero = torch.zeros(LATENT_DIM, dtype=torch.float64)
        return Normal(zero, zero + 1)
    precision = sum(q.scale**-2 for q in experts)
    return Normal(sum(q.loc * q.scale**-2 for q in experts) / precision, precision**-0.5)


def log_p(model, batch, m, z, item):
    """log p(x_m | z) of one item."""
    row = take(batch.values[NAMES[m]], batch.slots(NAMES[m])[item : item + 1])
    return model.decode(NAMES[m], z[None]).log_prob(row)[0]


def explained(model, batch, subset, z, item, weighted=True):
    """The sum over a subset of log p(x_m | z), weighted or not."""
    zero = torch.zeros((), dtype=torch.float64)
    return sum((log_p(model, batch, m, z, item) * (WEIGHTS[NAMES[m]] if weighted else 1) for m in subset), start=zero)


def normal_noise(seed, name, *shape):
    return Noise(seed).normal(name, NUM_ITEMS, *shape, like=torch.empty(0, dtype=torch.float64))


def hold(model, terms: Terms, item_loss: list, bound: list | None) -> None:
    """Values, mean and gradients of both implementations agree."""
    expected = torch.stack(item_loss)
    assert_close(terms.item_loss, expected, rtol=1e-9, atol=1e-9)
    assert_close(terms.loss, expected.mean(), rtol=1e-9, atol=1e-9)
    if bound is not None:
        assert_close(terms.bound, torch.stack(bound), rtol=1e-9, atol=1e-9)
    parameters = [p for p in model.parameters() if p.requires_grad]
    for got, other, parameter in zip(
        torch.autograd.grad(terms.loss, parameters, allow_unused=True, retain_graph=True),
        torch.autograd.grad(expected.mean(), parameters, allow_unused=True, retain_graph=True),
        parameters,
        strict=True,
    ):
        zero = torch.zeros_like(parameter)
        assert_close(zero if got is None else got, zero if other is None else other, rtol=1e-8, atol=1e-9)


# --- ELBO -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_prior", [True, False])
@shows("second implementation", "mvae")
def test_elbo_of_a_product_equals_its_formula(with_prior):
    model, batch = _model(ProductOfExperts(with_prior)), _batch()
    terms = ELBO(beta=1.7, warmup=0.5, num_draws=3)(model, batch, Step(0, 0.25, Noise(3)))
    drawn, losses, bounds = normal_noise(3, "z", 3, 1, LATENT_DIM), [], []
    for item in range(NUM_ITEMS):
        subset = observed(item)
        experts = [expert(model, batch, m, item) for m in subset]
        q = product([*experts, product([])] if with_prior else experts)
        kl = kl_divergence(q, prior(model)).sum()
        z = [q.loc + q.scale * drawn[item, k, 0] for k in range(3)]
        losses.append(1.7 * 0.5 * kl - sum(explained(model, batch, subset, z[k], item) for k in range(3)) / 3)
        bounds.append(sum(explained(model, batch, subset, z[k], item, weighted=False) for k in range(3)) / 3 - kl)
    hold(model, terms, losses, bounds)


@pytest.mark.parametrize("stratified", [True, False])
@shows("second implementation", "mopoe")
def test_elbo_of_a_mixture_of_products_equals_its_formula(stratified):
    # MoPoE, eq. 5 and 6: components are the products of the subsets that an item has wholly, with equal weight.
    model, batch = _model(MixtureOfProducts(NAMES)), _batch()
    terms = ELBO(beta=0.8, num_draws=2, stratified=stratified)(model, batch, Step(0, 1.0, Noise(5)))
    members = model.inference.fusion.members.tolist()
    drawn = normal_noise(5, "z", 2, *([7] if stratified else []), LATENT_DIM)
    with torch.no_grad():
        chosen = model.encode(batch).rsample(2, Noise(5)).component[:, 0]
    losses, bounds = [], []
    for item in range(NUM_ITEMS):
        has = observed(item)
        subsets = [[m for m in range(3) if row[m]] for row in members]
        # An item with nothing has the prior, from whichever component.
        there = [j for j in range(7) if set(subsets[j]) <= set(has)] or list(range(7))
        q = [product([expert(model, batch, m, item) for m in subset if m in has]) for subset in subsets]
        kl = sum(kl_divergence(q[j], prior(model)).sum() for j in there) / len(there)
        draws = []
        for k in range(2):
            if stratified:
                draws += [(q[j].loc + q[j].scale * drawn[item, k, j], 1 / (2 * len(there))) for j in there]
            else:
                j = int(chosen[k, item])
                assert j in there
                draws.append((q[j].loc + q[j].scale * drawn[item, k], 1 / 2))
        losses.append(0.8 * kl - sum(weight * explained(model, batch, has, z, item) for z, weight in draws))
        bounds.append(sum(weight * explained(model, batch, has, z, item, False) for z, weight in draws) - kl)
    hold(model, terms, losses, bounds)


def test_named_terms_are_unweighted_nats():
    model, batch = _model(ProductOfExperts()), _batch()
    terms = ELBO()(model, batch, Step(0, 1.0, Noise(0)))
    assert set(terms.per_item) == {*(f"reconstruction/{name}" for name in NAMES), "divergence"}
    plain = sum(terms.per_item[f"reconstruction/{name}"] for name in NAMES)
    assert_close(terms.bound, plain - terms.per_item["divergence"])
    for m, name in enumerate(NAMES):
        assert terms.per_item[f"reconstruction/{name}"][~PRESENT[m]].abs().sum() == 0, "a gap was scored"


# --- MVAE -----------------------------------------------------------------------------------------------------------


@shows("second implementation", "mvae")
def test_subset_elbo_equals_the_mean_of_the_terms_that_an_item_has():
    # MVAE, eq. 5: ELBO of all, of each alone, of random subsets, each reconstructing its own members.
    model, batch = _model(ProductOfExperts(with_prior=True)), _batch()
    objective = SubsetELBO(beta=1.3, random_subsets=2)
    terms = objective(model, batch, Step(0, 1.0, Noise(7)))
    subsets = objective.subsets(PRESENT, Noise(7))
    assert len(subsets) == 1 + 3 + 2
    losses, bounds = [], []
    for item in range(NUM_ITEMS):
        elbos = []
        for s in range(len(subsets)):
            subset = [m for m in range(3) if subsets[s, m, item]]
            if not subset and s > 0:
                continue
            q = product([expert(model, batch, m, item) for m in subset] + [product([])])
            z = q.loc + q.scale * normal_noise(7, f"z/{s}", 1, 1, LATENT_DIM)[item, 0, 0]
            kl = kl_divergence(q, prior(model)).sum()
            elbos.append(explained(model, batch, subset, z, item) - 1.3 * kl)
            if s == 0:
                bounds.append(explained(model, batch, subset, z, item, weighted=False) - kl)
        losses.append(-sum(elbos) / len(elbos))
    hold(model, terms, losses, bounds)


def test_subsets_are_those_of_the_paper_and_counted_once():
    subsets = SubsetELBO(random_subsets=3).subsets(PRESENT, Noise(1))
    assert torch.equal(subsets[0], PRESENT)
    assert not (subsets & ~PRESENT).any(), "a subset names what an item lacks"
    several = PRESENT.sum(dim=0) > 1
    for m in range(3):
        alone = torch.zeros(3, NUM_ITEMS, dtype=torch.bool)
        alone[m] = PRESENT[m] & several
        assert torch.equal(subsets[1 + m], alone), "an item with one modality has it twice, or another has it not"
    # Two modalities have no subset that is not there already; three have.
    number = PRESENT.sum(dim=0)
    assert not subsets[4:, :, number < 3].any()
    assert subsets[4:, :, number == 3].any(dim=1).all()


def test_random_subsets_are_never_empty_and_reach_every_subset():
    present = torch.ones(3, 2000, dtype=torch.bool)
    subsets = random_subsets(present, 1, Noise(0), "subsets")[0]
    assert subsets.any(dim=0).all()
    code = (subsets * torch.tensor([1, 2, 4])[:, None]).sum(dim=0)
    share = torch.bincount(code, minlength=8) / 2000
    # Half of each modality; the empty eighth falls back on one modality: 1/8 + 1/24 for singles, 1/8 for the rest.
    expected = torch.tensor([0, 1 / 6, 1 / 6, 1 / 8, 1 / 6, 1 / 8, 1 / 8, 1 / 8])
    assert_close(share, expected, atol=4 * (0.25 / 2000) ** 0.5, rtol=0)
    nothing = random_subsets(torch.zeros(3, 4, dtype=torch.bool), 2, Noise(0), "subsets")
    assert nothing.shape == (2, 3, 4)
    assert not nothing.any()


def test_random_parts_are_less_than_all_and_of_every_size_alike():
    has = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0], [0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]], dtype=torch.bool).T
    repeats = 4000
    parts = random_parts(has.repeat_interleave(repeats, dim=1), Noise(0), "parts")
    assert not (parts & ~has.repeat_interleave(repeats, dim=1)).any()
    tolerance = 4 * (0.25 / repeats) ** 0.5
    for item, sizes in enumerate([(0, 1, 1, 1, 0), (0, 1, 1, 0, 0), (0, 1, 0, 0, 0), (0, 1, 0, 0, 0), (1, 0, 0, 0, 0)]):
        drawn = parts[:, item * repeats : (item + 1) * repeats]
        share = torch.bincount(drawn.sum(dim=0), minlength=5) / repeats
        assert_close(share, torch.tensor(sizes) / sum(sizes), atol=tolerance, rtol=0)
        # No modality is likelier than another.
        each = drawn.float().mean(dim=1)[has[:, item]]
        assert len(each) == 0 or each.max() - each.min() < 2 * tolerance


# --- MMVAE ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["laplace", "normal"])
@pytest.mark.parametrize("stratified", [True, False])
@pytest.mark.parametrize("num_draws", [1, 5])
@shows("second implementation", "mmvae")
def test_mixture_iwae_equals_its_formula(num_draws, stratified, family):
    # MMVAE, eq. 3: the sum over experts of the log of the mean of K importance weights, under the whole mixture.
    model = _model(MixtureOfExperts(), family=family, prior=LocationScale(LATENT_DIM, family, learned=True))
    batch = _batch()
    terms = MixtureIWAE(num_draws, stratified, beta=1.4)(model, batch, Step(0, 1.0, Noise(2)))
    like = torch.empty(0, dtype=torch.float64)
    shape = (num_draws, 3, LATENT_DIM) if stratified else (num_draws, LATENT_DIM)
    drawn = getattr(Noise(2), family)("z", NUM_ITEMS, *shape, like=like)
    with torch.no_grad():
        chosen = model.encode(batch).rsample(num_draws, Noise(2)).component[:, 0]
    losses, bounds = [], []
    for item in range(NUM_ITEMS):
        has = observed(item)
        # Of an item with nothing the learnt prior is believed, which such an item then cannot move.
        q = {m: expert(model, batch, m, item) for m in has} or dict.fromkeys(range(3), prior(model))

        def log_weights(z, item=item, has=has, q=q):
            """Weighted by beta and modality, and plain."""
            mixture = torch.stack([q_m.log_prob(z).sum() for q_m in q.values()]).logsumexp(0) - math.log(len(q))
            divergence = mixture - prior(model).log_prob(z).sum()
            weighted = explained(model, batch, has, z, item) - 1.4 * divergence
            return weighted, explained(model, batch, has, z, item, weighted=False) - divergence

        def tight(values):
            return torch.stack(values).logsumexp(0) - math.log(num_draws)

        if stratified:
            rows = [[q[j].loc + q[j].scale * drawn[item, k, j] for k in range(num_draws)] for j in q]
        else:
            places = [(k, int(chosen[k, item])) for k in range(num_draws)]
            rows = [[q[j].loc + q[j].scale * drawn[item, k] for k, j in places]]
        scored = [[log_weights(z) for z in row] for row in rows]
        losses.append(-sum(tight([weighted for weighted, _ in row]) for row in scored) / len(scored))
        bounds.append(sum(tight([plain for _, plain in row]) for row in scored) / len(scored))
    hold(model, terms, losses, bounds)


@pytest.mark.parametrize("stratified", [True, False])
@shows("second implementation", "mmvae")
def test_doubly_reparametrised_gradients_equal_their_formula(stratified):
    # Tucker et al. 2019, eq. 8: decoders learn from a code by its importance, encoders by the square of it, through the
    # code alone.
    model = _model(MixtureOfExperts(), family="laplace", prior=LocationScale(LATENT_DIM, "laplace", learned=True))
    batch, beta, num_draws = _batch(), 1.4, 4
    terms = MixtureIWAE(num_draws, stratified, beta, dreg=True)(model, batch, Step(0, 1.0, Noise(2)))
    plain = MixtureIWAE(num_draws, stratified, beta)(model, batch, Step(0, 1.0, Noise(2)))
    assert_close(terms.item_loss, plain.item_loss)
    assert_close(terms.bound, plain.bound)
    posterior = model.encode(batch)
    draws = posterior.rsample(num_draws, Noise(2), stratified=stratified)
    losses = []
    for item in range(NUM_ITEMS):
        has, loss = observed(item), torch.zeros((), dtype=torch.float64)
        q = [expert(model, batch, m, item) for m in has] or [prior(model)]
        still = [Laplace(q_m.loc.detach(), q_m.scale.detach()) for q_m in q]
        for source in range(draws.z.shape[1]):
            if not draws.use[source, item]:
                continue
            codes, log_weights, slopes = draws.z[:, source, item], [], []
            for code in codes:
                z = code.detach().requires_grad_()
                mixture = torch.stack([q_m.log_prob(z).sum() for q_m in still]).logsumexp(0) - math.log(len(still))
                divergence = mixture - prior(model).log_prob(z).sum()
                log_weights.append(explained(model, batch, has, z, item) - beta * divergence)
                slopes.append(torch.autograd.grad(log_weights[-1], z, retain_graph=True)[0])
            log_weight = torch.stack(log_weights)
            importance = log_weight.detach().softmax(0)
            through_codes = (importance[:, None] ** 2 * torch.stack(slopes) * codes).sum()
            learnt = (importance * log_weight).sum() + through_codes
            value = log_weight.logsumexp(0) - math.log(num_draws)
            loss = loss - draws.weight[source, item] * (value.detach() + learnt - learnt.detach())
        losses.append(loss)
    hold(model, terms, losses, None)


@shows("identity", "mmvae")
def test_doubly_reparametrised_gradients_of_one_expert_have_the_mean_of_plain_ones():
    model, batch = _model(ProductOfExperts()), _batch()
    head = model.inference.heads[NAMES[0]].weight

    def slopes(dreg):
        losses = (MixtureIWAE(3, dreg=dreg)(model, batch, Step(0, 1.0, Noise(seed))).loss for seed in range(1500))
        return torch.stack([torch.autograd.grad(loss, head)[0] for loss in losses])

    plain, double = slopes(False), slopes(True)
    error = ((plain.var(dim=0) + double.var(dim=0)) / len(plain)).sqrt()
    assert bool(((plain.mean(dim=0) - double.mean(dim=0)).abs() < 5 * error + 1e-6).all())


# --- private codes --------------------------------------------------------------------------------------------------

PRIVATE_DIM = 2
PLACES = {name: LATENT_DIM + PRIVATE_DIM * i for i, name in enumerate(sorted(NAMES))}


def _private_model(fusion, family="normal", auxiliary=False):
    inference = partial(PrivateInference, fusion=fusion, private_dim=PRIVATE_DIM, family=family, auxiliary=auxiliary)
    whole = LATENT_DIM + 3 * PRIVATE_DIM
    prior = LocationScale(whole, family, learned=True) if auxiliary else None
    return _model(inference, private_dim=PRIVATE_DIM, prior=prior)


def private_expert(model, batch, m, item):
    """q(w_m | x_m) of one item."""
    row = take(batch.values[NAMES[m]], batch.slots(NAMES[m])[item : item + 1])
    loc, raw = model.inference.private_heads[NAMES[m]](pool(model.encoders[NAMES[m]](row)))[0].chunk(2)
    return DISTRIBUTIONS[model.inference.family](loc, torch.exp(6 * torch.tanh(raw / 6)))


def place(name):
    return slice(PLACES[name], PLACES[name] + PRIVATE_DIM)


def assembled(z, w):
    """The whole code: the shared one, and private ones in the order of names."""
    return torch.cat([z, *(w[name] for name in sorted(NAMES))])


@shows("second implementation", "dmvae")
def test_the_whole_code_is_what_each_expert_says_of_its_part():
    model, batch = _private_model(ProductOfExperts()), _batch()
    posterior = model.encode(batch)
    standard = Normal(torch.zeros(LATENT_DIM).double(), torch.ones(LATENT_DIM).double())
    for item in range(NUM_ITEMS):
        has = observed(item)
        q = product([standard, *(expert(model, batch, m, item) for m in has)])
        assert_close(posterior.mean[item, :LATENT_DIM], q.loc)
        assert_close(posterior.spread[item, :LATENT_DIM], q.scale)
        for m, name in enumerate(NAMES):
            own = private_expert(model, batch, m, item) if m in has else Normal(torch.zeros(2).double(), 1.0)
            assert_close(posterior.mean[item, place(name)], own.loc)
            assert_close(posterior.spread[item, place(name)], own.scale + torch.zeros(2).double())
    assert torch.equal(model.shared(posterior.mean), posterior.mean[:, :LATENT_DIM])


def test_a_decoder_sees_the_shared_code_and_its_own():
    model, z = _private_model(ProductOfExperts()), torch.randn(5, LATENT_DIM + 3 * PRIVATE_DIM).double()
    for name in NAMES:
        likelihood = model.decode(name, z)
        target = likelihood.mode
        for part in [slice(0, LATENT_DIM), *map(place, NAMES)]:
            moved = z.clone()
            moved[:, part] += 1.0
            same = torch.allclose(model.decode(name, moved).log_prob(target), likelihood.log_prob(target))
            assert same == (part.start not in (0, PLACES[name]))


@shows("second implementation", "dmvae")
def test_every_shared_code_is_decoded_with_each_own_private_code():
    # DMVAE: ELBOs with the shared code of all and of each alone, all modalities decoded from each.
    model, batch = _private_model(ProductOfExperts()), _batch()
    terms = SubsetELBO(beta=1.3, random_subsets=0, cross=True)(model, batch, Step(0, 1.0, Noise(4)))
    size = LATENT_DIM + 3 * PRIVATE_DIM
    drawn = [normal_noise(4, f"z/{s}", 1, 1, size)[:, 0, 0] for s in range(4)]
    standard = Normal(torch.zeros(LATENT_DIM).double(), torch.ones(LATENT_DIM).double())
    losses, bounds = [], []
    for item in range(NUM_ITEMS):
        has = observed(item)
        sources = [(0, has)] + [(1 + m, [m]) for m in has if len(has) > 1]
        loss, bound = [], []
        for s, among in sources if has else []:
            q = product([standard, *(expert(model, batch, m, item) for m in among)])
            noise = drawn[s][item]
            kl, w = kl_divergence(q, standard).sum(), {}
            for m, name in enumerate(NAMES):
                own = private_expert(model, batch, m, item) if m in has else Normal(torch.zeros(2).double(), 1.0)
                w[name] = own.loc + own.scale * noise[place(name)]
                if m in has:
                    kl = kl + kl_divergence(own, Normal(torch.zeros(2).double(), torch.ones(2).double())).sum()
            z = assembled(q.loc + q.scale * noise[:LATENT_DIM], w)
            loss.append(1.3 * kl - explained(model, batch, has, z, item))
            bound.append(explained(model, batch, has, z, item, weighted=False) - kl)
        zero = torch.zeros((), dtype=torch.float64)
        losses.append(torch.stack(loss).mean() if loss else zero)
        bounds.append(bound[0] if bound else zero)
    hold(model, terms, losses, bounds)


@pytest.mark.parametrize("stratified", [True, False])
@pytest.mark.parametrize(
    ("fusion", "family"),
    [(MixtureOfExperts(), "laplace"), (MixtureOfExperts(), "normal"), (HoelderPooling(3, exact=True), "normal")],
)
@shows("second implementation", "mmvae+", "hoelder+")
def test_a_mixture_with_private_codes_equals_its_formula(fusion, family, stratified):
    # MMVAE+: from source j, x_j is decoded with its own private code and every other with one of nobody's. In Hoelder+
    # a source may be a pair, both of which have their own.
    model, batch, num_draws, beta = _private_model(fusion, family, auxiliary=True), _batch(), 3, 1.4
    terms = PrivateMixtureIWAE(num_draws, stratified, beta)(model, batch, Step(0, 1.0, Noise(2)))
    evidence = model.evidence(batch)
    posterior = ExpertEvidence.posterior(evidence)
    draws = posterior.rsample(num_draws, Noise(2), stratified=stratified)
    num_sources, like = draws.z.shape[1], torch.empty(0, dtype=torch.float64)
    noise = {
        name: getattr(Noise(2), family)(f"w/{name}", NUM_ITEMS, num_draws, num_sources, PRIVATE_DIM, like=like)
        for name in NAMES
    }
    scale, distribution = model.prior.log_scale.exp(), DISTRIBUTIONS[family]
    losses = []
    for item in range(NUM_ITEMS):
        has = observed(item)
        there = [j for j in range(len(posterior.loc)) if posterior.log_weight[j, item] > -torch.inf]
        q = {j: distribution(posterior.loc[j, item], posterior.log_scale[j, item].exp()) for j in there}
        loss = torch.zeros((), dtype=torch.float64)
        for s in range(num_sources):
            if not draws.use[s, item]:
                continue
            log_weights = []
            for k in range(num_draws):
                z, j = draws.z[k, s, item], int(draws.component[k, s, item])
                each = [posterior.log_weight[c, item] + q_c.log_prob(z).sum() for c, q_c in q.items()]
                mixture = torch.stack(each).logsumexp(0)
                divergence = mixture - distribution(torch.zeros(4).double(), scale[:4]).log_prob(z).sum()
                w = {}
                for m, name in enumerate(NAMES):
                    drawn = noise[name][item, k, s]
                    if posterior.members[j, m] and m in has:
                        own = private_expert(model, batch, m, item)
                        w[name] = own.loc + own.scale * drawn
                        given = distribution(torch.zeros(2).double(), scale[place(name)])
                        divergence = divergence + (own.log_prob(w[name]) - given.log_prob(w[name])).sum()
                    else:
                        w[name] = model.inference.auxiliary[name].value.exp() * drawn
                log_weights.append(explained(model, batch, has, assembled(z, w), item) - beta * divergence)
            tight = torch.stack(log_weights).logsumexp(0) - math.log(num_draws)
            loss = loss - draws.weight[s, item] * tight
        losses.append(loss)
    hold(model, terms, losses, None)


# --- MVTCAE ---------------------------------------------------------------------------------------------------------


@shows("second implementation", "mvtcae")
def test_total_correlation_equals_its_formula():
    # MVTCAE, eq. 8, with M the number of modalities that an item has.
    model, batch = _model(ProductOfExperts(with_prior=False)), _batch()
    alpha, beta = 0.7, 2.5
    terms = TotalCorrelation(alpha, beta)(model, batch, Step(0, 1.0, Noise(9)))
    drawn, losses, bounds = normal_noise(9, "z", 1, 1, LATENT_DIM), [], []
    for item in range(NUM_ITEMS):
        has = observed(item)
        experts = [expert(model, batch, m, item) for m in has]
        q = product(experts)
        z = q.loc + q.scale * drawn[item, 0, 0]
        kl = kl_divergence(q, prior(model)).sum()
        between = sum(kl_divergence(q, q_m).sum() for q_m in experts)
        count = max(len(has), 1)
        losses.append(
            -(count - alpha) / count * explained(model, batch, has, z, item)
            + beta * ((1 - alpha) * kl + alpha / count * between)
        )
        bounds.append(explained(model, batch, has, z, item, weighted=False) - kl)
    hold(model, terms, losses, bounds)


@shows("second implementation", "mvtcae")
def test_modality_dropout_reconstructs_from_the_mean_code_of_a_subset():
    model, batch = _model(ProductOfExperts(with_prior=False)), _batch()
    alpha, beta, dropout = 0.7, 2.5, 0.6
    objective = TotalCorrelation(alpha, beta, dropout=dropout)
    model.train()
    terms = objective(model, batch, Step(0, 1.0, Noise(9)))
    like = torch.empty(0)
    chosen = Noise(9).uniform("dropout/item", NUM_ITEMS, like=like) < dropout
    among = random_parts(PRESENT, Noise(9), "dropout")
    assert chosen.any() and not chosen.all() and (among.sum(dim=0) < PRESENT.sum(dim=0))[chosen].any()
    drawn, losses = normal_noise(9, "z", 1, 1, LATENT_DIM), []
    for item in range(NUM_ITEMS):
        has = observed(item)
        experts = {m: expert(model, batch, m, item) for m in has}
        q = product(list(experts.values()))
        z = q.loc + q.scale * drawn[item, 0, 0]
        if chosen[item]:
            z = product([experts[m] for m in has if among[m, item]]).loc
        kl = kl_divergence(q, prior(model)).sum()
        between = sum(kl_divergence(q, q_m).sum() for q_m in experts.values())
        count = max(len(has), 1)
        losses.append(
            -(count - alpha) / count * explained(model, batch, has, z, item)
            + beta * ((1 - alpha) * kl + alpha / count * between)
        )
    assert_close(terms.item_loss, torch.stack(losses))
    # In use, and where the bound is read, nothing is dropped.
    model.eval()
    assert_close(
        objective(model, batch, Step(0, 1.0, Noise(9))).item_loss,
        TotalCorrelation(alpha, beta)(model, batch, Step(0, 1.0, Noise(9))).item_loss,
    )


def test_divergence_to_experts_is_zero_in_a_gap_and_of_one_alone():
    model, batch = _model(ProductOfExperts(with_prior=False)), _batch()
    evidence = model.evidence(batch)
    divergence = divergence_to_experts(evidence.posterior(), evidence)
    assert bool((divergence[~PRESENT] == 0).all())
    single = PRESENT.sum(dim=0) == 1
    assert_close(divergence[:, single], torch.zeros_like(divergence[:, single]))
    several = PRESENT & (PRESENT.sum(dim=0) > 1)
    assert bool((divergence[several] > 0).all())


# --- JMVAE ----------------------------------------------------------------------------------------------------------


def _joint_model(joint) -> MultimodalAutoencoder:
    return _model(partial(JointInference, fusion=ProductOfExperts(with_prior=False), joint=joint))


def joint(model, batch, item) -> Normal:
    """q(z | x_A) of one item by the joint network, from the features of what it has."""
    has = observed(item)
    if not has:
        return product([])
    rows = {NAMES[m]: take(batch.values[NAMES[m]], batch.slots(NAMES[m])[item : item + 1]) for m in has}
    features = {name: pool(model.encoders[name](row)) for name, row in rows.items()}
    fused = model.inference.joint(features, PRESENT[:, item : item + 1])
    loc, raw = model.inference.joint_head(fused)[0].chunk(2)
    return Normal(loc, torch.exp(6 * torch.tanh(raw / 6)))


@pytest.mark.parametrize("fusion", [Concatenation, Mean, Attention])
@pytest.mark.parametrize(("fraction", "grown"), [(0.25, 0.5), (1.0, 1.0)])
@shows("second implementation", "jmvae")
def test_the_joint_elbo_equals_its_formula(fusion, fraction, grown):
    model, batch, alpha, beta = _joint_model(fusion), _batch(), 0.3, 1.7
    terms = JointELBO(alpha, beta, warmup=0.5)(model, batch, Step(0, fraction, Noise(9)))
    drawn, losses, bounds = normal_noise(9, "z", 1, 1, LATENT_DIM), [], []
    for item in range(NUM_ITEMS):
        has, q = observed(item), joint(model, batch, item)
        z = q.loc + q.scale * drawn[item, 0, 0]
        kl = kl_divergence(q, prior(model)).sum()
        between = sum(kl_divergence(q, expert(model, batch, m, item)).sum() for m in has)
        losses.append(grown * (beta * kl + alpha * between) - explained(model, batch, has, z, item))
        bounds.append(explained(model, batch, has, z, item, weighted=False) - kl)
    hold(model, terms, losses, bounds)


@shows("second implementation", "jmvae")
def test_the_joint_network_speaks_for_whole_items_and_the_experts_for_others():
    model, batch = _joint_model(Attention), _batch()
    posterior = model.encode(batch)
    pair = model.evidence(batch).posterior(torch.tensor([True, False, True])[:, None].expand(3, NUM_ITEMS))
    for item in range(NUM_ITEMS):
        has = observed(item)
        q = joint(model, batch, item) if len(has) == 3 else product([expert(model, batch, m, item) for m in has])
        assert_close(posterior.mean[item], q.loc)
        assert_close(posterior.spread[item], q.scale)
        # Whole items of which a part is to be used are no longer whole.
        part = product([expert(model, batch, m, item) for m in has if m != 1])
        assert_close(pair.mean[item], part.loc)


# --- CRMVAE, MMVM, mmJSD ---------------------------------------------------------------------------------------------


def own_draw(model, batch, m, item, seed):
    """One draw from an expert, with the noise that is everyone's own."""
    q = expert(model, batch, m, item)
    return q.loc + q.scale * normal_noise(seed, "own", 3, LATENT_DIM)[item, m]


@shows("second implementation", "crmvae")
def test_self_routes_equal_their_formula():
    model, batch, beta = _model(ProductOfExperts(with_prior=False)), _batch(), 1.7
    terms = SelfRoutes(beta)(model, batch, Step(0, 1.0, Noise(6)))
    drawn, losses, bounds = normal_noise(6, "z", 1, 1, LATENT_DIM), [], []
    for item in range(NUM_ITEMS):
        has = observed(item)
        experts = {m: expert(model, batch, m, item) for m in has}
        q = product(list(experts.values()))
        z = q.loc + q.scale * drawn[item, 0, 0]
        kl = kl_divergence(q, prior(model)).sum()
        between = sum(kl_divergence(q, q_m).sum() for q_m in experts.values())
        own = sum(explained(model, batch, [m], own_draw(model, batch, m, item, 6), item) for m in has)
        loss = beta * (kl + between) - explained(model, batch, has, z, item) - own
        losses.append(loss / (len(has) + 1))
        bounds.append(explained(model, batch, has, z, item, weighted=False) - kl)
    hold(model, terms, losses, bounds)


@pytest.mark.parametrize("pairs", [True, False])
@pytest.mark.parametrize("fraction", [0.2, 1.0])
@shows("second implementation", "mmvm")
def test_soft_sharing_equals_its_formula(fraction, pairs):
    model, batch, beta = _model(MixtureOfExperts()), _batch(), 1.7
    terms = SoftSharing(beta, anneal=0.5, pairs=pairs)(model, batch, Step(0, fraction, Noise(6)))
    shared, losses = min(1.0, fraction / 0.5), []
    for item in range(NUM_ITEMS):
        q = {m: expert(model, batch, m, item) for m in observed(item)}
        loss = torch.zeros((), dtype=torch.float64)
        for m, q_m in q.items():
            z = own_draw(model, batch, m, item, 6)
            if pairs:
                to_mixture = sum(kl_divergence(q_m, q_k).sum() for q_k in q.values()) / len(q)
            else:
                mixture = torch.stack([q_k.log_prob(z).sum() for q_k in q.values()]).logsumexp(0) - math.log(len(q))
                to_mixture = q_m.log_prob(z).sum() - mixture
            to_prior = kl_divergence(q_m, prior(model)).sum()
            loss = loss - explained(model, batch, [m], z, item)
            loss = loss + beta * (shared * to_mixture + (1 - shared) * to_prior)
        losses.append(loss)
    hold(model, terms, losses, None)


def test_pairs_bound_the_divergence_from_the_mixture():
    model, batch = _model(MixtureOfExperts()), _batch()
    steps = [Step(0, 1.0, Noise(seed)) for seed in range(600)]
    with torch.no_grad():
        drawn = torch.stack([SoftSharing()(model, batch, step).per_item["divergence"] for step in steps])
        pairs = SoftSharing(pairs=True)(model, batch, steps[0]).per_item["divergence"]
    error = drawn.std(dim=0) / len(steps) ** 0.5
    assert bool((drawn.mean(dim=0) <= pairs + 4 * error + 1e-9).all())
    # M log M is the most that a mixture of M experts can be away from them.
    count = PRESENT.sum(dim=0).double()
    assert bool((drawn.mean(dim=0) <= count * count.clamp_min(1).log() + 4 * error + 1e-9).all())
    alone = count < 2
    assert_close(pairs[alone], torch.zeros_like(pairs[alone]))


@pytest.mark.parametrize("stratified", [True, False])
@shows("second implementation", "mmjsd")
def test_the_jensen_shannon_divergence_equals_its_formula(stratified):
    model, batch, beta = _model(MixtureOfExperts()), _batch(), 1.7
    terms = JensenShannon(beta, stratified=stratified)(model, batch, Step(0, 1.0, Noise(6)))
    draws = model.encode(batch).rsample(1, Noise(6), stratified=stratified)
    losses = []
    for item in range(NUM_ITEMS):
        has = observed(item)
        every = [*(expert(model, batch, m, item) for m in has), prior(model)]
        # The geometric mean: precisions and pulls are averaged.
        precision = sum(q.scale**-2 for q in every) / len(every)
        pull = sum(q.loc * q.scale**-2 for q in every) / len(every)
        g = Normal(pull / precision, precision**-0.5)
        divergence = sum(kl_divergence(q, g).sum() for q in every) / len(every)
        fit = torch.zeros((), dtype=torch.float64)
        for s in range(draws.z.shape[1]):
            if draws.use[s, item]:
                fit = fit + draws.weight[s, item] * explained(model, batch, has, draws.z[0, s, item], item)
        losses.append(beta * divergence - fit)
    hold(model, terms, losses, None)


# --- fused ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fusion", [Concatenation, Mean, Attention])
@pytest.mark.parametrize("route", ["whole", "dropout", "alone"])
@shows("second implementation", "fused")
def test_routes_equal_their_description(fusion, route):
    model, batch = _model(fusion), _batch()
    objective = Routes(dropout=route == "dropout", alone=route == "alone")
    terms = objective(model, batch, Step(0, 1.0, Noise(6)))
    random = random_parts(PRESENT, Noise(6), "dropout")
    losses = []
    for item in range(NUM_ITEMS):
        has = observed(item)
        alone = batch.take(torch.tensor([item]))
        if not has:
            losses.append(torch.zeros((), dtype=torch.float64))
            continue
        if route == "alone":
            routes = [([m], [m]) for m in has]
        else:
            routes = [(has, has)]
            if route == "dropout":
                routes.append(([m for m in has if random[m, item]], has))
        total = dict.fromkeys(has, 0.0)
        for source, target in routes:
            z = model.encode(alone.only(*[NAMES[m] for m in source])).mean[0]
            for m in target:
                total[m] = total[m] + log_p(model, batch, m, z, item) / (1 if route == "alone" else len(routes))
        losses.append(-sum(WEIGHTS[NAMES[m]] * score for m, score in total.items()))
    hold(model, terms, losses, bound=None)
    assert terms.bound is None, "a point code bounds nothing"


# --- all of them ----------------------------------------------------------------------------------------------------


def test_a_step_keeps_apart_what_the_encoders_of_two_models_said():
    one, other, batch = _model(ProductOfExperts()), _model(ProductOfExperts()), _batch()
    with torch.no_grad():
        for head in other.inference.heads.values():
            head.bias += 1.0
    step = Step(0, 1.0, Noise(0))
    losses = [ELBO()(model, batch, step).item_loss for model in (one, other, one)]
    assert torch.equal(losses[0], losses[2])
    assert_close(losses[1], ELBO()(other, batch, Step(0, 1.0, Noise(0))).item_loss)


def test_warm_grows_linearly_and_stays():
    assert [warm(2.0, 0.2, fraction) for fraction in (0.0, 0.1, 0.2, 0.9)] == [0.0, 1.0, 2.0, 2.0]
    assert warm(2.0, 0.0, 0.0) == 2.0


def test_loss_is_the_mean_over_items_and_what_the_batch_adds():
    terms = Terms({}, item_loss=torch.tensor([1.0, 3.0]), batch_loss=torch.tensor(0.5))
    assert float(terms.loss) == 2.5
