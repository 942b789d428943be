"""Schedules: the weight of divergences that grows, and bits of them that are free."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from gappy import PRESENT, gappy_batch, made
from isthmus.estimator import Autoencoder
from isthmus.methods import list_methods, method_defaults
from isthmus.methods.coupled import couple
from isthmus.methods.schedules import leave_free
from isthmus.noise import Noise
from isthmus.objectives import ELBO, Charged, LadderELBO, SelfRoutes, Step, SubsetELBO, TotalCorrelation, warm
from isthmus.objectives.couplings import Contrastive, uncoupled


def charged(method):
    """Objectives of a method that charge for a divergence."""
    found = [uncoupled(player.objective)[0] for phase in method.phases for player in phase.players]
    return [objective for objective in found if isinstance(objective, Charged)]


CHARGED = [name for name in list_methods() if charged(made(name))]
WARMED = [name for name in list_methods() if "warmup" in method_defaults(name)]


def test_the_weight_grows_to_its_end():
    assert [warm(3.0, 0.5, fraction) for fraction in (0.0, 0.25, 0.5, 1.0)] == [0.0, 1.5, 3.0, 3.0]
    assert warm(3.0, 0.0, 0.0) == 3.0


@pytest.mark.parametrize("name", WARMED)
def test_half_way_through_its_warmup_a_method_is_one_of_half_its_beta(name):
    # Other weights that grow with beta would have to be halved, too; without them all methods say the same.
    options = {"alpha": 0.0} if name == "jmvae" else {}
    half, whole = made(name, warmup=0.5, beta=2.0, **options), made(name, warmup=0.0, beta=1.0, **options)
    batch = gappy_batch()
    for phase, other in zip(half.phases, whole.phases, strict=True):
        one, two = uncoupled(phase.players[0].objective)[0], uncoupled(other.players[0].objective)[0]
        if not hasattr(one, "warmup"):
            continue
        assert_close(
            one(half.model, batch, Step(0, 0.25, Noise(3))).item_loss,
            two(whole.model, batch, Step(0, 0.25, Noise(3))).item_loss,
        )


def test_what_is_free_costs_nothing_and_the_rest_in_full():
    objective = ELBO(free_bits=2.0)
    divergence = torch.tensor([0.5, 1.0, 2.0 * math.log(2), 5.0], requires_grad=True)
    paid = objective.charge(divergence)
    assert_close(paid, torch.tensor([2.0 * math.log(2)] * 3 + [5.0]))
    paid.sum().backward()
    assert divergence.grad.tolist() == [0.0, 0.0, 1.0, 1.0]
    assert ELBO().charge(divergence) is divergence


@pytest.mark.parametrize("name", CHARGED)
def test_an_items_divergence_is_charged_for_above_what_is_free(name):
    # Between nothing free, and all: each item's loss is the one or the other, or in between where it has several.
    method, batch = made(name), gappy_batch()
    # The same objectives on the same model, with the same draws.
    told = {
        bits: [
            objective(method.model, batch, Step(0, 1.0, Noise(3))) for objective in charged(leave_free(method, bits))
        ]
        for bits in (0.0, 1e-9, 40.0, 1e6)
    }
    for none, little, some, all_free in zip(*told.values(), strict=True):
        assert_close(none.item_loss, little.item_loss)
        assert bool((some.item_loss >= none.item_loss - 1e-9).all()), "what is free is not taken off the rest"
        assert bool((some.item_loss > none.item_loss + 1e-6).any()), "nothing lay below what is free"
        for terms in (some, all_free):  # what is reported stays what it was
            assert terms.per_item.keys() == none.per_item.keys()
            for term, value in terms.per_item.items():
                assert_close(value, none.per_item[term])
            assert (terms.bound is None) == (none.bound is None)
            if none.bound is not None:
                assert_close(terms.bound, none.bound)


def rate(objective, count):
    """What a nat of the divergence that is charged for adds to the loss of items with so many modalities."""
    if isinstance(objective, TotalCorrelation):
        return 1.7 * (1 - objective.alpha)
    return 1.7 / (count + 1) if isinstance(objective, SelfRoutes) else 1.7


@pytest.mark.parametrize("name", CHARGED)
def test_a_nat_that_is_not_free_costs_beta(name):
    method, batch, count = made(name, beta=1.7), gappy_batch(), PRESENT.sum(dim=0)
    for objective in charged(method):
        none = objective(method.model, batch, Step(0, 1.0, Noise(3)))
        divergence = none.per_item["divergence"] + (none.per_item["divergence/own"] if name == "nexus" else 0.0)
        # Bounds of parts have divergences of their own, of which an item with one modality has no more than one.
        alone = count == 1 if isinstance(objective, SubsetELBO | LadderELBO) else count >= 0
        free = divergence.detach()[alone].quantile(0.6)
        some = replace(objective, free_bits=float(free) / math.log(2))(method.model, batch, Step(0, 1.0, Noise(3)))
        assert divergence[alone].min() < free < divergence[alone].max()
        expected = rate(objective, count) * (divergence.clamp_min(free) - divergence)
        assert_close((some.item_loss - none.item_loss)[alone], expected[alone])


def test_where_all_is_free_codes_are_not_pulled():
    method, batch = made("mopoe"), gappy_batch()
    (free,) = charged(leave_free(method, 1e6))
    method.model.zero_grad()
    free(method.model, batch, Step(0, 1.0, Noise(3))).loss.backward()
    pulled = [p.grad.clone() for p in method.model.parameters() if p.grad is not None]
    method.model.zero_grad()
    replace(free, free_bits=0.0, beta=0.0)(method.model, batch, Step(0, 1.0, Noise(3))).loss.backward()
    again = [p.grad for p in method.model.parameters() if p.grad is not None]
    for one, other in zip(pulled, again, strict=True):
        assert_close(one, other)


def test_free_bits_reach_through_couplings():
    method = leave_free(couple(made("mopoe"), {Contrastive(): 0.1}), 2.0)
    assert [objective.free_bits for objective in charged(method)] == [2.0]


def test_methods_without_a_divergence_refuse():
    assert {"mmvae", "fused", "mld", "masked"}.isdisjoint(CHARGED) and {"mvtcae", "mopoe", "mmvm", "cvae"} <= {*CHARGED}
    for name in ("mmvae", "fused"):
        assert leave_free(made(name), 0.0).phases
        with pytest.raises(ValueError, match=r"free_bits=2.0 has nothing to act on: this method weighs no divergence"):
            leave_free(made(name), 2.0)
    for bad in (-1, math.inf, math.nan, True, "2"):
        with pytest.raises(ValueError, match=r"free_bits is .*\. Expected a number of bits per item, 0 or more"):
            Autoencoder(free_bits=bad)


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("telbo", {"joint_share": 0.75}, [("joint", 0.75), ("experts", 0.25)]),
        ("jnf", {"joint_share": 0.75}, [("joint", 0.75), ("flows", 0.25)]),
        (
            "jnf-dcca",
            {"joint_share": 0.5, "dcca_share": 0.125},
            [("joint", 0.5), ("dcca", 0.125), ("flows", 0.375)],
        ),
        ("mld", {"diffuse": 0.75}, [("autoencoders", 0.25), ("diffusion", 0.75)]),
        ("fused", {"pretrain": 0.25}, [("pretrain", 0.25), ("train", 0.75)]),
        ("fused", {}, [("train", 1.0)]),
    ],
)
def test_each_phase_has_the_share_of_epochs_that_it_is_said_to_have(name, options, expected):
    assert [(phase.name, phase.share) for phase in made(name, **options).phases] == expected
