"""Digits from real files: all methods at their defaults, on pictures, spoken digits and captions with 30% gaps.

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
from pathlib import Path
from typing import Any

METHODS = ("fused", "mvae", "mmvae", "mopoe", "mvtcae")


def command(*words: str, env: dict[str, str] | None = None) -> tuple[float, float]:
    """Run one `isthmus` command; its seconds and its peak memory in MiB."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "isthmus.cli.main", *words], env={**os.environ, **(env or {})})
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"isthmus {' '.join(words)} failed.")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def run_method(data: Path, run: Path, method: str, extra: list[str]) -> dict[str, Any]:
    """Train and score one method; figures of the two commands."""
    costs = run / "costs.json"
    if not costs.is_file():
        resume = ["--resume"] if (run / "config.yaml").is_file() else []
        table = [] if resume else [str(data / "digits.csv"), "--method", method, *extra]
        seconds, memory = command("train", *table, "--out", str(run), "--quiet", *resume)
        costs.write_text(json.dumps({"train_seconds": seconds, "train_peak_mib": memory}))
    if not (run / "evaluation.json").is_file():
        command("evaluate", str(run), "--quiet")
    scores: dict[str, Any] = json.loads((run / "evaluation.json").read_text())
    return figures(scores) | json.loads(costs.read_text()) | {"method": method}


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
    data = arguments.work / "digits"
    if not (data / "digits.csv").is_file():
        subprocess.run(
            [sys.executable, str(Path(__file__).parent / "data_digits.py"), str(arguments.shared), str(data)],
            check=True,
        )
    rows = [run_method(data, arguments.work / "runs" / name, name, extra) for name in arguments.methods.split(",")]
    print(json.dumps(rows) if arguments.json else table(rows))


if __name__ == "__main__":
    main()
