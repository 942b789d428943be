"""TELBO: both bounds item by item, what stays as it is while the experts learn, who speaks for which item."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence
from torch.testing import assert_close

from isthmus.batch import Masked, take
from isthmus.fusions import Attention, ProductOfExperts
from isthmus.inference import JointInference
from isthmus.methods.base import build_method
from isthmus.model import MultimodalAutoencoder, pool
from isthmus.networks.twin import Twin, halves
from isthmus.noise import Noise
from isthmus.objectives import JointELBO, OwnELBO, Step
from isthmus.testing.conformance import toy_modalities
from isthmus.testing.worlds import LinearGaussian
from isthmus.training import TrainingConfig, train
from shown import shows
from test_objectives import (
    LATENT_DIM,
    NAMES,
    NUM_ITEMS,
    PRESENT,
    WEIGHTS,
    _batch,
    explained,
    hold,
    log_p,
    normal_noise,
    observed,
    prior,
    product,
)
from toy_training import toy_method, toy_splits, toy_store


def _twins() -> MultimodalAutoencoder:
    inference = partial(JointInference, fusion=ProductOfExperts(with_prior=False), joint=Attention, twins=True)
    modalities = {name: modality.twin() for name, modality in toy_modalities(3).items()}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MultimodalAutoencoder(modalities, latent_dim=LATENT_DIM, fusion=inference, balance=WEIGHTS).double()
        for parameter in model.parameters():
            if parameter.requires_grad and parameter.dim():
                parameter.data += 0.3 * torch.randn_like(parameter)
    return model.eval()


def _row(batch, m, item):
    return take(batch.values[NAMES[m]], batch.slots(NAMES[m])[item : item + 1])


def expert(model, batch, m, item) -> Normal:
    """q(z | x_m), from the modality's own encoder."""
    loc, raw = model.inference.heads[NAMES[m]](pool(model.encoders[NAMES[m]].own(_row(batch, m, item))))[0].chunk(2)
    return Normal(loc, torch.exp(6 * torch.tanh(raw / 6)))


def joint(model, batch, item) -> Normal:
    """q(z | x_A) by the joint network, from encoders of its own."""
    if not observed(item):
        return product([])
    rows = {NAMES[m]: pool(model.encoders[NAMES[m]].joint(_row(batch, m, item))) for m in observed(item)}
    fused = model.inference.joint(rows, PRESENT[:, item : item + 1])
    loc, raw = model.inference.joint_head(fused)[0].chunk(2)
    return Normal(loc, torch.exp(6 * torch.tanh(raw / 6)))


def test_the_first_bound_is_that_of_the_joint_network():
    model, batch = _twins(), _batch()
    terms = JointELBO(alpha=0.0, beta=1.7, warmup=0.5)(model, batch, Step(0, 0.25, Noise(9)))
    drawn, losses, bounds = normal_noise(9, "z", 1, 1, LATENT_DIM), [], []
    for item in range(NUM_ITEMS):
        q = joint(model, batch, item)
        z = q.loc + q.scale * drawn[item, 0, 0]
        kl = kl_divergence(q, prior(model)).sum()
        losses.append(1.7 * 0.5 * kl - explained(model, batch, observed(item), z, item))
        bounds.append(explained(model, batch, observed(item), z, item, weighted=False) - kl)
    hold(model, terms, losses, bounds)
    assert "divergence/experts" not in terms.per_item


@shows("second implementation", "telbo")
@pytest.mark.parametrize("weights", [None, {"vector0": 3.0, "ragged1": 0.25, "label2": 1.0}])
def test_the_second_bounds_are_those_of_single_modalities_each_with_its_own_variance(weights):
    model, batch = _twins(), _batch()
    terms = OwnELBO(beta=1.7, warmup=0.5, weights=weights)(model, batch, Step(0, 0.25, Noise(6)))
    losses = []
    for item in range(NUM_ITEMS):
        loss = torch.zeros((), dtype=torch.float64)
        for m in observed(item):
            q = expert(model, batch, m, item)
            z = q.loc + q.scale * normal_noise(6, "own", 3, LATENT_DIM)[item, m]
            weight = (weights or WEIGHTS)[NAMES[m]]
            loss = loss + 1.7 * 0.5 * kl_divergence(q, prior(model)).sum() - weight * log_p(model, batch, m, z, item)
        losses.append(loss)
    hold(model, terms, losses, None)
    assert terms.bound is None, "bounds of single modalities are no bound of all"


