"""A critic cannot tell codes from draws of the prior.

Shapes: `B` items, `D` dimensions of the whole code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from isthmus.batch import Batch
from isthmus.model import MultimodalAutoencoder
from isthmus.objectives.base import Objective, Step, Terms
from isthmus.objectives.couplings.base import Coupling, trained_by_another
from isthmus.objectives.couplings.discrepancy import codes_and_prior

WIDTH = 256


@dataclass(frozen=True)
class Adversarial(Coupling):
    r"""Adversarial autoencoder (Makhzani et al. 2016, arXiv:1511.05644, section 2): codes, each drawn from all that an
    item has, are to be taken for draws from the prior.

    .. math:: -\log \sigma(c(z)), \qquad \text{while the critic } c \text{ lowers } -\log \sigma(c(y)) - \log(1 -
        \sigma(c(z))), \; y \sim p

    The critic is a player of its own, with a turn in every step.
    """

    name: ClassVar[str] = "adversarial"
    default_weight: ClassVar[float] = 0.01

    def parts(self, model: MultimodalAutoencoder) -> nn.Module:
        return nn.Sequential(
            *(nn.Linear(model.latent_dim, WIDTH), nn.LeakyReLU(0.2)),
            *(nn.Linear(WIDTH, WIDTH), nn.LeakyReLU(0.2)),
            nn.Linear(WIDTH, 1),
        )

    def opponent(self) -> Objective:
        return Critic(self.name)

    def __call__(self, model: MultimodalAutoencoder, batch: Batch, step: Step) -> Tensor:
        codes, _, known = codes_and_prior(model, batch, step, self.name)
        score = trained_by_another(model.couplings[self.name])(codes)[:, 0].to(model.dtype)
        return torch.where(known, softplus(-score), 0.0)


@dataclass(frozen=True)
class Critic(Objective):
    """Tells codes from draws of the prior; items of which nothing is known are left out.

    Args:
        name: Of the coupling whose part the critic is.
    """

    name: str

    def __call__(self, model: MultimodalAutoencoder, batch: Batch, step: Step) -> Terms:
        with torch.no_grad():
            codes, drawn, known = codes_and_prior(model, batch, step, self.name)
        score, of_prior = model.couplings[self.name](torch.cat([codes, drawn]))[:, 0].to(model.dtype).chunk(2)
        loss = torch.where(known, softplus(score) + softplus(-of_prior), 0.0)
        return Terms({"critic": loss}, item_loss=loss)
