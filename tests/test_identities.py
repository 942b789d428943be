"""Identities between methods: where theory says that one is another, their losses and gradients agree.

Toy items with every pattern of gaps, in float64. Weights follow from the names of parameters, so that two methods agree
in what both have; draws agree by name, or are all the same number where methods name them differently (`Still`).
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.distributions import Categorical, Independent, Laplace, MixtureSameFamily, Normal, kl_divergence
from torch.testing import assert_close

from gappy import LATENT_DIM, NAMES, PRESENT, WEIGHTS, Said, Still, composed, gappy_batch, hold, made, of_losses, said
from isthmus.fusions import (
    Barycentre,
    Experts,
    HoelderPooling,
    MixtureOfExperts,
    MixtureOfProducts,
    ProductOfExperts,
    WeightedProduct,
)
from isthmus.gaussians import log_prob
from isthmus.inference import ExpertEvidence, JointInference
from isthmus.methods import Method, Phase, Player
from isthmus.methods.base import feature_fusion
from isthmus.noise import Noise
from isthmus.objectives import (
    ELBO,
    JointELBO,
    MixtureIWAE,
    Routes,
    SoftSharing,
    Step,
    SubsetELBO,
    TotalCorrelation,
)
from shown import shows

WHOLE = torch.ones(3, 6, dtype=torch.bool)
NO_PRIOR = ProductOfExperts(with_prior=False)
# A private code of no dimensions is allowed; torch remarks that it has nothing to initialise.
no_private = pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")


def with_objective(method: Method, objective) -> Method:
    return replace(method, phases=[Phase([Player(objective)])])


def objective_of(method: Method) -> object:
    return method.phases[0].players[0].objective


# --- one modality: every method is a VAE, or what theory leaves of it -------------------------------------------------

ALONE = torch.tensor([[True, False, True, True, False, True]])
FIXED = {"family": "normal", "learn_prior": False}


def vae(q, log_p, z):
    """The ELBO, its divergence in closed form."""
    return log_p(z) - kl_divergence(q, Normal(0.0, 1.0)).sum(-1)


def vae_with_prior_expert(q, log_p, _):
    """The ELBO of the product of the expert and the prior, as MVAE has it."""
    precision = 1 + q.scale**-2
    both = Normal(q.loc * q.scale**-2 / precision, precision**-0.5)
    return vae(both, log_p, both.loc + 0.7 * both.scale)


def drawn_vae(q, log_p, z):
    """The ELBO, its divergence estimated by the draw."""
    return log_p(z) - (q.log_prob(z) - Normal(0.0, 1.0).log_prob(z)).sum(-1)


def jensen_shannon(q, log_p, z):
    precision = (1 + q.scale**-2) / 2
    g = Normal(q.loc * q.scale**-2 / 2 / precision, precision**-0.5)
    return log_p(z) - (kl_divergence(q, g) + kl_divergence(Normal(0.0, 1.0), g)).sum(-1) / 2


def halves(q, log_p, z):
    """CRMVAE: the whole is the expert itself, reconstructed twice, and the divergence from itself is zero."""
    return (log_p(z) + vae(q, log_p, z)) / 2


def no_divergence(_, log_p, z):
    """MMVM: the mixture of one expert is that expert."""
    return log_p(z)


ONE = [
    ("mopoe", {}, vae),
    ("mcvae", {}, vae),
    ("barycentre", {}, vae),
    ("barycentre", {"mixture": True}, vae),
    ("hoelder", {}, vae),
    ("hoelder", {"exact": True}, vae),
    ("gpoe", {}, vae),
    ("mvtcae", {"alpha": 0.0, "beta": 1.0}, vae),
    ("mvae", {"scheme": "joint"}, vae_with_prior_expert),
    ("mvae", {"scheme": "separate"}, vae_with_prior_expert),
    ("mvae", {"scheme": "subsampled"}, vae_with_prior_expert),
    ("dmvae", {"private_dim": 0}, vae_with_prior_expert),
    ("mmvae", {**FIXED, "dreg": False}, drawn_vae),
    ("mmvae", {**FIXED, "dreg": False, "stratified": False}, drawn_vae),
    ("mmvae+", {**FIXED, "private_dim": 0}, drawn_vae),
    ("hoelder+", {"private_dim": 0}, drawn_vae),
    ("mmjsd", {}, jensen_shannon),
    ("crmvae", {}, halves),
    ("mmvm", {}, no_divergence),
    ("mmvm", {"pairs": False}, no_divergence),
]


@no_private
@shows("identity", *dict.fromkeys(name for name, _, _ in ONE))
@pytest.mark.parametrize(
    ("method", "settings", "theory"), ONE, ids=lambda value: getattr(value, "__name__", str(value))
)
def test_of_one_modality_little_is_left_but_a_vae(method, settings, theory):
    one, batch = made(method, count=1, **settings), gappy_batch(ALONE)
    model, x = one.model, batch.values["vector0"]
    loc, raw = model.inference.heads["vector0"](model.encoders["vector0"](x)).chunk(2, dim=-1)
    q = Normal(loc, torch.exp(6 * torch.tanh(raw / 6)))
    bound = theory(q, lambda z: WEIGHTS["vector0"] * model.decode("vector0", z).log_prob(x), q.loc + 0.7 * q.scale)
    # An item that lacks it has the prior, and nothing to explain.
    item_loss = torch.zeros(6).double().index_put((batch.rows("vector0"),), -bound)
    hold(said(one, batch, Still(0)), of_losses(model, item_loss))


@shows("identity", "fused")
@pytest.mark.parametrize("fusion", ["concat", "mean", "attention"])
def test_of_one_modality_a_fused_autoencoder_is_a_plain_one(fusion):
    method, batch = made("fused", count=1, fusion=fusion), gappy_batch(torch.ones(1, 6, dtype=torch.bool))
    code = method.model.encode(batch).mean
    score = method.model.decode("vector0", code).log_prob(batch.values["vector0"])
    hold(said(method, batch), of_losses(method.model, -WEIGHTS["vector0"] * score))


@shows("identity", "masked")
def test_a_masked_autoencoder_that_hides_nothing_is_a_plain_one():
    method, batch, some = made("masked", visible=1.0), gappy_batch(), PRESENT.any(dim=0)[None]
    code = method.model.encode(batch).mean[None, None]
    scores = (WEIGHTS[name] * method.model.log_likelihood(name, code, some, batch)[0, 0] for name in NAMES)
    hold(said(method, batch), of_losses(method.model, -sum(scores)))


@shows("identity", "fused")
def test_modalities_fused_alone_are_autoencoders_side_by_side():
    method, batch = made("fused"), gappy_batch()
    alone = with_objective(method, Routes(alone=True))
    each = [said(with_objective(method, Routes(dropout=False)), batch.only(name)) for name in NAMES]
    hold(said(alone, batch), each[0] + each[1] + each[2])


# --- MVTCAE and CRMVAE ------------------------------------------------------------------------------------------------


@shows("identity", "mvtcae")
def test_mvtcae_at_alpha_zero_is_the_beta_elbo_of_the_product():
    hold(
        said(made("mvtcae", alpha=0.0, beta=1.7, dropout=0.0), gappy_batch()),
        said(composed(NO_PRIOR, ELBO(beta=1.7)), gappy_batch()),
    )


@shows("identity", "mvtcae")
@pytest.mark.parametrize("alpha", [0.25, 5 / 6])
def test_mvtcae_lies_on_the_line_between_its_ends(alpha):
    # (M - a)/M = (1 - a) + a (M - 1)/M: a VAE and a mean of conditional bounds, weighed by alpha.
    vae, between, conditional = (made("mvtcae", alpha=a, beta=1.7) for a in (0.0, alpha, 1.0))
    ends = [said(method, gappy_batch()) for method in (vae, conditional)]
    hold(said(between, gappy_batch()), (1 - alpha) * ends[0] + alpha * ends[1])


@shows("identity", "mvtcae")
def test_mvtcae_at_alpha_one_leaves_the_prior_and_single_modalities_alone():
    terms = TotalCorrelation(1.0, 1.7)(made("mvtcae").model, gappy_batch(), Step(0, 1.0, Noise(3)))
    few = PRESENT.sum(dim=0) < 2
    assert_close(terms.item_loss[few], torch.zeros_like(terms.item_loss[few]), atol=1e-12, rtol=0)
    assert bool((terms.item_loss[~few] != 0).all())
    # 1/M sum_m of the bound of all given x_m: what x_m itself explains, the decoder alone does not raise.
    weighed = sum(WEIGHTS[name] * terms.per_item[f"reconstruction/{name}"] for name in NAMES)
    count = PRESENT.sum(dim=0).clamp_min(1).double()
    assert_close(
        terms.item_loss, 1.7 * terms.per_item["divergence/experts"] - (count - 1) / count * weighed, atol=1e-10, rtol=0
    )


@shows("identity", "crmvae", "mvtcae")
def test_crmvae_and_mvtcae_differ_in_reconstruction_alone():
    # At alpha = M/(M + 1) MVTCAE weighs all divergences by 1/(M + 1), as CRMVAE does, and reconstruction by M/(M + 1).
    batch = gappy_batch(WHOLE)
    crmvae, mvtcae = made("crmvae", balance="nats"), made("mvtcae", balance="nats", alpha=3 / 4, beta=1.0, dropout=0.0)
    step = Step(0, 1.0, Noise(3))
    terms = objective_of(crmvae)(crmvae.model, batch, step)
    whole, own = (sum(terms.per_item[f"{kind}/{name}"] for name in NAMES) for kind in ("reconstruction", "own"))
    difference = of_losses(crmvae.model, (2 * whole - own) / 4)
    hold(said(crmvae, batch), said(mvtcae, batch) + difference)


# --- mixtures of subsets ----------------------------------------------------------------------------------------------


def of_subsets(members, **settings):
    """MoPoE of chosen subsets, each cut to what an item has."""
    fusion = MixtureOfProducts(NAMES, **settings)
    fusion.exact, fusion.members = False, torch.tensor(members)
    return fusion


@shows("identity", "mopoe")
def test_mopoe_of_the_whole_alone_is_the_product():
    hold(
        said(composed(of_subsets([[True] * 3]), ELBO()), gappy_batch()),
        said(composed(NO_PRIOR, ELBO()), gappy_batch()),
    )


@shows("identity", "mopoe", "mcvae")
@pytest.mark.parametrize("stratified", [True, False])
def test_mopoe_of_single_modalities_is_the_mixture_of_experts(stratified):
    objective = ELBO(stratified=stratified)
    fusion = of_subsets(torch.eye(3, dtype=torch.bool).tolist())
    mixture = made("mcvae") if stratified else composed(MixtureOfExperts(), objective)
    hold(said(composed(fusion, objective), gappy_batch()), said(mixture, gappy_batch()))


@shows("identity", "barycentre")
def test_a_mixture_of_the_barycentre_of_the_whole_is_that_barycentre():
    mixture, one = made("barycentre", mixture=True), made("barycentre")
    fusion = mixture.model.inference.fusion.subsets
    fusion.exact, fusion.members = False, torch.tensor([[True] * 3])
    hold(said(mixture, gappy_batch()), said(one, gappy_batch()))


@shows("identity", "mcvae")
def test_mcvae_is_the_mean_of_bounds_in_which_one_modality_explains_all():
    batch, method = gappy_batch(WHOLE), made("mcvae")
    evidence, use = method.model.evidence(batch), torch.ones(1, 6, dtype=torch.bool)
    bounds = []
    for m in range(3):
        q = evidence.posterior(torch.eye(3, dtype=torch.bool)[m][:, None].expand(3, 6))
        z = q.rsample(1, Still(0), stratified=True).z[:, m : m + 1]
        score = sum(WEIGHTS[name] * method.model.log_likelihood(name, z, use, batch)[0, 0] for name in NAMES)
        bounds.append(score - q.kl(method.model.prior))
    hold(said(method, batch, Still(0)), of_losses(method.model, -torch.stack(bounds).mean(dim=0)))


# --- agreement, and its absence ---------------------------------------------------------------------------------------


def agreeing(method: Method) -> Method:
    """All experts say the same of every item."""
    heads = list(method.model.inference.heads.values())
    with torch.no_grad():
        for head in heads:
            head.weight.zero_()
            head.bias.copy_(heads[0].bias)
    return method


@shows("identity", "barycentre", "hoelder", "gpoe", "mcvae")
@pytest.mark.parametrize(
    "fusion",
    [
        Barycentre(NAMES),
        HoelderPooling(3),
        HoelderPooling(3, exact=True),
        WeightedProduct(NAMES, LATENT_DIM),
        MixtureOfExperts(),
    ],
    ids=lambda fusion: type(fusion).__name__,
)
def test_where_experts_agree_each_of_them_is_what_they_say_together(fusion):
    batch = gappy_batch()
    some = PRESENT.any(dim=0)
    pooled, product = agreeing(composed(fusion, ELBO())), agreeing(composed(NO_PRIOR, ELBO()))
    # The product of one alone: the same expert, and nothing made sharper.
    posterior = product.model.encode(batch.only(NAMES[0]).take(torch.tensor([0])))
    mean, spread = posterior.mean.expand(int(some.sum()), -1), posterior.spread.expand(int(some.sum()), -1)
    found = pooled.model.encode(batch)
    assert_close(found.mean[some], mean)
    assert_close(found.spread[some], spread)
    # And so is the loss: that of the bound with one code for all.
    draws = posterior.rsample(1, Still(0)).z.expand(1, 1, len(batch), -1)
    use = some[None]
    score = sum(WEIGHTS[name] * pooled.model.log_likelihood(name, draws, use, batch)[0, 0] for name in NAMES)
    divergence = torch.where(some, posterior.kl(pooled.model.prior), 0.0)
    assert_close(said(pooled, batch, Still(0)).item_loss, (divergence - score).detach(), rtol=1e-8, atol=1e-8)


@shows("identity", "mmvm", "mmjsd")
def test_where_experts_agree_nothing_holds_them_together():
    batch = gappy_batch()
    step = Step(0, 1.0, Noise(3))
    for pairs in (True, False):
        method = agreeing(made("mmvm", pairs=pairs))
        divergence = objective_of(method)(method.model, batch, step).per_item["divergence"]
        assert_close(divergence, torch.zeros_like(divergence), atol=1e-9, rtol=0)
    method = agreeing(made("mmjsd"))
    with torch.no_grad():
        for head in method.model.inference.heads.values():
            head.bias.zero_()  # the prior itself
    divergence = objective_of(method)(method.model, batch, step).per_item["divergence"]
    assert_close(divergence, torch.zeros_like(divergence), atol=1e-9, rtol=0)


@shows("identity", "gpoe")
def test_gpoe_with_equal_logits_is_the_product_of_experts_made_wider():
    # Powers 1/n: each of n variances is n times as large.
    generator = torch.Generator().manual_seed(0)
    loc, log_scale = (torch.randn(3, 8, 2, generator=generator, dtype=torch.float64) for _ in range(2))
    wider = log_scale + 0.5 * PRESENT.sum(dim=0).clamp_min(1).double().log()[:, None]
    one = WeightedProduct(NAMES, 2)(Experts(loc, log_scale, PRESENT))
    other = NO_PRIOR(Experts(loc, wider, PRESENT))
    assert_close(one.loc, other.loc)
    assert_close(one.log_scale, other.log_scale)


@shows("identity", "gpoe")
def test_gpoe_that_trusts_one_modality_alone_believes_that_expert():
    generator = torch.Generator().manual_seed(0)
    loc, log_scale = (torch.randn(3, 8, 2, generator=generator, dtype=torch.float64) for _ in range(2))
    fusion = WeightedProduct(NAMES, 2).double()
    with torch.no_grad():
        fusion.logits[NAMES[1]].value.fill_(60.0)
    posterior = fusion(Experts(loc, log_scale, PRESENT))
    assert_close(posterior.mean[PRESENT[1]], loc[1][PRESENT[1]])
    assert_close(posterior.spread[PRESENT[1]], log_scale[1][PRESENT[1]].exp())


def far_apart(method: Method) -> Method:
    """Experts a hundred spreads from one another."""
    with torch.no_grad():
        for m, head in enumerate(method.model.inference.heads.values()):
            head.bias[:LATENT_DIM] = 100.0 * m
            head.bias[LATENT_DIM:] = -1.0
    return method


@shows("identity", "hoelder")
def test_the_hoelder_pool_of_experts_that_do_not_overlap_is_their_mixture():
    objective = ELBO(stratified=True)
    pool, mixture = (
        far_apart(composed(fusion, objective)) for fusion in (HoelderPooling(3, exact=True), MixtureOfExperts())
    )
    hold(said(pool, gappy_batch(), Still(0)), said(mixture, gappy_batch(), Still(0)))


@shows("identity", "hoelder+", "mmvae+")
def test_hoelder_plus_of_experts_that_do_not_overlap_is_mmvae_plus():
    one, other = made("hoelder+", private_dim=2), made("mmvae+", private_dim=2, **FIXED)
    batch, noise = gappy_batch(), Still(0)
    hold(said(far_apart(one), batch, noise), said(far_apart(other), batch, noise))


# --- no private codes, or silent ones ---------------------------------------------------------------------------------


@no_private
@shows("identity", "mmvae+", "mmvae")
@pytest.mark.parametrize("settings", [{}, {"family": "normal"}, {"learn_prior": False}])
@pytest.mark.parametrize("draws", [{}, {"num_draws": 3}, {"num_draws": 3, "stratified": False}])
def test_mmvae_plus_without_private_codes_is_mmvae(settings, draws):
    one = made("mmvae+", private_dim=0, **settings, **draws)
    hold(said(one, gappy_batch()), said(made("mmvae", dreg=False, **settings, **draws), gappy_batch()))


@no_private
@shows("identity", "hoelder+")
@pytest.mark.parametrize("draws", [{}, {"num_draws": 3}, {"num_draws": 3, "stratified": False}])
def test_hoelder_plus_without_private_codes_is_the_weighted_bound_of_the_pool(draws):
    pool = composed(HoelderPooling(3, exact=True), MixtureIWAE(**draws))
    hold(said(made("hoelder+", private_dim=0, **draws), gappy_batch()), said(pool, gappy_batch()))


@no_private
@shows("identity", "dmvae")
def test_dmvae_without_private_codes_is_the_mean_of_bounds_from_all_and_from_each():
    method, batch = made("dmvae", private_dim=0, beta=1.3), gappy_batch()
    model, noise = composed(ProductOfExperts(with_prior=True), ELBO()).model, Still(0)
    evidence, losses = model.evidence(batch), []
    every = [PRESENT, *(torch.eye(3, dtype=torch.bool)[m][:, None] & PRESENT for m in range(3))]
    for among in every:
        q = evidence.posterior(among)
        z, use = q.rsample(1, noise).z, among.any(dim=0)[None]
        score = sum(WEIGHTS[name] * model.log_likelihood(name, z, use, batch)[0, 0] for name in NAMES)
        losses.append(torch.where(use[0], 1.3 * q.kl(model.prior) - score, 0.0))
    # Of an item with one modality, all and each are the same: it has one bound, though counted here twice.
    mean = torch.stack(losses).sum(dim=0) / (1 + PRESENT.sum(dim=0))
    hold(said(method, batch, noise), of_losses(model, mean))


def silent(method: Method, plain: Method) -> Method:
    """Private codes that no decoder hears and that are the prior's; all else as in a method without them."""
    state = plain.model.state_dict()
    with torch.no_grad():
        for name, value in method.model.state_dict().items():
            if name.startswith("decoders.") and name.endswith("weight"):
                value.zero_()
                value[:, :LATENT_DIM] = state[name]
            elif name.startswith("inference.private_heads."):
                value.zero_()
    return method


