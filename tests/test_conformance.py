"""Every method, and every fusion under one generic bound, keeps every law."""

from __future__ import annotations

import pytest

from isthmus.fusions import MixtureOfExperts, MixtureOfProducts, ProductOfExperts
from isthmus.methods import list_methods
from isthmus.testing import CHECKS, run_check
from isthmus.testing.conformance import SIZES, method_of_fusion

FUSIONS = {
    "product with prior": lambda names: ProductOfExperts(with_prior=True),
    "product without prior": lambda names: ProductOfExperts(with_prior=False),
    "mixture": lambda names: MixtureOfExperts(),
    "mixture of products": MixtureOfProducts,
}


def _sizes():
    # The fast suite holds every law at 3 modalities, where all branches are met; the rest is for `make test-all`.
    return [pytest.param(size, marks=() if size == 3 else pytest.mark.slow) for size in SIZES]


@pytest.mark.parametrize("count", _sizes())
@pytest.mark.parametrize("method", list_methods())
@pytest.mark.parametrize("law", CHECKS)
def test_method(law, method, count):
    if not run_check(law, method, count):
        pytest.skip("not declared by the method's capabilities")


@pytest.mark.parametrize("count", _sizes())
@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("law", CHECKS)
def test_fusion(law, fusion, count):
    assert run_check(law, method_of_fusion(FUSIONS[fusion]), count)
