"""Codes of many items and events of many codes, in parts that fit any machine.

Shapes: `n` items, `D` latent dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from isthmus.batch import Batch, Values, concatenate, to_device
from isthmus.model import MultimodalAutoencoder
from isthmus.noise import Noise

CHUNK = 512


@dataclass(frozen=True)
class Codes:
    """Codes of the items at `rows`, long `(n,)`: their `mean` and one `draw` from each posterior, `(n, D)`."""

    rows: Tensor
    mean: Tensor
    draw: Tensor

    def at(self, rows: Tensor) -> Codes:
        """Those of the items `rows`, which must all be there."""
        place = torch.searchsorted(self.rows, rows)
        return Codes(rows, self.mean[place], self.draw[place])


def encode(model: MultimodalAutoencoder, batch: Batch, names: Sequence[str], seed: int) -> Codes:
    """Codes from the modalities `names` alone, of the items that have at least one of them."""
    rows = batch.presence(names).any(dim=0).nonzero().squeeze(1)
    seen = batch.only(*names)
    means, draws = [], []
    for step, part in enumerate(rows.split(CHUNK)):
        posterior = model.encode(seen.take(part).to(model.device, model.dtype))
        means.append(posterior.mean.cpu())
        draws.append(model.codes(posterior, Noise(seed, step), "evaluation").cpu())
    return Codes(rows, torch.cat(means), torch.cat(draws))


def decode(model: MultimodalAutoencoder, name: str, z: Tensor) -> Values:
    """The most likely event of each code `(n, D)`, on the CPU."""
    parts = [to_device(model.decode(name, part.to(model.device, model.dtype)).mode, "cpu") for part in z.split(CHUNK)]
    return concatenate(parts)
