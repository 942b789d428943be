"""Fusions against explicit loops over subsets, and what each does with a gap."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Normal
from torch.testing import assert_close

from isthmus.fusions import (
    MAX_MODALITIES_WITH_ALL_SUBSETS,
    NUM_CHOSEN_SUBSETS,
    Attention,
    Barycentre,
    Concatenation,
    Experts,
    HoelderPooling,
    Mean,
    MixtureOfExperts,
    MixtureOfProducts,
    ProductOfExperts,
    WeightedProduct,
    all_subsets,
    chosen_subsets,
)
from shown import shows

FEATURE_FUSIONS = [Concatenation, Mean, Attention]


def _experts(num_modalities: int = 3, num_items: int = 8, seed: int = 0, family: str = "normal") -> Experts:
    """Random experts, of which item `b` has those in the binary digits of `b`; where absent, wild but finite values."""
    generator = torch.Generator().manual_seed(seed)
    present = torch.tensor([[bool(b >> m & 1) for b in range(num_items)] for m in range(num_modalities)])
    shape = (num_modalities, num_items, 2)
    loc, log_scale = (torch.randn(*shape, generator=generator, dtype=torch.float64) for _ in range(2))
    return Experts(loc, log_scale, present, family)


def _product(experts: Experts, names, item: int, with_prior: bool = False):
    """Loc and log-scale of a product of some experts of one item, by precisions."""
    precision = torch.full((2,), 1.0 if with_prior else 0.0, dtype=torch.float64)
    pulled = torch.zeros(2, dtype=torch.float64)
    for m in names:
        precision = precision + torch.exp(-2 * experts.log_scale[m, item])
        pulled = pulled + torch.exp(-2 * experts.log_scale[m, item]) * experts.loc[m, item]
    if not with_prior and not names:
        precision = torch.ones(2, dtype=torch.float64)
    return pulled / precision, -0.5 * precision.log()


@pytest.mark.parametrize("with_prior", [True, False])
@shows("second implementation", "mvae", "mvtcae", "crmvae")
def test_product_equals_a_loop(with_prior):
    experts = _experts()
    fused = ProductOfExperts(with_prior)(experts)
    assert fused.loc.shape == (1, 8, 2)
    for item in range(8):
        names = [m for m in range(3) if experts.present[m, item]]
        loc, log_scale = _product(experts, names, item, with_prior)
        assert_close(fused.loc[0, item], loc)
        assert_close(fused.log_scale[0, item], log_scale)
    assert_close(fused.loc[0, 0], torch.zeros(2).double(), msg="an item with nothing does not get the prior")
    assert_close(fused.log_scale[0, 0], torch.zeros(2).double())


@shows("second implementation", "mopoe")
def test_mixture_of_products_equals_an_explicit_loop_over_subsets():
    experts = _experts()
    fused = MixtureOfProducts(["a", "b", "c"])(experts)
    subsets = [c for size in (1, 2, 3) for c in itertools.combinations(range(3), size)]
    rows = [tuple(m for m in range(3) if row[m]) for row in fused.members.tolist()]
    assert sorted(rows) == sorted(subsets)
    assert rows[-1] == (0, 1, 2)
    for item in range(1, 8):
        has = {m for m in range(3) if experts.present[m, item]}
        whole = [subset for subset in rows if has.issuperset(subset)]
        for j, subset in enumerate(rows):
            expected = 1 / len(whole) if subset in whole else 0.0
            assert float(fused.weight[j, item]) == pytest.approx(expected)
            if subset in whole:
                loc, log_scale = _product(experts, subset, item)
                assert_close(fused.loc[j, item], loc)
                assert_close(fused.log_scale[j, item], log_scale)
    assert_close(fused.mean[0], torch.zeros(2).double())
    assert_close(fused.spread[0], torch.ones(2).double())


def test_mixture_of_experts_is_uniform_over_what_is_there():
    experts = _experts()
    fused = MixtureOfExperts()(experts)
    for item in range(1, 8):
        expected = experts.present[:, item].double() / experts.present[:, item].sum()
        assert_close(fused.weight[:, item], expected)
    assert torch.equal(fused.members, torch.eye(3, dtype=torch.bool))


@pytest.mark.parametrize("fusion", [ProductOfExperts(), ProductOfExperts(False), MixtureOfProducts("abc")])
def test_what_stands_in_a_gap_is_not_read(fusion):
    experts = _experts()
    there = experts.present[..., None]
    other = Experts(torch.where(there, experts.loc, 7.0), torch.where(there, experts.log_scale, -3.0), experts.present)
    one, two = fusion(experts), fusion(other)
    assert_close(one.mean, two.mean)
    assert_close(one.spread, two.spread)


def test_among_narrows_and_never_widens():
    experts = _experts()
    among = torch.ones(3, 8, dtype=torch.bool)
    among[1] = False
    narrowed = experts.among(among).present
    assert torch.equal(narrowed, experts.present & among)


@given(st.integers(1, 6))
@settings(deadline=None, max_examples=6)
def test_all_subsets_are_every_subset_once(num_modalities):
    subsets = all_subsets(num_modalities)
    assert subsets.shape == (2**num_modalities - 1, num_modalities)
    assert len({tuple(row) for row in subsets.tolist()}) == len(subsets)
    assert torch.equal(subsets[:num_modalities].sum(dim=1), torch.ones(num_modalities, dtype=torch.long))
    assert subsets[-1].all()


@given(st.permutations([f"modality {m}" for m in range(9)]))
@settings(deadline=None, max_examples=10)
def test_chosen_subsets_do_not_depend_on_the_order_of_names(names):
    def sets(order):
        return {
            frozenset(n for n, kept in zip(order, row, strict=True) if kept)
            for row in chosen_subsets(order, 48).tolist()
        }

    assert sets(names) == sets(sorted(names))


@pytest.mark.parametrize("num_modalities", [7, 12, 20])
def test_chosen_subsets_hold_every_single_modality_and_the_whole(num_modalities):
    subsets = chosen_subsets([str(m) for m in range(num_modalities)], NUM_CHOSEN_SUBSETS)
    assert subsets.shape == (48, num_modalities)
    assert len({tuple(row) for row in subsets.tolist()}) == 48
    assert int((subsets.sum(dim=1) == 1).sum()) == num_modalities
    assert subsets[-1].all()


def test_many_modalities_keep_all_chosen_subsets_under_any_gaps():
    count = MAX_MODALITIES_WITH_ALL_SUBSETS + 1
    experts = _experts(count, 2**count)
    fused = MixtureOfProducts([str(m) for m in range(count)])(experts)
    for item in (1, 37, 127):
        for j, row in enumerate(fused.members):
            cut = [m for m in range(count) if row[m] and experts.present[m, item]]
            assert bool(fused.weight[j, item] > 0) == bool(cut)
            if cut:
                assert_close(fused.loc[j, item], _product(experts, cut, item)[0])


@pytest.mark.parametrize("fusion", [ProductOfExperts(), MixtureOfProducts("abc")])
def test_products_of_laplaces_are_refused(fusion):
    with pytest.raises(ValueError, match=r"got laplace experts. Only products of Normals have a closed form"):
        fusion(_experts(family="laplace"))


# --- features -------------------------------------------------------------------------------------------------------


def _features(present):
    generator = torch.Generator().manual_seed(1)
    return {
        name: torch.randn(int(present[m].sum()), 5 + m, generator=generator, dtype=torch.float64)
        for m, name in enumerate("abc")
    }


def _fusion(cls):
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return cls({"a": 5, "b": 6, "c": 7}, 8).double()


@pytest.mark.parametrize("cls", FEATURE_FUSIONS)
def test_features_of_an_item_alone_equal_those_in_a_batch(cls):
    fusion, present = _fusion(cls), _experts().present
    features = _features(present)
    whole = fusion(features, present)
    for item in range(8):
        rows = {n: features[n][present[m, :item].sum() :][: int(present[m, item])] for m, n in enumerate("abc")}
        assert_close(fusion(rows, present[:, item : item + 1])[0], whole[item])


@pytest.mark.parametrize("cls", [Mean, Attention])
def test_a_gap_is_padded_out(cls):
    # Whatever stands for an absent modality, items that have something do not change; the one with nothing does.
    fusion, present = _fusion(cls), _experts().present
    features = _features(present)
    before = fusion(features, present)
    with torch.no_grad():
        for vector in fusion.absent.values():
            vector.value[0] += 10.0  # of one feature: a LayerNorm would undo a shift of all
    after = fusion(features, present)
    assert_close(after[1:], before[1:])
    assert not torch.allclose(after[0], before[0])


@pytest.mark.parametrize(("width", "num_heads"), [(256, 4), (250, 2), (251, 1)])
def test_attention_has_as_many_heads_as_divide_its_width(width, num_heads):
    fusion = Attention({"a": 3, "b": 5}, width)
    assert fusion.read.num_heads == fusion.between.self_attn.num_heads == num_heads
    features = {"a": torch.randn(2, 3), "b": torch.randn(2, 5)}
    assert fusion(features, torch.ones(2, 2, dtype=torch.bool)).shape == (2, width)


def test_attention_ignores_the_names_of_absent_modalities():
    fusion, present = _fusion(Attention), _experts().present
    features = _features(present)
    before = fusion(features, present)
    with torch.no_grad():
        fusion.name["c"].value[0] += 10.0
    after = fusion(features, present)
    without = ~present[2] & present.any(dim=0)
    assert_close(after[without], before[without])
    assert not torch.isclose(after[present[2]], before[present[2]]).all(dim=1).any()


def test_concatenation_reads_a_learnt_vector_in_a_gap():
    fusion, present = _fusion(Concatenation), _experts().present
    features = _features(present)
    # One layer over all features side by side.
    weight = torch.cat([fusion.join[n].weight for n in "abc"], dim=1) / 3**0.5
    bias = torch.stack([fusion.join[n].bias for n in "abc"]).sum(dim=0) / 3**0.5
    joined = [
        torch.cat([
            fusion.project[n](features[n][present[m, :item].sum()]) if present[m, item] else fusion.absent[n].value
            for m, n in enumerate("abc")
        ])
        for item in range(8)
    ]  # fmt: skip
    assert_close(fusion(features, present), torch.nn.functional.silu(torch.stack(joined)) @ weight.T + bias)


def test_mean_is_the_mean_of_what_is_there():
    fusion, present = _fusion(Mean), _experts().present
    features = _features(present)
    fused = fusion(features, present)
    for item in range(1, 8):
        rows = [
            fusion.project[n](features[n][present[m, :item].sum()]) for m, n in enumerate("abc") if present[m, item]
        ]
        assert_close(fused[item], torch.stack(rows).mean(dim=0))
    assert_close(fused[0], torch.stack([fusion.absent[n].value for n in "abc"]).mean(dim=0))


def test_attention_is_a_learnt_query_over_tokens_that_have_seen_one_another():
    # One item, one head at a time, with nothing padded.
    fusion, present = _fusion(Attention), _experts().present
    with torch.no_grad():  # weights that start at zero or one would go unnoticed
        for parameter in fusion.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    features = _features(present)
    fused = fusion(features, present)
    weights, offsets = fusion.read.in_proj_weight.chunk(3), fusion.read.in_proj_bias.chunk(3)
    for item in range(8):
        rows = {
            n: fusion.project[n](features[n][present[m, :item].sum()]) for m, n in enumerate("abc") if present[m, item]
        } or {n: fusion.absent[n].value for n in "abc"}
        tokens = torch.stack([row + fusion.name[n].value for n, row in rows.items()])
        tokens = fusion.norm(fusion.between(tokens[None])[0])
        query, keys, values = (
            part @ weight.T + offset
            for part, weight, offset in zip((fusion.query, tokens, tokens), weights, offsets, strict=True)
        )
        heads = []
        for head in (slice(0, 2), slice(2, 4), slice(4, 6), slice(6, 8)):
            share = (keys[:, head] @ query[head] / 2**0.5).softmax(dim=0)
            heads.append(share @ values[:, head])
        assert_close(fused[item], fusion.read.out_proj(torch.cat(heads)))


@pytest.mark.parametrize("cls", FEATURE_FUSIONS)
def test_a_modality_that_nobody_has_needs_no_features(cls):
    fusion, present = _fusion(cls), torch.tensor([[True, True], [False, False], [True, False]])
    features = _features(present)
    named = fusion(features, present)
    assert_close(fusion({n: f for n, f in features.items() if n != "b"}, present), named)


# --- Hoelder pooling --------------------------------------------------------------------------------------------------


@shows("closed form", "hoelder", "hoelder+")
def test_hoelder_pooling_is_the_squared_sum_of_roots():
    # In one dimension, on a grid fine and wide enough that sums are integrals.
    random = torch.Generator().manual_seed(0)
    loc, log_scale = (torch.randn(3, 5, 1, generator=random, dtype=torch.float64) for _ in range(2))
    present = torch.tensor([[1, 1, 1, 0, 1], [1, 0, 1, 0, 1], [1, 1, 0, 1, 1]], dtype=torch.bool)
    experts = Experts(loc, 0.4 * log_scale, present)
    grid = torch.linspace(-30, 30, 60_001, dtype=torch.float64)
    step = grid[1] - grid[0]
    mixture, one = (HoelderPooling(3, exact)(experts) for exact in (True, False))
    for item in range(5):
        densities = [
            Normal(loc[m, item, 0], (0.4 * log_scale[m, item, 0]).exp()).log_prob(grid).exp() for m in range(3)
        ]
        pooled = sum(density.sqrt() for m, density in enumerate(densities) if present[m, item]) ** 2
        pooled = pooled / (pooled.sum() * step)
        z = grid[:, None, None].expand(-1, 5, 1)
        assert_close(mixture.log_prob(z)[:, item].exp(), pooled, atol=1e-9, rtol=1e-7)
        mean = (grid * pooled).sum() * step
        spread = (((grid - mean) ** 2 * pooled).sum() * step).sqrt()
        assert_close(one.mean[item, 0], mean, atol=1e-8, rtol=1e-8)
        assert_close(one.spread[item, 0], spread, atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize("exact", [True, False])
@shows("identity", "hoelder")
def test_hoelder_pooling_of_one_is_that_one_and_of_equals_is_any_of_them(exact):
    loc, log_scale = torch.randn(1, 4, 3).double(), torch.randn(1, 4, 3).double()
    here = torch.ones(2, 4, dtype=torch.bool)
    twice = HoelderPooling(2, exact)(Experts(loc.expand(2, 4, 3), log_scale.expand(2, 4, 3), here))
    alone = HoelderPooling(1, exact)(Experts(loc, log_scale, here[:1]))
    for posterior in (twice, alone):
        assert_close(posterior.mean, loc[0])
        assert_close(posterior.spread, log_scale[0].exp())


# --- weighted product and barycentre ----------------------------------------------------------------------------------


@shows("second implementation", "gpoe")
def test_the_weighted_product_is_the_product_to_those_powers():
    experts = _experts()
    fusion = WeightedProduct("abc", experts.loc.shape[-1]).to(experts.loc)
    with torch.no_grad():
        for layer in fusion.logits.values():
            layer.value.normal_(generator=torch.Generator().manual_seed(0))
    posterior = fusion(experts)
    logits = torch.stack([layer.value for layer in fusion.logits.values()])
    for item in range(experts.loc.shape[1]):
        has = [m for m in range(3) if experts.present[m, item]]
        if not has:
            assert_close(posterior.mean[item], torch.zeros_like(posterior.mean[item]))
            assert_close(posterior.spread[item], torch.ones_like(posterior.mean[item]))
            continue
        power = logits[has].softmax(dim=0)
        precision = sum(a * torch.exp(-2 * experts.log_scale[m, item]) for a, m in zip(power, has, strict=True))
        pull = sum(
            a * torch.exp(-2 * experts.log_scale[m, item]) * experts.loc[m, item]
            for a, m in zip(power, has, strict=True)
        )
        assert_close(posterior.mean[item], pull / precision)
        assert_close(posterior.spread[item], precision**-0.5)
        # Never more certain than the most certain, nor less than the least.
        scale = experts.log_scale[has, item].exp()
        inside = (posterior.spread[item] >= scale.amin(dim=0) - 1e-9) & (
            posterior.spread[item] <= scale.amax(dim=0) + 1e-9
        )
        assert bool(inside.all())


@shows("closed form", "barycentre")
def test_the_barycentre_has_the_least_distance_to_its_experts():
    experts = _experts()
    posterior = Barycentre("abc")(experts)

    def distance(loc, scale, item):
        """Mean squared 2-Wasserstein distance between Normals, in one item."""
        has = experts.present[:, item]
        away = (loc - experts.loc[has, item]) ** 2 + (scale - experts.log_scale[has, item].exp()) ** 2
        return away.sum(dim=-1).mean()

    for item in range(experts.loc.shape[1]):
        if not experts.present[:, item].any():
            assert_close(posterior.mean[item], torch.zeros_like(posterior.mean[item]))
            assert_close(posterior.spread[item], torch.ones_like(posterior.mean[item]))
            continue
        loc, scale = (
            value.detach().clone().requires_grad_() for value in (posterior.mean[item], posterior.spread[item])
        )
        slopes = torch.autograd.grad(distance(loc, scale, item), (loc, scale))
        assert all(slope.abs().max() < 1e-6 for slope in slopes)


@shows("second implementation", "barycentre")
def test_a_mixture_of_barycentres_has_one_for_every_subset():
    experts = _experts()
    whole = torch.ones_like(experts.present)
    mixture = Barycentre("abc", mixture=True)(Experts(experts.loc, experts.log_scale, whole))
    assert len(mixture.loc) == 7
    for j, members in enumerate(all_subsets(3)):
        assert_close(mixture.loc[j], experts.loc[members].mean(dim=0))
        assert_close(mixture.log_scale[j].exp(), experts.log_scale[members].exp().mean(dim=0))
        assert_close(mixture.weight[j], torch.full_like(mixture.weight[j], 1 / 7))
