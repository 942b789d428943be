"""What is raised in training: routes, divergences and couplings, as named terms per item.

A route `A -> B` encodes a subset A and scores the decoding of B. An objective adds routes and takes divergences away;
each term is in nats and per item, and the mean over items is taken once, in the training loop.

Shapes: `K` draws, `S` sources, `J` components, `M` modalities, `B` items, `D` latent dimensions.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import cast

import torch
from torch import Tensor

from isthmus.batch import Batch
from isthmus.gaussians import log_prob, normal_kl, normal_log_prob, product_of_normals
from isthmus.inference import Evidence, ExpertEvidence, JointEvidence, PrivateEvidence, PrivateInference
from isthmus.model import MultimodalAutoencoder
from isthmus.networks.named import private_order
from isthmus.noise import Noise
from isthmus.posteriors import Draws, Mixture, Posterior


@dataclass(frozen=True)
class Step:
    """Where training stands: `index` of the step, `fraction` of the whole (0 to 1), and this step's noise."""

    index: int
    fraction: float
    noise: Noise


@dataclass(frozen=True)
class Terms:
    """What an objective says of a batch.

    Args:
        per_item: Named terms `(B,)`, in nats, before weights: "reconstruction/<modality>" are log-likelihoods (up),
            divergences are positive.
        item_loss: `(B,)`: what each item adds to the loss (down).
        bound: `(B,)` in nats where the objective bounds the evidence of what is observed from below, else None.
        per_batch: Named scalars that a batch has as a whole, such as correlations.
        batch_loss: Their part of the loss.
    """

    per_item: Mapping[str, Tensor]
    item_loss: Tensor
    bound: Tensor | None = None
    per_batch: Mapping[str, Tensor] = field(default_factory=dict)
    batch_loss: Tensor | float = 0.0

    @property
    def loss(self) -> Tensor:
        """The one scalar to be minimised."""
        return self.item_loss.mean() + self.batch_loss


class Objective(ABC):
    """A callable from a model, a batch and a step to terms."""

    @abstractmethod
    def __call__(self, model: MultimodalAutoencoder, batch: Batch, step: Step) -> Terms: ...


def warm(beta: float, warmup: float, fraction: float) -> float:
    """`beta`, growing linearly from zero over the first `warmup` share of training."""
    return beta if warmup <= 0 else beta * min(1.0, fraction / warmup)


def log_likelihoods(
    model: MultimodalAutoencoder, draws: Draws, batch: Batch, use: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """`log p(x_m | z)`, `(K, S, B)`, of every modality in the batch; `use[m]`, bool `(S, B)`, narrows the sources."""
    return {
        name: model.log_likelihood(name, draws.z, draws.use if use is None else draws.use & use[name], batch)
        for name in batch
    }


def reconstruction_terms(
    model: MultimodalAutoencoder, draws: Draws, batch: Batch
) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Expected log-likelihoods by name, and their sum over modalities without and with the model's weights, `(B,)`."""
    expected = {name: draws.expect(score) for name, score in log_likelihoods(model, draws, batch).items()}
    plain, weighted = weigh(model, expected)
    return {f"reconstruction/{name}": value for name, value in expected.items()}, plain, weighted


def weigh(model: MultimodalAutoencoder, scores: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The sum over modalities, plain and with the model's weights."""
    plain = torch.stack(list(scores.values())).sum(dim=0)
    if all(weight == 1.0 for weight in model.weights.values()):
        return plain, plain
    return plain, torch.stack([model.weights[name] * score for name, score in scores.items()]).sum(dim=0)


@dataclass(frozen=True)
class ELBO(Objective):
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
        posterior = model.evidence(batch, step.noise).posterior()
        draws = posterior.rsample(self.num_draws, step.noise, stratified=self.stratified)
        terms, plain, weighted = reconstruction_terms(model, draws, batch)
        divergence = posterior.kl(model.prior)
        return Terms(
            {**terms, "divergence": divergence},
            item_loss=warm(self.beta, self.warmup, step.fraction) * divergence - weighted,
            bound=plain - divergence,
        )


@dataclass(frozen=True)
class SubsetELBO(Objective):
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
        evidence = model.evidence(batch, step.noise)
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
            item_loss=(weight * (beta * divergence - weighted)).sum(dim=0),
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


def random_subsets(present: Tensor, count: int, noise: Noise, name: str) -> Tensor:
    """Bool `(count, M, B)`: random non-empty subsets of what each item has; empty where it has nothing."""
    num_modalities, num_items = present.shape
    like = torch.empty(0, device=present.device)
    score = noise.uniform(name, num_items, count, num_modalities, like=like).permute(1, 2, 0)
    # Each modality is kept with probability one half; an empty draw falls back on one observed modality at random.
    # That makes single modalities a little likelier than uniform, which is where translation needs practice most.
    kept = (score < 0.5) & present
    fallback = torch.where(present, score, torch.inf).argmin(dim=1, keepdim=True)
    alone = torch.zeros_like(kept).scatter(1, fallback, True) & present
    return torch.where(kept.any(dim=1, keepdim=True), kept, alone)


def random_parts(present: Tensor, noise: Noise, name: str) -> Tensor:
    """Bool `(M, B)`: of each item a random part of what it has, less than all wherever it has several.

    Every size is equally likely. Among all subsets of many modalities almost none is one alone, which is what
    translation starts from.
    """
    like = torch.empty(0, device=present.device)
    size_of, place_of = noise.uniform(name, present.shape[1], 1 + len(present), like=like).split([1, len(present)], 1)
    count = present.sum(dim=0)
    size = 1 + (size_of.squeeze(1) * (count - 1).clamp_min(1)).long()
    place = torch.where(present, place_of.T, torch.inf).argsort(dim=0).argsort(dim=0)
    return (place < size) & present


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
    """

    num_draws: int = 1
    stratified: bool = True
    beta: float = 1.0
    dreg: bool = False

    def __call__(self, model: MultimodalAutoencoder, batch: Batch, step: Step) -> Terms:
        posterior = model.evidence(batch, step.noise).posterior()
        draws = posterior.rsample(self.num_draws, step.noise, stratified=self.stratified)
        scores = log_likelihoods(model, draws, batch)
        plain, weighted = weigh(model, scores)  # (K, S, B)
        below = posterior.detach() if self.dreg else posterior
        divergence = below.log_prob(draws.z) - model.prior.log_prob(draws.z)
        divergence = torch.where(draws.use, divergence, 0.0)
        log_weight = weighted - self.beta * divergence
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
    """

    num_draws: int = 1
    stratified: bool = True
    beta: float = 1.0

    def __call__(self, model: MultimodalAutoencoder, batch: Batch, step: Step) -> Terms:
        evidence = model.evidence(batch, step.noise)
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
        return Terms(
            {
                **{f"reconstruction/{name}": draws.expect(score) for name, score in scores.items()},
                "divergence": draws.expect(divergence),
            },
            item_loss=-importance_weighted(weighted - self.beta * divergence, draws),
        )


@dataclass(frozen=True)
class TotalCorrelation(Objective):
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
        evidence = model.evidence(batch, step.noise)
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
            item_loss=beta * ((1 - self.alpha) * to_prior + self.alpha * conditional)
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
class SelfRoutes(Objective):
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
        evidence = model.evidence(batch, step.noise)
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
            item_loss=(beta * (to_prior + to_experts) - weighted - weighted_own) / (count + 1),
            bound=plain - to_prior,
        )


@dataclass(frozen=True)
class SoftSharing(Objective):
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
        evidence = model.evidence(batch, step.noise)
        assert isinstance(evidence, ExpertEvidence)
        experts, present = evidence.experts, evidence.present
        z = own_codes(evidence, step.noise)
        own = {
            name: model.log_likelihood(name, z[None, m : m + 1], present[m : m + 1], batch)[0, 0]
            for m, name in enumerate(model.modalities)
            if name in batch
        }
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
            item_loss=self.beta * divergence - weighted,
        )


