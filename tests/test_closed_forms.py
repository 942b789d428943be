"""Every method in a world where posteriors and evidence are known, and divergences against numerical integration.

Items have every pattern of gaps. Decoders are the true ones and read what is shared alone; each expert is the exact
posterior of its modality, or its factor where the method multiplies the prior in.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal
from torch.testing import assert_close

from gappy import PRESENT, made, takes
from isthmus.batch import Batch
from isthmus.evaluation.likelihood import log_evidence
from isthmus.fusions import ProductOfExperts
from isthmus.inference import ExpertInference
from isthmus.methods import Method, get_method, list_methods, method_defaults
from isthmus.model import MultimodalAutoencoder
from isthmus.noise import Noise
from isthmus.objectives import Step, Terms
from isthmus.priors import ClusterPrior
from isthmus.testing import LinearGaussian
from shown import shows

WORLD = LinearGaussian(latent_dim=2, features={"image": 3, "audio": 2, "text": 2})
# Of the options that a method has, those under which its prior and experts are Normal, and a nat is a nat.
PLAIN = {
    "family": "normal",
    "learn_prior": False,
    "num_clusters": 1,
    "private_dim": 1,
    "balance": "nats",
    "fusion": "mean",
    "beta": 1.0,
}


class Shared(nn.Module):
    """What modalities share of a code: all that the true decoders need."""

    def forward(self, z: Tensor) -> Tensor:
        return z[..., : WORLD.latent_dim]


def in_the_world(name: str, world: LinearGaussian = WORLD, **options: object) -> Method:
    """A method with true decoders and exact experts."""
    modalities = {
        name: replace(modality, decoder=lambda width, m=modality: nn.Sequential(Shared(), m.decoder(width)))
        for name, modality in world.modalities().items()
    }
    plain = {option: value for option, value in PLAIN.items() if option in method_defaults(name)}
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            method = get_method(name)(modalities, latent_dim=world.latent_dim, **{**plain, **options})
    finally:
        torch.set_default_dtype(default)
    model = method.model.eval()
    if isinstance(model.inference, ExpertInference):
        with torch.no_grad():
            make_exact(model, world)
    return method


def make_exact(model: MultimodalAutoencoder, world: LinearGaussian) -> None:
    fusion = model.inference.fusion
    multiplied = isinstance(fusion, ProductOfExperts) and fusion.with_prior
    exact = world.vae(ProductOfExperts(with_prior=multiplied)).inference.heads
    model.inference.heads.load_state_dict(exact.state_dict())
    for name, parameter in model.named_parameters():
        if name.startswith("inference.private_heads."):
            parameter.zero_()  # the prior
    if isinstance(model.prior, ClusterPrior):
        model.prior.loc.zero_()
    if hasattr(model.inference, "joint"):
        join_exactly(model, world)


def join_exactly(model: MultimodalAutoencoder, world: LinearGaussian) -> None:
    """The joint network, a mean of projections, says the exact posterior of whole items."""
    size, number = world.latent_dim, len(world.features)
    precision = 1 + sum((loading**2).sum(dim=0) for loading in world.loading.values()) / world.noise**2
    for name, project in model.inference.joint.project.items():
        weight = (number * world.loading[name] / world.noise**2 / precision).T
        project.weight.zero_()
        project.bias.zero_()
        project.weight[:size], project.bias[:size] = weight, -weight @ world.offset[name]
    head = model.inference.joint_head
    head.weight.zero_()
    head.weight[:size, :size] = torch.eye(size)
    head.bias[:size], head.bias[size:] = 0.0, 6 * torch.atanh(-0.5 * precision.log() / 6)


def gappy(world: LinearGaussian = WORLD) -> Batch:
    return world.sample(8).keep(dict(zip(world.features, PRESENT, strict=True)))


def copies(batch: Batch, number: int) -> Batch:
    """Each item `number` times: as many draws in one step."""
    return batch.take(torch.arange(len(batch)).repeat_interleave(number))


def told(method: Method, batch: Batch, seed: int = 0) -> Terms:
    with torch.no_grad():
        return method.phases[0].players[0].objective(method.model, batch, Step(0, 1.0, Noise(seed)))


def over_draws(values: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """Mean and standard error over the copies of each item."""
    runs = values.view(-1, number)
    return runs.mean(dim=1), runs.std(dim=1) / number**0.5


def with_capability(name: str) -> list[str]:
    three = [method for method in list_methods() if takes(get_method(method), 3)]
    return [method for method in three if getattr(made(method).capabilities, name)]


# Not of this world: codes of the experimental ones stand on two levels and more, a conditional posterior is no product
# of experts that could be made exact, and flows have tests of their own.
OUTSIDE = {"nexus", "mhvae", "cvae", "jnf", "jnf-dcca"}
BOUNDED, DENSE = ([name for name in with_capability(able) if name not in OUTSIDE] for able in ("bound", "density"))
# Objectives that bound the evidence only where private codes say nothing, as here: the loss itself is looked at.
PRIVATE = [method for method in DENSE if method not in BOUNDED and "private_dim" in method_defaults(method)]


def bound_of(method: str, terms: Terms) -> Tensor:
    return -terms.item_loss if method in PRIVATE else terms.bound


# --- the evidence -----------------------------------------------------------------------------------------------------


@shows("closed form", *BOUNDED, *PRIVATE)
@pytest.mark.parametrize("exact", [True, False], ids=["exact experts", "wrong experts"])
@pytest.mark.parametrize("method", BOUNDED + PRIVATE)
def test_the_bound_is_below_the_evidence_with_gaps(method, exact):
    trained = in_the_world(method)
    if not exact:
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in trained.model.inference.parameters():
                parameter += 0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    mean, error = over_draws(bound_of(method, told(trained, copies(gappy(), 500))), 500)
    evidence = WORLD.log_evidence(gappy())
    assert bool((mean <= evidence + 4 * error + 1e-9).all()), f"{mean} above {evidence}"
    gap, noise = (evidence - mean).mean(), error.square().mean().sqrt() / len(error) ** 0.5
    assert exact or gap > 0.05 + 4 * noise, "wrong experts reach the evidence"


@shows("closed form", *BOUNDED, *PRIVATE)
@pytest.mark.parametrize("method", BOUNDED + PRIVATE)
def test_the_bound_is_the_evidence_where_the_posterior_is_exact(method):
    # One modality: its expert is the posterior. All: the joint network is. Any: a product of factors and the prior is.
    trained, count = in_the_world(method), PRESENT.sum(dim=0)
    fusion = trained.model.inference.fusion
    if hasattr(trained.model.inference, "joint"):
        reached = count == 3
    elif isinstance(fusion, ProductOfExperts) and fusion.with_prior:
        reached = count > 0
    else:
        reached = count == 1
    mean, error = over_draws(bound_of(method, told(trained, copies(gappy(), 2000))), 2000)
    difference = (mean - WORLD.log_evidence(gappy())).abs()[reached]
    assert bool((difference <= 4 * error[reached] + 1e-9).all()), f"{difference} beside errors of {error[reached]}"
    assert bool((error[reached] < 0.1).all())


@shows("closed form", *DENSE)
@pytest.mark.parametrize("method", DENSE)
def test_importance_weighted_draws_reach_the_evidence_with_gaps(method):
    model = in_the_world(method).model
    with torch.no_grad():
        nats = log_evidence(model, gappy(), list(WORLD.features), num_draws=20_000, seed=0)
    assert_close(nats, WORLD.log_evidence(gappy()), atol=0.05, rtol=0)


@shows("closed form", "mmvae", *PRIVATE)
@pytest.mark.parametrize("method", ["mmvae", *PRIVATE])
def test_more_draws_bring_the_bound_nearer_to_the_evidence(method):
    several = gappy().take((PRESENT.sum(dim=0) > 1).nonzero().squeeze(1))
    evidence, means, number = WORLD.log_evidence(several).mean(), [], 200
    for num_draws in (1, 4, 16, 64):
        bound = bound_of(method, told(in_the_world(method, num_draws=num_draws), copies(several, number)))
        means.append(float(over_draws(bound, number)[0].mean()))
    assert means == sorted(means) and means[-1] < evidence + 0.01, f"{means}, evidence {evidence}"
    assert evidence - means[-1] < 0.1 * (evidence - means[0])


# --- divergences ------------------------------------------------------------------------------------------------------

LINE = LinearGaussian(latent_dim=1, features={"image": 3, "audio": 2, "text": 2})
GRID = torch.linspace(-12, 12, 20_001, dtype=torch.float64)


def integral(values: Tensor) -> Tensor:
    return values.sum() * (GRID[1] - GRID[0])


def divergence(log_q: Tensor, log_p: Tensor) -> Tensor:
    """KL(q || p) of densities on the grid."""
    return integral(log_q.exp() * (log_q - log_p))


def experts(method: Method, item: int) -> list[Tensor]:
    """Log-densities on the grid of the experts that an item has."""
    found = method.model.evidence(gappy(LINE)).experts
    return [
        Normal(found.loc[m, item, 0], found.log_scale[m, item, 0].exp()).log_prob(GRID).detach()
        for m in range(3)
        if PRESENT[m, item]
    ]


@shows("closed form", "mmjsd")
def test_the_jensen_shannon_divergence_equals_numerical_integration():
    method = in_the_world("mmjsd", LINE)
    found = told(method, gappy(LINE)).per_item["divergence"]
    for item in range(8):
        every = [*experts(method, item), Normal(0.0, 1.0).log_prob(GRID)]
        centre = torch.stack(every).mean(dim=0)
        centre = centre - integral(centre.exp()).log()
        expected = sum(divergence(log_q, centre) for log_q in every) / len(every)
        assert_close(found[item], expected, atol=1e-7, rtol=1e-7)


@shows("closed form", "mmvm")
@pytest.mark.parametrize("pairs", [True, False])
def test_the_divergence_from_the_mixture_equals_numerical_integration(pairs):
    method, number = in_the_world("mmvm", LINE, pairs=pairs), 4000
    mean, error = over_draws(told(method, copies(gappy(LINE), number)).per_item["divergence"], number)
    for item in range(8):
        every = experts(method, item)
        if pairs:
            expected = sum(divergence(q, r) for q in every for r in every) / max(len(every), 1)
        else:
            mixture = torch.stack(every).logsumexp(dim=0) - torch.tensor(len(every)).log() if every else None
            expected = sum(divergence(q, mixture) for q in every)
        assert abs(float(mean[item] - expected)) <= 4 * float(error[item]) + 1e-7


@shows("closed form", "mvtcae", "crmvae", "jmvae")
@pytest.mark.parametrize("method", ["mvtcae", "crmvae", "jmvae"])
def test_divergences_from_the_experts_equal_numerical_integration(method):
    trained = in_the_world(method, LINE)
    terms = told(trained, gappy(LINE))
    evidence = trained.model.evidence(gappy(LINE))
    whole = evidence.joint if method == "jmvae" else evidence.posterior()
    for item in range(8):
        log_q = Normal(whole.loc[0, item, 0], whole.log_scale[0, item, 0].exp()).log_prob(GRID).detach()
        every = experts(trained, item)
        share = max(len(every), 1) if method == "mvtcae" else 1
        expected = sum((divergence(log_q, r) for r in every), start=torch.zeros(()).double()) / share
        assert_close(terms.per_item["divergence/experts"][item], expected, atol=1e-7, rtol=1e-7)
        to_prior = divergence(log_q, Normal(0.0, 1.0).log_prob(GRID))
        assert_close(terms.per_item["divergence"][item], to_prior, atol=1e-7, rtol=1e-7)
