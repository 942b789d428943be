"""Laws of priors: densities that sum to one, draws that follow them, clusters that are found and left out."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Normal
from torch.testing import assert_close

from isthmus.methods import get_method
from isthmus.noise import Noise
from isthmus.objectives import Step
from isthmus.priors import ClusterPrior, LocationScale, StandardNormal
from isthmus.testing.conformance import toy_batch, toy_modalities
from shown import shows


def _clusters(family="normal", shared=1, private=1, num_clusters=3) -> ClusterPrior:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        prior = ClusterPrior(shared, private, num_clusters, family).double()
        with torch.no_grad():
            prior.loc.copy_(3 * torch.randn_like(prior.loc))
            prior.log_scale.copy_(0.3 * torch.randn_like(prior.log_scale))
            prior.logits.copy_(torch.randn_like(prior.logits))
    return prior


@pytest.mark.parametrize("family", ["normal", "laplace"])
@shows("closed form", "cmvae")
def test_the_density_of_clusters_sums_to_one_and_draws_follow_it(family):
    prior = _clusters(family)
    line = torch.linspace(-30, 30, 1501, dtype=torch.float64)
    grid = torch.cartesian_prod(line, line)
    mass = prior.log_prob(grid).exp() * (line[1] - line[0]) ** 2
    assert_close(mass.sum(), torch.tensor(1.0).double(), atol=1e-3, rtol=0)
    drawn = prior.sample(200_000, Noise(0))
    mean = (grid * mass[:, None]).sum(dim=0)
    assert_close(drawn.mean(dim=0), mean, atol=0.03, rtol=0)
    assert_close(drawn.var(dim=0), ((grid - mean) ** 2 * mass[:, None]).sum(dim=0), atol=0.1, rtol=0.02)


@pytest.mark.parametrize("prior", [_clusters(shared=4, private=6), StandardNormal(10).double()])
def test_the_parts_of_a_prior_are_independent(prior):
    z = torch.randn(7, 10, dtype=torch.float64)
    places = (slice(0, 4), slice(4, 7), slice(7, 10))
    parts = sum(prior.part_log_prob(z[:, place], place) for place in places)
    assert_close(parts, prior.log_prob(z))


@shows("closed form", "cmvae")
def test_the_bound_over_clusters_is_exact():
    # sum_c q(c|z) [log p(z, c) - log q(c|z)] with q(c|z) = p(c|z), as CMVAE writes it, is log p(z).
    prior, z = _clusters(shared=4), torch.randn(7, 4, dtype=torch.float64)
    share = prior.assign(z)
    assert_close(share.sum(dim=1), torch.ones(7).double())
    bound = (share * (prior.joint_log_prob(z) - share.log())).sum(dim=1)
    assert_close(bound, prior.part_log_prob(z, slice(0, 4)))


def test_no_closed_form_and_no_parts_are_said():
    with pytest.raises(ValueError, match="No closed form for the divergence from a prior of clusters"):
        _clusters().kl_from("normal", torch.zeros(1), torch.zeros(1))

    class Whole(StandardNormal):
        part_log_prob = LocationScale.__mro__[1].part_log_prob

    with pytest.raises(TypeError, match="Whole has no parts"):
        Whole(3).part_log_prob(torch.zeros(2, 1), slice(0, 1))


@shows("identity", "cmvae", "mmvae+")
def test_one_cluster_is_no_cluster():
    # CMVAE with one standard cluster is MMVAE+ with a prior that is not learnt.
    batch, modalities = toy_batch(3), toy_modalities(3)
    plus = get_method("mmvae+")(modalities, latent_dim=4, learn_prior=False)
    one = get_method("cmvae")(modalities, latent_dim=4, num_clusters=1)
    state = {k: v for k, v in plus.model.state_dict().items() if not k.startswith("prior.")}
    one.model.load_state_dict(state, strict=False)
    with torch.no_grad():
        one.model.prior.loc.zero_()
    step = Step(0, 1.0, Noise(3))
    losses = [m.phases[0].players[0].objective(m.model.eval(), batch, step).item_loss for m in (plus, one)]
    assert_close(losses[0], losses[1])


def _stirred(name, **options):
    """A method whose prior has learnt something, in double precision."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        method = get_method(name)(toy_modalities(3), latent_dim=4, **options)
        method.model.double().eval()
        for parameter in method.model.prior.parameters():
            parameter.data += 0.7 * torch.randn_like(parameter)
    return method


@pytest.mark.parametrize("name", ["mmvae", "mmvae+", "idmvae", "cmvae"])
def test_of_an_item_with_nothing_the_learnt_prior_is_believed(name):
    model, batch = _stirred(name).model, toy_batch(3).to(dtype=torch.float64)
    empty = batch.keep({modality: torch.arange(len(batch)) > 0 for modality in batch})
    with torch.no_grad():
        drawn = model.prior.sample(200_000, Noise(1))
        posterior = model.encode(empty)
    assert bool(((drawn.std(dim=0) - 1).abs() > 0.1).any()), "the prior is still standard"
    assert_close(posterior.mean[0], drawn.mean(dim=0), atol=0.02, rtol=0)
    assert_close(posterior.spread[0], drawn.std(dim=0), atol=0.02, rtol=0.02)
    assert_close(posterior.mean[1:], model.encode(batch).mean[1:])


