"""The likelihood of table rows: one distribution per column, blanks left out.

Shapes: `R` rows, `C` columns, `P` parameters of one row, `V` levels of one categorical column.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from isthmus.batch import Masked, Values
from isthmus.likelihoods import LOG_2PI, LearnedScale, Likelihood, LikelihoodHead
from isthmus.noise import Noise

DISTRIBUTIONS = ("normal", "count", "binary", "categorical")
# Counts travel as standardised logarithms in float32, from which every whole number up to here comes back exactly.
LARGEST_COUNT = 100_000


@dataclass(frozen=True)
class TableColumn:
    """One column as the networks and the likelihood see it.

    Args:
        name: Of the column.
        distribution: `"normal"` for standardised numbers (log-normal ones are standardised logarithms), `"count"` for
            standardised `log(1 + count)`, `"binary"` for 0 or 1, `"categorical"` for the number of a level.
        num_classes: Levels of a categorical column.
        loc: Mean of `log(1 + count)`, which standardised it.
        scale: Standard deviation of `log(1 + count)`.
        step: Quantisation step of a normal column, in standardised units: the floor of its learnt scale.
    """

    name: str
    distribution: str
    num_classes: int = 0
    loc: float = 0.0
    scale: float = 1.0
    step: float = 1e-3

    @property
    def num_parameters(self) -> int:
        return self.num_classes if self.distribution == "categorical" else 1


def check_columns(columns: Sequence[TableColumn]) -> tuple[TableColumn, ...]:
    """`columns`, if there are any and they stand in the order of `DISTRIBUTIONS`: then every group is one slice.

    Raises:
        ValueError: No columns, an unknown distribution, or another order.
    """
    for column in columns:
        if column.distribution not in DISTRIBUTIONS:
            raise ValueError(
                f"Column '{column.name}' has distribution '{column.distribution}'. Expected one of "
                f"{', '.join(DISTRIBUTIONS)}."
            )
    order = [DISTRIBUTIONS.index(column.distribution) for column in columns]
    if not columns or order != sorted(order):
        raise ValueError(
            f"Got columns of distributions {[column.distribution for column in columns]}. Expected at least one, "
            f"in the order {', '.join(DISTRIBUTIONS)}."
        )
    return tuple(columns)


@dataclass(frozen=True)
class MixedTable(Likelihood):
    """Independent columns given the code: `parameters (R, P)`, one for each column that is not categorical, then `V`
    logits for each that is.

    Targets and draws are `Masked (R, C)`, in the units of `TableColumn`; a blank counts nothing. Nats are those of

    - normal columns: a Normal density of the *standardised* value. A density in the units of the data differs by the
      constant `log(scale)` per column, one of a log-normal column also by its logarithm, which no network can change;
    - counts: the probability of the count under a discretised logistic (Salimans et al. 2017, arXiv:1701.05517,
      section 2.1) of `log(1 + count)`. Its width is learnt and has no lower end; that of a Poisson or a negative
      binomial is at least the root of the mean, and a code that knows a count exactly would gain next to nothing;
    - binary and categorical columns: the probability of the level.

    Args:
        parameters: `(R, P)`, columns in the order of `DISTRIBUTIONS`.
        columns: The `C` columns.
        log_scale: `(number of normal columns + number of counts,)`, in standardised units.
    """

    parameters: Tensor
    columns: tuple[TableColumn, ...]
    log_scale: Tensor

    def log_prob(self, target: Values) -> Tensor:
        return self.log_prob_columns(target).sum(dim=1)

    def log_prob_columns(self, target: Values) -> Tensor:
        """Log-probability of every cell, `(R, C)`, in nats; zero where the cell is blank."""
        assert isinstance(target, Masked)
        if target.value.shape[1] != len(self.columns):
            raise ValueError(
                f"A target of {target.value.shape[1]} columns was given to a table of {len(self.columns)} columns: "
                f"{', '.join(column.name for column in self.columns)}."
            )
        value = target.value.masked_fill(~target.mask, 0.0).to(self.parameters)
        numbers, counts, binary, logits = self._split()
        first, second, third = self._ends()
        log_scale, log_width = self.log_scale[:first], self.log_scale[first:]
        standardised = (value[:, :first] - numbers) * torch.exp(-log_scale)
        nats = [
            -0.5 * standardised**2 - log_scale - 0.5 * LOG_2PI,
            self._count_log_prob(value[:, first:second], counts, log_width),
            -F.binary_cross_entropy_with_logits(binary, value[:, second:third], reduction="none"),
        ]
        for column, column_logits in enumerate(logits, start=third):
            nats.append(-F.cross_entropy(column_logits, value[:, column].long(), reduction="none")[:, None])
        return torch.cat(nats, dim=1).masked_fill(~target.mask, 0.0)

    @property
    def mean(self) -> Masked:
        """The centre of every number, the most likely level of every category.

        Log-normal columns and counts are skewed, and their centre is taken where they are symmetric: on the
        logarithm, which makes it the median in the units of the data.
        """
        numbers, counts, binary, logits = self._split()
        return self._row(numbers, counts, (binary > 0).to(binary), [column.argmax(dim=1) for column in logits])

    @property
    def mode(self) -> Masked:
        return self.mean

    def sample(self, noise: Noise, name: str) -> Masked:
        numbers, counts, binary, logits = self._split()
        first, _, _ = self._ends()
        rows, like = len(self.parameters), self.parameters
        scale, width = self.log_scale[:first].exp(), self.log_scale[first:].exp()
        uniform = noise.uniform(f"{name}/count", rows, counts.shape[1], like=like)
        return self._row(
            numbers + scale * noise.normal(f"{name}/normal", rows, numbers.shape[1], like=like),
            counts + width * torch.logit(uniform),
            (noise.uniform(f"{name}/binary", rows, binary.shape[1], like=like) < binary.sigmoid()).to(binary),
            [noise.categorical(f"{name}/level/{place}", column) for place, column in enumerate(logits)],
        )

    def _ends(self) -> tuple[int, int, int]:
        """Where normal columns, counts and binary columns end; the categorical ones follow."""
        numbers, counts, binary = (
            sum(column.distribution == distribution for column in self.columns) for distribution in DISTRIBUTIONS[:3]
        )
        return numbers, numbers + counts, numbers + counts + binary

    def _split(self) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
        first, second, third = self._ends()
        sizes = [first, second - first, third - second, *(column.num_classes for column in self.columns[third:])]
        numbers, counts, binary, *logits = self.parameters.split(sizes, dim=1)
        return numbers, counts, binary, logits

    def _row(self, numbers: Tensor, counts: Tensor, binary: Tensor, levels: list[Tensor]) -> Masked:
        loc, scale = self._count_units(counts)
        whole = torch.expm1((loc + scale * counts).clamp(0, math.log1p(LARGEST_COUNT))).round()
        value = torch.cat(
            [
                numbers,
                (torch.log1p(whole) - loc) / scale,
                binary,
                *(level[:, None].to(numbers) for level in levels),
            ],
            dim=1,
        )
        return Masked(value, torch.ones_like(value, dtype=torch.bool))

    def _count_units(self, like: Tensor) -> tuple[Tensor, Tensor]:
        first, second, _ = self._ends()
        columns = self.columns[first:second]
        return like.new_tensor([c.loc for c in columns]), like.new_tensor([c.scale for c in columns])

    def _count_log_prob(self, value: Tensor, centre: Tensor, log_width: Tensor) -> Tensor:
        """`log(F(upper) - F(lower))` of the logistic, the edges half a count away on the scale of `log(1 + count)`.

        With `s` the sigmoid, `s(b) - s(a) = s(b) s(-a) (1 - exp(a - b))`, which loses no digits far out in a tail.
        """
        loc, scale = self._count_units(value)
        count = torch.expm1(loc + scale * value).clamp(min=0).round()
        sharpness = torch.exp(-log_width)
        upper = ((torch.log(count + 1.5) - loc) / scale - centre) * sharpness
        width = torch.log1p(1 / (count + 0.5)) / scale * sharpness
        between = F.logsigmoid(upper) + F.logsigmoid(width - upper) + torch.log(-torch.expm1(-width))
        return torch.where(count == 0, F.logsigmoid(upper), between)


class TableHead(LikelihoodHead):
    """`parameters` is `(R, P)`; holds the learnt width of every number.

    Args:
        columns: In the order of `DISTRIBUTIONS`.
    """

    def __init__(self, columns: Sequence[TableColumn]):
        super().__init__()
        self.columns = check_columns(columns)
        self.num_parameters = sum(column.num_parameters for column in columns)
        # Half the spread of the data is the widest floor: a column of few distinct numbers has a step near its spread.
        floors = [min(max(column.step, 1e-3), 0.5) for column in columns if column.distribution == "normal"]
        # A probability stays below one however narrow it gets, so this floor only keeps the arithmetic in range.
        floors += [1e-2] * sum(column.distribution == "count" for column in columns)
        self.register_buffer("log_floor", torch.tensor([math.log(floor) for floor in floors]), persistent=False)
        self.raw = torch.nn.Parameter(
            torch.tensor([math.log(math.expm1(-math.log(floor))) / LearnedScale.GAIN for floor in floors])
        )

    log_floor: Tensor

    def forward(self, parameters: Tensor | tuple[Tensor, ...]) -> MixedTable:
        assert isinstance(parameters, Tensor)
        if parameters.shape[1:] != (self.num_parameters,):
            raise ValueError(
                f"The decoder of a table gave parameters of shape {tuple(parameters.shape)}. Expected "
                f"(rows, {self.num_parameters}): one for each number, count and binary column, one for each level."
            )
        return MixedTable(parameters, self.columns, self.log_floor + F.softplus(LearnedScale.GAIN * self.raw))
