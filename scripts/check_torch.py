"""Fails where the installed torch is not of the release that constraints.txt names.

Some packages (torchvision and torchaudio first of all) replace torch by another build without a word.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import torch

CONSTRAINTS = Path(__file__).resolve().parents[1] / "constraints.txt"

pinned = re.search(r"^torch==(\d+\.\d+)", CONSTRAINTS.read_text(encoding="utf-8"), re.MULTILINE)
if pinned is None:
    sys.exit(f"{CONSTRAINTS.name} names no version of torch. Expected a line such as torch==2.13.0")
if not torch.__version__.startswith(pinned[1] + "."):
    sys.exit(
        f"torch {torch.__version__} is installed, {CONSTRAINTS.name} names {pinned[1]}. "
        "Did another package replace it? `make clean` and make it again."
    )
