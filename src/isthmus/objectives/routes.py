"""Deterministic routes.

Shapes: `S` sources, `M` modalities, `B` items, `D` latent dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from isthmus.batch import Batch
from isthmus.inference import Evidence
from isthmus.model import MultimodalAutoencoder
from isthmus.noise import Noise
from isthmus.objectives.base import Objective, Step, Terms, weigh
from isthmus.objectives.subsets import random_parts
from isthmus.posteriors import Posterior


@dataclass(frozen=True)
class Routes(Objective):
    """Deterministic routes: encode a subset of what an item has, decode all that it has.

    Ngiam et al. 2011, "Multimodal deep learning", section 4: a third of the training each from both inputs and from
    either alone. Here one route starts from all that is observed and one from a random part of it (modality
    dropout), which for two modalities is the same mixture up to its weights, and costs two decodes for any number.

    Args:
        dropout: Add the route from a random part.
        alone: Instead, let each modality encode and decode itself only: training of separate autoencoders.
    """

    dropout: bool = True
    alone: bool = False

    def __call__(self, model: MultimodalAutoencoder, batch: Batch, step: Step) -> Terms:
        return self.terms(model, batch, *self.codes(model, batch, step))

    def codes(self, model: MultimodalAutoencoder, batch: Batch, step: Step) -> tuple[Tensor, list[Posterior]]:
        """What each route starts from, bool `(S, M, B)`, and the codes of each; all that is observed is the first."""
        evidence = step.evidence(model, batch)
        sources = self._sources(evidence, step.noise)
        return sources, [evidence.posterior(among) for among in sources]

    def terms(
        self, model: MultimodalAutoencoder, batch: Batch, sources: Tensor, posteriors: Sequence[Posterior]
    ) -> Terms:
        """How well the codes of each route reconstruct."""
        z = torch.stack([posterior.mean for posterior in posteriors])[None]  # (1, S, B, D)
        scores = {}
        for m, name in enumerate(model.modalities):
            if name not in batch.present:
                continue
            use = sources[:, m] if self.alone else sources.any(dim=1)
            score = model.log_likelihood(name, z, use, batch)[0]
            scores[name] = score.sum(dim=0) / use.sum(dim=0).clamp_min(1)
        _, weighted = weigh(model, scores)
        return Terms({f"reconstruction/{name}": score for name, score in scores.items()}, item_loss=-weighted)

    def _sources(self, evidence: Evidence, noise: Noise) -> Tensor:
        present = evidence.present
        if self.alone:
            return torch.eye(len(present), dtype=torch.bool, device=present.device)[..., None] & present
        if self.dropout and len(present) > 1:
            return torch.stack([present, random_parts(present, noise, "dropout")])
        return present[None]


@dataclass(frozen=True)
class SingleRoutes(Objective):
    """Deterministic routes from each modality of an item alone.

    What several routes decode counts once, as the mean over them, so that the number of modalities changes no balance.

    Args:
        targets: "own" decodes each modality from itself, "others" each from the others, "all" everything from each.
            An item with one modality decodes it from itself.
        whole: Also decode everything from all that is observed together.
    """

    targets: str = "all"
    whole: bool = False

    def __call__(self, model: MultimodalAutoencoder, batch: Batch, step: Step) -> Terms:
        evidence = step.evidence(model, batch)
        sources, use = self.routes(evidence.present)
        z = torch.stack([evidence.posterior(among).mean for among in sources])[None]  # (1, S, B, D)
        scores = {}
        for m, name in enumerate(model.modalities):
            if name in batch.present:
                score = model.log_likelihood(name, z, use[:, m], batch)[0]
                scores[name] = score.sum(dim=0) / use[:, m].sum(dim=0).clamp_min(1)
        _, weighted = weigh(model, scores)
        return Terms({f"reconstruction/{name}": score for name, score in scores.items()}, item_loss=-weighted)

    def routes(self, present: Tensor) -> tuple[Tensor, Tensor]:
        """Sources, bool `(S, M, B)`, and what is decoded from each, bool `(S, M, B)`."""
        same = torch.eye(len(present), dtype=torch.bool, device=present.device)[..., None]
        alone = same & present
        if self.targets == "own":
            use = alone
        else:
            use = alone.any(dim=1)[:, None] & present
        if self.targets == "others":
            use = use & (~same | (present.sum(dim=0) == 1))
        if self.whole:
            return torch.cat([present[None], alone]), torch.cat([present[None], use])
        return alone, use
