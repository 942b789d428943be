"""The laws have teeth: for each, code with a fault that we or a peer could have written, on which the law fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import pytest
import torch
from torch import nn

from isthmus import fusions
from isthmus.batch import Batch, Masked, take
from isthmus.fusions import Fusion, MixtureOfProducts, ProductOfExperts
from isthmus.inference import ExpertInference, PointEvidence, PointInference
from isthmus.methods import get_method
from isthmus.methods.base import Phase, Player
from isthmus.model import MultimodalAutoencoder
from isthmus.noise import Noise
from isthmus.objectives import Objective, Terms, TotalCorrelation, mixtures
from isthmus.posteriors import Mixture, Point
from isthmus.testing import CHECKS, check_method, conformance, run_check


@dataclass(frozen=True)
class Mutant:
    """A fault: `apply` puts it into the library, or answers a preset that has it."""

    law: str
    apply: Callable
    match: str
    method: str = "mvtcae"
    count: int = 3


MUTANTS: list[Mutant] = []


def breaks(law: str, match: str, method: str = "mvtcae", count: int = 3):
    """File a fault under the law that has to notice it, with the words in which it does."""

    def file(apply: Callable) -> Callable:
        MUTANTS.append(Mutant(law, apply, match, method, count))
        return apply

    return file


def test_every_law_has_a_mutant():
    assert {mutant.law for mutant in MUTANTS} == set(CHECKS)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: f"{m.law}-{m.apply.__name__}")
def test_law_bites(mutant, monkeypatch):
    preset = mutant.apply(monkeypatch) or get_method(mutant.method)
    with pytest.raises(AssertionError, match=mutant.match):
        run_check(mutant.law, preset, mutant.count)


def test_check_method_names_law_and_size(monkeypatch):
    monkeypatch.setattr(Batch, "presence", partial_presence)
    with pytest.raises(AssertionError, match=r"order_of_modalities_is_free at 2 modalities: codes depend on the order"):
        check_method("mvtcae", sizes=(1, 2))


# --- how faults are put in ------------------------------------------------------------------------------------------


class Wrapped(Objective):
    """An objective whose terms are spoilt."""

    def __init__(self, inner: Objective, change: Callable[[Terms, MultimodalAutoencoder], Terms]):
        self.inner, self.change = inner, change

    def __call__(self, model, batch, step):
        return self.change(self.inner(model, batch, step), model)


def with_terms(change, method="mvtcae", **options):
    """A preset whose objectives are spoilt."""

    def preset(modalities, *, latent_dim):
        made = get_method(method)(modalities, latent_dim=latent_dim, **options)
        phases = [Phase([Player(Wrapped(p.objective, change)) for p in phase.players]) for phase in made.phases]
        return replace(made, phases=phases)

    return preset


def with_networks(encoder=None, decoder=None, method="mvtcae"):
    """A preset whose networks are each followed by another module."""

    def preset(modalities, *, latent_dim):
        changed = {}
        for name, modality in modalities.items():
            made = modality
            if encoder is not None:
                made = replace(made, encoder=lambda m=modality: nn.Sequential(m.encoder(), encoder()))
            if decoder is not None and "vector" in name:
                made = replace(made, decoder=lambda width, m=modality: nn.Sequential(m.decoder(width), decoder()))
            changed[name] = made
        return get_method(method)(changed, latent_dim=latent_dim)

    return preset


class Centred(nn.Module):
    """Takes the batch's mean away."""

    def forward(self, x):
        return x - x.mean(dim=0)


class Standardised(nn.Module):
    """Divides by the batch's standard deviation."""

    def forward(self, x):
        return (x - x.mean(dim=0)) / x.std(dim=0, correction=0)


# --- gaps -----------------------------------------------------------------------------------------------------------


@breaks("absent_values_do_not_matter", "the loss depends on what stands in a gap")
def gaps_are_kept_as_rows(patch):
    genuine = Batch.from_dense.__func__
    patch.setattr(Batch, "from_dense", classmethod(lambda cls, values, present=None: genuine(cls, values)))


