"""What a gap costs: an epoch with half the cells missing against one with none, the same items, in one run.

Five 3x28x28 modalities, `mvtcae`, batch 256, the library's own store, trainer step and networks; rounds interleaved,
so that a machine that slows down slows both.

    python benchmarks/gaps.py [--items 2048] [--rounds 5] [--method mvtcae] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch

from isthmus.data.store import Store
from isthmus.kinds.image import ImageKind
from isthmus.methods.base import build_method
from isthmus.modality import Modality
from isthmus.noise import Noise
from isthmus.objectives import Step
from isthmus.training.config import TrainingConfig
from isthmus.training.optimisers import make_optimiser

NUM_MODALITIES, SHAPE = 5, (3, 28, 28)


def make_store(num_items: int, missing: float, kind: ImageKind) -> Store:
    rng = np.random.default_rng(0)
    names = [f"m{m}" for m in range(NUM_MODALITIES)]
    present = {name: rng.random(num_items) >= missing for name in names}
    values = {name: rng.integers(0, 256, (int(present[name].sum()), *SHAPE), dtype=np.uint8) for name in names}
    return Store.from_arrays(values, present, dict.fromkeys(names, kind))


def epoch_seconds(store: Store, method_name: str, batch_size: int, kind: ImageKind) -> float:
    """Seconds of one epoch, after three steps that are not counted."""
    torch.manual_seed(0)
    example = kind.normalise(torch.zeros(2, *SHAPE, dtype=torch.uint8))
    modalities = {name: Modality.from_kind(kind, example, 256) for name in store.modalities}
    method = build_method(method_name, modalities, latent_dim=64)
    optimiser = make_optimiser(TrainingConfig(), dict(method.model.named_parameters()))
    objective = method.phases[0].players[0].objective

    def step(index: int, rows: torch.Tensor) -> None:
        batch = store.batch(rows)
        values = {name: kind.normalise(v) for name, v in batch.values.items()}
        batch = type(batch)(values, batch.present, batch.index)
        objective(method.model, batch, Step(index, 1.0, Noise(0, index))).loss.backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    parts = torch.randperm(len(store)).split(batch_size)
    for index, rows in enumerate(parts[:3]):
        step(index, rows)
    start = time.perf_counter()
    for index, rows in enumerate(parts):
        step(index, rows)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description="What a gap costs.")
    parser.add_argument("--items", type=int, default=2048)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--method", default="mvtcae")
    parser.add_argument("--missing", type=float, nargs="+", default=[0.5, 0.8])
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    kind = ImageKind().fit([np.random.default_rng(1).integers(0, 256, (28, 28, 3), dtype=np.uint8) for _ in range(8)])
    shares = [0.0, *arguments.missing]
    stores = {share: make_store(arguments.items, share, kind) for share in shares}
    seconds: dict[float, list[float]] = {share: [] for share in shares}
    for _ in range(arguments.rounds):
        for share, store in stores.items():
            seconds[share].append(epoch_seconds(store, arguments.method, arguments.batch_size, kind))
    figures = []
    for share in shares:
        ratios = [own / whole for own, whole in zip(seconds[share], seconds[0.0], strict=True)]
        figures.append(
            {
                "method": arguments.method,
                "missing": share,
                "epoch_seconds": statistics.median(seconds[share]),
                "ratio": statistics.median(ratios),
                "ratio_min": min(ratios),
                "ratio_max": max(ratios),
            }
        )
    if arguments.json:
        print(json.dumps(figures))
        return
    print(f"{arguments.method}, five 3x28x28, batch {arguments.batch_size}, {torch.get_num_threads()} threads")
    print("missing   epoch s   of complete (min-max)")
    for row in figures:
        print(
            f"{row['missing']:>7.0%} {row['epoch_seconds']:>9.2f}   "
            f"{row['ratio']:.2f} ({row['ratio_min']:.2f}-{row['ratio_max']:.2f})"
        )


if __name__ == "__main__":
    main()
