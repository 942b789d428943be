"""Write the countries benchmark as raw files: few items, many types, real blanks, and further ones whose truth is kept.

    python benchmarks/data_countries.py DATA OUT [--names en zho] [--further-blanks 0.2 --seed 0]

DATA holds `countries/countries.csv`, `countries/outlines.npz` and the flags in `emoji/openmoji/` (see there for their
sources and licences). OUT gets `countries.csv` with the columns

    cca3                    the key
    outline, flag           64x64 grey and 72x72 RGBA PNG; 1 and 41 of 250 are blank in the source
    name_XX                 one column for each language of `--names`, of: en zho fra deu jpn spa kor rus ara
    region, subregion       categories, 6 and 24
    lat, lng, area_km2, n_borders                   numbers
    landlocked, independent, un_member              0 or 1

and `truth.csv` with the columns cca3, column and value: one row for each cell of the table (categories, numbers and
0/1) that `--further-blanks` emptied, whatever share of those that were there. Without it `truth.csv` has no rows.

Left out: `capital`, `demonym_en`, `official_en`, `languages`, `currencies` and `borders`, which are texts or lists and
no columns of a mixed table (most values occur once), other codes of the key (`row`, `cca2`, `flag_emoji`) and
`has_outline`, which the blank says already.
"""

from __future__ import annotations

import argparse
import csv
import shutil
from pathlib import Path

import numpy as np

from isthmus.data.demo import write_csv, write_png

LANGUAGES = "en zho fra deu jpn spa kor rus ara".split()
TABLE = "region subregion lat lng area_km2 n_borders landlocked independent un_member".split()


def write_countries(data: Path, out: Path, *, names: list[str], further_blanks: float, seed: int) -> Path:
    """Write the files and return the path of `countries.csv`.

    Raises:
        ValueError: `further_blanks` is no share.
    """
    if not 0 <= further_blanks < 1:
        raise ValueError(f"--further-blanks {further_blanks} is no share of the cells; expected 0 or more, below 1.")
    source = data / "countries"
    with (source / "countries.csv").open(encoding="utf-8") as file:
        countries = list(csv.DictReader(file))
    outlines = np.load(source / "outlines.npz")
    outline_of = dict(zip(outlines["cca3"].tolist(), outlines["outline"], strict=True))

    truth = _blank_further(countries, further_blanks, np.random.default_rng(seed))
    rows = []
    for country in countries:
        key = country["cca3"]
        outline = flag = ""
        if country["has_outline"] == "1":
            outline = write_png(out, f"outline/{key}.png", outline_of[key])
        if country["flag_png"]:
            flag = f"flag/{key}.png"
            (out / "flag").mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / country["flag_png"], out / flag)
        rows.append([key, outline, flag, *(country[f"name_{name}"] for name in names), *map(country.get, TABLE)])
    write_csv(out / "truth.csv", ["cca3", "column", "value"], truth)
    return write_csv(
        out / "countries.csv", ["cca3", "outline", "flag", *(f"name_{name}" for name in names), *TABLE], rows
    )


def _blank_further(countries: list[dict[str, str]], share: float, rng: np.random.Generator) -> list[list[str]]:
    """Empty a share of the table's cells in place and return what stood there: key, column, value."""
    cells = [(row, column) for row in range(len(countries)) for column in TABLE if countries[row][column]]
    emptied = np.sort(rng.choice(len(cells), round(share * len(cells)), replace=False))
    truth = []
    for row, column in (cells[i] for i in emptied):
        truth.append([countries[row]["cca3"], column, countries[row][column]])
        countries[row][column] = ""
    return truth


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with countries/ and emoji/")
    parser.add_argument("out", type=Path)
    parser.add_argument("--names", nargs="*", default=["en", "zho"], choices=LANGUAGES)
    parser.add_argument("--further-blanks", type=float, default=0.0, metavar="SHARE")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print(
        write_countries(given.data, given.out, names=given.names, further_blanks=given.further_blanks, seed=given.seed)
    )


if __name__ == "__main__":
    main()
