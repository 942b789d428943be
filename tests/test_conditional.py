"""CVAE: its bound item by item, and against what is exactly likely in a linear world; the parts that are given."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch.distributions import Normal, kl_divergence
from torch.testing import assert_close

from isthmus.batch import take
from isthmus.fusions import Attention, Concatenation, Mean, ProductOfExperts
from isthmus.inference import FusedInference
from isthmus.methods.base import build_method
from isthmus.model import pool
from isthmus.noise import Noise
from isthmus.objectives import ConditionalELBO, Step, random_parts
from isthmus.testing.conformance import toy_batch, toy_modalities
from isthmus.testing.worlds import LinearGaussian
from shown import shows
from test_objectives import (
    LATENT_DIM,
    NAMES,
    NUM_ITEMS,
    PRESENT,
    _batch,
    _model,
    explained,
    hold,
    normal_noise,
    observed,
    product,
)


def said(model, batch, subset, item) -> Normal:
    """What the network says of some modalities of one item, from its encoders on."""
    if not subset:
        return product([])
    rows = {NAMES[m]: take(batch.values[NAMES[m]], batch.slots(NAMES[m])[item : item + 1]) for m in subset}
    features = {name: pool(model.encoders[name](row)) for name, row in rows.items()}
    present = torch.tensor([[m in subset] for m in range(3)])
    loc, raw = model.inference.head(model.inference.fusion(features, present))[0].chunk(2)
    return Normal(loc, torch.exp(6 * torch.tanh(raw / 6)))


@shows("second implementation", "cvae")
@pytest.mark.parametrize("target", [None, "ragged1"])
@pytest.mark.parametrize("fusion", [Concatenation, Mean, Attention])
def test_the_conditional_bound_equals_its_formula(fusion, target):
    model, batch = _model(partial(FusedInference, fusion=fusion)), _batch()
    noise, losses, kinds = Noise(8), [], set()
    terms = ConditionalELBO(beta=1.7, warmup=0.5, target=target)(model, batch, Step(0, 0.25, noise))
    last = None if target is None else NAMES.index(target)
    given = random_parts(PRESENT, noise, "given", least=0, last=last)
    drawn = normal_noise(8, "z", 1, 1, LATENT_DIM)
    for item in range(NUM_ITEMS):
        has = observed(item)
        condition = [m for m in has if given[m, item]]
        told = [m for m in has if m not in condition]
        q, p = said(model, batch, has, item), said(model, batch, condition, item)
        z = q.loc + q.scale * drawn[item, 0, 0]
        losses.append(1.7 * 0.5 * kl_divergence(q, p).sum() - explained(model, batch, told, z, item))
        kinds.add((len(condition), len(told)))
    assert len(kinds) > 4, f"the draw shows few cases: {kinds}"
    hold(model, terms, losses, None)
    assert terms.bound is None, "it bounds what is told, given the rest, and not the evidence of all"


@shows("closed form", "cvae")
def test_with_exact_posteriors_the_bound_is_the_conditional_likelihood():
    # A product of exact experts is the exact posterior of any part: nothing is lost between bound and likelihood.
    world = LinearGaussian(latent_dim=2, features={"image": 3, "audio": 2, "text": 2})
    batch = world.sample(6).drop("image", at=0).drop("text", at=[0, 1])
    model, noise = world.vae(ProductOfExperts()), Noise(3)
    given = random_parts(batch.presence(model.modalities), noise, "given", least=0)
    parts = batch.keep({name: given[m] for m, name in enumerate(model.modalities)})

    class Given(Noise):
        """New codes for the same parts."""

        def uniform(self, name, rows, *shape, like):
            return noise.uniform(name, rows, *shape, like=like)

    steps = (Step(index, 1.0, Given(index)) for index in range(4000))
    with torch.no_grad():
        bound = -torch.stack([ConditionalELBO()(model, batch, step).item_loss for step in steps]).mean(dim=0)
    assert given.any() and not (given == batch.presence(model.modalities)).all()
    assert_close(bound, world.log_evidence(batch) - world.log_evidence(parts), atol=0.1, rtol=0)


def test_parts_from_nothing_to_all_but_one_are_equally_likely():
    has = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0], [0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]], dtype=torch.bool).T
    repeats = 4000
    parts = random_parts(has.repeat_interleave(repeats, dim=1), Noise(0), "given", least=0)
    assert not (parts & ~has.repeat_interleave(repeats, dim=1)).any()
    for item, size in enumerate([4, 3, 2, 1, 0]):
        drawn = parts[:, item * repeats : (item + 1) * repeats]
        share = torch.bincount(drawn.sum(dim=0), minlength=5) / repeats
        expected = torch.tensor([1.0 / max(size, 1) if n < max(size, 1) else 0.0 for n in range(5)])
        assert_close(share, expected, atol=4 * (0.25 / repeats) ** 0.5, rtol=0)


def test_the_target_is_never_given_and_all_else_may_be():
    has = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 1], [0, 1, 0]], dtype=torch.bool).T
    repeats = 3000
    parts = random_parts(has.repeat_interleave(repeats, dim=1), Noise(0), "given", least=0, last=1)
    assert not parts[1].any()
    # Sizes 0, 1, 2 of the two others beside a target; 0, 1 of one other; 0, 1 of two without a target; none.
    for item, shares in enumerate([(1, 1, 1), (1, 1, 0), (1, 1, 0), (1, 0, 0)]):
        drawn = parts[:, item * repeats : (item + 1) * repeats]
        share = torch.bincount(drawn.sum(dim=0), minlength=3) / repeats
        assert_close(share, torch.tensor(shares) / sum(shares), atol=4 * (0.25 / repeats) ** 0.5, rtol=0)


def test_a_code_is_what_the_network_says_of_what_is_used_alone():
    made = build_method("cvae", toy_modalities(3), latent_dim=LATENT_DIM)
    model, batch = made.model.eval(), toy_batch(3)
    for among in ([True, False, True], [False, True, False]):
        use = torch.tensor(among)[:, None].expand(3, len(batch))
        with torch.no_grad():
            narrowed = model.evidence(batch).posterior(use)
            alone = model.encode(batch.only(*(name for name, used in zip(NAMES, among, strict=True) if used)))
        assert_close(narrowed.mean, alone.mean)
        assert_close(narrowed.spread, alone.spread)


def test_a_target_that_is_no_modality_is_told_before_training():
    message = r"target='ragged' is no modality\. Expected vector0, ragged1, label2, or none\. Did you mean 'ragged1'\?"
    with pytest.raises(ValueError, match=message):
        build_method("cvae", toy_modalities(3), latent_dim=2, options={"target": "ragged"})
