"""All scores of an evaluation as tables.

Nothing is computed here: the numbers are those of `evaluation.json`.
"""

from __future__ import annotations

from isthmus.evaluation import retrieval
from isthmus.report.score_table import Entry, Floors, Form, ScoreTable, make_table, names_of
from isthmus.report.wording import count, listed, percent


def score_tables(evaluation: Entry) -> list[ScoreTable]:
    """All tables that the evaluation has numbers for."""
    label = str(evaluation.get("label") or "label")
    tables = [
        *_routes(evaluation),
        *_retrieval(evaluation, label),
        _probes(evaluation, label),
        _clusters(evaluation, label),
        _coherence(evaluation, label),
        _new_items(evaluation, label),
        _likelihood(evaluation),
    ]
    return [table for table in tables if table.rows]


def _routes(evaluation: Entry) -> list[ScoreTable]:
    """Translations, then reconstructions; a table for each measure, since two measures share no scale."""
    entries = evaluation.get("routes") or []
    form = Form(
        "error", "error", False, False, [("exact", "exactly right", True), ("length_error", "error of length", True)]
    )
    tables = []
    for rebuilt in (False, True):
        of_sort = [entry for entry in entries if (names_of(entry["source"]) == names_of(entry["target"])) == rebuilt]
        for metric in dict.fromkeys(str(entry["metric"]) for entry in of_sort):
            own = [entry for entry in of_sort if entry["metric"] == metric]
            targets = listed(list(dict.fromkeys(str(entry["target"]) for entry in own)), limit=4)
            title = f"Rebuilding {targets}" if rebuilt else f"Making {targets} from other modalities"
            what = "rebuilt from the cell's own code" if rebuilt else "made"
            explanation = f"How far what is {what} is from the real cell: {metric}."
            if "mean predictor" in metric:
                explanation += " 0 is exact; 1 is no better than always guessing the average."
            tables.append(make_table(title, explanation, form, own))
        if not rebuilt:
            tables += _columns(of_sort)
    return tables


def _columns(entries: list[Entry]) -> list[ScoreTable]:
    """The columns of table modalities, each made from the most that there is beside it."""
    form = Form("error", "error", False, False, [("r", "correlation r", False)])
    explanation = (
        "Numbers: error relative to always guessing the average (1 is no better). Categories: share of wrong guesses."
    )
    tables = []
    for target in dict.fromkeys(str(entry["target"]) for entry in entries if entry.get("columns")):
        widest = max(
            (entry for entry in entries if entry["target"] == target), key=lambda entry: len(names_of(entry["source"]))
        )
        columns = [{**column, "target": column["column"], "source": widest["source"]} for column in widest["columns"]]
        source = listed(names_of(widest["source"]), limit=4)
        tables.append(make_table(f"Columns of {target} from {source}", explanation, form, columns))
    return tables


def _retrieval(evaluation: Entry, label: str) -> list[ScoreTable]:
    entries = evaluation.get("retrieval") or []

    def of_item(entry: Entry) -> Floors:
        return {"chance": entry.get("chance10"), **{name: floor.get("r10") for name, floor in entry["floors"].items()}}

    def of_label(entry: Entry) -> Floors:
        return {name: floor.get("precision1") for name, floor in entry["floors"].items()}

    labelled = [entry for entry in entries if entry.get("precision1") is not None]
    return [
        make_table(
            "Finding an item",
            "Given an item in one modality, all unseen items are ranked by how near their codes in the other modality "
            "are. The score is how often the very same item is among the first ten. Items that differ in nothing the "
            f"two modalities share cannot be told apart, by anybody. {' '.join(retrieval.remarks(entries))}".rstrip(),
            Form("r10", "in the first 10", True, True, [("r1", "first", True)], of_item),
            entries,
        ),
        make_table(
            f"Finding the right ‘{label}’",
            f"How often the nearest item in the other modality has the same ‘{label}’.",
            Form("precision1", "right", True, True, floors=of_label),
            labelled,
        ),
    ]


def _probes(evaluation: Entry, label: str) -> ScoreTable:
    return make_table(
        f"Reading ‘{label}’ from the code",
        f"How often a plain linear classifier, given nothing but the code, names the ‘{label}’ of an unseen item. "
        "‘Supervised network’ is what networks reach that were trained on it: a reference, not a floor.",
        Form("accuracy", "right", True, True, [("supervised", "supervised network", True)]),
        evaluation.get("probe") or [],
    )


def _clusters(evaluation: Entry, label: str) -> ScoreTable:
    def floors(entry: Entry) -> Floors:
        return {name: floor.get("accuracy") for name, floor in entry["floors"].items()}

    return make_table(
        f"Finding ‘{label}’ without being told",
        f"Codes are put into as many heaps as there are values of ‘{label}’ (k-means); the score is how often the "
        f"heap stands for the item's ‘{label}’, under the best match of heaps to values. NMI and ARI say the same on "
        "scales where 0 is chance and 1 is perfect.",
        Form("accuracy", "right", True, True, [("nmi", "NMI", False), ("ari", "ARI", False)], floors),
        evaluation.get("clusters") or [],
    )


def _coherence(evaluation: Entry, label: str) -> ScoreTable:
    extras = [
        ("judge_accuracy", "judge on real cells", True),
        ("variance_ratio", "variety", False),
        ("frechet", "Frechet distance", False),
    ]
    return make_table(
        f"Keeping ‘{label}’ in translation",
        f"How often a judge, trained on real cells, sees the item's own ‘{label}’ in what was made from another "
        "modality. The judge's own hits on real cells are beside it: more is hardly possible. One and the same cell "
        "for each value would score high too, so two numbers guard against it: variety (1 is as varied as real cells "
        "of one value, 0 is all alike) and Frechet distance (how far made cells are from real ones; lower is closer).",
        Form("coherence", "right", True, True, extras),
        evaluation.get("coherence") or [],
    )


def _new_items(evaluation: Entry, label: str) -> ScoreTable:
    joint, judges = evaluation.get("joint") or {}, evaluation.get("judges") or {}
    entries = [
        {"target": name, "n": joint.get("n"), "real": (judges.get(name) or {}).get("frechet_real"), **scores}
        for name, scores in (joint.get("modalities") or {}).items()
    ]
    agreed = ""
    if joint.get("coherence") is not None:
        share, items = percent(joint["coherence"], joint["n"]), count(joint["n"], "new item")
        agreed = f" In {share} of {items} all modalities show the same ‘{label}’."
    return make_table(
        "New items",
        f"Whether items that never existed look like real ones, and vary as they do.{agreed} Frechet distance: lower "
        "is closer to real cells; beside it that of real training cells, which nothing can be expected to beat. "
        "Variety: 1 is as varied as real cells of one value.",
        Form(
            "frechet",
            "Frechet distance",
            False,
            False,
            [("real", "of real cells", False), ("variance_ratio", "variety", False)],
        ),
        entries,
    )


def _likelihood(evaluation: Entry) -> ScoreTable:
    return make_table(
        "Likelihood",
        "How probable the model finds unseen items, in nats (natural units of information): higher is better, and one "
        "nat more is e = 2.7 times as probable. Given a source, a target should become more probable than with the "
        "source unseen. The error is one standard error over items.",
        Form("nats", "nats", False, True, [("standard_error", "± error", False)]),
        evaluation.get("likelihood") or [],
    )
