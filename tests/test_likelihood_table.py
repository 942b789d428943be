"""What the likelihood of table rows promises: exact nats per column, blanks that count nothing, and honest draws."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal
from torch.testing import assert_close

from isthmus.batch import Masked
from isthmus.likelihoods_table import MixedTable, TableColumn, TableHead, check_columns
from isthmus.noise import Noise

COLUMNS = (
    TableColumn("wing", "normal"),
    TableColumn("eggs", "count", loc=1.0, scale=0.5),
    TableColumn("male", "binary"),
    TableColumn("habitat", "categorical", num_classes=3),
    TableColumn("colour", "categorical", num_classes=4),
)


def table(num_rows: int = 6, seed: int = 0) -> MixedTable:
    torch.manual_seed(seed)
    return MixedTable(torch.randn(num_rows, 10), COLUMNS, torch.tensor([-0.3, 0.2]))


def count_as_value(count: Tensor) -> Tensor:
    return (torch.log1p(count) - 1.0) / 0.5


def target(likelihood: MixedTable) -> Masked:
    return likelihood.sample(Noise(1), "x")


def test_each_column_has_its_own_nats() -> None:
    likelihood = table()
    rows = target(likelihood)
    nats = likelihood.log_prob_columns(rows)
    parameters, value = likelihood.parameters, rows.value
    assert_close(nats[:, 0], Normal(parameters[:, 0], math.exp(-0.3)).log_prob(value[:, 0]))
    assert_close(nats[:, 2], torch.distributions.Bernoulli(logits=parameters[:, 2]).log_prob(value[:, 2]))
    assert_close(nats[:, 3], parameters[:, 3:6].log_softmax(1).gather(1, value[:, 3:4].long())[:, 0])
    assert_close(nats[:, 4], parameters[:, 6:].log_softmax(1).gather(1, value[:, 4:5].long())[:, 0])
    assert_close(likelihood.log_prob(rows), nats.sum(dim=1))


@pytest.mark.parametrize("centre", [-3.0, 0.0, 1.5])
def test_probabilities_of_all_counts_sum_to_one(centre: float) -> None:
    counts = torch.arange(200_000)
    column = TableColumn("eggs", "count", loc=1.0, scale=0.5)
    likelihood = MixedTable(torch.full((len(counts), 1), centre), (column,), torch.tensor([0.0]))
    value = count_as_value(counts.double()).float()[:, None]
    probability = likelihood.log_prob(Masked(value, torch.ones_like(value, dtype=torch.bool))).double().exp()
    assert_close(probability.sum(), torch.tensor(1.0, dtype=torch.float64), atol=2e-3, rtol=0)


def test_a_count_can_be_known_exactly() -> None:
    """No Poisson could: at a mean of 9 its best probability is 0.13."""
    value = count_as_value(torch.tensor([[9.0]]))
    likelihood = MixedTable(value, COLUMNS[1:2], torch.tensor([math.log(0.02)]))
    assert likelihood.log_prob(Masked(value, torch.ones(1, 1, dtype=torch.bool))).exp() > 0.95


def test_far_tails_are_exact_and_have_their_slopes() -> None:
    value = count_as_value(torch.tensor([[0.0], [100_000.0], [3.0]]))
    centre = torch.tensor([[40.0], [-40.0], [500.0]], requires_grad=True)
    likelihood = MixedTable(centre, COLUMNS[1:2], torch.tensor([math.log(0.01)]))
    nats = likelihood.log_prob(Masked(value, torch.ones(3, 1, dtype=torch.bool)))
    nats.sum().backward()

    def edge(count: float, centre: float) -> float:
        return ((math.log1p(count) - 1.0) / 0.5 - centre) / 0.01

    # Out there a sigmoid is the exponential of its place, which no float32 holds: e^-4119 and less.
    below, above = edge(99_999.5, -40.0), edge(100_000.5, -40.0)
    expected = [edge(0.5, 40.0), math.log(-math.expm1(below - above)) - below, edge(3.5, 500.0)]
    assert_close(nats, torch.tensor(expected))
    assert_close(centre.grad, torch.tensor([[-100.0], [100.0], [-100.0]]))


def test_blanks_count_nothing_and_cannot_poison() -> None:
    likelihood = table()
    parameters = likelihood.parameters.requires_grad_()
    rows = target(likelihood)
    mask = torch.rand(rows.mask.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    poisoned = Masked(rows.value.masked_fill(~mask, float("nan")), mask)
    whole = likelihood.log_prob_columns(rows)
    nats = likelihood.log_prob_columns(poisoned)
    assert_close(nats, whole * mask)
    nats.sum().backward()
    assert parameters.grad is not None and parameters.grad.isfinite().all()
    assert (parameters.grad[:, 0][~mask[:, 0]] == 0).all()
    assert (parameters.grad[:, 3:6][~mask[:, 3]] == 0).all()


def test_draws_have_the_probabilities_of_the_distribution() -> None:
    likelihood = table(1)
    repeated = MixedTable(likelihood.parameters.expand(40_000, -1), COLUMNS, likelihood.log_scale)
    drawn = repeated.sample(Noise(3), "x").value
    for column in (1, 2, 3, 4):
        for value in drawn[:, column].unique()[:4]:
            share = (drawn[:, column] == value).float().mean()
            row = Masked(value.expand(1, 5).clone(), torch.ones(1, 5, dtype=torch.bool))
            nats = likelihood.log_prob_columns(Masked(row.value, torch.arange(5)[None] == column))[0, column]
            assert_close(share, nats.exp(), atol=0.01, rtol=0)
    assert_close(drawn[:, 0].std(), torch.tensor(math.exp(-0.3)), atol=0.02, rtol=0)


def test_one_seed_one_draw() -> None:
    likelihood = table()
    assert_close(likelihood.sample(Noise(5), "x").value, likelihood.sample(Noise(5), "x").value, atol=0, rtol=0)
    assert not torch.equal(likelihood.sample(Noise(6), "x").value, likelihood.sample(Noise(5), "x").value)


def test_mode_is_most_likely_in_columns_of_levels() -> None:
    likelihood = table()
    best = likelihood.log_prob_columns(likelihood.mode)
    for seed in range(20):
        other = likelihood.log_prob_columns(likelihood.sample(Noise(seed), "x"))
        assert (best[:, [0, 2, 3, 4]] >= other[:, [0, 2, 3, 4]] - 1e-5).all()


def test_counts_of_mode_and_draws_are_whole() -> None:
    likelihood = table(50)
    for rows in (likelihood.mode, likelihood.sample(Noise(0), "x")):
        counts = torch.expm1(1.0 + 0.5 * rows.value[:, 1])
        assert_close(counts, counts.round().clamp(min=0), atol=1e-3, rtol=1e-4)


def test_a_wild_code_draws_finite_rows() -> None:
    likelihood = MixedTable(torch.full((2, 10), 1e6), COLUMNS, torch.zeros(2))
    assert likelihood.mode.value.isfinite().all() and likelihood.sample(Noise(0), "x").value.isfinite().all()


def test_float64_and_no_rows() -> None:
    head = TableHead(COLUMNS).double()
    likelihood = head(torch.randn(3, 10, dtype=torch.float64))
    rows = likelihood.mode
    assert rows.value.dtype == likelihood.log_prob(rows).dtype == torch.float64
    empty = TableHead(COLUMNS)(torch.zeros(0, 10))
    assert empty.log_prob(empty.mode).shape == (0,)
    assert empty.sample(Noise(0), "x").value.shape == (0, 5)


def test_a_learnt_scale_finds_the_spread_of_each_column_but_not_below_its_step() -> None:
    columns = [TableColumn("fine", "normal", step=1e-3), TableColumn("coarse", "normal", step=0.2)]
    head = TableHead(columns)
    torch.manual_seed(0)
    value = torch.randn(500, 2) * torch.tensor([0.05, 0.05])
    optimiser = torch.optim.Adam(head.parameters(), lr=0.01)
    for _ in range(300):
        optimiser.zero_grad()
        (-head(torch.zeros(500, 2)).log_prob(Masked(value, torch.ones(500, 2, dtype=torch.bool)))).mean().backward()
        optimiser.step()
    fine, coarse = head(torch.zeros(1, 2)).log_scale.exp()
    assert_close(fine, torch.tensor(0.05), atol=0.005, rtol=0)
    assert 0.2 <= coarse < 0.25


def test_scale_starts_at_the_spread_of_the_data() -> None:
    assert_close(TableHead(COLUMNS)(torch.zeros(1, 10)).log_scale, torch.zeros(2), atol=1e-5, rtol=0)


def test_errors_say_what_to_do() -> None:
    with pytest.raises(ValueError, match="in the order normal, count, binary, categorical"):
        check_columns(COLUMNS[::-1])
    with pytest.raises(ValueError, match="at least one"):
        check_columns([])
    with pytest.raises(ValueError, match=r"distribution 'gamma'. Expected one of normal"):
        check_columns([TableColumn("x", "gamma")])
    with pytest.raises(ValueError, match=r"\(2, 9\). Expected \(rows, 10\)"):
        TableHead(COLUMNS)(torch.zeros(2, 9))
    with pytest.raises(ValueError, match="target of 2 columns was given to a table of 5 columns: wing"):
        table(2).log_prob(Masked(torch.zeros(2, 2), torch.ones(2, 2, dtype=torch.bool)))
