"""Levers on a step of ours, one at a time, whether the library pulls it or not: a step with it and one without.

Those that are not pulled are here, and in docs/performance.md, so that nobody has to wonder; another machine may say
another thing of them.

Shapes: `B` items, `M` modalities, `C H W` a picture, `D` dimensions of a code.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import ours
import torch
from cases import Case, Contender, Entry, seconds_of
from pairs import pairs_of
from peers import LEARNING_RATE, Refused
from peers_networks import picture_decoder, picture_encoder, pictures
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, linear, relu

from isthmus.batch import Batch
from isthmus.noise import Noise
from isthmus.objectives import Step

Values = Callable[[], Mapping[str, Tensor]]
Work = Callable[[], object]
METHOD, LATENT_DIM = "mvtcae", 64
MODALITIES, SHAPE = 5, (3, 28, 28)


@dataclass(frozen=True)
class Lever:
    """What may make a step quicker.

    Args:
        what: In words.
        pulled: The library does it.
        with_it: Makes a step with it, given values; `plain` if the library has it.
        without_it: Makes one without; `plain` if the library has it not.
        beside: What the other one is, in words.
    """

    what: str
    pulled: bool
    with_it: Callable[[Mapping[str, Tensor]], Work]
    without_it: Callable[[Mapping[str, Tensor]], Work]
    beside: str


def lever_cases(values: Callable[[int], Values], batches: tuple[int, ...], least: float) -> list[Case]:
    """All of them, each beside itself; the ratio is how much quicker a step is with it.

    Args:
        values: Of so many items.
        batches: Numbers of items.
        least: Seconds for which a round takes steps.
    """
    cases = []
    for lever in LEVERS:
        for batch in batches:
            head = {"section": "levers", "method": METHOD, "batch": batch, "what": lever.what, "unit": "s"}
            contenders = {
                "isthmus, with it": partial(_contender, lever.with_it, values(batch), least),
                "isthmus, without": partial(_contender, lever.without_it, values(batch), least),
            }
            entries = [Entry({**head, "peer": lever.beside}, list(contenders), {"pulled": lever.pulled})]
            cases.append(Case(f"lever {lever.what}, {lever.beside} {batch}", entries, contenders))
    return cases


def _contender(make: Callable[[Mapping[str, Tensor]], Work], values: Values, least: float) -> Contender:
    torch.manual_seed(0)
    work = make(values())
    return Contender(work, lambda: seconds_of(work, least))


# --- steps of the method ----------------------------------------------------------------------------------------------


def _ours() -> ours.Ours:
    return ours.of_pair(pairs_of(METHOD)[0], pictures(MODALITIES))


def plain(values: Mapping[str, Tensor]) -> Work:
    """As it is."""
    return _ours().step(values)


def default_layout(values: Mapping[str, Tensor]) -> Work:
    """Weights and pictures `(B, C, H, W)` in torch's own order, channel by channel."""
    made = _ours()
    _, optimiser = made.prepare_step(values, None)
    made.model.to(memory_format=torch.contiguous_format)
    batch, objective = Batch.from_dense(values), made.method.phases[0].players[0].objective

    def step() -> None:
        loss = objective(made.model, batch, Step(0, 1.0, Noise(0, 0))).loss
        _update(loss, optimiser)

    return step


def unfused(values: Mapping[str, Tensor]) -> Work:
    """Adam in one call an operation for all parameters, as torch has it by default on a GPU."""
    made = _ours()
    loss_of, _ = made.prepare_step(values, None)
    optimiser = torch.optim.Adam(made.model.parameters(), lr=LEARNING_RATE, foreach=True)
    return lambda: _update(loss_of(), optimiser)


def one_by_one(values: Mapping[str, Tensor]) -> Work:
    """Adam a parameter at a time, as torch has it by default on a CPU."""
    made = _ours()
    loss_of, _ = made.prepare_step(values, None)
    optimiser = torch.optim.Adam(made.model.parameters(), lr=LEARNING_RATE, foreach=False)
    return lambda: _update(loss_of(), optimiser)


def compiled(values: Mapping[str, Tensor]) -> Work:
    """Encoders and decoders by `torch.compile`, each by itself; what that takes the first time is not in a step.

    Raises:
        Refused: There is no C++ compiler, which it needs on a CPU.
    """
    if shutil.which("g++") is None and shutil.which("clang++") is None:
        raise Refused("there is no C++ compiler")
    made = _ours()
    for networks in (made.model.encoders, made.model.decoders):
        for name in list(networks):
            networks[name] = torch.compile(networks[name])
    return made.step(values)


