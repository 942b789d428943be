"""`isthmus translate`"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli.options import Draws, Json, NewTable, Quiet, RunFolder, Seed
from isthmus.cli.reading import open_run, tell_reading
from isthmus.cli.settings import read_names
from isthmus.cli.voice import Voice, WrongUse, contents, judging_words

if TYPE_CHECKING:
    from isthmus.data.table import Table
    from isthmus.estimator import Autoencoder


def translate(
    run: RunFolder,
    table: NewTable,
    source: Annotated[list[str], typer.Option("--from", help="Modalities or columns to start from: photo,song.")],
    target: Annotated[str, typer.Option("--to", help="Modality or column to make.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder.")] = Path("translated"),
    draws: Draws = 0,
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make one modality from others, as files and items.csv."""
    voice = Voice(json, quiet)
    opened, model = open_run(run)
    voice.figures(
        translate_table(model, opened.read_table(table), read_names(source), target, output, voice, draws, seed)
    )


def translate_table(
    model: Autoencoder,
    table: Table,
    source: Sequence[str],
    target: str,
    output: Path,
    voice: Voice,
    num_draws: int = 0,
    seed: int = 0,
) -> dict[str, Any]:
    """Translate all rows of a table into a folder; figures."""
    from isthmus.data.rejected import write_rejected
    from isthmus.items import ItemFolder

    with judging_words():
        sources = {model.resolve(name)[0] for name in source}
        model.resolve(target)
    prepared = model.prepare(table, needed=sources)
    observed: list[int] = model.observed(prepared, source).tolist()
    if not any(observed):
        raise WrongUse(
            f"No row of this table has a {' or '.join(source)} that can be read: there is nothing to translate."
        )
    voice.say(f"Translating {' and '.join(source)} to {target}")
    cells = model.translate_prepared(prepared, source, target, num_draws=num_draws, seed=seed)
    folder = ItemFolder(output, model)
    folder.write_translated(prepared, target, cells, observed, num_draws)
    write_rejected(output / "rejected.csv", prepared.rejected)
    tell_reading(voice, prepared, output / "rejected.csv")
    empty = observed.count(0)
    if empty:
        voice.show(f"{empty:,} of {len(cells):,} rows have no {' or '.join(source)}: theirs come from the prior.")
    voice.show(contents(len(cells), folder.num_files, output))
    return {
        **{"output": str(output), "source": list(source), "target": target, "items": len(cells)},
        **{"files": folder.num_files, "empty": empty, "rejected": len(prepared.rejected)},
    }
