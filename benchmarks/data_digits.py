"""Write the digits benchmark as raw files: MNIST pictures, FSDD recordings and captions, paired by their digit.

    python benchmarks/data_digits.py DATA OUT [--train 10000 --test 2000 --missing 0.3 --seed 0]

DATA holds `mnist.npz` (`x_train`, `y_train`, `x_test`, `y_test`) and `fsdd/fsdd_5speakers.npz` (`wave`, `offsets`,
`label`, `take`, `sample_rate`): the Free Spoken Digit Dataset, 5 speakers x 10 digits x 50 takes.

OUT gets `digits.csv` with the columns key, image, audio, caption, label and split, PNG pictures and WAV sounds. The
`--train` items are split `train` but for every twentieth, which is `validation`. Splits share no picture and no
recording: MNIST's own test pictures and FSDD's official takes 0-4 are `test`; of takes 5-49, the first three are
`validation` and the rest `train`. The five speakers are the same in all. Each cell is missing with probability
`--missing`; an item that would lose all three keeps one by lot.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from isthmus.data.demo import caption, draw_presence, write_csv, write_png, write_wav

TAKES = {"test": range(5), "validation": range(5, 8), "train": range(8, 50)}


def write_digits(data: Path, out: Path, *, train: int, test: int, missing: float, seed: int) -> Path:
    """Write the files and return the path of `digits.csv`.

    Raises:
        ValueError: More items than MNIST has pictures.
    """
    rng = np.random.default_rng(seed)
    mnist = np.load(data / "mnist.npz")
    fsdd = np.load(data / "fsdd" / "fsdd_5speakers.npz")
    wave, offsets, rate = fsdd["wave"], fsdd["offsets"], int(fsdd["sample_rate"])
    pools = {
        (split, digit): np.flatnonzero((fsdd["label"] == digit) & np.isin(fsdd["take"], takes))
        for split, takes in TAKES.items()
        for digit in range(10)
    }

    rows = []
    for side, num_items in (("train", train), ("test", test)):
        pictures, labels = mnist[f"x_{side}"], mnist[f"y_{side}"]
        if num_items > len(pictures):
            raise ValueError(f"MNIST has {len(pictures)} pictures to {side} with, asked for {num_items}.")
        chosen = rng.choice(len(pictures), num_items, replace=False)
        present = draw_presence(rng, num_items, 3, missing)
        chinese = rng.random(num_items) < 0.5
        for item, picture in enumerate(chosen):
            split = "validation" if side == "train" and item % 20 == 19 else side
            key, digit = f"{side}-{item:05d}", int(labels[picture])
            take = rng.choice(pools[split, digit])
            image = audio = text = ""
            if present[item, 0]:
                image = write_png(out, f"image/{key}.png", pictures[picture])
            if present[item, 1]:
                audio = write_wav(out, f"audio/{key}.wav", wave[offsets[take] : offsets[take + 1]], rate)
            if present[item, 2]:
                text = caption(digit, chinese=bool(chinese[item]))
            rows.append([key, image, audio, text, digit, split])
    return write_csv(out / "digits.csv", ["key", "image", "audio", "caption", "label", "split"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with mnist.npz and fsdd/")
    parser.add_argument("out", type=Path)
    parser.add_argument("--train", type=int, default=10_000)
    parser.add_argument("--test", type=int, default=2_000)
    parser.add_argument("--missing", type=float, default=0.3)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print(
        write_digits(given.data, given.out, train=given.train, test=given.test, missing=given.missing, seed=given.seed)
    )


if __name__ == "__main__":
    main()
