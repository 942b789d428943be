"""Distributions over data, `p(x_m | z)`, one batch of `R` rows at a time.

A decoder network gives parameters, a `LikelihoodHead` makes a `Likelihood` of them and holds what is learnt beside the
network, such as a scale. `log_prob` is in nats, summed over the event, one number per row.

Shapes: `R` rows, then the event: `C H W` image, `T` tokens or steps, `V` vocabulary, `C` channels or columns.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isthmus.batch import Masked, Values
from isthmus.noise import Noise

LOG_2PI = math.log(2 * math.pi)


class Likelihood(ABC):
    """`R` distributions over one event each."""

    @abstractmethod
    def log_prob(self, target: Values) -> Tensor:
        """Log density of `R` targets, `(R,)`, in nats; a `Masked` target counts where its mask is True."""

    @property
    @abstractmethod
    def mean(self) -> Values:
        """Expected event; for tokens and classes, which have none, the mode."""

    @property
    @abstractmethod
    def mode(self) -> Values:
        """Most likely event."""

    @abstractmethod
    def sample(self, noise: Noise, name: str) -> Values:
        """One draw per row, with noise keyed by `name`."""


class LikelihoodHead(nn.Module, ABC):
    """Makes a `Likelihood` of a decoder's parameters."""

    @abstractmethod
    def forward(self, parameters: Tensor | tuple[Tensor, ...]) -> Likelihood: ...


class LearnedScale(nn.Module):
    """A positive scale, learnt with the network, never below `floor`.

    sigma-VAE (Rybkin, Daniilidis & Levine 2021, arXiv:2006.13202, section 3): with a learnt scale, the balance of
    reconstruction and divergence no longer depends on the units of the data. The floor is the quantisation step of
    the data: below it a density could grow without end on values that repeat exactly.

    Args:
        shape: Of the scale; must broadcast against the event. `()` shares one scale over the whole event.
        initial: Scale at the start; the standard deviation of the data is right for a decoder that knows nothing yet.
        floor: Smallest scale.
    """

    # Adam moves every parameter by about the learning rate per step. A log-scale must travel several units in the
    # first few hundred steps, so the parameter is held in units of ten.
    GAIN = 10.0

    def __init__(self, shape: Sequence[int] = (), initial: float = 1.0, floor: float = 1e-3):
        super().__init__()
        if not 0 < floor < initial:
            raise ValueError(f"LearnedScale got floor {floor} and initial {initial}. Expected 0 < floor < initial.")
        self.floor = floor
        start = math.log(math.expm1(math.log(initial / floor)))
        self.raw = nn.Parameter(torch.full(tuple(shape), start / self.GAIN))

    def forward(self) -> Tensor:
        """The logarithm of the scale."""
        return math.log(self.floor) + F.softplus(self.GAIN * self.raw)


class FixedScale(nn.Module):
    """A constant scale. With `scale = sqrt(1/2)` a Normal log-density is minus the squared error, up to a constant."""

    log_scale: Tensor

    def __init__(self, scale: float):
        super().__init__()
        if not scale > 0:
            raise ValueError(f"FixedScale got {scale}. Expected a positive number.")
        self.register_buffer("log_scale", torch.tensor(math.log(scale)), persistent=False)

    def forward(self) -> Tensor:
        return self.log_scale


def scale_module(scale: str | float, shape: Sequence[int], initial: float, floor: float) -> nn.Module:
    """`"learned"`, or a number: a fixed scale.

    Raises:
        ValueError: Any other word.
    """
    if isinstance(scale, str):
        if scale != "learned":
            raise ValueError(f"Scale '{scale}' is unknown. Expected \"learned\" or a positive number.")
        return LearnedScale(shape, initial, floor)
    return FixedScale(scale)


def sum_event(per_element: Tensor) -> Tensor:
    """Sum over all axes but the first."""
    # Over the axes as they are: flattened, what is stored channels last would be copied first.
    return per_element.sum(dim=tuple(range(1, per_element.dim()))) if per_element.dim() > 1 else per_element


