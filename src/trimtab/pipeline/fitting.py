"""How is one pipeline fitted and asked, so that nothing surprising comes out of it?

Warnings become notes, whatever a fit raises becomes a sentence, and probabilities always have one column per class of
the task, also where a fold lacked a class.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from trimtab.errors import CheckFailed
from trimtab.pipeline import kernel
from trimtab.pipeline.model import Array, Task


class FitFailed(CheckFailed):
    """A fit or a prediction on a fold did not work; the message says why."""


def fitted(pipeline: Any, X: Array, y: Any) -> tuple[Any, tuple[str, ...]]:
    """The pipeline, fitted, and a note for each kind of warning that it gave. Raises FitFailed."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            with np.errstate(all="ignore"):
                kernel.fit(pipeline, X, y)
        except Exception as problem:
            raise FitFailed(_sentence("the fit", problem)) from problem
    return pipeline, tuple(dict.fromkeys(_note(w.message) for w in caught))


def answers(pipeline: Any, X: Array, task: Task, classes: int) -> Array:
    """Predictions, shape (rows,), or class probabilities, shape (rows, classes). Raises FitFailed.

    A class that was absent from the fit has probability 0.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if task == "regression":
                return _finite(np.asarray(pipeline.predict(X), dtype=np.float64).reshape(len(X)))
            if not hasattr(pipeline, "predict_proba"):
                raise FitFailed("the classifier gives no probabilities (no predict_proba), and candidates are compared "
                                "by log loss; wrap it in sklearn.calibration.CalibratedClassifierCV")
            known = np.asarray(pipeline.predict_proba(X), dtype=np.float64)
            at = np.asarray(pipeline.classes_).astype(np.int64)
        except FitFailed:
            raise
        except Exception as problem:
            raise FitFailed(_sentence("predicting held-out rows", problem)) from problem
    full = np.zeros((len(X), classes))
    if len(at) == 1:                           # some classifiers answer with two columns here
        full[:, at[0]] = 1.0
    elif known.shape[1] == len(at):
        full[:, at] = known
    else:
        raise FitFailed(f"predict_proba gives {known.shape[1]} columns for {len(at)} classes")
    return _finite(full)


def fold_loss(task: Task, y: Any, answered: Array) -> float:
    """Mean loss over the rows of a fold: squared error, or log loss in nats."""
    from trimtab.stats.losses import row_losses

    return float(row_losses(task, y, answered).mean())


def _finite(values: Array) -> Array:
    if not np.isfinite(values).all():
        raise FitFailed("predictions on held-out rows are not all finite numbers")
    return values


def _sentence(doing: str, problem: Exception) -> str:
    if isinstance(problem, MemoryError):
        return f"{doing} ran out of memory; use fewer rows, or a candidate that needs less"
    first = str(problem).strip().split("\n", 1)[0]
    return f"{doing} raised {type(problem).__name__}: {first[:300]}"


def _note(message: Warning | str) -> str:
    first = " ".join(str(message).split())
    return f"{type(message).__name__}: {first[:160]}{'…' if len(first) > 160 else ''}"
