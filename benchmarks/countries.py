"""Countries: a mixed table with real blanks and 20% further ones, filled by `impute` and by floors without a network.

    python benchmarks/countries.py SHARED_DATA WORK [--seeds 5] [--method mvtcae] [--json]

Each seed blanks other cells of the table's nine columns and trains anew by the command line, with no flag but the key,
on outline, flag, two names and the table of 250 countries; what follows `--json` goes to `isthmus train`. Only cells
that were blanked further are scored, where the truth is known:

- a number by the root mean squared error over the standard deviation of the column, both over values as they are for
  degrees, logarithms for areas and `log(1 + n)` for the number of borders, the scales on which the library itself
  standardises these columns. About 1 is what the mean gives. An area that is not above zero is no area and not scored;
- a category, or a 0 or 1, by the share that is wrong.

The floors see the visible cells of the table's columns, of all 250 rows (the library trains on 80% of them): the mean
or the most common level of a column; and 5 nearest neighbours, by the mean over the columns that two rows share of the
squared difference in standard deviations, or of 2 where levels differ, as between one-hot vectors.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

NUMBERS: dict[str, Callable[[float], float | None]] = {
    "lat": float,
    "lng": float,
    "area_km2": lambda area: math.log(area) if area > 0 else None,
    "n_borders": math.log1p,
}
CATEGORIES = ("region", "subregion", "landlocked", "independent", "un_member")
NUM_NEIGHBOURS = 5

Cell = float | str | None  # a number on the scale it is scored on, a level as text, or a blank
Columns = Mapping[str, Sequence[Cell]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("shared", type=Path, help="the folder with countries/ and emoji/")
    parser.add_argument("work", type=Path, help="where data and runs go")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments, extra = parser.parse_known_args()
    errors = [
        run_seed(arguments.shared, arguments.work / "countries" / str(seed), seed, extra)
        for seed in range(arguments.seeds)
    ]
    print(json.dumps(errors) if arguments.json else report(errors))


def run_seed(shared: Path, folder: Path, seed: int, extra: Sequence[str]) -> dict[str, dict[str, float]]:
    """Write the data, train and impute, each if it was not done before; errors by contender and column."""
    data, run, imputed = folder / "data", folder / "run", folder / "imputed"
    table = data / "countries.csv"
    if not table.is_file():
        script = Path(__file__).parent / "data_countries.py"
        blanks = ["--further-blanks", "0.2", "--seed", str(seed)]
        run_python(str(script), str(shared), str(data), *blanks)
    if not (run / "model" / "config.json").is_file():
        start = ["--resume"] if (run / "config.yaml").is_file() else [str(table), "--key", "cca3", *extra]
        isthmus("train", *start, "--seed", str(seed), "--out", str(run), "--quiet")
    if not (imputed / "items.csv").is_file():
        isthmus("impute", str(run), str(table), "-o", str(imputed), "--quiet")
    visible = read_columns(table)
    filled = {
        "isthmus": read_columns(imputed / "items.csv"),
        "mean or mode": fill_by_mean(visible),
        "5 neighbours": fill_by_neighbours(visible),
    }
    return score(visible, read_truth(table, data / "truth.csv"), filled)


def isthmus(*words: str) -> None:
    run_python("-m", "isthmus.cli.main", *words)


def run_python(*words: str) -> None:
    # What others print goes to standard error: with --json, standard output is for figures alone.
    subprocess.run([sys.executable, *words], check=True, stdout=sys.stderr)


def read_columns(path: Path) -> dict[str, list[Cell]]:
    """The table's columns, row by row."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [read_cell(name, row[name]) for row in rows] for name in (*NUMBERS, *CATEGORIES)}


def read_cell(column: str, text: str) -> Cell:
    return (NUMBERS[column](float(text)) if column in NUMBERS else text) if text else None


