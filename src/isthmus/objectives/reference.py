"""The bound of one modality that speaks for all.

Shapes: `S` sources, `M` modalities, `B` items, `D` latent dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from isthmus.batch import Batch
from isthmus.fusions import FirstExpert
from isthmus.inference import ExpertEvidence, PrivateEvidence
from isthmus.model import MultimodalAutoencoder
from isthmus.noise import Noise
from isthmus.objectives.base import Charged, Step, Terms, reconstruction_terms, warm
from isthmus.posteriors import Draws


@dataclass(frozen=True)
class ReferenceELBO(Charged):
    r"""The code of one modality explains all that an item has; less often, that of another one does.

    .. math:: \mu\, L(x_r) + \frac{1 - \mu}{M - 1} \sum_{m \ne r} L(x_m), \quad
        L(x_m) = E_{q(z|x_m)}\Big[\sum_n \lambda_n \log p(x_n|z)\Big] - \beta\, KL(q(z|x_m) \| p(z))

    With `mu=1` VCCA, with private codes VCCA-private (Wang et al. 2016, arXiv:1610.03454, first version, eq. 4 and 13);
    below one bi-VCCA, the same paper's convex combination of the bounds of two views, here of any number. `r` is the
    reference and `M` the number of modalities that an item has. Of the others one is drawn for each item and step,
    which keeps the gradient unbiased. An item with one modality alone has its bound in full.

    Args:
        mu: Weight of the bound from the reference.
        beta: Weight of the divergence, that of private codes included.
        warmup: Share of training over which beta grows from zero.
    """

    mu: float = 1.0
    beta: float = 1.0
    warmup: float = 0.0

    def __call__(self, model: MultimodalAutoencoder, batch: Batch, step: Step) -> Terms:
        evidence = step.evidence(model, batch)
        assert isinstance(evidence, ExpertEvidence) and isinstance(evidence.fusion, FirstExpert)
        other = one_other(evidence.present, evidence.fusion.first(evidence.present), step.noise)  # (M, B)
        # Private codes are each modality's own, whichever the shared one comes from.
        whole = (evidence.present,) if isinstance(evidence, PrivateEvidence) else ()
        posteriors = [evidence.posterior(), evidence.posterior(other, *whole)]
        first, second = (q.rsample(1, step.noise, name) for q, name in zip(posteriors, ("z", "z/other"), strict=True))
        share = (1 - self.mu) * other.any(dim=0).to(first.z)
        weight = torch.stack([1 - share, share])
        draws = Draws(torch.cat([first.z, second.z], dim=1), weight, torch.cat([first.component, second.component], 1))
        terms, plain, weighted = reconstruction_terms(model, draws, batch)
        divergence = (weight * torch.stack([q.kl(model.prior) for q in posteriors])).sum(dim=0)
        return Terms(
            {**terms, "divergence": divergence},
            item_loss=warm(self.beta, self.warmup, step.fraction) * self.charge(divergence) - weighted,
            bound=plain - divergence,
        )


def one_other(present: Tensor, first: Tensor, noise: Noise) -> Tensor:
    """Bool `(M, B)`: of each item one modality at random that it has beside `first`; none where it has no other."""
    others = present & ~first
    score = noise.uniform("other", present.shape[1], len(present), like=torch.empty(0, device=present.device)).T
    chosen = torch.where(others, score, -1.0).argmax(dim=0, keepdim=True)
    return torch.zeros_like(others).scatter(0, chosen, True) & others
