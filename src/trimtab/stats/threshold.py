"""From which probability on should a row be called positive, given what mistakes cost?

The threshold is chosen on rows that the model was not fitted on (out-of-fold predictions), and its cost is then read on
the hold-out: the cost on the rows that chose it is optimistic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from trimtab.errors import UsageError
from trimtab.stats.calibration import truth_and_probability


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """What a threshold would do. cost: mean per row; sensitivity, specificity: NaN without a row of that kind."""

    threshold: float
    cost: float
    sensitivity: float
    specificity: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """Call a row positive where its probability ≥ `value`. cost: mean per row, in the unit that the costs came in.

    curve: from the lowest threshold (all positive) to the highest (none); at most 201 points, `value` among them.
    """

    value: float
    cost: float
    curve: tuple[CurvePoint, ...] = ()


def choose_threshold(y: ArrayLike, p: ArrayLike, cost_fn: float = 1.0, cost_fp: float = 1.0, *,
                     points: int = 200) -> Threshold:
    """The threshold of least mean cost: cost_fn for a positive that was missed, cost_fp for a false alarm.

    y: shape (rows,), 1 for the positive class and 0 else. p: shape (rows,), its probability; NaN rows are left out.
    Every cut between two different probabilities is tried; the value is the middle of its gap (0 calls all positive, a
    value above all of them none). Of equal cuts the one nearest to cost_fp / (cost_fp + cost_fn) is taken, which is
    best for perfectly calibrated probabilities (Elkan 2001, "The foundations of cost-sensitive learning"). No rows:
    that value, with cost NaN. O(rows log rows). Raises UsageError for costs that are negative, not finite or both 0, or
    bad shapes.

    >>> choose_threshold([0, 0, 1, 0, 1], [0.1, 0.2, 0.3, 0.4, 0.9], cost_fn=5, cost_fp=1).value
    0.25
    >>> choose_threshold([0, 0, 1, 0, 1], [0.1, 0.2, 0.3, 0.4, 0.9], cost_fn=1, cost_fp=5).cost
    0.2
    """
    if not (math.isfinite(cost_fn) and math.isfinite(cost_fp) and min(cost_fn, cost_fp) >= 0 and cost_fn + cost_fp > 0):
        raise UsageError(f"costs are {cost_fn} for a missed positive and {cost_fp} for a false alarm; "
                         "give two numbers ≥ 0, not both 0")
    truth, shown = truth_and_probability(y, p)
    ideal = cost_fp / (cost_fp + cost_fn)
    rows = len(truth)
    if rows == 0:
        return Threshold(value=ideal, cost=math.nan)
    levels, place = np.unique(shown, return_inverse=True)
    positives = np.bincount(place, weights=truth, minlength=len(levels))
    negatives = np.bincount(place, weights=~truth, minlength=len(levels))
    missed = np.concatenate(([0.0], np.cumsum(positives)))                    # cut i calls levels[i:] positive
    alarms = negatives.sum() - np.concatenate(([0.0], np.cumsum(negatives)))
    cuts = np.concatenate(([0.0], levels[:-1] / 2 + levels[1:] / 2, [_above(float(levels[-1]))]))
    cuts[1:-1] = np.where(cuts[1:-1] > levels[:-1], cuts[1:-1], levels[1:])   # neighbours without a float between
    cost = (cost_fn * missed + cost_fp * alarms) / rows
    equal = np.flatnonzero(cost <= cost.min() * (1 + 1e-12))
    best = int(equal[np.abs(cuts[equal] - ideal).argmin()])
    shown_cuts = np.unique(np.append(np.linspace(0, len(cuts) - 1, min(points, len(cuts))).astype(np.int64), best))
    total, rest = float(positives.sum()), float(negatives.sum())
    curve = tuple(CurvePoint(threshold=float(cuts[i]), cost=float(cost[i]),
                             sensitivity=1 - float(missed[i]) / total if total else math.nan,
                             specificity=1 - float(alarms[i]) / rest if rest else math.nan)
                  for i in shown_cuts.tolist())
    return Threshold(value=float(cuts[best]), cost=float(cost[best]), curve=curve)


def _above(highest: float) -> float:
    """A threshold that no row reaches: between the highest probability and 1, or the float above 1."""
    middle = highest / 2 + 0.5
    return middle if middle > highest else math.nextafter(1.0, 2.0)
