"""The model's primitive against a loop, its answers to people, and what it says to modules that do not fit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from isthmus.batch import Batch, Masked, take
from isthmus.fusions import Attention, Concatenation, Mean, MixtureOfProducts, ProductOfExperts
from isthmus.likelihoods import Likelihood, LikelihoodHead, NormalHead
from isthmus.modality import Modality
from isthmus.model import MultimodalAutoencoder, balance_weights, num_parameters, pool
from isthmus.networks.named import Named, weights_name
from isthmus.noise import Noise
from isthmus.objectives import ELBO, Routes, Step
from isthmus.testing.conformance import toy_batch, toy_modalities, toy_values

NAMES = list(toy_modalities(3))  # vector0, ragged1, label2


def _model(fusion=None, modalities=None, **options) -> MultimodalAutoencoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MultimodalAutoencoder(
            modalities or toy_modalities(3), latent_dim=4, fusion=fusion or ProductOfExperts(), **options
        ).eval()


def _batch(num_items: int = 9) -> Batch:
    return toy_batch(3, num_items)


def _hold(values, expected) -> None:
    if isinstance(expected, Masked):
        assert_close(values.value, expected.value)
        assert torch.equal(values.mask, expected.mask)
    else:
        assert_close(values, expected)


def _vector(**changes) -> dict[str, Modality]:
    return {"vector": replace(toy_modalities(1)["vector0"], **changes)}


# --- log_likelihood -------------------------------------------------------------------------------------------------


def test_log_likelihood_equals_a_loop_over_draws_sources_and_items():
    model, batch = _model(), _batch()
    generator = torch.Generator().manual_seed(1)
    z = torch.randn(2, 3, 9, 4, generator=generator)
    use = torch.rand(3, 9, generator=generator) < 0.6
    for name in NAMES:
        score = model.log_likelihood(name, z, use, batch)
        for k in range(2):
            for s in range(3):
                for b in range(9):
                    expected = torch.tensor(0.0)
                    if use[s, b] and batch.present[name][b]:
                        row = take(batch.values[name], batch.slots(name)[b : b + 1])
                        expected = model.decode(name, z[k, s, b : b + 1]).log_prob(row)[0]
                    assert_close(score[k, s, b], expected)


@pytest.mark.parametrize("objective", [ELBO(num_draws=3, stratified=True), ELBO(num_draws=3)])
def test_decoding_in_parts_changes_neither_values_nor_gradients(objective):
    batch, answers = _batch().to(dtype=torch.float64), []
    for rows in (8192, 5):
        model = _model(MixtureOfProducts(NAMES), max_decode_rows=rows).double()
        terms = objective(model, batch, Step(0, 1.0, Noise(0)))
        terms.loss.backward()
        gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        with torch.no_grad():  # the way of evaluation, without checkpoints
            again = objective(model, batch, Step(0, 1.0, Noise(0)))
        assert_close(again.item_loss, terms.item_loss)
        answers.append((terms.item_loss.detach(), gradients))
    assert_close(answers[1][0], answers[0][0])
    assert answers[1][1].keys() == answers[0][1].keys()
    assert_close(answers[1][1], answers[0][1])


def test_without_gradients_no_more_is_decoded_at_a_time_than_caches_hold(monkeypatch):
    model, batch, rows = _model(), _batch(), []
    model.decoders["vector0"].register_forward_hook(lambda _, inputs, __: rows.append(len(inputs[0])))
    z, use = torch.randn(3, 2, 9, 4), torch.ones(2, 9, dtype=torch.bool)
    monkeypatch.setattr("isthmus.model.CACHED_NUMBERS", 10 * model.num_dimensions["vector0"])
    whole = model.log_likelihood("vector0", z, use, batch)
    total = 6 * int(batch.present["vector0"].sum())
    assert rows == [total] and total > 20, "with gradients all go in one call"
    with torch.no_grad():
        assert_close(model.log_likelihood("vector0", z, use, batch), whole.detach())
    assert rows[1:] == [10] * (total // 10) + [total % 10] * bool(total % 10)


def test_decoder_sees_only_rows_that_are_used_and_observed():
    model, batch, rows = _model(), _batch(), []
    model.decoders["vector0"].register_forward_hook(lambda _, inputs, __: rows.append(len(inputs[0])))
    use = torch.ones(2, 9, dtype=torch.bool)
    use[1] = False
    model.log_likelihood("vector0", torch.zeros(3, 2, 9, 4), use, batch)
    assert rows == [3 * int(batch.present["vector0"].sum())]
    score = model.log_likelihood("vector0", torch.zeros(3, 2, 9, 4), torch.zeros_like(use), batch)
    assert rows == rows[:1], "a decoder was called for nothing"
    assert_close(score, torch.zeros(3, 2, 9))


def test_encoders_see_only_rows_that_are_there():
    model, batch, rows = _model(), _batch(), []
    model.encoders["vector0"].register_forward_hook(lambda _, inputs, __: rows.append(len(inputs[0])))
    model.encode(batch)
    model.encode(batch.drop("vector0"))
    assert rows == [int(batch.present["vector0"].sum())]


# --- what people ask ------------------------------------------------------------------------------------------------


def test_translate_decodes_the_code_of_the_sources_alone():
    model, batch = _model(), _batch()
    with torch.no_grad():
        z = model.encode(batch.only("vector0", "label2")).mean
        expected = model.decode("ragged1", z).mode
        got = model.translate(batch, ["vector0", "label2"], "ragged1")
    assert_close(got.value, expected.value)
    assert torch.equal(got.mask, expected.mask)


def test_translate_from_a_source_that_the_batch_does_not_name_decodes_the_prior():
    model, batch = _model(), _batch()
    with torch.no_grad():
        got = model.translate(batch.only("vector0"), ["label2"], "vector0")
        prior = model.decode("vector0", torch.zeros(1, 4)).mode
    assert_close(got, prior.expand(9, 3))


def test_draws_differ_from_the_mean_and_repeat():
    model, batch = _model(), _batch()
    with torch.no_grad():
        mean, one, again, other = (
            model.translate(batch, NAMES, "vector0", noise) for noise in (None, Noise(0), Noise(0), Noise(1))
        )
        sampled = model.translate(batch, NAMES, "vector0", Noise(0), sample=True)
    assert_close(one, again, rtol=0, atol=0)
    for different in (mean, other, sampled):
        assert not torch.allclose(one, different)


def test_reconstruct_answers_for_every_item_and_impute_for_gaps_alone():
    model, batch = _model(), _batch()
    with torch.no_grad():
        whole, filled = model.reconstruct(batch), model.impute(batch)
        nothing = model.impute(Batch.from_dense(toy_values(3, 4)))
    assert nothing == {}, "there was no gap to fill"
    for name in NAMES:
        gaps = (~batch.present[name]).nonzero().squeeze(1)
        assert len(whole[name]) == 9
        assert len(filled[name]) == len(gaps) > 0
        expected = take(whole[name], gaps)
        if isinstance(expected, Masked):
            assert_close(filled[name].value, expected.value)
        else:
            assert_close(filled[name], expected)


def test_impute_fills_a_modality_that_the_batch_does_not_name():
    model = _model()
    filled = model.impute(Batch.from_dense(toy_values(3, 4)).only("vector0"))
    assert set(filled) == {"ragged1", "label2"}
    assert len(filled["label2"]) == 4


@pytest.mark.parametrize("rows", [0, 1, 7])
def test_generate_gives_all_modalities_of_each_code(rows):
    model, z = _model(max_decode_rows=3), torch.randn(rows, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        made = model.generate(z)
        assert list(made) == NAMES
        for name in NAMES:
            _hold(made[name], model.decode(name, z).mode)
    assert made["vector0"].shape == (rows, 3)
    assert made["ragged1"].value.shape == (rows, 5, 2)
    assert made["ragged1"].mask.shape == (rows, 5)
    assert made["label2"].dtype == torch.long


def test_equal_codes_in_two_parts_draw_each_their_own_event():
    model, z = _model(max_decode_rows=3), torch.zeros(6, 4)
    with torch.no_grad():
        drawn, again = (model.generate(z, Noise(0), sample=True) for _ in range(2))
    for name in ("vector0", "ragged1"):
        values = drawn[name].value if isinstance(drawn[name], Masked) else drawn[name]
        assert not torch.isclose(values[:3], values[3:]).any()
        _hold(again[name], drawn[name])


def test_errors_name_the_nearest_right_name():
    model, batch = _model(), _batch()
    with pytest.raises(ValueError, match=r"Unknown source 'vectr0'. This model knows .* Did you mean 'vector0'"):
        model.translate(batch, ["vectr0"], "label2")
    with pytest.raises(ValueError, match=r"Unknown modality 'labl2'. This model knows .* Did you mean 'label2'"):
        model.translate(batch, ["vector0"], "labl2")
    with pytest.raises(ValueError, match=r"sample=True draws an event and needs noise. Pass noise=Noise\(seed\)"):
        model.generate(torch.zeros(2, 4), sample=True)
    strange = Batch.from_dense({"vektor0": torch.zeros(2, 3)})
    with pytest.raises(ValueError, match=r"'vektor0', which this model was not made for. .* Did you mean 'vector0'"):
        model.encode(strange)
    with pytest.raises(ValueError, match=r"A model needs at least one modality"):
        MultimodalAutoencoder({}, latent_dim=4, fusion=ProductOfExperts())
    with pytest.raises(
        ValueError, match=r"share='trunc' is unknown. Expected None, 'trunk' or 'encoders'. Did you mean 'trunk'"
    ):
        _model(share="trunc")


# --- point codes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fusion", [Concatenation, Mean, Attention])
def test_point_code_of_a_subset_equals_that_of_a_batch_with_the_subset(fusion):
    model, batch = _model(fusion), _batch()
    evidence = model.evidence(batch)
    among = torch.rand(3, 9, generator=torch.Generator().manual_seed(2)) < 0.6
    narrowed = batch.keep(dict(zip(NAMES, among, strict=True)))
    assert_close(evidence.posterior(among).mean, model.encode(narrowed).mean)


def test_an_item_with_nothing_has_the_mean_training_code():
    model, batch = _model(Mean), _batch()
    codes = model.encode(batch).mean.detach()
    model.inference.finish(codes)
    empty = batch
    for name in NAMES:
        empty = empty.drop(name, at=3)
    with torch.no_grad():
        assert_close(model.encode(empty).mean[3], codes.mean(dim=0))
    assert "inference.mean_code" in model.state_dict()


# --- training -------------------------------------------------------------------------------------------------------


def test_encoders_see_corrupted_values_in_training_alone_and_targets_stay():
    seen: list[torch.Tensor] = []
    model = _model(modalities=_vector(corrupt=lambda values, uniform: torch.where(uniform(3) < 0.5, -9.0, values)))
    model.encoders["vector"].register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].detach()))
    batch = Batch.from_dense({"vector": torch.ones(50, 3)})
    model.train()
    model.evidence(batch, Noise(0))
    model.evidence(batch)
    model.eval()
    model.evidence(batch, Noise(0))
    assert [bool((values == -9).any()) for values in seen] == [True, False, False]
    assert float((seen[0] == -9).float().mean()) == pytest.approx(0.5, abs=0.15)
    assert_close(batch.values["vector"], torch.ones(50, 3))


def test_a_shared_trunk_is_one_set_of_weights_for_all():
    apart, shared = _model(Mean), _model(Mean, share="trunk")
    assert apart.trunk is None
    batch = _batch()
    Routes()(shared.train(), batch.only("vector0"), Step(0, 1.0, Noise(0))).loss.backward()
    trunk = shared.trunk
    assert trunk is not None
    assert trunk.layers[2].weight.grad.abs().sum() > 0
    assert trunk.adapters["vector0"].weight.grad.abs().sum() > 0
    assert trunk.adapters["label2"].weight.grad is None
    assert num_parameters([trunk]) == sum(p.numel() for p in trunk.parameters())


# --- balance --------------------------------------------------------------------------------------------------------


def test_balance_weights():
    sizes = {"image": 784, "label": 1, "vector": 15}
    assert balance_weights("nats", sizes) == dict.fromkeys(sizes, 1.0)
    per_dimension = balance_weights("per_dimension", sizes)
    # A nat per dimension counts alike everywhere, and the sum over all dimensions keeps its size.
    assert per_dimension["image"] * 784 == pytest.approx(per_dimension["label"]) == pytest.approx(800 / 3)
    assert sum(per_dimension[name] * size for name, size in sizes.items()) == pytest.approx(sum(sizes.values()))
    root = balance_weights("per_root_dimension", sizes)
    assert root == pytest.approx({name: weight**0.5 for name, weight in per_dimension.items()})
    assert balance_weights({"label": 10}, sizes) == {"image": 1.0, "label": 10.0, "vector": 1.0}
    with pytest.raises(ValueError, match=r"balance names an unknown modality 'lable'. Did you mean 'label'"):
        balance_weights({"lable": 2.0}, sizes)
    with pytest.raises(ValueError, match=r"balance='nat' is unknown. Expected 'nats',.*Did you mean 'nats'"):
        balance_weights("nat", sizes)


def test_noise_to_the_others_counts_little():
    sizes = {"image": 784, "sound": 100, "words": 5, "table": 3}
    root = balance_weights("per_root_dimension", sizes)

    def shares(**told):
        weights = balance_weights("predictable", sizes, {**dict.fromkeys(sizes), **told})
        # Over all dimensions, the weights keep their sum, as they do per dimension.
        assert sum(weights[name] * size for name, size in sizes.items()) == pytest.approx(sum(sizes.values()))
        return {name: weight / root[name] * root["image"] / weights["image"] for name, weight in weights.items()}

    found = shares(image=0.4, sound=0.06, words=0.0)
    assert found == pytest.approx({"image": 1.0, "sound": 0.6, "words": 0.05, "table": 1.0})
    # Where the best is told less than a tenth, it counts in full; where nothing is told of anything, all count alike.
    weak = shares(image=0.05, sound=0.02, words=0.0, table=0.05)
    assert weak == pytest.approx({"image": 1.0, "sound": 0.4, "words": 0.05, "table": 1.0})
    assert shares(**dict.fromkeys(sizes, 0.004)) == pytest.approx(dict.fromkeys(sizes, 1.0))
    assert shares() == pytest.approx(dict.fromkeys(sizes, 1.0))


# --- modules of one's own -------------------------------------------------------------------------------------------


class TokenEncoder(nn.Module):
    """Tokens `(n, T, F)`, with the mask of the values or without one."""

    def __init__(self, masked: bool):
        super().__init__()
        self.masked, self.layer = masked, nn.Linear(2, 6)

    def forward(self, values):
        tokens = self.layer(values.value)
        return Masked(tokens, values.mask) if self.masked else tokens


@pytest.mark.parametrize("masked", [True, False])
def test_an_encoder_may_answer_in_tokens(masked):
    modalities = toy_modalities(2)
    modalities["ragged1"] = replace(modalities["ragged1"], encoder=lambda: TokenEncoder(masked))
    model = _model(modalities=modalities)
    assert model.inference.heads["ragged1"].in_features == 6
    values = toy_batch(2).values["ragged1"]
    tokens = model.encoders["ragged1"].layer(values.value)
    pooled = pool(model.encoders["ragged1"](values))
    for row in range(len(values)):
        kept = tokens[row][values.mask[row]] if masked else tokens[row]
        assert_close(pooled[row], kept.mean(dim=0))


def test_a_row_without_any_token_pools_to_zero():
    assert_close(pool(Masked(torch.ones(2, 3, 4), torch.zeros(2, 3, dtype=torch.bool))), torch.zeros(2, 4))


class Wrong(nn.Module):
    def __init__(self, change):
        super().__init__()
        self.change = change

    def forward(self, x):
        return self.change(x)


@pytest.mark.parametrize("change", [lambda x: x[:-1], lambda x: x.flatten(), lambda x: x[:, None, None]])
def test_an_encoder_that_loses_rows_is_named(change):
    with pytest.raises(
        ValueError, match=r"Encoder 'vector' returned shape .* for 2 rows. Expected \(2, width\) feature"
    ):
        _model(modalities=_vector(encoder=lambda: Wrong(change)))


def test_a_decoder_that_does_not_fit_is_named():
    with pytest.raises(ValueError, match=r"Decoder 'vector' does not fit its data: from codes of shape \(2, 4\)"):
        _model(modalities=_vector(decoder=lambda width: nn.Linear(width, 5)))
    with pytest.raises(ValueError, match=r"Decoder 'vector' does not fit its data: from codes of shape \(2, 4\)"):
        _model(modalities=_vector(decoder=lambda width: nn.Linear(width + 1, 3)))


class Mean0(LikelihoodHead):
    """A likelihood that means over the batch."""

    def forward(self, parameters):
        whole = NormalHead(1.0)(parameters)

        class Scored(Likelihood):
            mean = mode = property(lambda self: whole.mean)

            def log_prob(self, target):
                return whole.log_prob(target).mean()

            def sample(self, noise, name):
                return whole.sample(noise, name)

        return Scored()


def test_a_likelihood_that_does_not_score_rows_is_named():
    with pytest.raises(ValueError, match=r"Likelihood of 'vector' gave scores of shape \(\). Expected \(2,\)"):
        _model(modalities=_vector(likelihood=Mean0))


def test_names_of_weights_are_as_different_as_the_names_themselves():
    names = ["a.b", "a%2Eb", "a%b", "a%25b", "values", "values%", "training", "", "%", "%25", "image", "__class__"]
    made = [weights_name(name) for name in names]
    assert len(set(made)) == len(names) and not any("." in name for name in made)
    assert weights_name("image") == "image"
    layers = Named({name: nn.Linear(i + 1, 1) for i, name in enumerate(names)})
    assert list(layers) == list(layers.keys()) == [name for name, _ in layers.items()] == names
    assert [layers[name].in_features for name in names] == list(range(1, len(names) + 1))
    assert "values" in layers and "items" not in layers and len(layers) == len(list(layers.values())) == len(names)
    assert {key.split(".")[0] for key in layers.state_dict()} == set(made)
