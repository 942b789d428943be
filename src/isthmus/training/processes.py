"""One process or several, which compute together what one would.

Each works on a contiguous part of every global batch; gradients are summed in one exchange, with no hooks in the
model. An encoder that has no rows on one process has no gradient there, which counts as zero; a parameter that has
none on any process is not stepped, just as with one process.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from isthmus.objectives.base import alone
from isthmus.training.config import TrainingConfig
from isthmus.training.metrics import Sums
from isthmus.training.plan import Share

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True)
class Process:
    """This process: `rank` of `size`, its device, and the context that its forward passes run in."""

    rank: int
    size: int
    device: torch.device
    autocast: Callable[[], AbstractContextManager[Any]]

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def reduce_gradients(self, parameters: Sequence[nn.Parameter], flags: Sequence[bool]) -> list[bool]:
        """Sum the gradients of all processes in place; True for each flag that any process raised."""
        if self.size == 1:
            return list(flags)
        raised = torch.tensor([p.grad is not None for p in parameters] + list(flags), device=self.device)
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = torch.cat([*(part.flatten() for part in parts), raised.to(parameters[0])])
        dist.all_reduce(flat)
        sizes = [p.numel() for p in parameters]
        *gradients, counts = flat.split([*sizes, len(raised)])
        there = [count > 0 for count in counts.tolist()]
        for parameter, gradient, known in zip(parameters, gradients, there, strict=False):
            parameter.grad = torch.empty_like(parameter).copy_(gradient.view_as(parameter)) if known else None
        return there[len(parameters) :]

    def gather(self, own: Share, parameter: Tensor) -> Callable[[Tensor], Tensor]:
        """What makes the rows of the global batch of this process's rows, with gradient.

        Args:
            own: What this process does of the batch.
            parameter: Any that is trained. Rows that are all gaps on this process depend on none, and yet it has to
                take part in the exchange of gradients.
        """
        if self.size == 1:
            return alone
        count = len(own.rows) if own.weight else 0

        def gather(rows: Tensor) -> Tensor:
            whole: Tensor = _Gather.apply(rows, parameter, own.offset, count, own.total)
            return whole

        return gather

    def add(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The sums of tensors over all processes, which know the same names and shapes."""
        if self.size == 1 or not tensors:
            return dict(tensors)
        flat = torch.cat([tensor.flatten() for tensor in tensors.values()])
        dist.all_reduce(flat)
        parts = flat.split([tensor.numel() for tensor in tensors.values()])
        return {name: part.view_as(tensors[name]) for name, part in zip(tensors, parts, strict=True)}

    def total(self, sums: Sums) -> Sums:
        """The sums of all processes, which know the same names."""
        if self.size == 1:
            return sums
        counts = torch.tensor(sums.counts, dtype=torch.float64, device=self.device)
        both = torch.stack([sums.totals.to(self.device), counts])
        dist.all_reduce(both)
        return Sums.from_json(dict(zip(sums.names, both.t().tolist(), strict=True)))


class _Gather(torch.autograd.Function):
    """Rows `(B, ...)` of each process at their place among all, `(N, ...)`.

    What is made of them is the same on every process, and each has only its share of the loss: the gradient of a row
    is the sum of what all processes say.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, parameter: Tensor, offset: int, count: int, total: int) -> Tensor:
        ctx.place, ctx.shape = slice(offset, offset + count), rows.shape
        whole = rows.new_zeros(total, *rows.shape[1:])
        whole[ctx.place] = rows[:count]
        dist.all_reduce(whole)
        return whole

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        whole = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(whole)
        own = whole.new_zeros(ctx.shape)
        own[: ctx.place.stop - ctx.place.start] = whole[ctx.place]
        return own, None, None, None, None


def make_fabric(config: TrainingConfig) -> Fabric:
    """Fabric for the devices asked for: it starts processes and knows precision; it wraps no model."""
    from lightning_fabric import Fabric

    # It announces precision and each process; what matters of that, the reporter says.
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    cuda = config.accelerator == "cuda" or (config.accelerator == "auto" and torch.cuda.is_available())
    precision: Any = config.precision
    if precision == "auto":
        # Never bf16 on a CPU: without matrix units made for it, it is six to twenty times slower; with them large
        # convolutions gain, and the small products of our default networks lose more.
        precision = "bf16-mixed" if cuda and torch.cuda.is_bf16_supported() else "32-true"
    if config.devices == 1:
        strategy = "auto"
    else:
        # A fork begins with the model and the data in memory, needs no import of the caller's script, and works from
        # a notebook. CUDA does not survive one.
        forks = not cuda and "fork" in multiprocessing.get_all_start_methods()
        strategy = "ddp_fork" if forks else "ddp_spawn"
    return Fabric(accelerator="cuda" if cuda else "cpu", devices=config.devices, strategy=strategy, precision=precision)


def this_process(fabric: Fabric) -> Process:
    """This process, as Fabric started it."""
    if fabric.world_size > 1 and fabric.device.type == "cpu":
        # Threads of an OpenMP pool do not survive a fork; one thread needs no pool, and a core each is the point.
        torch.set_num_threads(1)
    return Process(fabric.global_rank, fabric.world_size, fabric.device, fabric.autocast)


@contextmanager
def launch_environment() -> Iterator[None]:
    """What Fabric and gloo write into the environment is gone afterwards, so that the next launch starts clean."""
    before = dict(os.environ)
    if sys.platform == "linux":
        # All processes are on this machine; gloo would ask for the address of the host's name, which may have none.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