@dataclass(frozen=True)
class JensenShannon(Objective):
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
        evidence = model.evidence(batch, step.noise)
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
            item_loss=warm(self.beta, self.warmup, step.fraction) * divergence - weighted,
        )


def own_codes(evidence: ExpertEvidence, noise: Noise) -> Tensor:
    """One draw from every expert, `(M, B, D)`."""
    experts = evidence.experts
    num_modalities, num_items, latent_dim = experts.loc.shape
    drawn = noise.normal("own", num_items, num_modalities, latent_dim, like=experts.loc).movedim(1, 0)
    return experts.loc + experts.log_scale.exp() * drawn


def divergence_to_experts(posterior: Mixture, evidence: ExpertEvidence) -> Tensor:
    """KL of a one-component posterior from each expert, `(M, B)`, in nats; zero where an item lacks the expert."""
    experts = evidence.experts
    kl = normal_kl(posterior.loc, posterior.log_scale, experts.loc, experts.log_scale)
    return torch.where(experts.present, kl, 0.0)


@dataclass(frozen=True)
class JointELBO(Objective):
    r"""The ELBO of a joint network, which every expert learns to stand in for.

    .. math:: E_{q(z|x_A)}\Big[\sum_{m \in A} \lambda_m \log p(x_m|z)\Big] - \beta\, KL(q(z|x_A) \| p(z))
        - \alpha \sum_{m \in A} KL(q(z|x_A) \| q(z|x_m))

    JMVAE-kl (Suzuki et al. 2016, arXiv:1611.01891, section 3.3), for two modalities there. `A` is what an item has: the
    joint network takes any part of the modalities. An item with one alone is left its reconstruction and the likeness
    of the two networks.

    Args:
        alpha: Weight of the divergences from the experts.
        beta: Weight of the divergence from the prior.
        warmup: Share of training over which both grow from zero.
    """

    alpha: float = 0.1
    beta: float = 1.0
    warmup: float = 0.0

    def __call__(self, model: MultimodalAutoencoder, batch: Batch, step: Step) -> Terms:
        evidence = model.evidence(batch, step.noise)
        assert isinstance(evidence, JointEvidence)
        terms, plain, weighted = reconstruction_terms(model, evidence.joint.rsample(1, step.noise), batch)
        to_prior = evidence.joint.kl(model.prior)
        to_experts = divergence_to_experts(evidence.joint, evidence).sum(dim=0)
        return Terms(
            {**terms, "divergence": to_prior, "divergence/experts": to_experts},
            item_loss=warm(1.0, self.warmup, step.fraction) * (self.beta * to_prior + self.alpha * to_experts)
            - weighted,
            bound=plain - to_prior,
        )


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
        evidence = model.evidence(batch, step.noise)
        sources = self._sources(evidence, step.noise)  # (S, M, B)
        z = torch.stack([evidence.posterior(among).mean for among in sources])[None]  # (1, S, B, D)
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
