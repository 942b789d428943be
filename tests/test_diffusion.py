"""MLD: its sampler against a Gaussian, where the way back is known; its loss against a second implementation."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from isthmus.batch import Batch, take
from isthmus.inference import Completion
from isthmus.methods import get_method
from isthmus.methods.base import build_method
from isthmus.noise import Noise
from isthmus.objectives import Apart, MultiTimeDenoising, Step, random_parts
from isthmus.samplers.diffusion import Diffusion, random_times
from isthmus.testing.conformance import toy_modalities, toy_values
from isthmus.training import TrainingConfig, train
from shown import shows
from toy_training import toy_method, toy_splits, toy_store

SIZES, NAMES = (2, 1, 2), list(toy_modalities(3))
LOC = torch.tensor([1.0, -2.0, 0.5, 3.0, 0.0], dtype=torch.float64)
SCALE = torch.tensor([1.0, 0.5, 2.0, 1.5, 0.7], dtype=torch.float64)
PRESENT = torch.tensor(
    [
        [True, True, True, False, True, False, False, False],
        [True, True, False, True, False, True, False, False],
        [True, False, True, True, False, False, True, False],
    ]
)


class Exact(nn.Module):
    """The direction in which codes `z ~ N(0, covariance)` truly move, in the place of a network that learnt it."""

    def __init__(self, covariance, part):
        super().__init__()
        self.covariance, self.part = covariance, part

    def forward(self, x, angle):
        rows = []
        for noisy, angles in zip(x, angle[:, self.part], strict=True):
            clean, noise = angles.cos(), angles.sin()
            read = clean > 1e-9  # of a part at time 1 nothing is left
            to_code = (self.covariance * clean)[:, read]
            seen = torch.linalg.inv((clean[:, None] * self.covariance * clean + torch.diag(noise**2))[read][:, read])
            code = to_code @ seen @ noisy[read]
            # E[noise | x] = sin C^-1 x, where C is the covariance of x.
            drawn = torch.zeros_like(noisy).index_copy(0, read.nonzero().squeeze(1), seen @ noisy[read]) * noise
            rows.append(clean * drawn - noise * code)
        return torch.stack(rows)


def gaussian(num_steps=50, seed=0):
    """A diffusion of `N(LOC, diag(SCALE) C diag(SCALE))` that knows its way, and the covariance."""
    root = torch.randn(5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    covariance = root @ root.T + 0.2 * torch.eye(5, dtype=torch.float64)
    inverse = torch.diag(covariance.diag().rsqrt())
    covariance = inverse @ covariance @ inverse
    diffusion = Diffusion(SIZES, width=8, num_blocks=1, num_steps=num_steps).double()
    diffusion.loc.copy_(LOC)
    diffusion.scale.copy_(SCALE)
    diffusion.denoiser = Exact(covariance, diffusion.part)
    return diffusion, SCALE[:, None] * covariance * SCALE


def conditional(covariance, codes, fixed):
    """Mean and covariance of a Gaussian's other numbers given those that are `fixed`, bool `(D,)`."""
    gain = covariance[~fixed][:, fixed] @ torch.linalg.inv(covariance[fixed][:, fixed])
    mean = LOC[~fixed] + gain @ (codes - LOC)[fixed]
    return mean, covariance[~fixed][:, ~fixed] - gain @ covariance[fixed][:, ~fixed]


CASES = [[False, False, False], [True, False, False], [False, True, True], [True, False, True]]


def drawn_moments(diffusion, codes, known):
    """Mean and covariance of what is drawn, exactly: for a Gaussian, a draw is affine in the noise it starts from."""
    start = torch.cat([torch.zeros(1, 5), torch.eye(5)]).double()
    ends = diffusion.complete(codes.expand(6, 5), torch.tensor([known] * 6), start)
    return ends[0], (ends[1:] - ends[0]).T @ (ends[1:] - ends[0])


@pytest.mark.parametrize("known", CASES)
def test_draws_from_a_gaussian_have_its_conditional_mean_and_covariance(known):
    diffusion, covariance = gaussian(num_steps=400)
    codes = torch.tensor([2.0, -1.0, 0.0, 1.0, 0.5], dtype=torch.float64)
    fixed = torch.tensor(known)[diffusion.part]
    mean, spread = drawn_moments(diffusion, codes, known)
    expected_mean, expected_spread = conditional(covariance, codes, fixed)
    assert torch.equal(mean[fixed], codes[fixed]), "what was known has changed"
    assert_close(mean[~fixed], expected_mean, atol=2e-3, rtol=0)
    assert_close(spread[~fixed][:, ~fixed], expected_spread, atol=5e-3, rtol=0)
    assert spread[fixed].abs().sum() == 0


