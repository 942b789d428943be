"""Faults that other implementations of these methods have, each with a test that would find it here.

Generic over the registry: a method filed tomorrow is held to them as well.
"""

from __future__ import annotations

import inspect
import itertools
import re
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from gappy import LATENT_DIM, NAMES, Still, gappy_batch, made, most
from isthmus.batch import Batch
from isthmus.evaluation.likelihood import log_evidence
from isthmus.fusions import ProductOfExperts
from isthmus.inference import ExpertInference, PrivateInference
from isthmus.methods import Method, Phase, Player, get_method, list_methods, method_defaults
from isthmus.model import MultimodalAutoencoder
from isthmus.noise import Noise
from isthmus.objectives import Objective, Step, Terms
from isthmus.testing import LinearGaussian
from isthmus.testing.conformance import gradients_of, terms_of, toy_batch, toy_modalities
from isthmus.training import TrainingConfig, train
from toy_training import toy_method, toy_store

WHOLE = torch.ones(3, 6, dtype=torch.bool)


# --- an option that is accepted and never used ------------------------------------------------------------------------

# What to try where neither the default nor the words that the docstring quotes tell of another value that is allowed.
OTHERS = {
    "private_dim": 3,
    "beta": 2.3,
    "balance": "nats",
    "num_features": 100,
    "visible": 0.4,
    "share": "trunk",  # the other word is of pictures alone, which toys are not
    "own_dim": 3,
    "start": 0.0,
    "variant": "full",
    "weight": 0.7,
    "own_balance": "nats",
    "num_groups": 2,
    "levels": (3, 3, 3, 3),
    "target": "label2",
    "reference": "label2",
}
OPTIONS = [(method, option) for method in list_methods() for option in method_defaults(method)]


def another(method: str, option: str) -> object:
    """A value of an option that is not its default."""
    default = method_defaults(method)[option]
    said_of_it = re.search(rf"^ {{4,}}{option}: (.*?)(?=^ {{4,8}}\w+: |\Z)", get_method(method).__doc__, re.M | re.S)
    quoted = [word for word in re.findall(r'"([\w-]+)"', said_of_it[1]) if word != default] if said_of_it else []
    if option in OTHERS:
        return OTHERS[option]
    if isinstance(default, bool):
        return not default
    if isinstance(default, int):
        return default + 1
    if isinstance(default, float):
        return 0.5 * default + 0.07
    assert quoted, f"add to OTHERS a value of '{option}' that '{method}' does not have by default"
    return quoted[-1]


def everything(method: Method) -> dict[str, object]:
    """What an option can change: weights at first, phases, the sampler, losses and gradients early and late, and what
    is learnt beside gradients.
    """
    told: dict[str, object] = {f"weight {name}": value.clone() for name, value in method.model.state_dict().items()}
    told["sampler"] = method.sampler
    with torch.no_grad():
        # A layer that begins at zero would hide what comes before it.
        for number, parameter in enumerate(method.model.parameters()):
            if not parameter.any():
                parameter.copy_(0.1 * Noise(number).normal("start", *parameter.shape, like=parameter))
        told["draws"] = method.model.eval().draw(3, Noise(1))
    for number, phase in enumerate(method.phases):
        told[f"phase {number}"] = (phase.share, phase.passes, phase.data, phase.frozen, phase.name)
        for place, player in enumerate(phase.players):
            told[f"player {number}/{place}"] = (player.parameters, type(player.objective).__name__)
    batch = toy_batch(len(method.model.modalities), num_items=40, missing=0.3)
    for phase in method.phases:
        with torch.no_grad():
            seen = method.model.eval().own_codes(batch) if phase.data == "codes" else batch
        for player in phase.players:
            for fraction in (0.05, 1.0):
                method.model.train().zero_grad()
                terms = player.objective(method.model, seen, Step(0, fraction, Noise(5)))
                loss = terms.loss
                loss.backward()
                if terms.statistics:
                    method.model.inference.update({name: value.detach() for name, value in terms.statistics.items()})
                    told |= {f"{fraction} {name}": value.clone() for name, value in method.model.named_buffers()}
                told[f"loss {len(told)}"] = loss.detach()
                told[f"gradients {len(told)}"] = [p.grad for p in method.model.parameters() if p.grad is not None]
    return told


def built(method: str, **options: object) -> Method:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return get_method(method)(toy_modalities(most(method, 5)), latent_dim=LATENT_DIM, **options)


@cache
def by_default(method: str) -> dict[str, object]:
    return everything(built(method))


def alike(one: object, other: object) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.shape == other.shape and torch.allclose(one, other, rtol=1e-6, atol=1e-7)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(alike, one, other))
    return one == other


