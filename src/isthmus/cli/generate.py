"""`isthmus generate`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from isthmus.cli.options import Json, Quiet, RunFolder, Seed
from isthmus.cli.reading import open_run
from isthmus.cli.voice import Voice, contents


def generate(
    run: RunFolder,
    number: Annotated[int, typer.Option("--number", "-n", min=1, help="New items.")] = 16,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder.")] = Path("generated"),
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make new items, all modalities of each from one code."""
    from isthmus.items import ItemFolder

    voice = Voice(json, quiet)
    _, model = open_run(run)
    folder = ItemFolder(output, model)
    folder.write_generated(model.generate(number, seed=seed))
    voice.show(contents(number, folder.num_files, output))
    voice.figures({"output": str(output), "items": number, "files": folder.num_files})
