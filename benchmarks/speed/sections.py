"""The sections of the headline: which cases each has, and how long all of them may take together.

Every section is timed on the same networks in all libraries, `peers_networks.py`, on the same values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import ours
from breakdown import breakdown_cases
from cases import Case, Contender, Entry, compare
from floor import floor_case, layers_contender, step_parts
from fresh import startup_cases
from levers import lever_cases
from pairs import GAPPY, LIKELIHOOD_MARKS, MIXTURES, Pair, pairs_of
from peers import METHODS, Peer, build
from peers_networks import Task, draw_presence, pictures
from work import (
    Amount,
    Values,
    embed_work,
    epoch_work,
    first,
    likelihood_work,
    made_contender,
    picture_values,
    step_work,
    views,
)

# From the quickest to the slowest: what one leaves of its time is the next one's.
ORDER = sorted(METHODS, key="mvtcae mopoe jmvae mvae fused mmvae+ mmvae".split().index)
MANY_DECODES = (*MIXTURES, "fused")  # M^2 decodes a step: half as many items make an epoch
DENSE_BATCH = 64
LIKELY = [name for name in ORDER if name != "fused"]


@dataclass(frozen=True)
class Settings:
    """What a run is told.

    Args:
        rounds: Of each case, if time suffices.
        threads: Of every library.
        quick: Only to see that it works: small batches, few items, two rounds.
        data: The folder of data sets, with `multiview/mfeat.npz`; None leaves out what needs it.
    """

    rounds: int = 5
    threads: int = 2
    quick: bool = False
    data: Path | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """Its part in the identity of a row."""
        return {"threads": self.threads, "wanted_rounds": self.rounds, "quick": self.quick}

    @property
    def batches(self) -> tuple[int, ...]:
        return (16,) if self.quick else (256, 64)

    @property
    def mfeat(self) -> Path | None:
        """The six views, if they are there."""
        path = None if self.data is None else self.data / "multiview" / "mfeat.npz"
        return path if path is not None and path.is_file() else None


# --- a case of pairs --------------------------------------------------------------------------------------------------

Work = Callable[[Peer], Contender]


def pair_case(head: Mapping[str, Any], task: Task, pairs: Sequence[Pair], work: Work, least: int = 2) -> Case:
    """Ours and the peers' of some pairs, at one work."""
    entries, contenders = [], {}
    for pair in pairs:
        own, other = ours.label(pair), ours.peer_label(pair)
        contenders[own] = partial(made_contender, partial(ours.of_pair, pair, task), work)
        contenders[other] = partial(made_contender, partial(build, pair.peer, pair.method, task, **pair.theirs), work)
        said = {"peer": pair.peer, "draws": pair.num_draws, "sampled": pair.sampled}
        notes = {
            "marks": pair.marks,
            "decodes": pair.decodes(len(task.shapes)),
            "ours": dict(pair.ours),
            "theirs": dict(pair.theirs),
        }
        entries.append(Entry({**head, **said}, (own, other), notes, pair.left_out))
    several = [f"K={pairs[0].num_draws}"] if pairs[0].num_draws > 1 else []
    name = " ".join([*(str(value) for key, value in head.items() if key != "unit"), *several])
    return Case(name, entries, contenders, least)


# --- the sections -----------------------------------------------------------------------------------------------------


def step_cases(settings: Settings) -> list[Case]:
    """Forward, backward and Adam, on tensors in memory."""
    least = 0.0 if settings.quick else 0.5

    def case(method: str, batch: int, draws: int = 1) -> Case:
        head = {"section": "step", "method": method, "batch": batch, "unit": "s"}
        work = partial(step_work, values=partial(picture_values, batch), least=least)
        return pair_case(head, pictures(), pairs_of(method, num_draws=draws), work)

    cases = [case(method, batch) for method in ORDER for batch in settings.batches]
    return [*cases, case("mmvae", min(settings.batches), 3 if settings.quick else 10)]