@breaks("absent_values_do_not_matter", "depends on what stands in a gap")
def nan_alone_marks_a_gap(patch):
    genuine = Batch.from_dense.__func__

    def from_dense(cls, values, present=None):
        seen = {n: (v.value if isinstance(v, Masked) else v).flatten(1) for n, v in values.items() if "label" not in n}
        return genuine(cls, values, (present or {}) | {n: ~v.isnan().any(dim=1) for n, v in seen.items()})

    patch.setattr(Batch, "from_dense", classmethod(from_dense))


@breaks("a_zero_is_not_a_gap", "is held for missing where it was measured as zero")
def zero_marks_a_gap(patch):
    genuine = Batch.from_dense.__func__

    def from_dense(cls, values, present=None):
        seen = {n: (v.value if isinstance(v, Masked) else v).flatten(1) for n, v in values.items() if "label" not in n}
        return genuine(cls, values, (present or {}) | {n: (v != 0).any(dim=1) for n, v in seen.items()})

    patch.setattr(Batch, "from_dense", classmethod(from_dense))


@breaks("a_zero_is_not_a_gap", "a zero of 'vector0' is taken for a gap")
def encoder_without_bias_and_gaps_filled_with_zero(patch):
    # Gaps as zeros in the features, and no bias: the network can not tell one from the other.
    def preset(modalities, *, latent_dim):
        blind = {
            name: replace(m, encoder=lambda: nn.Linear(3, 8, bias=False)) if "vector" in name else m
            for name, m in modalities.items()
        }
        method = get_method("fused")(blind, latent_dim=latent_dim, fusion="concat")
        with torch.no_grad():
            for vector in method.model.inference.fusion.absent.values():
                vector.value.zero_()
            for layer in method.model.inference.fusion.project.values():
                layer.bias.zero_()
        return method

    return preset


class BlindToTheSecond(Fusion):
    """A product of all experts but one."""

    def forward(self, experts):
        seen = experts.present.clone()
        seen[1] = False
        return ProductOfExperts()(experts.among(seen))


@breaks("a_zero_is_not_a_gap", "no code depends on 'ragged1'")
def a_modality_that_is_never_read(patch):
    return conformance.method_of_fusion(lambda names: BlindToTheSecond())


@breaks("nothing_observed_gives_the_prior", "has not the prior's spread")
def product_with_an_epsilon(patch):
    def product(loc, log_scale, use):
        weight = use.to(loc)[..., None] * torch.exp(-2 * log_scale)
        total = weight.sum(dim=1) + 1e-8
        return (weight * loc).sum(dim=1) / total, -0.5 * total.log()

    patch.setattr(fusions, "product_of_normals", product)


@breaks("nothing_observed_gives_the_prior", "does not get the prior's mean", method="fused")
def point_code_of_what_stands_for_gaps(patch):
    def posterior(self, among=None):
        return Point(self.inference.head(self.inference.fusion(self.features, self.present)))

    patch.setattr(PointEvidence, "posterior", posterior)


@breaks("nothing_observed_gives_the_prior", "not finite: losses beside an empty item")
def mixture_over_nothing_is_nan(patch):
    patch.setattr(fusions, "_equal_log_weight", lambda there, like: (there / there.sum(dim=0)).log())
    return get_method("mopoe")


@breaks("nothing_observed_gives_the_prior", "a spread is declared, or is there, alone", method="fused")
def a_point_code_that_claims_a_spread(patch):
    patch.setattr(Point, "spread", property(lambda self: torch.ones_like(self.code)))


@breaks("a_modality_nobody_has", "an unnamed modality differs from an empty one")
def unnamed_means_present(patch):
    def presence(self, names=None):
        there = torch.ones(len(self), dtype=torch.bool)
        return torch.stack([self.present.get(name, there) for name in names])

    patch.setattr(Batch, "presence", presence)


