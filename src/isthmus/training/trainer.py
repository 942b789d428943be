"""One process of a training: phases, epochs, steps. Every gradient that is ever taken is taken here."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from isthmus.batch import Batch
from isthmus.data.store import Store
from isthmus.methods import Method, Player
from isthmus.model import MultimodalAutoencoder
from isthmus.noise import Noise
from isthmus.objectives import Step, Terms
from isthmus.suggest import nearest
from isthmus.training.checkpoints import load_checkpoint, save_checkpoint
from isthmus.training.config import TrainingConfig
from isthmus.training.errors import NonFiniteLoss, TrainingInterrupted
from isthmus.training.fingerprint import check_fingerprint, fingerprint
from isthmus.training.metrics import MetricsLog, Row, Sums, TensorBoardLog, compared, is_better
from isthmus.training.optimisers import load_optimiser_tensors, make_optimiser, optimiser_tensors
from isthmus.training.plan import Share, Stage, epoch_order, learning_rate, plan_stages, share
from isthmus.training.processes import Process
from isthmus.training.progress import Reporter
from isthmus.training.signals import StopRequest
from isthmus.training.watch import MAX_ITEMS, collapse_warnings

CHUNK = 512  # items at a time where no gradient is needed

Normalise = Callable[[Batch], Batch]
TensorState = tuple[dict[str, Tensor], dict[str, Any]]


@dataclass
class Run:
    """What to train, on what, how: the same for every process."""

    method: Method
    store: Store
    normalise: Normalise
    splits: Mapping[str, Tensor]
    config: TrainingConfig
    folder: Path | None
    resume: bool
    quiet: bool


@dataclass
class Position:
    """Where a run stands: everything beside tensors and rows that it needs to go on."""

    stage: int = 0
    epoch: int = 0  # within the stage
    batch: int = 0  # steps done within the epoch
    best: dict[str, float] = field(default_factory=dict)  # figures of the best epoch of the phase, as `is_better` reads
    best_epoch: int | None = None
    since_best: int = 0
    num_epochs: int = 0
    seconds: float = 0.0


@dataclass
class Side:
    """A player of the present phase, its parameters by name and its optimiser."""

    player: Player
    parameters: dict[str, nn.Parameter]
    optimiser: Optimizer
    sums: Sums = field(default_factory=Sums)


@dataclass
class Ended:
    """How a run ended well."""

    rows: list[Row]
    position: Position


class Trainer:
    """One process of a run."""

    def __init__(self, run: Run, process: Process, stop: StopRequest) -> None:
        config = run.config
        assert config.epochs is not None
        self.run, self.config, self.process, self.stop = run, config, process, stop
        self.model = run.method.model.to(process.device)
        self.rows = run.splits["train"]
        self.validation = run.splits.get("validation", torch.zeros(0, dtype=torch.long))
        self.stages = plan_stages(run.method.phases, config.epochs, len(self.rows), config.batch_size)
        self.num_steps = sum(stage.num_steps for stage in self.stages)
        self.position = Position()
        self.best: dict[str, Tensor] = {}
        self.sides: list[Side] = []
        self.loaded: TensorState | None = None
        self.note = ""
        self.checkpoints = None if run.folder is None else run.folder / "checkpoints"
        self.fingerprint = fingerprint(run.method, run.store, run.splits, config)

    def train(self) -> Ended:
        """From the first step, or the last checkpoint, to the end."""
        config, folder = self.config, self.run.folder if self.process.leads else None
        torch.manual_seed(config.seed * 1000 + self.process.rank)  # for modules that draw by themselves
        rows = self._restore() if self.run.resume else []
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        self.log = MetricsLog(None if folder is None else folder / "metrics.csv", rows)
        self.board = TensorBoardLog(folder / "tensorboard", self._index()) if folder and config.tensorboard else None
        self.reporter = Reporter(
            sum(s.epochs for s in self.stages), self.num_steps, self.run.quiet or not self.process.leads
        )
        if self.note:
            self.reporter.say(self.note)
        self.clock = self.last_checkpoint = time.monotonic()
        self.clock -= self.position.seconds
        try:
            for stage in self.stages[self.position.stage :]:
                self._stage(stage)
        finally:
            self.reporter.close()
            if self.board is not None:
                self.board.close()
        return Ended(self.log.rows, self.position)

    # --- phases and epochs ----------------------------------------------------------------------------------------

    def _stage(self, stage: Stage) -> None:
        frozen = self._freeze(stage)
        self.data = self.run.store, self.run.normalise
        if stage.phase.data == "codes":
            self.data = self._codes(), _as_it_is
        try:
            self._enter(stage)
            ended = False
            while not ended and self.position.epoch < stage.epochs:
                for own, batch in self._batches(stage):
                    self._step(stage, own, batch)
                ended = self._end_epoch(stage)
        finally:
            for parameter in frozen:
                parameter.requires_grad_(True)
        if self.best:
            self.model.load_state_dict(self.best)
            self.best = {}
        done = self.position
        self.position = Position(
            done.stage + 1, best_epoch=done.best_epoch, num_epochs=done.num_epochs, seconds=done.seconds
        )

    def _codes(self) -> Store:
        """The codes that the modalities of training and validation items give, in the place of their values."""
        rows = torch.cat([self.rows, self.validation])
        store = code_store(self.model, self.run.store, self.run.normalise, rows)
        known = store.batch(self.rows)
        self.model.inference.prepare({n: v.to(self.model.device) for n, v in known.values.items() if len(v)})  # type: ignore[misc]
        return store

    def _freeze(self, stage: Stage) -> list[nn.Parameter]:
        """Stop gradients of what the phase freezes; those parameters."""
        phase = stage.phase
        for prefix in phase.frozen:
            names = [name for name, _ in self.model.named_modules()]
            _check_prefix(prefix, names, f"Phase '{phase.name}' freezes", _below)
        frozen = [
            parameter
            for name, parameter in self.model.named_parameters()
            if parameter.requires_grad and any(_below(name, prefix) for prefix in phase.frozen)
        ]
        for parameter in frozen:
            parameter.requires_grad_(False)
        return frozen

    def _enter(self, stage: Stage) -> None:
        """Give each player of the phase its parameters and an optimiser."""
        phase, named = stage.phase, dict(self.model.named_parameters())
        self.sides = []
        for player in phase.players:
            for prefix in player.parameters:
                _check_prefix(prefix, named, f"A player of phase '{phase.name}' trains", str.startswith)
            own = {
                name: parameter
                for name, parameter in named.items()
                if parameter.requires_grad and (not player.parameters or name.startswith(tuple(player.parameters)))
            }
            if not own:
                raise ValueError(f"A player of phase '{phase.name}' has no parameter left to train; all are frozen.")
            self.sides.append(Side(player, own, make_optimiser(self.config, own)))
        self._modes(stage)
        self._restore_sides()

    def _modes(self, stage: Stage) -> None:
        self.model.train()
        for name, module in self.model.named_modules():
            if any(_below(name, prefix) for prefix in stage.phase.frozen):
                module.eval()

    def _batches(self, stage: Stage) -> Iterator[tuple[Share, Batch]]:
        """This process's part of each batch that is left of the epoch."""
        epoch, size = stage.first_epoch + self.position.epoch, self.config.batch_size
        orders = [epoch_order(self.rows, self.config.seed, epoch, number) for number in range(stage.phase.passes)]
        parts = [part for order in orders for part in order.split(size)][self.position.batch :]
        shares = [share(part, self.process.rank, self.process.size) for part in parts]
        store = self.data[0]
        read = store.batch
        if not (store.memory_mapped or self.process.device.type == "cuda"):
            # In memory, on a CPU, gathering is quicker than handing it to a thread.
            for own in shares:
                yield own, read(own.rows)
            return
        with ThreadPoolExecutor(1) as ahead:
            upcoming = [ahead.submit(read, own.rows) for own in shares[:1]]
            for own, following in zip_longest(shares, shares[1:]):
                batch = upcoming.pop().result()
                if following is not None:
                    upcoming.append(ahead.submit(read, following.rows))
                yield own, batch

    def _end_epoch(self, stage: Stage) -> bool:
        """Figures, validation, best weights; True if the phase should end early."""
        position = self.position
        figures = {
            (name if number == 0 else f"player {number + 1}/{name}"): value
            for number, side in enumerate(self.sides)
            for name, value in self.process.total(side.sums).means().items()
        }
        for side in self.sides:
            side.sums = Sums()
        validation = self._validate(stage) if len(self.validation) else None
        position.epoch += 1
        position.batch = 0
        position.num_epochs += 1
        self._record(stage, figures, validation)
        epoch = stage.first_epoch + position.epoch
        total = self.stages[-1].first_epoch + self.stages[-1].epochs
        if self.process.leads and not self.run.quiet and total >= 10 and epoch == total // 2:
            self._watch(stage)
        patience = self.config.patience
        if validation is None or patience is None:
            return False
        if is_better(validation, position.best):
            position.best, position.best_epoch, position.since_best = compared(validation), epoch, 0
            self.best = {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}
        else:
            position.since_best += 1
        return position.since_best >= patience

    @torch.no_grad()
    def _validate(self, stage: Stage) -> dict[str, float]:
        """Means over the validation items, in eval mode and with the same noise each time."""
        self.model.eval()
        sums, objective, what = Sums(), stage.phase.players[0].objective, ""
        for number, part in enumerate(self.validation.split(CHUNK)):
            own = share(part, self.process.rank, self.process.size)
            batch = self._ready(self.data[0].batch(own.rows))
            # Negative steps are never those of training. Fraction 1, since a weight that still grows would make the
            # losses of two epochs incomparable.
            noise = Noise(self.config.seed, -1 - number, own.offset, own.total)
            with self.process.autocast():
                gather = self.process.gather(own, next(self.model.parameters()))
                terms = objective(self.model, batch, Step(self.num_steps, 1.0, noise, gather, own.offset))
            sums.add(terms, batch, own.weight)
            what = what or culprits(terms, batch)
        self._modes(stage)
        means = self.process.total(sums).means()
        if not math.isfinite(means["loss"]):
            self._fail(stage, f"In validation: {what}" if what else "")
        return means

    def _record(self, stage: Stage, figures: Row, validation: Row | None) -> None:
        self.position.seconds = time.monotonic() - self.clock
        index = self._index()
        head = {"epoch": stage.first_epoch + self.position.epoch, "step": index, "phase": stage.phase.name}
        tail = {
            "learning_rate": learning_rate(self.config, index - 1 - stage.first_step, stage.num_steps),
            "seconds": round(self.position.seconds, 3),
        }
        rows = [{**head, "split": "train", **figures, **tail}]
        if validation is not None:
            rows.append({**head, "split": "validation", **validation, **tail})
        for row in rows:
            self.log.add(row)
            if self.board is not None:
                self.board.add(row)
        self.reporter.epoch(rows[0], rows[1] if len(rows) > 1 else None)

    def _watch(self, stage: Stage) -> None:
        rows = self.validation if len(self.validation) else self.rows
        self.model.eval()
        seen = ready(self.model, self.run.store.batch(rows[:MAX_ITEMS]), self.run.normalise)
        for warning in collapse_warnings(self.run.method, seen):
            self.reporter.say(f"Half way: {warning}")
        self._modes(stage)

    # --- one step -------------------------------------------------------------------------------------------------

    def _index(self) -> int:
        """The step to be taken next, in the plan."""
        if self.position.stage == len(self.stages):
            return self.num_steps
        stage = self.stages[self.position.stage]
        return stage.first_step + self.position.epoch * stage.steps_per_epoch + self.position.batch

    def _ready(self, batch: Batch) -> Batch:
        return ready(self.model, batch, self.data[1])

    def _step(self, stage: Stage, own: Share, raw: Batch) -> None:
        index, config = self._index(), self.config
        batch = self._ready(raw)
        fraction, noise = index / self.num_steps, Noise(config.seed, index, own.offset, own.total)
        rate = learning_rate(config, index - stage.first_step, stage.num_steps)
        stopping = due = False
        for side in self.sides:
            parameters = list(side.parameters.values())
            for group in side.optimiser.param_groups:
                group["lr"] = rate
            side.optimiser.zero_grad()
            with self.process.autocast():
                # A step for each player: what the encoders said before the last one moved is out of date.
                gather = self.process.gather(own, parameters[0])
                terms = side.player.objective(self.model, batch, Step(index, fraction, noise, gather, own.offset))
            # The mean over the global batch: this process's items over all items, so that gradients simply add.
            loss = own.weight * terms.item_loss.sum() / own.total + terms.batch_loss / self.process.size
            if loss.requires_grad:  # not so where no item of a batch has anything
                loss.backward(inputs=parameters)
            broken = not bool(torch.isfinite(loss))
            wanted = self._wants_checkpoint()
            flags = self.process.reduce_gradients(parameters, [self.stop.asked, wanted, broken])
            stopping, due, failed = flags
            gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
            norm = nn.utils.get_total_norm(gradients, foreach=True)
            if failed or not bool(torch.isfinite(norm)):
                # Where the loss of another process is at fault, that one will say it.
                self._fail(stage, "" if failed and not broken else culprits(terms, batch) or _bad_gradient(side))
            if config.clip_norm is not None:
                nn.utils.clip_grads_with_norm_(parameters, config.clip_norm, norm, foreach=True)
            side.optimiser.step()
            if terms.statistics:  # which of several players one may have
                self.model.inference.update(
                    self.process.add({name: own.weight * value for name, value in terms.statistics.items()})
                )
            side.sums.add(terms, batch, own.weight)
        self.position.batch += 1
        self.reporter.step(index, loss)
        if stopping or due:
            self._checkpoint()
        if stopping:
            self._interrupt(stage)

    # --- stopping and going on ------------------------------------------------------------------------------------

    def _wants_checkpoint(self) -> bool:
        if self.checkpoints is None or not self.process.leads:
            return False
        return time.monotonic() - self.last_checkpoint >= self.config.checkpoint_every

    def _checkpoint(self) -> None:
        """Write all that `_restore` reads. Every process takes part, as sums are theirs together; the leader writes."""
        sums = [self.process.total(side.sums).to_json() for side in self.sides]
        if self.checkpoints is None or not self.process.leads:
            return
        self.position.seconds = time.monotonic() - self.clock
        tensors = {f"model/{name}": tensor for name, tensor in self.model.state_dict().items()}
        tensors |= {f"best/{name}": tensor for name, tensor in self.best.items()}
        for number, side in enumerate(self.sides):
            stepped = optimiser_tensors(side.optimiser, side.parameters)
            tensors |= {f"optimiser/{number}/{name}": tensor for name, tensor in stepped.items()}
        tensors["random/cpu"] = torch.get_rng_state()
        if self.process.device.type == "cuda":
            tensors["random/cuda"] = torch.cuda.get_rng_state(self.process.device)
        state = {"position": asdict(self.position), "rows": self.log.rows, "sums": sums, "run": self.fingerprint}
        save_checkpoint(self.checkpoints, self._index(), tensors, state)
        self.last_checkpoint = time.monotonic()

    def _restore(self) -> list[Row]:
        """Go back to the last checkpoint, if there is one; the rows of the log until then."""
        self.loaded = None if self.checkpoints is None else load_checkpoint(self.checkpoints)
        if self.loaded is None:
            return []
        tensors, state = self.loaded
        self.note = check_fingerprint(state["run"], self.fingerprint)
        self.position = Position(**state["position"])
        self.model.load_state_dict(_under(tensors, "model/"))
        self.best = {name: tensor.to(self.process.device) for name, tensor in _under(tensors, "best/").items()}
        if self.process.leads:
            torch.set_rng_state(tensors["random/cpu"])
            if "random/cuda" in tensors and self.process.device.type == "cuda":
                torch.cuda.set_rng_state(tensors["random/cuda"], self.process.device)
        rows: list[Row] = state["rows"]
        return rows

    def _restore_sides(self) -> None:
        """Optimisers and half-taken means, once the players of the checkpoint's phase are there."""
        if self.loaded is None:
            return
        tensors, state = self.loaded
        for number, side in enumerate(self.sides):
            load_optimiser_tensors(side.optimiser, side.parameters, _under(tensors, f"optimiser/{number}/"))
            sums = Sums.from_json(state["sums"][number])
            side.sums = sums if self.process.leads else sums.blank()  # the leader has them for all
        self.loaded = None

    def _interrupt(self, stage: Stage) -> NoReturn:
        kept = "Nothing was saved, as there is no run folder."
        if self.checkpoints is not None:
            kept = f"A checkpoint is in {self.checkpoints}. Resume (--resume, or resume=True) goes on from there."
        raise TrainingInterrupted(
            f"Training was stopped in epoch {self._epoch(stage)}, after step {self._index()} of {self.num_steps}. "
            f"{kept}"
        )

    def _fail(self, stage: Stage, what: str) -> NoReturn:
        """Put back the last good weights and say whose fault it was; no word where another process will say it."""
        kept = "The model keeps the weights from before this step."
        if self.best:
            self.model.load_state_dict(self.best)
            kept = f"The model keeps the best weights so far, of epoch {self.position.best_epoch}."
        if not what:
            raise NonFiniteLoss("")
        raise NonFiniteLoss(
            f"Training met numbers that are not finite in epoch {self._epoch(stage)}, step {self._index() + 1}. {what} "
            f"{kept} Look at what is named, then train again, with a lower learning rate "
            f"(learning_rate={self.config.learning_rate / 3:.1g}) or with clip_norm."
        )

    def _epoch(self, stage: Stage) -> int:
        """The present epoch, counted from 1."""
        return stage.first_epoch + self.position.epoch + 1


