"""Routes through a codebook that is learnt.

Shapes: `S` sources, `M` modalities, `B` items, `D` latent dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch

from isthmus.batch import Batch
from isthmus.inference import QuantisedInference
from isthmus.model import MultimodalAutoencoder
from isthmus.objectives.base import Objective, Step, Terms
from isthmus.objectives.routes import Routes
from isthmus.posteriors import Quantised


@dataclass(frozen=True)
class QuantisedRoutes(Objective):
    r"""Deterministic routes, and how far codes are from the words that stand for them.

    .. math:: \sum_m \lambda_m \log p(x_m | e) - \beta \| z - sg(e) \|^2

    with `e` the quantised code of `z`. VQ-VAE (van den Oord et al. 2017, arXiv:1711.00937, section 3.2), whose middle
    term, which moves the words, is taken by running means here (appendix A.1): `Terms.statistics`.

    Args:
        routes: What is encoded and decoded.
        commitment: `beta`.
    """

    routes: Routes = field(default_factory=Routes)
    commitment: float = 0.25

    def __call__(self, model: MultimodalAutoencoder, batch: Batch, step: Step) -> Terms:
        inference = model.inference
        assert isinstance(inference, QuantisedInference)
        sources, posteriors = self.routes.codes(model, batch, step)
        terms = self.routes.terms(model, batch, sources, posteriors)
        quantised = [posterior for posterior in posteriors if isinstance(posterior, Quantised)]
        before, indices = (torch.stack([getattr(q, part) for q in quantised]) for part in ("before", "indices"))
        use = sources.any(dim=1)  # (S, B)
        away = (before - torch.stack([q.code for q in quantised]).detach()).pow(2).sum(dim=-1)
        distance = torch.where(use, away, 0.0).sum(dim=0) / use.sum(dim=0).clamp_min(1)
        return replace(
            terms,
            per_item={**terms.per_item, "commitment": distance},
            item_loss=terms.item_loss + self.commitment * distance,
            statistics=inference.quantiser.statistics(before, indices, use, step.noise) if model.training else {},
        )
