"""Score one trained run of the benchmark of methods, or the floors of its data set, as a process of its own.

    python benchmarks/method_scores.py TABLE JUDGES OUT [--run RUN]

With `--run`, writes the scores of the run's model to OUT, without it the floors. Judges are trained once, kept in
JUDGES, and the same for all. Shares are in percent, likelihoods in nats; what is not defined is null.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from method_rows import SCORING
from safetensors.torch import load_file
from torch import Tensor, nn

from isthmus.batch import Values, take
from isthmus.data.prepare import Prepared
from isthmus.estimator import Autoencoder, load
from isthmus.evaluation import Split, Target, label_scores
from isthmus.evaluation.coherence import agreement
from isthmus.evaluation.judges import Network, NetworkJudge, train_judge
from isthmus.evaluation.likelihood import log_evidence, mean_and_error
from isthmus.evaluation.scores import find_pairs
from isthmus.evaluation.study import Study
from isthmus.kinds.base import Kind
from isthmus.noise import Noise
from isthmus.saving import save_tensors, write_json

ROLES = {"key": "key", "split": "split", "label": "label"}
CPU = torch.device("cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description="Score a run of the benchmark of methods, or its floors.")
    parser.add_argument("table", type=Path)
    parser.add_argument("judges", type=Path, help="folder that keeps the judges")
    parser.add_argument("out", type=Path)
    parser.add_argument("--run", type=Path)
    given = parser.parse_args()
    if given.run is None:
        untrained = Autoencoder(**ROLES, accelerator="cpu")
        prepared = untrained.prepare_fit(given.table)
        found = floors(make_study(untrained, prepared, given.judges), untrained.kinds_)
    else:
        model = load(given.run, device=CPU)
        found = scores(make_study(model, model.prepare(given.table), given.judges), model)
    write_json(given.out, found)


def make_study(model: Autoencoder, prepared: Prepared, folder: Path) -> Study:
    """The model and the data, with judges from `folder`; those not there yet are trained and put there."""
    train, test = (_split(prepared, part) for part in ("train", "test"))
    targets = {
        name: replace(Target.from_kind(kind), encoder=partial(Seen, kind, SCORING["judge_width"]))
        for name, kind in model.kinds_.items()
    }
    files = {name: folder / f"{name}.safetensors" for name in targets}
    num_classes = len(set(train.labels["label"]))
    networks = {
        name: _read_judge(file, targets[name].encoder, train.batch.values[name], num_classes)
        for name, file in files.items()
        if file.is_file()
    }
    study = Study(
        model.model.eval(),
        train,
        test,
        label="label",
        targets=targets,
        seed=SCORING["seed"],
        judge_steps=SCORING["judge_steps"],
        networks=networks,
    )
    folder.mkdir(parents=True, exist_ok=True)
    for name in files.keys() - networks.keys():
        save_tensors(files[name], study.judge(name).network.network.state_dict())
    return study


def _split(prepared: Prepared, part: str) -> Split:
    rows = prepared.rows(part)
    cells = prepared.table["label"]
    return Split(prepared.batch(rows), {"label": [str(cells[row]) for row in rows.tolist()]})


def _read_judge(file: Path, encoder: Callable[[], nn.Module], values: Values, num_classes: int) -> NetworkJudge:
    network = Network(encoder(), take(values, torch.arange(2)), num_classes)
    network.load_state_dict(load_file(file))
    return NetworkJudge(network.eval(), CPU)


class Seen(nn.Module):
    """A kind's encoder, which sees training cells as they are shown to encoders: pictures a few pixels off."""

    def __init__(self, kind: Kind, width: int):
        super().__init__()
        self.kind, self.encoder = kind, kind.encoder(width)
        self.noise, self.step = Noise(SCORING["seed"]), 0

    def forward(self, values: Values) -> Any:
        if self.training:
            self.step += 1
            values = self.kind.corrupt(values, lambda *shape: self._uniform(len(values), *shape))
        return self.encoder(values)

    def _uniform(self, *shape: int) -> Tensor:
        return self.noise.uniform(f"supervised/{self.step}", *shape, like=torch.zeros(1))


# --- a trained model --------------------------------------------------------------------------------------------------


