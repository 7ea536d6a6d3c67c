"""When the model says 30%, does it happen in 30% of the rows?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from trimtab.errors import UsageError
from trimtab.stats.interval import Interval
from trimtab.stats.proportion import wilson


@dataclass(frozen=True, slots=True, kw_only=True)
class ReliabilityBin:
    """Rows whose predicted probability is in [low, high) (the last bin: [low, 1]).

    predicted: their mean probability. observed: the share that came true, with Wilson's interval and n.
    """

    low: float
    high: float
    predicted: float
    observed: Interval


def reliability(y: ArrayLike, p: ArrayLike, *, bins: int = 10, level: float = 0.95) -> tuple[ReliabilityBin, ...]:
    """The reliability table: one row per bin of equal width that holds any rows, in ascending order.

    y: shape (rows,), true or false (1 / 0). p: shape (rows,), predicted probability of true; rows where it is NaN are
    left out. bins: ≥ 1. No rows: an empty table. Weighted by rows, the gaps |predicted − observed| make up the score
    `calibration`. Murphy & Winkler 1977. Raises UsageError where shapes differ or p leaves [0, 1].

    >>> for row in reliability([0, 0, 1, 1], [0.1, 0.12, 0.14, 0.9], bins=2): print(row.predicted, row.observed.value)
    0.12 0.3333333333333333
    0.9 1.0
    """
    truth, shown = truth_and_probability(y, p)
    if bins < 1:
        raise UsageError(f"bins = {bins}; a table needs at least one, 10 is usual")
    place = np.clip((shown * bins).astype(np.int64), 0, bins - 1)
    table = []
    for i in np.unique(place).tolist():
        inside = place == i
        n = int(np.count_nonzero(inside))
        table.append(ReliabilityBin(low=i / bins, high=(i + 1) / bins, predicted=float(shown[inside].mean()),
                                    observed=wilson(float(truth[inside].sum()), n, level)))
    return tuple(table)


def truth_and_probability(y: ArrayLike, p: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """y as bool and p as float64, without the rows where p is NaN. Raises UsageError where they don't fit."""
    truth, shown = np.asarray(y), np.asarray(p, dtype=np.float64)
    if truth.ndim != 1 or truth.shape != shown.shape:
        raise UsageError(f"y has shape {truth.shape} and the probabilities {shown.shape}; expected one per row each")
    if not np.isin(truth, (0, 1)).all():
        raise UsageError("y holds something else than true and false (1 and 0); "
                         "compare it with the positive class first")
    known = ~np.isnan(shown)
    truth, shown = truth[known].astype(bool), shown[known]
    if not ((shown >= 0) & (shown <= 1)).all():
        raise UsageError("probabilities must be between 0 and 1; give the positive class's column of predict_proba")
    return truth, shown
