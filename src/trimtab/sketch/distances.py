"""How far apart are two distributions?  (effect sizes, from counts over the same bins)

Sizes to print beside the evidence of a change, never instead of it: none of these is a test. Everywhere: expected and
actual have shape (k,), counts per bin over the *same* k bins, and need not sum to the same total. Where one of them
holds nothing the answer is NaN. All are O(k), and 0 for equal shares.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from trimtab.sketch.bins import Array


def psi(expected: ArrayLike, actual: ArrayLike, *, floor: float = 1e-4) -> float:
    """Population stability index Σ (q − p)·ln(q / p), in nats, ≥ 0, symmetric.

    floor: smallest share a bin is given, so that an empty bin adds a large but finite term; shares that differ only
    below the floor count as equal. The 0.1 / 0.25 rule of thumb depends on rows and bins: it is not a test.

    >>> psi([50, 50], [5, 5])
    0.0
    >>> round(psi([50, 50], [90, 10]), 3)
    0.879
    """
    pair = _shares(expected, actual)
    if pair is None:
        return math.nan
    p, q = (np.maximum(share, floor) for share in pair)
    return float(((q - p) * np.log(q / p)).sum())


def jensen_shannon(expected: ArrayLike, actual: ArrayLike) -> float:
    """Jensen–Shannon distance: √ of the divergence in bits, in [0, 1], symmetric, 1 where no bin is shared.

    Lin 1991, "Divergence measures based on the Shannon entropy"; the root is a metric (Endres & Schindelin 2003).

    >>> jensen_shannon([1, 0], [0, 1]), jensen_shannon([1, 3], [2, 6])
    (1.0, 0.0)
    """
    pair = _shares(expected, actual)
    if pair is None:
        return math.nan
    p, q = pair
    middle = (p + q) / 2
    # entropy of the middle less the middle of the entropies, summed bin by bin so that equal bins give exactly 0
    terms = [_times_log2_ratio(share, middle) for share in (p, q)]
    return math.sqrt(min(1.0, max(0.0, float((terms[0] + terms[1]).sum()) / 2)))


def wasserstein(expected: ArrayLike, actual: ArrayLike, centres: ArrayLike, sd: float) -> float:
    """Wasserstein-1 distance between the binned distributions, in standard deviations of the training data, symmetric.

    centres: shape (k,), ascending, where each bin sits on the axis (`NumericSketch.centres`). sd: > 0, in the same
    unit; for a training column without spread (0, NaN or None-turned-NaN) the answer is NaN unless the shares are
    equal. The area between the two distribution functions (Vallender 1974); what moves inside a bin is not seen.

    >>> wasserstein([10, 0, 0], [0, 10, 0], [0.0, 2.0, 3.0], sd=4.0)
    0.5
    """
    pair = _shares(expected, actual)
    if pair is None:
        return math.nan
    p, q = pair
    if np.array_equal(p, q):
        return 0.0
    if not sd > 0:
        return math.nan
    places = np.asarray(centres, dtype=np.float64)
    with np.errstate(over="ignore"):
        return float(np.abs(np.cumsum(p - q)[:-1]) @ (np.diff(places) / sd))


def ks(expected: ArrayLike, actual: ArrayLike) -> float:
    """Kolmogorov–Smirnov statistic at the bin edges: the largest gap between the distribution functions, in [0, 1].

    Symmetric. For ordered bins; over categories its value depends on their order.

    >>> ks([50, 50], [90, 10])
    0.4
    """
    pair = _shares(expected, actual)
    if pair is None:
        return math.nan
    p, q = pair
    if np.array_equal(p, q):
        return 0.0
    return float(np.abs(np.cumsum(p - q)).max())


def _shares(expected: ArrayLike, actual: ArrayLike) -> tuple[Array, Array] | None:
    """Both as shares of their totals; None where one total is 0. Raises ValueError where the bins differ in number."""
    first, second = (np.asarray(counts, dtype=np.float64) for counts in (expected, actual))
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"counts over different bins: shapes {first.shape} and {second.shape}")
    if not (first.sum() > 0 and second.sum() > 0):
        return None
    return first / first.sum(), second / second.sum()


def _times_log2_ratio(share: Array, middle: Array) -> Array:
    """share·log2(share / middle), 0 where the share is 0."""
    ratio = np.divide(share, middle, out=np.ones_like(share), where=share > 0)
    return share * np.log2(ratio)