def test_the_error_of_the_sampler_falls_with_the_square_of_its_steps():
    codes, known = torch.tensor([2.0, -1.0, 0.0, 1.0, 0.5], dtype=torch.float64), [True, False, False]
    errors = []
    for steps in (25, 50, 100, 200):
        diffusion, covariance = gaussian(steps)
        fixed = torch.tensor(known)[diffusion.part]
        _, spread = drawn_moments(diffusion, codes, known)
        errors.append(float((spread[~fixed][:, ~fixed] - conditional(covariance, codes, fixed)[1]).abs().max()))
    orders = [math.log2(coarse / fine) for coarse, fine in itertools.pairwise(errors)]
    assert all(1.7 < order < 2.5 for order in orders), (errors, orders)
    assert errors[1] < 0.05, "the default number of steps is too coarse"


@pytest.mark.parametrize("known", CASES)
def test_the_mean_of_a_gaussian_is_exact_in_one_look(known):
    diffusion, covariance = gaussian()
    codes = torch.tensor([[2.0, -1.0, 0.0, 1.0, 0.5]], dtype=torch.float64)
    fixed = torch.tensor(known)[diffusion.part]
    mean = diffusion.mean(codes, torch.tensor([known]))[0]
    assert_close(mean[~fixed], conditional(covariance, codes[0], fixed)[0])
    assert torch.equal(mean[fixed], codes[0, fixed])


def test_the_error_of_an_exact_direction_is_what_nobody_can_know():
    # At every time the mean squared error of the exact direction is the variance of v given the noisy code.
    diffusion, covariance = gaussian()
    codes = LOC + torch.randn(4000, 5, dtype=torch.float64) @ torch.linalg.cholesky(covariance).T
    drawn = torch.randn(4000, 5, dtype=torch.float64)
    inner = covariance / SCALE[:, None] / SCALE
    for time in (0.2, 0.7, 1.0):
        angle = torch.tensor(math.pi / 2 * time, dtype=torch.float64)
        error = diffusion.error(codes, torch.full((4000, 3), time, dtype=torch.float64), drawn).mean(dim=0)
        c, s = angle.cos(), angle.sin()
        eye = torch.eye(5, dtype=torch.float64)
        cross = c * s * (eye - inner)  # covariance of v with the noisy code
        left = c**2 * eye + s**2 * inner - cross @ torch.linalg.inv(c**2 * inner + s**2 * eye) @ cross.T
        assert_close(error, left.diag(), atol=0.08, rtol=0)


def test_a_part_at_time_one_is_not_read():
    torch.manual_seed(0)
    diffusion = lively(Diffusion(SIZES, width=16, num_blocks=2))
    known = torch.tensor([[True, False, True]]).expand(4, 3)
    codes = torch.randn(4, 5)
    other = torch.where(known[:, diffusion.part], codes, 1e6)
    start = torch.randn(4, 5)
    assert torch.equal(
        diffusion.mean(codes, known), torch.where(known[:, diffusion.part], codes, diffusion.mean(other, known))
    )
    assert_close(diffusion.complete(other, known, start), diffusion.complete(codes, known, start))


def test_times_are_late_ones_more_often_and_a_tenth_of_them_is_the_end():
    time = random_times(Noise(0), "time", 20_000, 1, like=torch.zeros(1))
    assert abs(float((time == 1).float().mean()) - 0.1) < 0.01
    tenths = torch.tensor([0.1, 0.5, 0.9])
    assert_close(time[time < 1].quantile(tenths), tenths.sqrt(), atol=0.02, rtol=0)


def lively(module):
    """A network whose last layer is not zero, as it is at first."""
    nn.init.normal_(module.denoiser.outward.weight, std=0.3)
    return module


# --- objectives -----------------------------------------------------------------------------------------------------


def method(**options):
    torch.manual_seed(3)
    made = build_method("mld", toy_modalities(3), latent_dim=4, options={"width": 16, "num_blocks": 2, **options})
    lively(made.model.prior.diffusion)
    made.model.double().eval()
    return made


