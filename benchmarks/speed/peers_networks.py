"""The networks and the data that all libraries under comparison are given, in plain torch.

The pictures' are MultiVae's for PolyMNIST (`multivae/models/nn/mmnist.py`, `EncoderConvMMNIST`, `DecoderConvMMNIST`):
features end at the last ReLU, and one linear layer behind them gives location and spread, as Isthmus has it. Five
modalities and 64 dimensions make 2.3 million parameters.

Shapes: `B` items, `R` rows of a decoder call, `M` modalities, `F` features, `D` shared latent, `P` private latent,
`T C` frames and bands of a spectrogram, `L V` characters of a text and the alphabet.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

MAX_LOG_SCALE = 6.0  # as in isthmus.gaussians.normal_of
MFEAT = ("fou", "fac", "kar", "pix", "zer", "mor")
Shape = tuple[int, ...]


def picture_encoder(shape: Shape, width: int = 64) -> nn.Sequential:
    """From pictures `(B, C, 28, 28)` to features `(B, width)`."""
    return nn.Sequential(
        nn.Conv2d(shape[0], 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(64, 128, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(128 * 4 * 4, width),
        nn.ReLU(),
    )


def picture_decoder(shape: Shape, latent_dim: int) -> nn.Sequential:
    """From codes `(R, latent_dim)` to pictures `(R, C, 28, 28)`."""
    return nn.Sequential(
        nn.Linear(latent_dim, 128 * 4 * 4),
        nn.ReLU(),
        nn.Unflatten(1, (128, 4, 4)),
        nn.ConvTranspose2d(128, 64, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(64, 32, 3, stride=2, padding=1, output_padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(32, shape[0], 3, stride=2, padding=1, output_padding=1),
    )


def vector_encoder(shape: Shape, width: int = 256) -> nn.Sequential:
    """From vectors `(B, columns)` to features `(B, width)`."""
    return nn.Sequential(nn.Linear(shape[0], width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())


def vector_decoder(shape: Shape, latent_dim: int, width: int = 256) -> nn.Sequential:
    """From codes `(R, latent_dim)` to vectors `(R, columns)`."""
    return nn.Sequential(
        nn.Linear(latent_dim, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, shape[0])
    )


def spectrogram_encoder(shape: Shape, width: int = 64) -> nn.Sequential:
    """From spectrograms `(B, 1, T, C)` to features `(B, width)`: the pictures' network. `T` and `C` divide by 8."""
    convolutions = list(picture_encoder(shape))[:7]
    return nn.Sequential(*convolutions, nn.Linear(128 * (shape[1] // 8) * (shape[2] // 8), width), nn.ReLU())


def spectrogram_decoder(shape: Shape, latent_dim: int) -> nn.Sequential:
    """From codes `(R, latent_dim)` to spectrograms `(R, 1, T, C)`."""
    grid = (128, shape[1] // 8, shape[2] // 8)
    return nn.Sequential(
        nn.Linear(latent_dim, math.prod(grid)),
        nn.ReLU(),
        nn.Unflatten(1, grid),
        nn.ConvTranspose2d(128, 64, 3, stride=2, padding=1, output_padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(64, 32, 3, stride=2, padding=1, output_padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(32, shape[0], 3, stride=2, padding=1, output_padding=1),
    )


def text_encoder(shape: Shape, width: int = 64) -> nn.Sequential:
    """From one-hot characters `(B, L, V)` to features `(B, width)`; captions are short, and dense layers do."""
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 256), nn.ReLU(), nn.Linear(256, width), nn.ReLU())


def text_decoder(shape: Shape, latent_dim: int) -> nn.Sequential:
    """From codes `(R, latent_dim)` to logits of characters `(R, L, V)`."""
    return nn.Sequential(
        nn.Linear(latent_dim, 256), nn.ReLU(), nn.Linear(256, math.prod(shape)), nn.Unflatten(1, shape)
    )


@dataclass(frozen=True)
class Task:
    """What is to be modelled, and by which networks.

    Args:
        shapes: Of one event, by modality.
        encoder: Makes a network from values to features, of a shape.
        decoder: Makes a network from codes to locations or logits, of a shape and the width of a code.
        width: Features that encoders give.
        family: Of `p(x | z)`, "laplace" or "normal".
        scale: Of `p(x | z)`; not learnt.
        texts: Modalities that are one-hot characters `(L, V)` in place of it, the last character being the end.
    """

    shapes: Mapping[str, Shape]
    encoder: Callable[[Shape], nn.Module]
    decoder: Callable[[Shape, int], nn.Module]
    width: int
    family: str
    scale: float
    texts: tuple[str, ...] = ()

    def family_of(self, name: str) -> str:
        """Of `p(x | z)` of one modality, "categorical" for texts."""
        return "categorical" if name in self.texts else self.family

    def zeros(self, num_items: int) -> dict[str, Tensor]:
        """Empty values, to be filled."""
        return {name: torch.zeros(num_items, *shape) for name, shape in self.shapes.items()}


def pictures(num_modalities: int = 5, channels: int = 3) -> Task:
    """Pictures of 28 x 28, with the likelihood that is usual for PolyMNIST."""
    shapes = {f"m{m}": (channels, 28, 28) for m in range(num_modalities)}
    return Task(shapes, picture_encoder, picture_decoder, width=64, family="laplace", scale=0.75)


def vectors(columns: Mapping[str, int]) -> Task:
    """Vectors with squared error, such as the six views of mfeat."""
    shapes = {name: (count,) for name, count in columns.items()}
    return Task(shapes, vector_encoder, vector_decoder, width=256, family="normal", scale=1.0)


def digits(frames: int, bands: int, length: int, alphabet: int) -> Task:
    """A written digit, a spoken one, and a caption in characters; likelihoods as usual for MNIST-SVHN-Text."""
    shapes: dict[str, Shape] = {"image": (1, 28, 28), "audio": (1, frames, bands), "caption": (length, alphabet)}
    encoders = {shapes["image"]: picture_encoder, shapes["audio"]: spectrogram_encoder, shapes["caption"]: text_encoder}
    decoders = {shapes["image"]: picture_decoder, shapes["audio"]: spectrogram_decoder, shapes["caption"]: text_decoder}
    return Task(
        shapes,
        lambda shape: encoders[shape](shape),
        lambda shape, latent_dim: decoders[shape](shape, latent_dim),
        width=64,
        family="laplace",
        scale=0.75,
        texts=("caption",),
    )


def mfeat(path: str | Path) -> tuple[Task, dict[str, Tensor]]:
    """Six views of 2,000 handwritten digits from `mfeat.npz`, 6 to 240 columns, each standardised."""
    with np.load(path) as archive:
        views = {name: torch.from_numpy(archive[name].astype(np.float32)) for name in MFEAT}
    values = {name: (x - x.mean(dim=0)) / x.std(dim=0).clamp_min(1e-6) for name, x in views.items()}
    return vectors({name: x.shape[1] for name, x in values.items()}), values


def gaussian(raw: Tensor) -> tuple[Tensor, Tensor]:
    """Location and log-variance `(..., D)` of what a head gave `(..., 2 D)`, bounded as Isthmus bounds them."""
    loc, log_scale = raw.chunk(2, dim=-1)
    return loc, 2 * MAX_LOG_SCALE * torch.tanh(log_scale / MAX_LOG_SCALE)


class Expert(nn.Module):
    """Encoder and head: location and log-variance `(B, D)`, and behind them those of a private code if there is one.

    Args:
        encoder: To features `(B, width)`.
        width: Features.
        latent_dim: `D`.
        private_dim: `P`; 0 for none.
    """

    def __init__(self, encoder: nn.Module, width: int, latent_dim: int, private_dim: int = 0):
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(width, 2 * latent_dim)
        self.private_head = nn.Linear(width, 2 * private_dim) if private_dim else None

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.of_features(self.encoder(x))

    def of_features(self, features: Tensor) -> tuple[Tensor, ...]:
        """The same from features."""
        shared = gaussian(self.head(features))
        return shared if self.private_head is None else (*shared, *gaussian(self.private_head(features)))


class Joint(nn.Module):
    """Features of all modalities to one Gaussian, as `isthmus.fusions.Concatenation` and a head do it.

    Args:
        num_modalities: `M`.
        width: Features of each, and of the result.
        latent_dim: `D`.
    """

    def __init__(self, num_modalities: int, width: int, latent_dim: int):
        super().__init__()
        self.project = nn.ModuleList(nn.Linear(width, width) for _ in range(num_modalities))
        self.join = nn.ModuleList(nn.Linear(width, width) for _ in range(num_modalities))
        self.head = nn.Linear(width, 2 * latent_dim)

    def forward(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        rows = [nn.functional.silu(layer(x)) for layer, x in zip(self.project, features, strict=True)]
        joined = torch.stack([layer(row) for layer, row in zip(self.join, rows, strict=True)])
        return gaussian(self.head(joined.sum(dim=0) / math.sqrt(len(rows))))


def draw_presence(num_items: int, names: list[str], missing: float, seed: int = 0) -> dict[str, Tensor]:
    """Bool `(N,)` by modality: a share of all cells is missing, exactly, and no item lacks everything.

    MultiVae cannot train on an item that lacks everything. At 80 % and five modalities every item has exactly one.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.rand(num_items, len(names), generator=generator)
    kept = order == order.amax(dim=1, keepdim=True)  # one cell of each item stays
    more = round(num_items * len(names) * (1 - missing)) - num_items
    if more < 0:
        raise ValueError(f"missing={missing} leaves less than one of {len(names)} modalities to an item.")
    others = (~kept).flatten().nonzero().squeeze(1)
    kept.view(-1)[others[torch.randperm(len(others), generator=generator)[:more]]] = True
    return dict(zip(names, kept.unbind(dim=1), strict=True))
