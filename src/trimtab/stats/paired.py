"""Is one model better than another on the same rows, and by how much?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from trimtab.errors import UsageError
from trimtab.stats.resample import Units


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """Mean of loss_a − loss_b with its interval: positive means that b is better.

    mean, low, high: in the loss's unit. p: two-sided, for a mean difference of 0. n: rows. units: what is independent:
    rows, groups or blocks.
    """

    mean: float
    low: float
    high: float
    p: float
    n: int
    level: float = 0.95
    units: int = 0

    def to_json(self) -> dict[str, float]:
        """Every field under its own name."""
        return {"mean": self.mean, "low": self.low, "high": self.high, "p": self.p, "n": self.n, "level": self.level,
                "units": self.units}


def paired_difference(loss_a: ArrayLike, loss_b: ArrayLike, *, level: float = 0.95, blocks: int | None = None,
                      groups: ArrayLike | None = None) -> Paired:
    """The paired t interval and test of the mean of loss_a − loss_b.

    loss_a, loss_b: shape (rows,), the losses of two models on the same rows (`losses.row_losses`). groups: shape
    (rows,), labels of rows that belong together. blocks: length in rows of stretches that belong together, for rows in
    time order; take several times the memory of the differences (`resample.block_length` of them is the least).
    Over units of rows with sums s_g of (difference − mean), variance of the mean = G / (G − 1) · Σ s_g² / n², with
    G − 1 degrees of freedom: the plain paired t where each row is a unit (Student 1908), batch means in time
    (Schmeiser 1982), cluster-robust by group (Liang & Zeger 1986).
    Fewer than two units, or a difference that is not finite: bounds and p are NaN. Differences that are all equal:
    bounds at the mean, p = 1 where that is 0, else 0. Raises UsageError where shapes differ or level is outside (0, 1).

    >>> found = paired_difference([1.0, 2.0, 3.0, 4.0], [0.5, 1.0, 3.0, 3.5])
    >>> found.mean, round(found.low, 3), round(found.high, 3), round(found.p, 4)
    (0.5, -0.15, 1.15, 0.0917)
    """
    a, b = np.asarray(loss_a, dtype=np.float64), np.asarray(loss_b, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape:
        raise UsageError(f"losses have shapes {a.shape} and {b.shape}; expected one number per row each")
    if not 0 < level < 1:
        raise UsageError(f"level = {level} is not a coverage; give a number between 0 and 1 such as 0.95")
    n = len(a)
    units = Units(n, groups, blocks)
    with np.errstate(over="ignore", invalid="ignore"):
        difference = a - b
        scale = (float(np.abs(difference).max()) or 1.0) if n else 1.0        # no square over- or underflows
        scaled = difference / scale
        centre = float(scaled.mean()) if n else math.nan
        mean = centre * scale
        sums = np.bincount(units.clusters(), weights=scaled - centre, minlength=units.count)
        square = float(sums @ sums)
    if units.count < 2 or not math.isfinite(square):
        return Paired(mean=mean, low=math.nan, high=math.nan, p=math.nan, n=n, level=level, units=units.count)
    error = math.sqrt(units.count / (units.count - 1) * square) / n
    if error <= 1e-14 * abs(centre):
        return Paired(mean=mean, low=mean, high=mean, p=float(mean == 0), n=n, level=level, units=units.count)
    from scipy.special import stdtr, stdtrit

    half = float(stdtrit(units.count - 1, (1 + level) / 2)) * error * scale
    p = min(1.0, 2 * float(stdtr(units.count - 1, -abs(centre) / error)))
    return Paired(mean=mean, low=mean - half, high=mean + half, p=p, n=n, level=level, units=units.count)
