"""multi-view-AE 1.1.8 (Aguila et al. 2023), on Lightning 2.6.6 in place of 1.5.10, which no Python here can run.

Its models are built by their own configuration files, on dummy networks; encoders and decoders are then put in place of
those. One argument of `training_step` is taken away, which Lightning 2 refuses, and two of its hooks note the time.

Shapes: `K` draws, `B` items, `M` modalities, `D` shared latent, `P` private latent.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from budgets import Budgets, Enough
from multiviewae import models
from multiviewae.base.base_model import BaseModelAE
from multiviewae.base.distributions import Categorical, Laplace, Normal
from peers import LEARNING_RATE, Peer, Refused
from peers_networks import Expert, Task
from torch import Tensor, nn

# By name: model, and the options under which its objective is ours, or nearest to it.
CONFIGURED: dict[str, tuple[type, dict[str, Any]]] = {
    "mvae": (models.mVAE, {"warmup": 0, "beta": 1}),
    "mmvae": (models.mmVAE, {"K": 1, "beta": 1}),
    "mopoe": (models.MoPoEVAE, {"beta": 1}),
    "mvtcae": (models.mvtCAE, {"alpha": 5 / 6}),
    "mmvae+": (models.mmVAEPlus, {"K": 1, "beta": 1}),
    "fused": (models.AE, {}),
}
GAPS = "multi-view-AE cannot express a missing modality"
CHUNK = 512  # items that it predicts at a time


class Encoder(nn.Module):
    """An `Expert` as multi-view-AE wants it: a tuple, or for AE the code alone."""

    def __init__(self, expert: Expert, certain: bool):
        super().__init__()
        self.expert, self.certain = expert, certain

    def forward(self, x: Tensor) -> tuple[Tensor, ...] | Tensor:
        made = self.expert(x)
        return made[0] if self.certain else made


class FlatLaplace(Laplace):
    """Over events laid flat, as its likelihoods sum over one axis: models/mvae.py:256."""

    def log_likelihood(self, x: Tensor) -> Tensor:
        return super().log_likelihood(x.flatten(1))


class FlatNormal(Normal):
    """As `FlatLaplace`."""

    def log_likelihood(self, x: Tensor) -> Tensor:
        return super().log_likelihood(x.flatten(1))


class FlatCategorical(Categorical):
    """One-hot characters `(L, V)`, from logits laid flat; as `FlatLaplace`."""

    def __init__(self, loc: Tensor, scale: float):
        super().__init__(x=loc)

    def log_likelihood(self, x: Tensor) -> Tensor:
        nats: Tensor = Categorical(x=self.x.unflatten(-1, x.shape[1:])).log_likelihood(x)
        return nats.flatten(-2)


FAMILIES: dict[str, type[Any]] = {"laplace": FlatLaplace, "normal": FlatNormal, "categorical": FlatCategorical}


class Decoder(nn.Module):
    """A decoder as multi-view-AE wants it: codes `(B, D)` or `(K, B, D)` to a distribution."""

    def __init__(self, network: nn.Module, family: str, scale: float):
        super().__init__()
        self.network, self.family, self.scale = network, family, scale

    def forward(self, z: Tensor) -> FlatLaplace | FlatNormal | FlatCategorical:
        loc = self.network(z.flatten(0, -2)).reshape(*z.shape[:-1], -1)
        made: FlatLaplace | FlatNormal | FlatCategorical = FAMILIES[self.family](loc=loc, scale=self.scale)
        return made


TIMES: list[float] = []


def note_the_time(model: BaseModelAE) -> None:
    """A hook of Lightning."""
    TIMES.append(time.perf_counter())


def training_step(model: BaseModelAE, batch: Any, batch_idx: int) -> Tensor:
    """Its own, without the argument `optimizer_idx`, which Lightning 2 refuses: base_model.py:221."""
    loss: Tensor = model._BaseModelAE__step(batch, batch_idx, stage="train")
    return loss


BaseModelAE.on_train_start = BaseModelAE.on_train_epoch_end = note_the_time
BaseModelAE.training_step = training_step


class MultiViewAE(Peer):
    """One of its models.

    Args:
        model: Built.
        shared_dim: Dimensions of a code, before those that are a modality's own.
        shapes: Of one event, by modality.
    """

    gaps = False

    def __init__(self, model: Any, shared_dim: int, shapes: Mapping[str, tuple[int, ...]]):
        self.model, self.shared_dim, self.shapes = model, shared_dim, shapes

    def prepare_step(
        self, values: Mapping[str, Tensor], present: Mapping[str, Tensor] | None
    ) -> tuple[Callable[[], Tensor], torch.optim.Optimizer]:
        if present is not None:
            raise Refused(GAPS)
        self._mode(training=True)
        x = list(values.values())
        optimiser = self.model.configure_optimizers()

        def loss_of() -> Tensor:
            loss: Tensor = self.model.loss_function(x, self.model(x))["loss"]
            return loss

        return loss_of, optimiser

    def train(
        self,
        values: Mapping[str, Tensor],
        *,
        epochs: int = 1,
        batch_size: int = 256,
        present: Mapping[str, Tensor] | None = None,
    ) -> list[float]:
        self._fit(values, present, epochs, batch_size)
        return [end - start for start, end in itertools.pairwise(TIMES)]

    def train_until(
        self,
        values: Mapping[str, Tensor],
        budgets: Budgets,
        *,
        batch_size: int = 256,
        present: Mapping[str, Tensor] | None = None,
    ) -> None:
        def step(*arguments: Any) -> None:
            budgets.step(self.model.trainer.num_training_batches)

        # Hooks of Lightning, of this model alone.
        self.model.on_train_start, self.model.on_train_batch_end = budgets.start, step
        with contextlib.suppress(Enough):
            self._fit(values, present, sys.maxsize, batch_size)

    def _fit(
        self, values: Mapping[str, Tensor], present: Mapping[str, Tensor] | None, epochs: int, batch_size: int
    ) -> None:
        if present is not None:
            raise Refused(GAPS)
        self._mode(training=True)
        TIMES.clear()
        with tempfile.TemporaryDirectory() as folder, quiet():
            self.model.cfg.out_dir = folder
            self.model.cfg.logger.save_dir = folder
            self.model.fit(*values.values(), max_epochs=epochs, batch_size=batch_size)

    def codes(self, values: Mapping[str, Tensor]) -> Tensor:
        return self._code(self._predicted("predict_latents", values, True))

    def translate(self, values: Mapping[str, Tensor], targets: Sequence[str], drawn: bool) -> dict[str, Tensor]:
        # mmVAEPlus takes means all the same: mmvaeplus.py:145.
        places = [place for place, name in enumerate(self.shapes) if name in targets]
        found = self._predicted("predict_reconstruction", values, not drawn, output_modalities=places)[0]
        shapes = {name: shape for name, shape in self.shapes.items() if name in targets}
        return {
            name: torch.from_numpy(rows).reshape(-1, *shape)
            for (name, shape), rows in zip(shapes.items(), found, strict=True)
        }

    def _predicted(self, what: str, values: Mapping[str, Tensor], mean: bool, **more: Any) -> Any:
        """What one of its functions predicts from some modalities. It asks for all, and does not look at others."""
        num_items = len(next(iter(values.values())))
        blank = {name: torch.zeros(1, *shape).expand(num_items, *shape) for name, shape in self.shapes.items()}
        sources = [place for place, name in enumerate(self.shapes) if name in values]
        training, self.model.return_mean = self.model.training, mean
        self._mode(training=False)
        try:
            return getattr(self.model, what)(
                *{**blank, **values}.values(), input_modalities=sources, batch_size=CHUNK, **more
            )
        finally:
            self._mode(training)

    def embed(self, values: Mapping[str, Tensor], batch_size: int = 256) -> Tensor:
        return self._code(self.model.predict_latents(*values.values(), batch_size=batch_size))

    def _code(self, latents: list[np.ndarray]) -> Tensor:
        """As they come from `predict_latents`; for models without a joint code, the mean over modalities."""
        return torch.stack([torch.from_numpy(code) for code in latents]).mean(dim=0)[:, : self.shared_dim]

    @torch.no_grad()
    def log_likelihood(self, values: Mapping[str, Tensor], num_draws: int = 1000, batch_size: int = 32) -> float:
        # predict_nll does this with 1000 draws, and takes the mean over batches, of whatever size.
        if not hasattr(self.model, "calc_nll"):
            raise Refused(f"multi-view-AE's {self.model.model_name} has no likelihood")
        self._mode(training=False)
        batches = list(zip(*(rows.split(batch_size) for rows in values.values()), strict=True))
        each = [-len(x[0]) * float(self.model.calc_nll(list(x), num_draws, min(100, num_draws))) for x in batches]
        return math.fsum(each) / len(next(iter(values.values())))

    def _mode(self, training: bool) -> None:
        """Its own switch, beside torch's: `predict_latents` turns it off and leaves it so, base_model.py:464."""
        self.model._training = training
        self.model.train(training)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without Lightning's hints."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def make(method: str, task: Task, latent_dim: int, options: Mapping[str, Any]) -> MultiViewAE:
    """A model with networks of the task.

    Raises:
        Refused: multi-view-AE has no such method, or not for so many modalities.
    """
    if method == "jmvae":
        raise Refused("multi-view-AE's JMVAE takes exactly two modalities (base_model.py:364)")
    model_class, defaults = CONFIGURED[method]
    private_dim = latent_dim // 2 if method == "mmvae+" else 0
    settings = {"z_dim": latent_dim, "learning_rate": LEARNING_RATE, **defaults}
    if private_dim:
        settings |= {"u_dim": latent_dim - private_dim, "w_dim": private_dim}
    if method == "mvtcae":
        settings["beta"] = 5 / 6 * len(task.shapes)
    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng(), quiet():  # it sets seeds, unasked
        path = Path(folder) / "config.yaml"
        path.write_text(yaml.safe_dump(configuration({**settings, **options})), encoding="utf-8")
        model = model_class(cfg=str(path), input_dim=[1] * len(task.shapes), z_dim=latent_dim)
    shared_dim = latent_dim - private_dim
    model.encoders = nn.ModuleList(
        Encoder(Expert(task.encoder(shape), task.width, shared_dim, private_dim), certain=method == "fused")
        for shape in task.shapes.values()
    )
    model.decoders = nn.ModuleList(
        Decoder(task.decoder(shape, latent_dim), task.family_of(name), task.scale)
        for name, shape in task.shapes.items()
    )
    # A vector's dimension is a number there, not a tuple.
    model.input_dim = [shape if len(shape) > 1 else shape[0] for shape in task.shapes.values()]
    return MultiViewAE(model, shared_dim, task.shapes)


def configuration(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration file of its own: all items are for training, and Lightning does nothing beside."""
    return {
        "model": dict(settings),
        "datamodule": {"is_validate": False},
        "trainer": {
            "accelerator": "cpu",
            "log_every_n_steps": 50,  # Lightning's default; 2 is multi-view-AE's
            "limit_val_batches": 0,  # Lightning 2 refuses None for a loader: dataloaders.py:77
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "enable_checkpointing": False,
        },
    }
