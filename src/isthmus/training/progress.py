"""What a training says while it runs: a bar with time left on a terminal, plain lines elsewhere, or nothing."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

_NUM_LINES = 20


class Reporter:
    """Tells people how a training goes, on standard error.

    Args:
        num_epochs: Of the plan.
        num_steps: Of the plan.
        quiet: Say nothing.
        console: To write to.
    """

    def __init__(self, num_epochs: int, num_steps: int, quiet: bool = False, console: Console | None = None):
        self.console = console or Console(stderr=True)
        self.num_epochs, self.quiet = num_epochs, quiet
        self._next_line = 0.0
        self._shown = 0.0
        self._bar: Progress | None = None
        if not quiet and self.console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[figures]}"),
            )
            self._bar = Progress(*columns, console=self.console, transient=True)
            self._task = self._bar.add_task("training", total=num_steps, figures="")
            self._bar.start()

    def step(self, index: int, loss: Tensor) -> None:
        """A step is done; the bar moves at most ten times a second, as reading a loss waits for the device."""
        if self._bar is not None and time.monotonic() - self._shown > 0.1:
            self._shown = time.monotonic()
            self._bar.update(self._task, completed=index + 1)
            self._bar.update(self._task, description=f"loss {float(loss):.1f}")

    def epoch(self, train: Mapping[str, Any], validation: Mapping[str, Any] | None) -> None:
        """An epoch is done; of many epochs some twenty are told where there is no bar."""
        text = summary(train, validation)
        if self._bar is not None:
            self._bar.update(self._task, completed=train["step"], figures=escape(text))
        elif not self.quiet and train["epoch"] >= self._next_line:
            self._next_line = train["epoch"] + math.ceil(self.num_epochs / _NUM_LINES)
            self.console.print(
                f"epoch {train['epoch']}/{self.num_epochs}  {text}", markup=False, highlight=False, soft_wrap=True
            )

    def say(self, text: str) -> None:
        """A message, above the bar if there is one."""
        if not self.quiet:
            self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()


def summary(train: Mapping[str, Any], validation: Mapping[str, Any] | None) -> str:
    """Loss, and reconstruction by modality, in nats per item; of validation where there is one."""
    shown = validation or train
    parts = [f"loss {train['loss']:.1f}"] + ([f"validation {validation['loss']:.1f}"] if validation else [])
    for name, value in shown.items():
        prefix, _, modality = name.partition("/")
        if prefix == "reconstruction":
            parts.append(f"{modality} {value:.1f}")
    return "  ".join(parts)
