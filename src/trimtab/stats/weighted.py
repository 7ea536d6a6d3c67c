"""What would the scores be if some rows counted more often?

A bootstrap resample is a row of whole weights. Nearly every metric is a quotient of weighted sums, so that many
resamples are one matrix product; only auc needs the rows in order. The plain score is the one with all weights 1.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trimtab.errors import UsageError
from trimtab.stats.inputs import BINARY, MULTICLASS, REGRESSION, Array, Codes, Task, as_codes, as_probabilities, as_rows
from trimtab.stats.losses import log_losses

CALIBRATION_BINS = 10


class Scorer(Protocol):
    """Scores under weights. Promises: pure; `weights` has shape (resamples, rows), ≥ 0; each answer (resamples,)."""

    names: tuple[str, ...]
    rows: int

    def __call__(self, weights: Array) -> dict[str, Array]: ...


class RegressionScorer:
    """mse, rmse, mae, r2 of predictions, under weights."""

    names: tuple[str, ...] = REGRESSION

    def __init__(self, y: ArrayLike, pred: ArrayLike) -> None:
        truth, guess = as_rows(y, pred)
        self.rows = len(truth)
        if not self.rows:
            return
        with np.errstate(over="ignore", invalid="ignore"):
            residual = guess - truth
            centred = truth - truth.mean() if truth.min() < truth.max() else np.zeros_like(truth)
            self._columns = np.column_stack((residual**2, np.abs(residual), centred, centred**2))

    def point(self) -> dict[str, float]:
        """The scores with every row counted once."""
        return _point(self)

    def __call__(self, weights: Array) -> dict[str, Array]:
        """The scores of each resample; see `Scorer`."""
        with np.errstate(all="ignore"):
            squared, absolute, centred, centred2 = (weights @ self._columns).T
            total = weights.sum(axis=1)
            spread = centred2 - centred**2 / total
            flat = spread <= 1e-14 * centred2
            r2 = np.where(flat, np.where(squared == 0, 1.0, 0.0), 1 - squared / np.where(flat, 1.0, spread))
            r2[np.isnan(squared) | np.isnan(spread)] = np.nan
            if self.rows < 2:
                r2[:] = np.nan
            mse = squared / total
            return {"mse": mse, "rmse": np.sqrt(mse), "mae": absolute / total, "r2": r2}


class ClassificationScorer:
    """The classification scores of `scores.classification_scores`, under weights."""

    def __init__(self, y: ArrayLike, proba: ArrayLike, *, threshold: float | None = None, positive: int = 1) -> None:
        table = as_probabilities(proba)
        codes = as_codes(y, table)
        classes = table.shape[1]
        if classes > 2 and threshold is not None:
            raise UsageError("a decision threshold needs two classes; "
                             f"there are {classes}. Leave it out: the most probable class is taken.")
        if not 0 <= positive < classes:
            raise UsageError(f"positive = {positive} is not a class code; expected 0 … {classes - 1}")
        self.rows = len(codes)
        self.binary = classes == 2
        self.names: tuple[str, ...] = BINARY if self.binary else MULTICLASS
        self._defined = bool(np.isfinite(table).all())
        if not self._defined or not self.rows:
            return
        called = _called(table, threshold, positive)
        losses = log_losses(codes, table)
        if self.binary:
            p, truth = table[:, positive], codes == positive
            brier, shown, came_true, judged = (p - truth) ** 2, p, truth, [positive]
        else:
            brier = ((table - np.eye(classes)[codes]) ** 2).sum(axis=1)
            shown, came_true, judged = table.max(axis=1), table.argmax(axis=1) == codes, list(range(classes))
        inside = np.clip((shown * CALIBRATION_BINS).astype(np.int64), 0, CALIBRATION_BINS - 1)
        gaps = np.zeros((self.rows, CALIBRATION_BINS))
        gaps[np.arange(self.rows), inside] = shown - came_true
        actual = codes[:, None] == judged
        predicted = called[:, None] == judged
        self._judged = len(judged)
        self._columns = np.column_stack((called == codes, losses, brier, actual & predicted, predicted, actual, gaps))
        self._ranked = [_Ranked(table[:, code], codes == code) for code in judged]

    def point(self) -> dict[str, float]:
        """The scores with every row counted once."""
        return _point(self)

    def __call__(self, weights: Array) -> dict[str, Array]:
        """The scores of each resample; see `Scorer`."""
        if not self._defined:
            return {name: np.full(len(weights), np.nan) for name in self.names}
        k = self._judged
        total = weights.sum(axis=1)
        sums = weights @ self._columns
        hits, losses, brier = sums[:, :3].T
        both, predicted, actual = (sums[:, 3 + i * k:3 + (i + 1) * k] for i in range(3))
        seen = predicted + actual > 0
        per_class = {"precision": _over(both, predicted), "recall": _over(both, actual),
                     "f1": _over(2 * both, predicted + actual)}
        aucs = np.stack([ranked(weights) for ranked in self._ranked], axis=1)
        found = {"accuracy": hits / total, "log_loss": losses / total, "brier": brier / total,
                 "auc": _mean_of_defined(aucs), "calibration": np.abs(sums[:, 3 + 3 * k:]).sum(axis=1) / total}
        for name, each in per_class.items():
            found[name] = each[:, 0] if self.binary else _over((each * seen).sum(axis=1), seen.sum(axis=1))
        if self.binary:
            positives = actual[:, 0]
            negatives = total - positives
            found["sensitivity"] = _over(both[:, 0], positives, empty=np.nan)
            found["specificity"] = _over(hits - both[:, 0], negatives, empty=np.nan)
        return {name: found[name] for name in self.names}

    def cases(self) -> dict[str, tuple[float, float]]:
        """(successes, trials) of the scores that are a plain share of rows."""
        if not self._defined or not self.rows:
            return {}
        sums = self._columns.sum(axis=0)
        shares = {"accuracy": (float(sums[0]), float(self.rows))}
        if self.binary:
            hits, both, predicted, actual = (float(sums[i]) for i in (0, 3, 4, 5))
            shares |= {"precision": (both, predicted), "recall": (both, actual), "sensitivity": (both, actual),
                       "specificity": (hits - both, self.rows - actual)}
        return shares

    def smallest_class(self) -> int:
        """Rows of the rarest class that occurs, counting "not the positive one" as a class for binary."""
        if not self._defined or not self.rows:
            return 0
        actual = self._columns[:, 3 + 2 * self._judged:3 + 3 * self._judged].sum(axis=0)
        rest = np.append(actual, self.rows - actual) if self.binary else actual
        return int(rest[rest > 0].min())


class Difference:
    """Scores of `b` less scores of `a`, on the same rows under the same weights."""

    def __init__(self, a: Scorer, b: Scorer) -> None:
        if a.names != b.names or a.rows != b.rows:
            raise UsageError("two models are compared on the same rows and for the same classes; these differ")
        self.names, self.rows, self._a, self._b = a.names, a.rows, a, b

    def point(self) -> dict[str, float]:
        """The differences with every row counted once."""
        return _point(self)

    def __call__(self, weights: Array) -> dict[str, Array]:
        """The differences of each resample; see `Scorer`."""
        first, second = self._a(weights), self._b(weights)
        with np.errstate(over="ignore", invalid="ignore"):
            return {name: second[name] - first[name] for name in self.names}


def scorer_for(task: Task, y: ArrayLike, pred_or_proba: ArrayLike, *, threshold: float | None = None,
               positive: int = 1) -> RegressionScorer | ClassificationScorer:
    """The scorer of a task. Raises UsageError where the task is unknown, or shapes or codes don't fit it."""
    if task == "regression":
        return RegressionScorer(y, pred_or_proba)
    if task not in ("binary", "multiclass"):
        raise UsageError(f"task {task!r} is unknown; expected regression, binary or multiclass")
    scorer = ClassificationScorer(y, pred_or_proba, threshold=threshold, positive=positive)
    if scorer.binary != (task == "binary"):
        raise UsageError(f"the task is {task} but there are {'two' if scorer.binary else 'more than two'} "
                         "columns of probabilities")
    return scorer


