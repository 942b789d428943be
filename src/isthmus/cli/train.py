"""`isthmus train`"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli.options import Json, Quiet
from isthmus.cli.settings import (
    merge,
    read_kind_settings,
    read_names,
    read_pairs,
    read_settings,
    read_value,
    read_weights,
)
from isthmus.cli.voice import Voice, WrongUse, aligned, count, judging_words

if TYPE_CHECKING:
    from isthmus.data.prepare import Prepared
    from isthmus.runs import Run


def train(
    table: Annotated[
        Path | None,
        typer.Argument(metavar="TABLE", help="CSV, TSV, JSON lines, Parquet or a folder; blanks in it are gaps."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder that the run leaves behind.")] = Path("run"),
    aim: Annotated[
        str | None,
        typer.Option("--for", metavar="AIM", help="Settings that suit an aim: clustering. Flags win over it."),
    ] = None,
    method: Annotated[str | None, typer.Option(help="Published method; 'isthmus methods' lists them.")] = None,
    latent_dim: Annotated[int | None, typer.Option(help="Numbers in the code.")] = None,
    free_bits: Annotated[
        float | None,
        typer.Option(help="Bits of each item's divergence that cost nothing: against codes that say nothing."),
    ] = None,
    sampler: Annotated[
        str | None, typer.Option(help="What new items are drawn from: mixture, flow, diffusion or prior.")
    ] = None,
    width: Annotated[int | None, typer.Option(help="Features of each encoder.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training items; follows their number.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Items of a step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Of the start.")] = None,
    optimiser: Annotated[str | None, typer.Option(help="adam, adamw, nadam or radam.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Decoupled with adamw.")] = None,
    schedule: Annotated[str | None, typer.Option(help="cosine or constant.")] = None,
    clip_norm: Annotated[float | None, typer.Option(help="Longest gradient.")] = None,
    patience: Annotated[
        int | None, typer.Option(help="End after so many epochs without a better one by the validation items.")
    ] = None,
    precision: Annotated[str | None, typer.Option(help="auto, 32-true or bf16-mixed.")] = None,
    devices: Annotated[int | None, typer.Option(help="Processes, each with a device.")] = None,
    accelerator: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
    seed: Annotated[int | None, typer.Option(help="One seed, one result.")] = None,
    checkpoint_every: Annotated[float | None, typer.Option(help="Seconds between checkpoints.")] = None,
    tensorboard: Annotated[bool | None, typer.Option("--tensorboard", help="Also log for TensorBoard.")] = None,
    key: Annotated[str | None, typer.Option(help="Column that names items.")] = None,
    ignore: Annotated[list[str] | None, typer.Option(help="Columns to leave out: a,b. May come again.")] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="Columns kept for evaluation, not shown to the model.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Column that says train, validation or test.")] = None,
    group: Annotated[str | None, typer.Option(help="Column whose equal values stay in one split.")] = None,
    kind: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN=KIND", help="What a column is, as in wing_mm=number.")
    ] = None,
    modality: Annotated[
        list[str] | None, typer.Option(metavar="NAME=A,B", help="Columns that make one modality of their own.")
    ] = None,
    setting: Annotated[
        list[str] | None, typer.Option(metavar="MODALITY.NAME=VALUE", help="Of a kind, as in photo.size=32.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Of the method, as in beta=2.0.")
    ] = None,
    couple: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME[=WEIGHT]", help="Hold codes together, as in contrastive=0.1. May come again."),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file of the same names; flags win over it.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an unfinished run in --out stopped.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a run that is in --out.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train on a table: its columns are looked at and printed first."""
    flags = {
        **{
            "method": method,
            "latent_dim": latent_dim,
            "free_bits": free_bits,
            "sampler": sampler,
            "width": width,
            "epochs": epochs,
        },
        **{"batch_size": batch_size, "learning_rate": learning_rate, "optimiser": optimiser},
        **{"weight_decay": weight_decay, "schedule": schedule},
        **{"clip_norm": clip_norm, "patience": patience, "precision": precision, "devices": devices},
        **{"accelerator": accelerator, "seed": seed, "checkpoint_every": checkpoint_every, "tensorboard": tensorboard},
        **{"key": key, "ignore": read_names(ignore), "label": read_names(label), "split": split, "group": group},
        "kinds": read_pairs(kind, "--kind", "wing_mm=number"),
        "modalities": {
            name: read_names([columns])
            for name, columns in read_pairs(modality, "--modality", "body=wing_mm,mass_g").items()
        },
        "settings": read_kind_settings(setting),
        "options": {name: read_value(text) for name, text in read_pairs(option, "--option", "beta=2.0").items()},
        "couplings": read_weights(couple),
        "table": None if table is None else str(table),
    }
    if resume and force:
        raise WrongUse("--resume goes on with a run, --force replaces it: give one of them.")
    from isthmus.recipes import recipe
    from isthmus.runs import Run

    run, voice = Run(out), Voice(json, quiet)
    settings = {} if config is None else read_settings(config)
    if aim is not None:
        with judging_words():
            suited = recipe(aim)
        if given := method or settings.get("method"):
            raise WrongUse(f"--for {aim} trains {suited['method']}; leave out the method, {given}, or --for.")
        settings = merge(suited, settings)
    if resume and run.config.is_file():
        settings = merge(read_settings(run.config), settings)
    figures = train_run(run, merge(settings, flags), voice, resume=resume, force=force)
    voice.figures(figures)