@shows("identity", "mmvae+", "mmvae", "hoelder+")
@pytest.mark.parametrize("draws", [{}, {"num_draws": 3}])
def test_private_codes_that_say_nothing_change_nothing(draws):
    batch = gappy_batch()
    plain = made("mmvae", dreg=False, **FIXED, **draws)
    one = silent(made("mmvae+", private_dim=2, **FIXED, **draws), plain)
    assert_close(said(one, batch).item_loss, said(plain, batch).item_loss, rtol=1e-8, atol=1e-8)
    pool = composed(HoelderPooling(3, exact=True), MixtureIWAE(**draws))
    one = silent(made("hoelder+", private_dim=2, **draws), pool)
    assert_close(said(one, batch).item_loss, said(pool, batch).item_loss, rtol=1e-8, atol=1e-8)


@shows("identity", "dmvae")
def test_private_codes_that_say_nothing_change_nothing_in_dmvae():
    # Bounds from all and from each, which reconstruct all: of items with one modality, the MVAE.
    single = PRESENT.sum(dim=0) == 1
    plain = made("mvae")
    one = silent(made("dmvae", private_dim=2), plain)
    noise = Still(0)
    losses = [said(method, gappy_batch(), noise).item_loss[single] for method in (one, plain)]
    assert_close(*losses, rtol=1e-8, atol=1e-8)


