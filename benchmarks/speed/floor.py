"""The limit of a step: each convolution and matrix product alone, forward and backward, at its own shape.

What a step has beside these (activations, likelihoods, draws, Adam) is not in it, and no step can be quicker without
another way to compute the same layers. Layers of one kind and shape are timed once and counted as often as a step has
them. Where a decoder decodes several batches of rows, the better counts of all of them in one call and of one by one.

Shapes: `B` items, `F` features, `O` outputs, `C H W` a picture.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import Any

import torch
from cases import Case, Contender, Entry, seconds_of, spread
from peers_networks import Expert, Joint, Task
from torch import Tensor, nn

COUNTED = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
FORMATS = {"default": torch.contiguous_format, "channels last": torch.channels_last}


@dataclass(frozen=True)
class Layer:
    """A layer at a shape.

    Args:
        module: A convolution or a linear layer.
        shape: Of its input, `(B, C, H, W)` or `(B, F)`.
        first: It is the first of its network: its input needs no gradient.
    """

    module: nn.Module
    shape: tuple[int, ...]
    first: bool = False

    @property
    def key(self) -> str:
        """Equal for layers that take equal time."""
        return f"{self.module} of {self.shape}{', first' if self.first else ''}"

    @property
    def name(self) -> str:
        """For people."""
        module = self.module
        if isinstance(module, nn.Linear):
            return f"Linear, {module.in_features} to {module.out_features}"
        assert isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
        sides = "x".join(map(str, self.shape[2:]))
        return f"{type(module).__name__}, {module.in_channels} to {module.out_channels} channels, from {sides}"

    def of_rows(self, count: int) -> Layer:
        """The same on another number of rows."""
        return replace(self, shape=(count, *self.shape[1:]))

    @property
    def formats(self) -> tuple[str, ...]:
        return tuple(FORMATS) if len(self.shape) == 4 else ("default",)

    @property
    def operations(self) -> int:
        """Floating-point operations of forward and backward; a multiplication and its addition are two.

        The gradient of the weights takes as many as the forward pass does, and so does that of the input.
        """
        return self.forward_operations * (2 if self.first else 3)

    @property
    def forward_operations(self) -> int:
        """Without biases; a convolution's with the zeros that pad its input."""
        module = self.module
        if isinstance(module, nn.Linear):
            return 2 * math.prod(self.shape) * module.out_features
        assert isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
        with torch.no_grad():
            made = module(torch.zeros(1, *self.shape[1:]))
        # A convolution sums over its kernel at each output, a transposed one spreads a kernel from each input.
        places = self.shape if isinstance(module, nn.ConvTranspose2d) else (self.shape[0], *made.shape[1:])
        channels = module.out_channels if isinstance(module, nn.ConvTranspose2d) else module.in_channels
        return 2 * math.prod(places) * channels // module.groups * math.prod(module.kernel_size)


