"""One contender of quality at equal time, in a process of its own: prints a line of JSON for each budget.

    python benchmarks/speed/quality_one.py JOB

`JOB` is a `Job` as JSON. What libraries print goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from peers import Refused
from quality_contenders import Contender, num_items, train
from quality_data import Recipe, load
from quality_scores import JUDGE_STEPS, Model, judges, real, scores


@dataclass(frozen=True)
class Job:
    """What one process does.

    Args:
        contender: Who is trained; None to make data and judges alone.
        recipe: Of the data.
        source: Folder with `mnist.npz` and `fsdd/`.
        work: Where data and judges are kept.
        budgets: Seconds of training.
        threads: Of torch.
        judge_steps: Of training a judge, at most.
    """

    contender: Contender | None
    recipe: Recipe
    source: str
    work: str
    budgets: Sequence[float] = field(default_factory=list)
    threads: int = 2
    judge_steps: int = JUDGE_STEPS

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Job:
        told = json.loads(text)
        contender = told.pop("contender")
        recipe = Recipe(**told.pop("recipe"))
        return cls(None if contender is None else Contender(**contender), recipe, **told)


def main() -> None:
    # Libraries print; the lines that are waited for go where they are waited for.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def tell(row: dict[str, Any]) -> None:
        print(json.dumps(row), file=answers, flush=True)

    run(Job.from_json(sys.argv[1]), tell)


def run(job: Job, tell: Any) -> None:
    """Do a job; `tell` gets the rows."""
    torch.set_num_threads(job.threads)
    data = load(job.recipe, Path(job.source), Path(job.work))
    judged = judges(data, data.folder, job.judge_steps)
    if job.contender is None:
        tell({"real": real(data, judged)})
        return
    items = num_items(job.contender, data)

    def reached(budget: float, seconds: float, epochs: float, model: Model) -> None:
        found = scores(model, data, judged)
        tell({"x": budget, "seconds": round(seconds, 2), "epochs": round(epochs, 3), "trained": items, "scores": found})

    try:
        train(job.contender, data, job.budgets, reached)
    except Refused as refusal:
        tell({"refused": str(refusal)})


if __name__ == "__main__":
    main()