def code_batch(model, seed=0):
    generator = torch.Generator().manual_seed(seed)
    codes = {name: torch.randn(8, 4, generator=generator, dtype=torch.float64) for name in NAMES}
    return codes, Batch.from_dense(codes, dict(zip(NAMES, PRESENT, strict=True)))


@shows("second implementation", "mld")
def test_denoising_equals_its_formula_item_by_item():
    made = method()
    model, diffusion, draws = made.model, made.model.prior.diffusion, 3
    model.inference.prepare({name: 2 * torch.randn(50, 4, dtype=torch.float64) + 1 for name in NAMES})
    codes, batch = code_batch(model)
    noise = Noise(7, 3)
    terms = MultiTimeDenoising(0.5, draws)(model, batch, Step(0, 1.0, noise))
    terms.loss.backward()
    got = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()

    like = torch.zeros(0, dtype=torch.float64)
    order = sorted(NAMES)
    place = {name: slice(4 * p, 4 * p + 4) for p, name in enumerate(order)}
    u = noise.uniform("time", 8, draws, 1, like=like)
    epsilon = noise.normal("noise", 8, draws, 12, like=like)
    losses, conditioned = [], 0
    for item in range(8):
        has = [m for m in range(3) if PRESENT[m, item]]
        total = torch.zeros((), dtype=torch.float64)
        for draw in range(draws):
            coin = noise.uniform(f"given/{draw}", 8, like=torch.zeros(0))[item]
            part = random_parts(PRESENT, noise, f"parts/{draw}")[:, item]
            given = [m for m in has if part[m]] if coin < 0.5 and len(has) > 1 else []
            targets = [m for m in has if m not in given]
            conditioned += bool(given)
            if not targets:
                continue
            t = min(1.0, math.sqrt(float(u[item, draw, 0]) / 0.9))
            x, angles, wanted = torch.zeros(12, dtype=torch.float64), [], torch.zeros(12, dtype=torch.float64)
            for name in order:
                m, at = NAMES.index(name), place[name]
                z = (codes[name][item] - diffusion.loc[at]) / diffusion.scale[at]
                e = epsilon[item, draw, at]
                if m in given:
                    x[at] = z
                    angles.append(0.0)
                elif m in targets:
                    angle = math.pi / 2 * t
                    x[at] = math.cos(angle) * z + math.sin(angle) * e if t < 1 else 0.0
                    wanted[at] = math.cos(angle) * e - math.sin(angle) * z
                    angles.append(angle)
                else:
                    angles.append(math.pi / 2)
            told = diffusion.denoiser(x[None], torch.tensor([angles], dtype=torch.float64))[0]
            squares = torch.cat([(told - wanted)[place[NAMES[m]]] ** 2 for m in targets])
            total = total + squares.mean() / (2 * draws)
        losses.append(total)
    assert conditioned > 3, "this test meets no item of which something is given"
    assert_close(terms.item_loss, torch.stack(losses))
    assert float(losses[-1]) == 0.0, "an item with nothing has a loss"
    torch.stack(losses).mean().backward()
    expected = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert got.keys() == expected.keys()
    for name, gradient in got.items():
        assert name.startswith("prior.diffusion.denoiser.")
        assert_close(gradient, expected[name], atol=1e-8, rtol=1e-5, msg=name)


def test_what_is_given_is_never_all_and_always_of_what_is_there():
    objective = MultiTimeDenoising(given=1.0)
    for seed in range(20):
        given = objective._given(PRESENT, Noise(seed), 0)
        assert not bool((given & ~PRESENT).any())
        count, left = PRESENT.sum(dim=0), (PRESENT & ~given).sum(dim=0)
        assert bool((left[count > 0] > 0).all()), "nothing is left to learn from an item"
        assert bool((given.sum(dim=0)[count > 1] > 0).all())
    assert not bool(MultiTimeDenoising(given=0.0)._given(PRESENT, Noise(0), 0).any())


