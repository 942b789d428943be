"""The laws that every method keeps, whatever its paper says: written once, run on ours and open to users' own.

A check takes a `Case`, a method built on toy modalities, and raises `AssertionError` with the law it broke:

    from isthmus.testing import check_method
    check_method(my_preset)                      # every law, at 1, 2, 3, 5 and 12 modalities where declared
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from isthmus.batch import Batch, Masked, Values, take
from isthmus.fusions import Fusion
from isthmus.likelihoods import CategoricalHead, NormalHead, SequenceHead
from isthmus.methods.base import Method, Phase, Player, Preset, get_method
from isthmus.modality import Modality
from isthmus.model import MultimodalAutoencoder
from isthmus.noise import Noise
from isthmus.objectives import ELBO, Step, Terms

SIZES = (1, 2, 3, 5, 12)
LATENT_DIM = 4


class _Ragged(nn.Module):
    """Toy encoder of ragged rows: a masked mean, then a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 6)

    def forward(self, values: Masked) -> Tensor:
        there = values.mask.to(values.value)[..., None]
        mean = (values.value * there).sum(dim=1) / there.sum(dim=1).clamp_min(1)
        features: Tensor = torch.tanh(self.layer(mean))
        return features


class _RaggedDecoder(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.frames, self.length = nn.Linear(width, 5 * 2), nn.Linear(width, 5)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return self.frames(z).view(-1, 5, 2), self.length(z)


def _hide(values: Values, uniform: Callable[..., Tensor]) -> Values:
    """Hides features of a vector from the encoder in training, as a table does with its columns."""
    assert isinstance(values, Tensor)
    return torch.where(uniform(*values.shape[1:]) < 0.2, 0.0, values)


def toy_modalities(count: int) -> dict[str, Modality]:
    """`count` small modalities of three sorts in turn: vectors of 3, ragged sequences, classes out of 4."""
    made = {}
    for m in range(count):
        if m % 3 == 0:
            made[f"vector{m}"] = Modality(
                encoder=lambda: nn.Sequential(nn.Linear(3, 8), nn.Tanh()),
                decoder=lambda width: nn.Linear(width, 3),
                likelihood=NormalHead,
                example=torch.zeros(2, 3),
                num_dimensions=3,
                corrupt=_hide,
            )
        elif m % 3 == 1:
            made[f"ragged{m}"] = Modality(
                encoder=_Ragged,
                decoder=_RaggedDecoder,
                likelihood=SequenceHead,
                example=Masked(torch.zeros(2, 5, 2), torch.ones(2, 5, dtype=torch.bool)),
                num_dimensions=6,
            )
        else:
            made[f"label{m}"] = Modality(
                encoder=lambda: nn.Embedding(4, 5),
                decoder=lambda width: nn.Linear(width, 4),
                likelihood=CategoricalHead,
                example=torch.zeros(2, dtype=torch.long),
                num_dimensions=1,
            )
    return made


def toy_values(count: int, num_items: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> dict[str, Values]:
    """Dense values for `toy_modalities(count)`: all follow one hidden class of each item, so there is much to share."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randint(4, (num_items,), generator=generator)
    values: dict[str, Values] = {}
    for m, name in enumerate(toy_modalities(count)):
        if m % 3 == 2:
            values[name] = hidden
            continue
        shape = (3,) if m % 3 == 0 else (5, 2)
        centre = torch.randn(4, *shape, generator=torch.Generator().manual_seed(100 + m), dtype=torch.float64)
        noise = torch.randn(num_items, *shape, generator=generator, dtype=torch.float64)
        dense = (centre[hidden] + 0.1 * noise).to(dtype)
        if m % 3 == 1:
            length = torch.randint(1, 6, (num_items,), generator=generator)
            values[name] = Masked(dense, torch.arange(5)[None] < length[:, None])
        else:
            values[name] = dense
    return values


def toy_presence(count: int, num_items: int, missing: float = 0.4, seed: int = 0) -> dict[str, Tensor]:
    """Random gaps; every item keeps at least one modality."""
    generator = torch.Generator().manual_seed(seed + 7)
    there = torch.rand(count, num_items, generator=generator) >= missing
    there[torch.randint(count, (num_items,), generator=generator), torch.arange(num_items)] = True
    return {name: there[m] for m, name in enumerate(toy_modalities(count))}


def toy_batch(count: int, num_items: int = 9, missing: float = 0.4, seed: int = 0) -> Batch:
    """A batch of toy items with gaps."""
    return Batch.from_dense(toy_values(count, num_items, seed), toy_presence(count, num_items, missing, seed))


@dataclass(frozen=True)
class Case:
    """A preset and a number of modalities to hold it to.

    Args:
        preset: `(modalities, *, latent_dim, ...) -> Method`.
        count: Number of toy modalities.
    """

    preset: Preset
    count: int

    def build(self, seed: int = 0, dtype: torch.dtype = torch.float32, names: list[str] | None = None) -> Method:
        """The method with weights that follow from the seed alone, over toy modalities in the order of `names`."""
        modalities = toy_modalities(self.count)
        with _seeded(seed):
            method = self.preset({name: modalities[name] for name in names or modalities}, latent_dim=LATENT_DIM)
        method.model.to(dtype).eval()
        return method


def terms_of(method: Method, batch: Batch, noise: Noise | int = 0) -> list[Terms]:
    """The terms of every player of every phase, as training sees them; `noise` may be a seed."""
    noise = Noise(noise) if isinstance(noise, int) else noise
    terms = []
    for phase in method.phases:
        seen = batch
        if phase.data == "codes":
            method.model.eval()
            with torch.no_grad():
                seen = method.model.own_codes(batch)
        _train_mode(method, phase)
        terms += [player.objective(method.model, seen, Step(0, 1.0, noise)) for player in phase.players]
    return terms


def gradients_of(method: Method, batch: Batch, seed: int = 0) -> dict[str, Tensor]:
    """The gradient of the summed losses, by parameter name; parameters that were not reached are left out."""
    method.model.zero_grad(set_to_none=True)
    torch.stack([terms.loss for terms in terms_of(method, batch, seed)]).sum().backward()
    return {name: p.grad for name, p in method.model.named_parameters() if p.grad is not None}


def check_absent_values_do_not_matter(case: Case) -> None:
    """A gap filled with NaN, zero or noise gives the same loss and the same finite gradients."""
    present = toy_presence(case.count, 9)
    answers = []
    for fill in (float("nan"), 0.0, 1e6):
        values = {n: _poison(v, present[n], fill) for n, v in toy_values(case.count, 9).items()}
        method, batch = case.build(), Batch.from_dense(values, present)
        answers.append(([t.item_loss.detach() for t in terms_of(method, batch)], gradients_of(method, batch)))
    for losses, gradients in answers[1:]:
        _same(losses, answers[0][0], "the loss depends on what stands in a gap")
        _same(gradients, answers[0][1], "a gradient depends on what stands in a gap")
    _finite(answers[0][0] + list(answers[0][1].values()), "loss and gradients")


def check_a_zero_is_not_a_gap(case: Case) -> None:
    """A measurement that happens to be all zero is one: it says something else than nothing at all."""
    # Many items: a code out of a finite set rounds a small difference away, but not for all of them.
    method, values = case.build(), toy_values(case.count, 64)
    for name, dense in values.items():
        zero = Masked(torch.zeros_like(dense.value), dense.mask) if isinstance(dense, Masked) else 0 * dense
        measured, batch = Batch.from_dense(values), Batch.from_dense(values | {name: zero})
        assert int(batch.present[name].sum()) == 64, f"'{name}' is held for missing where it was measured as zero"
        heeded = False
        # Beside all others, and alone: a method may take codes from one modality as long as it is there.
        for gaps in ((), tuple(n for n in values if n != name)):
            missing = _codes(method, _dropped(batch, name, *gaps))
            if not torch.allclose(_codes(method, _dropped(measured, *gaps)), missing):
                heeded = True
                taken = torch.allclose(_codes(method, _dropped(batch, *gaps)), missing)
                assert not taken, f"a zero of '{name}' is taken for a gap"
        assert heeded, f"no code depends on '{name}'"


def check_a_row_of_padding_does_not_matter(case: Case) -> None:
    """What stands behind the end of a ragged row is never read."""
    values, present = toy_values(case.count, 9), toy_presence(case.count, 9)
    noisy = {
        n: Masked(v.value + 50.0 * (~v.mask)[..., None], v.mask) if isinstance(v, Masked) else v
        for n, v in values.items()
    }
    method = case.build()
    clean, dirty = (terms_of(method, Batch.from_dense(v, present)) for v in (values, noisy))
    _same([t.item_loss for t in dirty], [t.item_loss for t in clean], "the loss depends on padding")


def check_shuffling_items_shuffles_codes(case: Case) -> None:
    """Codes follow their items, in any order."""
    method, batch = case.build(), toy_batch(case.count)
    order = torch.randperm(len(batch), generator=torch.Generator().manual_seed(3))
    _same(_codes(method, batch.take(order)), _codes(method, batch)[order], "codes do not follow their items")


def check_neighbours_do_not_matter(case: Case) -> None:
    """In use, an item's code and translations are the same alone as in any batch."""
    method, batch = case.build(), toy_batch(case.count)
    source, target = method.model.modalities[:1], method.model.modalities[-1]
    whole, translated = _codes(method, batch), _translate(method, batch, source, target)
    for item in range(3):
        place = torch.tensor([item])
        alone = batch.take(place)
        _same(_codes(method, alone), whole[item : item + 1], "an item's code depends on its neighbours")
        got, expected = _translate(method, alone, source, target), take(translated, place)
        _same(_dense(got), _dense(expected), "an item's translation depends on its neighbours")


def check_order_of_modalities_is_free(case: Case) -> None:
    """Naming the modalities in another order, in the model or the batch, changes no answer."""
    method = case.build()
    names = list(method.model.modalities)[::-1]
    values, present = toy_values(case.count, 9), toy_presence(case.count, 9)
    turned = Batch.from_dense({n: values[n] for n in names}, present)
    batch = Batch.from_dense(values, present)
    _same(_codes(method, turned), _codes(method, batch), "codes depend on the order of a batch's modalities")
    _same(
        [t.item_loss for t in terms_of(method, turned)],
        [t.item_loss for t in terms_of(method, batch)],
        "the loss depends on the order of a batch's modalities",
    )
    # The same model made with its modalities named in the other order: same parameters under the same names.
    reordered = case.build(names=names)
    reordered.model.load_state_dict(method.model.state_dict())
    _same(_codes(reordered, batch), _codes(method, batch), "codes depend on the order of a model's modalities")


def check_one_seed_gives_one_result(case: Case) -> None:
    """The same seed gives the same weights, losses and gradients to the bit; another seed or step gives other draws."""
    batch = toy_batch(case.count)
    first, second = (gradients_of(case.build(seed=5), batch, seed=11) for _ in range(2))
    for name, gradient in first.items():
        assert torch.equal(gradient, second[name]), f"two runs with one seed differ in the gradient of {name}"
    method = case.build(seed=5)
    keys = (Noise(11), Noise(11), Noise(12), Noise(11, step=1))
    loss, again, *others = (terms_of(method, batch, noise)[-1].item_loss.detach() for noise in keys)
    assert torch.equal(loss, again), "two runs with one seed differ in their loss"
    if method.capabilities.density:
        assert not any(torch.equal(loss, other) for other in others), "another seed or step sees the same draws"


def check_every_item_has_draws_of_its_own(case: Case) -> None:
    """Items that are alike get the same beliefs, and each its own draws from them, component and all."""
    method = case.build()
    if not method.capabilities.density:
        return
    batch = Batch.from_dense(toy_values(case.count, 1)).take(torch.zeros(64, dtype=torch.long))
    with torch.no_grad():
        draws = method.model.encode(batch).rsample(1, Noise(0))
        possible = method.model.encode(batch).rsample(1, Noise(0), stratified=True).use.any(dim=1).sum()
    assert len(draws.z[0, 0].unique(dim=0)) == 64, "items of one batch share their draws"
    assert possible == 1 or len(draws.component.unique()) > 1, "one component was drawn for the whole batch"


def check_save_then_load_changes_nothing(case: Case) -> None:
    """State goes through plain tensors: a copy that loads it gives the same codes to the bit, and saves the same."""
    method, batch = case.build(seed=1), toy_batch(case.count)
    other = case.build(seed=2)
    method.model.inference.finish(_codes(method, batch) + 1.0)
    batch = _without(batch, 0)
    saved = {name: value.clone() for name, value in method.model.state_dict().items()}
    assert all(isinstance(value, Tensor) for value in saved.values()), "state holds something that is not a tensor"
    other.model.load_state_dict(saved)
    assert torch.equal(_codes(method, batch), _codes(other, batch)), "loaded weights give other codes"
    again = other.model.state_dict()
    assert saved.keys() == again.keys() and all(torch.equal(saved[k], again[k]) for k in saved), "state grew or changed"


def check_every_subset_encodes_and_decodes(case: Case) -> None:
    """Any modalities give finite codes, and values of every modality, one row per item, made from those alone."""
    method, batch = case.build(), toy_batch(case.count, 5)
    names = list(method.model.modalities)
    subsets = [[name] for name in names] + [[n for n in names if n != name] for name in names] + [names]
    for source in filter(None, subsets):
        code = _codes(method, batch.only(*source))
        assert code.shape == (5, method.model.latent_dim), f"codes from {source} have shape {tuple(code.shape)}"
        _finite([code], f"codes from {source}")
        for target in names:
            event = _translate(method, batch, source, target)
            assert len(event) == 5, f"translation {source} -> {target} lost rows"
            _finite([_dense(event)], f"translation {source} -> {target}")
            blind = _dense(_translate(method, batch.only(*source), source, target))
            _same(_dense(event), blind, f"translation {source} -> {target} saw more than its sources")


def check_nothing_observed_gives_the_prior(case: Case) -> None:
    """An item with nothing at all gets the prior (or the mean training code), and disturbs nobody.

    Of a prior that is no single component, it gets the mean and the standard deviation.
    """
    method, batch = case.build(), toy_batch(case.count)
    empty = _without(batch, 0)
    _finite([t.item_loss for t in terms_of(method, empty)], "losses beside an empty item")
    _finite(list(gradients_of(method, empty).values()), "gradients beside an empty item")
    with torch.no_grad():
        posterior = method.model.encode(empty)
    moments = method.model.prior.moments()
    mean = torch.zeros(method.model.latent_dim) if moments is None else moments[0].detach()
    _same(posterior.mean[0], mean, "an item with nothing does not get the prior's mean")
    assert (posterior.spread is not None) == method.capabilities.uncertainty, "a spread is declared, or is there, alone"
    if posterior.spread is not None:
        prior = method.model.prior.sample(20_000, Noise(0)).std(dim=0).detach()
        assert torch.allclose(posterior.spread[0], prior, rtol=0.05), "an item with nothing has not the prior's spread"
    _same(posterior.mean[1:], _codes(method, batch)[1:], "an empty item changes other items")


def check_a_modality_nobody_has(case: Case) -> None:
    """A modality that no item of the batch has, named or not, costs nothing and breaks nothing."""
    if case.count == 1:
        return
    method, name = case.build(), next(iter(toy_modalities(case.count)))
    values, present = toy_values(case.count, 6), toy_presence(case.count, 6, missing=0.0)
    without = Batch.from_dense({n: v for n, v in values.items() if n != name})
    emptied = Batch.from_dense(values, present).drop(name)
    _same(_codes(method, without), _codes(method, emptied), "an unnamed modality differs from an empty one")
    for batch in (without, emptied):
        gradients = gradients_of(method, batch)
        _finite(list(gradients.values()), "gradients without a modality")
        touched = [key for key in gradients if key.startswith((f"encoders.{name}.", f"decoders.{name}."))]
        assert not any(gradients[key].abs().sum() > 0 for key in touched), f"networks of absent '{name}' got a gradient"


def check_a_batch_of_one(case: Case) -> None:
    """One item, with one modality, trains."""
    values = {n: take(v, torch.tensor([0])) for n, v in toy_values(case.count, 3).items()}
    first = next(iter(values))
    for present in ({}, {name: torch.tensor([name == first]) for name in values}):
        method = case.build()
        gradients = gradients_of(method, Batch.from_dense(values, present))
        assert gradients, "no parameter got a gradient from a batch of one"
        _finite(list(gradients.values()), "gradients from a batch of one")


def check_float64_agrees(case: Case) -> None:
    """Double precision is kept throughout, and gives the same losses to single precision."""
    present = toy_presence(case.count, 9)
    losses = []
    for dtype in (torch.float32, torch.float64):
        batch = Batch.from_dense(toy_values(case.count, 9, dtype=dtype), present)
        method = case.build(dtype=dtype)
        with _NoRounding():
            losses.append(terms_of(method, batch))
    assert all(t.item_loss.dtype == torch.float64 for t in losses[1]), "a float64 model lost its precision"
    for single, double in zip(*losses, strict=True):
        _same(single.item_loss.double(), double.item_loss, "float64 gives another loss", tolerance=1e-3)


def check_terms_are_per_item(case: Case) -> None:
    """Every term has one number per item, and an item's terms do not depend on the batch's other items."""
    method, batch = case.build(), toy_batch(case.count)
    for terms in terms_of(method, batch):
        for name, value in {**terms.per_item, "item_loss": terms.item_loss}.items():
            assert value.shape == (len(batch),), f"term '{name}' has shape {tuple(value.shape)}, not ({len(batch)},)"
    # Noise is drawn by place: two processes that share a batch, each told its place, see the draws that one would.
    whole = [terms.item_loss for terms in terms_of(method, batch)]
    for part in torch.arange(len(batch)).split(5):
        noise = Noise(0, offset=int(part[0]), total=len(batch))
        alone = [terms.item_loss for terms in terms_of(method, batch.take(part), noise)]
        _same(alone, [loss[part] for loss in whole], "an item's loss depends on the batch it came in")


def check_the_bound_is_below_the_evidence(case: Case) -> None:
    """On average, `bound` is below an importance-weighted estimate with many draws, which is itself below."""
    method, batch = case.build(), toy_batch(case.count)
    bounds = [torch.stack([t.bound for t in ts if t.bound is not None]) for ts in _repeat(method, batch, 64)]
    assert len(bounds[0]), "capabilities declare a bound, and no objective gives one"
    with torch.no_grad():
        model, half = method.model, 2000
        z = model.prior.sample(half * len(batch), Noise(4)).view(half, 1, len(batch), -1).to(model.dtype)
        if method.capabilities.density:
            # Half of the draws stay the prior's: a posterior too sure of itself would miss what the data allow.
            posterior = model.encode(batch)
            z = torch.cat([posterior.rsample(half, Noise(3)).z, z])
            proposal = torch.logaddexp(posterior.log_prob(z), model.prior.log_prob(z)) - math.log(2)
        else:
            proposal = model.prior.log_prob(z)
        joint = model.prior.log_prob(z)
        for name in batch:
            joint = joint + model.log_likelihood(name, z, torch.ones(1, len(batch), dtype=torch.bool), batch)
        tight = torch.logsumexp(joint - proposal, dim=0)[0] - math.log(len(z))
    mean = torch.stack(bounds).mean(dim=0).detach()
    error = torch.stack(bounds).std(dim=0).detach() / 8
    assert bool((mean <= tight + 5 * error + 0.05).all()), "a bound lies above the evidence"


def check_a_few_steps_help(case: Case) -> None:
    """Forty steps of Adam on a toy set lower the loss, explain the data better and move every network."""
    method, batch = case.build(), Batch.from_dense(toy_values(case.count, 32), toy_presence(case.count, 32))
    start = {name: value.detach().clone() for name, value in method.model.named_parameters() if value.requires_grad}
    optimiser = torch.optim.Adam(method.model.parameters(), lr=0.02)
    loss, explained = _mean_terms(method, batch)
    for index in range(40):
        optimiser.zero_grad(set_to_none=True)
        torch.stack([terms.loss for terms in terms_of(method, batch, Noise(0, index))]).sum().backward()
        optimiser.step()
    loss_after, explained_after = _mean_terms(method, batch)
    assert loss_after < loss - 0.05, "training does not lower the loss"
    assert explained_after > explained, "training lowers the loss, but explains the data worse: is its sign right?"
    moved = {name for name, value in method.model.named_parameters() if not torch.equal(value, start.get(name, value))}
    for part in [f"{side}.{name}." for side in ("encoders", "decoders") for name in method.model.modalities]:
        still = any(name.startswith(part) for name in start) and not any(name.startswith(part) for name in moved)
        assert not still, f"training does not reach {part[:-1]}"


Check = Callable[[Case], None]
CHECKS: dict[str, Check] = {
    name.removeprefix("check_"): check for name, check in list(globals().items()) if name.startswith("check_")
}


def run_check(name: str, preset: Preset | str, count: int) -> bool:
    """Run one law on one method at one number of modalities; False where the method does not declare it applies.

    Raises:
        AssertionError: The law is broken, or the method could not do what it asks for.
    """
    preset = get_method(preset) if isinstance(preset, str) else preset
    case = Case(preset, count)
    capabilities = case.build().capabilities if _allows(preset, count) else None
    if capabilities is None or (name == "the_bound_is_below_the_evidence" and not capabilities.bound):
        return False
    try:
        CHECKS[name](case)
    except AssertionError:
        raise
    except Exception as error:
        raise AssertionError(f"the method failed under this law with {type(error).__name__}: {error}") from error
    return True


def check_method(preset: Preset | str, sizes: tuple[int, ...] = SIZES) -> None:
    """Run every law on a method, at every size it declares.

    Raises:
        AssertionError: A law is broken; the message names law, size and what was seen.
    """
    for count in sizes:
        for name in CHECKS:
            try:
                run_check(name, preset, count)
            except AssertionError as error:
                raise AssertionError(f"{name} at {count} modalities: {error}") from error


def method_of_fusion(fusion: Callable[[list[str]], Fusion]) -> Preset:
    """A preset that trains any fusion, built from the modalities' names, under one generic bound: its ELBO."""

    def preset(modalities: Mapping[str, Modality], *, latent_dim: int) -> Method:
        model = MultimodalAutoencoder(modalities, latent_dim=latent_dim, fusion=fusion(list(modalities)))
        return Method(model, [Phase([Player(ELBO())])])

    return preset


def _allows(preset: Preset, count: int) -> bool:
    """Whether a preset takes this many modalities; one that does not must say so when it is built."""
    try:
        capabilities = preset(toy_modalities(count), latent_dim=LATENT_DIM).capabilities
    except ValueError as error:
        assert "modalit" in str(error), f"a method refused {count} modalities without saying so: {error}"
        return False
    return capabilities.min_modalities <= count <= (capabilities.max_modalities or count)


def _repeat(method: Method, batch: Batch, times: int) -> Iterator[list[Terms]]:
    with torch.no_grad():
        for seed in range(times):
            yield terms_of(method, batch, seed)


def _mean_terms(method: Method, batch: Batch) -> tuple[float, float]:
    """The loss, and the log-likelihood of reconstructions, over several draws."""
    terms = [t for ts in _repeat(method, batch, 8) for t in ts]
    scores = [v.mean().item() for t in terms for name, v in t.per_item.items() if name.startswith("reconstruction/")]
    return sum(t.loss.item() for t in terms) / 8, sum(scores) / 8


def _codes(method: Method, batch: Batch) -> Tensor:
    with torch.no_grad():
        return method.model.eval().encode(batch).mean


def _translate(method: Method, batch: Batch, source: Sequence[str], target: str) -> Values:
    with torch.no_grad():
        return method.model.eval().translate(batch, source, target)


def _dense(values: Values) -> Tensor:
    """Values as one tensor in which nothing behind the end of a row shows."""
    return torch.where(values.mask[..., None], values.value, 0.0) if isinstance(values, Masked) else values


def _without(batch: Batch, item: int) -> Batch:
    """The batch, in which one item has nothing."""
    for name in batch:
        batch = batch.drop(name, at=item)
    return batch


def _dropped(batch: Batch, *names: str) -> Batch:
    """The batch, in which nobody has these modalities."""
    for name in names:
        batch = batch.drop(name)
    return batch


def _train_mode(method: Method, phase: Phase) -> None:
    method.model.train()
    for name, module in method.model.named_modules():
        if f"{name}.".startswith(phase.frozen):
            module.eval()


class _NoRounding(TorchDispatchMode):
    """Within it, no float64 tensor may be made single or half."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default and args[0].dtype == torch.float64:
            assert not result.is_floating_point() or result.dtype == torch.float64, "a float64 number was rounded"
        return result


def _poison(values: Values, present: Tensor, fill: float) -> Values:
    """`values` with the rows of gaps overwritten."""
    if isinstance(values, Masked):
        return Masked(torch.where(present[:, None, None], values.value, fill), values.mask)
    if values.is_floating_point():
        return torch.where(present.view(-1, *[1] * (values.dim() - 1)), values, fill)
    return torch.where(present, values, 3)


def _same(got: Any, expected: Any, law: str, tolerance: float = 1e-5) -> None:
    try:
        torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance)
    except AssertionError as error:
        raise AssertionError(f"{law}. {error}") from None


def _finite(tensors: list[Tensor], what: str) -> None:
    for tensor in tensors:
        assert bool(torch.isfinite(tensor.double()).all()), f"not finite: {what}"


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Initial weights come from torch's global generator: set it, and put it back."""
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(state)
