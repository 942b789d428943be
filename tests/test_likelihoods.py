"""Likelihoods against torch's distributions, their draws against their densities, and sequences that end."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import distributions
from torch.testing import assert_close

from isthmus.batch import Masked
from isthmus.likelihoods import (
    Bernoulli,
    BernoulliHead,
    Categorical,
    CategoricalHead,
    FixedScale,
    Laplace,
    LaplaceHead,
    LearnedScale,
    Normal,
    NormalHead,
    SequenceHead,
    SequenceNormal,
    Tokens,
    TokensHead,
    TokensMixture,
    scale_module,
)
from isthmus.noise import Noise


def _random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _lengths(lengths: list[int], size: int) -> torch.Tensor:
    return torch.arange(size)[None] < torch.tensor(lengths)[:, None]


# --- learnt scales --------------------------------------------------------------------------------------------------


@given(st.floats(1e-4, 0.5), st.floats(1.001, 1000.0))
@settings(deadline=None, max_examples=50)
def test_a_learnt_scale_starts_where_it_is_told(floor, ratio):
    scale = LearnedScale((), initial=floor * ratio, floor=floor).double()
    assert scale().exp().item() == pytest.approx(floor * ratio, rel=1e-5)


def test_a_learnt_scale_never_falls_below_its_floor():
    scale = LearnedScale((3,), initial=1.0, floor=0.01)
    with torch.no_grad():
        scale.raw.fill_(-1e4)
    assert_close(scale().exp(), torch.full((3,), 0.01))
    optimiser = torch.optim.Adam(scale.parameters(), lr=0.1)
    for _ in range(50):  # targets that repeat exactly would pull it to zero
        optimiser.zero_grad()
        (-Normal(torch.zeros(4, 3), scale()).log_prob(torch.zeros(4, 3)).mean()).backward()
        optimiser.step()
    assert bool((scale().exp() >= 0.01 * (1 - 1e-6)).all())


@pytest.mark.parametrize("shape", [(), (3,)])
def test_the_best_scale_is_the_root_mean_squared_error(shape):
    # Rybkin et al. 2021, eq. 8: the optimum of a Normal's scale is the RMSE of what it explains.
    target = _random(200, 3) * torch.tensor([0.1, 1.0, 5.0]).double()
    scale = LearnedScale(shape, initial=1.0, floor=1e-3).double()
    optimiser = torch.optim.LBFGS(scale.parameters(), line_search_fn="strong_wolfe", max_iter=200, tolerance_grad=1e-12)

    def loss():
        optimiser.zero_grad()
        value = -Normal(torch.zeros(200, 3).double(), scale()).log_prob(target).mean()
        value.backward()
        return value

    optimiser.step(loss)
    expected = (target**2).mean(dim=0).sqrt() if shape else (target**2).mean().sqrt()
    assert_close(scale().exp().detach(), expected, rtol=1e-3, atol=0)


def test_adam_moves_a_scale_by_orders_of_magnitude_within_a_few_hundred_steps():
    # The reason for GAIN: a standard deviation of 0.01 has to be found from 1.0 early in training.
    scale = LearnedScale(initial=1.0, floor=1e-4)
    optimiser, target = torch.optim.Adam(scale.parameters(), lr=1e-3), 0.01 * _random(256, 1).float()
    for _ in range(600):
        optimiser.zero_grad()
        (-Normal(torch.zeros(256, 1), scale()).log_prob(target).mean()).backward()
        optimiser.step()
    assert scale().exp().item() == pytest.approx(0.01, rel=0.2)


def test_a_fixed_scale_is_the_squared_error():
    target, loc = _random(4, 3), _random(4, 3, seed=1)
    head = NormalHead(math.sqrt(0.5)).double()
    difference = head(loc).log_prob(target) + ((target - loc) ** 2).sum(dim=1)
    assert_close(difference, difference[:1].expand(4))
    assert list(head.parameters()) == [] and head.state_dict() == {}


def test_scales_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match=r"LearnedScale got floor 1.0 and initial 0.5. Expected 0 < floor < initial"):
        LearnedScale(initial=0.5, floor=1.0)
    with pytest.raises(ValueError, match=r"FixedScale got 0.0. Expected a positive number"):
        FixedScale(0.0)
    with pytest.raises(ValueError, match=r"Scale 'learnt' is unknown. Expected \"learned\" or a positive number"):
        scale_module("learnt", (), 1.0, 1e-3)


# --- plain families -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ours", "theirs"), [(Normal, distributions.Normal), (Laplace, distributions.Laplace)])
@pytest.mark.parametrize("scale_shape", [(), (2,), (3, 1)])
def test_location_families_equal_torchs(ours, theirs, scale_shape):
    loc, log_scale, target = _random(5, 3, 2), 0.5 * _random(*scale_shape, seed=1), _random(5, 3, 2, seed=2)
    likelihood = ours(loc, log_scale)
    assert_close(likelihood.log_prob(target), theirs(loc, log_scale.exp()).log_prob(target).flatten(1).sum(1))
    assert_close(likelihood.mean, loc)
    assert_close(likelihood.mode, loc)
    repeated = ours(loc[:1].expand(20_000, 3, 2), log_scale)
    drawn, one = repeated.sample(Noise(0), "x"), theirs(loc[0], log_scale.exp().expand(3, 2))
    assert_close(drawn.mean(dim=0), one.mean, atol=0.1, rtol=0)
    assert_close(drawn.std(dim=0), one.stddev, rtol=0.05, atol=0)


@pytest.mark.parametrize(("ours", "theirs"), [(Normal, distributions.Normal), (Laplace, distributions.Laplace)])
@pytest.mark.parametrize("scale_shape", [(), (2,), (3, 1), (5, 1, 1), (5, 3, 2)])
def test_gradients_of_location_families_equal_torchs(ours, theirs, scale_shape):
    target = _random(5, 3, 2, seed=2)
    loc, log_scale = _random(5, 3, 2).requires_grad_(), (0.5 * _random(*scale_shape, seed=1)).requires_grad_()
    weight = _random(5, seed=3)
    own = torch.autograd.grad((weight * ours(loc, log_scale).log_prob(target)).sum(), [loc, log_scale])
    plain = theirs(loc, log_scale.exp()).log_prob(target).flatten(1).sum(1)
    for got, expected in zip(own, torch.autograd.grad((weight * plain).sum(), [loc, log_scale]), strict=True):
        assert_close(got, expected)


@pytest.mark.parametrize("family", [Normal, Laplace, Bernoulli])
def test_how_pictures_lie_in_memory_does_not_matter(family):
    loc, target = _random(4, 3, 5, 2), _random(4, 3, 5, 2, seed=1).sigmoid()
    scale = [] if family is Bernoulli else [torch.tensor(0.3).double()]
    last = loc.contiguous(memory_format=torch.channels_last)
    assert_close(family(last, *scale).log_prob(target), family(loc, *scale).log_prob(target))


@pytest.mark.parametrize("family", [Normal, Laplace])
def test_a_target_of_another_shape_is_refused_though_it_would_broadcast(family):
    with pytest.raises(ValueError, match=r"A target of shape \(4, 1\) got locations of shape \(4, 3\)"):
        family(torch.zeros(4, 3), torch.tensor(0.0)).log_prob(torch.zeros(4, 1))


def test_bernoulli_equals_torchs():
    logits, target = 3 * _random(5, 2, 2), (_random(5, 2, 2, seed=1) > 0).double()
    likelihood = Bernoulli(logits)
    theirs = distributions.Bernoulli(logits=logits)
    assert_close(likelihood.log_prob(target), theirs.log_prob(target).flatten(1).sum(1))
    assert_close(likelihood.mean, theirs.mean)
    assert torch.equal(likelihood.mode, (theirs.mean > 0.5).double())
    drawn = Bernoulli(logits[:1].expand(20_000, 2, 2)).sample(Noise(0), "x")
    assert set(drawn.unique().tolist()) <= {0.0, 1.0}
    assert_close(drawn.mean(dim=0), theirs.mean[0], atol=0.02, rtol=0)


def test_categorical_equals_torchs():
    logits, target = _random(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    likelihood, theirs = Categorical(logits), distributions.Categorical(logits=logits)
    assert_close(likelihood.log_prob(target), theirs.log_prob(target))
    assert torch.equal(likelihood.mode, logits.argmax(dim=1))
    assert torch.equal(likelihood.mean, likelihood.mode)
    drawn = Categorical(logits[:1].expand(20_000, 4)).sample(Noise(0), "x")
    assert_close(torch.bincount(drawn, minlength=4) / 20_000, theirs.probs[0].float(), atol=0.02, rtol=0)


def test_heads_make_their_families():
    loc = torch.zeros(2, 3)
    for head, family in ((NormalHead(), Normal), (LaplaceHead(), Laplace), (BernoulliHead(), Bernoulli)):
        assert isinstance(head(loc), family)
        assert head(loc).log_prob(torch.zeros(2, 3)).shape == (2,)
    assert isinstance(CategoricalHead()(loc), Categorical)
    assert isinstance(TokensHead(end=0)(torch.zeros(2, 4, 3)), Tokens)
    assert isinstance(SequenceHead()((torch.zeros(2, 4, 3), torch.zeros(2, 4))), SequenceNormal)


@pytest.mark.parametrize(
    ("head", "family"),
    [(NormalHead, distributions.Normal), (LaplaceHead, distributions.Laplace), (SequenceHead, distributions.Normal)],
)
def test_the_scale_that_a_head_has_learnt_is_that_of_its_likelihood(head, family):
    made = head(shape=(3,)).double()
    raw = torch.tensor([0.6, 0.7, 0.75]).double()
    with torch.no_grad():
        made.log_scale.raw.copy_(raw)
    loc, target, length_logits = _random(2, 4, 3), _random(2, 4, 3, seed=1), _random(2, 4, seed=2)
    expected = family(loc, 1e-3 * torch.exp(torch.nn.functional.softplus(10 * raw))).log_prob(target).sum(dim=(1, 2))
    if head is SequenceHead:
        likelihood, target = made((loc, length_logits)), Masked(target, _lengths([4, 4], 4))
        expected = expected + length_logits.log_softmax(dim=1)[:, 3]
    else:
        likelihood = made(loc)
    assert_close(likelihood.log_prob(target), expected)


# --- sequences ------------------------------------------------------------------------------------------------------

END = 2


def test_tokens_count_where_the_mask_is_true():
    logits = _random(3, 6, 5)
    target = Masked(torch.tensor([[1, 3, 2, 0], [2, 0, 0, 0], [1, 1, 1, 2]]), _lengths([3, 1, 4], 4))
    expected = []
    for row in range(3):
        steps = int(target.mask[row].sum())
        expected.append(sum(logits[row, t].log_softmax(0)[target.value[row, t]] for t in range(steps)))
    assert_close(Tokens(logits, END).log_prob(target), torch.stack(expected))
    other = Masked(torch.where(target.mask, target.value, 4), target.mask)
    assert_close(Tokens(logits, END).log_prob(other), torch.stack(expected))


def test_a_mixture_of_token_sequences_is_a_sum_over_whole_sequences():
    logits, weights = _random(3, 2, 6, 5), torch.tensor([[0.3, -1.0], [0.0, 0.0], [2.0, 1.0]])
    target = Masked(torch.tensor([[1, 3, 2, 0], [2, 0, 0, 0], [1, 1, 1, 2]]), _lengths([3, 1, 4], 4))
    each = torch.stack([Tokens(logits[:, k], END).log_prob(target) for k in range(2)], dim=1).exp()
    mixture = TokensHead(END)((logits, weights))
    assert_close(mixture.log_prob(target), (weights.softmax(dim=1) * each).sum(dim=1).log())
    # One alternative is no mixture.
    alone = TokensHead(END)((logits[:, :1], weights[:, :1]))
    assert_close(alone.log_prob(target), Tokens(logits[:, 0], END).log_prob(target))
    assert torch.equal(alone.mode.value, Tokens(logits[:, 0], END).mode.value)


def test_a_mixture_of_token_sequences_never_mixes_within_one():
    english, chinese = torch.tensor([3, 3, END]), torch.tensor([4, END, 0])
    logits = 20.0 * torch.nn.functional.one_hot(torch.stack([english, chinese]), 5)[None]
    for weights, said in (([1.0, 0.0], english), ([0.0, 1.0], chinese[:2])):
        mode = TokensMixture(logits, torch.tensor([weights]).log_softmax(1), END).mode
        assert mode.value[0][mode.mask[0]].tolist() == said.tolist()
    even = TokensMixture(logits.expand(2000, -1, -1, -1), torch.tensor([[0.25, 0.75]]).log().expand(2000, 2), END)
    drawn = even.sample(Noise(0), "x")
    texts = [tuple(ids[mask].tolist()) for ids, mask in zip(drawn.value, drawn.mask, strict=True)]
    assert set(texts) == {(3, 3, END), (4, END)}
    assert texts.count((4, END)) / 2000 == pytest.approx(0.75, abs=0.03)


def test_tokens_are_cut_behind_the_first_end():
    ids = torch.tensor([[1, END, 3, END], [END, 1, 1, 1], [1, 3, 4, 0], [4, 4, 4, END]])
    likelihood = Tokens(10.0 * torch.nn.functional.one_hot(ids, 5), END)
    mode = likelihood.mode
    assert torch.equal(mode.value, ids)
    assert mode.mask.sum(dim=1).tolist() == [2, 1, 4, 4], "the end token belongs to the text, what follows does not"
    assert torch.equal(likelihood.mean.mask, mode.mask)


def test_drawn_tokens_follow_their_probabilities_and_end():
    logits = _random(1, 3, 4).expand(20_000, 3, 4)
    drawn = Tokens(logits, END).sample(Noise(0), "x")
    share = torch.bincount(drawn.value[:, 0], minlength=4) / 20_000
    assert_close(share, logits[0, 0].softmax(0).float(), atol=0.02, rtol=0)
    for row in range(100):
        kept = drawn.value[row][drawn.mask[row]].tolist()
        assert END not in kept[:-1]
        assert kept[-1] == END or len(kept) == 3


def test_sequences_score_their_frames_and_their_length():
    loc, length_logits, target = _random(3, 6, 2), _random(3, 6, seed=1), _random(3, 4, 2, seed=2)
    log_scale = torch.tensor(-0.3).double()
    masked = Masked(target, _lengths([4, 1, 2], 4))
    expected = []
    for row, length in enumerate([4, 1, 2]):
        frames = distributions.Normal(loc[row, :length], log_scale.exp()).log_prob(target[row, :length]).sum()
        expected.append(frames + length_logits[row].log_softmax(0)[length - 1])
    likelihood = SequenceNormal(loc, log_scale, length_logits)
    assert_close(likelihood.log_prob(masked), torch.stack(expected))
    noisy = Masked(target + 100.0 * ~masked.mask[..., None], masked.mask)
    assert_close(likelihood.log_prob(noisy), torch.stack(expected))


def test_sequences_end_at_the_likeliest_length_and_draw_theirs():
    length_logits = torch.tensor([[0.0, 9.0, 0.0], [9.0, 0.0, 0.0], [0.0, 0.0, 9.0]])
    likelihood = SequenceNormal(torch.zeros(3, 3, 2), torch.tensor(0.0), length_logits)
    assert likelihood.mode.mask.sum(dim=1).tolist() == [2, 1, 3]
    assert torch.equal(likelihood.mean.mask, likelihood.mode.mask)
    even = SequenceNormal(torch.zeros(6000, 3, 2), torch.tensor(0.0), torch.zeros(6000, 3))
    drawn = even.sample(Noise(0), "x")
    share = torch.bincount(drawn.mask.sum(dim=1), minlength=4) / 6000
    assert_close(share, torch.tensor([0, 1 / 3, 1 / 3, 1 / 3]), atol=0.03, rtol=0)
    assert float(drawn.value[drawn.mask].std()) == pytest.approx(1.0, rel=0.05)


def test_sequences_longer_than_the_decoder_are_refused():
    long = Masked(torch.zeros(1, 7, 2), torch.ones(1, 7, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"A sequence of 7 steps was given, and the decoder gives 6"):
        SequenceNormal(torch.zeros(1, 6, 2), torch.tensor(0.0), torch.zeros(1, 6)).log_prob(long)
    words = Masked(torch.zeros(1, 7, dtype=torch.long), torch.ones(1, 7, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"Tokens got a target of 7 tokens, and the decoder gives 6"):
        Tokens(torch.zeros(1, 6, 3), END).log_prob(words)
