"""`isthmus embed`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from isthmus.cli.options import Json, OwnOrNewTable, Quiet, RunFolder
from isthmus.cli.reading import open_run, tell_reading
from isthmus.cli.voice import Voice


def embed(
    run: RunFolder,
    table: OwnOrNewTable = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Parquet file.")] = Path("codes.parquet"),
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write the code of every row of a table as Parquet."""
    from isthmus.data.rejected import write_rejected
    from isthmus.runs import write_codes

    voice = Voice(json, quiet)
    opened, model = open_run(run)
    prepared = model.prepare(opened.read_table(table))
    codes = model.embed_prepared(prepared)
    write_codes(output, codes, prepared)
    write_rejected(output.with_name("rejected.csv"), prepared.rejected)
    tell_reading(voice, prepared, output.with_name("rejected.csv"))
    empty = int((codes.observed == 0).sum())
    if empty:
        voice.show(f"{empty:,} of {len(codes.code):,} rows have nothing that could be read: their code is the prior's.")
    voice.show(f"{len(codes.code):,} codes of {codes.code.shape[1]} numbers are in {output}.")
    voice.figures(
        {
            "output": str(output),
            "items": len(codes.code),
            "latent_dim": codes.code.shape[1],
            "empty": empty,
            "rejected": len(prepared.rejected),
        }
    )
