"""Arguments and options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, as train left it.")]
OwnOrNewTable = Annotated[
    Path | None, typer.Argument(metavar="[TABLE]", help="A table; without one, that which the run was trained on.")
]
NewTable = Annotated[Path, typer.Argument(metavar="TABLE", help="CSV, TSV, JSON lines, Parquet or a folder.")]
Draws = Annotated[
    int, typer.Option(min=0, help="Draws for each item; 0 takes the likeliest code and the likeliest cell.")
]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of what is drawn.")]
Json = Annotated[bool, typer.Option("--json", help="Print the figures as one line of JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Do not tell what goes on.")]