def layers_of(network: nn.Module, *inputs: Any, first: bool = False) -> list[Layer]:
    """The layers of a network as it runs on some inputs.

    Args:
        network: Run once.
        inputs: Its arguments.
        first: They are data, so that the first layer's input needs no gradient.
    """
    found: list[Layer] = []

    def note(module: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> None:
        found.append(Layer(module, tuple(given[0].shape), first and not found))

    hooks = [part.register_forward_hook(note) for part in network.modules() if isinstance(part, COUNTED)]
    with torch.no_grad():
        network(*inputs)
    for hook in hooks:
        hook.remove()
    return found


@dataclass(frozen=True)
class Part:
    """A layer as a step has it.

    Args:
        layer: At the shape of one batch of items.
        times: In how many networks.
        decodes: Rows for each item: as many batches, one by one or in one call.
    """

    layer: Layer
    times: int
    decodes: int = 1

    @property
    def operations(self) -> int:
        return self.times * self.decodes * self.layer.operations

    def ways(self) -> Iterator[tuple[Layer, str, int]]:
        """How it can be computed: a layer, a memory format, and how often that is run."""
        for form in self.layer.formats:
            yield self.layer, form, self.times * self.decodes
            if self.decodes > 1:
                yield self.layer.of_rows(self.decodes * self.layer.shape[0]), form, self.times


def step_parts(task: Task, method: str, batch: int, decodes: int, latent_dim: int = 64) -> list[Part]:
    """The layers of a step of a method.

    Args:
        task: Shapes and networks.
        method: "mmvae+" has private codes, "jmvae" a joint network.
        batch: Items.
        decodes: Rows that each decoder decodes for an item.
        latent_dim: Dimensions of a code that is decoded.
    """
    private_dim = latent_dim // 2 if method == "mmvae+" else 0
    found: list[Part] = []
    for shape, times in Counter(task.shapes.values()).items():
        expert = Expert(task.encoder(shape), task.width, latent_dim - private_dim, private_dim)
        found += [Part(layer, times) for layer in layers_of(expert, torch.zeros(batch, *shape), first=True)]
        decoder = task.decoder(shape, latent_dim)
        found += [Part(layer, times, decodes) for layer in layers_of(decoder, torch.zeros(batch, latent_dim))]
    if method == "jmvae":
        features = [torch.zeros(batch, task.width) for _ in task.shapes]
        found += [Part(layer, 1) for layer in layers_of(Joint(len(task.shapes), task.width, latent_dim), features)]
    parts: dict[tuple[str, int], Part] = {}
    for part in found:
        key = part.layer.key, part.decodes
        parts[key] = replace(part, times=part.times + (parts[key].times if key in parts else 0))
    return list(parts.values())


def floor_case(task: Task, batch: int, wanted: Sequence[tuple[str, int]], least: float, name: str = "") -> Case:
    """Limits of steps, by method and decodes, in one go: every layer of any of them is timed once a round.

    Args:
        task: Shapes and networks.
        batch: Items.
        wanted: Methods, and rows that each decoder decodes for an item.
        least: Seconds for which a layer is timed in a round.
        name: Of the task, where it is not pictures.
    """
    entries: list[Entry] = []
    contenders: dict[str, Callable[[], Contender]] = {}
    for method, decodes in wanted:
        parts = step_parts(task, method, batch, decodes)
        ways = [way for part in parts for way in part.ways()]
        contenders |= {_label(layer, form): partial(layer_contender, layer, form, least) for layer, form, _ in ways}
        head = {"section": "floor", "method": method, "batch": batch, "decodes": decodes, "unit": "s"}
        head |= {"task": name} if name else {}
        needs = [_label(layer, form) for layer, form, _ in ways]
        entries.append(Entry(head, needs, figures=partial(_figures, parts)))
    return Case(" ".join(filter(None, ["floor", name, str(batch)])), entries, contenders)


def _label(layer: Layer, form: str) -> str:
    return f"{layer.key}, {form}"


def _figures(parts: Sequence[Part], *rounds: Sequence[float]) -> dict[str, Any]:
    """The sum over parts, each in the way whose median is lowest, and each part's own figures."""
    given, total, table = iter(rounds), [0.0] * len(rounds[0]), []
    for part in parts:
        ways = [(form, layer.shape[0], [count * one for one in next(given)]) for layer, form, count in part.ways()]
        form, rows, best = min(ways, key=lambda way: median(way[2]))
        total = [before + one for before, one in zip(total, best, strict=True)]
        times = {f"{form}, {rows} rows": spread(values)["median"] for form, rows, values in ways}
        line = {"layer": part.layer.name, "times": part.times, "decodes": part.decodes, "operations": part.operations}
        table.append({**line, "seconds": times, "best": f"{form}, {rows} rows"})
    operations = sum(part.operations for part in parts)
    return {"rounds": len(total), "figure": spread(total), "operations": operations, "layers": table}


def layer_contender(layer: Layer, form: str, least: float) -> Contender:
    """Forward and backward of one layer, in a memory format."""
    generator = torch.Generator().manual_seed(0)
    module = copy.deepcopy(layer.module)
    x = torch.randn(layer.shape, generator=generator)
    if len(layer.shape) == 4:
        module, x = module.to(memory_format=FORMATS[form]), x.to(memory_format=FORMATS[form])
    x.requires_grad_(not layer.first)
    wanted = [*module.parameters(), *([] if layer.first else [x])]
    upstream = torch.randn_like(module(x).detach())

    def run() -> None:
        torch.autograd.grad(module(x), wanted, upstream)

    return Contender(run, lambda: seconds_of(run, least))


def layers_contender(parts: Sequence[Part], least: float) -> Contender:
    """All layers of a step, each alone and in the way that was quickest when it was warmed: to be timed in the same
    rounds as the step, since the limit of another minute is another one where a machine is shared.

    Args:
        parts: Of the step.
        least: Seconds for which a layer is timed in a round.
    """
    best: list[tuple[Contender, int]] = []

    def warm() -> None:
        for part in parts:
            ways = [(layer_contender(layer, form, least), count) for layer, form, count in part.ways()]
            for contender, _ in ways:
                contender.warm()
            best.append(min(ways, key=lambda way: way[1] * min(way[0].timed() for _ in range(2))))

    return Contender(warm, lambda: sum(count * contender.timed() for contender, count in best))
