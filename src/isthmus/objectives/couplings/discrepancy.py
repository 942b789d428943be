"""Codes, all together, look like draws from the prior.

Shapes: `B` items, `N` items of all processes, `D` dimensions of the whole code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from isthmus.batch import Batch
from isthmus.discrepancies import maximum_mean_discrepancy
from isthmus.model import MultimodalAutoencoder
from isthmus.objectives.base import Step, in_full
from isthmus.objectives.couplings.base import Coupling


@dataclass(frozen=True)
class Discrepancy(Coupling):
    """The maximum mean discrepancy between the codes of a batch's items, each drawn from all that the item has, and as
    many draws from the prior: WAE-MMD (Tolstikhin et al. 2018, arXiv:1711.01558, algorithm 2).
    """

    name: ClassVar[str] = "mmd"
    default_weight: ClassVar[float] = 1.0

    def __call__(self, model: MultimodalAutoencoder, batch: Batch, step: Step) -> Tensor:
        codes, drawn, known = codes_and_prior(model, batch, step, self.name)
        rows = step.gather(torch.cat([codes, drawn, known.to(codes)[:, None]], dim=1))
        rows = rows[rows[:, -1] > 0.5]
        with in_full(rows):
            return maximum_mean_discrepancy(*rows[:, :-1].chunk(2, dim=1))


def codes_and_prior(model: MultimodalAutoencoder, batch: Batch, step: Step, name: str) -> tuple[Tensor, Tensor, Tensor]:
    """One code of each item `(B, D)`, one draw from the prior without gradient, and bool `(B,)`: which items are known.

    An item with nothing has the prior's code, and tells nothing of those of data.
    """
    evidence = step.evidence(model, batch)
    codes = evidence.posterior().rsample(1, step.noise, f"{name}/z").z[0, 0].to(model.dtype)
    drawn = model.prior.sample(len(batch), step.noise, f"{name}/prior").detach().to(codes)
    return codes, drawn, evidence.present.any(dim=0)