@shows("closed form", "telbo")
def test_with_exact_experts_the_second_bounds_are_the_evidence_of_each_modality():
    world = LinearGaussian(latent_dim=2, features={"image": 3, "audio": 2})
    model, batch = world.vae(ProductOfExperts(with_prior=False)), world.sample(6).drop("image", at=0)
    steps = (Step(index, 1.0, Noise(0, index)) for index in range(4000))
    with torch.no_grad():
        bound = -torch.stack([OwnELBO()(model, batch, step).item_loss for step in steps]).mean(dim=0)
    expected = sum(world.log_evidence(batch.only(name)) for name in batch)
    assert_close(bound, expected, atol=0.15, rtol=0)


def test_the_joint_network_speaks_for_whole_items_and_experts_for_others():
    model, batch = _twins(), _batch()
    posterior = model.encode(batch)
    for item in range(NUM_ITEMS):
        has = observed(item)
        q = joint(model, batch, item) if len(has) == 3 else product([expert(model, batch, m, item) for m in has])
        assert_close(posterior.mean[item], q.loc)
        assert_close(posterior.spread[item], q.scale)


def test_experts_learn_while_the_joint_network_and_the_decoders_stay_to_the_bit():
    method = toy_method("telbo")
    before = {name: value.clone() for name, value in method.model.state_dict().items()}
    alone = replace(method, phases=method.phases[1:])
    train(alone, toy_store(), lambda b: b, toy_splits(), TrainingConfig(epochs=3, batch_size=16), quiet=True)
    after = method.model.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved and all(".own." in name or name.startswith("inference.heads.") for name in moved), moved
    assert {name for name in before if ".own." in name or name.startswith("inference.heads.")} == moved


def test_all_but_the_experts_is_frozen_under_any_name():
    method = build_method("telbo", dict.fromkeys(("a.b", "values"), toy_modalities(1)["vector0"]), latent_dim=2)
    names = {name for name, _ in method.model.named_parameters()}
    left = {name for name in names if not name.startswith(method.phases[1].frozen)}
    assert left == {name for name in names if ".own." in name or name.startswith(("inference.heads.", "prior."))}


def test_experts_wait_while_the_joint_network_learns():
    method = toy_method("telbo")
    before = {name: value.clone() for name, value in method.model.state_dict().items()}
    alone = replace(method, phases=method.phases[:1])
    train(alone, toy_store(), lambda b: b, toy_splits(), TrainingConfig(epochs=3, batch_size=16), quiet=True)
    after = method.model.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert not any(".own." in name or name.startswith("inference.heads.") for name in moved), moved
    assert moved >= {name for name in before if (".joint." in name and "encoders." in name) or "decoders." in name}


def test_weights_of_the_second_bounds_are_those_asked_for():
    toys = toy_modalities(3)
    plain, other = (
        build_method("telbo", toys, latent_dim=2, options={"balance": WEIGHTS, **options}).phases[1].players[0]
        for options in ({}, {"own_balance": {"label2": 7.0}})
    )
    assert plain.objective.weights is None
    assert other.objective.weights == {"vector0": 1.0, "ragged1": 1.0, "label2": 7.0}


def test_a_share_that_leaves_a_phase_without_epochs_is_refused():
    with pytest.raises(ValueError, match=r"joint_share=1\.0 leaves a phase without epochs\. Expected 0 < joint_share"):
        build_method("telbo", toy_modalities(3), latent_dim=2, options={"joint_share": 1.0})


def test_twins_stand_side_by_side_as_rows_and_as_tokens():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 3)

        def forward(self, values):
            return Masked(self.layer(values.value), values.mask)

    values = Masked(torch.randn(4, 5, 2), torch.rand(4, 5) < 0.7)
    for inner, seen in ((Tokens, values), (partial(nn.Linear, 2, 3), values.value[:, 0])):
        twin = Twin(inner(), inner())
        joint_half, own_half = halves({"x": pool(twin(seen))})
        assert_close(joint_half["x"], pool(twin.joint(seen)))
        assert_close(own_half["x"], pool(twin.own(seen)))
        assert not torch.allclose(joint_half["x"], own_half["x"])