def _check_shape(target: Tensor, loc: Tensor) -> None:
    # Shapes that broadcast would give a score, and a wrong one.
    if target.shape != loc.shape:
        raise ValueError(f"A target of shape {tuple(target.shape)} got locations of shape {tuple(loc.shape)}.")


def _sum_scaled(distance: Tensor, rate: Tensor, constant: Tensor) -> Tensor:
    """`(R,)`: the sum over the event of `-rate * distance - constant`; both broadcast against `distance`.

    The event is read as few times as can be, since in training that is most of what a likelihood costs.
    """
    if rate.dim() == distance.dim():  # a rate of each row
        return -sum_event(rate * distance + constant)
    total = rate * sum_event(distance) if rate.dim() == 0 else sum_event(rate * distance)
    return -total - constant.expand(distance.shape[1:]).sum()


@dataclass(frozen=True)
class Normal(Likelihood):
    """Independent Normals: `loc (R, *event)`, `log_scale` that broadcasts against it."""

    loc: Tensor
    log_scale: Tensor

    def log_prob(self, target: Values) -> Tensor:
        assert isinstance(target, Tensor)
        _check_shape(target, self.loc)
        squares = F.mse_loss(self.loc, target, reduction="none")
        return _sum_scaled(squares, 0.5 * torch.exp(-2 * self.log_scale), self.log_scale + 0.5 * LOG_2PI)

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc

    def sample(self, noise: Noise, name: str) -> Tensor:
        drawn = noise.normal(name, *self.loc.shape, like=self.loc)
        return self.loc + self.log_scale.exp() * drawn


@dataclass(frozen=True)
class Laplace(Likelihood):
    """Independent Laplace distributions: `loc (R, *event)`, `log_scale` that broadcasts against it."""

    loc: Tensor
    log_scale: Tensor

    def log_prob(self, target: Values) -> Tensor:
        assert isinstance(target, Tensor)
        _check_shape(target, self.loc)
        distance = F.l1_loss(self.loc, target, reduction="none")
        return _sum_scaled(distance, torch.exp(-self.log_scale), self.log_scale + math.log(2))

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc

    def sample(self, noise: Noise, name: str) -> Tensor:
        return self.loc + self.log_scale.exp() * noise.laplace(name, *self.loc.shape, like=self.loc)


@dataclass(frozen=True)
class Bernoulli(Likelihood):
    """Independent Bernoullis: `logits (R, *event)`.

    Targets between 0 and 1 are scored by cross-entropy, as is usual for grey pictures; it is a log-probability in
    nats only where targets are 0 or 1.
    """

    logits: Tensor

    def log_prob(self, target: Values) -> Tensor:
        assert isinstance(target, Tensor)
        return -sum_event(F.binary_cross_entropy_with_logits(self.logits, target.to(self.logits), reduction="none"))

    @property
    def mean(self) -> Tensor:
        return self.logits.sigmoid()

    @property
    def mode(self) -> Tensor:
        return (self.logits > 0).to(self.logits)

    def sample(self, noise: Noise, name: str) -> Tensor:
        return (noise.uniform(name, *self.logits.shape, like=self.logits) < self.mean).to(self.logits)


@dataclass(frozen=True)
class Categorical(Likelihood):
    """One class out of `V`: `logits (R, V)`; targets are long `(R,)`."""

    logits: Tensor

    def log_prob(self, target: Values) -> Tensor:
        assert isinstance(target, Tensor)
        return -F.cross_entropy(self.logits, target, reduction="none")

    @property
    def mean(self) -> Tensor:
        return self.mode

    @property
    def mode(self) -> Tensor:
        return self.logits.argmax(dim=-1)

    def sample(self, noise: Noise, name: str) -> Tensor:
        return noise.categorical(name, self.logits)


