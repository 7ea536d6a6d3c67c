"""How good are predictions?  (the metrics that every report, gate and comparison uses)

Regression: mse, rmse, mae, r2. Classification: accuracy, precision, recall, f1, auc, log_loss, brier, calibration;
binary also sensitivity and specificity. They equal scikit-learn's to 1e-12 where it has them. How sure we may be of
them is `bootstrap.py`'s concern; the sums behind them are in `weighted.py`.

What is not defined is NaN, without a warning: every score of no rows or with a prediction that is NaN, r2 of one row,
auc with one class only, sensitivity and specificity without a row of that kind. Where scikit-learn defines a quotient
without a case as 0 (precision when nothing was predicted positive, recall, f1) it is 0.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Literal

from numpy.typing import ArrayLike

from trimtab.errors import UsageError
from trimtab.stats.inputs import as_probabilities
from trimtab.stats.weighted import ClassificationScorer, RegressionScorer

Direction = Literal["lower", "higher"]

_LOWER = ("mse", "rmse", "mae", "log_loss", "brier", "calibration", "cost", "latency_p99_ms")
_HIGHER = ("r2", "accuracy", "precision", "recall", "f1", "auc", "sensitivity", "specificity")


def direction(metric: str) -> Direction:
    """Is a lower or a higher value of the metric better? Raises UsageError for an unknown metric.

    >>> direction("rmse"), direction("auc")
    ('lower', 'higher')
    """
    if metric in _LOWER:
        return "lower"
    if metric in _HIGHER:
        return "higher"
    known = (*_HIGHER, *_LOWER)
    near = difflib.get_close_matches(metric, known, n=1)
    hint = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(known)}."
    raise UsageError(f"metric {metric!r} is unknown. {hint}", metric=metric)


def regression_scores(y: ArrayLike, pred: ArrayLike) -> dict[str, float]:
    """mse (unit²), rmse and mae (the target's unit), r2 (≤ 1).

    y, pred: shape (rows,). r2 of a constant target is 1 for perfect predictions and 0 for any other, as scikit-learn
    has it. Raises UsageError where shapes differ.

    >>> regression_scores([1.0, 2.0, 3.0], [1.0, 2.0, 5.0])["mae"]
    0.6666666666666666
    """
    return RegressionScorer(y, pred).point()


def classification_scores(y_codes: ArrayLike, proba: ArrayLike, classes: Sequence[object],
                          threshold: float | None = None, *, positive: int = 1) -> dict[str, float]:
    """The scores of class probabilities.

    y_codes: shape (rows,), codes into `classes`. proba: shape (rows, len(classes)); for two classes also shape (rows,),
    the probability of code 1. threshold: binary only; a row is called positive where its probability ≥ threshold;
    None takes the more probable class. positive: the code that precision, recall, sensitivity … are about.
    Binary: precision, recall (= sensitivity), f1 of the positive class; auc with ties at ½ (Mann–Whitney); brier in
    [0, 1]; calibration of the positive class's probability. Multiclass: precision, recall, f1 averaged over the classes
    that occur in y or in the predictions; auc averaged one class against the rest, over the classes that occur;
    brier summed over classes, in [0, 2]; calibration of the winning class's probability.
    log_loss in nats; calibration: expected calibration error over ten equal bins (Naeini et al. 2015; Guo et al. 2017).
    Raises UsageError where shapes or codes don't fit.

    >>> found = classification_scores([0, 0, 1, 1], [0.1, 0.6, 0.6, 0.9], classes=["no", "yes"])
    >>> found["auc"], found["sensitivity"], found["specificity"], found["precision"]
    (0.875, 1.0, 0.5, 0.6666666666666666)
    """
    table = as_probabilities(proba)
    if table.shape[1] != len(classes):
        raise UsageError(f"there are {len(classes)} classes but {table.shape[1]} columns of probabilities; "
                         "give one column per class, in the order of `classes`")
    return ClassificationScorer(y_codes, table, threshold=threshold, positive=positive).point()
