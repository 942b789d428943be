"""Emoji in two drawing styles and by name: finding the same thing in another style, among items never seen.

    python benchmarks/emoji.py SHARED_DATA WORK [--texts name_en] [--held-out] [--json] [--method mvtcae ...]

Trains on the 1,372 training items by the command line, with no flag but the roles of columns; what is not named above
goes to `isthmus train`. Then prints R@1 and R@10 both ways between OpenMoji and Noto pictures and from each to the
English name, among the test items that have both (209 and about as many), beside

- CCA and ridge regression on 16x16 pixels and counts of tokens, fitted on the training items;
- 12x12 pixels compared by cosine: as ink on white paper, which is the floor of the data's README (R@1 11.0, R@10 35.9
  from OpenMoji to Noto); less the mean training picture of their style; and so with margins trimmed, as
  `--setting openmoji.trim=true --setting noto.trim=true` does for training. The last is by far the strongest.

With few items and two styles, what helps is one encoder for both, on pictures whose margins are trimmed:

    --option share=encoders --setting openmoji.trim=true --setting noto.trim=true --setting openmoji.size=32

`--held-out` scores a fifth of the training items in place of the test items: settings are chosen by it.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from data_emoji import STYLES, TEXTS
from PIL import Image

from isthmus.evaluation.retrieval import recall, remarks
from isthmus.kinds.image import ImageKind

SIDE = 12
Figures = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("shared", type=Path, help="the folder with emoji/")
    parser.add_argument("work", type=Path, help="where data and the run go")
    parser.add_argument("--texts", nargs="*", default=["name_en"], choices=TEXTS)
    parser.add_argument("--held-out", action="store_true", help="score a fifth of the training items")
    parser.add_argument("--json", action="store_true")
    arguments, extra = parser.parse_known_args()
    data, run = arguments.work / "emoji", arguments.work / "emoji-run"
    table = data / "emoji.csv"
    if not table.is_file():
        script = Path(__file__).parent / "data_emoji.py"
        flags = ["--texts", *arguments.texts, *(["--held-out"] if arguments.held_out else [])]
        subprocess.run(
            [sys.executable, str(script), str(arguments.shared), str(data), *flags], check=True, stdout=sys.stderr
        )
    if not (run / "model" / "config.json").is_file():
        roles = ["--key", "hexcode", "--label", "group", "--ignore", "subgroup", "--split", "split"]
        # By the text alone keywords may pass for levels of a category.
        roles += [word for text in arguments.texts for word in ("--kind", f"{text}=text")]
        start = ["--resume"] if (run / "config.yaml").is_file() else [str(table), *roles, *extra]
        command = [sys.executable, "-m", "isthmus.cli.main", "train", *start, "--out", str(run), "--quiet"]
        subprocess.run(command, check=True, stdout=sys.stderr)
    result, words = score(run, table)
    if arguments.json:
        print(json.dumps(result))
        return
    for name, figures in result.items():
        print(f"{name:<24}" + "  ".join(f"{key} {value:.1f}" for key, value in figures.items()))
    print("\n".join(words))


def score(run: Path, table: Path) -> tuple[dict[str, Figures], list[str]]:
    """Figures in percent by route and by who finds, and what is to be said of the routes in words."""
    import torch

    import isthmus
    from isthmus.evaluation import Split
    from isthmus.evaluation.scores import find_pairs
    from isthmus.evaluation.study import Study

    model = isthmus.load(run)
    prepared = model.prepare(isthmus.read_table(table))
    train, test = (Split(prepared.batch(prepared.rows(part))) for part in ("train", "test"))
    with torch.no_grad():
        pairs = find_pairs(Study(model.model, train, test))
    result: dict[str, Figures] = {}
    for pair in pairs:
        if pair["source"] in STYLES and (pair["target"] in STYLES or pair["target"].startswith("name")):
            route = f"{pair['source']}->{pair['target']}"
            chance = {"r1": pair["chance1"], "r10": pair["chance10"]}
            for name, found in {"isthmus": pair, **pair["floors"], "chance": chance}.items():
                figures = result.setdefault(name, {})
                figures |= {f"{route} R@{k}": 100 * found[f"r{k}"] for k in (1, 10)}
    return {**result, **pixel_floors(table)}, remarks(pairs)


def pixel_floors(table: Path) -> dict[str, Figures]:
    """Cosine of small pictures, both ways, among the test items that have both."""
    with table.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if all(row[style] for style in STYLES)]
    paths = {
        part: [[table.parent / row[style] for row in rows if row["split"] == part] for style in STYLES]
        for part in ("train", "test")
    }

    def views(small: Callable[[Path], np.ndarray], less_mean: bool) -> list[np.ndarray]:
        seen = []
        for train, test in zip(paths["train"], paths["test"], strict=True):
            away = np.stack([small(path) for path in train]).mean(axis=0) if less_mean else 1.0
            seen.append(np.stack([small(path) for path in test]) - away)
        return seen

    trimming = ImageKind(size=SIDE, mode="RGB", trim=True).fit(paths["train"][0])
    return {
        "pixels": both_ways(*views(on_paper, less_mean=False)),
        "pixels less their mean": both_ways(*views(on_paper, less_mean=True)),
        "trimmed pixels": both_ways(*views(lambda path: trimming.encode(path).ravel() / 255, less_mean=True)),
    }


def both_ways(openmoji: np.ndarray, noto: np.ndarray) -> Figures:
    figures: Figures = {}
    for name, (query, candidates) in {"openmoji->noto": (openmoji, noto), "noto->openmoji": (noto, openmoji)}.items():
        figures |= {f"{name} R@{k}": 100 * share for k, share in recall(query, candidates, (1, 10)).items()}
    return figures


def on_paper(path: Path) -> np.ndarray:
    """A picture on white paper as 12x12 colours, flat, 0 black to 1 white."""
    picture = Image.open(path).convert("RGBA")
    paper = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    return np.asarray(paper.resize((SIDE, SIDE), Image.Resampling.BOX), float).ravel() / 255


if __name__ == "__main__":
    main()