@shows("second implementation", "mld")
@pytest.mark.parametrize(("beta", "noise"), [(0.0, 0.0), (0.5, 0.3)])
def test_apart_equals_its_formula_item_by_item(beta, noise):
    model = method(balance={"vector0": 0.5, "ragged1": 2.0, "label2": 1.25}).model.train()
    batch = Batch.from_dense(toy_values(3, 8, dtype=torch.float64), dict(zip(NAMES, PRESENT, strict=True)))
    terms = Apart(beta, noise)(model, batch, Step(0, 1.0, Noise(5)))
    terms.loss.backward()
    got = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    drawn = Noise(5).normal("own", 8, 12, like=torch.zeros(0, dtype=torch.float64))
    losses = []
    for item in range(8):
        total = torch.zeros((), dtype=torch.float64)
        for m, name in enumerate(NAMES):
            if not PRESENT[m, item]:
                continue
            seen = take(batch.values[name], batch.slots(name)[item : item + 1])
            # What encoders may not see in training is hidden by noise of this step.
            hidden = model._corrupted(batch, Noise(5)).values[name]
            features = model.encoders[name](take(hidden, batch.slots(name)[item : item + 1]))
            code = model.inference.heads[name](features)[0]
            z = torch.zeros(1, 12, dtype=torch.float64)
            z[0, model.private(name)] = code + noise * drawn[item, model.private(name)]
            total = total - model.weights[name] * model.decode(name, z).log_prob(seen)[0]
            total = total + beta * 0.5 * (code**2).sum()
        losses.append(total)
    assert_close(terms.item_loss, torch.stack(losses))
    torch.stack(losses).mean().backward()
    for name, gradient in got.items():
        assert not name.startswith("prior."), "the diffusion learns while modalities are coded alone"
        assert_close(gradient, model.get_parameter(name).grad, atol=1e-8, rtol=1e-5, msg=name)


# --- the method -----------------------------------------------------------------------------------------------------


def test_codes_of_a_modality_are_its_own_whatever_else_an_item_has():
    model = method().model
    batch = Batch.from_dense(toy_values(3, 8, dtype=torch.float64), dict(zip(NAMES, PRESENT, strict=True)))
    with torch.no_grad():
        posterior = model.encode(batch)
        draws = posterior.rsample(2, Noise(1)).z[:, 0]
        assert isinstance(posterior, Completion)
        for m, name in enumerate(NAMES):
            here = model.private(name)
            alone = model.encode(batch.only(name)).mean[PRESENT[m]][:, here]
            assert_close(posterior.mean[PRESENT[m]][:, here], alone)
            assert torch.equal(draws[:, PRESENT[m]][..., here], posterior.mean[PRESENT[m]][:, here].expand(2, -1, -1))
            missing = draws[:, ~PRESENT[m]][..., here]
            assert bool((missing[0] != missing[1]).any(dim=1).all()), "two draws of what is missing are the same"
            assert len(missing[0].unique(dim=0)) == len(missing[0]), "two items share a draw"


def test_an_item_with_nothing_is_drawn_as_new_items_are():
    model = method(num_steps=5).model
    nothing = Batch({"vector0": torch.zeros(0, 3).double()}, {"vector0": torch.zeros(6, dtype=torch.bool)})
    with torch.no_grad():
        drawn = model.encode(nothing).rsample(1, Noise(2), "prior").z[0, 0]
        # Noise goes by item, then by draw: of one draw these are the same numbers.
        assert_close(drawn, model.prior.sample(6, Noise(2)))
        assert_close(model.draw(6, Noise(2)), drawn)
        model.inference.finish(torch.arange(24, dtype=torch.float64).view(2, 12))
        assert_close(model.encode(nothing).mean, (torch.arange(12) + 6.0).double().expand(6, 12))


def test_densities_that_are_not_there_say_so():
    model = method().model
    batch = Batch.from_dense(toy_values(3, 2, dtype=torch.float64))
    posterior = model.encode(batch)
    z = torch.zeros(2, 12, dtype=torch.float64)
    for ask in (model.prior.log_prob, posterior.log_prob):
        with pytest.raises(TypeError, match="can be drawn from alone"):
            ask(z)
    for ask in (posterior.kl, posterior.component_kl):
        with pytest.raises(TypeError, match="no divergence in closed form"):
            ask(model.prior)
    with pytest.raises(ValueError, match="No closed form"):
        model.prior.kl_from("normal", z, z)
    with pytest.raises(ValueError, match=r"diffuse=1.0 is no share of the epochs. Expected 0 < diffuse < 1"):
        get_method("mld")(toy_modalities(2), latent_dim=2, diffuse=1.0)


