"""Flows are invertible with the determinant they say, and are densities; Hamiltonian chains find theirs."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from isthmus.gaussians import normal_log_prob
from isthmus.hamiltonian import hamiltonian
from isthmus.networks.flows import CouplingFlow
from isthmus.noise import Noise


def _flow(dim: int, context_dim: int = 0, num_layers: int = 4, seed: int = 0) -> CouplingFlow:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        flow = CouplingFlow(dim, context_dim, num_layers, hidden=8).double()
        for parameter in flow.parameters():
            parameter.data += 0.5 * torch.randn_like(parameter)
    return flow


def _drawn(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("context_dim", [0, 3])
@pytest.mark.parametrize("dim", [1, 2, 5])
def test_a_flow_goes_there_and_back_with_the_determinant_it_says(dim, context_dim):
    flow, z = _flow(dim, context_dim), _drawn(6, dim)
    context = _drawn(6, context_dim, seed=2) if context_dim else None
    u, log_det = flow(z, context)
    assert_close(flow.inverse(u, context), z, rtol=1e-10, atol=1e-10)
    assert_close(flow(flow.inverse(z, context), context)[0], z, rtol=1e-10, atol=1e-10)
    assert (u - z).abs().min() > 1e-3, "a dimension is not moved"
    for row in range(6):
        heeded = None if context is None else context[row]
        jacobian = torch.autograd.functional.jacobian(lambda one, heeded=heeded: flow(one, heeded)[0], z[row])
        assert_close(torch.linalg.slogdet(jacobian).logabsdet, log_det[row])


def test_every_dimension_and_the_context_change_every_dimension():
    flow, z, context = _flow(5, 2), _drawn(5), _drawn(2, seed=2)
    by_code, by_context = torch.autograd.functional.jacobian(lambda z, c: flow(z, c)[0], (z, context))
    assert (by_code.abs() > 1e-8).all()
    assert (by_context.abs() > 1e-8).all()


def test_a_new_flow_changes_nothing():
    z, context = _drawn(3, 4).float(), _drawn(3, 2, seed=2).float()
    u, log_det = CouplingFlow(4, 2)(z, context)
    assert torch.equal(u, z) and not log_det.any()


def test_draws_of_many_items_heed_each_its_own_context():
    flow, z, context = _flow(4, 3), _drawn(7, 5, 4), _drawn(5, 3, seed=2)
    u, log_det = flow(z, context)
    back = flow.inverse(u, context)
    for item in range(5):
        alone, part = flow(z[:, item], context[item])
        assert_close(u[:, item], alone)
        assert_close(log_det[:, item], part)
        assert_close(back[:, item], flow.inverse(alone, context[item]))
        assert_close(flow.log_prob(z, context)[:, item], flow.log_prob(z[:, item], context[item]))


def test_the_density_of_one_dimension_is_one_in_all():
    flow, context = _flow(1, 2), _drawn(2, seed=2)
    grid = torch.linspace(-40, 40, 80001, dtype=torch.float64)
    density = flow.log_prob(grid[:, None], context).exp()
    assert_close(torch.trapezoid(density, grid).item(), 1.0, atol=1e-6, rtol=0)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_density_of_two_dimensions_is_one_in_all(seed):
    flow, context = _flow(2, 3, seed=seed), _drawn(3, seed=2)
    grid = torch.linspace(-30, 30, 2401, dtype=torch.float64)
    with torch.no_grad():
        density = flow.log_prob(torch.cartesian_prod(grid, grid), context).exp().view(len(grid), -1)
    assert_close(torch.trapezoid(torch.trapezoid(density, grid), grid).item(), 1.0, atol=1e-4, rtol=0)
    highest = normal_log_prob(*torch.zeros(3, 2).double()).exp()
    assert abs(density.max() / highest - 1) > 0.1, "the test shows only what the flow starts from"


def test_draws_have_the_density():
    flow, context = _flow(2, 3), _drawn(3, seed=2)
    z = flow.inverse(_drawn(40_000, 2, seed=4), context).detach()
    grid = torch.linspace(-30, 30, 1201, dtype=torch.float64)
    points = torch.cartesian_prod(grid, grid)
    with torch.no_grad():
        weight = flow.log_prob(points, context).exp() * (grid[1] - grid[0]) ** 2
    mean = (weight[:, None] * points).sum(dim=0)
    assert_close(z.mean(dim=0), mean, atol=5 * (z.std() / 200).item(), rtol=0)
    inside = ((z - mean) ** 2).sum(dim=1) < 1
    share = weight[((points - mean) ** 2).sum(dim=1) < 1].sum()
    assert_close(inside.double().mean(), share, atol=0.02, rtol=0)


# --- chains ---------------------------------------------------------------------------------------------------------


def _chains(log_density, start, iterations=60, step_size=0.4, num_leaps=4, seed=0, num_adapted=0):
    like, noise = start, Noise(seed)
    momenta = noise.normal("momenta", iterations, *start.shape, like=like)
    uniform = noise.uniform("taken", iterations, *start.shape[:-1], like=like)
    return hamiltonian(log_density, start, momenta, uniform, step_size, num_leaps, num_adapted)


def test_chains_find_a_normal_from_afar():
    loc, scale = torch.tensor([3.0, -1.0]).double(), torch.tensor([0.7, 1.3]).double()
    visited = _chains(lambda z: normal_log_prob(z, loc, scale.log()), torch.zeros(400, 2).double())
    late = visited[10:].flatten(0, 1)
    assert_close(late.mean(dim=0), loc, atol=0.05, rtol=0)
    assert_close(late.std(dim=0), scale, atol=0.05, rtol=0)


def test_chains_that_start_right_stay_right_even_with_coarse_steps():
    # Steps so coarse that trajectories alone would widen the density: what is not taken makes up for it.
    start = _drawn(4000, 2)
    height = lambda z: -0.25 * (z**4).sum(dim=-1)  # noqa: E731
    weight = torch.linspace(-6, 6, 4001).double()
    variance = float((weight**2 * (-0.25 * weight**4).exp()).sum() / (-0.25 * weight**4).exp().sum())
    visited = _chains(height, 0.8 * start, iterations=40, step_size=0.9, num_leaps=3)
    assert_close(visited[20:].flatten(0, 1).var(dim=0), torch.full((2,), variance).double(), atol=0.02, rtol=0)
    stayed = (visited[1:] == visited[:-1]).all(dim=-1).double().mean()
    assert 0.02 < stayed < 0.6, f"the test shows no refusals or little else: {stayed}"


def test_a_chain_is_its_own_and_the_same_each_time():
    height, start = lambda z: normal_log_prob(z, torch.ones(3), torch.zeros(3)), _drawn(5, 3).float()
    momenta, uniform = _drawn(4, 5, 3, seed=2).float(), torch.rand(4, 5, generator=torch.Generator().manual_seed(0))
    every = hamiltonian(height, start, momenta, uniform, 0.3, 3)
    assert torch.equal(every, hamiltonian(height, start, momenta, uniform, 0.3, 3))
    assert_close(hamiltonian(height, start[2:3], momenta[:, 2:3], uniform[:, 2:3], 0.3, 3)[:, 0], every[:, 2])


def test_a_trajectory_that_runs_away_is_not_taken():
    def height(z):
        return torch.where(z.abs() < 1, 0.0 * z, torch.nan).sum(dim=-1)

    visited = _chains(height, torch.zeros(50, 1), iterations=30, step_size=0.5, num_leaps=2)
    assert torch.isfinite(visited).all()
    assert (visited.abs() < 1).all() and visited.abs().max() > 0.5


def test_chains_run_where_the_caller_takes_no_gradients():
    with torch.no_grad():
        visited = _chains(lambda z: -(z**2).sum(dim=-1), torch.zeros(3, 2), iterations=2)
    assert not visited.requires_grad


def test_steps_that_are_too_coarse_are_made_finer():
    # More than twice the width of a Normal, leapfrog steps run away.
    start, log_scale = 0.02 * _drawn(50, 2), torch.full((2,), 0.02).double().log()
    shares = []
    for num_adapted in (0, 10):
        visited = _chains(
            lambda z: normal_log_prob(z, torch.zeros_like(z), log_scale), start, 40, 0.9, num_adapted=num_adapted
        )[10:]
        shares.append((visited[1:] != visited[:-1]).any(dim=-1).double().mean())
    assert shares[0] < 0.01 and shares[1] > 0.5


def test_each_chain_adapts_its_own_step_and_keeps_it_then():
    height, start, size = lambda z: -0.25 * (z**4).sum(dim=-1), _drawn(5, 2), 1.5
    momenta, uniform = _drawn(12, 5, 2, seed=2), torch.rand(12, 5, generator=torch.Generator().manual_seed(0)).double()
    every = hamiltonian(height, start, momenta, uniform, size, 3, num_adapted=6)
    taken = (every[:6] != torch.cat([start[None], every[:5]])).any(dim=-1)
    assert (taken.any(dim=1) & ~taken.all(dim=1)).any(), "the chains have one step between them"
    for chain in range(5):
        one, step = slice(chain, chain + 1), size
        alone = hamiltonian(height, start[one], momenta[:, one], uniform[:, one], size, 3, num_adapted=6)
        assert_close(alone, every[:, one])
        for longer in taken[:, chain].tolist():
            step = min(1.2 * step, size) if longer else 0.5 * step
        later = hamiltonian(height, every[5, one], momenta[6:, one], uniform[6:, one], step, 3)
        assert_close(later, every[6:, one])
