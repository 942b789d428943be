"""In a linear-Gaussian world everything is known: posteriors, bounds and estimates are held to the exact answer."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from isthmus.fusions import MixtureOfExperts, MixtureOfProducts, ProductOfExperts
from isthmus.noise import Noise
from isthmus.objectives import ELBO, MixtureIWAE, Step, SubsetELBO, TotalCorrelation
from isthmus.testing import LinearGaussian, importance_weighted_bound
from shown import shows

FEATURES = {"image": 3, "audio": 2, "text": 2}
FUSIONS = {
    "product": lambda: ProductOfExperts(with_prior=True),
    "product without prior": lambda: ProductOfExperts(with_prior=False),
    "mixture": MixtureOfExperts,
    "mixture of products": lambda: MixtureOfProducts(list(FEATURES)),
}


@pytest.fixture(scope="module")
def world():
    return LinearGaussian(latent_dim=2, features=FEATURES)


def _gappy(world, num_items=8):
    batch = world.sample(num_items).drop("image", at=[0, 3]).drop("audio", at=[0, 1])
    return batch.drop("text", at=[2, 3])


def test_the_world_agrees_with_itself(world):
    # p(x) = p(x|z) p(z) / p(z|x), at any z and any pattern of gaps.
    batch = _gappy(world)
    loc, scale = world.posterior(batch)
    model = world.vae(ProductOfExperts())
    for seed in range(3):
        z = torch.randn(len(batch), 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        joint = model.prior.log_prob(z)
        for name in batch:
            joint = joint + model.log_likelihood(name, z[None, None], torch.ones(1, len(batch)).bool(), batch)[0, 0]
        posterior = torch.distributions.Normal(loc, scale).log_prob(z).sum(-1)
        assert_close(joint - posterior, world.log_evidence(batch))


@shows("closed form", "mvae")
def test_the_product_with_prior_is_the_exact_posterior(world):
    batch = _gappy(world)
    posterior = world.vae(ProductOfExperts()).encode(batch)
    loc, scale = world.posterior(batch)
    assert_close(posterior.mean, loc)
    assert_close(posterior.spread, scale)


@shows("closed form", "mvtcae", "mmvae", "mopoe")
def test_a_single_expert_without_prior_is_the_exact_posterior_of_one_modality(world):
    batch = world.sample(5).only("audio")
    for fusion in ("product without prior", "mixture", "mixture of products"):
        posterior = world.vae(FUSIONS[fusion]()).encode(batch)
        loc, scale = world.posterior(batch)
        assert_close(posterior.mean, loc)
        assert_close(posterior.spread, scale)


@shows("closed form", "mvae")
def test_the_elbo_of_the_exact_posterior_is_the_evidence(world):
    # With the exact posterior every draw gives log p(x|z) - log q(z)/p(z) = log p(x); the mean over draws converges.
    batch, model = _gappy(world), world.vae(ProductOfExperts())
    terms = ELBO(num_draws=4000)(model, batch, Step(0, 1.0, Noise(0)))
    assert_close(terms.bound, world.log_evidence(batch), atol=0.15, rtol=0)


@pytest.mark.parametrize("fusion", FUSIONS)
@shows("closed form", "mvae", "mvtcae", "mmvae", "mopoe")
def test_iwae_reaches_the_evidence(world, fusion):
    batch, model = _gappy(world), world.vae(FUSIONS[fusion]())
    posterior = model.encode(batch)
    with torch.no_grad():
        draws = posterior.rsample(20_000, Noise(0))
        joint = model.prior.log_prob(draws.z)
        for name in batch:
            joint = joint + model.log_likelihood(name, draws.z, draws.use, batch)
        estimate = importance_weighted_bound(joint, posterior.log_prob(draws.z))[0]
    assert_close(estimate, world.log_evidence(batch), atol=0.05, rtol=0)


@pytest.mark.parametrize(
    ("objective", "fusion"),
    [
        (ELBO(), "product"),
        (ELBO(), "mixture of products"),
        (SubsetELBO(random_subsets=2), "product"),
        (MixtureIWAE(), "mixture"),
        (MixtureIWAE(num_draws=10), "mixture"),
        (MixtureIWAE(stratified=False), "mixture"),
        (TotalCorrelation(), "product without prior"),
    ],
)
@shows("closed form", "mvae", "mopoe", "mmvae", "mvtcae")
def test_bounds_lie_below_the_evidence(world, objective, fusion):
    batch, model = _gappy(world), world.vae(FUSIONS[fusion]())
    with torch.no_grad():
        bounds = torch.stack([objective(model, batch, Step(0, 1.0, Noise(seed))).bound for seed in range(400)])
    error = bounds.std(dim=0) / len(bounds) ** 0.5
    assert bool((bounds.mean(dim=0) <= world.log_evidence(batch) + 4 * error + 1e-9).all())


@shows("closed form", "mmvae")
def test_more_draws_tighten_the_mixture_bound(world):
    batch, model = _gappy(world, 32), world.vae(MixtureOfExperts())
    with torch.no_grad():
        steps = [Step(0, 1.0, Noise(seed)) for seed in range(50)]
        one, many = (
            torch.stack([MixtureIWAE(k)(model, batch, step).bound.mean() for step in steps]).mean() for k in (1, 20)
        )
    assert one < many < world.log_evidence(batch).mean()


@shows("identity", "mmvae")
def test_stratified_draws_and_random_ones_estimate_the_same_bound(world):
    batch, model = _gappy(world), world.vae(MixtureOfExperts())
    with torch.no_grad():
        means, errors = [], []
        for stratified in (True, False):
            runs = torch.stack(
                [MixtureIWAE(stratified=stratified)(model, batch, Step(0, 1.0, Noise(s))).bound for s in range(1500)]
            )
            means.append(runs.mean(dim=0))
            errors.append(runs.std(dim=0) / len(runs) ** 0.5)
    difference = (means[0] - means[1]).abs()
    assert bool((difference < 4.5 * (errors[0] ** 2 + errors[1] ** 2).sqrt()).all())
