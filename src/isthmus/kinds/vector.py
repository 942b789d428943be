"""Vectors of a fixed number of features, standardised for the networks and given back in their own units.

Shapes: `n` rows, `F` features.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from isthmus.batch import Masked, Values
from isthmus.kinds.base import CellError, Kind, read_bytes, register_kind
from isthmus.kinds.columns import FARTHEST
from isthmus.likelihoods import LaplaceHead, LikelihoodHead, NormalHead
from isthmus.networks.dense import DenseDecoder, DenseEncoder
from isthmus.networks.tokens import ChunkTokens
from isthmus.suggest import nearest

# Mean and spread are learnt from this many training vectors, evenly spaced.
NUM_LOOKED_AT = 10_000
# A number so many times larger than three quarters of its feature are, and larger than this itself, fills a gap
# (9.97e36 in netCDF, 1e20 in climate models). A mean and spread that counted it would make all others equal.
FILLER = 1e15
# In standard deviations of a feature. A feature that codes predict to 1% is known well enough: below that, a few
# whole-numbered or near-constant features would gain likelihood without end and outweigh all others.
FLOOR = 0.01
# Features shown as bars; more than a page can tell apart are left out and counted.
NUM_BARS = 64


@register_kind
class VectorKind(Kind):
    """Fixed-length features: arrays `(F,)`, lists of numbers (also as JSON text), paths of `.npy` files.

    Features are standardised by the mean and standard deviation of training vectors; a constant one is only centred.
    Whole-numbered features come back as floats, as their expected value is rarely whole.

    A vector cannot be read if a feature lies more than a million standard deviations from the training values, as
    numbers that stand for gaps do (9.97e36); mean and standard deviation are learnt without these.

    Args:
        length: Number of features; None takes the most common one in training. Other vectors are refused.
        distribution: Of a feature: `"normal"` or `"laplace"`.
        scale: `"learned"`, one for each feature, or a number: a fixed scale in standard deviations of the feature.

    Raises:
        ValueError: A setting has an unknown or impossible value.
    """

    name = "vector"
    setting_names = ("length", "distribution", "scale")
    state_names = ("length_", "mean_", "std_")

    length_: int
    mean_: list[float]
    std_: list[float]

    def __init__(self, *, length: int | None = None, distribution: str = "normal", scale: str | float = "learned"):
        if distribution not in ("normal", "laplace"):
            raise ValueError(
                f"Vector setting distribution={distribution!r} is unknown. Expected 'normal' or 'laplace'."
                f"{nearest(distribution, ('normal', 'laplace'))}"
            )
        if length is not None and not (isinstance(length, int) and length >= 1):
            raise ValueError(f"Vector setting length={length!r} is no length. Expected a whole number from 1.")
        if scale != "learned" and not (isinstance(scale, int | float) and scale > 0):
            raise ValueError(f'Vector setting scale={scale!r} is unknown. Expected "learned" or a positive number.')
        self.length = length
        self.distribution = distribution
        self.scale = scale
        self._moments: dict[tuple[torch.device, torch.dtype], tuple[Tensor, Tensor]] = {}

    def fit(self, cells: Sequence[Any]) -> Self:
        arrays, reason = [], "no cell was given"
        looked_at = cells[:: -(-len(cells) // NUM_LOOKED_AT) or 1]
        for cell in looked_at:
            try:
                arrays.append(_read(cell))
            except CellError as error:
                reason = str(error)
        if self.length is not None:
            self.length_ = self.length
        elif arrays:
            self.length_ = Counter(len(array) for array in arrays).most_common(1)[0][0]
        fitting = [array for array in arrays if len(array) == self.length_] if arrays else []
        if not fitting:
            if arrays:
                reason = f"vector of {len(arrays[-1])} features, where {self.length_} are expected"
            raise ValueError(f"Not one vector could be read. The last of {len(looked_at)} tried: {reason}.")
        stacked = np.stack(fitting).astype(np.float64)
        mean, std = stacked.mean(axis=0), stacked.std(axis=0)
        for feature in np.flatnonzero(np.maximum(stacked.max(axis=0), -stacked.min(axis=0)) > FILLER):
            if len(usual := _without_fillers(stacked[:, feature])) < len(stacked):
                mean[feature], std[feature] = usual.mean(), usual.std()
        # What float32 cannot tell from a constant is one.
        std[std <= 1e-7 * np.abs(mean)] = 1.0
        std[std == 0] = 1.0
        self.mean_, self.std_ = mean.tolist(), std.tolist()
        self._moments.clear()
        self.__dict__.pop("_range", None)
        return self

    def encode(self, cell: Any) -> np.ndarray:
        array = _read(cell)
        if len(array) != self.length_:
            raise CellError(f"vector of {len(array)} features, where {self.length_} are expected")
        low, high = self._range
        if (far := np.flatnonzero((array < low) | (array > high))).size:
            raise CellError(
                f"feature {far[0]} is {array[far[0]]:.3g}: more than {FARTHEST:.0g} deviations from the training values"
            )
        return array

    def normalise(self, values: Values) -> Values:
        assert not isinstance(values, Masked)
        rows = (
            values
            if values.is_floating_point() and values.dtype == torch.float64
            else values.to(torch.get_default_dtype())
        )
        key = (rows.device, rows.dtype)
        if key not in self._moments:
            self._moments[key] = (rows.new_tensor(self.mean_), rows.new_tensor(self.std_))
        mean, std = self._moments[key]
        return (rows - mean) / std

    def decode(self, array: np.ndarray) -> np.ndarray:
        return (np.asarray(array, dtype=np.float64) * self.std_ + self.mean_).astype(np.float32)

    @cached_property
    def _range(self) -> tuple[np.ndarray, np.ndarray]:
        """The lowest and the highest value that each feature may have, `(F,)`."""
        mean, std = np.asarray(self.mean_), np.asarray(self.std_)
        # What float32 hardly tells from a constant passes too, however large the constant is.
        reach = np.maximum(FARTHEST * std, 1e-6 * np.abs(mean))
        return mean - reach, mean + reach

    @property
    def num_dimensions(self) -> int:
        return self.length_

    def encoder(self, width: int = 256) -> nn.Module:
        return DenseEncoder(self.length_, width)

    def tokens(self, width: int) -> nn.Module:
        return ChunkTokens(self.length_, width)

    def decoder(self, width: int) -> nn.Module:
        return DenseDecoder(width, self.length_)

    def likelihood(self) -> LikelihoodHead:
        head = LaplaceHead if self.distribution == "laplace" else NormalHead
        return head(self.scale, shape=(self.length_,), initial=1.0, floor=FLOOR)

    def describe(self) -> str:
        features = "1 feature" if self.length_ == 1 else f"{self.length_} features"
        return f"{features}, standardised, {self.distribution}, scale {self.scale}"

    def html(self, cell: np.ndarray) -> str:
        values = np.asarray(cell, dtype=np.float64)
        shown = values[:NUM_BARS]
        low, high = min(shown.min(), 0.0), max(shown.max(), 0.0)
        unit = 32 / (high - low) if high > low else 0.0
        zero = high * unit
        bars = "".join(f"M{4 * i + 2} {zero:.1f}V{zero - value * unit:.1f}" for i, value in enumerate(shown.tolist()))
        numbers = ", ".join(f"{value:.4g}" for value in shown[:6]) + (", …" if len(values) > 6 else "")
        return (
            f'<svg width="{4 * len(shown)}" height="34" viewBox="0 -1 {4 * len(shown)} 34" role="img">'
            f"<title>{len(values)} features: {numbers}</title>"
            f'<path d="{bars}" stroke="currentColor" stroke-width="3"/></svg>'
        )

    def write(self, cell: np.ndarray, stem: Path) -> str:
        path = stem.with_name(f"{stem.name}.npy")
        np.save(path, np.asarray(cell, dtype=np.float32), allow_pickle=False)
        return path.name


def _read(cell: Any) -> np.ndarray:
    """A cell as float32 `(F,)`, finite."""
    if isinstance(cell, str) and cell.lstrip().startswith("["):
        cell = _from_json(cell)
    elif isinstance(cell, str | bytes | Path):
        cell = _from_npy(read_bytes(cell))
    try:
        array = np.asarray(cell)
    except (ValueError, TypeError):
        raise CellError("not a list of numbers") from None
    if array.dtype.kind not in "biuf":
        raise CellError(f"not a list of numbers, but of {array.dtype}")
    if array.ndim != 1 or array.size == 0:
        raise CellError(f"array of shape {array.shape}, where a vector (F,) is expected")
    with np.errstate(over="ignore"):
        single = array.astype(np.float32)
    if not np.isfinite(single).all():
        place = int(np.flatnonzero(~np.isfinite(single))[0])
        problem = "too large" if np.isfinite(array[place]) else "not a finite number"
        raise CellError(f"feature {place} is {array[place]}: {problem}")
    return single


def _without_fillers(values: np.ndarray) -> np.ndarray:
    size = np.abs(values)
    return values[size <= FILLER * max(float(np.quantile(size, 0.75)), 1.0)]


def _from_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise CellError("text starts with '[' and is no list of numbers") from None


def _from_npy(data: bytes) -> Any:
    try:
        array = np.load(io.BytesIO(data), allow_pickle=False)
    except Exception as error:  # A damaged header makes numpy's parser raise almost anything.
        raise CellError(f"not a readable .npy file: {error}") from None
    if not isinstance(array, np.ndarray):
        raise CellError("an .npz archive, where one array in an .npy file is expected")
    return array
