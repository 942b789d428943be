"""The mean of the evidence lower bounds that parts of an item give, with codes of several levels.

Shapes: `S` subsets, `M` modalities, `B` items, `D` latent dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from isthmus.batch import Batch
from isthmus.fusions import all_subsets
from isthmus.model import MultimodalAutoencoder
from isthmus.noise import Noise
from isthmus.objectives.base import Charged, Step, Terms, warm, weigh
from isthmus.objectives.subsets import random_parts
from isthmus.posteriors import Ladder
from isthmus.priors import LadderPrior

MAX_MODALITIES_WITH_ALL_PARTS = 3


@dataclass(frozen=True)
class LadderELBO(Charged):
    r"""The mean over subsets of what is observed of the ELBOs of the whole, inferred from each subset alone.

    .. math:: \frac{1}{|P|} \sum_{A \in P} E_{q(z|x_A)} \Big[ \sum_m \lambda_m \log p(x_m|z) - \beta \sum_l
        KL\big(q(z_l | z_{<l}, x_A) \| p(z_l | z_{<l})\big) \Big]

    MHVAE (Dorent et al. 2023, arXiv:2309.08747, section 3). `P` holds all subsets of what an item has where the model
    knows up to three modalities, else the whole and random parts of it, of every size alike. Each ELBO bounds the
    evidence of all that is observed; the `bound` is that of the whole.

    Args:
        beta: Weight of the divergences.
        warmup: Share of training over which beta grows from zero.
        random_parts: Random parts per item and step, above three modalities.
    """

    beta: float = 1.0
    warmup: float = 0.0
    random_parts: int = 3

    def __call__(self, model: MultimodalAutoencoder, batch: Batch, step: Step) -> Terms:
        evidence, prior = step.evidence(model, batch), model.prior
        assert isinstance(prior, LadderPrior)
        subsets = self.subsets(evidence.present, step.noise)  # (S, M, B)
        posteriors = [cast(Ladder, evidence.posterior(among)) for among in subsets]
        draws = [q.rsample(1, step.noise, name=f"z/{s}").z for s, q in enumerate(posteriors)]
        divergence = torch.stack([q.divergence(prior, z[0, 0]) for q, z in zip(posteriors, draws, strict=True)])
        there = subsets.any(dim=1)  # (S, B)
        z = torch.cat(draws, dim=1)  # (1, S, B, D)
        scores = {name: model.log_likelihood(name, z, there, batch)[0] for name in batch}
        plain, weighted = weigh(model, scores)
        weight = there.to(z) / there.sum(dim=0).clamp_min(1)
        beta = warm(self.beta, self.warmup, step.fraction)
        return Terms(
            {**{f"reconstruction/{name}": score[0] for name, score in scores.items()}, "divergence": divergence[0]},
            item_loss=(weight * (beta * self.charge(divergence) - weighted)).sum(dim=0),
            bound=plain[0] - divergence[0],
        )

    def subsets(self, present: Tensor, noise: Noise) -> Tensor:
        """Bool `(S, M, B)`: all that is observed, then parts of it; empty where an item has no such part."""
        count = present.sum(dim=0)
        if len(present) > MAX_MODALITIES_WITH_ALL_PARTS:
            parts = [random_parts(present, noise, f"part/{s}") & (count > 1) for s in range(self.random_parts)]
            return torch.stack([present, *parts])
        members = all_subsets(len(present))[:-1].to(present.device)
        parts_of = members[..., None] & present
        proper = (parts_of.sum(dim=1) == members.sum(dim=1)[:, None]) & (members.sum(dim=1)[:, None] < count)
        return torch.cat([present[None], parts_of & proper[:, None]])
