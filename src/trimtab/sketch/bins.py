"""How many values fall in each of ~100 bins that the training data chose?

The edges are quantiles of one data set, and everything that comes later is counted over the same edges, so that two
windows merge by adding and two distributions compare bin by bin. What is concluded from counts is `distances.py`'s
concern.

A sort is the fast way here: NumPy sorts 10⁶ float64 in about 7 ms with vector instructions, after which the edges are
look-ups and the counts are one binary search per edge; `np.searchsorted` of unsorted rows costs five times as much.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Counts = NDArray[np.int64]


class Sorted(NamedTuple):
    """A column in ascending order without what is not a finite number."""

    values: Array                             # shape (n,), finite, ascending
    missing: int                              # NaN
    infinite: int                             # ±inf


def sort_column(values: ArrayLike) -> Sorted:
    """The finite values in ascending order, and how many were missing or infinite.

    values: shape (rows,), anything that NumPy reads as float64; NaN means missing. O(rows log rows).

    >>> sort_column([2.0, float("nan"), 1.0, float("inf")])
    Sorted(values=array([1., 2.]), missing=1, infinite=1)
    """
    column = np.sort(np.asarray(values, dtype=np.float64).ravel())
    first = int(np.searchsorted(column, -np.inf, side="right"))
    last = int(np.searchsorted(column, np.inf, side="left"))
    known = int(np.searchsorted(column, np.inf, side="right"))
    return Sorted(column[first:last], len(column) - known, known - last + first)


def quantile_edges(values: ArrayLike, bins: int = 100) -> Array:
    """Edges of bins that hold equal shares of `values`, with one more bin below the minimum and one above the maximum.

    values: shape (rows,); NaN and ±inf are left out. bins: inner bins, ≥ 1.
    Returns shape (≤ bins + 1,), ascending and distinct; bin i is edge[i−1] < v ≤ edge[i], so that k edges make k + 1
    bins, the first and the last of which are empty in `values` itself. With at most `bins` distinct values each has
    a bin of its own. No finite value: no edges, one bin.

    >>> quantile_edges([3, 1, 2, 2]).round(6).tolist()
    [1.0, 1.0, 2.0, 3.0]
    >>> bin_counts([3, 1, 2, 2, 0, 9], quantile_edges([3, 1, 2, 2])).tolist()
    [1, 1, 2, 1, 1]
    """
    return edges_of_sorted(sort_column(values).values, bins)


def edges_of_sorted(values: Array, bins: int = 100) -> Array:
    """`quantile_edges` of values that are already sorted and finite, as `sort_column` gives them."""
    rows = len(values)
    if rows == 0:
        return np.empty(0)
    starts = np.flatnonzero(values[1:] != values[:-1])
    if len(starts) < bins:
        inner = values[np.append(starts, rows - 1)]
    else:
        inner = values[-(-np.arange(1, bins + 1) * rows // bins) - 1]
    with np.errstate(over="ignore"):                                          # the neighbour of the lowest float
        below = max(float(np.nextafter(values[0], -np.inf)), -np.finfo(np.float64).max)
    return np.unique(np.concatenate(([below], inner))) + 0.0                  # no negative zero: it has two spellings


def bin_counts(values: ArrayLike, edges: ArrayLike) -> Counts:
    """How many of `values` fall in each bin; NaN and ±inf are in none.

    values: shape (rows,). edges: shape (k,), ascending, as `quantile_edges` gives them.
    Returns shape (k + 1,), int64. Counts of two sets over the same edges add.

    >>> bin_counts([0.5, 1.0, 1.5, float("nan")], [1.0]).tolist()
    [2, 1]
    """
    return counts_of_sorted(sort_column(values).values, np.asarray(edges, dtype=np.float64))


def counts_of_sorted(values: Array, edges: Array) -> Counts:
    """`bin_counts` of values that are already sorted and finite."""
    upto = np.searchsorted(values, edges, side="right").astype(np.int64)
    return np.diff(upto, prepend=np.int64(0), append=np.int64(len(values)))


def bin_centres(edges: ArrayLike, low: float, high: float) -> Array:
    """A place on the axis for each bin: its middle; for the two outer bins, between the edge and `low` or `high`.

    edges: shape (k,). low, high: smallest and largest value of everything that will be compared over these bins.
    Returns shape (k + 1,), ascending, in the column's unit.

    >>> bin_centres([0.0, 1.0], -2.0, 5.0).tolist()
    [-1.0, 0.5, 3.0]
    """
    inner = np.asarray(edges, dtype=np.float64)
    if len(inner) == 0:
        return np.array([low / 2 + high / 2])
    bounds = np.concatenate(([min(low, inner[0])], inner, [max(high, inner[-1])]))
    return np.asarray(bounds[:-1] / 2 + bounds[1:] / 2, dtype=np.float64)


def coarsened(before: NDArray[np.int64], now: NDArray[np.int64],
              bins: int = 10) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Both counts over neighbouring bins taken together, about `bins` of equal share in `before`.

    before, now: shape (k,), over the same bins. A hundred bins of a small batch hold one row each, and an effect size
    would measure that; about ten are usual.

    >>> a, b = coarsened(np.array([1, 1, 1, 1]), np.array([4, 0, 0, 0]), bins=2)
    >>> a.tolist(), b.tolist()
    ([2, 2], [4, 0])
    """
    share = np.cumsum(before) / max(int(before.sum()), 1)
    group = np.minimum((np.concatenate([[0.0], share[:-1]]) * bins + 1e-9).astype(np.int64), bins - 1)
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    return np.add.reduceat(before, starts), np.add.reduceat(now, starts)
