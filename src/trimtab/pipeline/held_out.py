"""How are answers on the held-out rows scored and compared, where rows may hang together?

Independent rows are resampled one by one, rows of a group together, rows in time order as stretches whose length
follows from the losses themselves. One place knows this, so that every interval and p-value of an evaluation agrees.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from trimtab.pipeline.evaluation import Comparison
from trimtab.pipeline.model import Array, Index, Learnable, Split
from trimtab.stats.bootstrap import score_intervals
from trimtab.stats.interval import Interval
from trimtab.stats.losses import row_losses
from trimtab.stats.paired import paired_difference
from trimtab.stats.resample import Units, block_length

_LEAST_UNITS = 20                             # blocks of time, where the series allows it

Role = Literal["baseline", "beats", "candidate", "champion"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOutRows:
    """The held-out rows with their answers' judge; in time order for a split by time.

    rows: shape (n,), positions in the dataset; groups: (n,) or None; positive: code of the positive class.
    """

    data: Learnable
    rows: Index
    kind: Literal["row", "group", "time"]
    groups: Index | None
    positive: int
    rng: np.random.Generator
    resamples: int

    @classmethod
    def of(cls, data: Learnable, split: Split, *, positive: int, rng: np.random.Generator,
           resamples: int = 1000) -> HeldOutRows:
        """Those of `split`."""
        rows = split.test
        if split.kind == "time" and data.times is not None:
            rows = rows[np.argsort(data.times[rows], kind="stable")]
        groups = data.groups[rows] if split.kind == "group" and data.groups is not None else None
        return cls(data=data, rows=rows, kind=split.kind, groups=groups, positive=positive, rng=rng,
                   resamples=resamples)

    @property
    def X(self) -> Array:
        """Encoded, shape (n, features)."""
        return self.data.X[self.rows]

    @property
    def y(self) -> Array | Index:
        """Values or class codes, shape (n,)."""
        return self.data.y[self.rows]

    def losses(self, answers: Array) -> Array:
        """Loss of each row, shape (n,)."""
        return row_losses(self.data.task, self.y, answers)

    def scores(self, answers: Array, *, threshold: float | None = None) -> dict[str, Interval]:
        """Every metric of the task with its interval."""
        return score_intervals(self.data.task, self.y, answers, rng=self.rng, resamples=self.resamples,
                               groups=self.groups, blocks=self._block(self.losses(answers)), threshold=threshold,
                               positive=self.positive)

    def mean(self, values: Array) -> Interval:
        """The mean of values ≥ 0 (costs) with its interval: the MAE of predicting 0 for them."""
        return score_intervals("regression", values, np.zeros(len(values)), rng=self.rng, resamples=self.resamples,
                               groups=self.groups, blocks=self._block(values))["mae"]

    def compare(self, chosen: Array, other: Array, *, role: Role, against: str, metric: str, note: str = "",
                fair: bool = True) -> Comparison:
        """The chosen model's losses against another's, both of shape (n,)."""
        found = paired_difference(other, chosen, groups=self.groups,
                                  blocks=_stretch(other - chosen) if self.kind == "time" else None)
        return Comparison(role=role, against=against, metric=metric, mean=found.mean, low=found.low, high=found.high,
                          p=found.p, n=found.n, note=note, fair=fair)

    def clusters(self, losses: Array) -> Index | None:
        """A code for each row: rows of one code depend on each other; None where all are independent."""
        if self.kind == "time":
            return Units(len(losses), blocks=_stretch(losses)).clusters()
        return self.groups

    def words(self, losses: Array) -> str:
        """How intervals are found, in a sentence."""
        if self.groups is not None:
            count = len(np.unique(self.groups))
            return f"Intervals are 95%, from a bootstrap that draws whole groups ({count:,} of them)."
        if self.kind == "time":
            return f"Intervals are 95%, from a bootstrap of stretches of {self._block(losses)} rows in time order."
        return "Intervals are 95%, from a bootstrap over rows (Wilson's for plain shares of rows)."

    def _block(self, series: Array) -> int | None:
        return block_length(series) if self.kind == "time" else None


def _stretch(series: Array) -> int:
    """Rows of a block whose mean is taken as independent of the next one's: three times what hangs together."""
    least = block_length(series)
    return max(least, min(3 * least, len(series) // _LEAST_UNITS), 1)
