"""The sampler draws from the density of the codes."""

from __future__ import annotations

import torch

from isthmus.noise import Noise
from isthmus.samplers import MixtureSampler, num_components_for


def _two_moons(num_items=4000):
    generator = torch.Generator().manual_seed(0)
    side = (torch.rand(num_items, generator=generator) < 0.25).float()
    loc = torch.stack([4 * side - 2, 1 - side], dim=1)
    return loc + 0.3 * torch.randn(num_items, 2, generator=generator)


def test_draws_have_the_moments_of_the_codes():
    codes = _two_moons()
    drawn = MixtureSampler.fit(codes, None).sample(20_000, Noise(1))
    torch.testing.assert_close(drawn.mean(0), codes.mean(0), atol=0.05, rtol=0)
    torch.testing.assert_close(torch.cov(drawn.T), torch.cov(codes.T), atol=0.08, rtol=0)
    share = (drawn[:, 0] > 0).float().mean()
    assert abs(share - 0.25) < 0.02, "a mode has lost its weight"
    assert (drawn[:, 0].abs() < 0.5).float().mean() < 0.01, "the gap between two modes was filled"


def test_spread_widens_what_is_fitted():
    codes = torch.zeros(2000, 2)
    drawn = MixtureSampler.fit(codes, torch.full_like(codes, 0.5)).sample(20_000, Noise(1))
    torch.testing.assert_close(drawn.std(0), torch.full((2,), 0.5), atol=0.03, rtol=0)


def test_one_seed_one_draw_and_state_survives():
    sampler = MixtureSampler.fit(_two_moons(500), None)
    again = MixtureSampler(len(sampler.loc), 2)
    again.load_state_dict(sampler.state_dict())
    assert torch.equal(sampler.sample(7, Noise(3)), again.sample(7, Noise(3)))
    assert not torch.equal(sampler.sample(7, Noise(3)), sampler.sample(7, Noise(4)))


def test_components_follow_from_the_number_of_codes():
    assert [num_components_for(n, 32) for n in (1, 100, 1600, 10**6)] == [1, 1, 10, 64]