@dataclass(frozen=True)
class Tokens(Likelihood):
    """Sequences of tokens that end where they say they end: `logits (R, T, V)`.

    Targets are `Masked` ids `(R, t)` with `t <= T`, the end token included; a draw is cut behind its first end token.
    """

    logits: Tensor
    end: int

    def log_prob(self, target: Values) -> Tensor:
        assert isinstance(target, Masked)
        length = target.value.shape[1]
        if length > self.logits.shape[1]:
            raise ValueError(
                f"Tokens got a target of {length} tokens, and the decoder gives {self.logits.shape[1]}. "
                "Expected the kind to crop texts to the length it learnt."
            )
        nats = F.cross_entropy(self.logits[:, :length].transpose(1, 2), target.value, reduction="none")
        return -(nats * target.mask).sum(dim=1)

    @property
    def mean(self) -> Masked:
        return self.mode

    @property
    def mode(self) -> Masked:
        return self._cut(self.logits.argmax(dim=-1))

    def sample(self, noise: Noise, name: str) -> Masked:
        return self._cut((self.logits + noise.gumbel(name, *self.logits.shape, like=self.logits)).argmax(dim=-1))

    def _cut(self, ids: Tensor) -> Masked:
        return Masked(ids, self.until_end(ids, self.end))

    @staticmethod
    def until_end(ids: Tensor, end: int) -> Tensor:
        """Bool, shaped as `ids (..., T)`: what stands before the first end token, and that token."""
        ends = (ids == end).long()
        return (ends.cumsum(dim=-1) - ends) == 0


@dataclass(frozen=True)
class TokensMixture(Likelihood):
    r"""One of `K` ways to say it, chosen for the whole sequence: `logits (R, K, T, V)`, `log_weight (R, K)`.

    .. math:: \log p(x) = \log \sum_k w_k \prod_t p_k(x_t)

    Tokens that are independent given the code mix up the ways in which one thing can be said, such as two languages;
    whole-sequence alternatives do not (Shen et al. 2019, "Mixture models for diverse machine translation",
    arXiv:1902.07816, eq. 1). Targets are as those of `Tokens`. The mode is the likeliest of the alternatives' modes.
    """

    logits: Tensor
    log_weight: Tensor
    end: int

    def log_prob(self, target: Values) -> Tensor:
        assert isinstance(target, Masked)
        rows, count, length = self.logits.shape[:3]
        wide = Masked(target.value.repeat_interleave(count, dim=0), target.mask.repeat_interleave(count, dim=0))
        each = Tokens(self.logits.reshape(rows * count, length, -1), self.end).log_prob(wide)
        return torch.logsumexp(self.log_weight + each.view(rows, count), dim=1)

    @property
    def mean(self) -> Masked:
        return self.mode

    @property
    def mode(self) -> Masked:
        nats, ids = self.logits.log_softmax(dim=-1).max(dim=-1)  # (R, K, T)
        there = Tokens.until_end(ids, self.end)
        return self._chosen(ids, there, self.log_weight + (nats * there).sum(dim=2))

    def sample(self, noise: Noise, name: str) -> Masked:
        ids = (self.logits + noise.gumbel(name, *self.logits.shape, like=self.logits)).argmax(dim=-1)
        choice = noise.gumbel(f"{name}/alternative", *self.log_weight.shape, like=self.log_weight)
        return self._chosen(ids, Tokens.until_end(ids, self.end), self.log_weight + choice)

    def _chosen(self, ids: Tensor, there: Tensor, score: Tensor) -> Masked:
        """The row's alternative of highest score."""
        row, best = torch.arange(len(ids), device=ids.device), score.argmax(dim=1)
        return Masked(ids[row, best], there[row, best])


