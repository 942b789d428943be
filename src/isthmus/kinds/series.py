"""Series: one or more channels measured step by step, of any length."""

from __future__ import annotations

import io
import json
import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from isthmus.batch import Values
from isthmus.kinds.base import CellError, Kind, read_bytes, register_kind
from isthmus.kinds.columns import FARTHEST
from isthmus.likelihoods import LikelihoodHead, SequenceHead
from isthmus.likelihoods_series import SequenceMixedHead
from isthmus.networks.sequence import LengthDecoder, SequenceDecoder
from isthmus.networks.series import SERIES_NETWORKS, SeriesEncoder
from isthmus.networks.tokens import StretchTokens
from isthmus.suggest import nearest

# Mean, spread and steps are learnt from this many numbers (256 MiB), evenly spread over the training series where those
# hold more. Lengths are those of all series.
NUM_LOOKED_AT = 2**25
# Told apart by lightness as well as by hue, so a chart can be read without colours.
_COLOURS = ("#1f4e79", "#d9822b", "#3a9a6d", "#a23b72", "#7a7a7a", "#8ab6d6")


@register_kind
class SeriesKind(Kind):
    """A cell is an array `(T, C)` or `(T,)`, a list (of lists), or the path or bytes of an `.npy` file of one.

    Channels are standardised with the mean and deviation of all training steps, or of evenly spread series where all
    hold more than 2**25 numbers; a constant one is only centred. A channel that holds nothing but 0 and 1 in training
    is a switch (a pen that is lifted, a valve) and gets a Bernoulli likelihood, the others a Normal. Decoded cells are
    float32 `(T, C)` in the units of the data, as long as the length head says.

    A NaN or an infinity makes the cell unreadable: there is no honest value for a step in the middle. Nor can a cell
    be read that has another number of channels than most training cells, no step, or objects in place of numbers;
    nothing is ever unpickled.

    Args:
        max_steps: Longest series; what is behind it is cropped; `describe` tells how many training series were. None
            takes the 95th percentile of the training lengths.
        resample: Every series, whatever its length, is interpolated to this many steps (switches: the nearest step).
            None leaves time as it is.
        network: Of the encoder: "cnn", "gru", "lstm" or "transformer".

    Raises:
        ValueError: Unknown network, or a length below one.
    """

    name = "series"
    ragged = True
    setting_names = ("max_steps", "resample", "network")
    state_names = ("mean_", "std_", "step_", "switches_", "max_steps_", "mean_steps_", "num_cropped_", "num_fitted_")

    def __init__(self, *, max_steps: int | None = None, resample: int | None = None, network: str = "cnn"):
        if network not in SERIES_NETWORKS:
            raise ValueError(
                f"Series network '{network}' is unknown. Expected one of {', '.join(SERIES_NETWORKS)}."
                f"{nearest(network, SERIES_NETWORKS)}"
            )
        for setting, number in (("max_steps", max_steps), ("resample", resample)):
            if number is not None and number < 1:
                raise ValueError(f"SeriesKind got {setting}={number}. Expected a number of steps, 1 or more.")
        self.max_steps = max_steps
        self.resample = resample
        self.network = network

    def fit(self, cells: Sequence[Any]) -> Self:
        some: defaultdict[int, _Some] = defaultdict(_Some)  # by number of channels
        shapes, reason = [], ""
        for cell in cells:
            try:
                array = read_series(cell)
            except CellError as error:
                reason = reason or str(error)
                continue
            shapes.append(array.shape)
            some[array.shape[1]].add(array)
        if not shapes:
            raise ValueError(f"None of {len(cells)} series could be read; the first: {reason or 'no cells'}.")
        num_channels = Counter(channels for _, channels in shapes).most_common(1)[0][0]
        steps = np.concatenate(some[num_channels].series)
        some.clear()
        mean, deviation = steps.mean(axis=0), steps.std(axis=0)
        # A tenth in every step has a deviation of 1e-17: rounding is no unit, and no step. A clock, which may vary by a
        # small share of what it shows, keeps its unit.
        constant = deviation <= np.minimum(1e-7 * np.abs(mean), 1.0)
        steps[:, constant] = 0.0
        switches = np.all((steps == 0) | (steps == 1), axis=0) & ~constant
        self.switches_ = switches.tolist()
        self.mean_ = np.where(switches, 0.0, mean).tolist()
        self.std_ = np.where(switches | constant, 1.0, deviation).tolist()
        self.step_ = _smallest_step(steps[:, ~switches] / np.asarray(self.std_)[~switches])
        lengths = np.array([length for length, channels in shapes if channels == num_channels])
        if self.resample:
            lengths = np.full_like(lengths, self.resample)
        self.max_steps_ = self.max_steps or int(np.ceil(np.quantile(lengths, 0.95)))
        self.mean_steps_ = float(lengths.clip(max=self.max_steps_).mean())
        self.num_cropped_, self.num_fitted_ = int((lengths > self.max_steps_).sum()), len(lengths)
        return self

    def encode(self, cell: Any) -> np.ndarray:
        """Standardised float32 `(T, C)`, switches last."""
        array = read_series(cell)
        if array.shape[1] != self.num_channels:
            raise CellError(f"has {array.shape[1]} channels per step, where training series have {self.num_channels}")
        if self.resample:
            array = self._resampled(array)
        standardised = (array[: self.max_steps_] - np.asarray(self.mean_)) / np.asarray(self.std_)
        if np.abs(standardised).max() > FARTHEST:
            raise CellError(f"a value lies more than {FARTHEST:.0g} deviations from the training values")
        return standardised[:, self._order()].astype(np.float32)

    def normalise(self, values: Values) -> Values:
        return values.to(dtype=torch.get_default_dtype())

    def decode(self, array: np.ndarray) -> np.ndarray:
        """One normalised series `(T, C)` as float32 in the units and channel order of the data."""
        back = np.argsort(self._order())
        return (np.asarray(array, dtype=np.float64)[:, back] * self.std_ + self.mean_).astype(np.float32)

    def encoder(self, width: int) -> nn.Module:
        return SeriesEncoder(self.num_channels, width, self.network, self.max_steps_)

    def tokens(self, width: int) -> nn.Module:
        return StretchTokens(self.num_channels, width, self.max_steps_)

    def decoder(self, width: int) -> nn.Module:
        # On pen lines of 79 steps, patches of 4 cost a fifth less than single steps and lose 1 nat of 112.
        patch = 1 if self.max_steps_ <= 16 else max(4, self.max_steps_ // 64)
        steps = SequenceDecoder(width, self.max_steps_, self.num_channels, patch=patch)
        return LengthDecoder(steps, width, self.max_steps_)

    def likelihood(self) -> LikelihoodHead:
        num_switches = sum(self.switches_)
        shape = (self.num_channels - num_switches,)
        if num_switches:
            return SequenceMixedHead(num_switches, shape=shape, floor=self.step_)
        return SequenceHead(shape=shape, floor=self.step_)

    @property
    def num_channels(self) -> int:
        return len(self.mean_)

    @property
    def num_dimensions(self) -> int:
        """Channels times the mean number of steps: what a typical series holds."""
        return max(1, round(self.num_channels * self.mean_steps_))

    def describe(self) -> str:
        switches = f" ({sum(self.switches_)} of 0 and 1)" if any(self.switches_) else ""
        plural = "" if self.num_channels == 1 else "s"
        length = f"resampled to {self.resample} steps" if self.resample else f"up to {self.max_steps_} steps"
        cropped = f", {self.num_cropped_} of {self.num_fitted_} cropped" if self.num_cropped_ else ""
        return f"series of {self.num_channels} channel{plural}{switches}, {length}{cropped}"

    def html(self, cell: Any) -> str:
        """Every channel over time, each on its own range; beside it the path, where two channels or a pen make one."""
        array = np.atleast_2d(np.asarray(cell, dtype=np.float64))
        array = array.T if array.shape[0] == 1 and np.ndim(cell) == 1 else array
        lines = [
            _polyline(np.linspace(0, 1, len(array)), _unit(array[:, channel]), _COLOURS[channel % len(_COLOURS)])
            for channel in range(array.shape[1])
        ]
        title = f"{len(array)} steps, {array.shape[1]} channel{'' if array.shape[1] == 1 else 's'}"
        pictures = _svg(lines, 200, title)
        if array.shape[1] == 2 or (array.shape[1] == 3 and np.isin(array[:, 2], (0, 1)).all()):
            pictures += _svg(_path(array), 100, f"path of {title}")
        return f'<span class="cell-series">{pictures}</span>'

    def write(self, cell: Any, stem: Path) -> str:
        """`stem.npy`, which this kind reads, as do `numpy.load` and most tools."""
        path = stem.with_name(stem.name + ".npy")
        np.save(path, np.asarray(cell, dtype=np.float32), allow_pickle=False)
        return path.name

    def _order(self) -> np.ndarray:
        """Channels as the likelihood wants them: switches last."""
        return np.argsort(np.asarray(self.switches_), kind="stable")

    def _resampled(self, array: np.ndarray) -> np.ndarray:
        assert self.resample is not None
        places = np.linspace(0, len(array) - 1, self.resample)
        resampled = np.stack([np.interp(places, np.arange(len(array)), channel) for channel in array.T], axis=1)
        switches = np.asarray(self.switches_)
        resampled[:, switches] = array[places.round().astype(int)][:, switches]
        return resampled


class _Some:
    """Every series while they hold `NUM_LOOKED_AT` numbers or fewer, then every second, every fourth and so on."""

    def __init__(self) -> None:
        self.series: list[np.ndarray] = []
        self.step, self.num_seen, self.size = 1, 0, 0

    def add(self, array: np.ndarray) -> None:
        if self.num_seen % self.step == 0:
            self.series.append(array)
            self.size += array.size
        self.num_seen += 1
        while self.size > NUM_LOOKED_AT and len(self.series) > 1:
            self.series, self.step = self.series[::2], 2 * self.step
            self.size = sum(array.size for array in self.series)


def read_series(cell: Any) -> np.ndarray:
    """A cell as float64 `(T, C)`, `T` and `C` at least 1, all finite.

    Raises:
        CellError: Says what is wrong, with the first step that is not finite (steps count from 0).
    """
    if isinstance(cell, str) and cell.lstrip().startswith("["):
        cell = _read_json(cell)
    elif isinstance(cell, str | os.PathLike | bytes | bytearray | memoryview):
        cell = _read_npy(read_bytes(cell))
    try:
        array = np.asarray(cell)
    except ValueError:
        raise CellError("steps have different numbers of channels") from None
    if array.dtype.kind not in "biuf":
        raise CellError(f"expected an array of real numbers, got one of {array.dtype}")
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or 0 in array.shape:
        raise CellError(f"expected steps, or steps x channels, at least one of each, got shape {array.shape}")
    array = array.astype(np.float64)
    # Squares of larger numbers overflow in the deviation of a channel.
    broken = np.flatnonzero(~(np.abs(array) < 1e100).all(axis=1))
    if len(broken):
        raise CellError(
            f"NaN, infinity or a number above 1e100 at step {broken[0]}, {len(broken)} of {len(array)} steps"
        )
    return array


def _read_json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise CellError("text starts with '[' and is no list of numbers") from None


def _read_npy(data: bytes) -> np.ndarray:
    if not data.startswith(b"\x93NUMPY"):
        raise CellError("not an .npy file")
    try:
        return np.asarray(np.load(io.BytesIO(data), allow_pickle=False))
    except (ValueError, EOFError, OSError, MemoryError, OverflowError, TypeError, SyntaxError) as error:
        if "allow_pickle" in str(error) or "Object arrays" in str(error):
            raise CellError("an .npy file of Python objects, which are never unpickled") from None
        raise CellError("a damaged .npy file") from None


def _smallest_step(standardised: np.ndarray) -> float:
    """The quantisation step of the data, in standardised units: the floor of the learnt scale, at most a tenth."""
    steps = [np.diff(np.unique(channel)).min(initial=1.0) for channel in standardised.T]
    return float(np.clip(min(steps, default=1e-3), 1e-3, 0.1))


def _unit(values: np.ndarray) -> np.ndarray:
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.full_like(values, 0.5)


def _path(array: np.ndarray) -> list[str]:
    """The line that the first two channels draw, y upwards; it breaks after each step whose third channel is 1."""
    xy = array[:, :2] - array[:, :2].min(axis=0)
    xy = xy / (xy.max() or 1.0)
    lifts = np.flatnonzero(array[:, 2] == 1) + 1 if array.shape[1] == 3 else np.array([], dtype=int)
    return [_polyline(part[:, 0], part[:, 1], _COLOURS[0]) for part in np.split(xy, lifts) if len(part)]


def _polyline(x: np.ndarray, y: np.ndarray, colour: str) -> str:
    # A series may have a million steps; a chart of 200 pixels shows no more than these.
    kept = np.unique(np.linspace(0, len(x) - 1, min(len(x), 400)).round().astype(int))
    points = " ".join(f"{5 + 90 * x[i]:.1f},{95 - 90 * y[i]:.1f}" for i in kept)
    style = 'stroke-width="1.5" stroke-linejoin="round" stroke-linecap="round" vector-effect="non-scaling-stroke"'
    return f'<polyline points="{points}" fill="none" stroke="{colour}" {style}/>'


def _svg(lines: Sequence[str], width: int, title: str) -> str:
    return (
        f'<svg viewBox="0 0 100 100" width="{width}" height="100" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(title)}"><title>{escape(title)}</title>{"".join(lines)}</svg>'
    )
