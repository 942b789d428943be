"""Samplers of codes: what is drawn from them, and Bayes' rule with the mixture as the prior."""

from __future__ import annotations

import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from torch.testing import assert_close

from isthmus.estimator import Autoencoder, load
from isthmus.noise import Noise
from isthmus.posteriors import Ladder, Mixture, Point, one_component
from isthmus.priors import LadderPrior, LocationScale
from isthmus.samplers import FITTED, CodeDensity, CodeFlow, check_sampler, fit_samplers, samplers_like
from isthmus.samplers.base import best_known
from isthmus.samplers.mixture import num_components_for, tied_mixture
from toy_training import toy_method


def _two_blobs(num_items=4000):
    generator = torch.Generator().manual_seed(0)
    side = (torch.rand(num_items, generator=generator) < 0.25).float()
    loc = torch.stack([4 * side - 2, 1 - side], dim=1)
    return loc + 0.3 * torch.randn(num_items, 2, generator=generator)


@pytest.fixture(scope="module", params=sorted(FITTED))
def fitted(request):
    with pytest.MonkeyPatch.context() as patch:  # small networks are enough for two blobs
        for module, name, value in [("flow", "STEPS", 800), ("diffusion", "STEPS", 800), ("diffusion", "WIDTH", 64)]:
            patch.setattr(f"isthmus.samplers.{module}.{name}", value)
        yield FITTED[request.param].fit(_two_blobs())


def test_draws_have_the_moments_of_the_codes(fitted):
    codes, drawn = _two_blobs(), fitted.sample(20_000, Noise(1)).float()
    exact = isinstance(fitted, CodeDensity)  # which is of the family that the codes come from
    assert_close(drawn.mean(0), codes.mean(0), atol=0.05 if exact else 0.12, rtol=0)
    assert_close(torch.cov(drawn.T), torch.cov(codes.T), atol=0.08 if exact else 0.3, rtol=0)
    share = (drawn[:, 0] > 0).float().mean()
    assert abs(share - 0.25) < 0.03, "a mode has lost its weight"
    between = (drawn[:, 0].abs() < 0.5).float().mean()
    assert between < (0.01 if exact else 0.03), "the gap between two modes was filled"


def test_one_seed_one_draw_and_a_state_is_all_there_is(fitted):
    again = type(fitted).like(fitted.state_dict())
    again.load_state_dict(fitted.state_dict())
    assert torch.equal(fitted.sample(7, Noise(3)), again.sample(7, Noise(3)))
    assert not torch.equal(fitted.sample(7, Noise(3)), fitted.sample(7, Noise(4)))
    assert not any(parameter.requires_grad for parameter in fitted.parameters())


@pytest.mark.parametrize("name", ["flow", "diffusion"])
def test_fitting_heeds_its_seed_alone(name, monkeypatch):
    monkeypatch.setattr(f"isthmus.samplers.{name}.STEPS", 60)
    codes = _two_blobs(300)
    before = torch.random.get_rng_state()
    states = [FITTED[name].fit(codes, seed=seed).state_dict() for seed in (0, 0, 1)]
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(5)
    states.append(FITTED[name].fit(codes).state_dict())
    assert all(torch.equal(states[0][key], states[other][key]) for key in states[0] for other in (1, 3))
    assert any(not torch.equal(states[0][key], states[2][key]) for key in states[0])


@pytest.mark.parametrize("name", ["flow", "diffusion"])
def test_few_codes_and_codes_that_do_not_vary_can_be_fitted(name, monkeypatch):
    monkeypatch.setattr(f"isthmus.samplers.{name}.STEPS", 60)
    for codes in (torch.full((1, 3), 2.0), torch.full((40, 3), 2.0), torch.randn(40, 1)):
        drawn = FITTED[name].fit(codes).sample(5, Noise(0))
        assert drawn.shape == (5, codes.shape[1]) and bool(drawn.isfinite().all())


def test_of_one_code_nothing_is_known_of_how_codes_vary():
    drawn = CodeDensity.fit(torch.full((1, 3), 2.0)).sample(20_000, Noise(0))
    assert_close(drawn.mean(dim=0), torch.full((3,), 2.0).double(), atol=0.05, rtol=0)
    assert_close(drawn.std(dim=0), torch.ones(3).double(), atol=0.05, rtol=0)


