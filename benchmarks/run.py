"""The short benchmarks, one after another: what `make bench` runs.

Longer ones have commands of their own: `benchmarks/methods.py` (all methods on digits from real files, row by row),
`benchmarks/hanzi.py`, `benchmarks/emoji.py`, `benchmarks/clustering.py`, `benchmarks/countries.py`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def main() -> None:
    here = Path(__file__).parent
    for name in ("startup.py", "gaps.py"):
        print(f"\n{name}", flush=True)
        subprocess.run([sys.executable, str(here / name)], check=True)


if __name__ == "__main__":
    main()