@torch.no_grad()
def code_store(model: MultimodalAutoencoder, store: Store, normalise: Normalise, rows: Tensor) -> Store:
    """A store of the code that each modality of the items `rows` gives; all other items have nothing in it."""
    model.eval()
    coded = [model.own_codes(ready(model, store.batch(part), normalise)) for part in rows.split(CHUNK)]
    codes, present = {}, {}
    for name in store.modalities:
        found = torch.cat([batch.values[name].float().cpu() for batch in coded])  # type: ignore[union-attr]
        there = torch.cat([batch.present[name].cpu() for batch in coded])
        have = rows[there]
        present[name] = torch.zeros(len(store), dtype=torch.bool).index_fill(0, have, True)
        codes[name] = found[have.argsort()].numpy()
    return Store.from_arrays(codes, present)


def _as_it_is(batch: Batch) -> Batch:
    return batch


def culprits(terms: Terms, batch: Batch) -> str:
    """Which items, in which terms, are not finite; empty if all are."""
    assert batch.index is not None
    rows = {**terms.per_item, "loss": terms.item_loss}
    broken = {name: (~torch.isfinite(row)).nonzero().squeeze(1) for name, row in rows.items()}
    found = [f"{name} of {_some(batch.index[at].tolist(), 'item')}" for name, at in broken.items() if len(at)]
    if found:
        return f"Not finite: {'; '.join(found)} (rows of the data, counted from 0)."
    names = [name for name, value in terms.per_batch.items() if not bool(torch.isfinite(value).all())]
    return f"Not finite: {_some(names, 'batch term')}." if names else ""


def _bad_gradient(side: Side) -> str:
    names = [name for name, p in side.parameters.items() if p.grad is not None and not bool(p.grad.isfinite().all())]
    return f"The loss is finite, but not the gradient of {_some(names, 'parameter')}."


def _some(names: Sequence[object], noun: str) -> str:
    listed = ", ".join(str(name) for name in names[:5]) + (", ..." if len(names) > 5 else "")
    return f"{noun}{'s' if len(names) > 1 else ''} {listed}"


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _below(name: str, prefix: str) -> bool:
    """Whether a module or parameter is `prefix` or stands under it."""
    return (name + ".").startswith(prefix.rstrip(".") + ".")


def _check_prefix(prefix: str, names: Iterable[str], where: str, fits: Callable[[str, str], bool]) -> None:
    names = list(names)
    if not any(fits(name, prefix) for name in names):
        raise ValueError(f"{where} '{prefix}', which is the beginning of no name in the model.{nearest(prefix, names)}")


def ready(model: MultimodalAutoencoder, batch: Batch, normalise: Normalise) -> Batch:
    """A batch as stored, on the model's device and as its networks see it."""
    return normalise(batch.to(model.device)).to(dtype=model.dtype)