def test_a_flow_is_a_density(monkeypatch):
    # Its density integrates to one over the plane, and is that of its own draws.
    monkeypatch.setattr("isthmus.samplers.flow.STEPS", 300)
    flow = CodeFlow.fit(_two_blobs(1000))
    x, y = torch.linspace(-6, 6, 601), torch.linspace(-4, 5, 451)
    grid = torch.cartesian_prod(x, y)
    mass = flow.log_prob(grid).exp() * (x[1] - x[0]) * (y[1] - y[0])
    assert abs(float(mass.sum()) - 1) < 0.01
    drawn = flow.sample(20_000, Noise(2))
    right = float(mass[grid[:, 0] > 0].sum())
    assert abs(float((drawn[:, 0] > 0).float().mean()) - right) < 0.02


def test_what_a_model_draws_from_follows_from_the_name(monkeypatch):
    monkeypatch.setattr("isthmus.samplers.flow.STEPS", 60)
    codes, observed = _two_blobs(300), torch.full((300,), 2)
    assert fit_samplers("prior", codes, observed, 0) == {}
    assert list(fit_samplers("mixture", codes, observed, 0)) == ["density"]
    # Draws for known items heed the mixture, whatever new ones are drawn from.
    parts = fit_samplers("flow", codes, observed, 0)
    assert [(part, type(sampler)) for part, sampler in parts.items()] == [
        ("density", CodeDensity),
        ("sampler", CodeFlow),
    ]
    state = {f"{part}.{key}": value for part, made in parts.items() for key, value in made.state_dict().items()}
    again = samplers_like("flow", state)
    for part, sampler in again.items():
        sampler.load_state_dict(parts[part].state_dict())
        assert torch.equal(sampler.sample(3, Noise(0)), parts[part].sample(3, Noise(0)))
    with pytest.raises(
        ValueError, match=r"sampler='flows' is unknown\. Expected mixture, flow, diffusion, prior\. Did you mean 'flow'"
    ):
        check_sampler("flows")


def test_items_of_which_little_is_known_are_not_fitted():
    codes = torch.cat([_two_blobs(2000), torch.tensor([[0.0, 0.5]]).expand(1500, 2)])  # half-way between the blobs
    observed = torch.cat([torch.arange(2000) % 2 + 2, torch.ones(1500, dtype=torch.long)])
    drawn = CodeDensity.fit(codes, observed).sample(20_000, Noise(1)).float()
    assert (drawn[:, 0].abs() < 0.5).float().mean() < 0.01
    # Where all items have as little, all are fitted.
    poor = CodeDensity.fit(codes[:2000], torch.ones(2000, dtype=torch.long))
    assert torch.equal(poor.loc, CodeDensity.fit(codes[:2000]).loc)


def test_of_very_many_codes_some_are_fitted_at_random(monkeypatch):
    monkeypatch.setattr("isthmus.samplers.base.MAX_FITTED", 100)
    codes = torch.arange(2000.0)[:, None]
    some, again, other = (best_known(codes, None, seed)[:, 0] for seed in (0, 0, 1))
    assert len(some.unique()) == 100 and torch.equal(some, again) and not torch.equal(some, other)
    standard_error = 2000 / 12**0.5 / 10
    assert_close(float(some.mean()), 999.5, atol=4 * standard_error, rtol=0)


def test_the_flow_is_kept_that_codes_held_out_find_likeliest(monkeypatch):
    # Steps so long that the likeliest is not the last.
    small = {"LAYERS": 4, "WIDTH": 16, "STEPS": 60, "BATCH": 32, "LOOK_EVERY": 5, "RATE": 0.05, "JITTER": 0.0}
    for name, value in small.items():
        monkeypatch.setattr(f"isthmus.samplers.flow.{name}", value)
    trained, looks, plain = [], [], CodeFlow.log_prob

    def log_prob(flow, codes):
        score = plain(flow, codes)
        if torch.is_grad_enabled():
            trained.append(codes)
        else:
            looks.append((float(score.mean()), codes, {name: part.clone() for name, part in flow.state_dict().items()}))
        return score

    monkeypatch.setattr(CodeFlow, "log_prob", log_prob)
    kept = CodeFlow.fit(_two_blobs(100)).state_dict()
    assert len(looks) == 12
    score, held, best = max(looks, key=lambda look: look[0])
    assert score > looks[-1][0]
    assert all(torch.equal(kept[name], part) for name, part in best.items())
    assert len(held) == 10 and not (held[:, None] == torch.cat(trained)).all(dim=-1).any()


