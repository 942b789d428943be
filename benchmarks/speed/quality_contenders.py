"""Who is compared for quality at equal time, and how each is trained and asked.

Every library gets batches of 128, the default of Isthmus (MultiVae's is 64, multi-view-AE's all items at once), Adam at
a rate of 0.001 and a code of 64 numbers. Of these "mmvae+" has one half for what is shared and one for what is private;
on our own networks it has 64 for either, its default.

- "isthmus": our networks, and all options of the method at their defaults, as `isthmus train` has them. Its seconds are
  those from the call of the trainer to the model that is ready to draw: validation items and the density fitted to the
  codes of training items are in them.
- "isthmus, same networks": the networks, likelihoods, objective and learning rate of a peer; `pairs.py` says what
  differs all the same. It is stopped on its way as the peers are. Its draws heed no density.
- "isthmus, routes sampled": of the mixtures, the same again with routes by lot, as the tables of speed have them.
- the peers, by their own trainers and data sets.

Codes are drawn as each library predicts from some modalities: from several, mixtures take the expert of one, drawn for
each item by ours and for each batch by the peers; for MoPoE, peers take the product of all that are given, ours any
part of it. What a peer cannot take is left out for it alone: multi-view-AE and MultiVae's JMVAE get the complete items
of a set with gaps.

Shapes: `N` items, `D` dimensions of a code.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import ours
import torch
from budgets import Budgets, Length, Spent
from pairs import MIXTURES, Pair, pair
from peers import PEERS, Peer, build
from peers_ours import MATCHED
from quality_data import ROLES, Data
from quality_scores import Model
from torch import Tensor

from isthmus.data.prepare import Prepared
from isthmus.estimator import Autoencoder
from isthmus.evaluation.codes import decode, encode

METHODS = ("mvtcae", "mopoe", "mvae", "mmvae", "mmvae+", "jmvae")
BATCH = 128
OURS, SAME, SAMPLED = "isthmus", "isthmus, same networks", "isthmus, routes sampled"
# Of predictions, which have no part in the objective.
PREDICTS = {("multiviewae", "mmvae+"): "the peer predicts from means of codes, where others are drawn"}
WITHOUT_GAPS = {("multivae", "jmvae"), *(("multiviewae", method) for method in METHODS)}  # need complete items


@dataclass(frozen=True)
class Contender:
    """One library at one method.

    Args:
        who: "isthmus", "isthmus, same networks", "isthmus, routes sampled", or a peer.
        method: As Isthmus names it.
        peer: Whose objective it has; empty for "isthmus".
        marks: What a reader has to know.
    """

    who: str
    method: str
    peer: str = ""
    marks: tuple[str, ...] = ()


def contenders(method: str, gaps: bool) -> list[Contender]:
    """All of a method, ours first; ours with a peer's objective once for all peers that have the same one."""
    pairs = [_pair(peer, method, gaps) for peer in PEERS]
    distinct: dict[str, Contender] = {}
    for one in pairs:
        if (one.peer, method) in MATCHED:
            distinct.setdefault(ours.label(one), Contender(SAME, method, one.peer, one.marks))
    if method in MIXTURES:
        first = _pair(next(iter(PEERS)), method, gaps, sampled=True)
        distinct["sampled"] = Contender(SAMPLED, method, first.peer, first.marks)
    predicts = {one.peer: (PREDICTS[one.peer, method],) for one in pairs if (one.peer, method) in PREDICTS}
    peers = [Contender(one.peer, method, one.peer, (*one.marks, *predicts.get(one.peer, ()))) for one in pairs]
    return [Contender(OURS, method), *distinct.values(), *peers]


def _pair(peer: str, method: str, gaps: bool, sampled: bool = False) -> Pair:
    return pair(peer, method, gaps=gaps and (peer, method) not in WITHOUT_GAPS, sampled=sampled)


Reached = Callable[[float, float, float, Model], object]  # a budget, seconds, epochs, and the model as it then is