def read_truth(table: Path, truth: Path) -> dict[str, dict[int, Cell]]:
    """What stood in the cells that were blanked further, by column and row."""
    with table.open(encoding="utf-8", newline="") as file:
        row_of = {row["cca3"]: place for place, row in enumerate(csv.DictReader(file))}
    found: dict[str, dict[int, Cell]] = {name: {} for name in (*NUMBERS, *CATEGORIES)}
    with truth.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            cell = read_cell(row["column"], row["value"])
            if cell is not None:
                found[row["column"]][row_of[row["cca3"]]] = cell
    return found


def score(
    visible: Columns, truth: Mapping[str, Mapping[int, Cell]], filled: Mapping[str, Columns]
) -> dict[str, dict[str, float]]:
    """Errors over the cells of `truth`, by contender and column."""
    errors: dict[str, dict[str, float]] = {contender: {} for contender in filled}
    for column, cells in truth.items():
        right = list(cells.values())
        for contender, columns in filled.items():
            made = [columns[column][row] for row in cells]
            if column in CATEGORIES:
                error = np.mean([one != other for one, other in zip(made, right, strict=True)])
            else:
                error = np.sqrt(np.mean((numbers(made) - numbers(right)) ** 2))
                error /= np.nanstd(np.concatenate([numbers(visible[column]), numbers(right)]))
            errors[contender][column] = float(error)
    return errors


def numbers(cells: Sequence[Cell]) -> np.ndarray:
    """Cells of a column of numbers, NaN for a blank."""
    return np.array([math.nan if cell is None else cell for cell in cells], dtype=float)


def fill_by_mean(visible: Columns) -> dict[str, list[Cell]]:
    """The mean, or the most common level, in every row."""
    return {name: [_middle([c for c in cells if c is not None])] * len(cells) for name, cells in visible.items()}


def fill_by_neighbours(visible: Columns) -> dict[str, list[Cell]]:
    """For each row, the mean or the most common level of the nearest rows that have the column."""
    order = np.argsort(distances(visible), axis=1, kind="stable")
    return {
        name: [_middle([c for other in row if (c := cells[other]) is not None][:NUM_NEIGHBOURS]) for row in order]
        for name, cells in visible.items()
    }


def _middle(cells: Sequence[Cell]) -> Cell:
    if isinstance(cells[0], str):
        return Counter(cells).most_common(1)[0][0]  # of equally common ones, the first
    return float(np.mean(numbers(cells)))


def distances(visible: Columns) -> np.ndarray:
    """Between all rows, `(N, N)`; infinite to a row itself and where two rows share no column."""
    apart = []
    for name, cells in visible.items():
        if name in NUMBERS:
            column = numbers(cells)
            apart.append((column[:, None] - column[None]) ** 2 / np.nanvar(column))
        else:
            level = np.array([cell or "" for cell in cells])
            both = (level != "")[:, None] & (level != "")[None]
            apart.append(np.where(both, 2.0 * (level[:, None] != level[None]), np.nan))
    stacked = np.stack(apart)
    shared = np.isfinite(stacked).sum(axis=0)
    mean = np.divide(np.nansum(stacked, axis=0), shared, out=np.full(shared.shape, np.inf), where=shared > 0)
    np.fill_diagonal(mean, np.inf)
    return mean


def report(errors: Sequence[Mapping[str, Mapping[str, float]]]) -> str:
    """Mean and standard deviation over seeds as a Markdown table, one contender a column."""
    contenders = list(errors[0])
    columns = list(errors[0][contenders[0]])
    lines = ["| | " + " | ".join(contenders) + " |", "|---|" + "---|" * len(contenders)]
    for name, group in {**{column: [column] for column in columns}, "mean over columns": columns}.items():
        cells = []
        for contender in contenders:
            over_seeds = [np.mean([seed[contender][column] for column in group]) for seed in errors]
            cells.append(f"{np.mean(over_seeds):.3f} ± {np.std(over_seeds):.3f}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
