"""`isthmus impute`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from isthmus.cli.options import Json, NewTable, Quiet, RunFolder, Seed
from isthmus.cli.reading import open_run, tell_reading
from isthmus.cli.voice import Voice, count


def impute(
    run: RunFolder,
    table: NewTable,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder.")] = Path("imputed"),
    draws: Annotated[int, typer.Option(min=0, help="Draws from which the spread of numbers is taken.")] = 0,
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Fill the gaps of a table; what is there stays as it is."""
    from isthmus.data.rejected import write_rejected
    from isthmus.items import ItemFolder

    voice = Voice(json, quiet)
    opened, model = open_run(run)
    prepared = model.prepare(opened.read_table(table))
    voice.say("Filling gaps")
    imputed = model.impute_prepared(prepared, num_draws=draws, seed=seed)
    folder = ItemFolder(output, model)
    folder.write_imputed(prepared, imputed)
    write_rejected(output / "rejected.csv", prepared.rejected)
    tell_reading(voice, prepared, output / "rejected.csv")
    filled = {column: int(blank.sum()) for column, blank in imputed.filled.items()}
    voice.show(
        f"{count(sum(filled.values()), 'cell')} of {count(len(prepared.keys), 'item')} were filled, in {output}."
    )
    voice.figures(
        {
            "output": str(output),
            "items": len(prepared.keys),
            "filled": filled,
            "files": folder.num_files,
            "rejected": len(prepared.rejected),
        }
    )
