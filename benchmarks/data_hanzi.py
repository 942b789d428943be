"""Write the hanzi benchmark as raw files: Chinese characters seen, spoken, written, explained and counted.

    python benchmarks/data_hanzi.py DATA OUT

DATA holds `hanzi/hanzi.csv` and `hanzi/hanzi.npz` (see there for their sources and licences). OUT gets `hanzi.csv` and

    image/*.png   64x64 grey, ink = 255
    audio/*.wav   the character spoken, 8 kHz, 0.3 to 1.9 s
    pen/*.npy     float32 (T, 3), the pen's way in writing order: x, y (y upwards, in 1/1024 of the square, as in the
                  source) and lift, which is 1 at the last point of each stroke, else 0
    mp3/*.mp3     the original recordings that DATA has (40)

Lift, not the number of the stroke, as a third channel: it means the same at each point whatever came before, and one
can draw the line from it, as in sketch-RNN (Ha & Eck 2017, arXiv:1704.03477, section 3.1).

Five modalities: image, audio, pen, `definition_en` (text) and a table of tone, radical, structure, etymology_type and
n_strokes. Three columns of the source are left out. `pinyin`, `decomposition` and `etymology_hint` are texts by their
form and would be three modalities more; the first two are also near-copies of what sound and picture show. All other
columns stay as they are: `char` is the key, `row`, `codepoint`, `split` and `mp3` say nothing of the character, and
`split` is the source's own (1,264 train, 220 test; validation items are taken out of train when training).
"""

from __future__ import annotations

import argparse
import csv
import shutil
from pathlib import Path

import numpy as np

from isthmus.data.demo import write_csv, write_png, write_wav

LEFT_OUT = {"pinyin", "decomposition", "etymology_hint"}


def write_hanzi(data: Path, out: Path) -> Path:
    """Write the files and return the path of `hanzi.csv`."""
    source = data / "hanzi"
    with (source / "hanzi.csv").open(encoding="utf-8") as file:
        reader = csv.DictReader(file)
        columns = [column for column in reader.fieldnames or () if column not in LEFT_OUT]
        characters = list(reader)
    arrays = {name: array for name, array in np.load(source / "hanzi.npz").items()}
    rate = int(arrays["sample_rate"])

    rows = []
    for i, character in enumerate(characters):
        name = f"U{character['codepoint']}"
        files = [
            write_png(out, f"image/{name}.png", arrays["image"][i]),
            write_wav(out, f"audio/{name}.wav", _slice(arrays, "wave", "wave_offsets", i), rate),
            _write_pen(out, f"pen/{name}.npy", pen_line(arrays, i)),
        ]
        if character["mp3"]:
            _copy(source / character["mp3"], out / character["mp3"])
        rows.append([*(character[column] for column in columns), *files])
    return write_csv(out / "hanzi.csv", [*columns, "image", "audio", "pen"], rows)


def pen_line(arrays: dict[str, np.ndarray], i: int) -> np.ndarray:
    """Character i as float32 `(T, 3)`: x, y, lift."""
    xy = _slice(arrays, "pen_xy", "pen_offsets", i)
    stroke = _slice(arrays, "pen_stroke", "pen_offsets", i)
    lift = np.append(stroke[1:] != stroke[:-1], True)
    return np.column_stack([xy, lift]).astype(np.float32)


def _slice(arrays: dict[str, np.ndarray], flat: str, offsets: str, i: int) -> np.ndarray:
    return arrays[flat][arrays[offsets][i] : arrays[offsets][i + 1]]


def _write_pen(out: Path, name: str, line: np.ndarray) -> str:
    path = out / name
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, line, allow_pickle=False)
    return name


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with hanzi/")
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    print(write_hanzi(given.data, given.out))


if __name__ == "__main__":
    main()
