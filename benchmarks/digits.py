"""Digits from real files: five methods at their defaults, on pictures, spoken digits and captions with 30% gaps.

    python benchmarks/digits.py SHARED_DATA WORK [--methods mvtcae,mopoe] [--epochs N] [--json]

Writes 10,000 training and 2,000 test items as PNG, WAV and CSV below WORK, trains and scores each method by the command
line as a user would, and prints one table. Runs and scores that are there already are kept, so a stopped benchmark
goes on. Coherence is that of draws, and of code means in brackets; variance is that of drawn pictures within a class,
over the real one.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

METHODS = ("fused", "mvae", "mmvae", "mopoe", "mvtcae")


@dataclass(frozen=True)
class Cost:
    """Of one process: seconds on the clock and on the processor, and the most memory it held, in MiB."""

    seconds: float
    cpu_seconds: float
    peak_mib: float


def python(*words: str) -> Cost:
    """Run Python, its output going to standard error; what it cost.

    Raises:
        CalledProcessError: It failed.
    """
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, *words], stdout=sys.stderr)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, ["python", *words])
    return Cost(time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def isthmus(*words: str) -> Cost:
    """Run one `isthmus` command."""
    return python("-m", "isthmus.cli.main", *words)


def write_data(shared: Path, folder: Path, *words: str) -> Path:
    """The table of digits in `folder`, written unless it is there."""
    table = folder / "digits.csv"
    if not table.is_file():
        python(str(Path(__file__).parent / "data_digits.py"), str(shared), str(folder), *words)
    return table


def train(table: Path, run: Path, *words: str) -> dict[str, float | None]:
    """Train by the command line unless it was done; what it cost. Of a training that was stopped and went on nobody
    knows the whole cost: None.
    """
    costs = run / "costs.json"
    if not costs.is_file():
        goes_on = (run / "config.yaml").is_file()
        cost = isthmus("train", *(["--resume"] if goes_on else [str(table), *words]), "--out", str(run), "--quiet")
        known = {f"train_{name}": None if goes_on else value for name, value in asdict(cost).items()}
        costs.write_text(json.dumps(known))
    found: dict[str, float | None] = json.loads(costs.read_text())
    return found


def run_method(table: Path, run: Path, method: str, extra: list[str]) -> dict[str, Any]:
    """Train and score one method; figures of the two commands."""
    costs = train(table, run, "--method", method, *extra)
    if not (run / "evaluation.json").is_file():
        isthmus("evaluate", str(run), "--quiet")
    scores: dict[str, Any] = json.loads((run / "evaluation.json").read_text())
    return figures(scores) | costs | {"method": method}


def figures(scores: dict[str, Any]) -> dict[str, Any]:
    """What the table shows, in percent."""
    found: dict[str, Any] = {}
    for entry in scores["probe"]:
        if len(entry["source"]) == 1:
            name = entry["source"][0]
            found[f"probe {name}"] = 100 * entry["accuracy"]
            found[f"floor {name}"] = 100 * entry["floors"]["logistic_raw"]
    for entry in scores["coherence"]:
        route = f"{_name(entry['source'])}->{_name(entry['target'])}"
        found[route] = 100 * entry["coherence_drawn"]
        found[f"{route} mean"] = 100 * entry["coherence"]
        if entry["target"] == "image":
            found[f"variance {route}"] = entry["variance_ratio"]
    found["joint"] = 100 * scores["joint"]["coherence"] if scores["joint"] else None
    return found


def _name(source: Any) -> str:
    return source if isinstance(source, str) else "+".join(source)


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as a Markdown table, one method a column."""
    keys = [key for key in rows[0] if key != "method"]
    lines = ["| | " + " | ".join(row["method"] for row in rows) + " |", "|---|" + "---|" * len(rows)]
    for key in keys:
        shown = [row.get(key) for row in rows]
        cells = ["" if v is None else f"{v:.2f}" if key.startswith("variance") else f"{v:.1f}" for v in shown]
        lines.append(f"| {key} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("shared", type=Path, help="the folder with mnist.npz and fsdd/")
    parser.add_argument("work", type=Path, help="where data and runs go")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--json", action="store_true")
    arguments, extra = parser.parse_known_args()
    data = write_data(arguments.shared, arguments.work / "digits")
    rows = [run_method(data, arguments.work / "runs" / name, name, extra) for name in arguments.methods.split(",")]
    print(json.dumps(rows) if arguments.json else table(rows))


if __name__ == "__main__":
    main()
