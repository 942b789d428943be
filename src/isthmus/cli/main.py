"""`isthmus`: the verbs, and what becomes of errors. Exit codes: 0 done, 1 failed, 2 wrong use."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Annotated

import typer

from isthmus import __version__
from isthmus.cli.demo import demo
from isthmus.cli.embed import embed
from isthmus.cli.evaluate import evaluate
from isthmus.cli.generate import generate
from isthmus.cli.impute import impute
from isthmus.cli.methods import methods
from isthmus.cli.report import report
from isthmus.cli.train import train
from isthmus.cli.translate import translate
from isthmus.cli.voice import WrongUse

VERBS = (train, evaluate, embed, translate, impute, generate, report, methods, demo)

app = typer.Typer(
    name="isthmus",
    help="Multimodal autoencoders: one small code that pictures, texts, sounds, series and columns share, from a "
    "table with gaps.",
    epilog="With ISTHMUS_TRACEBACK=1 every error shows where it came from.",
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _verb in VERBS:
    app.command()(_verb)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"isthmus {__version__}")
        raise typer.Exit


@app.callback()
def _isthmus(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run a verb; ends the process."""
    # Before torch is imported: threads that spin while they wait make a busy machine ten times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        app()
    except Exception as error:
        sys.exit(fail(error))


def fail(error: Exception) -> int:
    """Say what went wrong on standard error; the exit code."""
    if os.environ.get("ISTHMUS_TRACEBACK") == "1":
        traceback.print_exception(error)
        return 2 if isinstance(error, WrongUse) else 1
    if isinstance(error, WrongUse):
        print(f"isthmus: {error}", file=sys.stderr)
        return 2
    if is_expected(error):
        print(f"isthmus: {error or type(error).__name__}", file=sys.stderr)
        return 1
    traceback.print_exception(error)
    print("isthmus: This is a bug, not a fault of yours. Please report it with the lines above.", file=sys.stderr)
    return 1


def is_expected(error: Exception) -> bool:
    """Whether an error is one that its message explains: of what was given, of files, or of what is not installed."""
    if isinstance(error, ValueError | OSError | ImportError | MemoryError):
        return True
    # Told by name, for their module imports torch, which takes seconds.
    return type(error).__name__ in ("TrainingInterrupted", "NonFiniteLoss", "OutOfMemoryError")


if __name__ == "__main__":
    main()
