"""Two levels of codes, the upper of which reconstructs the lower.

Shapes: `M` modalities, `B` items, `D` dimensions of the code, `P` of each modality's own.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from isthmus.batch import Batch
from isthmus.gaussians import normal_kl
from isthmus.inference import NexusEvidence
from isthmus.model import MultimodalAutoencoder
from isthmus.networks.levels import TwoLevelDecoder
from isthmus.noise import Noise
from isthmus.objectives.base import Charged, Step, Terms, warm, weigh
from isthmus.objectives.experts import own_codes
from isthmus.objectives.subsets import random_parts


@dataclass(frozen=True)
class TwoLevels(Charged):
    r"""An ELBO for each modality with a code of its own, and one that explains these codes by a code above them.

    .. math:: \sum_m \big( \lambda_m \log p(x_m | w_m) - \beta\, KL(q(w_m|x_m) \| p(w)) \big)
        + \sum_m \log p(sg(w_m) | z) - \beta\, KL(q(z|w_A) \| p(z)), \qquad w_m \sim q(w_m|x_m), \; z \sim q(z|w_A)

    Nexus (Vasco et al. 2022, Neural Networks, "Leveraging hierarchy in multimodal generative models for effective
    cross-modality inference"). `sg` stops the gradient: the code above does not move those below. `A` is what an item
    has, or in training, at times, a random part of it (forced perceptual dropout): every code below is explained by the
    messages of some.

    Args:
        beta: Weight of the divergences.
        warmup: Share of training over which beta grows from zero.
        dropout: Probability that an item's messages come from a part of what it has, in training.
    """

    beta: float = 1.0
    warmup: float = 0.0
    dropout: float = 0.0

    def __call__(self, model: MultimodalAutoencoder, batch: Batch, step: Step) -> Terms:
        evidence = step.evidence(model, batch)
        assert isinstance(evidence, NexusEvidence)
        experts, present = evidence.experts, evidence.present
        own = own_codes(evidence, step.noise)
        posterior = evidence.above(own.detach(), self._heard(present, step.noise) if model.training else None)
        z = posterior.rsample(1, step.noise).z[0, 0]
        scores, told = {}, {}
        for m, name in enumerate(model.modalities):
            if name not in batch:
                continue
            rows, decoder = batch.rows(name), model.decoders[name]
            assert isinstance(decoder, TwoLevelDecoder)
            nothing = own.new_zeros(len(batch), dtype=model.dtype)
            scores[name] = told[name] = nothing
            if len(rows):
                score = model.likelihoods[name](decoder.bottom(own[m][rows])).log_prob(batch.values[name])
                scores[name] = nothing.index_put((rows,), score.to(nothing))
                score = decoder.own_likelihood(z[rows]).log_prob(own[m][rows].detach())
                told[name] = nothing.index_put((rows,), score.to(nothing))
        zero = torch.zeros_like(experts.loc)
        below = torch.where(present, normal_kl(experts.loc, experts.log_scale, zero, zero), 0.0).sum(dim=0)
        above = posterior.kl(model.prior)
        _, weighted = weigh(model, scores)
        return Terms(
            {
                **{f"reconstruction/{name}": score for name, score in scores.items()},
                **{f"own/{name}": score for name, score in told.items()},
                "divergence": above,
                "divergence/own": below,
            },
            item_loss=warm(self.beta, self.warmup, step.fraction) * self.charge(above + below)
            - weighted
            - torch.stack(list(told.values())).sum(dim=0),
        )

    def _heard(self, present: Tensor, noise: Noise) -> Tensor:
        """Bool `(M, B)`: whose messages are heard, all or, for some items, those of a random part."""
        like = torch.empty(0, device=present.device)
        chosen = noise.uniform("dropout/item", present.shape[1], like=like) < self.dropout
        return torch.where(chosen, random_parts(present, noise, "dropout"), present)
