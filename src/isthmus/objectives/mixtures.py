"""Objectives over the members of a mixture: importance-weighted bounds, the Jensen-Shannon divergence.

Shapes: `K` draws, `S` sources, `J` components, `M` modalities, `B` items, `D` latent dimensions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor

from isthmus.batch import Batch
from isthmus.gaussians import log_prob, normal_kl, product_of_normals
from isthmus.inference import ExpertEvidence, PrivateEvidence, PrivateInference
from isthmus.model import MultimodalAutoencoder
from isthmus.networks.named import private_order
from isthmus.objectives.base import Charged, Objective, Step, Terms, log_likelihoods, reconstruction_terms, warm, weigh
from isthmus.posteriors import Draws, Mixture


@dataclass(frozen=True)
class MixtureIWAE(Objective):
    r"""The importance-weighted bound with draws from every component of a mixture.

    .. math:: \sum_j w_j\, E_{z^{1..K} \sim q_j} \log \frac{1}{K} \sum_k
        \frac{p(z^k) \prod_n p(x_n|z^k)^{\lambda_n}}{q(z^k | x_A)}

    MMVAE (Shi et al. 2019, arXiv:1911.03393, eq. 3): `w_j = 1/M`, here 1 over the number of modalities an item has.

    Args:
        num_draws: `K`; one gives the ELBO.
        stratified: Draw from every component (M decodes of each modality); False draws one component per item, an
            unbiased estimate at one M-th of the cost.
        beta: Weight of the prior and posterior densities against the reconstructions.
        dreg: The doubly reparametrised gradient (Tucker et al. 2019, arXiv:1810.04152, eq. 8), in which a code counts
            by the square of its importance for the encoders: it does not drown in noise as `K` grows. The loss is the
            same. The identity behind it is exact for one expert and `beta=1`; for more, as in Shi et al., the density
            below the line is that of the whole mixture.
        warmup: Share of training over which beta grows from zero.
    """

    num_draws: int = 1
    stratified: bool = True
    beta: float = 1.0
    dreg: bool = False
    warmup: float = 0.0

    def __call__(self, model: MultimodalAutoencoder, batch: Batch, step: Step) -> Terms:
        posterior = step.evidence(model, batch).posterior()
        draws = posterior.rsample(self.num_draws, step.noise, stratified=self.stratified)
        scores = log_likelihoods(model, draws, batch)
        plain, weighted = weigh(model, scores)  # (K, S, B)
        below = posterior.detach() if self.dreg else posterior
        divergence = below.log_prob(draws.z) - model.prior.log_prob(draws.z)
        divergence = torch.where(draws.use, divergence, 0.0)
        log_weight = weighted - warm(self.beta, self.warmup, step.fraction) * divergence
        if self.dreg and draws.z.requires_grad:
            importance = log_weight.detach().softmax(dim=0)
            draws.z.register_hook(lambda gradient: gradient * importance[..., None])
        return Terms(
            {
                **{f"reconstruction/{name}": draws.expect(score) for name, score in scores.items()},
                "divergence": draws.expect(divergence),
            },
            item_loss=-importance_weighted(log_weight, draws),
            bound=importance_weighted(plain - divergence, draws),
        )


def importance_weighted(log_weight: Tensor, draws: Draws) -> Tensor:
    """`(B,)`: the log of the mean weight over `K`, expected over sources, from log-weights `(K, S, B)`."""
    return draws.expect((torch.logsumexp(log_weight, dim=0) - math.log(len(log_weight)))[None])


@dataclass(frozen=True)
class PrivateMixtureIWAE(Objective):
    r"""The importance-weighted objective of a mixture with private codes, of which other modalities see nothing.

    .. math:: \sum_j w_j\, E \log \frac{1}{K} \sum_k \Big( \frac{p(z^k)\, p(w_j^k)}{q(z^k | x_A)\, q(w_j^k | x_j)}
        \Big)^\beta p(x_j | z^k, w_j^k)^{\lambda_j} \prod_{n \neq j} p(x_n | z^k, \tilde w_n^k)^{\lambda_n},
        \quad z^k \sim q_j, \; w_j^k \sim q(w_j | x_j), \; \tilde w_n^k \sim r_n

    MMVAE+ (Palumbo et al. 2023, ICLR, "MMVAE+: Enhancing the generative quality of multimodal VAEs without
    compromises", section 3): what is decoded from another modality gets a private code of nobody's, from an auxiliary
    density `r_n` with a learnt scale, so that private codes cannot carry what is shared.

    Args:
        num_draws: `K`.
        stratified: Draw from every component (M decodes of each modality); False draws one component per item.
        beta: Weight of the densities against the reconstructions.
        warmup: Share of training over which beta grows from zero.
    """

    num_draws: int = 1
    stratified: bool = True
    beta: float = 1.0
    warmup: float = 0.0

    def __call__(self, model: MultimodalAutoencoder, batch: Batch, step: Step) -> Terms:
        evidence = step.evidence(model, batch)
        assert isinstance(evidence, PrivateEvidence)
        inference, private, size = cast(PrivateInference, model.inference), evidence.private, model.shared_dim
        assert inference.auxiliary is not None
        posterior = ExpertEvidence.posterior(evidence)
        assert isinstance(posterior, Mixture)
        draws = posterior.rsample(self.num_draws, step.noise, stratified=self.stratified)
        members = posterior.members[draws.component] & evidence.present.T  # (K, S, B, M)
        family = posterior.family
        divergence = posterior.log_prob(draws.z) - model.prior.part_log_prob(draws.z, slice(0, size))
        parts = {}
        for m, name in enumerate(model.modalities):
            own = members[..., m]
            loc, log_scale = private.loc[m], private.log_scale[m]
            # By place of the item, as all noise; then `(K, S, B, P)`.
            shape = (*draws.z.shape[:2], model.private_dim)
            drawn = step.noise.draw(family, f"w/{name}", len(batch), *shape, like=draws.z).movedim(0, 2)
            w = loc + log_scale.exp() * drawn
            between = log_prob(family, w, loc, log_scale) - model.prior.part_log_prob(w, model.private(name))
            divergence = divergence + torch.where(own, between, 0.0)
            parts[name] = torch.where(own[..., None], w, inference.auxiliary[name]().exp() * drawn)
        z = torch.cat([draws.z, *(parts[name] for name in private_order(parts))], dim=-1)
        scores = log_likelihoods(model, replace(draws, z=z), batch)
        _, weighted = weigh(model, scores)
        divergence = torch.where(draws.use, divergence, 0.0)
        beta = warm(self.beta, self.warmup, step.fraction)
        return Terms(
            {
                **{f"reconstruction/{name}": draws.expect(score) for name, score in scores.items()},
                "divergence": draws.expect(divergence),
            },
            item_loss=-importance_weighted(weighted - beta * divergence, draws),
        )


@dataclass(frozen=True)
class JensenShannon(Charged):
    r"""Reconstruct from a mixture of experts; keep experts and prior near the geometric mean of them all.

    .. math:: E_{q(z|x)} \Big[ \sum_m \lambda_m \log p(x_m|z) \Big] - \beta \sum_{\nu=0}^{M} \pi_\nu KL(q_\nu \| g),
        \quad g \propto \prod_\nu q_\nu^{\pi_\nu}, \; q_0 = p(z), \; \pi_\nu = \frac{1}{M + 1}

    mmJSD (Sutter, Daunhawer & Vogt 2020, arXiv:2006.08242, section 3). `M` is the number of modalities that an item
    has.

    Args:
        beta: Weight of the divergence.
        warmup: Share of training over which beta grows from zero.
        stratified: Draw from every expert (M decodes of each modality); False draws one per item.
    """

    beta: float = 1.0
    warmup: float = 0.0
    stratified: bool = False

    def __call__(self, model: MultimodalAutoencoder, batch: Batch, step: Step) -> Terms:
        evidence = step.evidence(model, batch)
        assert isinstance(evidence, ExpertEvidence)
        draws = evidence.posterior().rsample(1, step.noise, stratified=self.stratified)
        terms, _, weighted = reconstruction_terms(model, draws, batch)
        experts = evidence.experts
        # The prior, N(0, I), stands as one more expert that is always there.
        zero = torch.zeros_like(experts.loc[:1])
        loc, log_scale = torch.cat([experts.loc, zero]), torch.cat([experts.log_scale, zero])
        there = torch.cat([experts.present, torch.ones_like(experts.present[:1])])
        count = there.sum(dim=0).to(loc)
        centre = product_of_normals(loc, log_scale, (there / count)[None])
        each = torch.where(there, normal_kl(loc, log_scale, *centre), 0.0)
        divergence = each.sum(dim=0) / count
        return Terms(
            {**terms, "divergence": divergence},
            item_loss=warm(self.beta, self.warmup, step.fraction) * self.charge(divergence) - weighted,
        )