# --- importance weights -----------------------------------------------------------------------------------------------


@shows("identity", "mmvae")
@pytest.mark.parametrize("stratified", [True, False])
def test_mmvae_with_one_draw_is_an_elbo_whose_divergence_is_drawn(stratified):
    method, batch = made("mmvae", dreg=False, stratified=stratified, beta=1.4, **FIXED), gappy_batch()
    model = method.model
    posterior = model.encode(batch)
    draws = posterior.rsample(1, Noise(3), stratified=stratified)
    explained = sum(
        WEIGHTS[name] * draws.expect(model.log_likelihood(name, draws.z, draws.use, batch)) for name in NAMES
    )
    zero = torch.zeros_like(draws.z)
    drawn = draws.expect(posterior.log_prob(draws.z) - log_prob("normal", draws.z, zero, zero))
    hold(said(method, batch), of_losses(model, 1.4 * drawn - explained))


@shows("identity", "mmvae", "mmvae+", "hoelder+", "cmvae")
@pytest.mark.parametrize(
    ("method", "settings"), [("mmvae", {"dreg": False}), ("mmvae+", {}), ("hoelder+", {}), ("cmvae", {})]
)
def test_draws_that_are_all_the_same_weigh_as_one(method, settings):
    one, many = (made(method, num_draws=count, **settings) for count in (1, 5))
    hold(said(one, gappy_batch(), Still(0)), said(many, gappy_batch(), Still(0)))


