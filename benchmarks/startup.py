"""How long `isthmus --help` and `import isthmus` take, as whole processes, beside an empty Python.

python benchmarks/startup.py [--rounds 9] [--json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import isthmus": [sys.executable, "-c", "import isthmus"],
    "isthmus --help": [sys.executable, "-m", "isthmus.cli.main", "--help"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Start-up times.")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(arguments.rounds):
        for name, command in COMMANDS.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            seconds[name].append(time.perf_counter() - start)
    figures = [{"command": name, "seconds": statistics.median(times)} for name, times in seconds.items()]
    if arguments.json:
        print(json.dumps(figures))
        return
    for row in figures:
        print(f"{row['command']:<16} {row['seconds']:.2f} s")


if __name__ == "__main__":
    main()
