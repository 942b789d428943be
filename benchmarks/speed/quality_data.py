"""The two data sets of quality at equal time, as tensors that every library takes, and as tables that Isthmus reads.

`polydigits` are five pictures of each digit, complete. `digits` are those of `data_digits.py`: a picture, a recording
and a caption of each, of which 30 % of cells are missing. Its tensors are what the kinds of Isthmus make of the files:
pictures `(1, 28, 28)`; levels of mel bands `(1, T, C)` from 0, silence, to 1, with silence behind the end; and captions
as one-hot characters `(L, V)`, filled up with an end. No peer reads files or takes rows of unequal length; one-hot rows
with categorical likelihoods both do. Isthmus on its own networks is trained on its own reading of the table.

Shapes: `N` items.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peers_networks import Task, digits, pictures
from polydigits import polydigits
from results import hash_of
from torch import Tensor
from torch.nn.functional import one_hot

from isthmus.batch import Masked, Values
from isthmus.data.prepare import Prepared
from isthmus.estimator import Autoencoder
from isthmus.kinds.audio import RANGE_DB, AudioKind
from isthmus.kinds.base import Kind

VERSION = 1  # of what is made: raise it where arrays change
NAMES = ("polydigits", "digits")
PARTS = ("train", "test")
ROLES: dict[str, Any] = {"key": "key", "split": "split", "label": "label"}
MISSING = 0.3  # of the cells of digits
END = "|"  # of a caption; arrays of strings would lose blanks at their end


@dataclass(frozen=True)
class Recipe:
    """Which data set, and how much of it.

    Args:
        name: One of `NAMES`.
        train: Items to train with. Isthmus on its own networks looks at validation items too: every twentieth of
            `digits`, which nobody trains with then, and as many more of `polydigits`.
        test: Items to score on.
    """

    name: str
    train: int
    test: int


@dataclass(frozen=True)
class Part:
    """Items of one split.

    Args:
        values: By modality float32 `(N, ...)`, zeros in gaps.
        present: By modality bool `(N,)`.
        labels: Digits `(N,)`.
    """

    values: Mapping[str, Tensor]
    present: Mapping[str, Tensor]
    labels: np.ndarray

    def with_all(self, names: Sequence[str]) -> Tensor:
        """Items that have all of `names`."""
        return torch.stack([self.present[name] for name in names]).all(dim=0).nonzero().squeeze(1)

    def at(self, rows: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """Some modalities of some items."""
        return {name: self.values[name][rows] for name in names}

    @property
    def complete(self) -> bool:
        return all(bool(there.all()) for there in self.present.values())


@dataclass(frozen=True)
class Data:
    """A data set.

    Args:
        recipe: What it is.
        task: Shapes and the networks that all share.
        parts: By name.
        alphabet: Characters of captions, the end last; empty without captions.
        table: What `Autoencoder` reads.
        kinds: Of its columns, where they are not to be guessed.
        folder: What belongs to this data set is kept here.
    """

    recipe: Recipe
    task: Task
    parts: Mapping[str, Part]
    alphabet: str
    table: Any
    kinds: Mapping[str, str]
    folder: Path

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.task.shapes)

    def texts(self, characters: Tensor) -> list[str]:
        """Captions of one-hot characters or their logits `(N, L, V)`."""
        return [
            "".join(self.alphabet[place] for place in row).partition(END)[0]
            for row in characters.argmax(dim=2).tolist()
        ]

    def tensor(self, name: str, values: Values, kind: Kind) -> Tensor:
        """Normalised values, as a model of Isthmus decodes them, as the tensors that all share."""
        shape = self.task.shapes[name]
        if name in self.task.texts:
            ids = characters(kind.cells(values), self.alphabet, shape[0])
            return one_hot(torch.from_numpy(ids).long(), shape[1]).float()
        if isinstance(values, Masked):
            assert isinstance(kind, AudioKind)
            return spectrograms(levels(values, kind), shape[1])
        return values.float()


def load(recipe: Recipe, source: Path, work: Path) -> Data:
    """A data set, made from `mnist.npz` and `fsdd/` in `source` and kept in `work`."""
    folder = work / f"{recipe.name}-{hash_of({'version': VERSION, **asdict(recipe)})}"
    file = folder / "data.npz"
    if not file.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        made: dict[str, Any] = (_polydigits if recipe.name == "polydigits" else _digits)(recipe, source, folder)
        unfinished = folder / "unfinished.npz"
        np.savez(unfinished, **made)
        unfinished.rename(file)
    with np.load(file) as archive:
        arrays = dict(archive)
    alphabet = str(arrays.pop("alphabet"))
    parts = _parts(arrays, alphabet)
    if recipe.name == "polydigits":
        task = pictures()
        return Data(recipe, task, parts, alphabet, _columns(arrays), dict.fromkeys(task.shapes, "image"), folder)
    frames, bands = arrays["test/audio"].shape[2:]
    task = digits(frames, bands, arrays["test/caption"].shape[1], len(alphabet))
    return Data(recipe, task, parts, alphabet, folder / "files" / "digits.csv", {}, folder)


def _parts(arrays: Mapping[str, np.ndarray], alphabet: str) -> dict[str, Part]:
    found = {}
    for part in PARTS:
        names = [key.split("/")[1] for key in arrays if key.startswith(f"{part}/")]
        values, present = {}, {}
        for name in names:
            rows = torch.from_numpy(arrays[f"{part}/{name}"])
            there = torch.from_numpy(arrays[f"present/{part}/{name}"])
            dense = one_hot(rows.long(), len(alphabet)).float() if rows.dim() == 2 else rows.float() / 255
            values[name], present[name] = torch.where(there.view(-1, *[1] * (dense.dim() - 1)), dense, 0.0), there
        found[part] = Part(values, present, arrays[f"labels/{part}"])
    return found


# --- five pictures of a digit -----------------------------------------------------------------------------------------


def _polydigits(recipe: Recipe, source: Path, folder: Path) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {"alphabet": np.array("")}
    made = {
        part: polydigits(source / "mnist.npz", part, size)
        for part, size in (("train", recipe.train + recipe.train // 20), ("test", recipe.test))
    }
    for split, part, rows in (
        ("train", "train", slice(recipe.train)),
        ("validation", "train", slice(recipe.train, None)),
        ("test", "test", slice(None)),
    ):
        values, labels = made[part]
        found[f"labels/{split}"] = labels[rows]
        for number, x in enumerate(values.values()):
            found[f"{split}/m{number}"] = x[rows]
            found[f"present/{split}/m{number}"] = np.ones(len(labels[rows]), dtype=bool)
    return found


def _columns(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The table of all items."""
    splits = ("train", "validation", "test")
    labels = {split: arrays[f"labels/{split}"] for split in splits}
    columns = {name: np.concatenate([arrays[f"{split}/{name}"] for split in splits]) for name in pictures().shapes}
    return {
        "key": list(range(sum(map(len, labels.values())))),
        **columns,
        "label": np.concatenate(list(labels.values())).tolist(),
        "split": [split for split in splits for _ in labels[split]],
    }


