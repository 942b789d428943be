"""`isthmus demo`"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli.evaluate import evaluate_run
from isthmus.cli.options import Json, Quiet
from isthmus.cli.train import train_run
from isthmus.cli.translate import translate_table
from isthmus.cli.voice import Voice, WrongUse

if TYPE_CHECKING:
    from isthmus.runs import Run

NUM_TRANSLATED = 8
# Fewer than the default of 185 that 1,439 items would get: what there is to show is there by then.
EPOCHS = 150
QUICK_ITEMS, QUICK_EPOCHS = 200, 2


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for everything.")] = Path("demo-run"),
    quick: Annotated[bool, typer.Option("--quick", help="A minute's taste: few items, too few epochs.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """See it work on digits: written, spoken, and in words."""
    from isthmus.data.demo import NUM_ITEMS, write_demo
    from isthmus.report import write_report
    from isthmus.runs import Run

    voice, run = Voice(json, quiet), Run(out)
    if run.is_started and not _is_demo(run, out / "data"):
        raise WrongUse(f"'{out}' holds something that is no demo. Name another folder with --out.")
    voice.say(f"Writing pictures, sounds and a table to {out / 'data'}")
    table = write_demo(out / "data", num_items=QUICK_ITEMS if quick else NUM_ITEMS)
    settings: dict[str, Any] = {"table": str(table), "key": "key", "label": ["label"]}
    figures = train_run(run, settings | {"epochs": QUICK_EPOCHS if quick else EPOCHS}, voice, force=True)
    model = run.load()
    scores = evaluate_run(run, model, voice, num_draws=8 if quick else 64)
    source = run.read_table()
    for start in model.kinds_:
        cells = zip(source["split"], source[start], strict=True)
        rows = [row for row, (split, cell) in enumerate(cells) if split == "test" and cell is not None]
        some = source.take(rows[:NUM_TRANSLATED])
        for end in model.kinds_:
            if start != end:
                translate_table(model, some, [start], end, out / "translations" / f"{start}-to-{end}", voice)
    voice.say("Writing the report")
    page = write_report(run.folder, source)
    voice.show(f"\nCodes are in {run.codes}, translations in {out / 'translations'}.")
    voice.show(f"The report is {page}: open it in a browser.")
    voice.figures({"train": figures, "evaluation": scores, "report": str(page)})


def _is_demo(run: Run, data: Path) -> bool:
    """Whether a run is of an earlier demo in the same folder, which this one may replace."""
    return run.table is not None and run.table.parent == data.absolute()
