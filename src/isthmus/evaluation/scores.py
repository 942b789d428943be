"""All scores of a trained model, as one dictionary of plain numbers, words and lists."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from isthmus.batch import Values, concatenate, take
from isthmus.evaluation import label_scores, retrieval
from isthmus.evaluation.features import Target, row_chunks
from isthmus.evaluation.floors import PCA, VIEW_WIDTH, Ridge, nearest_rows
from isthmus.evaluation.likelihood import log_evidence, mean_and_error
from isthmus.evaluation.measures import Measure, TableMeasure
from isthmus.evaluation.study import Split, Study
from isthmus.model import MultimodalAutoencoder
from isthmus.noise import Noise

VERSION = 1
MAX_MODALITIES_WITH_ALL_PAIRS = 6


def evaluate(
    model: MultimodalAutoencoder,
    train: Split,
    test: Split,
    *,
    density: bool,
    label: str | None = None,
    targets: Mapping[str, Target] | None = None,
    sampler: Callable[[int, Noise], Tensor] | None = None,
    seed: int = 0,
    num_draws: int = 64,
    max_train: int = 10_000,
    max_test: int = 5_000,
    max_likelihood: int = 500,
    judge_steps: int = 500,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Score a model on the test items; floors, judges and probes are fitted on the training items.

    Args:
        model: A trained model; it is put in eval mode meanwhile.
        train: Items it was trained on.
        test: Items it has not seen.
        density: Its posterior has a density, so likelihoods can be estimated.
        label: Column of `labels` for probes, clusters, judges and coherence; None leaves these out.
        targets: What is known of each modality beside its values.
        sampler: Draws `(rows, D)` codes of new items; None draws from the model's prior if it has a `density`, and
            scores no new items if not.
        seed: Of everything that is drawn.
        num_draws: `K` of the likelihoods.
        max_train: Training items used at most, drawn at random; the result says how many.
        max_test: Test items used at most.
        max_likelihood: Test items whose likelihood is estimated at most.
        judge_steps: Of training a judge, at most.
        progress: Told in a word what is being done.

    Returns:
        A dictionary that JSON can hold. Lists `routes`, `retrieval`, `likelihood`, `probe`, `clusters`, `coherence`
        have one entry per score, with its `n` items and its `floors`; a score that is not defined is None. `judges`
        and `joint` are dictionaries; `notes` says in words what was left out.

    Raises:
        ValueError: No such label column, or no modality with training and test items.
    """
    say = progress or (lambda _: None)
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            study = Study(
                model,
                train,
                test,
                label=label,
                targets=targets,
                seed=seed,
                max_train=max_train,
                max_test=max_test,
                judge_steps=judge_steps,
            )
            result: dict[str, Any] = {"version": VERSION, "label": label, "items": items(study)}
            say("reconstruction and translation")
            result["routes"] = routes(study)
            say("retrieval")
            result["retrieval"] = find_pairs(study)
            say("likelihood")
            result["likelihood"] = likelihoods(study, num_draws, max_likelihood) if density else []
            draw = model.prior.sample if sampler is None and density else sampler
            result |= label_scores.scores(study, draw, say)
            result["notes"] = study.notes
    finally:
        model.train(was_training)
    return result


def items(study: Study) -> dict[str, Any]:
    """How many items there were and were used, and how many have each modality."""
    used = {f"{part}_used": len(split.batch) for part, split in study.splits.items()}
    counts = {part: {name: int(held.sum()) for name, held in there.items()} for part, there in study.present.items()}
    return {**study.sizes, **used, "present": counts}


# --- reconstruction and translation -----------------------------------------------------------------------------------


def routes(study: Study) -> list[dict[str, Any]]:
    """The error of every target from itself, from each other modality alone, and from all others."""
    entries = []
    for target in study.names:
        others = tuple(name for name in study.names if name != target)
        sources: list[tuple[str, ...]] = [(target,), *((name,) for name in others)]
        if len(others) > 1:
            sources.append(others)
        entries += [entry for source in sources if (entry := route(study, source, target))]
    return entries


def route(study: Study, sources: tuple[str, ...], target: str) -> dict[str, Any] | None:
    """One route, over the test items that have the target and a source; None where there is none."""
    rows = study.with_any("test", target, sources)
    if not len(rows):
        return None
    measure, wanted = study.measure(target), study.values("test", target, rows)
    own = measure.score(study.translate(sources, target, rows), wanted)
    floors = {
        name: measure.score(prediction, wanted)
        for name, prediction in floor_predictions(study, sources, target).items()
    }
    if isinstance(measure, TableMeasure):
        for c, column in enumerate(own["columns"]):
            column["floors"] = {name: score["columns"][c]["error"] for name, score in floors.items()}
            if "r" in column:
                column["floors_r"] = {name: score["columns"][c]["r"] for name, score in floors.items()}
    return {
        "source": list(sources),
        "target": target,
        "n": len(rows),
        "metric": measure.metric,
        **own,
        "floors": {name: score["error"] for name, score in floors.items()},
    }


