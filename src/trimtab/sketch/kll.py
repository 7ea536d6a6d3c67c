"""Which value has a given rank?  (quantiles of a column that is no longer in memory)

A KLL sketch (Karnin, Lang & Liberty 2016) of Apache DataSketches keeps about 10 KB a column and answers any quantile
within a stated error of rank. It is kept beside the bins so that a later baseline can be binned anew.

Determinism: DataSketches compacts with coin flips seeded by the clock. `Quantiles.of` therefore writes the sketch's
state itself (in the library's published binary form) by taking the middle of each run of 2^L sorted values: equal
data give equal bytes, with less error than chance would. `merge` is the library's own and flips its coins as soon as
something must be thrown away, so a *merged* sketch must not enter a digest.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import ClassVar

import datasketches
import numpy as np
from numpy.typing import ArrayLike

from trimtab.errors import Malformed, UsageError
from trimtab.sketch.bins import Array, sort_column

_MIN_LEVEL = 8                                # "m" of the format: the smallest capacity of a level


@dataclass(frozen=True, slots=True)
class Quantiles:
    """A KLL sketch, held as its serialised bytes: equal bytes, equal sketches."""

    data: bytes

    RANK_ERROR: ClassVar[float] = 0.0035
    """Error of a rank of a merged sketch with k = 800, as a share of n, held with 99% confidence (the library's own
    figure). A sketch made in one pass is within 1/800."""

    @classmethod
    def of(cls, values: ArrayLike, k: int = 800) -> Quantiles:
        """The sketch of `values`, shape (rows,); NaN and ±inf are left out. Deterministic. O(rows log rows).

        k: accuracy, 8 to 65,535; the error of a rank falls as 1/k and the size grows with it.

        >>> q = Quantiles.of(range(1_000_001))
        >>> q.count, abs(q.quantile(0.5) - 500_000) < 1_250
        (1000001, True)
        """
        return cls.of_sorted(sort_column(values).values, k)

    @classmethod
    def of_sorted(cls, values: Array, k: int = 800) -> Quantiles:
        """`of` where the values are already finite and ascending."""
        if not 8 <= k <= 65_535:
            raise UsageError(f"k = {k} is no accuracy for a quantile sketch; give 8 to 65535 (800 is the default).")
        if len(values) <= k:                  # all are kept: nothing is left to chance
            sketch = datasketches.kll_doubles_sketch(k)
            sketch.update(values)
            return cls(sketch.serialize())
        return cls(_state(values, k))

    @classmethod
    def from_bytes(cls, data: bytes) -> Quantiles:
        """The inverse of `to_bytes`. Raises Malformed where the bytes are not a sketch."""
        sketch = cls(data)
        sketch._open()
        return sketch

    def to_bytes(self) -> bytes:
        """DataSketches' portable binary form (readable from its Java, C++ and Python libraries)."""
        return self.data

    @property
    def count(self) -> int:
        """How many values it has seen."""
        return int(self._open().n)

    def quantile(self, q: float) -> float:
        """The value below or at which a share `q` in [0, 1] of the values lies; NaN where it has seen none.

        >>> Quantiles.of([1.0, 2.0, 3.0]).quantile(0.5)
        2.0
        """
        sketch = self._open()
        return float("nan") if sketch.is_empty() else float(sketch.get_quantile(q, True))

    def quantiles(self, q: ArrayLike) -> Array:
        """`quantile` of many shares at once, shape (len(q),)."""
        sketch = self._open()
        shares = np.asarray(q, dtype=np.float64)
        if sketch.is_empty():
            return np.full(len(shares), np.nan)
        return np.asarray(sketch.get_quantiles(shares, True), dtype=np.float64)

    def rank(self, value: float) -> float:
        """The share of values ≤ `value`, in [0, 1]; NaN where it has seen none."""
        sketch = self._open()
        return float("nan") if sketch.is_empty() else float(sketch.get_rank(value, True))

    def merge(self, other: Quantiles) -> Quantiles:
        """The sketch of both data sets together, within RANK_ERROR. Not deterministic: see the module's docstring.

        >>> Quantiles.of([1.0, 2.0]).merge(Quantiles.of([3.0])).count
        3
        """
        mine = self._open()
        mine.merge(other._open())
        return Quantiles(mine.serialize())

    def _open(self) -> datasketches.kll_doubles_sketch:
        try:
            return datasketches.kll_doubles_sketch.deserialize(self.data)
        except (ValueError, RuntimeError, IndexError, MemoryError) as error:
            raise Malformed(f"these {len(self.data)} bytes are not a quantile sketch ({error}). "
                            "Make the profile again from the data: trimtab init.") from error


def _state(values: Array, k: int) -> bytes:
    """The bytes of a sketch that holds the middle of each run of 2^L values, k/2 < runs ≤ k.

    What is left after the last whole run is written with one value per power of two, so that the weights sum to n.
    """
    n = len(values)
    top = max(0, (n - 1).bit_length() - k.bit_length())
    while n >> top > k:
        top += 1
    width = 1 << top
    whole = n >> top
    runs = values[: whole * width].reshape(whole, width)[:, (width - 1) // 2]
    rest, levels = values[whole * width:], [np.empty(0)] * top
    for level in reversed(range(top)):
        weight = 1 << level
        if len(rest) >= weight:
            levels[level], rest = rest[(weight - 1) // 2:][:1], rest[weight:]
    items = np.concatenate([*levels, runs])
    sizes = [len(level) for level in levels] + [whole]
    free = sum(_capacity(k, top - level) for level in range(top + 1)) - len(items)
    starts = free + np.concatenate(([0], np.cumsum(sizes)[:-1]))
    head = struct.pack("<BBBBHBBQHBB", 5, 1, 15, 0, k, _MIN_LEVEL, 0, n, k, top + 1, 0)
    return b"".join((head, starts.astype("<u4").tobytes(), struct.pack("<dd", values[0], values[-1]),
                     items.astype("<f8").tobytes()))


def _capacity(k: int, depth: int) -> int:
    """How many values a level may hold, `depth` levels below the top: k·(2/3)^depth, rounded, at least 8."""
    return max(_MIN_LEVEL, (((k << 1) << depth) // int(3**depth) + 1) >> 1)
