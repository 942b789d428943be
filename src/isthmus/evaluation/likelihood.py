"""How likely a model finds data, by importance sampling.

Shapes: `K` draws, `B` items, `D` latent dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from isthmus.batch import Batch
from isthmus.model import MultimodalAutoencoder
from isthmus.noise import Noise

MAX_ROWS = 4096


def log_evidence(
    model: MultimodalAutoencoder,
    batch: Batch,
    target: Sequence[str],
    num_draws: int,
    seed: int,
    source: Sequence[str] = (),
) -> Tensor:
    r"""`log p(x_target | x_source)` of what each item has of either, `(B,)` on the CPU, in nats.

    .. math:: \log \frac{1}{K} \sum_k \frac{b(z^k) \prod_{m \in target} p(x_m | z^k)}{q(z^k | x_{source}, x_{target})},
        \quad z^k \sim q(z | x_{source}, x_{target})

    with the belief `b` the prior without a source (Burda, Grosse & Salakhutdinov 2016, arXiv:1509.00519, eq. 8), and
    `q(z | x_source)` with one: the likelihood of the target under the codes that a translation draws. A lower bound on
    average, tighter with more draws. A difference of two such bounds, `log p(x_source, x_target) - log p(x_source)`,
    would not be one: on digits it put the probability of a caption above one.

    An item that has nothing of the target scores zero.

    Raises:
        TypeError: The model's posterior has no density.
    """
    both, given = batch.only(*source, *target), batch.only(*source) if source else None
    items_per_part = max(1, MAX_ROWS // num_draws)
    parts = []
    for step, rows in enumerate(torch.arange(len(batch)).split(items_per_part)):
        part = both.take(rows).to(model.device, model.dtype)
        proposal = model.encode(part)
        z = proposal.rsample(num_draws, Noise(seed, step), "evidence").z  # (K, 1, B, D)
        belief = model.prior if given is None else model.encode(given.take(rows).to(model.device, model.dtype))
        log_weight = belief.log_prob(z) - proposal.log_prob(z)
        everywhere = torch.ones(1, len(rows), dtype=torch.bool, device=part.device)
        for name in target:
            log_weight = log_weight + model.log_likelihood(name, z, everywhere, part)
        nats = torch.logsumexp(log_weight[:, 0], dim=0) - math.log(num_draws)
        parts.append(torch.where(part.presence(target).any(dim=0), nats, 0.0).double().cpu())
    return torch.cat(parts)


def mean_and_error(nats: Tensor) -> dict[str, float]:
    """The mean over items, in nats, and its standard error."""
    error = float(nats.std() / math.sqrt(len(nats))) if len(nats) > 1 else 0.0
    return {"nats": float(nats.mean()), "standard_error": error}
