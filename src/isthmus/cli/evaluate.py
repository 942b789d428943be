"""`isthmus evaluate`"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli.options import Json, OwnOrNewTable, Quiet, RunFolder, Seed
from isthmus.cli.reading import open_run, tell_reading
from isthmus.cli.voice import Voice, aligned, judging_words

if TYPE_CHECKING:
    from isthmus.estimator import Autoencoder
    from isthmus.runs import Run


def evaluate(
    run: RunFolder,
    table: OwnOrNewTable = None,
    label: Annotated[str | None, typer.Option(help="Column to score codes by; the run's label column.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="JSON file; evaluation.json in the run.")
    ] = None,
    draws: Annotated[int, typer.Option(min=1, help="Draws for each likelihood.")] = 64,
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Score a run on unseen items, beside floors without a network."""
    voice = Voice(json, quiet)
    opened, model = open_run(run)
    voice.figures(evaluate_run(opened, model, voice, table, label, output, draws, seed))


def evaluate_run(
    run: Run,
    model: Autoencoder,
    voice: Voice,
    table: Path | None = None,
    label: str | None = None,
    output: Path | None = None,
    num_draws: int = 64,
    seed: int = 0,
) -> dict[str, Any]:
    """Score a run and write the scores; the scores."""
    from isthmus.saving import write_json

    source = run.read_table(table)
    if label is not None:
        with judging_words():
            source.select([label])
    prepared = model.prepare(source)
    # Floors and judges are fitted on training items: a table that has none of them needs the one that was trained on.
    trained = None if table is None or len(prepared.rows("train")) else run.read_table()
    tell_reading(voice, prepared, run.rejected if table is None else None)
    scores = model.evaluate(
        prepared,
        label=label,
        train=trained,
        seed=seed,
        num_draws=num_draws,
        say=lambda part: voice.say(f"Scoring {part}"),
    )
    path = run.evaluation if output is None else output
    write_json(path, scores)
    voice.show(summary(scores))
    voice.show(f"\nAll scores are in {path}; 'isthmus report {run.folder}' draws them.")
    return scores


def summary(scores: Mapping[str, Any]) -> str:
    """The scores as tables, each beside its best floor."""
    from isthmus.evaluation import retrieval

    parts = []
    routes = [
        (_route(entry), entry["n"], entry["error"], *_best(entry["floors"], lowest=True), entry["metric"])
        for entry in scores["routes"]
    ]
    parts.append(_part("Error of what is decoded (lower is better)", "route n error floor by measured-in", routes))
    pairs = [
        (f"{entry['source']} -> {entry['target']}", entry["n"], entry["r1"], entry["r10"], entry["chance1"],
         *_best({name: floor["r1"] for name, floor in entry["floors"].items()}))
        for entry in scores["retrieval"]
    ]  # fmt: skip
    parts.append(_part("Finding the partner of an item (higher is better)", "route n R@1 R@10 chance floor by", pairs))
    parts += retrieval.remarks(scores["retrieval"])
    probes = [
        (" + ".join(entry["source"]), entry["n"], entry["accuracy"], *_best(entry["floors"]), entry["supervised"])
        for entry in scores["probe"]
    ]
    label = scores.get("label")
    parts.append(
        _part(f"Telling {label} from the code (higher is better)", "from n accuracy floor by supervised", probes)
    )
    coherence = [
        (
            _route(entry),
            entry["n"],
            entry["coherence"],
            *_best(entry["floors"]),
            entry["variance_ratio"],
            entry["frechet"],
        )
        for entry in scores["coherence"]
    ]
    header = "route n coherence floor by variance frechet"
    parts.append(_part(f"Translations that show the right {label} (higher is better)", header, coherence))
    parts.append("\n".join(f"Note: {note}" for note in scores["notes"]))
    return "\n\n".join(part for part in parts if part)


def _part(title: str, header: str, rows: Sequence[Sequence[Any]]) -> str:
    return f"{title}\n{aligned(header.split(), rows)}" if rows else ""


def _route(entry: Mapping[str, Any]) -> str:
    source = entry["source"]
    return f"{source if isinstance(source, str) else ' + '.join(source)} -> {entry['target']}"


def _best(floors: Mapping[str, float | None], lowest: bool = False) -> tuple[float | None, str]:
    """The best floor and its name."""
    known = {name: value for name, value in floors.items() if value is not None}
    if not known:
        return None, ""
    name = (min if lowest else max)(known, key=lambda name: known[name])
    return known[name], name
