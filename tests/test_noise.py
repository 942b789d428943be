"""Noise is a function of seed, step, name and place, and of nothing else."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from isthmus.noise import Noise

LIKE = torch.empty(0)
DRAWS = ["normal", "uniform", "laplace", "gumbel"]


@pytest.mark.parametrize("draw", DRAWS)
@given(st.integers(1, 20), st.data())
@settings(deadline=None, max_examples=15)
def test_what_processes_draw_is_cut_from_the_global_draw(draw, total, data):
    offset = data.draw(st.integers(0, total - 1))
    rows = data.draw(st.integers(1, total - offset))
    whole = getattr(Noise(1, step=5), draw)("z", total, 2, 3, like=LIKE)
    part = getattr(Noise(1, step=5, offset=offset, total=total), draw)("z", rows, 2, 3, like=LIKE)
    assert torch.equal(part, whole[offset : offset + rows])


def test_seed_step_and_name_each_give_other_draws():
    draws = [
        noise.normal(name, 4, like=LIKE)
        for noise in (Noise(0), Noise(1), Noise(0, step=1))
        for name in ("z", "z/component")
    ]
    assert len({tuple(drawn.tolist()) for drawn in draws}) == 6
    # Not by their concatenation: seed 1, step 12 is not seed 11, step 2.
    assert not torch.equal(Noise(1, 12).normal("z", 4, like=LIKE), Noise(11, 2).normal("z", 4, like=LIKE))


def test_drawing_is_free_of_history_and_of_the_global_generator():
    first = Noise(3).normal("z", 5, like=LIKE)
    state = torch.get_rng_state()
    torch.manual_seed(99)
    Noise(3).normal("other", 100, like=LIKE)
    again = Noise(3).normal("z", 5, like=LIKE)
    torch.set_rng_state(state)
    assert torch.equal(first, again)


def test_draws_are_the_same_from_run_to_run():
    # Runs are resumed by later releases: a change of these numbers breaks exact resume, and must be meant.
    expected = torch.tensor([0.18509, 1.46962, -1.00611])
    assert_close(Noise(0).normal("z", 3, like=LIKE), expected, atol=1e-5, rtol=0)


def test_another_dtype_sees_the_same_numbers():
    single = Noise(0).normal("z", 4, 2, like=LIKE)
    double = Noise(0).normal("z", 4, 2, like=LIKE.double())
    assert double.dtype == torch.float64
    assert torch.equal(single.double(), double)
    assert Noise(0).uniform("z", 4, like=torch.zeros(0, dtype=torch.long)).dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_uniform_draw_is_never_at_the_end_of_its_interval(dtype, monkeypatch):
    # The least and the most that torch draws.
    monkeypatch.setattr(torch, "rand", lambda *shape, generator: torch.tensor([0.0, 1 - 2**-24]))
    like = torch.empty(0, dtype=dtype)
    least, most = Noise(0).uniform("u", 2, like=like)
    assert 0 < least < 1e-7 and 1 - 1e-7 < most < 1
    assert Noise(0).laplace("u", 2, like=like).isfinite().all()
    assert Noise(0).gumbel("u", 2, like=like).isfinite().all()


@pytest.mark.parametrize(
    ("draw", "mean", "deviation"),
    [("normal", 0.0, 1.0), ("uniform", 0.5, 12**-0.5), ("laplace", 0.0, 2**0.5), ("gumbel", 0.5772, 1.2825)],
)
def test_moments(draw, mean, deviation):
    drawn = getattr(Noise(2), draw)("z", 20_000, 5, like=LIKE.double())
    assert float(drawn.mean()) == pytest.approx(mean, abs=0.02)
    assert float(drawn.std()) == pytest.approx(deviation, rel=0.02)
    # Rows and columns are drawn apart.
    assert float(torch.corrcoef(drawn.T).fill_diagonal_(0).abs().max()) < 0.03
    assert bool(torch.isfinite(drawn).all())


def test_quantiles_are_those_of_the_distributions():
    quantiles = torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95], dtype=torch.float64)
    theirs = {
        "normal": torch.distributions.Normal(0.0, 1.0),
        "laplace": torch.distributions.Laplace(0.0, 1.0),
        "gumbel": torch.distributions.Gumbel(0.0, 1.0),
        "uniform": torch.distributions.Uniform(0.0, 1.0),
    }
    for draw, distribution in theirs.items():
        drawn = getattr(Noise(5), draw)("q", 100_000, like=LIKE)
        assert_close(
            drawn.double().quantile(quantiles), distribution.icdf(quantiles.float()).double(), atol=0.05, rtol=0
        )


def test_categorical_follows_the_weights_and_never_draws_what_weighs_nothing():
    weight = torch.tensor([0.5, 0.0, 0.2, 0.3])
    drawn = Noise(0).categorical("c", weight.log().expand(20_000, 4))
    assert_close(torch.bincount(drawn, minlength=4) / 20_000, weight, atol=0.015, rtol=0)
    assert not (drawn == 1).any()
