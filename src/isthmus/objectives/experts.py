"""Objectives that hold experts together: by the posterior of all, by the mixture of all.

Shapes: `M` modalities, `B` items, `D` latent dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from isthmus.batch import Batch
from isthmus.gaussians import normal_kl, normal_log_prob
from isthmus.inference import Evidence, ExpertEvidence, NexusEvidence
from isthmus.model import MultimodalAutoencoder
from isthmus.noise import Noise
from isthmus.objectives.base import Charged, Step, Terms, reconstruction_terms, warm, weigh
from isthmus.objectives.subsets import random_parts
from isthmus.posteriors import Draws, Mixture


@dataclass(frozen=True)
class TotalCorrelation(Charged):
    r"""Reconstruct from all that is observed; keep the posterior near every expert, so each can stand in for it.

    .. math:: \frac{M-\alpha}{M} E_{q(z|x)}\Big[\sum_m \lambda_m \log p(x_m|z)\Big] - \beta \Big[ (1-\alpha)
        KL(q(z|x) \| p(z)) + \frac{\alpha}{M} \sum_m KL(q(z|x) \| q(z|x_m)) \Big]

    MVTCAE (Hwang et al. 2021, NeurIPS, "Multi-view representation learning via total correlation objective", eq. 8).
    `M` is the number of modalities that an item has. The `bound` reported is the ELBO of the same posterior: the
    objective itself is not one. With `dropout` that holds in eval mode, as in validation: in training some
    reconstructions are those of other codes.

    Args:
        alpha: Between 0 and 1.
        beta: Weight of the divergences.
        warmup: Share of training over which beta grows from zero.
        dropout: Probability, in training, that an item's reconstruction is scored at the mean code of a random part
            of what it has, in place of a draw from the posterior of all. Not in the paper: decoders otherwise never see
            a code of fewer modalities than an item has, and an expert that the others stand in for learns little of its
            own. It is the mean that is decoded, as an expert whose draws must reconstruct what it cannot know loses its
            spread: pictures of digits drawn from captions were then nearly all alike.
    """

    alpha: float = 5 / 6
    beta: float = 1.0
    warmup: float = 0.0
    dropout: float = 0.0

    def __call__(self, model: MultimodalAutoencoder, batch: Batch, step: Step) -> Terms:
        evidence = step.evidence(model, batch)
        posterior = evidence.posterior()
        assert isinstance(evidence, ExpertEvidence) and isinstance(posterior, Mixture)
        draws = posterior.rsample(1, step.noise)
        if self.dropout and model.training:
            draws = self._with_means(draws, evidence, step.noise)
        terms, plain, weighted = reconstruction_terms(model, draws, batch)
        to_prior = posterior.kl(model.prior)
        to_experts = divergence_to_experts(posterior, evidence)  # (M, B)
        count = evidence.present.sum(dim=0).clamp_min(1).to(to_prior)
        beta = warm(self.beta, self.warmup, step.fraction)
        conditional = to_experts.sum(dim=0) / count
        return Terms(
            {**terms, "divergence": to_prior, "divergence/experts": conditional},
            item_loss=beta * ((1 - self.alpha) * self.charge(to_prior) + self.alpha * conditional)
            - (count - self.alpha) / count * weighted,
            bound=plain - to_prior,
        )

    def _with_means(self, draws: Draws, evidence: Evidence, noise: Noise) -> Draws:
        """The draws, for some items the mean code of a random part of what they have."""
        present = evidence.present
        like = torch.empty(0, device=present.device)
        chosen = noise.uniform("dropout/item", present.shape[1], like=like) < self.dropout
        mean = evidence.posterior(random_parts(present, noise, "dropout")).mean
        return replace(draws, z=torch.where(chosen[:, None], mean, draws.z))


@dataclass(frozen=True)
class SelfRoutes(Charged):
    r"""Reconstruct from all that is observed, and each modality from itself alone; keep the two near each other.

    .. math:: \frac{1}{M+1} \Big[ \sum_m \lambda_m \big( E_{q(z|x)} \log p(x_m|z) + E_{q(z|x_m)} \log p(x_m|z) \big)
        - \beta \Big( KL(q(z|x) \| p(z)) + \sum_m KL(q(z|x) \| q(z|x_m)) \Big) \Big]

    CRMVAE (Suzuki & Matsuo 2022, "Mitigating the limitations of multimodal VAEs with coordination-based approach").
    `M` is the number of modalities that an item has. The `bound` is the ELBO of the posterior of all.

    Args:
        beta: Weight of the divergences.
        warmup: Share of training over which beta grows from zero.
    """

    beta: float = 1.0
    warmup: float = 0.0

    def __call__(self, model: MultimodalAutoencoder, batch: Batch, step: Step) -> Terms:
        evidence = step.evidence(model, batch)
        posterior = evidence.posterior()
        assert isinstance(evidence, ExpertEvidence) and isinstance(posterior, Mixture)
        # One source of all, and one of each modality that only itself is decoded from: one call for both.
        z = torch.cat([posterior.rsample(1, step.noise).z, own_codes(evidence, step.noise)[None]], dim=1)
        whole, own = {}, {}
        for m, name in enumerate(model.modalities):
            if name in batch:
                use = torch.zeros(z.shape[1:3], dtype=torch.bool, device=z.device)
                use[0], use[1 + m] = True, evidence.present[m]
                score = model.log_likelihood(name, z, use, batch)[0]
                whole[name], own[name] = score[0], score[1 + m]
        plain, weighted = weigh(model, whole)
        _, weighted_own = weigh(model, own)
        to_prior, to_experts = posterior.kl(model.prior), divergence_to_experts(posterior, evidence).sum(dim=0)
        count = evidence.present.sum(dim=0).to(to_prior)
        beta = warm(self.beta, self.warmup, step.fraction)
        return Terms(
            {
                **{f"reconstruction/{name}": score for name, score in whole.items()},
                **{f"own/{name}": score for name, score in own.items()},
                "divergence": to_prior,
                "divergence/experts": to_experts,
            },
            item_loss=(beta * (self.charge(to_prior) + to_experts) - weighted - weighted_own) / (count + 1),
            bound=plain - to_prior,
        )


@dataclass(frozen=True)
class SoftSharing(Charged):
    r"""Each modality reconstructs itself; its expert is kept near the mixture of all experts of the item.

    .. math:: \sum_m \lambda_m E_{q(z|x_m)} \log p(x_m | z) - \beta \sum_m KL\Big(q(z|x_m) \Big\| \frac{1}{M} \sum_k
        q(z|x_k)\Big)

    MMVM (Sutter et al. 2024, NeurIPS, "Unity by diversity: improved representation learning in multimodal VAEs"). At
    first the place of the mixture is taken by N(0, I), as in the authors' code.

    Args:
        beta: Weight of the divergences.
        anneal: Share of training over which the mixture takes over from N(0, I).
        pairs: Take the mean of `KL(q(z|x_m) || q(z|x_k))` over `k`, an upper bound in closed form which the authors'
            code uses; else one draw estimates the divergence itself.
    """

    beta: float = 1.0
    anneal: float = 0.0
    pairs: bool = False

    def __call__(self, model: MultimodalAutoencoder, batch: Batch, step: Step) -> Terms:
        evidence = step.evidence(model, batch)
        assert isinstance(evidence, ExpertEvidence)
        experts, present = evidence.experts, evidence.present
        z = own_codes(evidence, step.noise)
        own = own_likelihoods(model, z, batch)
        _, weighted = weigh(model, own)
        to_prior = torch.where(present, model.prior.kl_from("normal", experts.loc, experts.log_scale), 0.0)
        if self.pairs:
            to_each = normal_kl(experts.loc[:, None], experts.log_scale[:, None], experts.loc, experts.log_scale)
            to_each = torch.where(present[:, None] & present, to_each, 0.0)
            to_mixture = to_each.sum(dim=1) / present.sum(dim=0).clamp_min(1)
        else:
            to_mixture = normal_log_prob(z, experts.loc, experts.log_scale) - evidence.posterior().log_prob(z)
            to_mixture = torch.where(present, to_mixture, 0.0)
        shared = warm(1.0, self.anneal, step.fraction)
        divergence = (shared * to_mixture + (1 - shared) * to_prior).sum(dim=0)
        return Terms(
            {**{f"reconstruction/{name}": score for name, score in own.items()}, "divergence": divergence},
            item_loss=self.beta * self.charge(divergence) - weighted,
        )


@dataclass(frozen=True)
class OwnELBO(Charged):
    r"""The bound of each modality by itself, from its own expert.

    .. math:: \sum_m E_{q(z|x_m)} \lambda_m \log p(x_m | z) - \beta\, KL(q(z|x_m) \| p(z))

    The terms of single modalities in the triple ELBO (Vedantam et al. 2018, "Generative models of visually grounded
    imagination", ICLR, arXiv:1705.10762), for any number of them.

    Args:
        beta: Weight of the divergences.
        warmup: Share of training over which beta grows from zero.
        weights: Of the reconstructions, by modality; None takes the model's.
    """

    beta: float = 1.0
    warmup: float = 0.0
    weights: Mapping[str, float] | None = None

    def __call__(self, model: MultimodalAutoencoder, batch: Batch, step: Step) -> Terms:
        evidence = step.evidence(model, batch)
        assert isinstance(evidence, ExpertEvidence)
        experts = evidence.experts
        own = own_likelihoods(model, own_codes(evidence, step.noise), batch)
        weights = model.weights if self.weights is None else self.weights
        weighted = torch.stack([weights[name] * score for name, score in own.items()]).sum(dim=0)
        to_prior = model.prior.kl_from("normal", experts.loc, experts.log_scale)
        divergence = torch.where(evidence.present, to_prior, 0.0).sum(dim=0)
        return Terms(
            {**{f"reconstruction/{name}": score for name, score in own.items()}, "divergence": divergence},
            item_loss=warm(self.beta, self.warmup, step.fraction) * self.charge(divergence) - weighted,
        )


def own_codes(evidence: ExpertEvidence | NexusEvidence, noise: Noise) -> Tensor:
    """One draw from every expert, `(M, B, D)`."""
    experts = evidence.experts
    num_modalities, num_items, latent_dim = experts.loc.shape
    drawn = noise.normal("own", num_items, num_modalities, latent_dim, like=experts.loc).movedim(1, 0)
    return experts.loc + experts.log_scale.exp() * drawn


def own_likelihoods(model: MultimodalAutoencoder, z: Tensor, batch: Batch) -> dict[str, Tensor]:
    """`log p(x_m | z_m)`, `(B,)`, of every modality in the batch from its own code, of `z (M, B, D)`."""
    everywhere = torch.ones_like(z[:1, :, 0], dtype=torch.bool)
    return {
        name: model.log_likelihood(name, z[None, m : m + 1], everywhere, batch)[0, 0]
        for m, name in enumerate(model.modalities)
        if name in batch
    }


def divergence_to_experts(posterior: Mixture, evidence: ExpertEvidence) -> Tensor:
    """KL of a one-component posterior from each expert, `(M, B)`, in nats; zero where an item lacks the expert."""
    experts = evidence.experts
    kl = normal_kl(posterior.loc, posterior.log_scale, experts.loc, experts.log_scale)
    return torch.where(experts.present, kl, 0.0)
