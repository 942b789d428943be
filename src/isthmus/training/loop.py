"""Training from outside: one call trains a method in place, in one process or several."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from isthmus.data.store import Store
from isthmus.methods import Method
from isthmus.model import MultimodalAutoencoder
from isthmus.training.checkpoints import read_tensors, write_tensors
from isthmus.training.config import TrainingConfig, default_epochs
from isthmus.training.errors import NonFiniteLoss, TrainingInterrupted
from isthmus.training.metrics import Row
from isthmus.training.processes import launch_environment, make_fabric, this_process
from isthmus.training.signals import StopRequest
from isthmus.training.trainer import CHUNK, Ended, Normalise, Position, Run, Trainer, ready
from isthmus.training.watch import MAX_ITEMS, collapse_warnings

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True)
class History:
    """What is left of a training beside the model.

    Args:
        rows: As in `metrics.csv`: one per epoch and split.
        codes: `(N, D)` of the training items, in the order of `splits["train"]`.
        warnings: Modalities that collapsed, in words, with the cure.
        best_epoch: Whose weights the model has, counted from 1; None without patience or without
            a validation split: the last one's.
        num_epochs: Done; fewer than planned where training stopped early.
        seconds: Of training, over all its parts if it was resumed.
    """

    rows: list[Row]
    codes: Tensor
    warnings: list[str]
    best_epoch: int | None
    num_epochs: int
    seconds: float


# Training needs gradients, whatever the caller's mode is.
@torch.inference_mode(False)
@torch.enable_grad()
def train(
    method: Method,
    store: Store,
    normalise: Normalise,
    splits: Mapping[str, Tensor],
    config: TrainingConfig | None = None,
    run_folder: Path | None = None,
    *,
    resume: bool = False,
    quiet: bool = False,
) -> History:
    """Train a method in place.

    Args:
        method: Its model ends in eval mode, with the weights of the best validation loss of the last phase.
        store: The data.
        normalise: Makes of a batch as stored, on the device, what encoders and likelihoods see.
        splits: Long tensors of items: "train" and, if there is one, "validation".
        config: Settings; defaults if not given.
        run_folder: Gets `metrics.csv` and `checkpoints/`; None writes nothing.
        resume: Go on from the last checkpoint in the run folder, if there is one; on a CPU with the same number of
            threads the final weights are bit for bit those of a run that was never stopped.
        quiet: Report nothing on the way.

    Returns:
        The history, with the codes of the training items.

    Raises:
        ValueError: No training items, settings that do not fit, or a resume with other settings or data.
        TrainingInterrupted: Stopped by Ctrl-C or SIGTERM, after a checkpoint.
        NonFiniteLoss: The loss or a gradient was not finite; the model keeps its last good state.
    """
    config = config or TrainingConfig()
    splits = {name: torch.as_tensor(rows, dtype=torch.long).cpu() for name, rows in splits.items()}
    num_items = len(splits.get("train", ()))
    if not num_items:
        raise ValueError("There are no training items. Expected splits['train'] to name at least one row of the store.")
    if config.tensorboard and run_folder is None:
        raise ValueError("tensorboard=True needs a run folder to write to.")
    if (largest := min(config.batch_size, num_items)) < method.min_batch:
        raise ValueError(
            f"Batches have {largest} items, and this method needs {method.min_batch}: it correlates codes over the "
            "items of a batch, and some correlations are always one where there are fewer than two for each number of "
            "a code. Take a smaller latent_dim, or larger batches."
        )
    epochs = config.epochs or default_epochs(num_items, config.batch_size)
    config = config.model_copy(update={"epochs": epochs})
    run = Run(method, store, normalise, splits, config, run_folder, resume, quiet)
    home = method.model.device
    fabric = make_fabric(config)
    # A user's own dropout draws from torch's global generator, which is the caller's and is given back as it was.
    try:
        with torch.random.fork_rng(range(torch.cuda.device_count())):
            ended = _alone(run, fabric) if config.devices == 1 else _together(run, fabric)
        model = method.model.to(fabric.device).eval()
        codes = encode(model, store, normalise, splits["train"])
        some = torch.stack([store.present(name) for name in store.modalities]).any(dim=0)[splits["train"]]
        if some.any():
            model.inference.finish(codes[some].to(model.device))
            model.prior.finish(codes[some].to(model.device))
        if not some.all():  # what an item without anything gets may just have been learnt
            codes = encode(model, store, normalise, splits["train"])
        watched = splits["validation"] if len(splits.get("validation", ())) else splits["train"]
        warnings = collapse_warnings(method, ready(model, store.batch(watched[:MAX_ITEMS]), normalise))
    finally:
        method.model.to(home)
    position = ended.position
    return History(ended.rows, codes, warnings, position.best_epoch, position.num_epochs, position.seconds)


@torch.no_grad()
def encode(model: MultimodalAutoencoder, store: Store, normalise: Normalise, rows: Tensor) -> Tensor:
    """Mean codes `(B, D)` of the items `rows`, on the CPU."""
    parts = rows.split(CHUNK)
    return torch.cat([model.encode(ready(model, store.batch(part), normalise)).mean.cpu() for part in parts])


def _alone(run: Run, fabric: Fabric) -> Ended:
    """Train in this process."""
    fabric.launch()
    with StopRequest() as stop:
        return Trainer(run, this_process(fabric), stop).train()


def _together(run: Run, fabric: Fabric) -> Ended:
    """Train in several processes started from this one; they hand weights, or what went wrong, back in files."""
    with tempfile.TemporaryDirectory(prefix="isthmus-") as name, launch_environment(), StopRequest(pass_on=True):
        folder = Path(name)
        # Fabric's signature knows functions without further arguments, though launch() passes them on.
        fabric.launch(cast(Any, _work), run, folder)
        tensors, state = read_tensors(folder / "ended.safetensors")
        run.method.model.load_state_dict(tensors)
        for path in sorted(folder.glob("failure-*.json")):
            failure = json.loads(path.read_text(encoding="utf-8"))
            raise _FAILURES[failure["kind"]](failure["message"])
    return Ended(state["rows"], Position(**state["position"]))


_FAILURES: dict[str, type[Exception]] = {kind.__name__: kind for kind in (NonFiniteLoss, TrainingInterrupted)}


def _work(fabric: Fabric, run: Run, folder: Path) -> None:
    """One of several processes."""
    process = this_process(fabric)
    with StopRequest(hard=False) as stop:
        trainer = Trainer(run, process, stop)
        try:
            trainer.train()
        except (NonFiniteLoss, TrainingInterrupted) as error:
            # Only the process whose items failed can name them; the others end without a word.
            if str(error):
                failure = {"kind": type(error).__name__, "message": str(error)}
                (folder / f"failure-{process.rank}.json").write_text(json.dumps(failure), encoding="utf-8")
        if process.leads:
            state = {"rows": trainer.log.rows, "position": asdict(trainer.position)}
            write_tensors(folder / "ended.safetensors", trainer.model.state_dict(), state)