class _Ranked:
    """Area under the ROC curve of one score under weights: Mann–Whitney's U over both totals, ties at ½."""

    def __init__(self, score: Array, positive: NDArray[np.bool_]) -> None:
        self._order = np.argsort(score, kind="stable")
        ordered = score[self._order]
        self._positive = positive[self._order].astype(np.float64)
        starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
        self._ties = None if len(starts) == len(score) else starts

    def __call__(self, weights: Array) -> Array:
        ordered = weights[:, self._order]
        positive = ordered * self._positive
        ordered -= positive                                                   # what is left is negative
        negative = ordered
        if self._ties is not None:
            positive = np.add.reduceat(positive, self._ties, axis=1)
            negative = np.add.reduceat(negative, self._ties, axis=1)
        below = np.cumsum(negative, axis=1)
        pairs = positive.sum(axis=1) * below[:, -1]
        below -= negative / 2
        return _over(np.einsum("ij,ij->i", positive, below), pairs, empty=np.nan)


def _point(scorer: Scorer) -> dict[str, float]:
    if scorer.rows == 0:
        return dict.fromkeys(scorer.names, math.nan)
    found = scorer(np.ones((1, scorer.rows)))
    return {name: float(found[name][0]) for name in scorer.names}


def _called(table: Array, threshold: float | None, positive: int) -> Codes:
    if threshold is None:
        return np.asarray(table.argmax(axis=1), dtype=np.int64)
    return np.where(table[:, positive] >= threshold, positive, 1 - positive).astype(np.int64)


def _over(top: Array, bottom: Array, empty: float = 0.0) -> Array:
    """top / bottom, and `empty` where bottom is 0."""
    quotient = np.full(np.shape(top), empty)
    np.divide(top, bottom, out=quotient, where=bottom > 0)
    return quotient


def _mean_of_defined(table: Array) -> Array:
    """Mean over axis 1 without NaN; NaN where nothing is left."""
    defined = ~np.isnan(table)
    return _over(np.where(defined, table, 0.0).sum(axis=1), defined.sum(axis=1).astype(np.float64), empty=np.nan)
