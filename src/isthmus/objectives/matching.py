"""Every modality's code explains all modalities, and codes are matched to the prior.

Shapes: `S` sources, `M` modalities, `B` items, `D` latent dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import softplus

from isthmus.batch import Batch
from isthmus.discrepancies import maximum_mean_discrepancy
from isthmus.inference import AdversarialInference
from isthmus.model import MultimodalAutoencoder
from isthmus.objectives.base import Objective, Step, Terms, weigh


@dataclass(frozen=True)
class MatchedRoutes(Objective):
    r"""Reconstruct all that is observed from each modality's code and from their mean, and match these codes to p(z).

    .. math:: \frac{1}{S} \sum_s \Big[ \sum_{m} \lambda_m \log p(x_m | z_s) - \gamma\, T(z_s) \Big], \qquad
        z_s \in \{ f(x_1), \dots, f(x_M), \bar f(x) \}

    `T` is, by what the codes are matched:

    - "critic": `-log sigmoid(c(z))`, adversarial autoencoder (Makhzani et al. 2015, arXiv:1511.05644, section 2), with
      the generator's loss that does not saturate;
    - "wasserstein": `c(y) - c(z)` with `y` a draw of the prior, the dual of the Wasserstein distance;
    - "mmd": the maximum mean discrepancy of a source's codes from as many draws, taken over the batch (WAE, Tolstikhin
      et al. 2018, arXiv:1711.01558, algorithm 2).

    Args:
        match: One of the three; the first two need a `CriticOfCodes` as another player.
        weight: `gamma`.
    """

    match: str = "critic"
    weight: float = 1.0

    def __call__(self, model: MultimodalAutoencoder, batch: Batch, step: Step) -> Terms:
        z, there = codes_of_sources(model, batch, step)
        share = there.to(z) / there.sum(dim=0).clamp_min(1)  # (S, B)
        scores = {
            name: (share * model.log_likelihood(name, z[None], there, batch)[0]).sum(dim=0) for name in batch.present
        }
        _, weighted = weigh(model, scores)
        terms = {f"reconstruction/{name}": score for name, score in scores.items()}
        if self.match == "mmd":
            # Over the items of all processes: a discrepancy of parts is not a part of the discrepancy.
            rows = step.gather(torch.cat([z, draws_like(model, z, step), there.to(z)[..., None]], -1).movedim(1, 0))
            z, drawn = rows.movedim(0, 1)[..., :-1].chunk(2, dim=-1)
            there = rows[..., -1].T > 0.5
            each = [maximum_mean_discrepancy(z[s][use], drawn[s][use]) for s, use in enumerate(there)]
            discrepancy = torch.stack(each).sum() / max(1, sum(int(use.sum()) > 1 for use in there))
            return Terms(
                terms,
                item_loss=-weighted,
                per_batch={"discrepancy": discrepancy},
                batch_loss=self.weight * discrepancy,
            )
        inference = model.inference
        assert isinstance(inference, AdversarialInference) and inference.critic is not None
        # The critic is for another player to train.
        fixed = {name: parameter.detach() for name, parameter in inference.critic.named_parameters()}
        score = functional_call(inference.critic, fixed, z)
        if self.match == "wasserstein":
            away = functional_call(inference.critic, fixed, draws_like(model, z, step)) - score
        else:
            away = softplus(-score)
        discrepancy = (share * away).sum(dim=0)
        return Terms({**terms, "discrepancy": discrepancy}, item_loss=self.weight * discrepancy - weighted)


@dataclass(frozen=True)
class CriticOfCodes(Objective):
    r"""Tell the codes of every source from draws `y` of the prior.

    .. math:: -\log \sigma(c(y)) - \log \sigma(-c(z)) \quad\text{or}\quad c(z) - c(y)

    The mean over sources of the loss of a discriminator (Makhzani et al. 2015, arXiv:1511.05644, section 2), or of the
    dual of the Wasserstein distance, which a critic of bounded slope raises (Arjovsky et al. 2017, arXiv:1701.07875).

    Args:
        wasserstein: The second of the two.
    """

    wasserstein: bool = False

    def __call__(self, model: MultimodalAutoencoder, batch: Batch, step: Step) -> Terms:
        with torch.no_grad():
            z, there = codes_of_sources(model, batch, step)
            drawn = draws_like(model, z, step)
        inference = model.inference
        assert isinstance(inference, AdversarialInference) and inference.critic is not None
        score, of_prior = inference.critic(torch.stack([z, drawn]))  # (S, B) each
        told = score - of_prior if self.wasserstein else softplus(score) + softplus(-of_prior)
        loss = torch.where(there, told, 0.0).sum(dim=0) / there.sum(dim=0).clamp_min(1)
        return Terms({"critic": loss}, item_loss=loss)


def codes_of_sources(model: MultimodalAutoencoder, batch: Batch, step: Step) -> tuple[Tensor, Tensor]:
    """Codes `(S, B, D)` of all that is observed and of each modality alone, and where they are there, bool `(S, B)`.

    An item with one modality has its code once, an item with none has none.
    """
    evidence = step.evidence(model, batch)
    present = evidence.present
    single = torch.eye(len(present), dtype=torch.bool, device=present.device)[..., None] & present
    sources = torch.cat([present[None], single & (present.sum(dim=0) > 1)])
    return torch.stack([evidence.posterior(among).mean for among in sources]), sources.any(dim=1)


def draws_like(model: MultimodalAutoencoder, z: Tensor, step: Step) -> Tensor:
    """As many draws of the prior as there are codes, `(S, B, D)`, by place of the item, without gradient."""
    drawn = [model.prior.sample(z.shape[1], step.noise, f"prior/{s}") for s in range(len(z))]
    return torch.stack(drawn).detach().to(z)
