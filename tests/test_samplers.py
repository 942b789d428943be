"""The density of codes: what is drawn from it, and Bayes' rule with it as the prior."""

from __future__ import annotations

import torch
from torch.testing import assert_close

from isthmus.noise import Noise
from isthmus.samplers import CodeDensity
from isthmus.samplers.mixture import num_components_for


def _two_blobs(num_items=4000):
    generator = torch.Generator().manual_seed(0)
    side = (torch.rand(num_items, generator=generator) < 0.25).float()
    loc = torch.stack([4 * side - 2, 1 - side], dim=1)
    return loc + 0.3 * torch.randn(num_items, 2, generator=generator)


def test_draws_have_the_moments_of_the_codes():
    codes = _two_blobs()
    drawn = CodeDensity.fit(codes).sample(20_000, Noise(1)).float()
    assert_close(drawn.mean(0), codes.mean(0), atol=0.05, rtol=0)
    assert_close(torch.cov(drawn.T), torch.cov(codes.T), atol=0.08, rtol=0)
    share = (drawn[:, 0] > 0).float().mean()
    assert abs(share - 0.25) < 0.02, "a mode has lost its weight"
    assert (drawn[:, 0].abs() < 0.5).float().mean() < 0.01, "the gap between two modes was filled"


def test_items_of_which_little_is_known_are_not_fitted():
    codes = torch.cat([_two_blobs(2000), torch.tensor([[0.0, 0.5]]).expand(1500, 2)])  # half-way between the blobs
    observed = torch.cat([torch.arange(2000) % 2 + 2, torch.ones(1500, dtype=torch.long)])
    drawn = CodeDensity.fit(codes, observed).sample(20_000, Noise(1)).float()
    assert (drawn[:, 0].abs() < 0.5).float().mean() < 0.01
    # Where all items have as little, all are fitted.
    poor = CodeDensity.fit(codes[:2000], torch.ones(2000, dtype=torch.long))
    assert torch.equal(poor.loc, CodeDensity.fit(codes[:2000]).loc)


def test_one_seed_one_draw_and_state_survives():
    density = CodeDensity.fit(_two_blobs(500))
    again = CodeDensity(len(density.loc), 2)
    again.load_state_dict(density.state_dict())
    assert torch.equal(density.sample(7, Noise(3)), again.sample(7, Noise(3)))
    assert not torch.equal(density.sample(7, Noise(3)), density.sample(7, Noise(4)))


def test_where_codes_fill_the_prior_a_draw_is_one_from_the_posterior():
    # One component N(0, I): Bayes' rule gives q itself back.
    loc, log_scale = torch.tensor([0.8, -0.5]), torch.tensor([-1.0, -0.3])
    density = CodeDensity(1, 2)
    drawn = density.condition(loc.expand(40_000, 2), log_scale.expand(40_000, 2), torch.zeros(2), Noise(0))
    assert_close(drawn.mean(0), loc, atol=0.02, rtol=0)
    assert_close(drawn.std(0), log_scale.exp(), atol=0.02, rtol=0)


def test_a_posterior_that_says_nothing_gives_the_density_of_the_codes():
    codes = _two_blobs()
    density = CodeDensity.fit(codes)
    nothing = torch.zeros(20_000, 2)
    drawn = density.condition(nothing, nothing, torch.zeros(2), Noise(0))
    assert_close(drawn.mean(0), codes.mean(0), atol=0.05, rtol=0)
    assert_close(torch.cov(drawn.T), torch.cov(codes.T), atol=0.08, rtol=0)


def test_bayes_rule_equals_importance_sampling():
    density = CodeDensity.fit(_two_blobs())
    loc, log_scale, prior = torch.tensor([0.3, 0.4]), torch.tensor([0.2, -0.9]), torch.tensor([0.5, 0.1])
    drawn = density.condition(loc.expand(50_000, 2), log_scale.expand(50_000, 2), prior, Noise(0)).double()
    z = density.sample(400_000, Noise(5))
    ratio = torch.distributions.Normal(loc, log_scale.exp()).log_prob(z).sum(-1)
    weight = (ratio - torch.distributions.Normal(0, prior.exp()).log_prob(z).sum(-1)).softmax(0)
    mean = (weight[:, None] * z).sum(0)
    covariance = torch.einsum("n,nd,ne->de", weight, z - mean, z - mean)
    assert_close(drawn.mean(0), mean, atol=0.03, rtol=0)
    assert_close(torch.cov(drawn.T), covariance, atol=0.06, rtol=0)


def test_an_items_draw_does_not_depend_on_the_chunk(monkeypatch):
    density = CodeDensity.fit(_two_blobs(500))
    loc, log_scale = torch.randn(9, 2), torch.full((9, 2), -0.5)
    whole = density.condition(loc, log_scale, torch.zeros(2), Noise(0))
    monkeypatch.setattr("isthmus.samplers.mixture.MAX_NUMBERS", 1)
    assert_close(density.condition(loc, log_scale, torch.zeros(2), Noise(0)), whole)


def test_components_follow_from_the_number_of_codes():
    assert [num_components_for(n, 32) for n in (1, 100, 1600, 10**6)] == [1, 1, 10, 32]
