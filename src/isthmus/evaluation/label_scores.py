"""Scores that ask for a label: judges, probes, clusters, coherence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from isthmus.batch import Values
from isthmus.evaluation import coherence, probes
from isthmus.evaluation.codes import decode
from isthmus.evaluation.features import flat_features
from isthmus.evaluation.floors import PCA
from isthmus.evaluation.study import Study
from isthmus.noise import Noise


def scores(study: Study, sampler: Callable[[int, Noise], Tensor] | None, say: Callable[[str], None]) -> dict[str, Any]:
    """All scores by label; empty ones where there is no label to score by."""
    if not study.classes:
        return {"judges": {}, "probe": [], "clusters": [], "coherence": [], "joint": {}}
    result: dict[str, Any] = {}
    say("judges")
    result["judges"] = judges(study)
    say("probes")
    result["probe"] = [entry for names in _sources(study) if (entry := probe(study, names))]
    result["clusters"] = [entry for entry in [clusters(study)] if entry]
    say("coherence")
    pairs = [(s, t) for s in study.names for t in study.names if s != t or len(study.names) == 1]
    result["coherence"] = [entry for source, target in pairs if (entry := coherent(study, source, target))]
    result["joint"] = joint(study, sampler) if sampler is not None else {}
    return result


def _sources(study: Study) -> list[tuple[str, ...]]:
    """All that an item has, and each modality alone."""
    alone: list[tuple[str, ...]] = [(name,) for name in study.names]
    return [study.names, *alone] if len(alone) > 1 else alone


def judges(study: Study) -> dict[str, Any]:
    """Who judges each modality, how often it is right on real test cells, and the Frechet distance of real test cells
    from real training cells: what a perfect generator would have.
    """
    found: dict[str, Any] = {}
    for name in study.names:
        judge = study.judge(name)
        if judge is None:
            study.notes.append(f"'{name}' has no judge, for want of labelled training cells or of a network to train.")
            continue
        entry = {"judge": judge.name, "accuracy": judge.accuracy, "n": judge.n, "frechet_real": None}
        if judge.network is not None:
            real = (judge.network.features(study.values(part, name)) for part in ("train", "test"))
            entry["frechet_real"] = coherence.frechet_distance(*real)
        found[name] = entry
    return found


def probe(study: Study, names: tuple[str, ...]) -> dict[str, Any] | None:
    """A linear probe of the code from `names`, beside logistic regression on the cells themselves, PCA of the code's
    width, the commonest class, and supervised networks; None where no test item has a label.
    """
    train, test = study.labelled("train", names), study.labelled("test", names)
    labels, labels_test = study.labels["train"][train], study.labels["test"][test]
    if not len(train) or not len(test):
        return None
    plain = study.plain(names[0], 32) if len(names) == 1 else {part: study.filled(part) for part in study.splits}
    x, x_test = plain["train"][train], plain["test"][test]
    pca = PCA.fit(x, study.model.code_dim)
    code, code_test = study.code("train", names, train), study.code("test", names, test)
    return {
        "source": list(names),
        "label": study.label,
        "n": len(test),
        "accuracy": probes.code_probe(code, labels, code_test, labels_test),
        "floors": {
            "majority": probes.majority(labels, labels_test),
            "logistic_raw": probes.raw_probe(x, labels, x_test, labels_test),
            "pca": probes.code_probe(pca(x), labels, pca(x_test), labels_test),
        },
        "supervised": supervised(study, names, test),
    }


def supervised(study: Study, names: tuple[str, ...], rows: np.ndarray) -> float | None:
    """Accuracy of the supervised networks of `names`; log-probabilities are added where an item has several."""
    total = np.zeros((len(rows), len(study.classes)))
    for name in names:
        judge = study.judge(name)
        if judge is None or judge.network is None:
            return None
        there = study.present["test"][name][rows]
        total[there] += judge.network.log_prob(study.values("test", name, rows[there]))
    return coherence.agreement(total.argmax(axis=1), study.labels["test"][rows])


def clusters(study: Study) -> dict[str, Any] | None:
    """k-means of the code from all that items have, and of the modalities themselves, scaled and side by side."""
    train, test = (study.labelled(part, study.names) for part in ("train", "test"))
    if not len(train) or not len(test):
        return None
    codes = study.code("train", study.names, train), study.code("test", study.names, test)
    labels, count = study.labels["test"][test], len(study.classes)
    floor = probes.cluster(study.filled("train")[train], study.filled("test")[test], labels, count, study.seed)
    return {
        "source": list(study.names),
        "label": study.label,
        "n": len(test),
        **probes.cluster(*probes.standardised(*codes), labels, count, study.seed),
        "floors": {"scaled_kmeans": floor},
    }


def coherent(study: Study, source: str, target: str) -> dict[str, Any] | None:
    """Whether translations show the class of their item, and vary as real cells do; None without judge or items.

    `coherence` is of the translation that a user gets by default, from the code's mean; the rest is of one draw from
    the posterior of each item, as a mean has less variance than the data by its nature.
    """
    judge, rows = study.judge(target), study.labelled("test", [source])
    if judge is None or not len(rows):
        return None
    labels = study.labels["test"][rows]
    floors = {"majority": probes.majority(study.labels["train"][study.labels["train"] >= 0], labels)}
    near = study.nearest_train((source,), target)
    if len(near):
        floors["nearest"] = coherence.agreement(judge.predict(study.values("train", target, near[rows])), labels)
    drawn = study.translate((source,), target, rows, True)
    return {
        "source": source,
        "target": target,
        "n": len(rows),
        "coherence": coherence.agreement(judge.predict(study.translate((source,), target, rows)), labels),
        "coherence_drawn": coherence.agreement(judge.predict(drawn), labels),
        **likeness(study, target, drawn, labels),
        "judge_accuracy": judge.accuracy,
        "floors": floors,
    }


def likeness(study: Study, name: str, values: Values, labels: np.ndarray) -> dict[str, float | None]:
    """Frechet distance of generated cells from the real test cells, and their variance within classes over the real."""
    judge, real = study.judge(name), study.values("test", name)
    frechet = None
    if judge is not None and judge.network is not None:
        frechet = coherence.frechet_distance(judge.network.features(values), judge.network.features(real))
    measure = study.measure(name)
    generated, wanted = measure.dense(values), measure.dense(real)
    if generated is None or wanted is None:
        features = flat_features(study.values("train", name), study.targets[name].columns)
        generated, wanted = features(values), features(real)
    real_labels = study.labels["test"][study.present["test"][name]]
    return {"frechet": frechet, "variance_ratio": coherence.variance_ratio(generated, labels, wanted, real_labels)}


def joint(study: Study, sampler: Callable[[int, Noise], Tensor]) -> dict[str, Any]:
    """New items, as many as test items: whether their modalities agree in class, and look like real ones."""
    judged = {name: judge for name in study.names if (judge := study.judge(name)) is not None}
    if not judged:
        return {}
    z = sampler(len(study.splits["test"].batch), Noise(study.seed)).detach().cpu()
    cells = {name: decode(study.model, name, z) for name in judged}
    seen = {name: judge.predict(cells[name]) for name, judge in judged.items()}
    return {
        "n": len(z),
        "coherence": coherence.joint_agreement(np.stack(list(seen.values()))),
        "modalities": {name: likeness(study, name, cells[name], seen[name]) for name in judged},
    }
