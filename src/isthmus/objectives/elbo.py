"""Evidence lower bounds: of all that is observed, of subsets of it, of a joint network.

Shapes: `S` sources, `M` modalities, `B` items, `D` latent dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from isthmus.batch import Batch
from isthmus.inference import FlowEvidence, JointEvidence, PrivateEvidence
from isthmus.model import MultimodalAutoencoder
from isthmus.noise import Noise
from isthmus.objectives.base import Charged, Step, Terms, reconstruction_terms, warm, weigh
from isthmus.objectives.experts import divergence_to_experts
from isthmus.objectives.subsets import random_subsets
from isthmus.posteriors import Posterior


@dataclass(frozen=True)
class ELBO(Charged):
    r"""The evidence lower bound of what is observed, under any fusion.

    .. math:: E_{q(z|x_A)}\Big[\sum_{m \in A} \lambda_m \log p(x_m | z)\Big] - \beta\, KL(q(z|x_A) \| p(z))

    Kingma & Welling 2014, arXiv:1312.6114, eq. 3; for mixtures the divergence is its convex upper bound, as in MoPoE
    (Sutter et al. 2021, arXiv:2105.02470, eq. 6), so the bound stays one.

    Args:
        beta: Weight of the divergence.
        warmup: Share of training over which beta grows from zero.
        num_draws: Draws of the code.
        stratified: Draw from every component of a mixture, not from one of them at random.
    """

    beta: float = 1.0
    warmup: float = 0.0
    num_draws: int = 1
    stratified: bool = False

    def __call__(self, model: MultimodalAutoencoder, batch: Batch, step: Step) -> Terms:
        posterior = step.evidence(model, batch).posterior()
        draws = posterior.rsample(self.num_draws, step.noise, stratified=self.stratified)
        terms, plain, weighted = reconstruction_terms(model, draws, batch)
        divergence = posterior.kl(model.prior)
        return Terms(
            {**terms, "divergence": divergence},
            item_loss=warm(self.beta, self.warmup, step.fraction) * self.charge(divergence) - weighted,
            bound=plain - divergence,
        )


@dataclass(frozen=True)
class SubsetELBO(Charged):
    r"""The mean of the ELBOs of all that is observed, of each modality alone, and of `random_subsets` random subsets.

    .. math:: ELBO(x_J) + \sum_m ELBO(x_m) + \sum_{k} ELBO(x_{A_k}), \quad
        ELBO(x_A) = E_{q(z|x_A)}\Big[\sum_{m \in A} \lambda_m \log p(x_m|z)\Big] - \beta\, KL(q(z|x_A) \| p(z))

    MVAE (Wu & Goodman 2018, arXiv:1802.05335, eq. 5). The paper's sum is divided by the number of its terms that an
    item has, so that neither the number of modalities nor a gap changes an item's weight.

    Args:
        beta: Weight of the divergences.
        warmup: Share of training over which beta grows from zero.
        random_subsets: Random subsets per item and step.
        cross: Reconstruct all that is observed from the shared code of every subset, each modality with its own private
            code: DMVAE (Lee & Pavlovic 2021, arXiv:2012.13024, section 3).
    """

    beta: float = 1.0
    warmup: float = 0.0
    random_subsets: int = 1
    cross: bool = False

    def __call__(self, model: MultimodalAutoencoder, batch: Batch, step: Step) -> Terms:
        evidence = step.evidence(model, batch)
        subsets = self.subsets(evidence.present, step.noise)  # (S, M, B)
        beta = warm(self.beta, self.warmup, step.fraction)
        if self.cross:
            assert isinstance(evidence, PrivateEvidence)
            whole = [evidence.present & among.any(dim=0) for among in subsets]
            posteriors: list[Posterior] = [evidence.posterior(*which) for which in zip(subsets, whole, strict=True)]
        else:
            posteriors = [evidence.posterior(among) for among in subsets]
        z = torch.cat(
            [q.rsample(1, step.noise, name=f"z/{s}").z for s, q in enumerate(posteriors)], dim=1
        )  # (1, S, B, D)
        there = subsets.any(dim=1)  # (S, B)
        order = {name: m for m, name in enumerate(model.modalities)}
        targets = {name: there if self.cross else subsets[:, order[name]] for name in batch}
        scores = {name: model.log_likelihood(name, z, targets[name], batch)[0] for name in batch}
        divergence = torch.stack([q.kl(model.prior) for q in posteriors])  # (S, B)
        plain, weighted = weigh(model, scores)
        weight = there.to(z) / there.sum(dim=0).clamp_min(1)
        return Terms(
            {**{f"reconstruction/{name}": score[0] for name, score in scores.items()}, "divergence": divergence[0]},
            item_loss=(weight * (beta * self.charge(divergence) - weighted)).sum(dim=0),
            bound=plain[0] - divergence[0],
        )

    def subsets(self, present: Tensor, noise: Noise) -> Tensor:
        """Bool `(S, M, B)`: all observed, each modality alone, random subsets; empty where an item has it already."""
        num_modalities = len(present)
        single = torch.eye(num_modalities, dtype=torch.bool, device=present.device)[..., None] & present
        # With one modality observed, that modality alone is all that is observed: it counts once.
        single = single & (present.sum(dim=0) > 1)
        parts = [present[None], single]
        if self.random_subsets and num_modalities > 2:
            keep = random_subsets(present, self.random_subsets, noise, "subsets")
            parts.append(keep & (present.sum(dim=0) > 2))
        return torch.cat(parts)


@dataclass(frozen=True)
class JointELBO(Charged):
    r"""The ELBO of a joint network, which every expert learns to stand in for.

    .. math:: E_{q(z|x_A)}\Big[\sum_{m \in A} \lambda_m \log p(x_m|z)\Big] - \beta\, KL(q(z|x_A) \| p(z))
        - \alpha \sum_{m \in A} KL(q(z|x_A) \| q(z|x_m))

    JMVAE-kl (Suzuki et al. 2016, arXiv:1611.01891, section 3.3), for two modalities there. `A` is what an item has: the
    joint network takes any part of the modalities. An item with one alone is left its reconstruction and the likeness
    of the two networks.

    Args:
        alpha: Weight of the divergences from the experts; with 0 they are no part of it.
        beta: Weight of the divergence from the prior.
        warmup: Share of training over which both grow from zero.
    """

    alpha: float = 0.1
    beta: float = 1.0
    warmup: float = 0.0

    def __call__(self, model: MultimodalAutoencoder, batch: Batch, step: Step) -> Terms:
        evidence = step.evidence(model, batch)
        assert isinstance(evidence, JointEvidence | FlowEvidence)
        terms, plain, weighted = reconstruction_terms(model, evidence.joint.rsample(1, step.noise), batch)
        to_prior = evidence.joint.kl(model.prior)
        terms = {**terms, "divergence": to_prior}
        divergence = self.beta * self.charge(to_prior)
        if self.alpha:
            assert isinstance(evidence, JointEvidence)
            terms["divergence/experts"] = divergence_to_experts(evidence.joint, evidence).sum(dim=0)
            divergence = divergence + self.alpha * terms["divergence/experts"]
        return Terms(
            terms,
            item_loss=warm(1.0, self.warmup, step.fraction) * divergence - weighted,
            bound=plain - to_prior,
        )