def train(contender: Contender, data: Data, seconds: Sequence[float], reached: Reached) -> None:
    """Train until each of the budgets; every time, `reached` is told.

    Raises:
        Refused: A peer has no such method.
    """
    torch.manual_seed(0)
    if contender.who == OURS:
        _train_estimator(contender.method, data, seconds, reached)
        return
    gaps = not data.parts["train"].complete
    one = _pair(contender.peer, contender.method, gaps, contender.who == SAMPLED)
    if contender.who in (SAME, SAMPLED):
        peer: Peer = ours.of_pair(one, data.task)
    else:
        peer = build(contender.peer, contender.method, data.task, **one.theirs)
    part = data.parts["train"]
    rows = torch.arange(len(part.labels)) if peer.gaps else part.with_all(data.names)
    values = part.at(rows, data.names)
    present = {name: there[rows] for name, there in part.present.items()} if gaps and peer.gaps else None
    model = OfTensors(peer, data)
    budgets = Budgets(seconds, lambda budget, used, epochs: reached(budget, used, epochs, model))
    peer.train_until(values, budgets, batch_size=BATCH, present=present)


def num_items(contender: Contender, data: Data) -> int:
    """Items that it trains with."""
    part = data.parts["train"]
    alone = contender.who in PEERS and (contender.who, contender.method) in WITHOUT_GAPS
    return len(part.with_all(data.names)) if alone else len(part.labels)


@dataclass(frozen=True)
class OfTensors(Model):
    """A library behind the face that peers have."""

    peer: Peer
    data: Data

    def codes(self, part: str, names: Sequence[str], rows: Tensor) -> Tensor:
        return self.peer.codes(self.data.parts[part].at(rows, names))

    def translate(self, names: Sequence[str], targets: Sequence[str], rows: Tensor, drawn: bool) -> dict[str, Tensor]:
        return self.peer.translate(self.data.parts["test"].at(rows, names), targets, drawn)


# --- Isthmus on its own networks --------------------------------------------------------------------------------------


def _train_estimator(method: str, data: Data, seconds: Sequence[float], reached: Reached) -> None:
    fresh = Autoencoder(method, **ROLES, kinds=data.kinds, accelerator="cpu")
    prepared = fresh.prepare_fit(data.table)
    trained: list[Autoencoder] = []

    def anew(length: Length) -> Spent:
        made = copy.copy(fresh)
        made.method_ = copy.deepcopy(fresh.method_)
        made.training = fresh.training.model_copy(update={"epochs": length.epochs})
        made.prepared_ = share_of(prepared, length.share)
        trained[:] = [made]
        start = budgets.clock()
        made.train_prepared()
        return Spent(budgets.clock() - start, made.history_.seconds)

    budgets = Budgets(
        seconds, lambda budget, used, epochs: reached(budget, used, epochs, OfTable(trained[0], prepared, data))
    )
    budgets.each(anew)


def share_of(prepared: Prepared, share: float) -> Prepared:
    """With the first of training and validation items alone; items come in no order."""
    split = prepared.split.astype("<U10")
    for part in ("train", "validation"):
        rows = np.flatnonzero(split == part)
        split[rows[max(2, round(share * len(rows))) :]] = "unused"
    return replace(prepared, split=split)


@dataclass(frozen=True)
class OfTable(Model):
    """An estimator, asked of the table that it was made for."""

    estimator: Autoencoder
    prepared: Prepared
    data: Data

    def codes(self, part: str, names: Sequence[str], rows: Tensor) -> Tensor:
        return self.estimator.model.shared(self._encoded(part, names, rows).mean)

    def translate(self, names: Sequence[str], targets: Sequence[str], rows: Tensor, drawn: bool) -> dict[str, Tensor]:
        model, found = self.estimator.model, self._encoded("test", names, rows)
        with torch.no_grad():
            made = {name: decode(model, name, found.draw if drawn else found.mean) for name in targets}
        return {name: self.data.tensor(name, x, self.estimator.kinds_[name]) for name, x in made.items()}

    @torch.no_grad()
    def _encoded(self, part: str, names: Sequence[str], rows: Tensor) -> Any:
        batch = self.prepared.batch(self.prepared.rows(part)[rows])
        return encode(self.estimator.model.eval(), batch, names, seed=0)
