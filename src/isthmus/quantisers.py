"""Codes out of a finite set: vectors are replaced by the nearest of those that can be.

Gradients pass straight through: a quantised code has the gradient of the vector that it stands for (van den Oord et al.
2017, arXiv:1711.00937, section 3.2).

Shapes: `D` latent dimensions, in `G` groups of `d`; `W` words of a group's codebook; `B` items, `S` sources.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from isthmus.noise import Noise

MIN_GROUP_DIM = 4
# A word used less than this share of its due is dead, and starts again somewhere else.
LEAST_USE = 0.1
# Levels are bounded a little outside of the outermost ones, which can then be reached.
MARGIN = 1e-3


class Quantiser(nn.Module, ABC):
    """Replaces vectors by codes of a finite set, named by one number for each of `num_groups` groups of dimensions."""

    num_groups: int

    @property
    @abstractmethod
    def bits(self) -> float:
        """Bits that name a code, each word as long as any other."""

    @abstractmethod
    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The codes `(..., D)` of vectors `(..., D)`, with their gradient, and indices, long `(..., G)`."""

    @abstractmethod
    def nearest(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """The codes of the set that are nearest to `codes (..., D)`, without gradient, and their indices."""

    def statistics(self, z: Tensor, indices: Tensor, use: Tensor, noise: Noise) -> dict[str, Tensor]:
        """Sums over a batch, by name, that `update` learns from; a set that is not learnt has none.

        Args:
            z: `(S, B, D)`, before quantisation.
            indices: Long `(S, B, G)`.
            use: Bool `(S, B)`: which of them count.
            noise: Of the step.
        """
        return {}

    def update(self, statistics: Mapping[str, Tensor]) -> None:
        """Learn from sums over the items of all processes."""


class VectorQuantiser(Quantiser):
    r"""Each group of dimensions is one of `W` learnt words, the nearest.

    Words are running means of the vectors that they stand for, after van den Oord et al. 2017, arXiv:1711.00937,
    appendix A.1, here of shares of the batch:

    .. math:: N_k \leftarrow \gamma N_k + (1 - \gamma) \frac{n_k}{n}, \quad
        m_k \leftarrow \gamma m_k + (1 - \gamma) \frac{1}{n} \sum_{i: k_i = k} z_i, \quad e_k = \frac{m_k}{N_k}

    A word that is hardly used, `N_k < 0.1 / W`, starts again as the vector of an item at random; so do all at first.

    Args:
        latent_dim: `D`.
        num_groups: `G`, a divisor of it; None takes the most that leave each group four dimensions.
        num_words: `W`.
        decay: `gamma`.

    Raises:
        ValueError: Groups do not divide the dimensions, fewer than two words, or `decay` outside [0, 1).
    """

    words: Tensor
    share: Tensor
    total: Tensor

    def __init__(self, latent_dim: int, num_groups: int | None = None, num_words: int = 256, decay: float = 0.99):
        super().__init__()
        groups = num_groups_for(latent_dim) if num_groups is None else num_groups
        if groups < 1 or latent_dim % groups:
            raise ValueError(f"num_groups={groups} does not divide a code of {latent_dim} numbers into equal groups.")
        if num_words < 2 or not 0 <= decay < 1:
            raise ValueError(f"num_words={num_words} and decay={decay}. Expected at least 2 words and 0 <= decay < 1.")
        self.num_groups, self.num_words, self.decay = groups, num_words, decay
        words = torch.randn(groups, num_words, latent_dim // groups)
        self.register_buffer("words", words)
        self.register_buffer("share", torch.zeros(groups, num_words))
        self.register_buffer("total", torch.zeros_like(words))

    @property
    def bits(self) -> float:
        return self.num_groups * math.log2(self.num_words)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        codes, indices = self.nearest(z)
        return straight_through(codes, z), indices

    @torch.no_grad()
    def nearest(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        rows = self._grouped(codes).to(self.words)  # (G, N, d)
        # By differences and not by products, which round differently with the number of rows.
        distance = torch.cdist(rows, self.words, compute_mode="donot_use_mm_for_euclid_dist")
        chosen = distance.argmin(dim=-1)  # (G, N)
        words = self.words.gather(1, chosen[..., None].expand_as(rows))
        return words.movedim(0, 1).reshape(codes.shape), chosen.t().reshape(*codes.shape[:-1], self.num_groups)

    @torch.no_grad()
    def statistics(self, z: Tensor, indices: Tensor, use: Tensor, noise: Noise) -> dict[str, Tensor]:
        rows = self._grouped(z[use]).to(self.words)
        chosen = indices[use].t()
        group = torch.arange(self.num_groups, device=z.device)[:, None]
        place = (group * self.num_words + chosen).flatten()
        count = torch.bincount(place, minlength=self.share.numel()).view_as(self.share).to(self.share)
        total = torch.zeros_like(self.total).flatten(0, 1).index_add(0, place, rows.flatten(0, 1)).view_as(self.total)
        # For every word an item of the global batch to start again from, the same one in every process; the process
        # that has it adds it.
        items = z.shape[1] + noise.offset if noise.total is None else noise.total
        drawn = Noise(noise.seed, noise.step).uniform("restart", *self.share.shape, like=self.share)
        item = (drawn * items).long() - noise.offset
        here = (item >= 0) & (item < z.shape[1])
        item = torch.where(here, item, 0)
        here = here & use[0][item]  # of the first source, which is all that an item has
        spare = self._grouped(z[0]).to(self.words)[group, item]
        return {
            "count": count,
            "total": total,
            "spare": torch.where(here[..., None], spare, 0.0),
            "spares": here.to(self.share),
        }

    @torch.no_grad()
    def update(self, statistics: Mapping[str, Tensor]) -> None:
        count = statistics["count"]
        # Every group counts the same codes; none at all where no item of a batch has anything.
        number = count[:1].sum().clamp_min(1)
        self.share.lerp_(count / number, 1 - self.decay)
        self.total.lerp_(statistics["total"] / number, 1 - self.decay)
        used = self.share > 0
        mean = self.total / torch.where(used, self.share, 1.0)[..., None]
        again = (self.share < LEAST_USE / self.num_words) & (statistics["spares"] > 0)
        due = torch.full_like(self.share, 1 / self.num_words)
        self.words.copy_(torch.where(used[..., None], mean, self.words))
        self.words.copy_(torch.where(again[..., None], statistics["spare"], self.words))
        self.share.copy_(torch.where(again, due, self.share))
        self.total.copy_(torch.where(again[..., None], self.words / self.num_words, self.total))

    def _grouped(self, z: Tensor) -> Tensor:
        """`(G, N, d)` of vectors `(..., D)`."""
        return z.reshape(-1, self.num_groups, self.words.shape[-1]).movedim(0, 1)


class FiniteScalarQuantiser(Quantiser):
    r"""Each dimension is one of a few levels in [-1, 1], the nearest after a bound.

    .. math:: f(z) = \tanh(z + s) \frac{L - 1}{2} - o, \qquad \text{code} = \frac{round(f(z))}{\lfloor L / 2 \rfloor}

    with the offset `o` one half for an even number of levels `L`, else zero, and `s` such that `f(0) = 0`. Mentzer et
    al. 2023, arXiv:2309.15505, section 3.1 and appendix A.1, whose code takes `tan` for the inverse of `tanh`.

    Args:
        latent_dim: `D`.
        levels: Numbers of levels, over the dimensions in turn: as many dimensions as are given make a group.

    Raises:
        ValueError: No levels, or fewer than three of them in a dimension.
    """

    levels: Tensor

    def __init__(self, latent_dim: int, levels: Sequence[int] = (8, 5, 5, 5)):
        super().__init__()
        if not levels or any(not isinstance(number, int) or number < 3 for number in levels):
            raise ValueError(f"levels={list(levels)}. Expected whole numbers of at least 3, as in levels=[8, 5, 5, 5].")
        self.group_dim = len(levels)
        self.num_groups = -(-latent_dim // self.group_dim)
        every = torch.tensor([levels[d % self.group_dim] for d in range(latent_dim)])
        self.register_buffer("levels", every, persistent=False)

    @property
    def bits(self) -> float:
        return float(self.levels.double().log2().sum())

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        levels = self.levels.to(z)
        half = (levels - 1) * (1 + MARGIN) / 2
        offset = torch.where(self.levels % 2 == 0, 0.5, 0.0).to(z)
        bounded = torch.tanh(z + torch.atanh(offset / half)) * half - offset
        code, indices = self._named(bounded.detach().round())
        return straight_through(code, bounded / (self.levels // 2)), indices

    @torch.no_grad()
    def nearest(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        half = self.levels // 2
        return self._named((codes * half).round().clamp(-half, (self.levels - 1) // 2))

    def _named(self, level: Tensor) -> tuple[Tensor, Tensor]:
        """Codes `(..., D)` of whole numbers around zero, and the index of each group, its levels read as digits."""
        half = self.levels // 2
        digits, pad = level.long() + half, self.num_groups * self.group_dim - len(self.levels)
        digits = nn.functional.pad(digits, (0, pad)).unflatten(-1, (self.num_groups, self.group_dim))
        base = self.levels[: self.group_dim].cumprod(0).roll(1)
        base[0] = 1
        base = nn.functional.pad(base, (0, self.group_dim - len(base)))
        return level / half, (digits * base).sum(dim=-1)


def straight_through(code: Tensor, z: Tensor) -> Tensor:
    """`code` to the last bit, with the gradient of `z`."""
    return code.detach() + (z - z.detach())


def num_groups_for(latent_dim: int) -> int:
    """The most equal groups that leave each at least four dimensions; one group of fewer."""
    most = max(1, latent_dim // MIN_GROUP_DIM)
    return max(number for number in range(1, most + 1) if latent_dim % number == 0)