def train_run(
    run: Run, settings: Mapping[str, Any], voice: Voice, *, resume: bool = False, force: bool = False
) -> dict[str, Any]:
    """Train from settings, as a YAML file holds them, and leave a run behind; its figures."""
    from isthmus.data.rejected import write_rejected
    from isthmus.data.table import read_table
    from isthmus.estimator import Autoencoder
    from isthmus.runs import write_codes
    from isthmus.training import TrainingInterrupted

    settings = dict(settings)
    table = settings.pop("table", None)
    if table is None:
        raise WrongUse("Which table? As in: isthmus train birds.csv --out runs/birds")
    _clear(run, resume, force)
    if resume and run.is_finished:
        voice.show(f"{run.folder} was trained to its end; there is nothing to go on with.")
        return {"run": str(run.folder), **run.load().made_}
    with judging_words():
        model = Autoencoder(**settings)
    voice.say(f"Reading {table}")
    source = read_table(table)
    try:
        with judging_words():
            prepared = model.prepare_fit(source, out=run.folder, say=voice.say)
    except BaseException:
        run.remove_store()  # which nobody will read
        raise
    if not voice.quiet:
        voice.show(describe(prepared))
    if not run.checkpoints.is_dir():  # else what they were made with stays said, should they refuse to go on
        run.write_config(model.to_config(), table)
    write_rejected(run.rejected, prepared.rejected)
    voice.say(_intention(model, prepared))
    try:
        model.train_prepared(out=run.folder, resume=resume, quiet=voice.quiet, say=voice.say)
    except TrainingInterrupted as stopped:
        raise TrainingInterrupted(f"{stopped}\nGo on with: isthmus train --resume --out {_quoted(run)}") from None
    finally:
        run.remove_store()
    for warning in model.history_.warnings:
        voice.show(f"Warning: {warning}")
    model.save(run.model)  # first of all: what comes after may fail, and training took the time
    write_codes(run.codes, model.embed_prepared(prepared), prepared)
    voice.show(_closing(run, model.made_))
    return {"run": str(run.folder), **model.made_}


def _clear(run: Run, resume: bool, force: bool) -> None:
    if force:
        with judging_words():
            run.clear()
    elif run.is_started and not resume:
        if run.is_finished:
            raise WrongUse(f"'{run.folder}' holds a run. Name another folder with --out, or replace it with --force.")
        raise WrongUse(
            f"'{run.folder}' holds a run that has not come to its end. Go on with it with --resume, or replace it with "
            "--force."
        )


def describe(prepared: Prepared) -> str:
    """The columns, what is to be known of them, and how many cells could not be read."""
    rows, shown = [], set()
    for row in prepared.describe():
        modality = row["modality"]
        # Columns of one modality share a shape, said once.
        shape = "" if modality in shown else row["shape"]
        shown.add(modality)
        named = "" if modality == row["column"] else modality
        rows.append((row["column"], row["role"], row["kind"], named, f"{row['missing']:.0%}", shape, row["note"]))
    header = ("column", "role", "kind", "modality", "missing", "shape", "why")
    notes = [f"Note: {note}" for note in prepared.notes]
    if prepared.rejected:
        notes.append(f"{count(len(prepared.rejected), 'cell')} could not be used and became gaps; see rejected.csv.")
    return "\n".join(["", aligned(header, rows), "", *notes])


def _intention(model: Any, prepared: Prepared) -> str:
    from isthmus.methods.coupled import coupled
    from isthmus.training import default_epochs

    items, training = model.made_["items"], model.training
    epochs = training.epochs or default_epochs(items["train"], training.batch_size)
    up_to, use = ("up to ", "stop") if training.patience else ("", "watch it")
    couplings = ", ".join(coupled(model.method_))
    method = f"{model.method} with {couplings}" if couplings else model.method
    return _told(model) + (
        f"Training {method} on {count(items['train'], 'item')} for {up_to}{count(epochs, 'epoch')}; "
        f"{items['validation']:,} to {use} by, {items['test']:,} kept for testing."
    )


def _told(model: Any) -> str:
    """What the modalities tell of one another, in one line; nothing where there is one alone."""
    told = model.made_["predictability"]
    if len(told) < 2:
        return ""
    shares = ", ".join(f"{name} {share:.0%}" for name, share in told.items())
    return f"Of what varies in each modality, a linear look at the others tells: {shares}.\n"


def _closing(run: Run, made: Mapping[str, Any]) -> str:
    best = "" if made["best_epoch"] is None else f", weights of epoch {made['best_epoch']}"
    name = _quoted(run)
    return (
        f"\nTrained for {count(made['epochs'], 'epoch')} in {made['seconds']:.0f} s{best}. The run is in {run.folder}, "
        f"the codes in {run.codes.name}. Next:\n"
        f"  isthmus evaluate {name}\n  isthmus report {name}\n  isthmus embed {name} new-table.csv"
    )


def _quoted(run: Run) -> str:
    return shlex.quote(str(run.folder))
