from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

# Before torch is imported: tests run in several processes, and threads that spin would slow all of them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# With ISTHMUS_TYPECHECK=1 the annotated shapes and types of the arithmetic are checked at each call. The hook has to be
# there before these modules are imported. Kinds are left out: beartype cannot read `Self` in a single method.
if os.environ.get("ISTHMUS_TYPECHECK") == "1":
    from jaxtyping import install_import_hook

    checked = "batch fusions gaussians likelihoods networks noise objectives posteriors priors"
    install_import_hook([f"isthmus.{name}" for name in checked.split()], "beartype.beartype")

import pytest
import torch

torch.set_num_threads(1)

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real data sets that do not travel with the repository: `../shared/data`, or where ISTHMUS_SHARED points."""
    folder = Path(os.environ.get("ISTHMUS_SHARED", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there; set ISTHMUS_SHARED to the folder of the shared data sets")
    return folder


class Scripts:
    """Scripts that are no package, imported when they are asked for."""

    def __getattr__(self, name: str) -> ModuleType:
        return importlib.import_module(name)


@pytest.fixture(scope="module")
def speed_scripts() -> Iterator[Scripts]:
    """Those of the benchmark of speed; none imports a peer before it is measured."""
    before = list(sys.path)
    sys.path.insert(0, str(ROOT / "benchmarks" / "speed"))
    try:
        yield Scripts()
    finally:
        sys.path[:] = before
    assert not {"multivae", "multiviewae"} & set(sys.modules)
