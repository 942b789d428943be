"""Two levels of codes against the objective written out item by item, and the ways up and down."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Normal, kl_divergence
from torch.testing import assert_close

from isthmus.batch import Batch, take
from isthmus.methods import get_method
from isthmus.model import pool
from isthmus.noise import Noise
from isthmus.objectives import Step, TwoLevels, random_parts
from isthmus.testing.conformance import toy_batch, toy_modalities
from isthmus.training import TrainingConfig, train
from shown import shows
from toy_training import FEATURES, toy_method, toy_splits, toy_store

WEIGHTS = {"vector0": 0.5, "ragged1": 2.0, "label2": 1.25}
NAMES, OWN, LATENT = list(WEIGHTS), 3, 4
STANDARD = Normal(torch.zeros(()).double(), torch.ones(()).double())


def _model(**options):
    torch.manual_seed(0)
    return get_method("nexus")(toy_modalities(3), latent_dim=LATENT, own_dim=OWN, balance=WEIGHTS, **options).model


def _batch() -> Batch:
    batch = toy_batch(3, 9)
    for name in batch:
        batch = batch.drop(name, at=0)
    return batch.drop("ragged1", at=1).drop("label2", at=1).to(dtype=torch.float64)


def _normal(raw):
    loc, raw = raw.chunk(2)
    return Normal(loc, torch.exp(6 * torch.tanh(raw / 6)))


def _own(model, values, name):
    """q(w | x) of one row of a modality."""
    return _normal(model.inference.heads[name](pool(model.encoders[name](values)))[0])


def _above(model, codes):
    """q(z | w) of the modalities' own codes, by name."""
    if not codes:
        return Normal(torch.zeros(LATENT).double(), torch.ones(LATENT).double())
    mean = torch.stack([model.inference.messages[name](code) for name, code in codes.items()]).mean(dim=0)
    return _normal(model.inference.node(mean[None])[0])


@shows("second implementation", "nexus")
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_the_objective_equals_its_formula(mode):
    model, batch, beta, warmup = _model().double(), _batch(), 1.3, 0.5
    getattr(model, mode)()
    terms = TwoLevels(beta, warmup, dropout=0.6)(model, batch, Step(0, 0.25, Noise(4)))
    seen = model._corrupted(batch, Noise(4)) if mode == "train" else batch
    present, like = batch.presence(NAMES), torch.empty(0, dtype=torch.float64)
    drawn, above = Noise(4).normal("own", 9, 3, OWN, like=like), Noise(4).normal("z", 9, 1, 1, LATENT, like=like)
    chosen = Noise(4).uniform("dropout/item", 9, like=torch.empty(0)) < (0.6 if mode == "train" else 0.0)
    parts = random_parts(present, Noise(4), "dropout")
    assert mode == "eval" or (chosen & (parts.sum(dim=0) < present.sum(dim=0))).any()
    losses = []
    for item in range(9):
        codes, loss = {}, torch.zeros((), dtype=torch.float64)
        for m, name in enumerate(NAMES):
            if not present[m, item]:
                continue
            slot = batch.slots(name)[item : item + 1]
            q = _own(model, take(seen.values[name], slot), name)
            codes[name] = q.loc + q.scale * drawn[item, m]
            parameters = model.decoders[name].bottom(codes[name][None])
            score = model.likelihoods[name](parameters).log_prob(take(batch.values[name], slot))[0]
            loss = loss - WEIGHTS[name] * score + beta * 0.5 * kl_divergence(q, STANDARD).sum()
        targets = {name: code.detach() for name, code in codes.items()}
        heard = {n: c for n, c in targets.items() if not chosen[item] or parts[NAMES.index(n), item]}
        q = _above(model, heard)
        z = q.loc + q.scale * above[item, 0, 0]
        loss = loss + beta * 0.5 * kl_divergence(q, STANDARD).sum()
        for name, target in targets.items():
            decoder = model.decoders[name]
            told = Normal(decoder.top(z[None])[0], decoder.own.log_scale().exp())
            loss = loss - told.log_prob(target).sum()
        losses.append(loss)
    expected = torch.stack(losses)
    assert_close(terms.item_loss, expected, rtol=1e-9, atol=1e-9)
    parameters = [p for p in model.parameters() if p.requires_grad]
    pairs = (torch.autograd.grad(loss.mean(), parameters, allow_unused=True) for loss in (terms.item_loss, expected))
    for got, other, parameter in zip(*pairs, parameters, strict=True):
        zero = torch.zeros_like(parameter)
        assert_close(zero if got is None else got, zero if other is None else other, rtol=1e-8, atol=1e-9)


def test_the_code_above_does_not_move_those_below():
    model = _model().train()
    terms = TwoLevels()(model, _batch().to(dtype=torch.float32), Step(0, 1.0, Noise(0)))
    upper = (
        sum(value for name, value in terms.per_item.items() if name.startswith("own/")) - terms.per_item["divergence"]
    )
    upper.sum().backward()
    moved = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert moved and not [name for name in moved if name.startswith(("encoders", "inference.heads"))]
    assert not [name for name in moved if ".bottom." in name]
    assert {f"decoders.{name}.own.log_scale.raw" for name in NAMES} <= moved


def test_in_use_the_code_is_made_of_the_mean_codes_of_what_an_item_has():
    model, batch = _model().double().eval(), _batch()
    posterior = model.encode(batch)
    for item in range(9):
        codes = {}
        for name in NAMES:
            if batch.present[name][item]:
                row = take(batch.values[name], batch.slots(name)[item : item + 1])
                codes[name] = _own(model, row, name).loc
        q = _above(model, codes)
        assert_close(posterior.mean[item], q.loc)
        assert_close(posterior.spread[item], q.scale)


def test_a_translation_goes_up_and_down_by_two_decoders():
    model, batch = _model().double().eval(), _batch()
    translated = model.translate(batch, ["label2"], "vector0")
    z = model.encode(batch.only("label2")).mean
    decoder = model.decoders["vector0"]
    assert_close(translated, decoder.bottom(decoder.top(z)))
    assert decoder.top(z).shape == (9, OWN)
    assert_close(decoder.own_likelihood(z).mean, decoder.top(z))


def test_training_lets_codes_above_explain_those_below():
    method = toy_method("nexus", dropout=0.5)
    config = TrainingConfig(epochs=40, batch_size=32, learning_rate=0.005)
    rows = train(method, toy_store(200), lambda batch: batch, toy_splits(200, 40), config, quiet=True).rows
    told = [sum(row[f"own/{name}"] for name in FEATURES) for row in rows if row["split"] == "validation"]
    assert told[-1] > told[0] + 0.5
