"""What did each row cost?  (squared error; log loss)"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trimtab.errors import UsageError
from trimtab.stats.inputs import Array, Task, as_codes, as_probabilities, as_rows


def row_losses(task: Task, y: ArrayLike, pred_or_proba: ArrayLike) -> Array:
    """The loss of every row, shape (rows,), ≥ 0; its mean is "mse" or "log_loss". NaN where a prediction is NaN.

    regression: y and predictions of shape (rows,); squared error, in the target's unit squared.
    binary, multiclass: y codes of shape (rows,), probabilities of shape (rows, classes) or, for binary, (rows,) for
    code 1; −ln of the probability given to the true class, at most 36 nats (as scikit-learn clips it).
    Raises UsageError where shapes or codes don't fit.

    >>> row_losses("regression", [1.0, 2.0], [1.0, 4.0]).tolist()
    [0.0, 4.0]
    >>> row_losses("binary", [1, 0], [[0.5, 0.5], [1.0, 0.0]]).round(3).tolist()
    [0.693, 0.0]
    """
    if task == "regression":
        truth, guess = as_rows(y, pred_or_proba)
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray((guess - truth) ** 2, dtype=np.float64)
    if task not in ("binary", "multiclass"):
        raise UsageError(f"task {task!r} is unknown; expected regression, binary or multiclass")
    proba = as_probabilities(pred_or_proba)
    return log_losses(as_codes(y, proba), proba)


def log_losses(codes: NDArray[np.int64], proba: Array) -> Array:
    """−ln of the probability of the true class, shape (rows,), clipped to [ε, 1 − ε] with float64's ε."""
    eps = np.finfo(np.float64).eps
    return np.asarray(-np.log(np.clip(proba[np.arange(len(codes)), codes], eps, 1 - eps)), dtype=np.float64)
