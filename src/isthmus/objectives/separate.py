"""Codes side by side: each modality trained on itself alone, then a diffusion of all codes.

Shapes: `K` draws, `M` modalities, `B` items, `P` dimensions of each modality's code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from isthmus.batch import Batch
from isthmus.inference import DiffusionPrior, SeparateEvidence, SeparateInference
from isthmus.model import MultimodalAutoencoder
from isthmus.noise import Noise
from isthmus.objectives.base import Objective, Step, Terms, weigh
from isthmus.objectives.subsets import random_parts
from isthmus.samplers.diffusion import random_times


@dataclass(frozen=True)
class Apart(Objective):
    r"""Each modality reconstructs itself from its own code.

    .. math:: \sum_m \lambda_m \log p(x_m | f_m(x_m) + s\,\epsilon) - \frac{\beta}{2} \|f_m(x_m)\|^2

    Up to a constant and with `beta=1`, the bounds of autoencoders whose posteriors all have the standard deviation `s`
    (Ghosh et al. 2020, arXiv:1903.12436, section 3.1).

    Args:
        beta: Weight of the codes' squares.
        noise: `s`.
    """

    beta: float = 0.0
    noise: float = 0.0

    def __call__(self, model: MultimodalAutoencoder, batch: Batch, step: Step) -> Terms:
        evidence = step.evidence(model, batch)
        assert isinstance(evidence, SeparateEvidence)
        z = evidence.inference.beside(evidence.codes)  # (B, M P)
        if self.noise and model.training:
            z = z + self.noise * step.noise.normal("own", *z.shape, like=z)
        everywhere = torch.ones(1, len(z), dtype=torch.bool, device=z.device)
        own = {name: model.log_likelihood(name, z[None, None], everywhere, batch)[0, 0] for name in batch}
        square = 0.5 * (evidence.codes**2).sum(dim=(0, 2))
        _, weighted = weigh(model, own)
        return Terms(
            {**{f"reconstruction/{name}": score for name, score in own.items()}, "square": square},
            item_loss=self.beta * square - weighted,
        )


@dataclass(frozen=True)
class MultiTimeDenoising(Objective):
    r"""Learn, from codes in the place of values, how noisy codes of some modalities move when others are known.

    .. math:: E\, \frac{1}{2 |T|} \Big\| v\big(z_{A \setminus T}, \cos\theta\, z_T + \sin\theta\, \epsilon, \theta\big)
        - (\cos\theta\,\epsilon - \sin\theta\,z_T) \Big\|^2

    MLD (Bounoua et al. 2024, arXiv:2306.04445): a time for each modality; all that are drowned have the same one,
    those that are given have 0, and are left out of the loss. `A` is what an item has, and modalities that it lacks
    have time 1, where nothing of them is left to be read. `|T|` counts numbers, so that an item weighs the same
    whatever is given.

    Args:
        given: Probability that some of several modalities are given.
        num_noises: Noises, times and givens for each item in a step.
    """

    given: float = 0.8
    num_noises: int = 1

    def __call__(self, model: MultimodalAutoencoder, batch: Batch, step: Step) -> Terms:
        assert isinstance(model.prior, DiffusionPrior)
        diffusion, inference = model.prior.diffusion, cast(SeparateInference, model.inference)
        present = batch.presence(model.modalities)  # (M, B)
        codes = inference.beside(torch.stack([self._dense(model, batch, name) for name in model.modalities]))
        shape = len(batch), self.num_noises
        known = torch.stack([self._given(present, step.noise, draw) for draw in range(self.num_noises)])
        known, here = known[:, inference.order].movedim(1, 2), present[inference.order].T  # (K, B, M), (B, M)
        drowned = here & ~known
        time = random_times(step.noise, "time", *shape, 1, like=codes).movedim(1, 0)
        time = torch.where(drowned, time, (~here).to(codes))
        drawn = step.noise.normal("noise", *shape, codes.shape[1], like=codes).movedim(1, 0)
        rows = codes.expand_as(drawn).flatten(0, 1)
        error = diffusion.error(rows, time.flatten(0, 1), drawn.flatten(0, 1)).view_as(drawn)
        counts = drowned[..., diffusion.part]
        squares = torch.where(counts, error, 0.0).sum(dim=2) / counts.sum(dim=2).clamp_min(1)
        loss = 0.5 * squares.mean(dim=0)
        return Terms({"denoising": loss}, item_loss=loss)

    def _given(self, present: Tensor, noise: Noise, draw: int) -> Tensor:
        """Bool `(M, B)`: what each item is given, never all that it has."""
        coin = noise.uniform(f"given/{draw}", present.shape[1], like=torch.empty(0, device=present.device))
        chosen = (coin < self.given) & (present.sum(dim=0) > 1)
        return random_parts(present, noise, f"parts/{draw}") & chosen

    def _dense(self, model: MultimodalAutoencoder, batch: Batch, name: str) -> Tensor:
        """Codes `(B, P)` of a modality; zero where an item lacks it."""
        dense = torch.zeros(len(batch), model.private_dim, device=batch.device, dtype=model.dtype)
        if name not in batch:
            return dense
        codes = batch.values[name]
        assert isinstance(codes, Tensor)
        return dense.index_copy(0, batch.rows(name), codes)