def test_each_phase_trains_its_own_part_and_codes_are_standardised():
    method, store, splits = toy_method("mld", diffuse=0.5), toy_store(), toy_splits()
    model, states = method.model, []
    prepare = model.inference.prepare
    model.inference.prepare = lambda codes: (states.append(copy(model)), prepare(codes))
    start = copy(model)
    train(method, store, lambda batch: batch, splits, TrainingConfig(epochs=4, batch_size=16), quiet=True)
    middle, end = states[0], copy(model)
    for name in start:
        if name.startswith("prior.diffusion.denoiser."):
            assert torch.equal(start[name], middle[name]), f"{name} moved while modalities were coded alone"
        elif name.startswith(("encoders.", "decoders.", "likelihoods.", "inference.heads.")):
            assert torch.equal(middle[name], end[name]), f"{name} moved in the phase on codes"
    assert any(not torch.equal(middle[n], end[n]) for n in start if n.startswith("prior.diffusion.denoiser."))
    assert any(not torch.equal(start[n], middle[n]) for n in start if n.startswith("encoders."))
    own = model.own_codes(store.batch(splits["train"]))
    for name in store.modalities:
        here, codes = model.private(name), own.values[name]
        assert_close(model.prior.diffusion.loc[here], codes.mean(dim=0), atol=1e-5, rtol=1e-4)
        assert_close(model.prior.diffusion.scale[here], codes.std(dim=0, correction=0), atol=1e-5, rtol=1e-4)


def test_codes_that_do_not_vary_are_not_divided_by_nothing():
    model = method().model
    model.inference.prepare({"vector0": torch.full((5, 4), 2.0, dtype=torch.float64)})
    here = model.private("vector0")
    assert torch.equal(model.prior.diffusion.loc[here], torch.full((4,), 2.0, dtype=torch.float64))
    assert torch.equal(model.prior.diffusion.scale, torch.ones(12, dtype=torch.float64))


def copy(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.slow
def test_a_trained_diffusion_knows_a_gaussian():
    # Codes of three modalities with every pattern of gaps; what is drawn given the first has its conditional moments.
    torch.manual_seed(0)
    made = get_method("mld")(toy_modalities(3), latent_dim=1, width=64, num_blocks=2)
    model, generator = made.model, torch.Generator().manual_seed(0)
    root = torch.tensor([[1.0, 0.0, 0.0], [0.8, 0.6, 0.0], [-0.5, 0.5, 0.7]])
    codes = torch.randn(6000, 3, generator=generator) @ root.T * torch.tensor([2.0, 0.5, 1.0]) + torch.tensor(
        [1.0, 0.0, -1.0]
    )
    present = torch.rand(6000, 3, generator=generator) < 0.8
    order = sorted(NAMES)
    values = {name: codes[:, p : p + 1] for p, name in enumerate(order)}
    whole = Batch.from_dense(values, {name: present[:, p] for p, name in enumerate(order)})
    model.inference.prepare(whole.values)
    objective = made.phases[1].players[0].objective
    optimiser = torch.optim.Adam(model.prior.parameters(), 2e-3)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 2500)
    for step in range(2500):
        some = torch.randint(6000, (256,), generator=generator)
        optimiser.zero_grad()
        objective(model, whole.take(some), Step(step, 1.0, Noise(0, step))).loss.backward()
        optimiser.step()
        decay.step()
    covariance, loc = torch.cov(codes.T), codes.mean(dim=0)
    diffusion = model.prior.diffusion
    with torch.no_grad():
        for known, first in (([True, False, False], -1.5), ([True, False, True], 3.0), ([False] * 3, 0.0)):
            fixed = torch.tensor(known)
            given = torch.tensor([first, 0.0, -1.5]).expand(8000, 3)
            ends = diffusion.complete(given, fixed.expand(8000, 3), torch.randn(8000, 3, generator=generator))
            gain = covariance[~fixed][:, fixed] @ torch.linalg.inv(covariance[fixed][:, fixed])
            mean = loc[~fixed] + gain @ (given[0] - loc)[fixed]
            left = covariance[~fixed][:, ~fixed] - gain @ covariance[fixed][:, ~fixed]
            unit = left.diag().sqrt()
            assert_close((ends.mean(dim=0)[~fixed] - mean) / unit, torch.zeros_like(mean), atol=0.15, rtol=0)
            told = diffusion.mean(given[:1], fixed[None])[0]
            assert_close((told[~fixed] - mean) / unit, torch.zeros_like(mean), atol=0.15, rtol=0)
            got = torch.cov(ends.T)[~fixed][:, ~fixed] / unit[:, None] / unit
            assert_close(got, left / unit[:, None] / unit, atol=0.15, rtol=0)