def trainer_cases(settings: Settings) -> list[Case]:
    """A step within an epoch of our trainer, from the store, beside a bare one: what trainer and data add. And the bare
    one beside its layers alone: what is not convolutions and products.
    """
    cases = []
    for method, batch in [(method, batch) for method in ("mvtcae", "mvae") for batch in settings.batches]:
        pair, count = pairs_of(method)[0], 4 * batch if settings.quick else 1024
        make = partial(ours.of_pair, pair, pictures())
        bare = partial(step_work, values=partial(picture_values, batch), least=0.0 if settings.quick else 1.0)
        epoch = partial(epoch_work, values=partial(picture_values, count), batch=batch, units=count // batch)
        decodes = pair.decodes(len(pictures().shapes))
        parts = step_parts(pictures(), method, batch, decodes)
        trainer, step, layers = "isthmus, trainer", "isthmus, bare step", "layers alone"
        contenders = {
            trainer: partial(made_contender, make, epoch),
            step: partial(made_contender, make, bare),
            layers: partial(layers_contender, parts, 0.0 if settings.quick else 0.1),
        }
        head = {"section": "trainer", "method": method, "batch": batch, "items": count, "unit": "s"}
        notes = {"decodes": decodes}
        entries = [
            Entry({**head, "peer": "bare step"}, (trainer, step), {**notes, "step": "in our trainer"}),
            Entry({**head, "peer": layers}, (step, layers), {**notes, "step": "bare"}),
        ]
        cases.append(Case(f"trainer {method} {batch}", entries, contenders))
    return cases


def floor_cases(settings: Settings) -> list[Case]:
    """The layers of the step cases and of those of dense networks, each alone."""
    cases, least = [], 0.0 if settings.quick else 0.1
    for batch in settings.batches:
        heads = [entry for case in step_cases(settings) for entry in case.entries if entry.head["batch"] == batch]
        wanted = sorted({(entry.head["method"], int(entry.notes["decodes"])) for entry in heads})
        cases.append(floor_case(pictures(), batch, wanted, least))
    dense = overhead_cases(settings)
    if dense:
        entries = [entry for case in dense for entry in case.entries]
        wanted = sorted({(entry.head["method"], int(entry.notes["decodes"])) for entry in entries})
        assert settings.mfeat is not None
        cases.append(floor_case(views(settings.mfeat)[0], DENSE_BATCH, wanted, least, "mfeat"))
    return cases


def epoch_cases(settings: Settings) -> list[Case]:
    """An epoch through each library's own trainer, from its own data set object; in the larger batch with gaps too."""
    cases = []
    gaps = [(missing, max(settings.batches)) for missing in (0.5, 0.8)]
    for missing, batch in [*((0.0, batch) for batch in settings.batches), *gaps]:
        for method in ORDER if not missing else [*(name for name in ORDER if name in GAPPY), "jmvae", "fused"]:
            items = 4 * batch if settings.quick else 512 if method in MANY_DECODES else 1024
            head = {"section": "epoch", "method": method, "batch": batch, "missing": missing, "items": items}
            values = partial(picture_values, items)
            present = partial(draw_presence, items, list(pictures().shapes), missing) if missing else None
            work = partial(epoch_work, values=values, batch=batch, present=present)
            pairs = pairs_of(method, gaps=bool(missing), sampled=not missing)
            case = pair_case({**head, "unit": "s"}, pictures(), pairs, work)
            cases.append(_beside_complete(case, values, batch) if missing and method == "mvtcae" else case)
    return cases


def _beside_complete(case: Case, values: Values, batch: int) -> Case:
    """The same, and ours without gaps beside ours with them: what a gap spares."""
    own = case.entries[0]
    complete = "isthmus, without gaps"
    make = partial(ours.of_itself, "mvtcae", pictures(), dropout=0.0)
    contender = partial(made_contender, make, partial(epoch_work, values=values, batch=batch))
    entry = Entry({**own.head, "peer": complete}, (own.needs[0], complete))
    return Case(case.name, [*case.entries, entry], {**case.contenders, complete: contender}, case.least)


def overhead_cases(settings: Settings) -> list[Case]:
    """An epoch of small dense networks on the six views, where what is around them rules."""
    path = settings.mfeat
    if path is None:
        return []
    task, values = views(path)
    count, batch = (256 if settings.quick else len(values["pix"])), DENSE_BATCH
    head = {"section": "overhead", "task": "mfeat", "batch": batch, "items": count, "unit": "s"}
    work = partial(epoch_work, values=partial(first, values, count), batch=batch)
    return [pair_case({**head, "method": method}, task, pairs_of(method), work) for method in ORDER]


def likelihood_cases(settings: Settings) -> list[Case]:
    """The importance-sampled joint log-likelihood; seconds an item."""
    draws, cases = 20 if settings.quick else 1000, []
    tasks = [("pictures", pictures(), picture_values(8), 2 if settings.quick else 8)]
    if (path := settings.mfeat) is not None:
        tasks.append(("mfeat", *views(path), 4 if settings.quick else 64))
    for name, task, values, count in tasks:
        for method in LIKELY:
            head = {"section": "likelihood", "task": name, "method": method, "items": count, "what": f"K={draws}"}
            work = partial(likelihood_work, values=first(values, count), draws=draws)
            pairs = [
                replace(pair, marks=tuple(filter(None, [LIKELIHOOD_MARKS.get((pair.peer, method))])))
                for pair in pairs_of(method, sampled=False)
            ]
            cases.append(pair_case({**head, "unit": "s"}, task, pairs, work))
    return cases


def embed_cases(settings: Settings) -> list[Case]:
    """Mean codes of many items, in as many parts as there are rounds. Their pictures are one row shown many times, so
    that memory is not the matter.
    """
    count = 1024 if settings.quick else 100_000
    amount = Amount(count // settings.rounds, seconds=30.0)
    values = picture_values(1)
    work = partial(embed_work, values=values, amount=amount)
    head = {"section": "embed", "method": "mvtcae", "items": count, "unit": "s"}
    case = pair_case(head, pictures(), pairs_of("mvtcae"), work)

    def figures(*rounds: Sequence[float]) -> dict[str, Any]:
        return {**compare(*rounds), "measured_items": amount.items * len(rounds[0])}

    entries = [Entry(entry.head, entry.needs, entry.notes, entry.refused, figures) for entry in case.entries]
    return [Case(case.name, entries, case.contenders, case.least)]


def profile_cases(settings: Settings) -> list[Case]:
    """Where the time of steps goes."""
    return breakdown_cases(settings.batches, 1 if settings.quick else 5)


def levers(settings: Settings) -> list[Case]:
    """Steps with and without what may make them quicker."""
    return lever_cases(lambda count: partial(picture_values, count), settings.batches, 0.0 if settings.quick else 0.5)


# By name: the cases, and minutes for them on the machine that the headline was first made on.
SECTIONS: dict[str, tuple[Callable[[Settings], list[Case]], float]] = {
    "startup": (startup_cases, 3.5),
    "floor": (floor_cases, 1),
    "step": (step_cases, 6),
    "trainer": (trainer_cases, 2.5),
    "overhead": (overhead_cases, 2),
    "likelihood": (likelihood_cases, 3),
    "embed": (embed_cases, 3),
    "breakdown": (profile_cases, 0.5),
    "levers": (levers, 2.5),
    "epoch": (epoch_cases, 14),
}