def test_where_codes_fill_the_prior_a_draw_is_one_from_the_posterior():
    # One component N(0, I): Bayes' rule gives q itself back.
    loc, log_scale = torch.tensor([0.8, -0.5]), torch.tensor([-1.0, -0.3])
    density = CodeDensity(1, 2)
    drawn = density.condition(loc.expand(40_000, 2), log_scale.expand(40_000, 2), torch.zeros(2), Noise(0))
    assert_close(drawn.mean(0), loc, atol=0.02, rtol=0)
    assert_close(drawn.std(0), log_scale.exp(), atol=0.02, rtol=0)


def test_a_posterior_that_says_nothing_gives_the_density_of_the_codes():
    codes = _two_blobs()
    density = CodeDensity.fit(codes)
    nothing = torch.zeros(20_000, 2)
    drawn = density.condition(nothing, nothing, torch.zeros(2), Noise(0))
    assert_close(drawn.mean(0), codes.mean(0), atol=0.05, rtol=0)
    assert_close(torch.cov(drawn.T), torch.cov(codes.T), atol=0.08, rtol=0)


def test_bayes_rule_equals_importance_sampling():
    density = CodeDensity.fit(_two_blobs())
    loc, log_scale, prior = torch.tensor([0.3, 0.4]), torch.tensor([0.2, -0.9]), torch.tensor([0.5, 0.1])
    drawn = density.condition(loc.expand(50_000, 2), log_scale.expand(50_000, 2), prior, Noise(0)).double()
    z = density.sample(400_000, Noise(5))
    ratio = torch.distributions.Normal(loc, log_scale.exp()).log_prob(z).sum(-1)
    weight = (ratio - torch.distributions.Normal(0, prior.exp()).log_prob(z).sum(-1)).softmax(0)
    mean = (weight[:, None] * z).sum(0)
    covariance = torch.einsum("n,nd,ne->de", weight, z - mean, z - mean)
    assert_close(drawn.mean(0), mean, atol=0.03, rtol=0)
    assert_close(torch.cov(drawn.T), covariance, atol=0.06, rtol=0)


def test_a_posterior_wider_than_the_prior_says_nothing_of_that_dimension():
    density, second = CodeDensity.fit(_two_blobs(400)), torch.randn(50, generator=torch.Generator().manual_seed(0))
    drawn = [
        density.condition(
            torch.stack([torch.full((50,), first), second], dim=1),
            torch.tensor([log_scale, -0.5]).expand(50, 2),
            torch.zeros(2),
            Noise(0),
        )
        for first, log_scale in ((0.0, 0.0), (3.0, 0.9), (-5.0, 0.9))
    ]
    assert torch.equal(drawn[0], drawn[1]) and torch.equal(drawn[0], drawn[2])


# --- what a model makes of it ---------------------------------------------------------------------------------------


@pytest.fixture
def model():
    """A model with a density, and a prior that is not standard."""
    model = toy_method("mmvae", family="normal").model
    with torch.no_grad():
        model.prior.logits.copy_(torch.tensor([0.3, -0.1]))
    model.density = CodeDensity.fit(_two_blobs(400))
    return model.requires_grad_(False)


def test_a_draw_for_a_known_item_heeds_the_codes_of_all(model):
    generator = torch.Generator().manual_seed(0)
    loc, log_scale = torch.randn(9, 2, generator=generator), 0.3 * torch.randn(9, 2, generator=generator) - 1
    posterior = one_component(loc[None], log_scale[None], 3)
    drawn = model.codes(posterior, Noise(3))
    assert torch.equal(drawn, model.density.condition(loc, log_scale, model.prior.log_scale, Noise(3), "z"))
    assert not torch.isclose(drawn, posterior.rsample(1, Noise(3)).z[0, 0]).any()
    assert torch.equal(model.codes(posterior, None), loc)


def test_each_belief_of_a_mixture_heeds_the_codes_by_itself_and_keeps_its_share(model):
    rows, share = 40_000, torch.tensor([0.4, 0.6])
    loc, log_scale = torch.tensor([[-1.2, 0.8], [0.8, -0.3]]), torch.tensor([[-0.9, -0.4], [-0.5, -1.0]])
    wide = (part[:, None].expand(2, rows, 2) for part in (loc, log_scale))
    posterior = Mixture(*wide, share.log()[:, None].expand(2, rows), torch.eye(2, dtype=torch.bool))
    drawn = model.codes(posterior, Noise(0)).double()
    # Each by importance sampling.
    z = model.density.sample(200_000, Noise(5))
    told = torch.distributions.Normal(loc[:, None], log_scale[:, None].exp()).log_prob(z).sum(-1)
    weight = (told - torch.distributions.Normal(0, model.prior.log_scale.exp()).log_prob(z).sum(-1)).softmax(dim=1)
    weight = share.double() @ weight
    mean = weight @ z
    assert_close(drawn.mean(0), mean, atol=0.03, rtol=0)
    assert_close(torch.cov(drawn.T), torch.einsum("n,nd,ne->de", weight, z - mean, z - mean), atol=0.06, rtol=0)


