"""Data of the benchmark of methods, and trainings by the command line, each a process whose cost is told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path


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
