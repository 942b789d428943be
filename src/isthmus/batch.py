"""A batch of items of which some modalities may be missing.

`present[m]` says who has modality `m`; `values[m]` holds those rows alone. A gap has no value, so no fill value can
leak into a model, no NaN can spread, and no work is done for it.

Shapes: `B` items, `n` rows that are there, `M` modalities, `T` tokens or steps, `C` columns or channels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from isthmus.suggest import nearest


@dataclass(frozen=True)
class Masked:
    """Rows of unequal length, or rows with blanks inside.

    Args:
        value: `(n, T, ...)` for ragged rows (text, sound, series), `(n, C)` for table rows. What stands where the mask
            is False must not matter to anyone; it is finite.
        mask: Bool `(n, T)` or `(n, C)`, True = there.

    Raises:
        ValueError: The mask does not cover the leading axes of the value.
    """

    value: Tensor
    mask: Tensor

    def __post_init__(self) -> None:
        if self.mask.dtype != torch.bool or self.value.shape[: self.mask.dim()] != self.mask.shape:
            raise ValueError(
                f"Masked got a value of shape {tuple(self.value.shape)} and a {self.mask.dtype} mask of shape "
                f"{tuple(self.mask.shape)}. Expected a bool mask over the leading axes of the value."
            )

    def __len__(self) -> int:
        return self.value.shape[0]

    def take(self, rows: Tensor) -> Masked:
        return Masked(self.value.index_select(0, rows), self.mask.index_select(0, rows))

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Masked:
        return Masked(_to(self.value, device, dtype), _to(self.mask, device, None))


Values = Tensor | Masked


def take(values: Values, rows: Tensor) -> Values:
    """Rows of `values`, in the order asked for."""
    if isinstance(values, Masked):
        return values.take(rows)
    if values.dim() == 4 and values.is_contiguous(memory_format=torch.channels_last):
        # Pictures stay as convolutions want them, and as what is decoded lies beside them: `index_select` would make
        # them contiguous, and copies and sums over two layouts take up to three times as long.
        return values.permute(0, 2, 3, 1).index_select(0, rows).permute(0, 3, 1, 2)
    return values.index_select(0, rows)


def to_device(values: Values, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Values:
    """`values` on a device; `dtype` applies to floating point values alone (ids and pixels keep theirs)."""
    return values.to(device, dtype) if isinstance(values, Masked) else _to(values, device, dtype)


def concatenate(parts: Sequence[Values]) -> Values:
    """All rows of `parts`, in order; ragged parts are padded to the longest."""
    if not parts:
        raise ValueError("concatenate needs at least one part.")
    if all(isinstance(part, Tensor) for part in parts):
        return torch.cat([part for part in parts if isinstance(part, Tensor)])
    masked = [part for part in parts if isinstance(part, Masked)]
    if len(masked) != len(parts):
        raise TypeError("concatenate got both Tensor and Masked parts. Expected one of the two throughout.")
    length = max(part.mask.shape[1] for part in masked)
    return Masked(
        torch.cat([_pad(part.value, length) for part in masked]),
        torch.cat([_pad(part.mask, length) for part in masked]),
    )


@dataclass(frozen=True)
class Batch:
    """Values of the items that have them, and who has what.

    Args:
        values: Per modality, the `n` rows of the items that have it, in batch order.
        present: Per modality, bool `(B,)`, True = observed.
        index: Long `(B,)`, the place of each item in the data it came from: names items in errors.
            Defaults to `0 .. B-1`.

    Raises:
        ValueError: Names, sizes or counts disagree.
    """

    values: Mapping[str, Values]
    present: Mapping[str, Tensor]
    index: Tensor | None = None

    def __post_init__(self) -> None:
        if not self.present or set(self.values) != set(self.present):
            raise ValueError(
                f"Batch got values of {sorted(self.values)} and presence of {sorted(self.present)}. "
                "Expected the same modalities in both, and at least one."
            )
        sizes = {name: tuple(mask.shape) for name, mask in self.present.items()}
        if len(set(sizes.values())) != 1 or any(len(size) != 1 for size in sizes.values()):
            raise ValueError(f"Batch got presence of shapes {sizes}. Expected one shape (B,) for all.")
        for name, mask in self.present.items():
            if mask.dtype != torch.bool:
                raise TypeError(f"Batch got presence of '{name}' as {mask.dtype}. Expected bool, True = observed.")
        if self.index is None:
            object.__setattr__(self, "index", torch.arange(len(self), device=self.device))

    def check_counts(self) -> None:
        """Hold the number of rows against presence. Not done at each step: on a GPU, counting waits for the device."""
        for name, mask in self.present.items():
            if len(self.values[name]) != int(mask.sum()):
                raise ValueError(
                    f"Batch got {len(self.values[name])} rows of '{name}', but {int(mask.sum())} items have it. "
                    "Expected values of the present items alone; Batch.from_dense takes one row per item."
                )

    def __len__(self) -> int:
        return next(iter(self.present.values())).shape[0]

    def __iter__(self) -> Iterator[str]:
        return iter(self.present)

    @property
    def modalities(self) -> tuple[str, ...]:
        return tuple(self.present)

    @property
    def device(self) -> torch.device:
        return next(iter(self.present.values())).device

    def rows(self, name: str) -> Tensor:
        """Long `(n,)`: the items that have modality `name`, in order."""
        return self.present[name].nonzero().squeeze(1)

    def slots(self, name: str) -> Tensor:
        """Long `(B,)`: where each item's row stands in `values[name]`; meaningless where the item lacks it."""
        return (self.present[name].cumsum(0) - 1).clamp_min(0)

    def presence(self, names: Iterable[str] | None = None) -> Tensor:
        """Bool `(M, B)`, in the order of `names`; a modality that this batch does not know is absent everywhere."""
        absent = torch.zeros(len(self), dtype=torch.bool, device=self.device)
        return torch.stack([self.present.get(name, absent) for name in (self.modalities if names is None else names)])

    def only(self, *names: str) -> Batch:
        """The same items, known by these modalities alone."""
        for name in names:
            self._known(name, "only")
        kept = [name for name in self.present if name in names]
        if not kept:
            raise ValueError(f"only() needs at least one modality name. This batch has {', '.join(self.present)}.")
        return Batch({n: self.values[n] for n in kept}, {n: self.present[n] for n in kept}, self.index)

    def drop(self, name: str, at: int | Sequence[int] | Tensor | None = None) -> Batch:
        """The same batch without modality `name`, at all items or at the places `at`; the name stays known."""
        self._known(name, "drop")
        gone = torch.zeros(len(self), dtype=torch.bool, device=self.device)
        if at is None:
            gone[:] = True
        else:
            places = torch.as_tensor(at, device=self.device)
            gone[places if places.numel() else places.long()] = True  # of an empty list torch makes floats
        return self.keep({name: ~gone})

    def keep(self, kept: Mapping[str, Tensor]) -> Batch:
        """The same batch, with each modality in `kept` left only where its bool `(B,)` is True (modality dropout)."""
        values, present = dict(self.values), dict(self.present)
        for name, mask in kept.items():
            rows = mask[self.present[name]].nonzero().squeeze(1)
            values[name], present[name] = take(self.values[name], rows), self.present[name] & mask
        return Batch(values, present, self.index)

    def take(self, rows: Tensor) -> Batch:
        """The items at the places `rows`, in that order."""
        values = {}
        for name, mask in self.present.items():
            values[name] = take(self.values[name], self.slots(name)[rows[mask[rows]]])
        assert self.index is not None
        return Batch(values, {name: mask[rows] for name, mask in self.present.items()}, self.index[rows])

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Batch:
        assert self.index is not None
        return Batch(
            {name: to_device(values, device, dtype) for name, values in self.values.items()},
            {name: mask.to(device) for name, mask in self.present.items()},
            self.index.to(device),
        )

    @classmethod
    def from_dense(cls, values: Mapping[str, Values], present: Mapping[str, Tensor] | None = None) -> Batch:
        """A batch from one row per item in every modality, as those have it who hold dense arrays.

        Args:
            values: Per modality, `(B, ...)`. What stands in an absent row is dropped here, be it NaN or zero.
            present: Per modality, bool `(B,)`; a modality left out is present everywhere.

        Raises:
            ValueError: Numbers of rows disagree, or presence is given for an unknown modality.
        """
        present = dict(present or {})
        sizes = {name: len(rows) for name, rows in values.items()}
        if len(set(sizes.values())) != 1:
            raise ValueError(f"from_dense got {sizes} rows. Expected one row per item, the same number for all.")
        for name in present:
            if name not in values:
                raise ValueError(f"from_dense got presence of '{name}', which has no values.{nearest(name, values)}")
        masks = {}
        for name, rows in values.items():
            device = rows.value.device if isinstance(rows, Masked) else rows.device
            masks[name] = present.get(name, torch.ones(len(rows), dtype=torch.bool)).to(device)
            if masks[name].shape != (len(rows),):
                raise ValueError(
                    f"from_dense got presence of '{name}' of shape {tuple(masks[name].shape)} for {len(rows)} rows. "
                    f"Expected ({len(rows)},)."
                )
        kept = {name: take(rows, masks[name].nonzero().squeeze(1)) for name, rows in values.items()}
        return cls(kept, masks)

    def _known(self, name: str, where: str) -> None:
        if name not in self.present:
            names = ", ".join(self.present)
            raise ValueError(
                f"Unknown modality '{name}' in {where}(...). This batch has {names}.{nearest(name, self.present)}"
            )


def _to(tensor: Tensor, device: torch.device | str | None, dtype: torch.dtype | None) -> Tensor:
    if dtype is not None and tensor.is_floating_point():
        return tensor.to(device=device, dtype=dtype, non_blocking=True)
    return tensor.to(device=device, non_blocking=True) if device is not None else tensor


def _pad(tensor: Tensor, length: int) -> Tensor:
    if tensor.shape[1] == length:
        return tensor
    padding = tensor.new_zeros(tensor.shape[0], length - tensor.shape[1], *tensor.shape[2:])
    return torch.cat([tensor, padding], dim=1)
