"""How time and memory grow: with modalities, batch, draws, dimensions of the code, and items.

    python benchmarks/speed/growth.py [--sections modalities,batch] [--rounds 5] [--quick] [--out FILE]
    python benchmarks/speed/growth.py --table

Steps are on five pictures of 3x28x28, or as many as it says, batch 64; items are six short vectors in dense networks.
The first goes on where it was stopped, as `run.py` does, and takes an hour at most. The second prints fits by least
squares, and writes them where docs/performance.md has a place for them.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

os.environ["OMP_WAIT_POLICY"] = "PASSIVE"

import ours
import torch
from cases import Case, Contender, Entry, run_cases, seconds_of
from fits import fits
from fresh import peak
from options import parser_of
from pairs import MIXTURES
from peers import METHODS, PEERS, Peer, build
from peers_networks import Task, pictures, vectors
from results import RESULTS, Book, Row, fill_blocks, in_force, read_rows
from tables import PERFORMANCE, made_on
from torch import Tensor
from work import epoch_work, made_contender, step_work

BATCH = 64
NAME = "growth"  # of the block
Makers = dict[str, Callable[[], Peer]]


def makers(method: str, task: Task, peers: Sequence[str] = PEERS, latent_dim: int = 64, **options: Any) -> Makers:
    """By who it is, what makes a method: ours at its defaults, with routes sampled too where it has routes, and peers.

    `options` are ours; `num_draws` is the peers' `K`.
    """
    theirs = {"K": options["num_draws"]} if "num_draws" in options else {}
    own = partial(ours.of_itself, method, task, latent_dim)
    found: Makers = {"isthmus": partial(own, **options)}
    if method in MIXTURES:
        found["isthmus, routes sampled"] = partial(own, stratified=False, **options)
    for peer in peers:
        found[peer] = partial(build, peer, method, task, latent_dim=latent_dim, **theirs)
    return found


Point = tuple[int, Makers, Callable[[Peer], Contender]]  # where on the curve, who, and what is timed


def curve(section: str, method: str, points: Sequence[Point], most: int = 0) -> Case:
    """A row for each of `who` at each point. All points take turns: a minute in which the machine is slow bends no
    curve.
    """
    entries, contenders = [], {}
    for x, who, work in points:
        head = {"section": section, "method": method, "x": x, "unit": "s"}
        entries += [Entry({**head, "who": label}, (f"{label}, {x}",)) for label in who]
        contenders |= {f"{label}, {x}": partial(made_contender, make, work) for label, make in who.items()}
    reach = "-".join(str(x) for x in sorted({points[0][0], points[-1][0]}))
    return Case(f"{section} {method} {reach}", entries, contenders, most=most)


@cache
def noise(task_shapes: tuple[tuple[str, tuple[int, ...]], ...], count: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.rand(count, *shape, generator=generator) for name, shape in task_shapes}


def steps(x: int, who: Makers, task: Task, batch: int = BATCH) -> Point:
    values = partial(noise, tuple(task.shapes.items()), batch)
    return x, who, partial(step_work, values=values, least=0.5)


# --- what grows -------------------------------------------------------------------------------------------------------


def modalities(quick: bool, threads: int) -> list[Case]:
    """Steps of every method; beside two of them the peers', whose other methods take another work at other `M`."""
    counts = (2, 3) if quick else (2, 3, 4, 6, 8, 10, 12)
    beside = {"mvtcae": tuple(PEERS), "mmvae": tuple(PEERS)}
    tasks = [(count, pictures(count)) for count in counts]
    return [
        curve(
            "modalities", name, [steps(count, makers(name, task, beside.get(name, ())), task) for count, task in tasks]
        )
        for name in METHODS
    ]


def batch(quick: bool, threads: int) -> list[Case]:
    """Steps of mvtcae, and the peak memory of an epoch of two."""
    task, sizes = pictures(), (16, 32) if quick else (16, 32, 64, 128, 256, 512, 1024)
    found = [curve("batch", "mvtcae", [steps(size, makers("mvtcae", task), task, size) for size in sizes])]
    words = {"isthmus": ["isthmus", "multivae"], **{peer: [peer, peer] for peer in PEERS}}
    for size in sizes:
        contenders = {
            who: partial(peak, [*told, "mvtcae", str(size), str(2 * size)], threads) for who, told in words.items()
        }
        head = {"section": "memory", "method": "mvtcae", "x": size, "unit": "MiB"}
        entries = [Entry({**head, "who": who}, (who,)) for who in words]
        found.append(Case(f"memory mvtcae {size}", entries, contenders, most=1))
    return found


