"""The settings of a training, and how long it lasts by default."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class TrainingConfig(BaseModel):
    """How a method is trained. What a file holds is what one would type.

    Args:
        epochs: Passes over the training items; None follows `default_epochs`.
        batch_size: Items of a step, over all processes together.
        learning_rate: Of the start, after a short rise.
        optimiser: A member of the Adam family.
        weight_decay: Decoupled in "adamw", else a squared penalty.
        schedule: "cosine" falls to a hundredth by the end; "constant" stays.
        clip_norm: Longest gradient, over all parameters of a player; None leaves it as it is, since Adam already
            steps by direction and a fixed length would mean another thing in every unit of the data.
        patience: Epochs without a better one by the validation items (`metrics.is_better`) before a phase ends; the
            best epoch's weights are kept then. None, the default, trains to the end of the schedule and keeps the last
            weights. Likelihood on validation items peaks early, as learnt scales grow too sure of themselves, while
            codes and translations still gain: on the demo's digits the peak is at epoch 29 of 185, and the end has
            the better probe of pictures (99.2 against 97.7 %) and the better R@10 on 5 of 6 routes (one seed, about
            100 test items, by which this default was chosen).
        precision: "auto" is bf16 with float32 weights where a GPU has it, else float32.
        devices: Processes; each has one device. On a CPU each computes on one thread.
        accelerator: "auto" takes a CUDA device if there is one.
        seed: Of the order of items and all noise; below 2^32, as scikit-learn, which fits densities of codes, asks for.
        checkpoint_every: Seconds between checkpoints; 0 writes one at each step.
        tensorboard: Also log to `tensorboard/` in the run folder.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=128, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    optimiser: Literal["adam", "adamw", "nadam", "radam"] = "adam"
    weight_decay: float = Field(default=0.0, ge=0)
    schedule: Literal["cosine", "constant"] = "cosine"
    clip_norm: float | None = Field(default=None, gt=0)
    patience: int | None = Field(default=None, ge=1)
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"
    devices: int = Field(default=1, ge=1)
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    seed: int = Field(default=0, ge=0, lt=2**32)
    checkpoint_every: float = Field(default=60.0, ge=0)
    tensorboard: bool = False


# A resumed run may change these: they say where and how visibly it runs, not what it computes.
FREE_SETTINGS = frozenset({"checkpoint_every", "tensorboard", "devices", "accelerator"})


def default_epochs(num_items: int, batch_size: int) -> int:
    """Epochs for a number of items, never for a clock, so that one seed gives one result on any machine.

    `7000 / sqrt(items)`: ten thousand items are seen 70 times, a hundred thousand 22 times. Passes fall and steps rise
    with the square root, between a fixed number of passes, too long for large tables, and a fixed number of steps, too
    many passes for small ones. At least 5 epochs, and at least 1000 steps, which a small table needs to get anywhere.
    """
    steps_per_epoch = math.ceil(num_items / batch_size)
    return max(round(7000 / math.sqrt(num_items)), 5, math.ceil(1000 / steps_per_epoch))
