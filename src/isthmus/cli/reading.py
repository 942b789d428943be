"""Opening a run and its tables: what the verbs that use a trained model begin with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from isthmus.cli.voice import Voice, count

if TYPE_CHECKING:
    from isthmus.data.prepare import Prepared
    from isthmus.estimator import Autoencoder
    from isthmus.runs import Run


def open_run(folder: Path) -> tuple[Run, Autoencoder]:
    """A run and its trained model."""
    from isthmus.runs import Run

    run = Run(folder)
    return run, run.load()


def tell_reading(voice: Voice, prepared: Prepared, rejected: Path | None = None) -> None:
    """What is to be known of a table, and how many of its cells could not be read."""
    for note in prepared.notes:
        voice.show(f"Note: {note}")
    if prepared.rejected:
        where = "" if rejected is None else f"; see {rejected}"
        voice.show(f"{count(len(prepared.rejected), 'cell')} could not be used and became gaps{where}.")