@torch.no_grad()
def scores(study: Study, model: Autoencoder) -> dict[str, Any]:
    """All that the benchmark says of one model."""
    able = model.method_.capabilities
    found = label_scores.scores(study, model.model.draw if able.generative else None, lambda part: None)
    return tidy(
        {
            "routes": {
                _route(entry): {
                    "coherence": percent(entry["coherence_drawn"]),
                    "coherence_of_means": percent(entry["coherence"]),
                    "frechet": entry["frechet"],
                    "variance": entry["variance_ratio"],
                }
                for entry in found["coherence"]
            },
            "joint": _joint(found["joint"]),
            "probe": {_source(study, entry): percent(entry["accuracy"]) for entry in found["probe"]},
            "retrieval": {_route(entry): _recall(entry) for entry in find_pairs(study)},
            "likelihood": likelihood(study) if able.density else None,
        }
    )


def _joint(found: Mapping[str, Any]) -> dict[str, Any] | None:
    """New items: whether all of one agree, and for each modality how like real ones they are."""
    if not found:
        return None
    like = {
        name: {"frechet": entry["frechet"], "variance": entry["variance_ratio"]}
        for name, entry in found["modalities"].items()
    }
    return {"coherence": percent(found["coherence"]), **like}


def likelihood(study: Study) -> dict[str, float]:
    """`log p` of all that an item has, in nats: the mean over some test items, and its standard error."""
    batch = study.splits["test"].sample(SCORING["likelihood_items"], study.seed).batch
    nats = log_evidence(study.model, batch, study.names, SCORING["likelihood_draws"], study.seed)
    return mean_and_error(nats)


# --- floors -----------------------------------------------------------------------------------------------------------


@torch.no_grad()
def floors(study: Study, kinds: Mapping[str, Kind]) -> dict[str, Any]:
    """What needs no method: networks trained for one route alone, nearest neighbours, linear algebra, real cells.

    No part of this looks at the study's model but for the width of its code, which PCA gets too.
    """
    found = label_scores.scores(study, None, lambda part: None)
    pairs = find_pairs(study)
    return tidy(
        {
            "supervised": {f"{s}->{t}": supervised(study, kinds[s], s, t) for s, t in permutations(study.names, 2)},
            "nearest": {_route(entry): percent(entry["floors"]["nearest"]) for entry in found["coherence"]},
            "judge": {name: percent(entry["accuracy"]) for name, entry in found["judges"].items()},
            "frechet": {name: entry["frechet_real"] for name, entry in found["judges"].items()},
            "probe": {
                name: {_source(study, entry): percent(entry["floors"][name]) for entry in found["probe"]}
                for name in ("logistic_raw", "pca")
            }
            | {"supervised": {_source(study, entry): percent(entry["supervised"]) for entry in found["probe"]}},
            "cca": {_route(entry): _recall(entry["floors"]["cca"]) for entry in pairs},
        }
    )


def supervised(study: Study, kind: Kind, source: str, target: str) -> float | None:
    """A network told the digit of `source`, trained on the items that have both modalities: all that a method may
    learn this route from. Its encoder is the methods' own and sees training cells as theirs do. In percent, of the
    test items that have the source, as coherence is.
    """
    pairs = np.intersect1d(study.labelled("train", [source]), study.with_all("train", [source, target]))
    judge = train_judge(
        partial(Seen, kind, Autoencoder().width),
        study.values("train", source, pairs),
        study.labels["train"][pairs],
        len(study.classes),
        seed=study.seed,
        device=CPU,
        num_steps=SCORING["judge_steps"],
    )
    rows = study.labelled("test", [source])
    return percent(agreement(judge.predict(study.values("test", source, rows)), study.labels["test"][rows]))


# --- figures ----------------------------------------------------------------------------------------------------------


def percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def tidy(found: Any) -> Any:
    """Numbers with five digits, as more would be noise; None for what is not finite, which JSON cannot hold."""
    if isinstance(found, dict):
        return {name: tidy(entry) for name, entry in found.items()}
    if isinstance(found, float):
        return float(f"{found:.5g}") if math.isfinite(found) else None
    return found


def _route(entry: Mapping[str, Any]) -> str:
    return f"{entry['source']}->{entry['target']}"


def _source(study: Study, entry: Mapping[str, Any]) -> str:
    return "all" if tuple(entry["source"]) == study.names else entry["source"][0]


def _recall(entry: Mapping[str, Any]) -> dict[str, float | None]:
    return {name: percent(entry[name]) for name in ("r1", "r10", "precision1")}


if __name__ == "__main__":
    main()
