"""What is shared survives another item's private code, and a private code what another item shares.

Shapes: `M` modalities, `B` items, `N` items of all processes, `n` items that have a modality, `D` dimensions of the
shared code, `P` of each private one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor

from isthmus.batch import Batch
from isthmus.contrasts import info_nce
from isthmus.fusions import Experts
from isthmus.inference import PrivateEvidence
from isthmus.model import MultimodalAutoencoder
from isthmus.noise import Noise
from isthmus.objectives.base import Step, in_full
from isthmus.objectives.couplings.base import Coupling, mean_by_items


@dataclass(frozen=True)
class Augmentation(Coupling):
    r"""Generative augmentation: each modality is decoded from its own shared code and the private code of another item,
    and encoded again; both codes are to be found among those of all items.

    .. math:: \frac{1}{2M} \sum_m NCE(z_m, \hat z_m) + NCE(w'_m, \hat w_m), \qquad (\hat z_m, \hat w_m) =
        f_m(E[x | z_m, w'_m])

    IDMVAE (Zhang, Shen & Wang 2026, ICLR, arXiv:2509.23548), with contrasts at a fixed temperature as in the authors'
    code: a code that holds what belongs to the other is caught out. Decoded is a draw of either code, and encoded the
    mean event, through which gradients flow where it is made of numbers; words and classes have none.

    Args:
        temperature: Of the contrasts.
    """

    name: ClassVar[str] = "augmentation"
    default_weight: ClassVar[float] = 0.01

    temperature: float = 1.0

    def refusal(self, model: MultimodalAutoencoder) -> str | None:
        return None if model.shared_dim and model.private_dim else "It needs codes with shared and private parts."

    def __call__(self, model: MultimodalAutoencoder, batch: Batch, step: Step) -> Tensor:
        evidence = step.evidence(model, batch)
        assert isinstance(evidence, PrivateEvidence)
        own = slice(step.offset, step.offset + len(batch))
        z, w = (
            _drawn(experts, step.noise, f"{self.name}/{part}").to(model.dtype)
            for part, experts in (("z", evidence.experts), ("w", evidence.private))
        )
        drawn, shared, private, present = step.of_all(
            w.detach(), evidence.experts.loc, evidence.private.loc, evidence.present[..., None]
        )
        having = [(rows > 0.5).nonzero().squeeze(1) for rows in present[..., 0]]
        # Of each item the next that has the modality too.
        other = torch.arange(present.shape[1], device=z.device).repeat(len(present), 1)
        for m, rows in enumerate(having):
            other[m, rows] = rows.roll(-1)
        borrowed = torch.stack([codes[place[own]] for codes, place in zip(drawn.detach(), other, strict=True)])
        again = _encoded_again(model, batch, z, borrowed)
        shared_again, private_again = step.of_all(again.experts.loc.to(z), again.private.loc)
        values = []
        with in_full(shared):
            for m, rows in enumerate(having):
                if len(rows) > 1:
                    value = info_nce(shared[m, rows], shared_again[m, rows], self.temperature)
                    value = value + info_nce(private[m, other[m, rows]], private_again[m, rows], self.temperature)
                    values.append((len(rows), 0.5 * value))
            return mean_by_items(values, like=shared_again)


def _drawn(experts: Experts, noise: Noise, name: str) -> Tensor:
    """One draw from every expert, `(M, B, D)`, by place of the item."""
    num_modalities, num_items, size = experts.loc.shape
    drawn = noise.draw(experts.family, name, num_items, num_modalities, size, like=experts.loc).movedim(1, 0)
    return experts.loc + experts.log_scale.exp() * drawn


def _encoded_again(model: MultimodalAutoencoder, batch: Batch, shared: Tensor, private: Tensor) -> PrivateEvidence:
    """What encoders make of each modality's mean event, decoded from `shared (M, B, D)` and `private (M, B, P)`."""
    events = {}
    for m, name in enumerate(model.modalities):
        if name in batch:
            rows = batch.rows(name)
            code = shared.new_zeros(len(rows), model.latent_dim)
            code[:, : model.shared_dim] = shared[m, rows]
            code[:, model.private(name)] = private[m, rows]
            events[name] = model.decode(name, code).mean
    return cast(PrivateEvidence, model.evidence(Batch(events, batch.present, batch.index)))