@shows("identity", "mmvae", "mmvae+", "cmvae", "hoelder+", "mmjsd")
@pytest.mark.parametrize("method", ["mmvae", "mmvae+", "cmvae", "hoelder+", "mmjsd"])
def test_of_one_modality_drawing_from_every_expert_is_drawing_from_one(method):
    single = PRESENT.sum(dim=0) == 1
    every, one = (made(method, stratified=stratified) for stratified in (True, False))
    losses = [said(made_so, gappy_batch(), Still(0)).item_loss for made_so in (every, one)]
    assert_close(losses[0][single], losses[1][single], rtol=1e-8, atol=1e-8)


@shows("identity", "cmvae", "mmvae+")
@pytest.mark.parametrize("family", ["normal", "laplace"])
def test_cmvae_and_mmvae_plus_differ_in_the_prior_of_what_is_shared(family):
    settings = {"private_dim": 2, "family": family, "beta": 1.4}
    one, other = made("cmvae", num_clusters=3, **settings), made("mmvae+", learn_prior=False, **settings)
    # Of an item with nothing each believes its own prior.
    batch, prior = gappy_batch(PRESENT[:, PRESENT.any(dim=0)]), one.model.prior
    posterior = ExpertEvidence.posterior(one.model.evidence(batch))
    draws = posterior.rsample(1, Noise(3), stratified=True)
    distribution = {"normal": Normal, "laplace": Laplace}[family]
    clusters = Independent(distribution(prior.loc, prior.log_scale.exp()), 1)
    mixture = MixtureSameFamily(Categorical(logits=prior.logits), clusters)
    standard = distribution(torch.zeros(LATENT_DIM).double(), 1.0).log_prob(draws.z).sum(-1)
    difference = of_losses(one.model, 1.4 * draws.expect(standard - mixture.log_prob(draws.z)))
    hold(said(one, batch), said(other, batch) + difference)


