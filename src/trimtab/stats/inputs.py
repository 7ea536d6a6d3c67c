"""Which scores does a task have, and are the arrays of the shape that they need?"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trimtab.errors import UsageError

Task = Literal["regression", "binary", "multiclass"]
Array = NDArray[np.float64]
Codes = NDArray[np.int64]

REGRESSION = ("mse", "rmse", "mae", "r2")
MULTICLASS = ("accuracy", "precision", "recall", "f1", "auc", "log_loss", "brier", "calibration")
BINARY = (*MULTICLASS, "sensitivity", "specificity")


def as_rows(y: ArrayLike, pred: ArrayLike) -> tuple[Array, Array]:
    """Both as float64 of shape (rows,). Raises UsageError where their lengths differ."""
    truth, guess = np.asarray(y, dtype=np.float64), np.asarray(pred, dtype=np.float64)
    if guess.ndim == 2 and guess.shape[1] == 1:
        guess = guess[:, 0]
    if truth.ndim != 1 or truth.shape != guess.shape:
        raise UsageError(f"y has shape {truth.shape} and the predictions {guess.shape}; "
                         "expected one number per row each")
    return truth, guess


def as_probabilities(proba: ArrayLike) -> Array:
    """float64 of shape (rows, classes); one column for code 1 becomes two. Raises UsageError for any other shape."""
    table = np.asarray(proba, dtype=np.float64)
    if table.ndim == 1:
        table = np.column_stack((1 - table, table))
    if table.ndim != 2 or table.shape[1] < 2:
        raise UsageError(f"probabilities have shape {table.shape}; expected (rows, classes) with at least two classes")
    return table


def as_codes(y: ArrayLike, proba: Array) -> Codes:
    """int64 codes of shape (rows,), each a column of `proba`. Raises UsageError where they don't fit."""
    codes = np.asarray(y)
    if codes.shape != proba.shape[:1]:
        raise UsageError(f"y has shape {codes.shape} and the probabilities {proba.shape}; expected one code per row")
    with np.errstate(invalid="ignore"):
        whole = codes.astype(np.int64)
    if not (np.array_equal(whole, codes) and ((whole >= 0) & (whole < proba.shape[1])).all()):
        raise UsageError(f"y holds something else than whole codes 0 … {proba.shape[1] - 1}; encode the classes first")
    return whole
