"""Flows learn what a joint network believes; their features, what modalities have in common.

Shapes: `M` modalities, `B` items, `N` items of all processes, `n` rows that are there, `D` latent dimensions, `C`
numbers that a flow heeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from isthmus.batch import Batch
from isthmus.correlations import canonical_correlation
from isthmus.inference import FlowEvidence, FlowInference
from isthmus.model import MultimodalAutoencoder
from isthmus.objectives.base import Objective, Step, Terms, in_full


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
    mean over the `P` pairs of modalities that at least two items of the batch have, items of all processes.
    """

    def __call__(self, model: MultimodalAutoencoder, batch: Batch, step: Step) -> Terms:
        evidence = step.evidence(model, batch)
        assert isinstance(evidence, FlowEvidence)
        like = torch.zeros(len(batch), device=batch.device, dtype=model.dtype)
        heeded, present = self._of_all(model, evidence, step, like)
        found: list[Tensor] = []
        with in_full(like):
            for m, n in combinations(range(len(heeded)), 2):
                both = present[m] & present[n]
                if int(both.sum()) > 1:
                    found.append(canonical_correlation(heeded[m][both], heeded[n][both]))
        mean = torch.stack(found).mean() if found else like.sum()
        return Terms({}, item_loss=like, per_batch={"correlation": mean}, batch_loss=-mean)

    def _of_all(
        self, model: MultimodalAutoencoder, evidence: FlowEvidence, step: Step, like: Tensor
    ) -> tuple[Sequence[Tensor], Tensor]:
        """What each flow heeds of the items of all processes, `(N, C)` each and zero where there is nothing to heed,
        and presence, bool `(M, N)`.
        """
        inference, rows = model.inference, [evidence.present.T.to(like)]
        assert isinstance(inference, FlowInference)
        for m, expert in enumerate(evidence.experts):
            row = like.new_zeros(len(like), inference.num_heeded[m])
            if expert is not None:
                row = row.index_copy(0, evidence.present[m].nonzero().squeeze(1), expert.context.to(like))
            rows.append(row)
        # A correlation of parts is not a part of the correlation.
        present, *heeded = step.gather(torch.cat(rows, dim=1)).split([row.shape[1] for row in rows], dim=1)
        return heeded, present.T > 0.5
