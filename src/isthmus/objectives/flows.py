"""Flows learn what a joint network believes; their features, what modalities have in common.

Shapes: `M` modalities, `B` items, `n` rows that are there, `D` latent dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from isthmus.batch import Batch
from isthmus.correlations import canonical_correlation
from isthmus.inference import FlowEvidence
from isthmus.model import MultimodalAutoencoder
from isthmus.objectives.base import Objective, Step, Terms


@dataclass(frozen=True)
class FlowLikelihood(Objective):
    r"""Codes that the joint network draws of an item are likely under the flow of each modality that it has.

    .. math:: \sum_{m \in A} E_{q(z|x_A)} \log q(z|x_m)

    The divergences `KL(q(z|x_A) || q(z|x_m))` of JMVAE-kl but for the joint network's entropy, which is not trained
    here: second stage of JNF (Senellart, Chadebec & Allassonniere 2023, arXiv:2305.11832). `A` is what an item has.
    """

    def __call__(self, model: MultimodalAutoencoder, batch: Batch, step: Step) -> Terms:
        evidence = step.evidence(model, batch)
        assert isinstance(evidence, FlowEvidence)
        z = evidence.joint.detach().rsample(1, step.noise).z[0, 0].to(model.dtype)  # (B, D)
        terms = {}
        for name, expert in zip(model.modalities, evidence.experts, strict=True):
            if name in batch:
                terms[f"flow/{name}"] = z.new_zeros(len(z))
                if expert is not None:
                    rows = batch.rows(name)
                    terms[f"flow/{name}"] = z.new_zeros(len(z)).index_copy(0, rows, expert.log_prob(z[rows]).to(z))
        return Terms(terms, item_loss=-torch.stack(list(terms.values())).sum(dim=0))


@dataclass(frozen=True)
class PairedCorrelation(Objective):
    r"""What the flows heed of two modalities is correlated, over the items of the batch that have both.

    .. math:: \frac{1}{P} \sum_{m < n} \sum_i \rho_i(g_m(x_m), g_n(x_n))

    with all canonical correlations: deep CCA (Andrew et al. 2013, "Deep canonical correlation analysis", ICML), the
    mean over the `P` pairs of modalities that at least two items of the batch have.
    """

    def __call__(self, model: MultimodalAutoencoder, batch: Batch, step: Step) -> Terms:
        evidence = step.evidence(model, batch)
        assert isinstance(evidence, FlowEvidence)
        present, like = evidence.present, torch.zeros(len(batch), device=batch.device, dtype=model.dtype)
        found: list[Tensor] = []
        for (m, first), (n, second) in combinations(enumerate(evidence.experts), 2):
            both = present[m] & present[n]
            if first is not None and second is not None and int(both.sum()) > 1:
                one, two = first.context[both[present[m]]], second.context[both[present[n]]]
                found.append(canonical_correlation(one.to(like), two.to(like)))
        mean = torch.stack(found).mean() if found else like.sum()
        return Terms({}, item_loss=like, per_batch={"correlation": mean}, batch_loss=-mean)