@dataclass(frozen=True)
class SequenceNormal(Likelihood):
    """Real-valued sequences with a length of their own: `loc (R, T, C)`, `log_scale` that broadcasts, and
    `length_logits (R, T)`, where entry `t` stands for a length of `t + 1`.

    Targets are `Masked (R, t, C)` with `t <= T`; frames count where the mask is True.
    """

    loc: Tensor
    log_scale: Tensor
    length_logits: Tensor

    def log_prob(self, target: Values) -> Tensor:
        assert isinstance(target, Masked)
        length = target.value.shape[1]
        if length > self.loc.shape[1]:
            raise ValueError(
                f"A sequence of {length} steps was given, and the decoder gives {self.loc.shape[1]}. "
                "Expected the kind to crop sequences to the length it learnt."
            )
        standardised = (target.value - self.loc[:, :length]) * torch.exp(-self.log_scale)
        nats = (0.5 * standardised**2 + self.log_scale + 0.5 * LOG_2PI).sum(dim=2)
        ends = (target.mask.sum(dim=1) - 1).clamp_min(0)
        return -(nats * target.mask).sum(dim=1) - F.cross_entropy(self.length_logits, ends, reduction="none")

    @property
    def mean(self) -> Masked:
        return self.mode

    @property
    def mode(self) -> Masked:
        return self._cut(self.loc, self.length_logits.argmax(dim=1))

    def sample(self, noise: Noise, name: str) -> Masked:
        drawn = noise.normal(name, *self.loc.shape, like=self.loc)
        length = noise.categorical(f"{name}/length", self.length_logits)
        return self._cut(self.loc + self.log_scale.exp() * drawn, length)

    def _cut(self, frames: Tensor, last: Tensor) -> Masked:
        return Masked(frames, torch.arange(frames.shape[1], device=frames.device)[None] <= last[:, None])


class NormalHead(LikelihoodHead):
    """`parameters` is `loc (R, *event)`.

    Args:
        scale: `"learned"`, or a fixed number (squared error).
        shape: Of a learned scale; `()` shares one over the event.
        initial: Scale at the start.
        floor: Smallest learned scale.
    """

    def __init__(
        self, scale: str | float = "learned", shape: Sequence[int] = (), initial: float = 1.0, floor: float = 1e-3
    ):
        super().__init__()
        self.log_scale = scale_module(scale, shape, initial, floor)

    def forward(self, parameters: Tensor | tuple[Tensor, ...]) -> Normal:
        assert isinstance(parameters, Tensor)
        return Normal(parameters, self.log_scale())


class LaplaceHead(NormalHead):
    """As `NormalHead`, with absolute in place of squared error."""

    def forward(self, parameters: Tensor | tuple[Tensor, ...]) -> Laplace:  # type: ignore[override]
        assert isinstance(parameters, Tensor)
        return Laplace(parameters, self.log_scale())


class BernoulliHead(LikelihoodHead):
    """`parameters` is `logits (R, *event)`."""

    def forward(self, parameters: Tensor | tuple[Tensor, ...]) -> Bernoulli:
        assert isinstance(parameters, Tensor)
        return Bernoulli(parameters)


class CategoricalHead(LikelihoodHead):
    """`parameters` is `logits (R, V)`."""

    def forward(self, parameters: Tensor | tuple[Tensor, ...]) -> Categorical:
        assert isinstance(parameters, Tensor)
        return Categorical(parameters)


class TokensHead(LikelihoodHead):
    """`parameters` is `logits (R, T, V)`, or `(logits (R, K, T, V), weights (R, K))` for `K` ways to say it, weights as
    logits; `end` is the id of the end token.
    """

    def __init__(self, end: int):
        super().__init__()
        self.end = end

    def forward(self, parameters: Tensor | tuple[Tensor, ...]) -> Tokens | TokensMixture:
        if isinstance(parameters, Tensor):
            return Tokens(parameters, self.end)
        logits, weights = parameters
        return TokensMixture(logits, weights.log_softmax(dim=1), self.end)


class SequenceHead(LikelihoodHead):
    """`parameters` is `(loc (R, T, C), length_logits (R, T))`; arguments as `NormalHead`."""

    def __init__(
        self, scale: str | float = "learned", shape: Sequence[int] = (), initial: float = 1.0, floor: float = 1e-3
    ):
        super().__init__()
        self.log_scale = scale_module(scale, shape, initial, floor)

    def forward(self, parameters: Tensor | tuple[Tensor, ...]) -> SequenceNormal:
        loc, length_logits = parameters
        return SequenceNormal(loc, self.log_scale(), length_logits)
