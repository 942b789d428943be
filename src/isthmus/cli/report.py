"""`isthmus report`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from isthmus.cli.options import Json, OwnOrNewTable, Quiet, RunFolder
from isthmus.cli.voice import Voice


def report(
    run: RunFolder,
    table: OwnOrNewTable = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="HTML file; report.html in the run.")] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write one HTML page about a run, which opens offline."""
    from isthmus.report import write_report
    from isthmus.runs import Run

    voice = Voice(json, quiet)
    opened = Run(run)
    voice.say("Writing the report")
    path = write_report(opened.folder, opened.read_table(table), output)
    voice.show(f"The report is {path}.")
    voice.figures({"output": str(path)})
