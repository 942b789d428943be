"""Random numbers keyed by what they are for.

Noise is drawn for the *global* batch from (seed, step, name), by position, and then cut to the rows of this process.
So a run goes on after a stop as if it had never stopped, a second implementation can be given the same draws, and two
processes draw what one would.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Noise:
    """Draws for the `rows` items of this process, out of a global batch of `total`.

    Draws are made on the CPU in float32 and then moved, so that another device or dtype sees the same numbers.

    Args:
        seed: Of the run.
        step: Of the training, or the number of the chunk when a table is walked through.
        offset: Place of this process's first item in the global batch.
        total: Items in the global batch; None where one process has them all.
    """

    seed: int
    step: int = 0
    offset: int = 0
    total: int | None = None

    def _generator(self, name: str) -> torch.Generator:
        digest = hashlib.blake2b(f"{self.seed}/{self.step}/{name}".encode(), digest_size=8).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)

    def _cut(self, drawn: Tensor, rows: int, like: Tensor) -> Tensor:
        dtype = like.dtype if like.is_floating_point() else torch.float32
        return drawn[self.offset : self.offset + rows].to(device=like.device, dtype=dtype)

    def _total(self, rows: int) -> int:
        return rows + self.offset if self.total is None else self.total

    def normal(self, name: str, rows: int, *shape: int, like: Tensor) -> Tensor:
        """Standard normal draws `(rows, *shape)`, with the device and dtype of `like`."""
        return self._cut(torch.randn(self._total(rows), *shape, generator=self._generator(name)), rows, like)

    def uniform(self, name: str, rows: int, *shape: int, like: Tensor) -> Tensor:
        """Uniform draws from the open interval (0, 1), shape `(rows, *shape)`: safe under a logarithm."""
        drawn = torch.rand(self._total(rows), *shape, generator=self._generator(name))
        # The number below one that `like` has: in half precision one draw of five hundred would be rounded to one.
        step = torch.finfo(like.dtype if like.is_floating_point() else torch.float32).eps / 2
        return self._cut(drawn.clamp(2**-25, 1 - max(step, 2**-24)), rows, like)

    def laplace(self, name: str, rows: int, *shape: int, like: Tensor) -> Tensor:
        """Standard Laplace draws `(rows, *shape)` (location 0, scale 1; variance 2)."""
        centred = self.uniform(name, rows, *shape, like=_single(like)) - 0.5
        return _as_wide_as(like, -centred.sign() * torch.log1p(-2 * centred.abs()))

    def draw(self, family: str, name: str, rows: int, *shape: int, like: Tensor) -> Tensor:
        """Standard "normal" or "laplace", `(rows, *shape)`."""
        return (self.normal if family == "normal" else self.laplace)(name, rows, *shape, like=like)

    def gumbel(self, name: str, rows: int, *shape: int, like: Tensor) -> Tensor:
        """Standard Gumbel draws `(rows, *shape)`: the argmax of log-weights plus these is a draw by weight."""
        return _as_wide_as(like, -(-self.uniform(name, rows, *shape, like=_single(like)).log()).log())

    def categorical(self, name: str, log_weight: Tensor) -> Tensor:
        """One draw per row from `log_weight` `(rows, J)`; minus infinity is never drawn. Long `(rows,)`."""
        return (log_weight + self.gumbel(name, *log_weight.shape, like=log_weight)).argmax(dim=1)


def _single(like: Tensor) -> Tensor:
    """An example for draws that half precision is too coarse to be made in."""
    half = like.dtype in (torch.bfloat16, torch.float16)
    return like.new_empty(0, dtype=torch.float32) if half else like


def _as_wide_as(like: Tensor, drawn: Tensor) -> Tensor:
    return drawn.to(like) if like.is_floating_point() else drawn
