"""One model, two splits of items, and what several scores share, each computed once.

Shapes: `N` items of a split, `n` items asked for, `F` features, `D` latent dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, TypeVar, cast

import numpy as np
import torch

from isthmus.batch import Batch, Values, take
from isthmus.evaluation import coherence
from isthmus.evaluation.codes import Codes, decode, encode
from isthmus.evaluation.features import Target, flat_features
from isthmus.evaluation.floors import VIEW_WIDTH, Components, Scaling, fill_gaps, joined, nearest_rows
from isthmus.evaluation.judges import NetworkJudge, WordJudge, train_judge, word_judge
from isthmus.evaluation.measures import Measure, fit_measure
from isthmus.model import MultimodalAutoencoder
from isthmus.suggest import nearest

MAX_CLASSES = 200
# Free text need not name its class in a word; below this share of training texts a network judges it instead.
WORDS_SUFFICE = 0.95

PARTS = ("train", "test")
F = TypeVar("F", bound=Callable[..., Any])


def once(method: F) -> F:
    """A method of `Study` whose answer is kept per arguments, for as long as the study lives."""

    @wraps(method)
    def remembered(self: Study, *arguments: Any) -> Any:
        key = (method.__name__, *arguments)
        if key not in self.memory:
            self.memory[key] = method(self, *arguments)
        return self.memory[key]

    return cast(F, remembered)


@dataclass(frozen=True)
class Split:
    """Items of one part of the data.

    Args:
        batch: Normalised values of all items.
        labels: Per label column, one text or None per item.
        keys: Names the items; empty if they have none.

    Raises:
        ValueError: A column does not have one entry per item.
    """

    batch: Batch
    labels: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    keys: Sequence[Any] = ()

    def __post_init__(self) -> None:
        for name, column in {**self.labels, **({"keys": self.keys} if len(self.keys) else {})}.items():
            if len(column) != len(self.batch):
                raise ValueError(
                    f"Split got {len(column)} entries of '{name}' for {len(self.batch)} items. "
                    "Expected one per item, None where there is none."
                )

    def sample(self, size: int, seed: int) -> Split:
        """At most `size` items at random, in their order."""
        if len(self.batch) <= size:
            return self
        generator = torch.Generator().manual_seed(seed)
        rows = torch.randperm(len(self.batch), generator=generator)[:size].sort().values
        kept = rows.tolist()
        labels = {name: [column[row] for row in kept] for name, column in self.labels.items()}
        return Split(self.batch.take(rows), labels, [self.keys[row] for row in kept] if len(self.keys) else ())


@dataclass(frozen=True)
class Judge:
    """Who says what class a modality's cells show, and how often this is right on `n` real test cells.

    Args:
        network: The supervised network of the modality; judges where there are no words, and gives features.
        words: Judges texts.
        accuracy: Of whoever judges.
        n: Labelled test cells.
    """

    network: NetworkJudge | None
    words: WordJudge | None
    accuracy: float | None
    n: int

    @property
    def name(self) -> str:
        return "words" if self.words else "network"

    def predict(self, values: Values) -> np.ndarray:
        judge = self.words or self.network
        assert judge is not None
        return judge.predict(values)


class Study:
    """What `evaluate` was given (see there), and what its scores are made of; they read it and do not change it.

    `networks` are those of judges, by modality, that were trained on the same items before; others are trained.

    Raises:
        ValueError: No such label column, or no modality with training and test items.
    """

    def __init__(
        self,
        model: MultimodalAutoencoder,
        train: Split,
        test: Split,
        *,
        label: str | None = None,
        targets: Mapping[str, Target] | None = None,
        seed: int = 0,
        max_train: int = 10_000,
        max_test: int = 5_000,
        judge_steps: int = 500,
        networks: Mapping[str, NetworkJudge] | None = None,
    ):
        self.networks = dict(networks or {})
        self.model, self.seed, self.label, self.judge_steps = model, seed, label, judge_steps
        self.memory: dict[Any, Any] = {}
        self.notes: list[str] = []
        self.sizes = {"train": len(train.batch), "test": len(test.batch)}
        if label is not None and (label not in train.labels or label not in test.labels):
            known = [name for name in train.labels if name in test.labels]
            raise ValueError(
                f"There is no label column '{label}'. Label columns are {', '.join(known) or 'none'}."
                f"{nearest(label, known)}"
            )
        self.splits = {"train": train.sample(max_train, seed), "test": test.sample(max_test, seed)}
        for part, name in (("train", "training"), ("test", "test")):
            used = len(self.splits[part].batch)
            if used < self.sizes[part]:
                self.notes.append(f"Of {self.sizes[part]} {name} items, {used} drawn at random were used.")
        held = [[m for m in split.batch if split.batch.present[m].any()] for split in self.splits.values()]
        self.names = tuple(name for name in model.modalities if name in held[0] and name in held[1])
        if not self.names:
            raise ValueError(
                f"No modality has both training and test items. Training items have {', '.join(held[0]) or 'nothing'}, "
                f"test items {', '.join(held[1]) or 'nothing'}; the model knows {', '.join(model.modalities)}."
            )
        for name in model.modalities:
            if name not in self.names:
                self.notes.append(f"'{name}' is missing in all training or all test items and was left out.")
        self.targets = {name: (targets or {}).get(name, Target()) for name in self.names}
        self.present = {
            part: {name: split.batch.present[name].cpu().numpy() for name in self.names}
            for part, split in self.splits.items()
        }
        self.classes, self.labels = self._read_labels()

    def _read_labels(self) -> tuple[list[str], dict[str, np.ndarray]]:
        """Classes, and per split their numbers `(N,)`: -1 without a label, or of a class not seen twice in training."""
        labels = {part: np.full(len(split.batch), -1) for part, split in self.splits.items()}
        if self.label is None:
            return [], labels
        columns = {part: split.labels[self.label] for part, split in self.splits.items()}
        texts, counts = np.unique([str(cell) for cell in columns["train"] if cell is not None], return_counts=True)
        classes = [str(text) for text in texts[counts > 1]]
        if not 2 <= len(classes) <= MAX_CLASSES:
            self.notes.append(
                f"Label '{self.label}' has {len(classes)} values that two or more training items share; scores by "
                f"label need 2 to {MAX_CLASSES}. Choose a column that puts items into groups."
            )
            return [], labels
        number = {text: c for c, text in enumerate(classes)}
        for part, column in columns.items():
            labels[part] = np.array([-1 if cell is None else number.get(str(cell), -1) for cell in column])
        return classes, labels

    # --- which items ----------------------------------------------------------------------------------------------

    def with_all(self, part: str, names: Sequence[str]) -> np.ndarray:
        """Items that have all of `names`, in order."""
        return np.logical_and.reduce([self.present[part][name] for name in names]).nonzero()[0]

    def with_any(self, part: str, target: str, sources: Sequence[str]) -> np.ndarray:
        """Items that have the target and at least one source."""
        some = np.logical_or.reduce([self.present[part][name] for name in sources])
        return (some & self.present[part][target]).nonzero()[0]

    def labelled(self, part: str, names: Sequence[str]) -> np.ndarray:
        """Items with a label and at least one of `names`."""
        some = np.logical_or.reduce([self.present[part][name] for name in names])
        return (some & (self.labels[part] >= 0)).nonzero()[0]

    def values(self, part: str, name: str, rows: np.ndarray | None = None) -> Values:
        """Values of the items `rows`, which must all have the modality; by default of all that have it."""
        batch = self.splits[part].batch
        return (
            batch.values[name] if rows is None else take(batch.values[name], batch.slots(name)[torch.as_tensor(rows)])
        )

    # --- of the model ---------------------------------------------------------------------------------------------

    @once
    def codes(self, part: str, names: tuple[str, ...]) -> Codes:
        """Codes from the modalities `names`, of the items that have one of them."""
        return encode(self.model, self.splits[part].batch, names, self.seed)

    def code(self, part: str, names: tuple[str, ...], rows: np.ndarray) -> np.ndarray:
        """Mean codes `(n, D)`, what modalities share, of the items `rows`, which must all have one of `names`."""
        codes = self.codes(part, names).at(torch.as_tensor(rows)).mean
        code: np.ndarray = self.model.shared(codes).double().numpy()
        return code

    @once
    def _decoded(self, sources: tuple[str, ...], target: str, drawn: bool) -> Values:
        codes = self.codes("test", sources)
        return decode(self.model, target, codes.draw if drawn else codes.mean)

    def translate(self, sources: tuple[str, ...], target: str, rows: np.ndarray, drawn: bool = False) -> Values:
        """The target of test items `rows`, decoded from their codes' means, or from one draw each."""
        known = self.codes("test", sources).rows.numpy()
        return take(self._decoded(sources, target, drawn), torch.as_tensor(np.searchsorted(known, rows)))

    # --- without the model ----------------------------------------------------------------------------------------

    @once
    def measure(self, name: str) -> Measure:
        return fit_measure(self.values("train", name), self.targets[name].columns)

    @once
    def plain(self, name: str, side: int) -> dict[str, np.ndarray]:
        """Plain features `(N, F)` per split, zeros in gaps; on one scale, or each on its own (`Scaling`)."""
        features = flat_features(self.values("train", name), self.targets[name].columns, side)
        flat = {part: features(self.values(part, name)) for part in PARTS}
        scaling = Scaling.fit(flat["train"], features.same_unit)
        full = {part: np.zeros((len(self.present[part][name]), flat[part].shape[1])) for part in PARTS}
        for part in PARTS:
            full[part][self.present[part][name]] = scaling(flat[part])
        return full

    @once
    def view(self, name: str) -> dict[str, np.ndarray]:
        """Plain features pooled, reduced to `VIEW_WIDTH` components of total variance one; zeros in gaps."""
        plain = self.plain(name, 16)
        there = plain["train"][self.present["train"][name]]
        components = Components.fit(there, VIEW_WIDTH)
        return {part: np.where(self.present[part][name][:, None], components(plain[part]), 0.0) for part in PARTS}

    def views(self, part: str, names: Sequence[str]) -> np.ndarray:
        """Views side by side, zeros in gaps."""
        return joined({name: self.view(name)[part] for name in names}, names)

    @once
    def filled(self, part: str) -> np.ndarray:
        """All views side by side, each gap filled from the nearest training items."""
        views = {p: {name: self.view(name)[p] for name in self.names} for p in PARTS}
        return joined(fill_gaps(views[part], self.present[part], views["train"], self.present["train"]), self.names)

    @once
    def nearest_train(self, sources: tuple[str, ...], target: str) -> np.ndarray:
        """For every test item, the training item with the target whose sources are nearest; empty if there is none."""
        rows = self.with_any("train", target, sources)
        if not len(rows):
            return rows
        return rows[nearest_rows(self.views("test", sources), self.views("train", sources)[rows])]

    # --- judges ---------------------------------------------------------------------------------------------------

    @once
    def judge(self, name: str) -> Judge | None:
        """Trained on the real training cells of a modality that have a label; None where there cannot be one."""
        train, test = self.labelled("train", [name]), self.labelled("test", [name])
        labels, target = self.labels["train"][train], self.targets[name]
        if len(np.unique(labels)) < 2:
            return None
        values = self.values("train", name, train)
        network, words = self.networks.get(name), None
        if network is None and target.encoder is not None:
            network = train_judge(
                target.encoder,
                values,
                labels,
                len(self.classes),
                seed=self.seed,
                device=self.model.device,
                num_steps=self.judge_steps,
            )
        cells = target.cells(values) if target.cells is not None else []
        if cells and all(isinstance(cell, str) for cell in cells):
            reader = word_judge(cells, labels, target.cells)
            if (reader.read(cells) == labels).mean() >= WORDS_SUFFICE:
                words = reader
        if network is None and words is None:
            return None
        judge = Judge(network, words, None, len(test))
        accuracy = coherence.agreement(judge.predict(self.values("test", name, test)), self.labels["test"][test])
        return Judge(network, words, accuracy, len(test))