# --- MVAE and JMVAE ---------------------------------------------------------------------------------------------------


@shows("identity", "mvae")
def test_mvae_on_the_joint_bound_is_the_elbo_of_the_product_with_the_prior():
    elbo = composed(ProductOfExperts(with_prior=True), ELBO(beta=1.3))
    hold(said(made("mvae", scheme="joint", beta=1.3), gappy_batch()), said(elbo, gappy_batch()))


@shows("identity", "mvae", "gpoe")
@pytest.mark.parametrize("method", ["mvae", "gpoe"])
def test_of_items_with_one_modality_every_scheme_is_the_elbo(method):
    single = torch.eye(3, dtype=torch.bool).repeat(1, 2)
    batch, trained = gappy_batch(single), made(method)
    for objective in (SubsetELBO(random_subsets=0), SubsetELBO(random_subsets=2)):
        hold(
            said(with_objective(trained, objective), batch, Still(0)),
            said(with_objective(trained, ELBO()), batch, Still(0)),
        )


@shows("identity", "mvae")
def test_two_modalities_have_no_other_subsets():
    pair = PRESENT.clone()
    pair[2] = False
    batch = gappy_batch(pair)
    hold(said(made("mvae", scheme="subsampled"), batch), said(made("mvae", scheme="separate"), batch))


