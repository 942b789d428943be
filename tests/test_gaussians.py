"""Closed forms against numerical integration and torch's own distributions."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Laplace, Normal, kl_divergence
from torch.testing import assert_close

from isthmus import gaussians

reals = st.floats(-3, 3)
log_scales = st.floats(-2, 2)


@given(reals, log_scales, reals, log_scales)
@settings(deadline=None, max_examples=50)
def test_divergences_equal_the_definitions(loc, log_scale, to_loc, to_log_scale):
    arguments = [torch.tensor([[x]], dtype=torch.float64) for x in (loc, log_scale, to_loc, to_log_scale)]
    q, p = (Normal(arguments[i], arguments[i + 1].exp()) for i in (0, 2))
    assert_close(gaussians.normal_kl(*arguments), kl_divergence(q, p).sum(-1))
    ours = gaussians.laplace_kl(*arguments)
    q, p = (Laplace(arguments[i], arguments[i + 1].exp()) for i in (0, 2))
    assert_close(ours, kl_divergence(q, p).sum(-1))
    assert float(ours) >= -1e-12


@pytest.mark.parametrize("family", ["normal", "laplace"])
def test_divergence_equals_numerical_integration(family):
    grid = torch.linspace(-60, 60, 400_001, dtype=torch.float64)[:, None]
    log_prob = getattr(gaussians, f"{family}_log_prob")
    q = torch.tensor([0.7]), torch.tensor([-0.4])
    p = torch.tensor([-1.1]), torch.tensor([0.6])
    log_q, log_p = (log_prob(grid, *(x.double() for x in d)) for d in (q, p))
    integral = torch.trapezoid(log_q.exp() * (log_q - log_p), grid[:, 0])
    assert_close(getattr(gaussians, f"{family}_kl")(*q, *p).double(), integral, atol=1e-5, rtol=0)


def test_densities_equal_torch():
    z, loc, log_scale = torch.randn(3, 7, 4, dtype=torch.float64).unbind(0)
    assert_close(gaussians.normal_log_prob(z, loc, log_scale), Normal(loc, log_scale.exp()).log_prob(z).sum(-1))
    assert_close(gaussians.laplace_log_prob(z, loc, log_scale), Laplace(loc, log_scale.exp()).log_prob(z).sum(-1))


@given(st.integers(1, 5), st.integers(0, 10_000))
@settings(deadline=None, max_examples=40)
def test_product_is_proportional_to_the_product_of_densities(count, seed):
    generator = torch.Generator().manual_seed(seed)
    loc, log_scale = (torch.randn(count, 2, 1, generator=generator, dtype=torch.float64) for _ in range(2))
    use = torch.rand(1, count, 2, generator=generator) < 0.7
    use[0, 0] = True
    got_loc, got_log_scale = gaussians.product_of_normals(loc, log_scale, use)
    # Proportional: the difference of log densities does not depend on z.
    z = torch.randn(5, 1, 2, 1, generator=generator, dtype=torch.float64)
    product = (gaussians.normal_log_prob(z, loc, log_scale) * use[0]).sum(dim=1)
    difference = product - gaussians.normal_log_prob(z[:, 0], got_loc[0], got_log_scale[0])
    assert_close(difference, difference[:1].expand_as(difference), rtol=1e-6, atol=1e-6)
    # Never wider than its sharpest expert.
    sharpest = torch.where(use[0][..., None], log_scale, torch.inf).amin(dim=0)
    assert bool((got_log_scale[0] <= sharpest + 1e-12).all())


@pytest.mark.parametrize("pool", [gaussians.product_of_normals, gaussians.barycentre_of_normals])
def test_many_pools_at_once_are_those_of_one_at_a_time(pool):
    # Few are added up, many contracted.
    loc, log_scale = torch.randn(2, 6, 3, 4, dtype=torch.float64).unbind(0)
    use = torch.rand(40, 6, 3) < 0.5
    assert use.shape[0] * use.shape[1] > gaussians.FEW_TERMS
    single = zip(*(pool(loc, log_scale, one[None]) for one in use), strict=True)
    for together, each in zip(pool(loc, log_scale, use), single, strict=True):
        assert_close(together, torch.cat(each), rtol=1e-12, atol=1e-12)


def test_product_of_nothing_is_the_standard_normal():
    loc, log_scale = gaussians.product_of_normals(
        torch.full((2, 1, 3), 5.0), torch.zeros(2, 1, 3), torch.zeros(1, 2, 1, dtype=torch.bool)
    )
    assert_close(loc, torch.zeros(1, 1, 3))
    assert_close(log_scale, torch.zeros(1, 1, 3))


def test_product_of_very_sharp_experts_is_exact():
    # An epsilon added to variances or precisions would show here.
    loc, log_scale = torch.tensor([[[1.0]], [[3.0]]]), torch.full((2, 1, 1), -6.0)
    got_loc, got_log_scale = gaussians.product_of_normals(loc, log_scale, torch.ones(1, 2, 1, dtype=torch.bool))
    assert_close(got_loc, torch.tensor([[[2.0]]]))
    assert_close(got_log_scale, torch.tensor([[[-6.0]]]) - 0.5 * torch.log(torch.tensor(2.0)))
