"""MultiVae 1.0.3 (Senellart, Chadebec & Allassonniere).

torchvision is named by its data sets as they are imported, and is not installed, as its wheels would replace torch by
a build for CUDA: `stubs/torchvision` stands in for it, and is taken away again, since torchmetrics imports more from a
torchvision that it sees. Nothing else is patched.

Shapes: `B` items, `M` modalities, `D` shared latent, `P` private latent.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from budgets import Budgets, Enough
from peers import LEARNING_RATE, Peer, Refused
from peers_networks import Expert, Joint, Task
from torch import Tensor, nn
from torch.utils.data import DataLoader

STUBS = Path(__file__).parent / "stubs"
CHUNK = 512  # items that are encoded and decoded at a time


@contextlib.contextmanager
def torchvision_stub() -> Iterator[None]:
    """A torchvision that has names alone, while MultiVae is imported."""
    sys.path.insert(0, str(STUBS))
    try:
        yield
    finally:
        sys.path.remove(str(STUBS))
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]


with torchvision_stub():
    from multivae import models
    from multivae.data.datasets import DatasetOutput, IncompleteDataset, MultimodalBaseDataset
    from multivae.models.base import BaseDecoder, BaseEncoder, ModelOutput
    from multivae.models.nn.base_architectures import BaseJointEncoder
    from multivae.trainers import BaseTrainer, BaseTrainerConfig
    from multivae.trainers.base.callbacks import TrainingCallback

# By name: model, configuration, and the options under which its objective is ours.
CONFIGURED: dict[str, tuple[type, type, dict[str, Any]]] = {
    "mvae": (models.MVAE, models.MVAEConfig, {"k": 0, "warmup": 0}),
    "mmvae": (models.MMVAE, models.MMVAEConfig, {"K": 1, "prior_and_posterior_dist": "normal", "learn_prior": False}),
    "mopoe": (models.MoPoE, models.MoPoEConfig, {}),
    "mvtcae": (models.MVTCAE, models.MVTCAEConfig, {"alpha": 5 / 6}),
    "mmvae+": (
        models.MMVAEPlus,
        models.MMVAEPlusConfig,
        {"K": 1, "prior_and_posterior_dist": "normal", "loss": "iwae_looser"},
    ),
    "jmvae": (models.JMVAE, models.JMVAEConfig, {"alpha": 0.1, "warmup": 0}),
}


class Encoder(BaseEncoder):
    """An `Expert` as MultiVae wants it."""

    def __init__(self, expert: Expert, latent_dim: int, private_dim: int):
        super().__init__()
        self.expert, self.latent_dim, self.style_dim = expert, latent_dim, private_dim
        self.kept: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Tensor) -> ModelOutput:
        features, self.kept = self.features(x), None
        names = ("embedding", "log_covariance", "style_embedding", "style_log_covariance")
        return ModelOutput(**dict(zip(names, self.expert.of_features(features), strict=False)))

    def features(self, x: Tensor, keep: bool = False) -> Tensor:
        """Features of `x`, those kept if they are of this very tensor: a step then runs each encoder once."""
        if self.kept is not None and self.kept[0] is x:
            return self.kept[1]
        made: Tensor = self.expert.encoder(x)
        self.kept = (x, made) if keep else None
        return made


class Decoder(BaseDecoder):
    """A decoder as MultiVae wants it."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, z: Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=self.network(z))


class JointEncoder(BaseJointEncoder):
    """JMVAE's joint network on the features of the encoders that stand beside it, as in Isthmus.

    MultiVae's own default copies all encoders for it and runs both sets, twice the work for another network.
    """

    def __init__(self, encoders: Mapping[str, Encoder], joint: Joint, latent_dim: int):
        super().__init__()
        self.encoders, self.joint, self.latent_dim = dict(encoders), joint, latent_dim  # a dict: not registered twice

    def forward(self, x: Mapping[str, Tensor]) -> ModelOutput:
        keep = self.training and torch.is_grad_enabled()
        for encoder in self.encoders.values():
            encoder.kept = None
        loc, log_var = self.joint([encoder.features(x[name], keep) for name, encoder in self.encoders.items()])
        return ModelOutput(embedding=loc, log_covariance=log_var)