def draws(quick: bool, threads: int) -> list[Case]:
    """Steps of mmvae; 16 items, since K M^2 of them are decoded."""
    task, counts = pictures(), (1, 2) if quick else (1, 2, 5, 10, 20, 50)
    points = [steps(count, makers("mmvae", task, ["multivae"], num_draws=count), task, 16) for count in counts]
    return [curve("draws", "mmvae", points)]


def latent(quick: bool, threads: int) -> list[Case]:
    """Steps of mvtcae with codes of more dimensions."""
    task, sizes = pictures(), (16, 32) if quick else (16, 32, 64, 128, 256, 512)
    return [curve("latent", "mvtcae", [steps(size, makers("mvtcae", task, latent_dim=size), task) for size in sizes])]


def items(quick: bool, threads: int) -> list[Case]:
    """Batches of all items from our store, in random order; and an epoch of mvtcae by the trainers, of peers up to
    100,000 items.
    """
    task, found = vectors(dict.fromkeys("abcdef", 16)), []
    for count in (500, 1000) if quick else (1000, 10_000, 100_000, 1_000_000):
        values = partial(noise, tuple(task.shapes.items()), count)
        own = {"isthmus": partial(ours.of_itself, "mvtcae", task)}
        found.append(curve("loader", "mvtcae", [(count, own, lambda _, values=values: _loading(values()))]))
        who = makers("mvtcae", task, PEERS if count <= 100_000 else ())
        # Minutes each: every point is a case for itself, from which a run goes on.
        found.append(curve("items", "mvtcae", [(count, who, partial(epoch_work, values=values, batch=256))], most=3))
    return found


def _loading(values: dict[str, Tensor]) -> Contender:
    store = ours.store(values)
    order = torch.randperm(len(store), generator=torch.Generator().manual_seed(0))

    def load() -> None:
        for rows in order.split(256):
            ours.normalise(store.batch(rows))

    return Contender(lambda: store.batch(order[:256]), lambda: seconds_of(load))


SECTIONS: dict[str, Callable[[bool, int], list[Case]]] = {
    "modalities": modalities,
    "batch": batch,
    "draws": draws,
    "latent": latent,
    "items": items,
}


def main() -> int:
    given = parser_of(__doc__, SECTIONS, rounds=5, out=RESULTS / "growth.jsonl").parse_args()
    if given.table:
        return write_table(given.out, given.quick)
    torch.set_num_threads(given.threads)
    start, failed, book = time.perf_counter(), [], Book(given.out, given.keep)
    rounds = 2 if given.quick else given.rounds
    settings = {"threads": given.threads, "wanted_rounds": rounds, "quick": given.quick}
    for name in given.sections:
        failed += run_cases(SECTIONS[name](given.quick, given.threads), book, settings, rounds, math.inf)
    print(f"{(time.perf_counter() - start) / 60:.1f} minutes")
    for line in failed:
        print(f"FAILED {line}", file=sys.stderr)
    return 1 if failed else 0


def write_table(path: Path, quick: bool) -> int:
    rows = in_force(read_rows(path), quick)
    if not rows:
        print(f"There are no rows in {path.name} yet.", file=sys.stderr)
        return 1
    print(table(rows))
    if not quick:  # no page shows what was only tried
        PERFORMANCE.write_text(fill(PERFORMANCE.read_text(encoding="utf-8"), rows), encoding="utf-8")
    return 0


def fill(page: str, rows: Sequence[Row]) -> str:
    """The page with its block made from the rows."""
    return fill_blocks(page, NAME, lambda _: table(rows))


def table(rows: Sequence[Row]) -> str:
    return f"{made_on(rows[-1])}\n\n{fits(rows)}"


if __name__ == "__main__":
    sys.exit(main())