@pytest.mark.parametrize("name", ["mmvae+", "idmvae"])
def test_private_codes_of_what_was_not_seen_are_those_of_the_learnt_prior(name):
    model, batch = _stirred(name).model, toy_batch(3).to(dtype=torch.float64)
    seen, *others = model.modalities
    rows = batch.rows(seen)
    with torch.no_grad():
        spread = model.encode(batch.only(seen)).spread[rows]
    scale = 2**0.5 * model.prior.log_scale.exp()  # of Laplaces
    for other in others:
        place = model.private(other)
        assert_close(spread[:, place], scale[place].expand(len(rows), -1))
    assert not torch.isclose(spread[:, model.private(seen)], scale[model.private(seen)]).all(dim=1).any()


def test_items_with_nothing_do_not_move_the_prior():
    method, batch = _stirred("mmvae", dreg=False), toy_batch(3).to(dtype=torch.float64)
    nothing = batch.keep({name: torch.zeros(len(batch), dtype=torch.bool) for name in batch})
    terms = method.phases[0].players[0].objective(method.model, nothing, Step(0, 1.0, Noise(2)))
    assert_close(terms.item_loss, torch.zeros(len(batch)).double())
    (gradient,) = torch.autograd.grad(terms.loss, [method.model.prior.logits])
    assert_close(gradient, torch.zeros(4).double())


@pytest.mark.parametrize("num_true", [2, 3, 5])
def test_clusters_that_are_not_needed_are_left_out(num_true):
    prior = ClusterPrior(2, 4, 8)
    random = torch.Generator().manual_seed(1)
    centre = 12 * torch.stack([torch.arange(num_true).float(), torch.arange(num_true).float() % 2], dim=1)
    which = torch.arange(900) % num_true
    shared = centre[which] + 0.3 * torch.randn(900, 2, generator=random)
    with torch.no_grad():
        prior.loc[:num_true] = centre
        prior.loc[num_true:] = centre[0] + torch.randn(8 - num_true, 2, generator=random)
        prior.log_scale[:] = -1.2
        prior.logits[num_true:] = -1.0
    prior.finish(torch.cat([shared, torch.randn(900, 4, generator=random)], dim=1))
    assert int(prior.active.sum()) == num_true and bool(prior.active[:num_true].all())
    assert torch.equal(prior.assign(shared).argmax(dim=1), which)
    # Those left out are never drawn, and the rest still sum to one.
    assert_close(prior.log_weight.exp().sum(), torch.tensor(1.0))
    drawn = prior.sample(2000, Noise(0))[:, :2]
    assert bool((torch.cdist(drawn, centre).min(dim=1).values < 3).all())
    # Where an earlier training left some out, another may need them again.
    prior.finish(torch.cat([prior.loc.detach().repeat(50, 1), torch.zeros(400, 4)], dim=1))
    assert int(prior.active.sum()) > num_true


def test_what_is_kept_is_what_is_clearest_by_the_criterion():
    # One number of clusters, one item, one cluster at a time.
    prior = _clusters(shared=2, private=1, num_clusters=6).requires_grad_(False)
    prior.loc *= 0.5  # so that they overlap
    codes, left, tried = prior.sample(60, Noise(0)), list(range(6)), []
    while len(left) > 1:
        weight = prior.logits[left].softmax(dim=0)
        doubt, likelihood, used = 0.0, 0.0, dict.fromkeys(left, 0.0)
        for z in codes[:, :2]:
            each = [float(Normal(prior.loc[c], prior.log_scale[c].exp()).log_prob(z).sum().exp()) for c in left]
            joint = [float(w) * density for w, density in zip(weight, each, strict=True)]
            share = {c: part / sum(joint) for c, part in zip(left, joint, strict=True)}
            doubt -= sum(s * math.log(s) for s in share.values()) / math.log(len(left)) / len(codes)
            likelihood += math.log(sum(joint)) / 2 / len(codes)
            best = max(share, key=share.__getitem__)
            used[best] += share[best]
        tried.append((doubt, likelihood, set(left)))
        left.remove(min(used, key=used.__getitem__))
    kept = []
    for beta in (0.05, 1.0, 20.0):
        prior.beta = beta
        prior.finish(codes)
        kept.append(set(prior.active.nonzero().squeeze(1).tolist()))
        assert kept[-1] == min(tried, key=lambda one, beta=beta: beta * one[0] - one[1])[2]
    assert len({*map(frozenset, kept)}) > 1, "the weight of the entropy decides nothing"