@breaks("a_modality_nobody_has", "networks of absent 'vector0' got a gradient")
def penalty_on_all_weights(patch):
    def penalised(terms, model):
        return replace(terms, batch_loss=1e-4 * sum((p**2).sum() for p in model.parameters()))

    return with_terms(penalised)


# --- rows, places and neighbours ------------------------------------------------------------------------------------


@breaks("a_row_of_padding_does_not_matter", "the loss depends on padding")
def encoder_reads_padding(patch):
    patch.setattr(conformance._Ragged, "forward", lambda self, values: self.layer(values.value.mean(dim=1)).tanh())


@breaks("a_row_of_padding_does_not_matter", "the loss depends on padding")
def likelihood_scores_padding(patch):
    genuine = conformance.SequenceHead.forward

    def forward(self, parameters):
        likelihood = genuine(self, parameters)
        score = type(likelihood).log_prob

        class Padded(type(likelihood)):
            def log_prob(self, target):
                return score(self, Masked(target.value, torch.ones_like(target.mask)))

        return Padded(likelihood.loc, likelihood.log_scale, likelihood.length_logits)

    patch.setattr(conformance.SequenceHead, "forward", forward)


@breaks("shuffling_items_shuffles_codes", "codes do not follow their items")
def rows_sorted_by_length_and_left_so(patch):
    genuine = conformance._Ragged.forward

    def forward(self, values):
        return genuine(self, values.take(values.mask.sum(dim=1).argsort(descending=True)))

    patch.setattr(conformance._Ragged, "forward", forward)


@breaks("shuffling_items_shuffles_codes", "codes do not follow their items")
def features_scattered_to_the_first_places(patch):
    genuine = ExpertInference.forward

    def forward(self, features, present):
        evidence = genuine(self, features, present)
        for m in range(len(present)):
            packed = present[m].sort(descending=True, stable=True).indices
            evidence.experts.loc[m].copy_(evidence.experts.loc[m][packed])
        return evidence

    patch.setattr(ExpertInference, "forward", forward)


@breaks("neighbours_do_not_matter", "an item's code depends on its neighbours")
def features_centred_over_the_batch(patch):
    return with_networks(encoder=Centred)


@breaks("neighbours_do_not_matter", "an item's translation depends on its neighbours", count=1)
def decoder_centred_over_the_batch(patch):
    return with_networks(decoder=Centred)


@breaks("a_batch_of_one", "Expected more than 1 value per channel when training")
def batch_norm_in_the_encoder(patch):
    return with_networks(encoder=nn.LazyBatchNorm1d)


@breaks("a_batch_of_one", "not finite: gradients from a batch of one")
def standard_deviation_of_one_row(patch):
    return with_networks(encoder=Standardised)


@breaks("terms_are_per_item", "an item's loss depends on the batch it came in")
def mean_handed_to_every_item(patch):
    return with_terms(lambda terms, _: replace(terms, item_loss=terms.item_loss.mean().expand_as(terms.item_loss)))


@breaks("terms_are_per_item", r"term 'item_loss' has shape \(\), not \(9,\)")
def sum_in_place_of_items(patch):
    return with_terms(lambda terms, _: replace(terms, item_loss=terms.item_loss.sum()))


@breaks("terms_are_per_item", "an item's loss depends on the batch it came in")
def batch_norm_in_training(patch):
    return with_networks(encoder=nn.LazyBatchNorm1d)


@breaks("terms_are_per_item", "an item's loss depends on the batch it came in")
def noise_that_forgets_its_place(patch):
    patch.setattr(Noise, "_cut", lambda self, drawn, rows, like: drawn[:rows].to(like))


@breaks("terms_are_per_item", "an item's loss depends on the batch it came in")
def corruption_drawn_for_rows_that_are_there(patch):
    def corrupted(self, batch, noise):
        values = dict(batch.values)
        for name, corrupt in self.corruptions.items():
            if corrupt is not None:
                rows = len(values[name])

                def uniform(*shape, name=name, rows=rows):
                    return noise.uniform(f"corrupt/{name}", rows, *shape, like=torch.empty(0))

                values[name] = corrupt(values[name], uniform)
        return Batch(values, batch.present, batch.index)

    patch.setattr(MultimodalAutoencoder, "_corrupted", corrupted)


