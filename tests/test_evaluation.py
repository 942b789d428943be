from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
from torch import nn

from isthmus.batch import Batch, Masked
from isthmus.evaluation import Split, Target, evaluate
from isthmus.evaluation.codes import encode
from isthmus.evaluation.floors import nearest_rows
from isthmus.evaluation.scores import find
from isthmus.evaluation.study import Study
from isthmus.fusions import Mean, ProductOfExperts
from isthmus.kinds.base import pad
from isthmus.likelihoods import NormalHead, SequenceHead, TokensHead
from isthmus.likelihoods_table import TableColumn, TableHead
from isthmus.modality import Modality
from isthmus.model import MultimodalAutoencoder
from isthmus.testing.worlds import LinearGaussian

LISTS = ("routes", "retrieval", "likelihood", "probe", "clusters", "coherence")


def quadrants(num_items, seed, missing=0.2):
    """Items of a linear world in four groups, one to each corner of the plane, with gaps."""
    world = LinearGaussian(latent_dim=2, features={"image": 6, "audio": 5}, noise=0.05)
    rng = np.random.default_rng(seed)
    corner = rng.integers(0, 4, num_items)
    z = np.stack([corner % 2, corner // 2], axis=1) * 2 - 1 + rng.normal(size=(num_items, 2)) * 0.15
    values = {}
    for name, size in world.features.items():
        clean = torch.tensor(z) @ world.loading[name].T + world.offset[name]
        values[name] = clean + 0.05 * torch.tensor(rng.normal(size=(num_items, size)))
    gap = rng.random(num_items)
    present = {"image": torch.tensor(gap > missing), "audio": torch.tensor(gap < 1 - missing)}
    labels = ["ABCD"[c] for c in corner]
    return world, Split(Batch.from_dense(values, present), {"corner": labels})


def dense(size):
    return Target(encoder=lambda: nn.Sequential(nn.Linear(size, 16), nn.SiLU()))


TARGETS = {"image": dense(6), "audio": dense(5)}


@pytest.fixture(scope="module")
def known():
    """A model that knows its world exactly, and what evaluation says of it."""
    world, train = quadrants(600, seed=0)
    _, test = quadrants(300, seed=1)
    model = world.vae(ProductOfExperts(with_prior=True))
    told: list[str] = []
    result = evaluate(
        model,
        train,
        test,
        density=True,
        label="corner",
        targets=TARGETS,
        num_draws=16,
        judge_steps=150,
        progress=told.append,
    )
    return model, train, test, result, told


def test_a_model_that_knows_its_world_scores_as_such(known):
    _, _, test, result, told = known
    both = int((test.batch.presence().all(dim=0)).sum())
    assert result["notes"] == [] and told[0] == "reconstruction and translation"
    assert {(tuple(r["source"]), r["target"]) for r in result["routes"]} == {
        (("image",), "image"), (("audio",), "audio"), (("image",), "audio"), (("audio",), "image")
    }  # fmt: skip
    for route in result["routes"]:
        assert route["n"] == (
            both if route["source"] != [route["target"]] else result["items"]["present"]["test"][route["target"]]
        )
        assert route["error"] < 0.2 and route["floors"]["mean"] == pytest.approx(1, abs=0.05)
    for entry in result["retrieval"]:
        assert entry["n"] == both and entry["chance1"] == 1 / both
        assert entry["r10"] > 10 * entry["chance10"] and entry["precision1"] == 1
        assert set(entry["floors"]) == {"cca", "ridge"}
    for entry in result["coherence"]:
        assert entry["coherence"] == entry["coherence_drawn"] == entry["judge_accuracy"] == 1
        assert (
            0.5 < entry["variance_ratio"] < 1.5 and entry["frechet"] < 5 * result["judges"]["image"]["frechet_real"] + 1
        )
        assert entry["floors"]["nearest"] == 1 and entry["floors"]["majority"] < 0.5
    for entry in result["probe"]:
        assert entry["accuracy"] == entry["supervised"] == entry["floors"]["logistic_raw"] == 1
    assert [entry["source"] for entry in result["probe"]] == [["image", "audio"], ["image"], ["audio"]]
    assert result["clusters"][0]["accuracy"] == result["clusters"][0]["floors"]["scaled_kmeans"]["accuracy"] == 1
    assert result["joint"]["n"] == 300 and result["joint"]["coherence"] > 0.8


def test_likelihoods_are_those_of_the_world(known):
    _, _, test, result, _ = known
    world, _ = quadrants(1, seed=0)
    whole = {(tuple(e["source"]), tuple(e["target"])): e for e in result["likelihood"]}
    evidence = world.log_evidence(test.batch)
    joint = whole[(), ("image", "audio")]
    assert joint["n"] == 300 and joint["nats"] == pytest.approx(float(evidence.mean()), abs=0.02)
    assert joint["standard_error"] == pytest.approx(float(evidence.std()) / 300**0.5, rel=0.02)
    there = test.batch.presence().all(dim=0)
    conditional = (evidence - world.log_evidence(test.batch.only("image")))[there]
    told = whole[("image",), ("audio",)]
    assert told["n"] == int(there.sum()) and told["nats"] == pytest.approx(float(conditional.mean()), abs=0.02)
    assert told["nats"] > told["floors"]["marginal"] + 1


def of(split, name, beside=()):
    """Values `(n, F)` of the items that have a modality and those beside it, and of each of these."""
    names = (name, *beside)
    rows = split.batch.presence(names).all(dim=0).nonzero().squeeze(1)
    found = [split.batch.values[m][split.batch.slots(m)[rows]].numpy() for m in names]
    return found if beside else found[0]


def relative(prediction, wanted, train):
    """The error beside that of the mean of the training items."""
    return np.sqrt(((prediction - wanted) ** 2).sum() / ((train.mean(axis=0) - wanted) ** 2).sum())


@pytest.mark.parametrize(("source", "target"), [("image", "audio"), ("audio", "image"), ("image", "image")])
def test_the_floor_of_the_nearest_is_the_target_of_the_training_item_with_the_nearest_source(known, source, target):
    _, train, test, result, _ = known
    x, y = of(train, source, (target,))
    query, wanted = of(test, source, (target,))
    (route,) = [r for r in result["routes"] if r["source"] == [source] and r["target"] == target]
    expected = relative(y[nearest_rows(query, x)], wanted, of(train, target))
    assert route["floors"]["nearest"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", ["image", "audio"])
def test_the_floor_of_pca_is_what_as_many_components_as_the_code_has_numbers_leave(known, name):
    model, train, test, result, _ = known
    x, wanted = of(train, name), of(test, name)
    _, _, axes = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    axes = axes[: model.latent_dim]
    expected = relative(x.mean(axis=0) + (wanted - x.mean(axis=0)) @ axes.T @ axes, wanted, x)
    (route,) = [r for r in result["routes"] if r["source"] == [name] and r["target"] == name]
    assert route["floors"]["pca"] == pytest.approx(expected, rel=1e-9)


def test_floors_of_retrieval_find_partners_and_no_others(known):
    model, train, test, result, _ = known
    batch = test.batch
    order = torch.randperm(len(batch.values["audio"]), generator=torch.Generator().manual_seed(0))
    apart = Split(Batch({**batch.values, "audio": batch.values["audio"][order]}, batch.present))
    shuffled = evaluate(model, train, apart, density=False)
    for found, guessed in zip(result["retrieval"], shuffled["retrieval"], strict=True):
        for floor in ("cca", "ridge"):
            assert found["floors"][floor]["r10"] > 5 * found["chance10"]
            assert guessed["floors"][floor]["r10"] < 2 * guessed["chance10"]


def test_where_the_codes_of_a_modality_lie_as_a_whole_does_not_matter_to_retrieval(known):
    model, train, test, _, _ = known
    moved = copy.deepcopy(model)
    with torch.no_grad():
        moved.inference.heads["audio"].bias[: model.latent_dim] += 100
        own, other = (Study(m, train, test) for m in (model, moved))
        rows = own.with_all("test", ("image", "audio"))
        apart = other.code("test", ("audio",), rows) - own.code("test", ("audio",), rows)
        assert apart.min() > 50, "codes were not moved"
        for pair in (("image", "audio"), ("audio", "image")):
            before, after = find(own, *pair), find(other, *pair)
            assert (after["r1"], after["r10"]) == pytest.approx((before["r1"], before["r10"]))


def test_a_route_sees_its_source_alone(known):
    model, _, test, _, _ = known
    with torch.no_grad():
        alone = encode(model, test.batch, ("image",), seed=0)
        blind = encode(model, test.batch.drop("audio"), ("image", "audio"), seed=0)
        both = encode(model, test.batch, ("image", "audio"), seed=0)
    assert torch.equal(alone.rows, test.batch.rows("image")) and len(both.rows) == 300
    assert torch.equal(alone.mean, blind.mean) and torch.equal(alone.draw, blind.draw)
    assert not torch.allclose(alone.mean, both.at(alone.rows).mean)
    assert torch.equal(both.at(torch.tensor([7, 3])).mean, both.mean[[7, 3]])


def test_coherence_with_shuffled_labels_is_chance(known):
    model, train, test, _, _ = known
    rng = np.random.default_rng(0)
    shuffled = Split(test.batch, {"corner": list(rng.permutation(test.labels["corner"]))})
    result = evaluate(model, train, shuffled, density=False, label="corner", targets=TARGETS, judge_steps=150)
    assert result["likelihood"] == [] and result["joint"] == {}
    for entry in result["coherence"]:
        assert entry["coherence"] == pytest.approx(0.25, abs=0.12)


def test_one_seed_one_result_and_the_model_is_left_as_it_was(known):
    model, train, test, result, _ = known
    model.train()
    again = evaluate(model, train, test, density=True, label="corner", targets=TARGETS, num_draws=16, judge_steps=150)
    assert model.training
    assert json.dumps(again, allow_nan=False) == json.dumps(result, allow_nan=False)


def test_without_a_label_there_are_no_scores_by_label(known):
    model, train, test, _, _ = known
    result = evaluate(model, train, test, density=False)
    assert result["routes"] and result["retrieval"] and "precision1" not in result["retrieval"][0]
    assert all(not result[name] for name in ("judges", "probe", "clusters", "coherence", "joint"))


def test_without_networks_there_are_probes_but_no_judges(known):
    model, train, test, _, _ = known
    result = evaluate(model, train, test, density=False, label="corner")
    assert result["judges"] == {} and result["coherence"] == []
    assert result["probe"][0]["accuracy"] == 1 and result["probe"][0]["supervised"] is None
    assert "'image' has no judge" in result["notes"][0]


def test_large_splits_are_cut_and_this_is_said(known):
    model, train, test, _, _ = known
    result = evaluate(model, train, test, density=False, max_train=100, max_test=50)
    assert (result["items"]["train"], result["items"]["train_used"]) == (600, 100)
    assert (result["items"]["test"], result["items"]["test_used"]) == (300, 50)
    assert result["notes"][0] == "Of 600 training items, 100 drawn at random were used."


def test_a_typo_in_the_label_is_answered(known):
    model, train, test, _, _ = known
    with pytest.raises(ValueError, match=r"There is no label column 'cornre'.*Did you mean 'corner'\?"):
        evaluate(model, train, test, density=False, label="cornre")


def test_a_label_that_groups_nothing_is_said_so(known):
    model, train, test, _, _ = known
    own = [Split(split.batch, {"name": [f"item {i}" for i in range(len(split.batch))]}) for split in (train, test)]
    result = evaluate(model, *own, density=False, label="name")
    assert result["probe"] == [] and "0 values that two or more training items share" in result["notes"][0]


def test_items_without_a_label_or_of_an_unseen_class_are_left_out_of_label_scores(known):
    model, train, test, _, _ = known
    labels = [None if i < 20 else "new" if i < 50 else label for i, label in enumerate(test.labels["corner"])]
    study = Study(model, train, Split(test.batch, {"corner": labels}), label="corner")
    assert study.classes == ["A", "B", "C", "D"]
    assert study.labelled("test", study.names).tolist() == list(range(50, 300))


def test_a_split_holds_labels_of_all_items(known):
    _, train, _, _, _ = known
    with pytest.raises(ValueError, match=r"3 entries of 'corner' for 600 items"):
        Split(train.batch, {"corner": ["A"] * 3})


def test_no_common_modality_is_an_error(known):
    model, train, test, _, _ = known
    with pytest.raises(ValueError, match=r"Training items have image, test items audio; the model knows image, audio"):
        evaluate(model, Split(train.batch.only("image")), Split(test.batch.only("audio")), density=False)


def test_a_modality_that_no_test_item_has_is_left_out(known):
    model, train, test, _, _ = known
    result = evaluate(model, train, Split(test.batch.drop("audio")), density=True, num_draws=4)
    assert [(r["source"], r["target"]) for r in result["routes"]] == [(["image"], "image")]
    assert result["notes"] == ["'audio' is missing in all training or all test items and was left out."]


# --- every shape of values, through an untrained model ----------------------------------------------------------------

COLUMNS = (TableColumn("wing", "normal"), TableColumn("habitat", "categorical", 3))


class Flat(nn.Module):
    """Features of anything, padding left out."""

    def __init__(self, width):
        super().__init__()
        self.layer = nn.Linear(width, 8)

    def forward(self, values):
        if isinstance(values, Masked):
            mask = values.mask.view(*values.mask.shape, *[1] * (values.value.dim() - values.mask.dim()))
            values = (values.value * mask).float()
            values = values.sum(dim=1) if values.dim() == 3 else values
            values = torch.nn.functional.pad(values, (0, self.layer.in_features - values.shape[1]))
        return torch.relu(self.layer(values.flatten(1)))


class Two(nn.Module):
    """Frames `(R, 6, 2)` and lengths `(R, 6)`."""

    def __init__(self, width):
        super().__init__()
        self.frames, self.lengths = nn.Linear(width, 12), nn.Linear(width, 6)

    def forward(self, z):
        return self.frames(z).view(len(z), 6, 2), self.lengths(z)


def mixed(num_items, seed):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 3, num_items)
    text = [np.array([*[c + 1] * rng.integers(1, 4), 0]) for c in label]
    values = {
        "image": torch.tensor(rng.random((num_items, 1, 4, 4)) + label[:, None, None, None], dtype=torch.float32),
        "audio": pad([rng.normal(size=(rng.integers(1, 7), 2)).astype(np.float32) + c for c in label]),
        "text": pad(text),
        "table": Masked(
            torch.tensor(np.stack([rng.normal(size=num_items), label], axis=1), dtype=torch.float32),
            torch.tensor(rng.random((num_items, 2)) > 0.2),
        ),
    }
    present = {name: torch.tensor(rng.random(num_items) > 0.3) for name in values}
    return Split(Batch.from_dense(values, present), {"class": [str(c) for c in label]}, [*range(num_items)])


def spell(values):
    """Cells of the text modality."""
    return ["".join("_abc"[i] for i in row[mask] if i) for row, mask in zip(values.value, values.mask, strict=True)]


def reshaped(width, *shape):
    return nn.Sequential(nn.Linear(width, 16), nn.Unflatten(1, shape))


def mixed_model(split, fusion):
    torch.manual_seed(0)

    def build(name, width, decoder, head):
        rows = split.batch.take(torch.arange(20)).values[name]
        return Modality(lambda: Flat(width), decoder, head, rows, num_dimensions=width)

    modalities = {
        "image": build("image", 16, lambda w: reshaped(w, 1, 4, 4), NormalHead),
        "audio": build("audio", 2, Two, SequenceHead),
        "text": build("text", 4, lambda w: reshaped(w, 4, 4), lambda: TokensHead(0)),
        "table": build("table", 2, lambda w: nn.Linear(w, 4), lambda: TableHead(COLUMNS)),
    }
    targets = {
        name: Target(modality.encoder, spell if name == "text" else None, COLUMNS if name == "table" else ())
        for name, modality in modalities.items()
    }
    return MultimodalAutoencoder(modalities, latent_dim=3, fusion=fusion), targets


@pytest.mark.parametrize(("fusion", "density"), [(ProductOfExperts(with_prior=False), True), (Mean, False)])
def test_all_shapes_of_values_are_scored(fusion, density):
    train, test = mixed(120, seed=0), mixed(60, seed=1)
    model, targets = mixed_model(train, fusion)
    result = evaluate(model, train, test, density=density, label="class", targets=targets, num_draws=4, judge_steps=60)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    # Each of four targets from itself, three others, and all others.
    assert len(result["routes"]) == 4 * 5 and len(result["retrieval"]) == len(result["coherence"]) == 12
    # Everything; each alone; each given three others, and given all of them.
    assert len(result["likelihood"]) == (1 + 4 * (1 + 4) if density else 0)
    assert bool(result["joint"]) == density
    assert {name: judge["judge"] for name, judge in result["judges"].items()} == {
        "image": "network", "audio": "network", "text": "words", "table": "network"
    }  # fmt: skip
    for route in result["routes"]:
        wanted = {"mean", "nearest"} | ({"ridge"} if route["source"] != [route["target"]] else {"pca"})
        assert set(route["floors"]) == wanted - ({"pca"} if route["target"] == "text" else set())
    (table,) = (r for r in result["routes"] if r["source"] == ["image"] and r["target"] == "table")
    wing, habitat = table["columns"]
    assert set(wing["floors_r"]) == {"mean", "nearest", "ridge"} and "r" not in habitat
    assert habitat["floors"]["ridge"] < 0.3 < habitat["error"]
    assert all(entry["frechet"] >= 0 for entry in result["coherence"])