def differs(one: dict[str, object], other: dict[str, object]) -> bool:
    return one.keys() != other.keys() or not all(alike(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize(("method", "option"), OPTIONS)
def test_every_option_is_used(method, option):
    # MultiVae's MMVAE takes `beta` and gives the same loss at 1 and 100.
    value = another(method, option)
    assert value != method_defaults(method)[option]
    used = differs(by_default(method), everything(built(method, **{option: value})))
    assert used, f"{method} accepts {option}={value} and does not use it"


def test_an_option_that_is_not_used_is_found(monkeypatch):
    def idle(modalities, *, latent_dim, beta=1.0):
        return get_method("mopoe")(modalities, latent_dim=latent_dim)

    idle.__doc__ = inspect.getdoc(get_method("mopoe"))
    monkeypatch.setattr("isthmus.methods.base._METHODS", {**_registry(), "idle": idle})
    with pytest.raises(AssertionError, match=r"idle accepts beta=2.3 and does not use it"):
        test_every_option_is_used("idle", "beta")


def _registry():
    return {name: get_method(name) for name in list_methods()}


# --- sums in the place of means, and items that weigh more than others ------------------------------------------------


class Twice(Noise):
    """The draws of the first half of a batch for its second half too."""

    def _cut(self, drawn: Tensor, rows: int, like: Tensor) -> Tensor:
        half = super()._cut(drawn, rows // 2, like)
        return torch.cat([half, half])


def losses_of(method: Method, batch: Batch, noise: Noise) -> Tensor:
    return torch.stack([terms.loss for terms in terms_of(method, batch, noise)])


@pytest.mark.parametrize("method", list_methods())
def test_a_batch_twice_as_large_takes_no_larger_step(method):
    # MultiVae's MMVAE, MMVAE+, CMVAE and CRMVAE return sums over the batch, its other methods means.
    trained = made(method)
    batch = gappy_batch(like=trained)
    if any(terms.per_batch for terms in terms_of(trained, batch)):
        pytest.skip("a term of the batch as a whole")
    doubled = batch.take(torch.arange(len(batch)).repeat(2))
    one = losses_of(trained, batch, Noise(0, total=2 * len(batch)))
    slopes = torch.autograd.grad(one.sum(), parameters_of(trained.model), allow_unused=True)
    two = losses_of(trained, doubled, Twice(0))
    assert_close(two, one, rtol=1e-9, atol=1e-9)
    twice = torch.autograd.grad(two.sum(), parameters_of(trained.model), allow_unused=True)
    for first, second in zip(slopes, twice, strict=True):
        assert (first is None) == (second is None)
        if first is not None:
            assert_close(second, first, rtol=1e-8, atol=1e-9)


def parameters_of(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


@pytest.mark.parametrize("method", list_methods())
def test_an_item_with_rare_gaps_weighs_as_much_as_any(method):
    # MultiVae's MVAE divides the loss of each subset by the items that have it: few of them weigh more each.
    trained = made(method)
    common, rare = torch.tensor([0, 1, 0])[:, None].repeat(1, 7).bool(), torch.ones(3, 1, dtype=torch.bool)
    batch = gappy_batch(torch.cat([common, rare], dim=1), like=trained)
    if any(terms.per_batch for terms in terms_of(trained, batch)):
        pytest.skip("a term of the batch as a whole")
    whole = losses_of(trained, batch, Noise(0))
    parts = [
        losses_of(trained, batch.take(torch.arange(7)), Noise(0, total=8)),
        losses_of(trained, batch.take(torch.tensor([7])), Noise(0, offset=7, total=8)),
    ]
    assert_close(whole, (7 * parts[0] + parts[1]) / 8, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("method", list_methods())
def test_the_last_batch_may_be_small(method):
    # MultiVae's MoPoE gives every item of a batch smaller than the number of subsets the product of all.
    trained = built(method)
    for size in (1, 2):
        gradients = gradients_of(trained, toy_batch(len(trained.model.modalities), num_items=size))
        assert gradients and all(bool(torch.isfinite(slope).all()) for slope in gradients.values())


# --- one expert for a whole batch, or by place in it ------------------------------------------------------------------

# Where one component is drawn per item: how many there are for an item that has all three modalities.
DRAWN = {
    "mopoe": ({}, 7),
    "barycentre": ({"mixture": True}, 7),
    "mmjsd": ({}, 3),
    "mmvae": ({"stratified": False}, 3),
    "mmvae+": ({"stratified": False, "family": "normal"}, 3),
    "cmvae": ({"stratified": False, "family": "normal"}, 3),
    "hoelder": ({"exact": True}, 6),
    "hoelder+": ({"stratified": False}, 6),
}


def test_every_method_that_draws_one_component_is_looked_at():
    drawn = {name for name in list_methods() if "stratified" in method_defaults(name)}
    # idmvae draws by the objective of mmvae+, beside terms that a batch has as a whole.
    assert drawn <= {*DRAWN, "idmvae"}


@pytest.mark.parametrize("method", DRAWN)
def test_items_of_a_batch_meet_components_of_their_own(method):
    # MultiVae draws one modality for a whole batch; its MoPoE gives the item at a place of the batch always the same
    # subset. Items that are all the same, and draws too: a loss then tells which component it came from.
    options, number = DRAWN[method]
    trained = made(method, **options)
    objective = trained.phases[0].players[0].objective
    with torch.no_grad():
        for head in trained.model.inference.heads.values():
            head.weight.mul_(0.1)  # experts near one another: each pair of them then weighs in a Hoelder pool
            head.bias.mul_(0.1)
        alike = gappy_batch(WHOLE).take(torch.zeros(200, dtype=torch.long))
        batch = objective(trained.model, alike, Step(0, 1.0, Still(0))).item_loss
        alone = alike.take(torch.tensor([0]))
        course = [objective(trained.model, alone, Step(i, 1.0, Still(0, i))).item_loss for i in range(150)]
    assert kinds_of(batch) == number, f"items of one batch meet {kinds_of(batch)} of {number} components"
    assert kinds_of(torch.cat(course)) == number, "one item does not meet every component in the course of training"


def kinds_of(losses: Tensor) -> int:
    """How many numbers there are but for rounding."""
    return len(losses.mul(1e8).round().unique())


# --- answers that depend on the batch ---------------------------------------------------------------------------------


@pytest.mark.parametrize("method", list_methods())
def test_an_answer_does_not_depend_on_the_batch_it_was_asked_in(method):
    # Codes and spreads, asked for in one batch, in parts, and in another order.
    trained = made(method)
    model, batch = trained.model, gappy_batch(like=trained)
    with torch.no_grad():
        whole, turned = model.encode(batch), model.encode(batch.take(torch.arange(7, -1, -1)))
        parts = [model.encode(batch.take(part)) for part in torch.arange(8).split(3)]
    assert_close(torch.cat([part.mean for part in parts]), whole.mean)
    assert_close(turned.mean.flip(0), whole.mean)
    if whole.spread is not None:
        assert_close(torch.cat([part.spread for part in parts]), whole.spread)
        assert_close(turned.spread.flip(0), whole.spread)


# --- gaps -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", list_methods())
def test_an_item_with_a_gap_is_not_one_with_zeros(method):
    # MultiVae wants gaps filled with zeros and encodes those, also where it was told to leave incomplete items be.
    if method == "vq":
        pytest.skip("its words are learnt from data; before that all are one")
    # dvcca reads its reference where it is there, and no other.
    trained = made(method, **({"reference": "vector0"} if method == "dvcca" else {}))
    zero = gappy_batch(WHOLE, like=trained)
    gap = zero.drop("vector0")
    zero = Batch({**zero.values, "vector0": torch.zeros_like(zero.values["vector0"])}, zero.present)
    with torch.no_grad():
        codes = [trained.model.encode(batch).mean for batch in (gap, zero)]
        losses = [losses_of(trained, batch, Noise(0)) for batch in (gap, zero)]
    # Codes of a finite set round some differences away, but not all.
    same = torch.isclose(*codes).all(dim=1) if method != "fsq" else torch.isclose(*codes).all()
    assert not same.any()
    assert not torch.isclose(*losses).any()
    # And it is as if the modality had never been.
    with torch.no_grad():
        never = trained.model.encode(gap.only(*trained.model.modalities[1:])).mean
    assert_close(codes[0], never)


def test_a_likelihood_takes_gaps_and_asks_each_decoder_once():
    # MultiVae refuses incomplete data, and goes through items one at a time.
    world = LinearGaussian(latent_dim=2, features={"image": 3, "audio": 2, "text": 2})
    batch = world.sample(6).drop("image", at=[0, 3]).drop("audio", at=[0, 1]).drop("text", at=[2, 3])
    model, calls = world.vae(ProductOfExperts()), dict.fromkeys(world.features, 0)
    for name in calls:
        model.decoders[name].register_forward_hook(lambda *_, name=name: calls.update({name: calls[name] + 1}))
    with torch.no_grad():
        nats = log_evidence(model, batch, list(world.features), num_draws=500, seed=0)
    # The posterior is exact, so that every draw weighs the same: the estimate is the evidence.
    assert_close(nats, world.log_evidence(batch))
    assert calls == dict.fromkeys(world.features, 1)


# --- weights that do not sum to one -----------------------------------------------------------------------------------


@pytest.mark.parametrize("present", [[True, True, True], [True, False, True], [False, True, False]])
def test_experts_that_say_the_same_are_not_counted_twice_by_gpoe(present):
    # multi-view-AE clamps the weights of experts and does not normalise them: as many as agree, as sure it is.
    method, batch = made("gpoe"), gappy_batch(torch.tensor(present)[:, None].expand(3, 4))
    heads = method.model.inference.heads.values()
    with torch.no_grad():
        for vector in method.model.inference.fusion.logits.values():
            vector.value.mul_(5.0)
        for head in heads:
            head.weight.zero_()
            head.bias.copy_(next(iter(heads)).bias)
    posterior = method.model.encode(batch)
    loc, raw = next(iter(heads)).bias.detach().chunk(2)
    assert_close(posterior.mean, loc.expand(4, -1))
    assert_close(posterior.spread, torch.exp(6 * torch.tanh(raw / 6)).expand(4, -1))


# --- a variance that nothing opposes ----------------------------------------------------------------------------------

# Which side of which method's experts theory leaves open, and why.
OPEN = {
    ("mvae", "wide"): "an expert that knows nothing leaves the prior",
    ("dmvae", "wide"): "an expert that knows nothing leaves the prior",
}
SIDES = {"narrow": (-3.0, -5.9), "wide": (3.0, 5.9)}


def has_experts(method: str) -> bool:
    return isinstance(made(method).model.inference, ExpertInference)


def with_log_scale(model: MultimodalAutoencoder, heads: str, name: str, log_scale: float) -> None:
    head = getattr(model.inference, heads)[name]
    size = len(head.bias) // 2
    head.weight[size:] = 0.0
    head.bias[size:] = 6 * torch.atanh(torch.tensor(log_scale / 6))


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("method", [name for name in list_methods() if has_experts(name)])
def test_the_variance_of_every_expert_is_opposed(method, side):
    # MultiVae's TELBO has the variance of the joint network in the divergence of single experts: nothing then keeps
    # theirs from vanishing. Reconstructions weigh nothing here: it is the divergence that has to oppose.
    if (method, side) in OPEN:
        pytest.skip(OPEN[method, side])
    trained = made(method, balance=dict.fromkeys(NAMES[: most(method, 3)], 0.0))
    heads = ["heads", *(["private_heads"] if isinstance(trained.model.inference, PrivateInference) else [])]
    for kind in heads:
        for name in trained.model.modalities:
            before = {key: value.clone() for key, value in trained.model.state_dict().items()}
            losses = []
            for log_scale in SIDES[side]:
                with torch.no_grad():
                    with_log_scale(trained.model, kind, name, log_scale)
                    losses.append(float(losses_of(trained, gappy_batch(like=trained), Noise(0)).sum()))
            trained.model.load_state_dict(before)
            assert losses[1] > losses[0] + 0.1, f"{kind} of {name}: {losses[0]:.2f} then {losses[1]:.2f}"


# --- items in one order, and the last of them left out ----------------------------------------------------------------


class Watched(Objective):
    """An objective that writes down which items it was shown in training."""

    def __init__(self, inner: Objective):
        self.inner, self.seen = inner, []

    def __call__(self, model: MultimodalAutoencoder, batch: Batch, step: Step) -> Terms:
        self.seen.append(batch.index.tolist())
        return self.inner(model, batch, step)


def test_every_epoch_has_all_items_in_an_order_of_its_own():
    # multi-view-AE's loader does not shuffle; some of MultiVae's methods are said to do best without the last batch.
    method = toy_method()
    watched = Watched(method.phases[0].players[0].objective)
    settings = TrainingConfig(epochs=3, batch_size=8)
    rows = {"train": torch.arange(25)}
    train(replace(method, phases=[Phase([Player(watched)])]), toy_store(25), lambda b: b, rows, settings, quiet=True)
    assert [len(batch) for batch in watched.seen] == [8, 8, 8, 1] * 3
    epochs = [list(itertools.chain(*watched.seen[4 * epoch : 4 * epoch + 4])) for epoch in range(3)]
    assert all(sorted(epoch) == list(range(25)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    # Nor are items together in a batch because they stand side by side.
    neighbours = [abs(a - b) == 1 for batch in watched.seen for a, b in itertools.pairwise(batch)]
    assert sum(neighbours) < len(neighbours) / 3