class Clock(TrainingCallback):
    """Notes when epochs end, and when the first begins."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_epoch_begin(self, *arguments: Any, **named: Any) -> None:
        if not self.times:
            self.times.append(time.perf_counter())

    def on_epoch_end(self, *arguments: Any, **named: Any) -> None:
        self.times.append(time.perf_counter())


class Until(TrainingCallback):
    """Ends a training with its last budget."""

    def __init__(self, budgets: Budgets):
        self.budgets, self.steps_per_epoch = budgets, 0

    def on_epoch_begin(self, *arguments: Any, train_loader: DataLoader[Any], **named: Any) -> None:
        self.steps_per_epoch = len(train_loader)
        self.budgets.start()

    def on_train_step_end(self, *arguments: Any, **named: Any) -> None:
        self.budgets.step(self.steps_per_epoch)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No log lines and progress bars, which its trainer has no switch for; both are still computed."""
    logging.disable(logging.INFO)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)


class MultiVae(Peer):
    """One of its models.

    Args:
        model: Built.
        gaps: It can be trained on items that lack modalities.
        shapes: Of one event, by modality.
    """

    def __init__(self, model: Any, gaps: bool, shapes: Mapping[str, tuple[int, ...]]):
        self.model, self.gaps, self.shapes = model, gaps, shapes

    def prepare_step(
        self, values: Mapping[str, Tensor], present: Mapping[str, Tensor] | None
    ) -> tuple[Callable[[], Tensor], torch.optim.Optimizer]:
        self._check(present)
        optimiser = torch.optim.Adam(self.model.parameters(), lr=LEARNING_RATE)
        self.model.train()

        def loss_of() -> Tensor:
            # Made anew, as some models take modalities out that a batch lacks: multivae/data/utils.py:62.
            parts: dict[str, Any] = {"data": dict(values)}
            if present is not None:
                parts["masks"] = dict(present)
            loss: Tensor = self.model(DatasetOutput(**parts), epoch=1, batch_ratio=0.0).loss
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
        self._check(present)
        clock = Clock()
        self._fit(dataset(values, present), epochs, batch_size, clock)
        return [end - start for start, end in itertools.pairwise(clock.times)]

    def train_until(
        self,
        values: Mapping[str, Tensor],
        budgets: Budgets,
        *,
        batch_size: int = 256,
        present: Mapping[str, Tensor] | None = None,
    ) -> None:
        # The weights of the last step: its trainer keeps those of the epoch of least loss, nearly always the last one.
        self._check(present)
        with contextlib.suppress(Enough):
            self._fit(dataset(values, present), sys.maxsize, batch_size, Until(budgets))

    def _fit(self, data: MultimodalBaseDataset, epochs: int, batch_size: int, callback: TrainingCallback) -> None:
        with tempfile.TemporaryDirectory() as folder, quiet():
            config = BaseTrainerConfig(
                output_dir=folder,
                per_device_train_batch_size=batch_size,
                num_epochs=epochs,
                learning_rate=LEARNING_RATE,
                no_cuda=True,
            )
            BaseTrainer(self.model, data, training_config=config, callbacks=[callback]).train()

    def codes(self, values: Mapping[str, Tensor]) -> Tensor:
        with self._evaluating():
            parts = [
                self.model.encode(inputs, cond_mod=list(values), return_mean=True).z for inputs in self._inputs(values)
            ]
        return torch.cat(parts)

    def translate(self, values: Mapping[str, Tensor], targets: Sequence[str], drawn: bool) -> dict[str, Tensor]:
        # As in multivae/metrics/coherences, which draws.
        with self._evaluating():
            parts = [
                self.model.predict(inputs, cond_mod=list(values), gen_mod=list(targets), return_mean=not drawn)
                for inputs in self._inputs(values)
            ]
        return {name: torch.cat([part[name] for part in parts]) for name in targets}

    def _inputs(self, values: Mapping[str, Tensor]) -> Iterator[MultimodalBaseDataset]:
        """Parts of the items. MoPoE encodes every modality, whatever it is to predict from: zeros stand for others."""
        num_items = len(next(iter(values.values())))
        whole = {name: values.get(name, torch.zeros(num_items, *shape)) for name, shape in self.shapes.items()}
        for rows in torch.arange(num_items).split(CHUNK):
            yield MultimodalBaseDataset({name: x[rows] for name, x in whole.items()})

    @contextlib.contextmanager
    def _evaluating(self) -> Iterator[None]:
        """Within a training too, whose mode is given back."""
        training = self.model.training
        self.model.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            self.model.train(training)

    @torch.no_grad()
    def embed(self, values: Mapping[str, Tensor], batch_size: int = 256) -> Tensor:
        # As in multivae/metrics/latent_clustering/clustering_class.py.
        self.model.eval()
        loader = DataLoader(dataset(values), batch_size=batch_size)
        return torch.cat([self.model.encode(inputs, return_mean=True).z for inputs in loader])

    @torch.no_grad()
    def log_likelihood(self, values: Mapping[str, Tensor], num_draws: int = 1000, batch_size: int = 32) -> float:
        # As in multivae/metrics/likelihoods/likelihoods.py, whose module needs all of torchvision.
        total = 0.0
        for inputs in DataLoader(dataset(values), batch_size=batch_size):
            if isinstance(self.model, models.MMVAEPlus):
                # It loses the last modality to count items: mmvaePlus_model.py:496. One more is there to be lost.
                inputs.data["lost"] = next(iter(inputs.data.values()))
            total -= float(self.model.compute_joint_nll(inputs, K=num_draws, batch_size_K=min(100, num_draws)))
        return total / len(next(iter(values.values())))

    def _check(self, present: Mapping[str, Tensor] | None) -> None:
        if present is not None and not self.gaps:
            raise Refused("MultiVae's JMVAE is not compatible with incomplete data (joint_models/joint_model.py:70)")


