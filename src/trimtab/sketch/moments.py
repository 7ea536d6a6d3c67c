"""Where is a column's centre, how wide and how lopsided is it?  (count, mean, central sums, extremes)

Two summaries merge into exactly the summary of both data sets together, so that replicas, row groups and windows add.
Formulas: Pébay, *Formulas for robust, one-pass parallel computation of covariances and arbitrary-order statistical
moments*, SAND2008-6212, eqs. 1.3–1.6 (the second order is Chan, Golub & LeVeque 1979).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from trimtab.sketch.bins import Array

_PIECE = 1 << 14
_FIELDS = ("mean", "m2", "m3", "m4", "min", "max")


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Count, mean, sums of powers of (x − mean), and extremes of finite values.

    mean, min, max: the column's unit, None where n = 0; m2, m3, m4: Σ(x − mean)^k. A sum too large for float64 is None,
    and so is what is derived from it.
    """

    n: int = 0
    mean: float | None = None
    m2: float | None = 0.0
    m3: float | None = 0.0
    m4: float | None = 0.0
    min: float | None = None
    max: float | None = None

    @classmethod
    def of(cls, values: ArrayLike) -> Moments:
        """The summary of `values`, shape (rows,); NaN and ±inf are left out. One pass in memory, O(rows).

        >>> m = Moments.of([1.0, 2.0, 3.0, float("nan")])
        >>> m.n, m.mean, m.m2, m.min, m.max
        (3, 2.0, 2.0, 1.0, 3.0)
        """
        column = np.asarray(values, dtype=np.float64).ravel()
        return of_finite(column[np.isfinite(column)])

    @property
    def variance(self) -> float | None:
        """Sample variance, m2 / (n − 1); None below two values."""
        return None if self.m2 is None or self.n < 2 else self.m2 / (self.n - 1)

    @property
    def sd(self) -> float | None:
        """Sample standard deviation, in the column's unit; None below two values."""
        return None if (variance := self.variance) is None else math.sqrt(variance)

    @property
    def skewness(self) -> float | None:
        """√n·m3 / m2^1.5 (population); None for a constant column."""
        if self.m3 is None or not self.m2:
            return None
        return _finite_or_none(self.m3 / self.m2 * math.sqrt(self.n / self.m2))

    @property
    def kurtosis(self) -> float | None:
        """Excess kurtosis, n·m4 / m2² − 3 (population; 0 for a normal); None for a constant column."""
        if self.m4 is None or not self.m2:
            return None
        return _finite_or_none(self.m4 / self.m2 / self.m2 * self.n - 3)

    def merge(self, other: Moments) -> Moments:
        """The summary of both data sets together, exact up to rounding.

        >>> both = Moments.of([1.0, 2.0]).merge(Moments.of([6.0]))
        >>> both.n, both.mean, both.m2
        (3, 3.0, 14.0)
        """
        if self.n == 0 or other.n == 0:
            return other if self.n == 0 else self
        n = self.n + other.n
        a, b = self.n / n, other.n / n
        nan = math.nan
        mean_a, mean_b, m2a, m2b, m3a, m3b, m4a, m4b = (
            np.float64(nan if v is None else v)
            for v in (self.mean, other.mean, self.m2, other.m2, self.m3, other.m3, self.m4, other.m4))
        with np.errstate(all="ignore"):
            d = mean_b - mean_a
            d2 = d * d
            ab = self.n * b                                                   # nₐ·n_b / n
            mean = mean_a + d * b
            m2 = m2a + m2b + d2 * ab
            m3 = m3a + m3b + d2 * d * ab * (a - b) + 3 * d * (a * m2b - b * m2a)
            m4 = (m4a + m4b + d2 * d2 * ab * (a * a - a * b + b * b)
                  + 6 * d2 * (a * a * m2b + b * b * m2a) + 4 * d * (a * m3b - b * m3a))
        low, high = _ends(self, other)
        return Moments(n=n, mean=_finite_or_none(mean), m2=_finite_or_none(m2), m3=_finite_or_none(m3),
                       m4=_finite_or_none(m4), min=low, max=high)

    def to_json(self) -> dict[str, object]:
        """`{"n", "mean", "m2", "m3", "m4", "min", "max"}`; None where there is no finite number."""
        return {"n": self.n, **{name: getattr(self, name) for name in _FIELDS}}

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> Moments:
        """The inverse of `to_json`, exact. Raises KeyError, TypeError or ValueError where the shape is another.

        >>> Moments.from_json(Moments.of([0.1, 0.2]).to_json()) == Moments.of([0.1, 0.2])
        True
        """
        n = data["n"]
        if not isinstance(n, int):
            raise TypeError(f"n is {n!r}; expected a whole number")
        return cls(n=n, **{name: _number_or_none(data[name], name) for name in _FIELDS})


def of_finite(column: Array) -> Moments:
    """`Moments.of` where every value is known to be finite."""
    n = len(column)
    if n == 0:
        return Moments()
    with np.errstate(all="ignore"):
        mean, m2, m3, m4 = column.mean(), np.float64(0), np.float64(0), np.float64(0)
        for start in range(0, n, _PIECE):      # what stays in the processor's cache takes a fifth of the time
            z = column[start:start + _PIECE] - mean
            q = z * z                          # and q @ z may wake BLAS threads: 25 times as long
            m2, m3, m4 = m2 + q.sum(), m3 + np.einsum("i,i->", q, z), m4 + np.einsum("i,i->", q, q)
    return Moments(n=n, mean=_finite_or_none(mean), m2=_finite_or_none(m2), m3=_finite_or_none(m3),
                   m4=_finite_or_none(m4), min=float(column.min()), max=float(column.max()))


def _ends(a: Moments, b: Moments) -> tuple[float | None, float | None]:
    lows = [m.min for m in (a, b) if m.min is not None]
    highs = [m.max for m in (a, b) if m.max is not None]
    return min(lows, default=None), max(highs, default=None)


def _finite_or_none(value: float | np.floating) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None


def _number_or_none(value: object, name: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} is {value!r}; expected a number or null")
    return float(value)