@breaks("every_item_has_draws_of_its_own", "one component was drawn for the whole batch", method="mopoe")
def component_drawn_once_for_the_batch(patch):
    genuine = Noise.gumbel
    patch.setattr(
        Noise,
        "gumbel",
        lambda self, name, rows, *shape, like: genuine(self, name, 1, *shape, like=like).expand(rows, *shape),
    )


@breaks("every_item_has_draws_of_its_own", "items of one batch share their draws")
def noise_drawn_once_for_the_batch(patch):
    genuine = Noise.normal
    patch.setattr(
        Noise,
        "normal",
        lambda self, name, rows, *shape, like: genuine(self, name, 1, *shape, like=like).expand(rows, *shape),
    )


# --- order of modalities --------------------------------------------------------------------------------------------


def partial_presence(self, names=None):
    return torch.stack(list(self.present.values()))


@breaks("order_of_modalities_is_free", "codes depend on the order of a batch's modalities", count=2)
def presence_in_the_order_of_the_batch(patch):
    patch.setattr(Batch, "presence", partial_presence)


class FirstIsBest(Fusion):
    """A mixture that weighs experts by their place."""

    def forward(self, experts):
        place = -torch.arange(len(experts.present), dtype=experts.loc.dtype)[:, None]
        log_weight = torch.where(experts.present, place, -torch.inf)
        # Where nothing is there, all experts are the prior.
        log_weight = torch.where(experts.present.any(dim=0), log_weight, 0.0).log_softmax(dim=0)
        members = torch.eye(len(experts.present), dtype=torch.bool)
        return Mixture(experts.loc, experts.log_scale, log_weight, members)


@breaks("order_of_modalities_is_free", "codes depend on the order of a model's modalities")
def experts_weighed_by_place(patch):
    return conformance.method_of_fusion(lambda names: FirstIsBest())


@breaks("order_of_modalities_is_free", "codes depend on the order of a model's modalities", method="mopoe", count=7)
def subsets_chosen_by_a_generator(patch):
    def chosen(modalities, count):
        members = torch.rand(count, len(modalities), generator=torch.Generator().manual_seed(0)) < 0.5
        members[: len(modalities)] = torch.eye(len(modalities), dtype=torch.bool)
        return members | ~members.any(dim=1, keepdim=True)

    patch.setattr(fusions, "chosen_subsets", chosen)


# --- one seed, one result; what is kept -----------------------------------------------------------------------------


@breaks("one_seed_gives_one_result", "two runs with one seed differ")
def noise_from_the_global_generator(patch):
    patch.setattr(Noise, "normal", lambda self, name, rows, *shape, like: torch.randn(rows, *shape).to(like))


@breaks("one_seed_gives_one_result", "another seed or step sees the same draws")
def noise_that_forgets_the_seed(patch):
    genuine = Noise._generator
    patch.setattr(Noise, "_generator", lambda self, name: genuine(replace(self, seed=0), name))


@breaks("one_seed_gives_one_result", "another seed or step sees the same draws")
def noise_that_forgets_the_step(patch):
    genuine = Noise._generator
    patch.setattr(Noise, "_generator", lambda self, name: genuine(replace(self, step=0), name))


class RandomFeatures(nn.Module):
    """A random projection that is no buffer, so nobody saves it."""

    def __init__(self):
        super().__init__()
        self.projection = torch.randn(16)

    def forward(self, x):
        return torch.cos(x.mean(dim=1, keepdim=True) * self.projection)


@breaks("save_then_load_changes_nothing", "loaded weights give other codes")
def state_in_a_plain_attribute(patch):
    return with_networks(encoder=RandomFeatures)


@breaks("save_then_load_changes_nothing", "loaded weights give other codes", method="fused")
def mean_code_that_is_not_saved(patch):
    genuine = PointInference.__init__

    def init(self, fusion, latent_dim):
        genuine(self, fusion, latent_dim)
        self.register_buffer("mean_code", torch.zeros(latent_dim), persistent=False)

    patch.setattr(PointInference, "__init__", init)


