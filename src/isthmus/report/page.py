"""The page: everything above it gathered, and poured into a template."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from isthmus.estimator import Autoencoder
from isthmus.methods import get_method, method_defaults
from isthmus.model import num_parameters
from isthmus.report.code_map import code_maps
from isthmus.report.curves import Curves, curves
from isthmus.report.data import columns_section, gaps, pair_table, rejected_section
from isthmus.report.examples import generated, misfits, reconstructions, translations
from isthmus.report.figures import colour
from isthmus.report.glossary import terms
from isthmus.report.material import MAX_ROWS, Material, read_material
from isthmus.report.scores import score_tables
from isthmus.report.summary import findings, lead, tally, tiles
from isthmus.report.wording import count, listed
from isthmus.training.watch import MAX_ITEMS, collapse_warnings

FILE_NAME = "report.html"


def write_report(
    run: str | os.PathLike[str],
    table: Any | None = None,
    out: str | os.PathLike[str] | None = None,
    *,
    evaluation: Mapping[str, Any] | None = None,
    model: Autoencoder | None = None,
) -> Path:
    """Write one self-contained page about a run. It opens offline, runs no script and asks nothing of any server.

    The same run gives the same page, to the byte.

    Args:
        run: The run's folder.
        table: Anything that `isthmus.read_table` takes; the table that the run was trained on, by default.
        out: File to write; `report.html` in the run's folder, by default.
        evaluation: Scores, as `isthmus.evaluation.evaluate` gives them; those of `evaluation.json` in the run's folder,
            by default. Without any, the page has no scores and says how to get them.
        model: The run's model, if it is open already or has modules of the user's own.

    Returns:
        The file written.

    Raises:
        FileNotFoundError: There is no model in the folder, or the table is gone.
        ValueError: The table does not fit the model, or was never a file and is not given.
    """
    folder = Path(run)
    target = folder / FILE_NAME if out is None else Path(out)
    page = render(read_material(folder, table, evaluation, model), folder.resolve().name)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    partial.write_text(page, encoding="utf-8", errors="backslashreplace")
    os.replace(partial, target)
    return target


def render(material: Material, name: str) -> str:
    """The page of a run called `name`."""
    environment = Environment(
        loader=PackageLoader("isthmus.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    split, rows = material.unseen()
    charts = curves(material.metrics, material.modalities, material.model.made_.get("best_epoch"))
    tables = score_tables(material.evaluation or {})
    maps, plane = code_maps(material)
    worst, num_scored = misfits(material)
    gap_picture = gaps(material)
    return environment.get_template("page.html").render(
        name=name,
        method=material.model.method,
        lead=lead(material),
        tiles=tiles(material, charts),
        findings=findings(tables),
        tally=tally(tables),
        warnings=_warnings(material, rows),
        modalities=[(m, colour(number)) for number, m in enumerate(material.modalities)],
        shown=_shown(split, len(rows)),
        translations=translations(material),
        reconstructions=reconstructions(material),
        generated=generated(material),
        maps=maps,
        plane=plane,
        scored=material.evaluation is not None,
        tables=tables,
        score_notes=_score_notes(material),
        misfits=worst,
        num_scored=num_scored,
        data=columns_section(material),
        sampled=f"{MAX_ROWS:,} of {material.num_rows:,} rows" if material.num_rows > MAX_ROWS else "",
        gaps=gap_picture,
        pairs=pair_table(gap_picture),
        rejected=rejected_section(material.prepared.rejected),
        curves=charts,
        made=_made(material, charts),
        settings=_settings(material.model),
        terms=terms(),
    )


def _shown(split: str, number: int) -> str:
    """What the items are that the page shows."""
    words = {
        "test": f"{count(number, 'test item')}, which the model never saw in training",
        "validation": f"{count(number, 'validation item')}, as there are no test items; training was stopped by them",
        "train": f"{count(number, 'training item')}, as there are no others: this is memory, not understanding",
    }
    return words[split]


def _warnings(material: Material, rows: np.ndarray) -> list[str]:
    """Modalities that collapsed, and what was found wrong with the data."""
    batch = material.batch(rows[:MAX_ITEMS])
    noted = [*material.model.made_.get("notes", ()), *material.prepared.notes]
    return [*collapse_warnings(material.model.method_, batch), *(_sentence(note) for note in dict.fromkeys(noted))]


def _score_notes(material: Material) -> list[str]:
    evaluation = material.evaluation or {}
    return [_sentence(note) for part in ("notes", "leaks") for note in evaluation.get(part) or ()]


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def _made(material: Material, charts: Curves | None) -> list[tuple[str, str]]:
    """How the model was made, as `(what, value)`."""
    model, made = material.model, material.model.made_
    docstring = inspect.getdoc(get_method(model.method)) or model.method
    items = listed([f"{number:,} {split}" for split, number in made["items"].items()])
    facts = [
        ("Method", " ".join(docstring.split("\n\n")[0].split())),
        ("Size", f"{num_parameters([model.model]):,} trained numbers"),
        ("Items", items),
    ]
    if charts is not None:
        best = f"; the weights of epoch {charts.best_epoch} were kept" if charts.best_epoch is not None else ""
        facts.append(
            ("Training", f"{count(charts.num_epochs, 'epoch')}{f' in {charts.time}' if charts.time else ''}{best}")
        )
    return [
        *facts,
        ("Seed", str(model.training.seed)),
        ("Data", f"{PurePath(made['source']).name or 'a table in memory'}, hash {made['data_hash']}"),
        ("Versions", f"isthmus {made['isthmus']}, torch {made['torch']}"),
        ("Own modules", _own_modules(model)),
    ]


def _own_modules(model: Autoencoder) -> str:
    own = [f"{part} of {name}" for part in ("encoder", "decoder") for name in getattr(model, part) or {}]
    return listed(own) if own else "none"


def _settings(model: Autoencoder) -> str:
    """The whole configuration as YAML: what was said, and the defaults of the method and the training."""
    said = model.to_config()
    options = {**method_defaults(model.method), **dict(model.options or {})}
    whole = {"method": model.method, "latent_dim": model.latent_dim, "width": model.width, **said, "options": options}
    return yaml.safe_dump({**whole, **model.training.model_dump()}, sort_keys=False, allow_unicode=True)
