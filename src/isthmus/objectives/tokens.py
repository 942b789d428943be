"""Reconstruction from the tokens that are left visible.

Shapes: `M` modalities, `B` items, `T` tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from isthmus.batch import Batch
from isthmus.inference import TokenEvidence
from isthmus.model import MultimodalAutoencoder
from isthmus.noise import Noise
from isthmus.objectives.base import Objective, Step, Terms, weigh

# Tokens of a modality that get noise of their own; those further on share that of the token so many places before.
NUM_PLACES = 256


@dataclass(frozen=True)
class HiddenTokens(Objective):
    """Reconstruct all that an item has from a random part of its tokens.

    MultiMAE (Bachmann et al. 2022, arXiv:2204.01678): modalities share what is visible by a draw from a
    symmetric Dirichlet distribution with concentration 1, so that some items show nearly all of one modality and others
    a little of each.

    Args:
        visible: Share of its tokens that an item shows, at least one. None draws it for each item, evenly from 0 to 1.
    """

    visible: float | None = None

    def __call__(self, model: MultimodalAutoencoder, batch: Batch, step: Step) -> Terms:
        evidence = step.evidence(model, batch)
        assert isinstance(evidence, TokenEvidence)
        shown = visible_tokens(evidence, model.modalities, self.visible, step.noise)
        z = evidence.posterior(visible=shown).mean[None, None]
        use = shown.any(dim=1)[None]
        scores = {name: model.log_likelihood(name, z, use, batch)[0, 0] for name in batch}
        _, weighted = weigh(model, scores)
        return Terms({f"reconstruction/{name}": score for name, score in scores.items()}, item_loss=-weighted)


def visible_tokens(evidence: TokenEvidence, modalities: tuple[str, ...], share: float | None, noise: Noise) -> Tensor:
    """Bool `(B, T)`: the tokens that each item shows."""
    there, source = evidence.there, evidence.source
    num_items, like = len(there), torch.empty(0, device=there.device)
    weights, keys = [], []
    for m, name in enumerate(modalities):
        place = (source == m).nonzero().squeeze(1)
        drawn = -noise.uniform(f"visible/{name}", num_items, 1 + NUM_PLACES, like=like).log()
        own = 1 + torch.arange(len(place), device=there.device) % NUM_PLACES
        # Normalised, exponentials are a draw from the Dirichlet distribution; a token's weight is its modality's over
        # the number of tokens there, and the least of exponentials over weights are a draw by weight, none twice.
        weights.append(drawn[:, :1] / there[:, place].sum(dim=1, keepdim=True).clamp_min(1))
        keys.append(drawn[:, own] / weights[-1])
    key = torch.where(there, torch.cat(keys, dim=1), torch.inf)
    amount = noise.uniform("visible", num_items, like=like) if share is None else torch.full((num_items,), share)
    count = (amount.to(key) * there.sum(dim=1)).ceil().clamp_min(1)
    rank = key.argsort(dim=1).argsort(dim=1)
    return (rank < count[:, None]) & there
