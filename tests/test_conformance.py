"""Every method, and every fusion under one generic bound, keeps every law."""

from __future__ import annotations

from functools import partial

import pytest

from isthmus.fusions import MixtureOfExperts, MixtureOfProducts, ProductOfExperts
from isthmus.methods import couple, get_method, list_methods
from isthmus.objectives.couplings import COUPLINGS
from isthmus.testing import CHECKS, run_check
from isthmus.testing.conformance import SIZES, method_of_fusion

FUSIONS = {
    "product with prior": lambda names: ProductOfExperts(with_prior=True),
    "product without prior": lambda names: ProductOfExperts(with_prior=False),
    "mixture": lambda names: MixtureOfExperts(),
    "mixture of products": MixtureOfProducts,
}
# Options that choose other code than the defaults do.
VARIANTS = {
    "fused by concatenation": ("fused", {"fusion": "concat"}),
    "fused by mean": ("fused", {"fusion": "mean"}),
    "fused by attention": ("fused", {"fusion": "attention"}),
    "fused behind a shared trunk": ("fused", {"share": "trunk"}),
    "fused after training alone": ("fused", {"pretrain": 0.3}),
    "masked with a fixed share": ("masked", {"visible": 0.25}),
    "mmvae with one expert drawn": ("mmvae", {"stratified": False, "num_draws": 3}),
    "mmvae with plain gradients": ("mmvae", {"dreg": False, "num_draws": 2}),
    "hoelder+ with one component drawn": ("hoelder+", {"stratified": False, "num_draws": 2}),
    "a mixture of barycentres": ("barycentre", {"mixture": True}),
    "cmvae of normals": ("cmvae", {"family": "normal", "num_clusters": 5}),
    "hoelder with all components": ("hoelder", {"exact": True}),
    "mmvm with drawn divergences": ("mmvm", {"pairs": False, "anneal": 0.0}),
    "mmjsd with every expert drawn": ("mmjsd", {"stratified": True}),
    "mmvae+ with one expert drawn": ("mmvae+", {"stratified": False, "num_draws": 3, "family": "normal"}),
    "cvae by mean, towards one modality": ("cvae", {"fusion": "mean", "target": "ragged1"}),
    "dvcca from the reference alone": ("dvcca", {"mu": 1.0, "reference": "label2"}),
    "dvcca-private from the reference alone": ("dvcca-private", {"mu": 1.0, "reference": "label2"}),
    "mvae on separate bounds": ("mvae", {"scheme": "separate"}),
    "mvae on the joint bound": ("mvae", {"scheme": "joint"}),
    "vq of two groups": ("vq", {"num_groups": 2, "num_words": 32, "fusion": "mean", "dropout": False}),
    "fsq of even levels": ("fsq", {"levels": [6, 8], "fusion": "concat"}),
    "mwae against a critic": ("mwae", {"match": "wasserstein", "share": "trunk"}),
    "mhvae of one level": ("mhvae", {"num_levels": 1}),
    "mvtcae behind a shared trunk": ("mvtcae", {"share": "trunk", "balance": "per_dimension"}),
    "jnf by mean, of one coupling": ("jnf", {"fusion": "mean", "num_layers": 1}),
    "telbo with weights of its own": ("telbo", {"own_balance": "nats", "fusion": "concat"}),
}


# Methods of certain codes, of one posterior, of private codes: each coupling has to go with all.
COUPLED = ("fused", "mvtcae", "mmvae+")


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


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("law", CHECKS)
def test_variant(law, variant):
    method, options = VARIANTS[variant]
    if not run_check(law, partial(get_method(method), **options), 3):
        pytest.skip("not declared by the method's capabilities")


@pytest.mark.parametrize("method", [pytest.param(m, marks=() if m == "mvtcae" else pytest.mark.slow) for m in COUPLED])
@pytest.mark.parametrize("coupling", COUPLINGS)
@pytest.mark.parametrize("law", CHECKS)
def test_coupled(law, coupling, method):
    def preset(modalities, *, latent_dim):
        return couple(get_method(method)(modalities, latent_dim=latent_dim), [coupling])

    if not run_check(law, preset, 3):
        pytest.skip("not declared by the method's capabilities")
