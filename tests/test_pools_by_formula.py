"""Methods that differ in how experts are pooled, written out item by item, with the same draws.

As in `test_objectives.py`, whose plain parts are used, but of whole methods: pool, divergence and reconstruction.
"""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from gappy import LATENT_DIM, NAMES, NUM_ITEMS, gappy_batch, made
from isthmus.noise import Noise
from isthmus.objectives import Step
from shown import shows
from test_objectives import expert, explained, normal_noise, observed, prior, product
from test_objectives import hold as agree

Pool = dict[int, tuple[float, Normal]]  # by place of the component: its weight, and what it says


def of_barycentre(model, q) -> Pool:
    """The Wasserstein barycentre: means of locations and of scales."""
    return {0: (1.0, Normal(sum(e.loc for e in q.values()) / len(q), sum(e.scale for e in q.values()) / len(q)))}


def of_barycentres(model, q) -> Pool:
    """One of each subset that an item has wholly."""
    subsets = [frozenset(m for m in range(3) if row[m]) for row in model.inference.fusion.subsets.members.tolist()]
    there = [j for j, subset in enumerate(subsets) if subset <= q.keys()]
    pools = {j: of_barycentre(model, {m: q[m] for m in subsets[j]})[0][1] for j in there}
    return {j: (1 / len(there), component) for j, component in pools.items()}


def of_experts(model, q) -> Pool:
    return {m: (1 / len(q), e) for m, e in q.items()}


def of_roots(model, q) -> Pool:
    """(sum of the roots of densities)^2: the experts, and twice what each pair has in common."""
    weights, components = dict.fromkeys(q, torch.ones(()).double()), dict(q)
    for place, (i, j) in enumerate(itertools.combinations(range(3), 2), start=3):
        if i in q and j in q:
            s, t = q[i].variance, q[j].variance
            overlap = (2 * q[i].scale * q[j].scale / (s + t)).sqrt() * torch.exp(
                -((q[i].loc - q[j].loc) ** 2) / 4 / (s + t)
            )
            weights[place] = 2 * overlap.prod()
            components[place] = Normal((q[i].loc * t + q[j].loc * s) / (s + t), (2 * s * t / (s + t)).sqrt())
    total = sum(weights.values())
    return {place: (weights[place] / total, components[place]) for place in components}


def of_moments(model, q) -> Pool:
    """The Normal with the mean and variance of the pool of roots."""
    pool = of_roots(model, q).values()
    mean = sum(weight * component.loc for weight, component in pool)
    square = sum(weight * (component.variance + component.loc**2) for weight, component in pool)
    return {0: (1.0, Normal(mean, (square - mean**2).sqrt()))}


POOLS = [
    ("barycentre", {}, of_barycentre, 1),
    ("barycentre", {"mixture": True}, of_barycentres, 7),
    ("hoelder", {}, of_moments, 1),
    ("hoelder", {"exact": True}, of_roots, 6),
    ("mcvae", {}, of_experts, 3),
]


@shows("second implementation", "barycentre", "hoelder", "mcvae")
@pytest.mark.parametrize(
    ("method", "options", "pool", "number"), POOLS, ids=lambda value: getattr(value, "__name__", "")
)
def test_the_elbo_of_a_pool_equals_its_formula(method, options, pool, number):
    trained, batch = made(method, beta=1.7, warmup=0.5, **options), gappy_batch()
    model, stratified = trained.model, method == "mcvae"
    terms = trained.phases[0].players[0].objective(model, batch, Step(0, 0.25, Noise(5)))
    drawn = normal_noise(5, "z", 1, *([number] if stratified or number == 1 else []), LATENT_DIM)[:, 0]
    with torch.no_grad():
        chosen = model.encode(batch).rsample(1, Noise(5), stratified=stratified).component[0]
    losses, bounds = [], []
    for item in range(NUM_ITEMS):
        has = observed(item)
        components = pool(model, {m: expert(model, batch, m, item) for m in has}) if has else {0: (1.0, product([]))}
        kl = sum(weight * kl_divergence(q, prior(model)).sum() for weight, q in components.values())
        if stratified:
            draws = [(weight, q.loc + q.scale * drawn[item, j]) for j, (weight, q) in components.items()]
        else:
            place = int(chosen[0, item]) if has else 0
            noise = drawn[item, 0] if number == 1 else drawn[item]
            draws = [(1.0, components[place][1].loc + components[place][1].scale * noise)]
        losses.append(1.7 * 0.5 * kl - sum(weight * explained(model, batch, has, z, item) for weight, z in draws))
        bounds.append(sum(weight * explained(model, batch, has, z, item, False) for weight, z in draws) - kl)
    agree(model, terms, losses, bounds)


@shows("second implementation", "gpoe")
def test_the_bounds_of_a_weighted_product_equal_their_formula():
    trained, batch = made("gpoe", beta=1.3, random_subsets=2), gappy_batch()
    model, objective = trained.model, trained.phases[0].players[0].objective
    terms = objective(model, batch, Step(0, 1.0, Noise(7)))
    subsets = objective.subsets(batch.presence(NAMES), Noise(7))
    logits = [model.inference.fusion.logits[name].value for name in NAMES]
    losses, bounds = [], []
    for item in range(NUM_ITEMS):
        elbos = []
        for s in range(len(subsets)):
            subset = [m for m in range(3) if subsets[s, m, item]]
            if not subset and s > 0:
                continue
            powers = torch.stack([logits[m] for m in subset]).softmax(dim=0) if subset else []
            experts = [expert(model, batch, m, item) for m in subset]
            q = product([Normal(e.loc, e.scale / a**0.5) for e, a in zip(experts, powers, strict=True)])
            z = q.loc + q.scale * normal_noise(7, f"z/{s}", 1, 1, LATENT_DIM)[item, 0, 0]
            kl = kl_divergence(q, prior(model)).sum()
            elbos.append(explained(model, batch, subset, z, item) - 1.3 * kl)
            if s == 0:
                bounds.append(explained(model, batch, subset, z, item, weighted=False) - kl)
        losses.append(-sum(elbos) / len(elbos))
    agree(model, terms, losses, bounds)