def in_bf16(values: Mapping[str, Tensor]) -> Work:
    """Layers in bf16 where torch does so by itself, as `precision="bf16-mixed"` has it."""
    made = _ours()
    loss_of, optimiser = made.prepare_step(values, None)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of()
        _update(loss, optimiser)

    return step


def _update(loss: Tensor, optimiser: torch.optim.Optimizer) -> None:
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


# --- the networks alone -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Networks:
    """An encoder and a decoder for each modality, and what they are given.

    Args:
        encoders: Of all modalities.
        decoders: Of all modalities.
        x: `(B, C, H, W)` of each.
        z: `(B, D)`, decoded by all.
    """

    encoders: list[nn.Sequential]
    decoders: list[nn.Sequential]
    x: list[Tensor]
    z: Tensor

    @classmethod
    def of(cls, values: Mapping[str, Tensor]) -> Networks:
        encoders = [picture_encoder(SHAPE) for _ in values]
        decoders = [picture_decoder(SHAPE, LATENT_DIM) for _ in values]
        for network in (*encoders, *decoders):
            network.to(memory_format=torch.channels_last)
        x = [one.contiguous(memory_format=torch.channels_last) for one in values.values()]
        return cls(encoders, decoders, x, torch.randn(len(x[0]), LATENT_DIM, requires_grad=True))

    @property
    def parameters(self) -> list[nn.Parameter]:
        return [parameter for network in (*self.encoders, *self.decoders) for parameter in network.parameters()]

    def each(self) -> tuple[list[Tensor], list[Tensor]]:
        """Features `(B, F)` and pictures `(B, C, H, W)` of each modality, a network after the other."""
        features = [encoder(x) for encoder, x in zip(self.encoders, self.x, strict=True)]
        return features, [decoder(self.z) for decoder in self.decoders]

    def grouped(self) -> tuple[list[Tensor], list[Tensor]]:
        """The same of all modalities at once, `(M, B, F)` and `(B, M C, H, W)`: each layer of all networks is one call,
        convolutions by groups, matrices as a batch.
        """
        count, groups = len(self.z), len(self.x)
        x = torch.cat(self.x, dim=1)
        for place in (0, 2, 4):
            weight, bias = _joined(self.encoders, place)
            x = relu(conv2d(x, weight, bias, stride=2, padding=1, groups=groups))
        dense = [encoder[7] for encoder in self.encoders]
        weights, biases = torch.stack([layer.weight.t() for layer in dense]), torch.stack([one.bias for one in dense])
        flat = x.reshape(count, groups, -1).transpose(0, 1)
        features = relu(torch.baddbmm(biases[:, None], flat, weights))
        y = relu(linear(self.z, *_joined(self.decoders, 0))).view(count, -1, 4, 4)
        y = y.contiguous(memory_format=torch.channels_last)
        for place, padding in ((3, 0), (5, 1), (7, 1)):
            weight, bias = _joined(self.decoders, place)
            y = conv_transpose2d(y, weight, bias, 2, 1, padding, groups)
            y = y if place == 7 else relu(y)
        return [features], [y]


def _joined(networks: list[nn.Sequential], place: int) -> tuple[Tensor, Tensor]:
    """Weights and biases of one layer of all networks, side by side."""
    layers = [network[place] for network in networks]
    return torch.cat([layer.weight for layer in layers]), torch.cat([layer.bias for layer in layers])


def networks_work(values: Mapping[str, Tensor], run: Callable[[Networks], tuple[list[Tensor], list[Tensor]]]) -> Work:
    """Forward and backward of the networks, with a loss that costs next to nothing."""
    networks = Networks.of(values)

    def work() -> None:
        features, made = run(networks)
        loss = torch.stack([*(one.sum() for one in features), *(one.abs().sum() for one in made)]).sum()
        torch.autograd.grad(loss, networks.parameters)

    return work


LEVERS = (
    Lever("weights and pictures channels-last", True, plain, default_layout, "torch's own layout"),
    Lever("Adam in one kernel", True, plain, unfused, "a call for each operation"),
    Lever("Adam in one kernel", True, plain, one_by_one, "a parameter at a time"),
    Lever("layers in bf16", False, in_bf16, plain, "float32"),
    Lever("`torch.compile`", False, compiled, plain, "as it is"),
    Lever(
        "five networks in one grouped call a layer",
        False,
        partial(networks_work, run=Networks.grouped),
        partial(networks_work, run=Networks.each),
        "a call each, networks alone",
    ),
)
