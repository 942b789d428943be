"""Write the emoji benchmark as raw files: one thing drawn in two styles and named.

    python benchmarks/data_emoji.py DATA OUT [--texts name_en] [--held-out]

DATA holds `emoji/emoji.csv` and its pictures (see there for their sources and licences). OUT gets `emoji.csv` with the
columns

    hexcode                 the key
    group, subgroup         9 classes and about 100, for evaluation
    openmoji, noto          RGBA PNG, 72x72 and 32x32; 227 of 1,614 items have no `noto`
    name_XX, keywords_XX    one column for each of `--texts`; keywords are set apart by commas
    split                   the source's own (1,372 train, 242 test)

`--held-out` is for choosing settings without the test items: these are not written, and a fifth of the training items
stands in for them. A man, a woman and a person doing the same thing are nearly one picture, so that items fall by the
hash of their name without these words.
"""

from __future__ import annotations

import argparse
import csv
import re
import shutil
from hashlib import sha256
from pathlib import Path

from isthmus.data.demo import write_csv

STYLES = ("openmoji", "noto")
LANGUAGES = "en zh fr de ja es".split()
TEXTS = [f"{what}_{language}" for what in ("name", "keywords") for language in LANGUAGES]
PERSONS = re.compile(r"\b(man|woman|person|men|women|boy|girl|people|mr|mrs)\b")


def write_emoji(data: Path, out: Path, *, texts: list[str], held_out: bool = False) -> Path:
    """Write the files and return the path of `emoji.csv`."""
    source = data / "emoji"
    with (source / "emoji.csv").open(encoding="utf-8", newline="") as file:
        items = list(csv.DictReader(file))
    if held_out:
        items = [{**item, "split": _held_out_split(item)} for item in items if item["split"] == "train"]
    rows = []
    for item in items:
        pictures = [_copy(source, item[f"{style}_png"], out) for style in STYLES]
        words = [item[text].replace("|", ", ") for text in texts]
        rows.append([item["hexcode"], item["group"], item["subgroup"], *pictures, *words, item["split"]])
    return write_csv(out / "emoji.csv", ["hexcode", "group", "subgroup", *STYLES, *texts, "split"], rows)


def _held_out_split(item: dict[str, str]) -> str:
    name = PERSONS.sub("*", (item["name_en"] or item["name_openmoji"]).lower())
    return "test" if int(sha256(name.encode()).hexdigest(), 16) % 5 == 0 else "train"


def _copy(source: Path, name: str, out: Path) -> str:
    if name:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, out / name)
    return name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with emoji/")
    parser.add_argument("out", type=Path)
    parser.add_argument("--texts", nargs="*", default=["name_en"], choices=TEXTS)
    parser.add_argument("--held-out", action="store_true", help="a fifth of the training items in place of the test")
    given = parser.parse_args()
    print(write_emoji(given.data, given.out, texts=given.texts, held_out=given.held_out))


if __name__ == "__main__":
    main()
