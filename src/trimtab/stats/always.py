"""Is a mean above zero, however often one looks?  A bet on counts that is valid at every look.

y takes few values, each at least −b. While its mean given the past is at most 0, the wealth of a fixed bet,

    K_n(λ) = Π (1 + λ·y_i),   0 < λ < 1/b,

is a supermartingale, and so is the mean of several; it ever reaches 1/α with probability at most α (Ville 1939), also
where the y_i depend on each other. With fixed bets K_n hangs on the counts of the values alone, so nothing is kept
between two looks. Inverted over a shift of y it is a confidence sequence: Waudby-Smith and Ramdas 2023 (arXiv
2010.09686); for guardrails, Lindon et al. 2022 (arXiv 2205.14762).
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trimtab.errors import UsageError

STAKES: Final = (0.9, 1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32)                      # of 1/b


def log_wealth(values: ArrayLike, counts: ArrayLike) -> NDArray[np.float64]:
    """log of what the six bets have made of 1 on average.

    values: shape (k,), the values that y can take, one of them below 0. counts: shape (…, k), how often each was seen
    so far. Returns shape (…).

    >>> log_wealth([1.0, -1.0], [[0, 0], [10, 10], [30, 5]]).round(1).tolist()
    [0.0, -0.6, 7.3]
    """
    y, seen = np.asarray(values, dtype=np.float64), np.asarray(counts, dtype=np.float64)
    if not y.min() < 0:
        raise UsageError("a bet needs something to lose: one of the values must be below 0")
    steps = np.log1p(np.outer(y, STAKES) / -y.min())                           # (k, stakes)
    wealth = seen @ steps
    top = wealth.max(axis=-1)
    found: Any = top + np.log(np.exp(wealth - top[..., None]).mean(axis=-1))
    return np.asarray(found)


def above_zero(values: ArrayLike, counts: ArrayLike, *, alpha: float) -> bool:
    """Is the mean of y above 0, wrong with probability at most `alpha` over all looks together?

    As `log_wealth`, with counts of shape (k,).
    """
    return bool(log_wealth(values, counts) >= math.log(1 / alpha))
