"""What needs fresh processes: how long imports take, and how much memory a training needs at most."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import ours
from cases import Case, Contender, Entry
from pairs import pairs_of

if TYPE_CHECKING:
    from sections import Settings

HERE = Path(__file__).parent
STUBS = HERE / "stubs"  # for MultiVae alone: multi-view-AE does not import beside it
PEERS = {"multivae": "import multivae.models, multivae.trainers", "multiviewae": "import multiviewae"}
OURS = {
    "import": ["-c", "import isthmus"],
    "--help": ["-m", "isthmus.cli.main", "--help"],
    "ready to train": [
        "-c",
        "import torch, isthmus.data.store, isthmus.kinds.image, isthmus.methods, isthmus.training",
    ],
}
MARKS = {
    "import": ["`import isthmus` loads what is asked for, when it is asked for"],
    "--help": ["the peers have no command: their import"],
    "ready to train": ["ours with torch and all that a training needs"],
}
LIMITS = {"python": ["-c", "pass"], "torch": ["-c", "import torch"]}  # nothing is quicker
MEMORY_METHODS = ("mvtcae", "mvae", "mmvae")


def startup_cases(settings: Settings) -> list[Case]:
    """Imports and `--help` as whole processes; then the peak memory of an epoch."""
    words = {f"isthmus {what}": words for what, words in OURS.items()} | LIMITS
    words |= {peer: ["-c", text] for peer, text in PEERS.items()}
    contenders = {
        label: partial(process, words, settings.threads, STUBS if label == "multivae" else None)
        for label, words in words.items()
    }
    head = {"section": "startup", "unit": "s"}
    entries = [
        Entry({**head, "what": what, "peer": peer}, (f"isthmus {what}", peer), {"marks": MARKS.get(what, ())})
        for what in OURS
        for peer in PEERS
    ]
    entries += [Entry({**head, "what": what}, (what,)) for what in LIMITS]
    batch = max(settings.batches)
    memory = [memory_case({"section": "memory", "method": name, "batch": batch}, settings) for name in MEMORY_METHODS]
    return [Case("startup", entries, contenders), *memory]


def memory_case(head: dict[str, str | int], settings: Settings) -> Case:
    """Peak memory of an epoch of two batches: more of them need no more, beside the data."""
    method, batch = str(head["method"]), int(head["batch"])
    entries, contenders = [], {}
    for pair in pairs_of(method, sampled=False):
        own, other = ours.label(pair), ours.peer_label(pair)
        for label, library in ((own, "isthmus"), (other, pair.peer)):
            words = [library, pair.peer, method, str(batch), str(2 * batch)]
            contenders[label] = partial(peak, words, settings.threads)
        entries.append(Entry({**head, "peer": pair.peer, "unit": "MiB"}, (own, other), {"marks": pair.marks}))
    return Case(f"memory {method} {batch}", entries, contenders, least=1)


def process(words: Sequence[str], threads: int, path: Path | None = None) -> Contender:
    """A whole Python process; seconds from its start to its end."""
    run = partial(python, words, threads, path)

    def timed() -> float:
        start = time.perf_counter()
        run()
        return time.perf_counter() - start

    return Contender(run, timed)


def peak(words: Sequence[str], threads: int) -> Contender:
    """A training in a process of its own; MiB."""
    return Contender(_nothing, lambda: float(python([str(HERE / "peak.py"), *words], threads).split()[-1]))


def _nothing() -> None:
    """Whatever is slow the first time changes no peak."""


def python(words: Sequence[str], threads: int, path: Path | None = None) -> str:
    """What a fresh Python prints.

    Raises:
        RuntimeError: It failed.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    done = subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"python {' '.join(words)} failed: {done.stderr.strip().splitlines()[-1:]}")
    return done.stdout