def dataset(values: Mapping[str, Tensor], present: Mapping[str, Tensor] | None = None) -> MultimodalBaseDataset:
    """Its own data set object; what is absent keeps a row, of zeros."""
    if present is None:
        return MultimodalBaseDataset(dict(values))
    filled = {
        name: torch.where(present[name].view(-1, *[1] * (rows.dim() - 1)), rows, 0.0) for name, rows in values.items()
    }
    return IncompleteDataset(filled, dict(present))


def make(method: str, task: Task, latent_dim: int, options: Mapping[str, Any]) -> MultiVae:
    """A model with networks of the task.

    Raises:
        Refused: MultiVae has no such method.
    """
    if method not in CONFIGURED:
        raise Refused(f"MultiVae has no '{method}'")
    model_class, config_class, defaults = CONFIGURED[method]
    chosen = dict(defaults)
    private_dim = latent_dim // 2 if method == "mmvae+" else 0
    if private_dim:
        chosen["modalities_specific_dim"] = private_dim
    if method == "mvtcae":
        chosen["beta"] = 5 / 6 * len(task.shapes)
    config = config_class(
        **{
            "n_modalities": len(task.shapes),
            "latent_dim": latent_dim - private_dim,
            "input_dims": dict(task.shapes),
            "decoders_dist": {name: task.family_of(name) for name in task.shapes},
            "decoder_dist_params": {name: {"scale": task.scale} for name in task.shapes},
            **chosen,
            **options,
        }
    )
    shared_dim = latent_dim - private_dim
    encoders = {
        name: Encoder(Expert(task.encoder(shape), task.width, shared_dim, private_dim), shared_dim, private_dim)
        for name, shape in task.shapes.items()
    }
    decoders = {name: Decoder(task.decoder(shape, latent_dim)) for name, shape in task.shapes.items()}
    more = {}
    if method == "jmvae":
        more["joint_encoder"] = JointEncoder(encoders, Joint(len(encoders), task.width, latent_dim), latent_dim)
    return MultiVae(model_class(config, encoders, decoders, **more), gaps=method != "jmvae", shapes=task.shapes)