@shows("identity", "mvae")
def test_mvae_without_random_subsets_is_the_mean_of_the_bounds_of_all_and_of_each():
    batch, trained = gappy_batch(), made("mvae", beta=1.3)
    separate = said(made("mvae", scheme="separate", beta=1.3), batch)
    hold(separate, said(with_objective(trained, SubsetELBO(beta=1.3, random_subsets=0)), batch))
    # Items with all three modalities have a random subset, too, where there are any.
    same = torch.isclose(said(trained, batch).item_loss, separate.item_loss)
    assert torch.equal(same, PRESENT.sum(dim=0) < 3)


def joint_network(objective, fusion="attention"):
    inference = partial(JointInference, fusion=NO_PRIOR, joint=feature_fusion(fusion))
    return composed(inference, objective)


@shows("identity", "jmvae")
@pytest.mark.parametrize("fusion", ["concat", "mean", "attention"])
def test_jmvae_at_alpha_zero_is_the_elbo_of_the_joint_network(fusion):
    batch = gappy_batch(WHOLE)
    hold(said(made("jmvae", alpha=0.0, fusion=fusion), batch), said(joint_network(ELBO(), fusion), batch))


@shows("identity", "jmvae")
def test_jmvae_grows_with_alpha_by_the_divergences_from_its_experts():
    joint = made("jmvae", alpha=0.3)
    terms = JointELBO(alpha=0.3)(joint.model, gappy_batch(), Step(0, 1.0, Noise(3)))
    between = of_losses(joint.model, 0.3 * terms.per_item["divergence/experts"])
    hold(said(joint, gappy_batch()), said(made("jmvae", alpha=0.0), gappy_batch()) + between)


# --- MMVM -------------------------------------------------------------------------------------------------------------


@shows("identity", "mmvm")
def test_mmvm_starts_as_vaes_side_by_side():
    method, batch = made("mmvm", beta=1.3), gappy_batch()
    each: list[Said] = [
        said(composed(MixtureOfExperts(), ELBO(beta=1.3)), batch.only(name), Still(0)) for name in NAMES
    ]
    hold(said(method, batch, Still(0), fraction=0.0), each[0] + each[1] + each[2])


@shows("identity", "mmvm")
@pytest.mark.parametrize("pairs", [True, False])
def test_mmvm_moves_on_a_line_from_its_start_to_its_end(pairs):
    method, batch = made("mmvm", pairs=pairs, anneal=0.5), gappy_batch()
    start, half, end = (said(method, batch, fraction=fraction) for fraction in (0.0, 0.125, 0.5))
    hold(half, 0.75 * start + 0.25 * end)
    hold(end, said(with_objective(method, SoftSharing(pairs=pairs)), batch))
