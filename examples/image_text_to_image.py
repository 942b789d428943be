"""The textbook multimodal autoencoder: a picture and a text vector in, the picture back out.

A CNN reads a 32x32x3 picture, an MLP reads a vector of 10 numbers that stands for a text, their features are
concatenated into one code, and a decoder reconstructs the picture from it; Adam lowers the squared error.

    python examples/image_text_to_image.py --epochs 20 --batch-size 32
    python examples/image_text_to_image.py --fusion attention
    python examples/image_text_to_image.py --share trunk
"""

from __future__ import annotations

import argparse

import numpy as np
from torch import Tensor, nn

import isthmus


class PictureEncoder(nn.Module):
    """`(n, 3, 32, 32)` to `(n, 128)`. Any module will do: no base class, no registration."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 32, 4, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(32, 64, 4, stride=2, padding=1), nn.ReLU(),
            nn.Flatten(), nn.Linear(64 * 8 * 8, 128), nn.ReLU(),
        )  # fmt: skip

    def forward(self, pictures: Tensor) -> Tensor:
        features: Tensor = self.layers(pictures)
        return features


class TextEncoder(nn.Module):
    """`(n, 10)` to `(n, 32)`."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU())

    def forward(self, texts: Tensor) -> Tensor:
        features: Tensor = self.layers(texts)
        return features


def make_data(num_items: int, seed: int) -> dict[str, np.ndarray]:
    """Discs on a dark ground. The text vector names colour and size; where the disc lies, only the picture shows."""
    rng = np.random.default_rng(seed)
    colour = rng.uniform(0.3, 1.0, (num_items, 3))
    radius = rng.uniform(4, 10, num_items)
    centre = rng.uniform(10, 22, (num_items, 2))
    y, x = np.mgrid[0:32, 0:32]
    distance = np.hypot(y - centre[:, 0, None, None], x - centre[:, 1, None, None])
    inside = np.clip(radius[:, None, None] - distance, 0, 1)[..., None]
    picture = 0.1 + inside * (colour[:, None, None] - 0.1)
    # A fixed random projection stands in for a sentence encoder.
    projection = np.random.default_rng(0).normal(size=(4, 10))
    text = np.concatenate([colour, radius[:, None] / 10], axis=1) @ projection
    return {"picture": (255 * picture).round().astype(np.uint8), "text": text.astype(np.float32)}


def train(
    data: dict[str, np.ndarray], *, epochs: int, batch_size: int, fusion: str = "concat", share: str | None = None
) -> isthmus.Autoencoder:
    """Train on a dict of arrays, one row per item."""
    return isthmus.Autoencoder(
        method="fused",
        latent_dim=16,
        # Only the picture is reconstructed, and both modalities are always there: the textbook case.
        options={"fusion": fusion, "share": share, "dropout": False, "balance": {"picture": 1.0, "text": 0.0}},
        # A Normal of this fixed scale is the squared error.
        settings={"picture": {"scale": 0.5**0.5}},
        encoder={"picture": PictureEncoder(), "text": TextEncoder()},
        optimiser="adam",
        epochs=epochs,
        batch_size=batch_size,
    ).fit(data)


def squared_error(model: isthmus.Autoencoder, data: dict[str, np.ndarray]) -> float:
    """Mean squared error per pixel of reconstructions, pixels between 0 and 1; the data may be unseen."""
    pictures = np.stack([np.asarray(picture) for picture in model.reconstruct(data)["picture"]])
    return float(np.mean((pictures / 255.0 - data["picture"] / 255.0) ** 2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--items", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--fusion", choices=["concat", "mean", "attention"], default="concat")
    parser.add_argument("--share", choices=["trunk"], default=None)
    arguments = parser.parse_args()
    model = train(
        make_data(arguments.items, seed=1),
        epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        fusion=arguments.fusion,
        share=arguments.share,
    )
    unseen = make_data(200, seed=2)
    mean_picture = np.mean(make_data(arguments.items, seed=1)["picture"] / 255.0, axis=0)
    floor = np.mean((unseen["picture"] / 255.0 - mean_picture) ** 2)
    print(f"squared error on unseen pictures: {squared_error(model, unseen):.4f}  (mean picture: {floor:.4f})")


if __name__ == "__main__":
    main()
