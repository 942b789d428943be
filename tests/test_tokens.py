"""Tokens see their own part of a value alone; what is hidden has no effect; the masked objective is the plain one."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from isthmus.batch import Batch, Masked, take
from isthmus.inference import TokenEvidence, TokenInference
from isthmus.likelihoods_table import TableColumn
from isthmus.methods import get_method
from isthmus.networks.tokens import ChunkTokens, ColumnTokens, FeatureTokens, PatchTokens, StretchTokens, WordTokens
from isthmus.noise import Noise
from isthmus.objectives import Step, visible_tokens
from isthmus.testing.conformance import toy_batch, toy_modalities, toy_presence, toy_values
from shown import shows


def _changed(network, value, other):
    """Which tokens of one row differ between two values."""
    return (network(value).value != network(other).value).any(dim=2)[0]


def test_a_patch_sees_its_own_pixels():
    torch.manual_seed(0)
    network, picture = PatchTokens((3, 20, 13), 8), torch.rand(1, 3, 20, 13)
    assert network(picture).value.shape == (1, 5 * 4, 8)  # patches of 4: the longer side in at most six
    for row, column in [(0, 0), (7, 4), (19, 12)]:
        other = picture.clone()
        other[0, 1, row, column] += 1
        assert _changed(network, picture, other).nonzero().tolist() == [[row // 4 * 4 + column // 4]]
    same = network(torch.full((1, 3, 20, 13), 0.5)).value[0]
    assert len(same.unique(dim=0)) == 20, "patches that look alike must differ by their place"


def test_a_stretch_sees_its_own_steps_and_where_the_row_ends():
    torch.manual_seed(0)
    network = StretchTokens(2, 8, num_steps=60)  # stretches of 3
    value = Masked(torch.rand(2, 10, 2), torch.arange(10) < torch.tensor([[10], [4]]))
    tokens = network(value)
    assert tokens.mask.sum(dim=1).tolist() == [4, 2]
    other = Masked(value.value.clone(), value.mask)
    other.value[:, 5] += 1  # behind the end of the second row
    assert _changed(network, value, other).tolist() == [False, True, False, False]
    assert torch.equal(network(value).value[1], network(other).value[1])
    zeros = torch.zeros(1, 6, 2)
    whole, shorter = (network(Masked(zeros, torch.arange(6)[None] < end)).value[0, 1] for end in (6, 5))
    assert not torch.equal(whole, shorter), "a row that ends must differ from one that goes on at zero"


def test_a_word_sees_itself_and_its_place():
    torch.manual_seed(0)
    network = WordTokens(9, 8)
    value = Masked(torch.tensor([[4, 4, 7]]), torch.tensor([[True, True, False]]))
    other = Masked(torch.tensor([[4, 5, 8]]), value.mask)
    assert _changed(network, value, other).tolist() == [False, True, False]
    assert not torch.equal(network(value).value[0, 0], network(value).value[0, 1])


def test_a_column_sees_its_own_cell_and_a_blank_is_no_token():
    torch.manual_seed(0)
    columns = [
        TableColumn("x", "normal"),
        TableColumn("x", "normal"),
        TableColumn("c", "categorical", 3),
        TableColumn("c", "categorical", 2),
    ]
    network = ColumnTokens(columns, 8)
    value = Masked(torch.tensor([[0.5, -1.0, 2.0, 0.0]]), torch.tensor([[True, False, True, True]]))
    assert torch.equal(network(value).mask, value.mask)
    for column, number in enumerate([7.0, 9.0, 1.0, 1.0]):
        other = Masked(value.value.clone(), value.mask)
        other.value[0, column] = number
        assert _changed(network, value, other).tolist() == [c == column and c != 1 for c in range(4)]
    levels = {tuple(network(Masked(value.value.clone().index_fill_(1, torch.tensor([2]), level), value.mask))
                    .value[0, 2].tolist()) for level in (0.0, 1.0, 2.0)}  # fmt: skip
    assert len(levels) == 3


def test_a_chunk_sees_its_own_features():
    torch.manual_seed(0)
    network, value = ChunkTokens(37, 8), torch.randn(1, 37)  # chunks of 3
    assert network(value).value.shape == (1, 13, 8)
    other = value.clone()
    other[0, 36] += 1
    assert _changed(network, value, other).nonzero().tolist() == [[12]]


def test_features_of_any_encoder_are_one_token_and_its_tokens_stay_as_they_are():
    torch.manual_seed(0)
    layer, rows, steps = torch.nn.Linear(3, 5), torch.rand(4, 3), torch.rand(4, 6, 3)
    for values, expected in ((rows, layer(rows)[:, None]), (steps, layer(steps))):
        tokens = FeatureTokens(layer)(values)
        assert torch.equal(tokens.value, expected)
        assert torch.equal(tokens.mask, torch.ones(expected.shape[:2], dtype=torch.bool))
    words = Masked(torch.tensor([[4, 7, 1], [2, 0, 0]]), torch.arange(3) < torch.tensor([[3], [1]]))
    encoder = WordTokens(9, 8)
    tokens = FeatureTokens(encoder)(words)
    assert torch.equal(tokens.value, encoder(words).value) and torch.equal(tokens.mask, words.mask)


# --- what is visible ------------------------------------------------------------------------------------------------


def _evidence(counts, there=None):
    """Evidence of 4,000 items with so many tokens of each modality."""
    source = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    there = torch.ones(4000, len(source), dtype=torch.bool) if there is None else there
    return TokenEvidence(torch.zeros(4000, len(source), 1), there, source, torch.ones(len(counts), 4000).bool(), None)


def test_modalities_share_what_is_visible_by_a_flat_dirichlet():
    counts = (20, 200)  # as many of each are expected, though one has ten times the tokens
    shown = visible_tokens(_evidence(counts), ("a", "b"), 8 / 220, Noise(0))
    assert (shown.sum(dim=1) == 8).all()
    share = shown[:, :20].sum(dim=1) / 8
    # Few of many: the share is near one drawn evenly between 0 and 1, of mean 1/2 and variance 1/12, plus what eight
    # tokens leave to chance, E[p (1 - p)] / 8 = 1/48. Twenty tokens run low a little, which the tolerance allows.
    assert_close(share.mean().item(), 0.5, atol=0.05, rtol=0)
    assert_close(share.var().item(), 1 / 12 + 1 / 48, atol=0.02, rtol=0)
    within = shown[:, 20:].float().mean(dim=0)
    assert within.std() < 0.35 * within.mean(), "some tokens of a modality are shown more often than others"


@given(st.integers(0, 10_000))
def test_an_item_shows_at_least_one_token_and_none_that_it_lacks(seed):
    there = torch.rand(4000, 9, generator=torch.Generator().manual_seed(seed)) < 0.4
    evidence = _evidence((1, 3, 5), there)
    shown = visible_tokens(evidence, ("a", "b", "c"), None, Noise(seed))
    assert not (shown & ~there).any()
    assert torch.equal(shown.any(dim=1), there.any(dim=1))


def test_without_a_share_every_number_of_tokens_is_as_likely():
    shown = visible_tokens(_evidence((2, 6)), ("a", "b"), None, Noise(0)).sum(dim=1)
    assert_close(shown.bincount(minlength=9)[1:].float() / 4000, torch.full((8,), 1 / 8), atol=0.02, rtol=0)


# --- the model and its objective --------------------------------------------------------------------------------------


def _method(**options):
    torch.manual_seed(0)
    modalities = {
        "picture": replace(toy_modalities(1)["vector0"], tokens=lambda: ChunkTokens(3, 6)),
        **{name: modality for name, modality in toy_modalities(3).items() if name != "vector0"},
    }
    return get_method("masked")(modalities, latent_dim=4, **options)


def _batch(num_items=7):
    values, present = toy_values(3, num_items), toy_presence(3, num_items)
    return Batch.from_dense(
        {"picture" if name == "vector0" else name: value for name, value in values.items()},
        {"picture" if name == "vector0" else name: there for name, there in present.items()},
    )


@shows("second implementation", "masked")
def test_the_objective_is_the_plain_one():
    """One item, one token at a time: keys, ranks, a transformer of what is left alone, and the sum of what it tells."""
    method, batch, noise = _method(visible=0.4), _batch(), Noise(3)
    model = method.model.double().eval()  # so that no value is corrupted
    batch = batch.to(dtype=torch.float64)
    terms = method.phases[0].players[0].objective(model, batch, Step(0, 1.0, noise))
    terms.loss.backward()
    gradient = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    inference, total = model.inference, 0.0
    for item in range(len(batch)):
        tokens, keys = [], []
        for name in model.modalities:
            if not batch.present[name][item]:
                continue
            row = take(batch.values[name], batch.slots(name)[item : item + 1])
            own = model.encoders[name](row)
            drawn = noise.uniform(f"visible/{name}", len(batch), 257, like=torch.zeros(()))[item].tolist()
            number = int(own.mask.sum())
            for place in range(number):
                tokens.append(inference.project[name](own.value[0, place]) + inference.name[name]())
                keys.append(-math.log(drawn[1 + place]) / (-math.log(drawn[0]) / number))
        least = sorted(range(len(keys)), key=keys.__getitem__)[: max(1, math.ceil(0.4 * len(keys)))]
        hidden = torch.stack([tokens[place] for place in least])[None]
        for block in inference.blocks:
            hidden = block(hidden, torch.ones(hidden.shape[:2], dtype=torch.bool))
        hidden = inference.norm(hidden)[0]
        z = inference.head(torch.cat([hidden.mean(dim=0), hidden.amax(dim=0)]))
        loss = 0.0
        for name in model.modalities:
            if batch.present[name][item]:
                row = take(batch.values[name], batch.slots(name)[item : item + 1])
                loss = loss - model.weights[name] * model.decode(name, z[None]).log_prob(row)[0]
        assert_close(terms.item_loss[item], loss)
        total = total + loss / len(batch)
    total.backward()
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            assert_close(parameter.grad, gradient[name])


def test_what_is_hidden_has_no_effect():
    method, batch = _method(), _batch()
    evidence = method.model.eval().evidence(batch)
    shown = visible_tokens(evidence, method.model.modalities, 0.5, Noise(0))
    noisy = torch.where(shown[..., None], evidence.tokens, 100.0)
    other = TokenEvidence(noisy, evidence.there, evidence.source, evidence.present, method.model.inference)
    assert torch.equal(evidence.posterior(visible=shown).mean, other.posterior(visible=shown).mean)
    assert not torch.allclose(evidence.posterior().mean, other.posterior().mean)


def test_a_step_costs_what_is_seen():
    method, batch, lengths = _method(visible=0.2), toy_batch(3), []
    method = get_method("masked")(toy_modalities(3), latent_dim=4, visible=0.2)
    method.model.inference.blocks[0].register_forward_hook(lambda block, args, out: lengths.append(args[0].shape[1]))
    method.phases[0].players[0].objective(method.model.train(), batch, Step(0, 1.0, Noise(0)))
    assert lengths == [1], "three tokens, a fifth of them: one"


def test_nothing_to_read_is_the_mean_training_code():
    inference = TokenInference({"a": 3}, 2, num_features=8)
    inference.finish(torch.tensor([[1.0, 2.0], [3.0, 6.0]]))
    evidence = inference({}, torch.zeros(1, 5, dtype=torch.bool))
    assert evidence.posterior().mean.tolist() == [[2.0, 4.0]] * 5


@pytest.mark.parametrize(
    ("options", "message"),
    [({"visible": 0.0}, "visible=0.0 is no share of the tokens"), ({"num_features": 6}, "split between 4 heads")],
)
def test_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        _method(**options)
