"""Chinese characters seen, heard, written, defined and tabled: five kinds of data, trained with no flag but the roles.

    python benchmarks/hanzi.py SHARED_DATA WORK [--method mvtcae] [--json]

Trains on the 1,264 training characters by the command line, translates the 220 test characters along all 20 routes to
files, and prints retrieval between picture and pen line beside CCA, ridge regression from 64 resampled pen points to
16x16 pixels (both fitted on the training characters), and the drawn pen line, which geometry alone solves; the
correlation of the stroke count translated from the picture with the true one, beside ridge regression on pixels; and
retrieval between picture and sound beside chance. A picture hardly tells how its character is spoken, so that there
chance is right, and a high score would be a leak: it is said in words which of the two it is.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from isthmus.evaluation.floors import Ridge
from isthmus.evaluation.retrieval import at_chance, fit_cca, recall, remarks

MODALITIES = ("image", "audio", "pen", "definition_en", "table")


def isthmus(*words: str) -> None:
    # What the commands say goes to the error stream, so that standard output is figures alone.
    subprocess.run([sys.executable, "-m", "isthmus.cli.main", *words], check=True, stdout=sys.stderr)


def write_parts(data: Path) -> tuple[Path, Path]:
    """`hanzi.csv` as two tables, of its training and of its test characters."""
    with (data / "hanzi.csv").open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        rows, columns = list(reader), reader.fieldnames or []
    paths = []
    for part in ("train", "test"):
        paths.append(data / f"{part}.csv")
        with paths[-1].open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(row for row in rows if row["split"] == part)
    return paths[0], paths[1]


def read_part(table: Path) -> dict[str, np.ndarray]:
    """Pictures at 64x64 and 16x16, pen lines as 64 points and as drawn, and stroke counts."""
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    pictures = [Image.open(table.parent / row["image"]).convert("L") for row in rows]
    pens = [np.load(table.parent / row["pen"], allow_pickle=False) for row in rows]
    return {
        "pixels": np.stack([np.asarray(picture, float).ravel() / 255 for picture in pictures]),
        "small": np.stack([pooled(picture, 16) for picture in pictures]),
        "points": np.stack([points(pen, 64) for pen in pens]),
        "drawn": np.stack([pooled(draw(pen), 8) for pen in pens]),
        "tiny": np.stack([pooled(picture, 8) for picture in pictures]),
        "strokes": np.array([float(row["n_strokes"]) for row in rows]),
    }


def pooled(picture: Image.Image, side: int) -> np.ndarray:
    return np.asarray(picture.resize((side, side), Image.Resampling.BOX), float).ravel() / 255


def points(pen: np.ndarray, count: int) -> np.ndarray:
    """`count` points at equal steps along the index of the line."""
    at = np.linspace(0, len(pen) - 1, count)
    return np.concatenate([np.interp(at, np.arange(len(pen)), pen[:, axis]) for axis in (0, 1)]) / 1024


def draw(pen: np.ndarray) -> Image.Image:
    """The pen line in the frame of the pictures (x 0..1024, y 900..-124), blurred."""
    canvas = Image.new("L", (128, 128))
    place = [(x / 8, (900 - y) / 8) for x, y in pen[:, :2]]
    start = 0
    for i, lift in enumerate(pen[:, 2]):
        if lift > 0.5:
            ImageDraw.Draw(canvas).line(place[start : i + 1], fill=255, width=6)
            start = i + 1
    return canvas.filter(ImageFilter.GaussianBlur(3))


def both_ways(image: np.ndarray, other: np.ndarray, name: str = "pen") -> dict[str, float]:
    """R@1 and R@10 in percent, picture to another modality and back, of vectors that may be compared."""
    centred = image - image.mean(axis=0), other - other.mean(axis=0)
    found: dict[str, float] = {}
    for route, (query, candidates) in {f"image->{name}": centred, f"{name}->image": centred[::-1]}.items():
        found |= {f"{route} R@{k}": 100 * share for k, share in recall(query, candidates, (1, 10)).items()}
    return found


def said_of_sound(found: dict[str, float], count: int) -> list[str]:
    """What retrieval between picture and sound means, in words."""
    entries = []
    for source, target in (("image", "audio"), ("audio", "image")):
        shares = {f"r{k}": found[f"{source}->{target} R@{k}"] / 100 for k in (1, 10)}
        entries.append({"source": source, "target": target, "n": count, "floors": {}, **shares})
    better = [entry for entry in entries if not at_chance(entry, count)]
    routes = " and ".join(f"{entry['source']} -> {entry['target']}" for entry in better)
    warning = f"Better than chance: {routes}. Shared phonetic parts may tell a little; much would be a leak."
    return [*remarks(entries), *([warning] if better else [])]


def floors(train: dict[str, np.ndarray], test: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    ridge = Ridge.fit(train["points"], train["small"])
    cca = fit_cca(train["small"], train["points"], 32)
    strokes = Ridge.fit(train["pixels"], train["strokes"][:, None])
    return {
        "cca": both_ways(cca.x(test["small"]), cca.y(test["points"])),
        "ridge": both_ways(test["small"], ridge(test["points"])),
        "drawn pen line": both_ways(test["tiny"], test["drawn"]),
        "strokes ridge": {"r": float(np.corrcoef(strokes(test["pixels"])[:, 0], test["strokes"])[0, 1])},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("shared", type=Path, help="the folder with hanzi/")
    parser.add_argument("work", type=Path, help="where data and the run go")
    parser.add_argument("--json", action="store_true")
    arguments, extra = parser.parse_known_args()
    data, run = arguments.work / "hanzi", arguments.work / "hanzi-run"
    if not (data / "hanzi.csv").is_file():
        script = Path(__file__).parent / "data_hanzi.py"
        subprocess.run([sys.executable, str(script), str(arguments.shared), str(data)], check=True)
    train_table, test_table = write_parts(data)
    if not (run / "model" / "config.json").is_file():
        roles = ["--key", "char", "--ignore", "row,codepoint,split,mp3"]
        start = ["--resume"] if (run / "config.yaml").is_file() else [str(train_table), *roles, *extra]
        isthmus("train", *start, "--out", str(run), "--quiet")
    for source, target in permutations(MODALITIES, 2):
        out = run / "translations" / f"{source}-{target}"
        if not (out / "items.csv").is_file():
            isthmus("translate", str(run), str(test_table), "--from", source, "--to", target, "-o", str(out), "--quiet")
    result = score(run, train_table, test_table)
    if arguments.json:
        print(json.dumps(result))
        return
    for name, figures in result.items():
        print(f"{name:<16}" + "  ".join(f"{key} {value:.2f}" for key, value in figures.items()))
    print("\n".join(said_of_sound(result["sound isthmus"], count_rows(test_table))))


def count_rows(table: Path) -> int:
    with table.open(encoding="utf-8", newline="") as file:
        return sum(1 for _ in csv.DictReader(file))


def score(run: Path, train_table: Path, test_table: Path) -> dict[str, Any]:
    import isthmus as library

    train, test = read_part(train_table), read_part(test_table)
    model = library.load(run)
    table = library.read_table(test_table)
    codes = {name: model.transform(table.with_columns(_blank(table, name))) for name in ("image", "pen", "audio")}
    strokes = np.array(model.translate(table, ["image"], "n_strokes"), dtype=float)
    return {
        "isthmus": both_ways(codes["image"], codes["pen"]),
        "sound isthmus": both_ways(codes["image"], codes["audio"], "audio"),
        "sound chance": {f"R@{k}": 100 * k / len(strokes) for k in (1, 10)},
        "strokes isthmus": {"r": float(np.corrcoef(strokes, test["strokes"])[0, 1])},
        "files": {"translations": float(len(list((run / "translations").glob("*/items.csv"))))},
        **floors(train, test),
    }


def _blank(table: Any, kept: str) -> dict[str, list[None]]:
    """All columns of modalities but one as gaps."""
    columns = {"image", "audio", "pen", "definition_en", "tone", "radical", "structure", "etymology_type", "n_strokes"}
    return {name: [None] * table.num_rows for name in columns - {kept}}


if __name__ == "__main__":
    main()
