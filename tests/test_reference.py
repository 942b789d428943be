"""DVCCA: the modality that speaks for an item, and the bound of the paper, item by item, with every pattern of gaps."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch.distributions import Normal, kl_divergence
from torch.testing import assert_close

from isthmus.fusions import Experts, FirstExpert
from isthmus.inference import PrivateInference
from isthmus.methods.base import build_method
from isthmus.noise import Noise
from isthmus.objectives import ReferenceELBO, Step
from isthmus.objectives.reference import one_other
from isthmus.testing.conformance import toy_batch, toy_modalities
from isthmus.testing.worlds import LinearGaussian
from shown import shows
from test_objectives import (
    LATENT_DIM,
    NAMES,
    NUM_ITEMS,
    PRESENT,
    PRIVATE_DIM,
    _batch,
    _model,
    assembled,
    expert,
    explained,
    hold,
    normal_noise,
    observed,
    place,
    prior,
    private_expert,
    product,
)

ORDER = ["ragged1", "label2", "vector0"]
DRAWN = Noise(5)


def first(item: int) -> int | None:
    """The modality that speaks for an item."""
    return next((NAMES.index(name) for name in ORDER if NAMES.index(name) in observed(item)), None)


def others() -> torch.Tensor:
    """The other modality that was drawn for each item."""
    chosen = torch.zeros_like(PRESENT)
    for item in range(NUM_ITEMS):
        if observed(item):
            chosen[first(item), item] = True
    return one_other(PRESENT, chosen, DRAWN)


def test_the_first_of_what_an_item_has_speaks_and_nobody_else_is_read():
    generator = torch.Generator().manual_seed(0)
    loc, log_scale = torch.randn(2, 3, NUM_ITEMS, LATENT_DIM, generator=generator)
    loc.requires_grad_()
    q = FirstExpert(NAMES, ORDER)(Experts(loc, log_scale, PRESENT))
    for item in range(NUM_ITEMS):
        m = first(item)
        expected = torch.zeros(2, LATENT_DIM) if m is None else torch.stack([loc[m, item], log_scale[m, item]])
        assert torch.equal(torch.stack([q.loc[0, item], q.log_scale[0, item]]), expected)
    gradient = torch.autograd.grad(q.loc.sum(), loc)[0][..., 0].bool()
    assert torch.equal(gradient, FirstExpert(NAMES, ORDER).first(PRESENT))
    laplace = FirstExpert(NAMES, ORDER)(Experts(loc, log_scale, PRESENT, "laplace"))
    assert laplace.family == "laplace"


def test_any_other_modality_of_an_item_may_be_drawn_and_never_the_first():
    has = torch.tensor([[1, 1, 1, 1], [0, 1, 0, 1], [0, 1, 0, 0], [0, 0, 0, 0]], dtype=torch.bool).T
    head = torch.tensor([[0, 1, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]], dtype=torch.bool).T
    repeats = 3000
    drawn = one_other(has.repeat_interleave(repeats, dim=1), head.repeat_interleave(repeats, dim=1), Noise(0))
    share = drawn.float().unflatten(1, (4, repeats)).mean(dim=2)
    expected = torch.tensor([[1, 0, 1, 1], [0, 0, 0, 3], [0, 0, 0, 0], [0, 0, 0, 0]]).T / 3
    assert_close(share, expected, atol=4 * (0.25 / repeats) ** 0.5, rtol=0)


@shows("second implementation", "dvcca")
@pytest.mark.parametrize("mu", [1.0, 0.3])
def test_the_bound_from_the_reference_equals_its_formula(mu):
    model, batch = _model(FirstExpert(NAMES, ORDER)), _batch()
    terms = ReferenceELBO(mu, beta=1.7, warmup=0.5)(model, batch, Step(0, 0.25, DRAWN))
    losses, bounds = [], []
    for item in range(NUM_ITEMS):
        has, second = observed(item), others()[:, item].nonzero().flatten().tolist()
        sources = [("z", [first(item)] if has else [], mu if second else 1.0), ("z/other", second, 1 - mu)]
        loss = bound = torch.zeros((), dtype=torch.float64)
        for name, source, weight in sources:
            if name == "z" or source:
                q = product([expert(model, batch, m, item) for m in source])
                z = q.loc + q.scale * normal_noise(5, name, 1, 1, LATENT_DIM)[item, 0, 0]
                kl = kl_divergence(q, prior(model)).sum()
                loss = loss + weight * (1.7 * 0.5 * kl - explained(model, batch, has, z, item))
                bound = bound + weight * (explained(model, batch, has, z, item, weighted=False) - kl)
        losses.append(loss)
        bounds.append(bound)
    assert others().any()
    hold(model, terms, losses, bounds)


@shows("second implementation", "dvcca-private")
@pytest.mark.parametrize("mu", [1.0, 0.3])
def test_private_codes_are_each_modalitys_own_whoever_speaks(mu):
    inference = partial(PrivateInference, fusion=FirstExpert(NAMES, ORDER), private_dim=PRIVATE_DIM)
    model, batch = _model(inference, private_dim=PRIVATE_DIM), _batch()
    terms = ReferenceELBO(mu, beta=1.3)(model, batch, Step(0, 1.0, DRAWN))
    size = LATENT_DIM + 3 * PRIVATE_DIM
    standard = Normal(torch.zeros(PRIVATE_DIM).double(), torch.ones(PRIVATE_DIM).double())
    losses, bounds = [], []
    for item in range(NUM_ITEMS):
        has, second = observed(item), others()[:, item].nonzero().flatten().tolist()
        sources = [("z", [first(item)] if has else [], mu if second else 1.0), ("z/other", second, 1 - mu)]
        loss = bound = torch.zeros((), dtype=torch.float64)
        for name, source, weight in sources:
            if name == "z" or source:
                drawn = normal_noise(5, name, 1, 1, size)[item, 0, 0]
                q = product([expert(model, batch, m, item) for m in source])
                kl, w = kl_divergence(q, product([])).sum(), {}
                for m, modality in enumerate(NAMES):
                    own = private_expert(model, batch, m, item) if m in has else standard
                    w[modality] = own.loc + own.scale * drawn[place(modality)]
                    kl = kl + kl_divergence(own, standard).sum()
                z = assembled(q.loc + q.scale * drawn[:LATENT_DIM], w)
                loss = loss + weight * (1.3 * kl - explained(model, batch, has, z, item))
                bound = bound + weight * (explained(model, batch, has, z, item, weighted=False) - kl)
        losses.append(loss)
        bounds.append(bound)
    hold(model, terms, losses, bounds)


@shows("closed form", "dvcca")
def test_the_bound_is_exact_where_the_reference_tells_all():
    # One modality alone: the exact posterior is its expert, and the bound is the evidence.
    world = LinearGaussian(latent_dim=2, features={"image": 3})
    model, batch = world.vae(FirstExpert(["image"], ["image"])), world.sample(6)
    steps = (Step(index, 1.0, Noise(0, index)) for index in range(4000))
    with torch.no_grad():
        bound = torch.stack([ReferenceELBO()(model, batch, step).bound for step in steps]).mean(dim=0)
    assert_close(bound, world.log_evidence(batch), atol=0.1, rtol=0)


@pytest.mark.parametrize("method", ["dvcca", "dvcca-private"])
def test_the_reference_is_the_largest_the_first_by_name_or_what_was_asked_for(method):
    toys = toy_modalities(5)  # dimensions: vectors 3, ragged sequences 6, labels 1

    def order(**options):
        fusion = build_method(method, toys, latent_dim=2, options=options).model.inference.fusion
        return [list(toys)[fusion.place.index(place)] for place in range(5)]

    assert order() == ["ragged1", "ragged4", "vector0", "vector3", "label2"]
    assert order(reference="vector3") == ["vector3", "ragged1", "ragged4", "vector0", "label2"]


@pytest.mark.parametrize("method", ["dvcca", "dvcca-private"])
def test_codes_come_from_the_reference_alone_where_it_is_there(method):
    made = build_method(method, toy_modalities(3), latent_dim=LATENT_DIM, options={"reference": "label2"})
    model, batch = made.model.eval(), toy_batch(3, missing=0.0)
    with torch.no_grad():
        whole, alone = model.encode(batch).mean, model.encode(batch.only("label2")).mean
        next_one, next_alone = model.encode(batch.drop("label2")).mean, model.encode(batch.only("ragged1")).mean
    assert torch.equal(model.shared(whole), model.shared(alone))
    assert torch.equal(model.shared(next_one), model.shared(next_alone))


@pytest.mark.parametrize("method", ["dvcca", "dvcca-private"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reference": "labl2"}, r"reference='labl2' is no modality\. Expected vector0, ragged1, label2, or none\."),
        ({"mu": 1.5}, r"mu=1\.5 is no weight of one bound among others\. Expected 0 <= mu <= 1\."),
    ],
)
def test_wrong_options_are_told_before_training(method, options, message):
    with pytest.raises(ValueError, match=message):
        build_method(method, toy_modalities(3), latent_dim=2, options=options)