# --- written, spoken, in words ----------------------------------------------------------------------------------------


def _digits(recipe: Recipe, source: Path, folder: Path) -> dict[str, np.ndarray]:
    words = {"train": recipe.train, "test": recipe.test, "missing": MISSING}
    script = Path(__file__).resolve().parents[1] / "data_digits.py"
    told = [f"--{name}={value}" for name, value in words.items()]
    subprocess.run(
        [sys.executable, str(script), str(source), str(folder / "files"), *told], check=True, stdout=sys.stderr
    )
    prepared = Autoencoder(**ROLES, accelerator="cpu").prepare_fit(folder / "files" / "digits.csv")
    audio, caption = prepared.kinds["audio"], prepared.kinds["caption"]
    assert isinstance(audio, AudioKind)
    texts = [str(text) for text in caption.cells(prepared.batch(prepared.rows("train")).values["caption"])]
    alphabet = "".join(sorted({character for text in texts for character in text})) + END
    length, frames = max(map(len, texts)) + 1, 8 * -(-audio.max_frames_ // 8)
    found: dict[str, np.ndarray] = {"alphabet": np.array(alphabet)}
    for part in PARTS:
        rows = prepared.rows(part)
        batch = prepared.batch(rows)
        seen, sounds = batch.values["image"], batch.values["audio"]
        assert isinstance(seen, Tensor) and isinstance(sounds, Masked)
        stored = {
            "image": (seen * 255).round().to(torch.uint8).numpy(),
            "audio": (spectrograms(levels(sounds, audio), frames) * 255).round().to(torch.uint8).numpy(),
            "caption": characters(caption.cells(batch.values["caption"]), alphabet, length),
        }
        for name, own in stored.items():
            there = batch.present[name].numpy()
            found[f"present/{part}/{name}"] = there
            found[f"{part}/{name}"] = np.zeros((len(rows), *own.shape[1:]), dtype=np.uint8)
            found[f"{part}/{name}"][there] = own
        found[f"labels/{part}"] = labels_of(prepared, rows)
    return found


def labels_of(prepared: Prepared, rows: Tensor) -> np.ndarray:
    """Digits of some rows of a table."""
    cells = prepared.table["label"]
    return np.array([int(cells[row]) for row in rows.tolist()])


def levels(values: Masked, kind: AudioKind) -> Masked:
    """Levels of bands as the audio kind normalises them, `(N, t, C)`, from 0 to 1."""
    mean, std = torch.tensor(kind.mean_), torch.tensor(kind.std_)
    return Masked(((values.value.float() * std + mean + RANGE_DB) / RANGE_DB).clamp(0, 1), values.mask)


def spectrograms(values: Masked, frames: int) -> Tensor:
    """Levels `(N, t, C)` as `(N, 1, frames, C)`, silence behind the end of each."""
    silent = values.value.masked_fill(~values.mask[..., None], 0.0)[:, :frames]
    return torch.nn.functional.pad(silent, (0, 0, 0, frames - silent.shape[1]))[:, None]


def characters(texts: Sequence[str], alphabet: str, length: int) -> np.ndarray:
    """Places of characters in the alphabet, uint8 `(N, length)`, filled up with the end; strange ones are the end."""
    place = {character: number for number, character in enumerate(alphabet)}
    end = len(alphabet) - 1
    found = np.full((len(texts), length), end, dtype=np.uint8)
    for row, text in zip(found, texts, strict=True):
        known = [place.get(character, end) for character in text[: length - 1]]
        row[: len(known)] = known
    return found