def floor_predictions(study: Study, sources: tuple[str, ...], target: str) -> dict[str, Values]:
    """What needs no network and says the target of the test items of a route.

    `mean`, a constant; `nearest`, the target of the training item whose sources are nearest; `ridge`, linear regression
    on the sources; for a modality from itself `pca`, with as many numbers as the code has.
    """
    measure = study.measure(target)
    rows, train_rows = (study.with_any(part, target, sources) for part in ("test", "train"))
    floors = {"mean": measure.constant(len(rows))}
    if len(train_rows) < 2:
        return floors
    floors["nearest"] = study.values("train", target, study.nearest_train(sources, target)[rows])
    dense = measure.dense(study.values("train", target, train_rows))
    if sources == (target,):
        if dense is not None:
            pca = PCA.fit(dense, study.model.shared_dim + study.model.private_dim)
            del dense  # as large as all training values in float64
            floors["pca"] = restored(measure, pca, coded(measure, pca, study.values("test", target, rows)))
        return floors
    x, x_test = study.views("train", sources)[train_rows], study.views("test", sources)[rows]
    if dense is not None:
        pca = PCA.fit(dense, VIEW_WIDTH)
        floors["ridge"] = restored(measure, pca, Ridge.fit(x, pca(dense))(x_test))
    else:
        # Linear algebra cannot write: it predicts the features of a text, and the nearest training text is taken.
        y = study.view(target)["train"][train_rows]
        floors["ridge"] = study.values("train", target, train_rows[nearest_rows(Ridge.fit(x, y)(x_test), y)])
    return floors


def coded(measure: Measure, pca: PCA, values: Values) -> np.ndarray:
    """Components `(n, k)` of values that have a dense form, some rows at a time: it takes twice their memory."""
    parts = []
    for rows in _chunks(len(values), pca):
        dense = measure.dense(take(values, rows))
        assert dense is not None
        parts.append(pca(dense))
    return np.concatenate(parts)


def restored(measure: Measure, pca: PCA, code: np.ndarray) -> Values:
    """Values of components `(n, k)`, some rows at a time."""
    return concatenate([measure.restore(pca.inverse(code[rows.numpy()])) for rows in _chunks(len(code), pca)])


def _chunks(num_rows: int, pca: PCA) -> list[Tensor]:
    return [torch.arange(num_rows)[rows] for rows in row_chunks(num_rows, len(pca.mean))]


# --- retrieval --------------------------------------------------------------------------------------------------------


def find_pairs(study: Study) -> list[dict[str, Any]]:
    """Recall of every modality by every other, among the test items that have both."""
    pairs = [(source, target) for source in study.names for target in study.names if source != target]
    return [entry for source, target in pairs if (entry := find(study, source, target))]


def find(study: Study, source: str, target: str) -> dict[str, Any] | None:
    """Recall of the target's codes by the source's, of the test items that have both; None where there is none.

    Cosine of codes less their training mean: where a modality lies as a whole says nothing of an item.
    """
    rows, pairs = (study.with_all(part, (source, target)) for part in ("test", "train"))
    if not len(rows):
        return None
    train = {name: study.codes("train", (name,)) for name in (source, target)}
    centre = [study.code("train", (name,), codes.rows.numpy()).mean(axis=0) for name, codes in train.items()]
    embeddings = {
        "": (study.code("test", (source,), rows) - centre[0], study.code("test", (target,), rows) - centre[1])
    }
    if len(pairs) > 1:
        (x, query), (y, candidates) = (
            (study.view(name)["train"][pairs], study.view(name)["test"][rows]) for name in (source, target)
        )
        embeddings |= retrieval.floor_embeddings(x, y, query, candidates, study.model.code_dim)
    labels = study.labels["test"][rows]
    scores = {name: retrieval.scores(*embedding, labels) for name, embedding in embeddings.items()}
    return {
        "source": source,
        "target": target,
        "n": len(rows),
        **scores.pop(""),
        "chance1": 1 / len(rows),
        "chance10": min(10, len(rows)) / len(rows),
        "floors": scores,
    }


# --- likelihood -------------------------------------------------------------------------------------------------------


def likelihoods(study: Study, num_draws: int, max_items: int) -> list[dict[str, Any]]:
    """`log p` in nats of all that an item has, of each modality, and of each target given others (`log_evidence`).

    The floor of a conditional is `log p(x_target)` over the same items, which knows nothing of the source.
    """
    batch = study.splits["test"].sample(max_items, study.seed).batch.only(*study.names)

    def evidence(target: Sequence[str], source: Sequence[str] = ()) -> Tensor:
        return log_evidence(study.model, batch, target, num_draws, study.seed, source)

    def entry(source: Sequence[str], target: Sequence[str], there: Tensor, nats: Tensor) -> dict[str, Any]:
        measured = {"n": int(there.sum()), "num_draws": num_draws, **mean_and_error(nats[there])}
        return {"source": list(source), "target": list(target), **measured}

    some = batch.presence().any(dim=0).cpu()
    entries = [entry([], study.names, some, evidence(study.names))] if some.any() else []
    for target in study.names if len(study.names) > 1 else ():
        others = [name for name in study.names if name != target]
        there, marginal = batch.present[target].cpu(), evidence([target])
        if there.any():
            entries.append(entry([], [target], there, marginal))
        alone = [[name] for name in others] if len(study.names) <= MAX_MODALITIES_WITH_ALL_PAIRS else []
        for source in [*alone, others] if len(others) > 1 else [others]:
            both = there & batch.presence(source).any(dim=0).cpu()
            if both.any():
                conditional = entry(source, [target], both, evidence([target], source))
                entries.append({**conditional, "floors": {"marginal": float(marginal[both].mean())}})
    return entries
