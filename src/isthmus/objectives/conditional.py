"""The bound of what an item has, given a part of it.

Shapes: `S` sources, `M` modalities, `B` items, `D` latent dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass

from isthmus.batch import Batch
from isthmus.gaussians import normal_kl
from isthmus.model import MultimodalAutoencoder
from isthmus.objectives.base import Charged, Step, Terms, log_likelihoods, warm, weigh
from isthmus.objectives.subsets import random_parts
from isthmus.posteriors import Mixture


@dataclass(frozen=True)
class ConditionalELBO(Charged):
    r"""What an item has is told from a random part `C` of it, the target `T` being the rest.

    .. math:: \log p(x_T | x_C) \ge E_{q(z|x_C, x_T)}\Big[\sum_{m \in T} \lambda_m \log p(x_m|z)\Big]
        - \beta\, KL(q(z|x_C, x_T) \| p(z|x_C))

    CVAE (Sohn et al. 2015, "Learning structured output representation using deep conditional generative models",
    NeurIPS), for any part and any target as in VAEAC (Ivanov et al. 2019, arXiv:1806.02382). The posterior `q` and the
    conditional prior `p(z|x_C)` are what one network says of all and of the part. Of `n` modalities parts of 0 to
    `n - 1` are equally likely; an empty one leaves the prior, and the ELBO.

    Args:
        beta: Weight of the divergence.
        warmup: Share of training over which beta grows from zero.
        target: A modality that is never in `C`.
    """

    beta: float = 1.0
    warmup: float = 0.0
    target: str | None = None

    def __call__(self, model: MultimodalAutoencoder, batch: Batch, step: Step) -> Terms:
        evidence = step.evidence(model, batch)
        last = None if self.target is None else model.modalities.index(self.target)
        given = random_parts(evidence.present, step.noise, "given", least=0, last=last)  # (M, B)
        posterior, conditional = evidence.posterior(), evidence.posterior(given)
        assert isinstance(posterior, Mixture) and isinstance(conditional, Mixture) and len(posterior.loc) == 1
        draws = posterior.rsample(1, step.noise)
        told = {name: ~given[m : m + 1] for m, name in enumerate(model.modalities)}
        expected = {name: draws.expect(score) for name, score in log_likelihoods(model, draws, batch, use=told).items()}
        _, weighted = weigh(model, expected)
        divergence = normal_kl(posterior.loc, posterior.log_scale, conditional.loc, conditional.log_scale)[0]
        return Terms(
            {**{f"reconstruction/{name}": score for name, score in expected.items()}, "divergence": divergence},
            item_loss=warm(self.beta, self.warmup, step.fraction) * self.charge(divergence) - weighted,
        )
