from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.cross_decomposition import CCA
from torch.testing import assert_close

from isthmus.correlations import canonical_correlation, correlation


def _pair(num_items=200, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shared = torch.randn(num_items, 2, generator=generator, dtype=torch.float64)
    first, second = (torch.randn(num_items, size, generator=generator, dtype=torch.float64) for size in (4, 3))
    first[:, :2] += shared
    second[:, 1:] += 2 * shared
    return first, second


def test_canonical_correlations_are_those_of_scikit_learn():
    first, second = _pair()
    fitted = CCA(n_components=3, max_iter=5000, tol=1e-12).fit(first.numpy(), second.numpy())
    one, two = fitted.transform(first.numpy(), second.numpy())
    expected = sum(np.corrcoef(one[:, d], two[:, d])[0, 1] for d in range(3))
    assert_close(canonical_correlation(first, second, ridge=0.0).item(), expected, atol=1e-6, rtol=0)


def test_canonical_correlations_heed_no_linear_map():
    first, second = _pair()
    turn = torch.randn(4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    before = canonical_correlation(first, second, ridge=0.0)
    assert_close(canonical_correlation(3 * first @ turn + 5, second, ridge=0.0), before)
    assert_close(canonical_correlation(first, first @ turn, ridge=0.0).item(), 4.0)


def test_the_gradient_is_finite_where_correlations_are_equal_and_where_there_is_one_item():
    first, _ = _pair()
    codes = first.clone().requires_grad_()
    canonical_correlation(codes, codes.detach().clone()).backward()
    assert torch.isfinite(codes.grad).all()
    alone = first[:1].clone().requires_grad_()
    value = canonical_correlation(alone, first[:1])
    value.backward()
    assert value == 0 and alone.grad.abs().sum() == 0


@pytest.mark.parametrize("scale", [1.0, -2.0])
def test_correlation_by_dimension(scale):
    first, _ = _pair()
    expected = [np.corrcoef(first[:, d], scale * first[:, d] + first[:, 0])[0, 1] for d in range(4)]
    found = correlation(first, scale * first + first[:, :1])
    assert_close(found, torch.tensor(np.array(expected)), atol=1e-8, rtol=0)
    assert correlation(first, torch.zeros_like(first)).abs().sum() == 0
