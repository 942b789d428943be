"""Scores of a trained model, the same for every library: judged translations, their distance from real cells, probes.

A model answers in the tensors of `quality_data.py`. Judges are networks trained on real training items, and for
captions the words that name a digit; they are trained once and kept. Of every route, from one modality to another or
from all others to one, those test items count that have all of its sources.

Shapes: `N` items, `D` dimensions of a code.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from quality_data import Data
from results import hash_of
from safetensors.torch import load_file
from torch import Tensor

from isthmus.evaluation.coherence import agreement, frechet_distance
from isthmus.evaluation.judges import Network, NetworkJudge, train_judge, word_judge
from isthmus.evaluation.probes import code_probe
from isthmus.saving import save_tensors

SEED, NUM_CLASSES = 0, 10
JUDGE_STEPS = 1000
MAX_PROBED = 5_000  # training items that a probe is fitted on


class Model(ABC):
    """What is asked of a trained model. Items are named by their place in a part of the data."""

    @abstractmethod
    def codes(self, part: str, names: Sequence[str], rows: Tensor) -> Tensor:
        """Mean codes `(N, D)` of what modalities share, from `names` alone."""

    @abstractmethod
    def translate(self, names: Sequence[str], targets: Sequence[str], rows: Tensor, drawn: bool) -> dict[str, Tensor]:
        """Targets of test items from the modalities `names` alone: means of `p(x | z)`, logits of texts.

        Args:
            names: Sources.
            targets: Modalities.
            rows: Test items.
            drawn: Codes are draws from the posterior, as each library draws them, else its means.
        """


# --- judges -----------------------------------------------------------------------------------------------------------

See = Callable[[Tensor], np.ndarray]


@dataclass(frozen=True)
class Judge:
    """Says what digit a cell shows.

    Args:
        predict: Tensors `(N, ...)` to digits, -1 where none is seen.
        features: What the last layer of its network sees; None for captions, which words judge.
    """

    predict: See
    features: See | None = None


def judges(data: Data, folder: Path, steps: int = JUDGE_STEPS) -> dict[str, Judge]:
    """One for each modality, from `folder`; those that are not there yet are trained and put there."""
    return {name: _judge(data, name, folder, steps) for name in data.names}


def _judge(data: Data, name: str, folder: Path, steps: int) -> Judge:
    train = data.parts["train"]
    rows = train.with_all([name])
    values, labels = train.values[name][rows], train.labels[rows.numpy()]
    if name in data.task.texts:
        words = word_judge(data.texts(values), labels)
        return Judge(lambda cells: words.read(data.texts(cells)))
    build = partial(data.task.encoder, data.task.shapes[name])
    file = folder / f"judge-{name}-{hash_of({'steps': steps, 'seed': SEED})}.safetensors"
    if file.is_file():
        network = Network(build(), values[:2], NUM_CLASSES)
        network.load_state_dict(load_file(file))
        judge = NetworkJudge(network.eval(), torch.device("cpu"))
    else:
        judge = train_judge(build, values, labels, NUM_CLASSES, seed=SEED, device=torch.device("cpu"), num_steps=steps)
        save_tensors(file, judge.network.state_dict())
    return Judge(judge.predict, judge.features)


def real(data: Data, judged: Mapping[str, Judge]) -> dict[str, dict[str, float]]:
    """By modality, what no method can be asked to surpass: real test cells, judged, and their Frechet distance from
    real training cells.
    """
    found = {}
    for name, judge in judged.items():
        cells = {part: data.parts[part].values[name][data.parts[part].with_all([name])] for part in ("train", "test")}
        labels = data.parts["test"].labels[data.parts["test"].with_all([name]).numpy()]
        found[name] = {"coherence": _percent(agreement(judge.predict(cells["test"]), labels))}
        if judge.features is not None:
            found[name]["frechet"] = _rounded(frechet_distance(*map(judge.features, cells.values())))
    return found


# --- scores -----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def own_draws() -> Iterator[None]:
    """One seed for whoever draws, by torch or by numpy; a training that goes on draws as if nothing had been."""
    state = np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        np.random.seed(SEED)
        try:
            yield
        finally:
            np.random.set_state(state)


def scores(model: Model, data: Data, judged: Mapping[str, Judge]) -> dict[str, Any]:
    """Means over routes and targets, and each of them.

    Returns:
        `coherence`, percent of drawn cells that show the digit of their source, from one other modality;
        `coherence_of_rest`, from all others; `coherence_of_means`, as `coherence` without drawing; `frechet`, of drawn
        cells from real test cells, from one other modality, the mean over targets that a network judges; `probe` and
        `probe_of_all`, percent of digits that a linear probe reads from the code of one modality and of all together.
    """
    names, routes = data.names, {}
    with own_draws():
        for source in names:
            others = [name for name in names if name != source]
            drawn = _judged(model, data, judged, [source], others, drawn=True)
            means = _judged(model, data, judged, [source], others, drawn=False)
            for target in others:
                routes[f"{source}->{target}"] = {**drawn[target], "coherence_of_means": means[target]["coherence"]}
        rest = {}
        for target in names:
            sources = [name for name in names if name != target]
            rest[target] = _judged(model, data, judged, sources, [target], drawn=True)[target]["coherence"]
        probed = {name: _probed(model, data, [name]) for name in names}
        of_all = _probed(model, data, names)

    def over(figure: str) -> float:
        return _rounded(mean(route[figure] for route in routes.values() if figure in route))

    return {
        "coherence": over("coherence"),
        "coherence_of_rest": _rounded(mean(rest.values())),
        "coherence_of_means": over("coherence_of_means"),
        "frechet": over("frechet"),
        "probe": _rounded(mean(probed.values())),
        "probe_of_all": of_all,
        "routes": routes,
        "rest": rest,
        "probes": probed,
    }


def _judged(
    model: Model,
    data: Data,
    judged: Mapping[str, Judge],
    sources: Sequence[str],
    targets: Sequence[str],
    drawn: bool,
) -> dict[str, dict[str, float]]:
    """By target, coherence, and for what was drawn the Frechet distance."""
    test = data.parts["test"]
    rows = test.with_all(sources)
    cells = model.translate(sources, targets, rows, drawn)
    found = {}
    for name in targets:
        judge = judged[name]
        found[name] = {"coherence": _percent(agreement(judge.predict(cells[name]), test.labels[rows.numpy()]))}
        if drawn and judge.features is not None:
            there = test.values[name][test.with_all([name])]
            distance = frechet_distance(judge.features(cells[name]), judge.features(there))
            found[name]["frechet"] = _rounded(distance)
    return found


def _probed(model: Model, data: Data, names: Sequence[str]) -> float:
    """Of the items that have all of `names`."""
    sides = []
    for part in ("train", "test"):
        rows = data.parts[part].with_all(names)[:MAX_PROBED]
        sides += [model.codes(part, names, rows).double().numpy(), data.parts[part].labels[rows.numpy()]]
    return _percent(code_probe(*sides))


def _percent(share: float | None) -> float:
    assert share is not None
    return _rounded(100 * share)


def _rounded(figure: float | None) -> float:
    """With five digits, as more would be noise."""
    assert figure is not None
    return float(f"{figure:.5g}")
