"""Posteriors against torch's own distributions, and draws against the weights they should follow."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Categorical, Independent, Laplace, MixtureSameFamily, Normal, kl_divergence
from torch.testing import assert_close

from isthmus.noise import Noise
from isthmus.posteriors import Draws, Mixture, Point
from isthmus.priors import LocationScale, StandardNormal

FAMILIES = {"normal": Normal, "laplace": Laplace}
J, B, D = 4, 5, 3


def _mixture(family: str = "normal", seed: int = 0) -> Mixture:
    """Random components; item 0 lacks two of them, item 1 has one alone."""
    generator = torch.Generator().manual_seed(seed)
    loc, log_scale = (torch.randn(J, B, D, generator=generator, dtype=torch.float64) for _ in range(2))
    weight = torch.rand(J, B, generator=generator, dtype=torch.float64)
    weight[:2, 0] = 0
    weight[1:, 1] = 0
    log_weight = (weight / weight.sum(dim=0)).log()
    return Mixture(loc, 0.5 * log_scale, log_weight, torch.eye(J, dtype=torch.bool), family)


def _torchs(mixture: Mixture) -> MixtureSameFamily:
    parts = FAMILIES[mixture.family](mixture.loc.movedim(0, 1), mixture.log_scale.exp().movedim(0, 1))
    return MixtureSameFamily(Categorical(mixture.weight.t()), Independent(parts, 1))


@pytest.mark.parametrize("family", FAMILIES)
def test_density_mean_and_spread_equal_torchs_mixture(family):
    mixture = _mixture(family)
    theirs = _torchs(mixture)
    z = torch.randn(6, 2, B, D, dtype=torch.float64)
    assert_close(mixture.log_prob(z), theirs.log_prob(z))
    assert_close(mixture.mean, theirs.mean)
    assert_close(mixture.spread, theirs.variance.sqrt())


def test_one_component_is_a_plain_normal():
    loc, log_scale = torch.randn(2, 1, B, D, dtype=torch.float64)
    one = Mixture(loc, log_scale, torch.zeros(1, B, dtype=torch.float64), torch.ones(1, 2, dtype=torch.bool))
    z = torch.randn(3, 1, B, D, dtype=torch.float64)
    assert_close(one.log_prob(z), Normal(loc[0], log_scale[0].exp()).log_prob(z).sum(-1))
    exact = kl_divergence(Normal(loc[0], log_scale[0].exp()), Normal(torch.zeros(D).double(), 1.0)).sum(-1)
    assert_close(one.kl(StandardNormal(D).double()), exact)


def test_components_are_drawn_by_their_weights():
    mixture, num_draws = _mixture(), 20_000
    component = mixture.rsample(num_draws, Noise(0)).component[:, 0]
    for item in range(B):
        share = torch.bincount(component[:, item], minlength=J).double() / num_draws
        assert_close(share, mixture.weight[:, item], atol=4 * (0.25 / num_draws) ** 0.5, rtol=0)
        assert not share[mixture.weight[:, item] == 0].any(), "a component of weight zero was drawn"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("stratified", [True, False])
def test_expectations_over_draws_converge_to_the_moments(family, stratified):
    mixture = _mixture(family)
    draws = mixture.rsample(40_000, Noise(1), stratified=stratified)
    mean = torch.stack([draws.expect(draws.z[..., d]) for d in range(D)], dim=1)
    second = torch.stack([draws.expect(draws.z[..., d] ** 2) for d in range(D)], dim=1)
    assert_close(mean, mixture.mean, atol=0.1, rtol=0)
    assert_close((second - mean**2).sqrt(), mixture.spread, atol=0.0, rtol=0.1)


def test_a_draw_comes_from_the_component_it_names():
    mixture = _mixture()
    draws = mixture.rsample(3, Noise(2))
    drawn = Noise(2).normal("z", B, 3, D, like=mixture.loc)
    for k in range(3):
        for item in range(B):
            j = draws.component[k, 0, item]
            expected = mixture.loc[j, item] + mixture.log_scale[j, item].exp() * drawn[item, k]
            assert_close(draws.z[k, 0, item], expected)
    assert draws.use.all()
    stratified = mixture.rsample(3, Noise(2), stratified=True)
    assert stratified.z.shape == (3, J, B, D)
    assert torch.equal(stratified.component, torch.arange(J)[None, :, None].expand(3, J, B))
    assert torch.equal(stratified.use, mixture.weight > 0)


def test_gradients_flow_through_draws():
    loc, log_scale = (torch.zeros(J, B, D, dtype=torch.float64, requires_grad=True) for _ in range(2))
    mixture = Mixture(loc, log_scale, _mixture().log_weight, torch.eye(J, dtype=torch.bool))
    for stratified in (True, False):
        draws = mixture.rsample(2, Noise(0), stratified=stratified)
        loc_gradient, scale_gradient = torch.autograd.grad(draws.z.sum(), (loc, log_scale))
        # d z / d loc = 1 for each draw; d z / d log_scale = z - loc.
        assert_close(loc_gradient.sum(), torch.tensor(float(draws.z.numel()), dtype=torch.float64))
        assert_close(scale_gradient.sum(), draws.z.sum().detach())
    assert not mixture.detach().rsample(1, Noise(0)).z.requires_grad


def test_expectation_ignores_what_stands_where_the_weight_is_zero():
    value = torch.tensor([[[1.0], [torch.inf]], [[3.0], [torch.nan]]])
    draws = Draws(torch.zeros(2, 2, 1, 1), torch.tensor([[1.0], [0.0]]), torch.zeros(2, 2, 1, dtype=torch.long))
    assert_close(draws.expect(value), torch.tensor([2.0]))


@pytest.mark.parametrize("family", FAMILIES)
def test_divergence_is_the_weighted_mean_over_components_and_bounds_the_true_one(family):
    mixture, prior = _mixture(family), LocationScale(D, family).double()
    parts = FAMILIES[family](mixture.loc, mixture.log_scale.exp())
    each = kl_divergence(parts, FAMILIES[family](torch.zeros(D).double(), torch.ones(D).double())).sum(-1)
    there = mixture.weight > 0
    assert_close(mixture.component_kl(prior), torch.where(there, each, 0.0))
    assert_close(mixture.kl(prior), (mixture.weight * each).sum(dim=0))
    draws = mixture.rsample(20_000, Noise(3), stratified=True)
    estimate = draws.expect(mixture.log_prob(draws.z) - prior.log_prob(draws.z))
    assert bool((estimate <= mixture.kl(prior) + 0.05).all())


def test_a_divergence_from_another_family_is_refused():
    with pytest.raises(
        ValueError, match="No closed form for the divergence of a laplace posterior from a normal prior"
    ):
        _mixture("laplace").kl(StandardNormal(D).double())


def test_a_point_claims_nothing():
    point = Point(torch.randn(B, D, requires_grad=True))
    assert point.spread is None
    draws = point.rsample(3, Noise(0))
    assert_close(draws.z, point.mean.expand(3, 1, B, D))
    assert_close(draws.expect(torch.ones(3, 1, B)), torch.ones(B))
    assert_close(point.kl(StandardNormal(D)), torch.zeros(B))
    assert point.component_kl(StandardNormal(D)).shape == (1, B)
    assert not point.detach().mean.requires_grad
    with pytest.raises(TypeError, match=r"A point code has no density. Choose a method with a bound, such as mvtcae"):
        point.log_prob(torch.zeros(B, D))


def test_priors_draw_from_their_own_density():
    for family in FAMILIES:
        prior = LocationScale(D, family, learned=True).double()
        prior.logits.data = torch.tensor([0.0, 1.0, -1.0]).double()
        assert_close(prior.log_scale.exp().mean(), torch.tensor(1.0).double(), msg="the mean scale is one")
        drawn = prior.sample(40_000, Noise(4)).detach()
        theirs = FAMILIES[family](torch.zeros(D).double(), prior.log_scale.detach().exp())
        assert_close(drawn.std(dim=0), theirs.stddev, rtol=0.05, atol=0)
        assert_close(prior.log_prob(drawn).detach(), theirs.log_prob(drawn).sum(-1))
    with pytest.raises(ValueError, match=r"Prior family 'cauchy' is unknown. Expected 'normal' or 'laplace'"):
        LocationScale(D, "cauchy")
