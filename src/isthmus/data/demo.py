"""The demo's data: handwritten digits, the same digits spoken, and captions in two languages, as raw files with gaps.

The pictures are the 1,797 handwritten digits that come with scikit-learn (UCI Optical Recognition of Handwritten
Digits, Alpaydin & Kaynak 1998, CC BY 4.0). The sounds lie in `isthmus/assets`, spoken by a synthesiser; the README
there says how. They are written out as PNG, WAV and CSV, so that the demo walks the very path of a user's own table.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np

ENGLISH = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
CHINESE = "零一二三四五六七八九"
NUM_ITEMS = 1797  # what scikit-learn has
# Which picture comes when and in which split is the same for every seed and number of items: scores can be compared.
ORDER_SEED = 0


def write_demo(folder: Path, *, num_items: int = NUM_ITEMS, missing: float = 0.3, seed: int = 0) -> Path:
    """Write `digits.csv` and its pictures and sounds; takes a few seconds.

    Columns: `key`, `image` (16x16 grey PNG), `audio` (8 kHz WAV, 0.2 to 1 s), `caption` ("the digit seven" or
    "数字七", half each), `label` (0 to 9) and `split`; paths are relative to the CSV, a gap is a blank. Picture, sound
    and caption of one item share their digit and nothing else.

    Of every ten items eight are `train`, one `validation` and one `test`. The splits share no picture, no clip and no
    voice. Who wrote which digit is not told by the source, so that writers may occur in several splits.

    Args:
        folder: Made if need be; files of the same name are replaced.
        num_items: From 1 to 1,797. A smaller number gives the first items of a larger one.
        missing: Probability of a gap, for each cell by itself; an item that would lose all three keeps one by lot.
        seed: Of clips, languages and gaps. One seed writes the same files.

    Returns:
        Path of `digits.csv`.

    Raises:
        ValueError: `num_items` or `missing` is out of range.
    """
    if not 1 <= num_items <= NUM_ITEMS:
        raise ValueError(f"The demo has {NUM_ITEMS} handwritten digits, asked for num_items={num_items}.")
    folder = Path(folder)
    rng = np.random.default_rng(seed)
    spoken = spoken_digits()
    images, labels = _handwritten_digits()
    # All 1,797 are drawn and the first `num_items` kept, so that a small demo is the beginning of the whole one.
    present = draw_presence(rng, NUM_ITEMS, 3, missing)
    chinese = rng.random(NUM_ITEMS) < 0.5
    lots = rng.random(NUM_ITEMS)

    rows = []
    for item in range(num_items):
        key, digit, split = f"d{item:04d}", int(labels[item]), _split(item)
        image = audio = text = ""
        if present[item, 0]:
            image = write_png(folder, f"image/{key}.png", images[item])
        if present[item, 1]:
            pool = spoken.pool(digit, split)
            clip = spoken.clips[pool[int(lots[item] * len(pool))]]
            audio = write_wav(folder, f"audio/{key}.wav", clip, spoken.rate)
        if present[item, 2]:
            text = caption(digit, chinese=bool(chinese[item]))
        rows.append([key, image, audio, text, digit, split])
    return write_csv(folder / "digits.csv", ["key", "image", "audio", "caption", "label", "split"], rows)


@dataclass(frozen=True)
class SpokenDigits:
    """The packaged clips: `clips[i]` is float32 mono at `rate` Hz, says `label[i]` and is spoken by `voice[i]`."""

    clips: list[np.ndarray]
    label: np.ndarray
    voice: np.ndarray
    split: np.ndarray
    rate: int

    def pool(self, digit: int, split: str) -> np.ndarray:
        """Indices of the clips of a digit that belong to a split."""
        return np.flatnonzero((self.label == digit) & (self.split == split))


def spoken_digits() -> SpokenDigits:
    """The 1,440 spoken digits of the package: 24 voices, 8 accents, six takes of each digit by each voice.

    17 voices are for training, 3 for validation and 4 for testing.
    """
    import soundfile

    assets = files("isthmus") / "assets"
    with as_file(assets / "spoken_digits.ogg") as path:
        stream, rate = soundfile.read(path, dtype="float32")
    with (assets / "spoken_digits.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    starts, lengths = ([int(row[column]) for row in rows] for column in ("start", "length"))
    return SpokenDigits(
        clips=[stream[start : start + length] for start, length in zip(starts, lengths, strict=True)],
        label=np.array([int(row["digit"]) for row in rows]),
        voice=np.array([row["voice"] for row in rows]),
        split=np.array([row["split"] for row in rows]),
        rate=rate,
    )


def draw_presence(rng: np.random.Generator, num_items: int, num_modalities: int, missing: float) -> np.ndarray:
    """Which cells an item has: bool `(num_items, num_modalities)`, each False with probability `missing`.

    An item that would keep nothing keeps one modality, drawn by lot; the share of gaps is then
    `missing - missing**num_modalities / num_modalities`.

    Raises:
        ValueError: `missing` is not a probability.
    """
    if not 0 <= missing <= 1:
        raise ValueError(f"missing={missing} is not a probability; expected 0 (no gaps) to 1 (one cell an item).")
    present = rng.random((num_items, num_modalities)) >= missing
    kept = rng.integers(num_modalities, size=num_items)
    empty = ~present.any(axis=1)
    present[empty, kept[empty]] = True
    return present


def caption(digit: int, *, chinese: bool) -> str:
    """The words for a digit: "the digit seven" or "数字七"."""
    return f"数字{CHINESE[digit]}" if chinese else f"the digit {ENGLISH[digit]}"


def write_png(folder: Path, name: str, image: np.ndarray) -> str:
    """Write uint8 pixels `(H, W)` as a PNG under `folder` and return `name`, as a cell of the table holds it."""
    from PIL import Image

    Image.fromarray(image).save(_in(folder, name))
    return name


def write_wav(folder: Path, name: str, samples: np.ndarray, rate: int) -> str:
    """Write samples, int16 or float32 in [-1, 1], as 16-bit WAV under `folder` and return `name`."""
    import soundfile

    soundfile.write(_in(folder, name), samples, rate, format="WAV", subtype="PCM_16")
    return name


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    """Write a UTF-8 table and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
    return path


def _handwritten_digits() -> tuple[np.ndarray, np.ndarray]:
    """Pictures `(1797, 16, 16)` uint8 and labels `(1797,)`, in the demo's order."""
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(ORDER_SEED).permutation(NUM_ITEMS)
    grey = np.clip(digits.images[order] * 16, 0, 255).astype(np.uint8)  # from 0..16
    # Twice the source's 8x8: smooth pen lines that a person can read, where 8x8 shows blocks. Lanczos, the other
    # candidate, rings: grey halos on black paper.
    larger = [np.asarray(Image.fromarray(image).resize((16, 16), Image.Resampling.BICUBIC)) for image in grey]
    return np.stack(larger), digits.target[order]


def _split(item: int) -> str:
    """The items come in random order, so that their position may decide."""
    return {8: "validation", 9: "test"}.get(item % 10, "train")


def _in(folder: Path, name: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