@pytest.mark.parametrize(
    "posterior",
    [
        Mixture(torch.ones(1, 5, 2), torch.zeros(1, 5, 2), torch.zeros(1, 5), torch.ones(1, 3).bool(), "laplace"),
        Point(torch.ones(5, 2)),
        Ladder(LadderPrior([1, 1]).requires_grad_(False).conditional, (1, 1), torch.zeros(5, 0)),
    ],
    ids=lambda posterior: type(posterior).__name__,
)
def test_other_posteriors_than_normals_are_drawn_from_as_they_are(model, posterior):
    assert torch.equal(model.codes(posterior, Noise(3)), posterior.rsample(1, Noise(3)).z[0, 0])


def test_under_other_priors_than_normals_posteriors_are_drawn_from_as_they_are(model):
    model.prior = LocationScale(2, "laplace")
    posterior = one_component(torch.ones(1, 5, 2), torch.zeros(1, 5, 2), 3)
    assert torch.equal(model.codes(posterior, Noise(3)), posterior.rsample(1, Noise(3)).z[0, 0])


# --- fitting --------------------------------------------------------------------------------------------------------


def test_an_items_draw_does_not_depend_on_the_chunk(monkeypatch):
    density = CodeDensity.fit(_two_blobs(500))
    loc, log_scale = torch.randn(9, 2), torch.full((9, 2), -0.5)
    whole = density.condition(loc, log_scale, torch.zeros(2), Noise(0))
    monkeypatch.setattr("isthmus.samplers.mixture.MAX_NUMBERS", 1)
    assert_close(density.condition(loc, log_scale, torch.zeros(2), Noise(0)), whole)


def test_the_fast_mixture_is_scikit_learns():
    rows = torch.randn(400, 5, generator=torch.Generator().manual_seed(0)).double().numpy() * [1, 2, 3, 4, 0.1]
    settings = {"n_components": 7, "reg_covar": 1e-4, "max_iter": 20, "tol": 0.0, "random_state": 3}
    with pytest.warns(ConvergenceWarning):
        plain = GaussianMixture(covariance_type="tied", **settings).fit(rows)
        settings["num_components"] = settings.pop("n_components")
        fast = tied_mixture(**settings).fit(rows)
    for name in ("weights_", "means_", "covariances_"):
        assert getattr(fast, name) == pytest.approx(getattr(plain, name), abs=1e-8), name
    assert fast.score_samples(rows) == pytest.approx(plain.score_samples(rows), abs=1e-8)


def test_components_follow_from_the_number_of_codes():
    assert [num_components_for(n) for n in (1, 39, 400, 10**6)] == [1, 1, 20, 80]


def test_a_model_draws_from_the_sampler_it_was_asked_for_also_after_loading(tmp_path, monkeypatch):
    monkeypatch.setattr("isthmus.samplers.flow.STEPS", 60)
    table = {"x": [f"{0.1 * n % 1:.3f}" for n in range(60)], "y": ["a" if n % 2 else "b" for n in range(60)]}
    models, said = {}, []
    for name in ("mixture", "flow", "prior"):
        model = Autoencoder("mopoe", 3, sampler=name, epochs=2)
        model.prepare_fit(table)
        models[name] = model.train_prepared(say=said.append)
        model.save(tmp_path / name)
        again = load(tmp_path / name, device="cpu")
        assert again.sampler == name
        assert torch.equal(again.draw_codes(5), model.draw_codes(5))
    assert said == ["Fitting a flow to the codes of 49 items"]  # the rest is for validation and test
    # The three are trained alike, and drawn from in three ways.
    assert len({tuple(model.draw_codes(5).flatten().tolist()) for model in models.values()}) == 3
    assert models["prior"].model.density is None and isinstance(models["flow"].model.density, CodeDensity)
    prior = models["prior"].model
    assert_close(prior.draw(5, Noise(2)), prior.prior.sample(5, Noise(2)))