@breaks("float64_agrees", "a float64 number was rounded")
def float32_inside(patch):
    genuine = fusions.product_of_normals

    def product(loc, log_scale, use):
        single = genuine(loc.float(), log_scale.float(), use)
        return tuple(parameter.to(loc) for parameter in single)

    patch.setattr(fusions, "product_of_normals", product)


@breaks("float64_agrees", "float64 gives another loss")
def noise_drawn_in_the_precision_of_the_model(patch):
    def normal(self, name, rows, *shape, like):
        return torch.randn(rows, *shape, generator=self._generator(name), dtype=like.dtype)

    patch.setattr(Noise, "normal", normal)


# --- use and training -----------------------------------------------------------------------------------------------


@breaks("every_subset_encodes_and_decodes", "saw more than its sources")
def translation_that_peeks_at_its_target(patch):
    def translate(self, batch, source, target, noise=None, sample=False):
        return self.event(target, self.encode(batch).mean)

    patch.setattr(MultimodalAutoencoder, "translate", translate)


@breaks("every_subset_encodes_and_decodes", "lost rows")
def translation_of_items_that_have_the_target(patch):
    genuine = MultimodalAutoencoder.translate

    def translate(self, batch, source, target, noise=None, sample=False):
        event = genuine(self, batch, source, target)
        return take(event, batch.rows(target)) if target in batch.present else event

    patch.setattr(MultimodalAutoencoder, "translate", translate)


@breaks("every_subset_encodes_and_decodes", "KeyError")
def encoding_that_asks_for_every_modality(patch):
    def evidence(self, batch, noise=None):
        features = {name: self._features(name, batch.values[name]) for name in self.modalities}
        return self.inference(features, batch.presence(self.modalities))

    patch.setattr(MultimodalAutoencoder, "evidence", evidence)


@breaks("the_bound_is_below_the_evidence", "a bound lies above the evidence")
def bound_without_the_divergence(patch):
    def forget(terms, _):
        plain = sum(v for name, v in terms.per_item.items() if name.startswith("reconstruction/"))
        return replace(terms, bound=plain)

    return with_terms(forget)


@breaks("the_bound_is_below_the_evidence", "a bound lies above the evidence")
def sum_over_draws_in_place_of_their_mean(patch):
    patch.setattr(
        mixtures, "importance_weighted", lambda log_weight, draws: draws.expect(log_weight.logsumexp(dim=0)[None])
    )
    return partial(get_method("mmvae"), num_draws=8)


@breaks("a_few_steps_help", "explains the data worse: is its sign right")
def loss_of_the_wrong_sign(patch):
    return with_terms(lambda terms, _: replace(terms, item_loss=-terms.item_loss))


@breaks("a_few_steps_help", "training does not reach encoders.vector0")
def encoders_behind_a_detach(patch):
    genuine = MultimodalAutoencoder._features
    patch.setattr(MultimodalAutoencoder, "_features", lambda self, name, values: genuine(self, name, values).detach())


@breaks("a_few_steps_help", "training does not lower the loss")
def reconstruction_that_is_not_learnt(patch):
    genuine = TotalCorrelation.__call__

    def frozen(self, model, batch, step):
        terms = genuine(self, model, batch, step)
        return replace(terms, item_loss=terms.item_loss.detach() + 0 * terms.item_loss)

    patch.setattr(TotalCorrelation, "__call__", frozen)


def test_the_toy_presets_are_not_broken_by_themselves():
    # A mutant that a law catches for some other fault of its making would prove nothing.
    untouched = with_terms(lambda terms, _: terms)
    for law in CHECKS:
        assert run_check(law, untouched, 3)
        assert run_check(law, with_networks(encoder=nn.Identity, decoder=nn.Identity), 3)
    assert run_check("order_of_modalities_is_free", conformance.method_of_fusion(MixtureOfProducts), 7)
