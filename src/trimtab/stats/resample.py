"""Which rows stand or fall together, and how are they drawn again?

Independent rows are drawn one by one; rows of a group (a patient, a machine) are drawn as a whole; rows in order of
time are drawn as stretches of neighbours. A resample is told as weights: how often each row was drawn.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from trimtab.errors import UsageError
from trimtab.stats.inputs import Array, Codes


class Units:
    """The rows of a test set as units that are independent of each other.

    rows: ≥ 0. groups: shape (rows,), any comparable labels; rows of equal label form a unit. blocks: length in rows of
    the stretches in which rows in time order depend on each other. Both at once raise UsageError.
    """

    def __init__(self, rows: int, groups: ArrayLike | None = None, blocks: int | None = None) -> None:
        if groups is not None and blocks is not None:
            raise UsageError("rows are drawn by group or by block of time, not by both; give one of them")
        if blocks is not None and blocks < 1:
            raise UsageError(f"blocks = {blocks} is no length; give a number of rows ≥ 1")
        self.rows = rows
        self.block = None if blocks is None else min(int(blocks), max(rows, 1))
        self._code: Codes | None = None
        self.count = rows if self.block is None else rows // self.block
        if groups is not None:
            labels = np.asarray(groups)
            if labels.shape != (rows,):
                raise UsageError(f"groups have shape {labels.shape}; expected one label per row, ({rows},)")
            names, code = np.unique(labels, return_inverse=True)
            self._code, self.count = code.astype(np.int64), len(names)

    @property
    def independent(self) -> bool:
        """Is every row a unit of its own?"""
        return self._code is None and self.block in (None, 1)

    def draw(self, rng: np.random.Generator, resamples: int) -> Array:
        """Weights of `resamples` resamples, shape (resamples, rows).

        By group: as many groups as there are, with replacement (cluster bootstrap). By block: circular blocks
        (Politis & Romano 1992), so that no row is drawn less often for standing at an end; the last block is not cut,
        so that the weights sum to the rows rounded up to whole blocks.
        """
        if self._code is not None:
            return np.take(_tally(rng, self.count, self.count, resamples), self._code, axis=1)
        if self.block is None or self.block == 1:
            return _tally(rng, self.rows, self.rows, resamples)
        starts = _tally(rng, self.rows, math.ceil(self.rows / self.block), resamples)
        running = np.cumsum(np.concatenate((starts[:, -self.block:], starts), axis=1), axis=1)
        weights: Array = running[:, self.block:] - running[:, :-self.block]
        return weights

    def leave_out(self, most: int = 200, at_once: int = 200) -> Iterator[Array]:
        """Weights that leave out each unit in turn, or each of `most` sets of units; shapes (≤ at_once, rows)."""
        sets = min(self.count, most)
        place = np.arange(self.rows, dtype=np.int64)
        if self._code is not None:
            member = self._code % sets
        elif self.block is None:
            member = place % sets
        else:
            member = place * sets // self.rows
        for first in range(0, sets, at_once):
            left = np.arange(first, min(sets, first + at_once))
            yield np.not_equal(member, left[:, None]).astype(np.float64)

    def clusters(self) -> Codes:
        """The unit of each row, shape (rows,), 0 … count − 1; by block: stretches of about equal length, uncut."""
        if self._code is not None:
            return self._code
        place = np.arange(self.rows, dtype=np.int64)
        return place if self.block is None else place * self.count // max(self.rows, 1)


def block_length(series: ArrayLike) -> int:
    """How many rows of a series in time order hang together: the length of blocks for `blocks=`, ≥ 1.

    series: shape (rows,), in time order, e.g. the losses or the paired differences whose mean is wanted; NaN left out.
    The automatic choice for the circular bootstrap of Politis & White 2004, with the correction of Patton, Politis &
    White 2009; at most min(3√n, n/3). 1 for fewer than 10 rows or a constant series.

    >>> block_length(np.random.default_rng(0).normal(size=1000)) < 6
    True
    """
    values = np.asarray(series, dtype=np.float64).ravel()
    values = values[np.isfinite(values)]
    n = len(values)
    if n < 10 or values.min() == values.max():
        return 1
    values = values / np.abs(values).max()                # the answer has no unit; no overflow
    deviation = values - values.mean()
    quiet = max(5, int(math.log10(n)))                    # so many small autocorrelations in a row end the search
    furthest = min(math.ceil(math.sqrt(n)) + quiet, n - 1)
    covariance = np.array([deviation[lag:] @ deviation[:n - lag] for lag in range(furthest + 1)]) / n
    small = np.abs(covariance[1:] / covariance[0]) < 2 * math.sqrt(math.log10(n) / n)
    runs = [start for start in range(len(small) - quiet + 1) if small[start:start + quiet].all()]
    bandwidth = min(2 * max(runs[0], 1), furthest) if runs else furthest
    lags = np.arange(1, bandwidth + 1)
    window = np.minimum(1.0, 2 * (1 - lags / bandwidth))  # flat-top
    slope = 2 * float(window * lags @ covariance[1:bandwidth + 1])
    level = float(covariance[0]) + 2 * float(window @ covariance[1:bandwidth + 1])
    longest = math.ceil(min(3 * math.sqrt(n), n / 3))
    if abs(level) <= 1e-9 * covariance[0]:
        return longest
    best = (1.5 * (slope / level) ** 2 * n) ** (1 / 3)
    return max(1, int(min(longest, math.ceil(best))))


def _tally(rng: np.random.Generator, kinds: int, draws: int, resamples: int) -> Array:
    """How often each of `kinds` came up in `draws` equally likely draws; shape (resamples, kinds).

    The multinomial distribution, drawn as it is defined: four times as fast as `rng.multinomial` for many kinds.
    """
    if kinds == 0:
        return np.zeros((resamples, 0))
    drawn = rng.integers(0, kinds, size=(resamples, draws))
    drawn += np.arange(resamples)[:, None] * kinds
    return np.bincount(drawn.ravel(), minlength=resamples * kinds).reshape(resamples, kinds).astype(np.float64)
