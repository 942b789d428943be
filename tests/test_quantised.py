"""Quantised codes: sets against brute force, codebooks against running means written out, and their training."""

from __future__ import annotations

import math
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from torch.testing import assert_close

from isthmus.batch import Batch
from isthmus.cli.methods import typed
from isthmus.methods import couple, get_method
from isthmus.noise import Noise
from isthmus.objectives import QuantisedRoutes, Routes, Step, random_parts
from isthmus.quantisers import FiniteScalarQuantiser, VectorQuantiser, num_groups_for
from isthmus.samplers import CodeDensity
from isthmus.testing.conformance import toy_batch, toy_modalities
from isthmus.training import TrainingConfig, train
from isthmus.training.checkpoints import checkpoint_paths, read_tensors
from shown import shows
from test_distributed import same_curves
from toy_training import toy_method, toy_splits, toy_store

LEVELS = (8, 5, 3)


# --- levels ----------------------------------------------------------------------------------------------------------


@shows("closed form", "fsq")
def test_levels_are_those_of_the_paper():
    # 5 levels: tanh(z) * 2 is rounded, and divided by 2. 8 levels: -4 .. 3, divided by 4, and zero stays zero.
    five = FiniteScalarQuantiser(1, [5])
    z = torch.tensor([[-9.0], [-0.6], [-0.2], [0.0], [0.3], [0.9], [9.0]])
    expected = torch.tensor([-1.0, -0.5, 0.0, 0.0, 0.5, 0.5, 1.0])
    assert_close(five(z)[0][:, 0], expected)
    assert_close(five(z)[0][:, 0], (2 * torch.tanh(z[:, 0])).round() / 2)
    eight = FiniteScalarQuantiser(1, [8])
    codes = eight(torch.linspace(-6, 6, 401)[:, None])[0]
    assert_close(codes.unique(), torch.arange(-4, 4) / 4)
    assert float(eight(torch.zeros(1, 1))[0]) == 0.0
    # The gradient is that of the bound before rounding: at zero, half of the levels' range by 1 - (offset / half)^2.
    half = 3.5 * 1.001
    start = torch.zeros(1, 1, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(eight(start)[0].sum(), start)
    assert_close(slope, torch.full_like(slope, half * (1 - (0.5 / half) ** 2) / 4))


def test_every_code_of_levels_has_an_index_of_its_own():
    quantiser = FiniteScalarQuantiser(5, LEVELS)  # 8, 5, 3 and again 8, 5
    assert quantiser.num_groups == 2 and quantiser.bits == pytest.approx(math.log2(8 * 5 * 3 * 8 * 5))
    grid = torch.cartesian_prod(*(torch.arange(-(n // 2), (n - 1) // 2 + 1) / (n // 2) for n in (8, 5, 3, 8, 5)))
    codes, indices = quantiser.nearest(grid)
    assert_close(codes, grid)
    first, second = indices.unbind(dim=1)
    assert first.unique().tolist() == list(range(120)) and second.unique().tolist() == list(range(40))
    assert len(indices.unique(dim=0)) == len(grid) == 120 * 40
    # Digits, the first dimension's the smallest.
    item = grid[[-1]]
    assert quantiser.nearest(item)[1].tolist() == [[7 + 8 * 4 + 8 * 5 * 2, 7 + 8 * 4]]


def test_draws_are_snapped_to_the_nearest_levels():
    quantiser = FiniteScalarQuantiser(3, LEVELS)
    grid = torch.cartesian_prod(*(torch.arange(-(n // 2), (n - 1) // 2 + 1) / (n // 2) for n in LEVELS))
    drawn = 1.5 * torch.randn(300, 3)
    codes, indices = quantiser.nearest(drawn)
    assert_close(codes, grid[torch.cdist(drawn, grid).argmin(dim=1)])
    assert_close(quantiser.nearest(codes)[1], indices)


def test_what_cannot_be_a_set_is_said():
    with pytest.raises(ValueError, match=r"levels=\[8, 2\]. Expected whole numbers of at least 3"):
        FiniteScalarQuantiser(4, [8, 2])
    with pytest.raises(ValueError, match="num_groups=3 does not divide a code of 8 numbers"):
        VectorQuantiser(8, num_groups=3)
    with pytest.raises(ValueError, match=r"num_words=1 and decay=0.9. Expected at least 2 words"):
        VectorQuantiser(8, num_words=1, decay=0.9)
    assert [num_groups_for(size) for size in (1, 2, 4, 7, 8, 10, 64)] == [1, 1, 1, 1, 2, 2, 16]
    assert typed((8, 5, 5)) == "[8, 5, 5]"


# --- words -----------------------------------------------------------------------------------------------------------


def _words(num_groups=2, num_words=5, dims=6, decay=0.9) -> VectorQuantiser:
    torch.manual_seed(0)
    return VectorQuantiser(dims, num_groups, num_words, decay).double()


def test_each_group_takes_its_nearest_word_and_the_gradient_of_what_it_stands_for():
    quantiser = _words()
    z = torch.randn(4, 7, 6, dtype=torch.float64, requires_grad=True)
    codes, indices = quantiser(z)
    for s in range(4):
        for item in range(7):
            for g in range(2):
                part = slice(3 * g, 3 * g + 3)
                away = [float(((z[s, item, part].detach() - word) ** 2).sum()) for word in quantiser.words[g]]
                best = min(range(5), key=away.__getitem__)
                assert int(indices[s, item, g]) == best
                assert torch.equal(codes[s, item, part], quantiser.words[g, best]), "not a word to the last bit"
    weight = torch.randn_like(codes)
    assert_close(torch.autograd.grad((codes * weight).sum(), z)[0], weight)
    assert quantiser.bits == 2 * math.log2(5)


def _learn(quantiser, z, step, use=None):
    use = torch.ones(z.shape[:2], dtype=torch.bool) if use is None else use
    statistics = quantiser.statistics(z, quantiser.nearest(z)[1], use, Noise(3, step))
    quantiser.update(statistics)
    return statistics


@shows("second implementation", "vq")
def test_words_are_running_means_written_out():
    quantiser = _words(decay=0.87)  # with 0.9 shares would meet the limit exactly
    generator = torch.Generator().manual_seed(1)
    share, total = np.zeros((2, 5)), np.zeros((2, 5, 3))
    words, restarts = quantiser.words.numpy().copy(), 0
    for step in range(60):
        z = torch.randn(2, 9, 6, generator=generator, dtype=torch.float64) + (4.0 if step > 20 else 0.0)  # words die
        use = torch.rand(2, 9, generator=generator) < 0.7
        _learn(quantiser, z, step, use)
        drawn = Noise(3, step).uniform("restart", 2, 5, like=z)
        share, total = 0.87 * share, 0.87 * total
        number = int(use.sum())
        for s in range(2):
            for item in range(9):
                for g in range(2) if use[s, item] else ():
                    vector = z[s, item, 3 * g : 3 * g + 3].numpy()
                    k = min(range(5), key=lambda k: ((vector - words[g, k]) ** 2).sum())
                    share[g, k] += 0.13 / number
                    total[g, k] += 0.13 * vector / number
        for g in range(2):
            for k in range(5):
                if share[g, k] > 0:
                    words[g, k] = total[g, k] / share[g, k]
                item = int(drawn[g, k] * 9)
                if share[g, k] < 0.1 / 5 and use[0, item]:
                    words[g, k] = z[0, item, 3 * g : 3 * g + 3].numpy()
                    share[g, k], total[g, k] = 1 / 5, words[g, k] / 5
                    restarts += step > 20
        assert_close(quantiser.words, torch.from_numpy(words), rtol=1e-9, atol=1e-9)
        assert_close(quantiser.share, torch.from_numpy(share), rtol=1e-9, atol=1e-9)
    assert restarts >= 4, "no word started again: the test would not see a wrong restart"


def test_all_words_start_from_items_and_a_dead_one_starts_again():
    quantiser = _words(num_groups=1, num_words=4, dims=2, decay=0.98)
    z = torch.randn(1, 50, 2, dtype=torch.float64)
    _learn(quantiser, z, 0)
    for word in quantiser.words[0]:
        assert bool((z[0] == word).all(dim=1).any()), "a word does not start from an item"
    assert_close(quantiser.share, torch.full_like(quantiser.share, 1 / 4))
    alive, quantiser.decay = quantiser.words[0, 1].clone(), 0.9
    quantiser.words[0, 0] = 100.0  # nothing is near
    quantiser.total[0, 0] = 100.0 * quantiser.share[0, 0]
    for step in range(1, 60):
        before = quantiser.words[0, 0].clone()
        _learn(quantiser, z, step)
        if not torch.equal(before, quantiser.words[0, 0]) and float(quantiser.words[0, 0].abs().max()) < 50:
            break
    # Its share falls from 1/4 to a tenth of that: ln 10 / -ln 0.9 steps.
    assert step == math.ceil(math.log(10) / -math.log(0.9))
    assert bool((z[0] == quantiser.words[0, 0]).all(dim=1).any())
    assert float((alive - quantiser.words[0, 1]).norm()) < 5


def test_a_codebook_fits_as_well_as_k_means():
    centre = 4 * torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    generator = torch.Generator().manual_seed(3)
    data = centre[torch.randint(6, (600,), generator=generator)]
    data = data + 0.3 * torch.randn(600, 3, generator=generator, dtype=torch.float64)
    torch.manual_seed(0)
    quantiser = VectorQuantiser(3, 1, 12, 0.95).double()
    for step in range(400):
        _learn(quantiser, data[torch.randint(600, (1, 64), generator=generator)], step)
    found = float((data - quantiser.nearest(data)[0]).pow(2).sum(dim=1).mean())
    best = KMeans(12, n_init=10, random_state=0).fit(data.numpy()).inertia_ / 600
    assert found < 1.3 * best
    assert len(quantiser.nearest(data)[1].unique()) == 12, "a word is used by nobody"


def test_what_two_processes_saw_adds_up_to_what_one_sees():
    quantiser = _words(num_words=40)
    z = torch.randn(2, 11, 6, dtype=torch.float64)
    use = torch.rand(2, 11) < 0.8
    indices = quantiser.nearest(z)[1]
    whole = quantiser.statistics(z, indices, use, Noise(5, 8))
    parts = [
        quantiser.statistics(z[:, rows], indices[:, rows], use[:, rows], Noise(5, 8, offset=rows.start, total=11))
        for rows in (slice(0, 6), slice(6, 11))
    ]
    for name, value in whole.items():
        assert_close(parts[0][name] + parts[1][name], value)
    assert 0 < whole["spares"].sum() < whole["spares"].numel(), "items with nothing are no start for a word"


# --- methods ---------------------------------------------------------------------------------------------------------


def _method(name, **options):
    torch.manual_seed(0)
    made = get_method(name)(toy_modalities(3), latent_dim=8, **options)
    made.model.double()
    return made


def _batch() -> Batch:
    batch = toy_batch(3, 9)
    for name in batch:
        batch = batch.drop(name, at=0)
    return batch.to(dtype=torch.float64)


@pytest.mark.parametrize("name", ["vq", "fsq"])
def test_codes_are_of_the_set_and_named_by_their_indices(name):
    model, batch = _method(name).model.eval(), _batch()
    model.inference.mean_code.fill_(0.123)
    posterior = model.encode(batch)
    quantiser = model.inference.quantiser
    again, indices = quantiser.nearest(posterior.code)
    assert_close(posterior.mean[1:], again[1:])
    assert torch.equal(posterior.indices[1:], indices[1:])
    assert posterior.indices[0].tolist() == [-1, -1] and posterior.indices.shape == (9, quantiser.num_groups)
    assert_close(posterior.mean[0], torch.full((8,), 0.123, dtype=torch.float64))
    assert posterior.spread is None and torch.equal(posterior.detach().indices, posterior.indices)
    # Without a gradient to what was quantised, encoders would learn nothing.
    assert posterior.mean.requires_grad and posterior.before.requires_grad


@pytest.mark.parametrize("name", ["vq", "fsq"])
def test_new_items_have_codes_of_the_set(name):
    model = _method(name).model.eval()
    model.density = CodeDensity.fit(torch.randn(100, 8))
    drawn = model.draw(50, Noise(0))
    assert drawn.dtype == torch.float64
    assert_close(model.inference.quantiser.nearest(drawn)[0], drawn)
    assert not torch.allclose(drawn, model.density.sample(50, Noise(0)))


@shows("second implementation", "vq")
@pytest.mark.parametrize("dropout", [True, False])
def test_routes_with_words_equal_their_formula(dropout):
    # VQ-VAE: log-likelihood of the nearest words, with a straight-through gradient, less the commitment.
    model, batch = _method("vq", num_words=6).model.train(), _batch()
    terms = QuantisedRoutes(Routes(dropout), commitment=0.4)(model, batch, Step(0, 1.0, Noise(6)))
    names = list(model.modalities)
    present = batch.presence(names)
    random = random_parts(present, Noise(6), "dropout")
    words, losses = model.inference.quantiser.words, []
    for item in range(len(batch)):
        has = [m for m in range(3) if present[m, item]]
        if not has:
            losses.append(torch.zeros((), dtype=torch.float64))
            continue
        alone = batch.take(torch.tensor([item]))
        sources = [has] + ([[m for m in has if random[m, item]]] if dropout else [])
        total = torch.zeros((), dtype=torch.float64)
        for source in sources:
            seen = alone.only(*(names[m] for m in source))
            features = {names[m]: model._features(names[m], _seen(model, batch, names[m], item)) for m in source}
            fused = model.inference.fusion(features, seen.presence(names))
            z = model.inference.head(fused)[0]
            e = torch.stack(
                [min(words[g], key=lambda w: float((w - z[4 * g : 4 * g + 4]).detach().norm())) for g in range(2)]
            )
            code = z + (e.flatten() - z).detach()
            for m in has:
                score = model.decode(names[m], code[None]).log_prob(alone.values[names[m]])[0]
                total = total - model.weights[names[m]] * score
            total = total + 0.4 * ((z - e.flatten()) ** 2).sum()
        losses.append(total / len(sources))
    expected = torch.stack(losses)
    assert_close(terms.item_loss, expected, rtol=1e-9, atol=1e-9)
    parameters = [p for p in model.parameters() if p.requires_grad]
    pairs = (torch.autograd.grad(loss.mean(), parameters, allow_unused=True) for loss in (terms.item_loss, expected))
    for got, other in zip(*pairs, strict=True):
        assert (got is None) == (other is None)
        if got is not None:
            assert_close(got, other, rtol=1e-8, atol=1e-9)


def _seen(model, batch, name, item):
    """The row of one item as its encoder sees it in training, some of its features hidden."""
    return model._corrupted(batch, Noise(6)).take(torch.tensor([item])).values[name]


def test_words_are_learnt_in_training_alone_and_no_item_counts_twice():
    made, batch = _method("vq"), _batch()
    objective = made.phases[0].players[0].objective
    step = Step(0, 1.0, Noise(1))
    statistics = objective(made.model.train(), batch, step).statistics
    # Two routes of each of the items that have anything.
    assert statistics["count"].sum(dim=1).tolist() == [2.0 * 8] * 2
    assert not objective(made.model.eval(), batch, Step(0, 1.0, Noise(1))).statistics
    assert not _method("fsq").phases[0].players[0].objective(made.model.train(), batch, step).statistics


# --- training --------------------------------------------------------------------------------------------------------

CONFIG = TrainingConfig(epochs=6, batch_size=16, learning_rate=0.01, checkpoint_every=0)
OPTIONS = {"num_words": 8, "decay": 0.7}


def _train(method, folder=None, normalise=lambda batch: batch, resume=False, **settings):
    config = CONFIG.model_copy(update=settings)
    return train(method, toy_store(), normalise, toy_splits(), config, folder, resume=resume, quiet=True)


def test_training_moves_words_to_what_they_stand_for(tmp_path):
    method = toy_method("vq", **OPTIONS)
    start = method.model.inference.quantiser.words.clone()
    history = _train(method, tmp_path)
    words = method.model.inference.quantiser.words
    assert not torch.isclose(start, words).all(dim=-1).any(), "a word never moved"
    assert "commitment" in history.rows[-1]
    assert len(history.codes.unique(dim=0)) <= 8 + 1


def test_killed_and_resumed_the_codebook_is_the_same_to_the_last_bit(tmp_path):
    whole, again, left = toy_method("vq", **OPTIONS), toy_method("vq", **OPTIONS), 15

    def die(batch):
        nonlocal left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        return batch

    _train(whole, tmp_path / "whole")
    process = os.fork()
    if not process:
        try:
            _train(toy_method("vq", **OPTIONS), tmp_path / "killed", die)
        finally:
            os._exit(1)
    assert os.WIFSIGNALED(os.waitpid(process, 0)[1])
    tensors, _ = read_tensors(checkpoint_paths(tmp_path / "killed" / "checkpoints")[-1])
    assert not torch.equal(tensors["model/inference.quantiser.words"], whole.model.inference.quantiser.words)
    _train(again, tmp_path / "killed", resume=True)
    for key, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[key]), key


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked on a CPU")
def test_two_processes_have_the_codebook_of_one():
    # 61 - 12 = 49 = 3 * 16 + 1: the second process gets nothing of an epoch's last batch, and must not count it.
    methods = [toy_method("vq", **OPTIONS) for _ in range(2)]
    store, splits = toy_store(61, missing=0.65), toy_splits(61)
    one, two = (
        train(method, store, lambda batch: batch, splits, replace_devices(devices), quiet=True)
        for devices, method in enumerate(methods, 1)
    )
    same_curves(one, two)
    books = [method.model.inference.quantiser for method in methods]
    for part in ("words", "share", "total"):
        assert_close(getattr(books[0], part), getattr(books[1], part), rtol=1e-4, atol=1e-5)


def replace_devices(devices: int) -> TrainingConfig:
    return CONFIG.model_copy(update={"devices": devices, "accelerator": "cpu"})


def test_a_critic_beside_it_says_nothing_of_the_words():
    # Of two players one alone counts words.
    store, splits = toy_store(61), toy_splits(61)
    alone, coupled = toy_method("vq", **OPTIONS), couple(toy_method("vq", **OPTIONS), {"adversarial": 1e-12})
    for method in (alone, coupled):
        train(method, store, lambda batch: batch, splits, CONFIG, quiet=True)
    books = [method.model.inference.quantiser for method in (alone, coupled)]
    assert_close(books[0].words, books[1].words, rtol=1e-3, atol=1e-3)


def test_the_objectives_of_both_can_be_told_from_others():
    vq, fsq = (get_method(name)(toy_modalities(2), latent_dim=4) for name in ("vq", "fsq"))
    assert vq.phases[0].players[0].objective == QuantisedRoutes(Routes(True), 0.25)
    assert fsq.phases[0].players[0].objective == Routes(True)
    assert vq.capabilities == fsq.capabilities != replace(vq.capabilities, generative=False)
