"""How much did each column add to one answer of a linear model?  (coefficient × centred input)

A linear model is a sum over columns, also behind scaling, one-hot columns and imputation: so what a column adds is the
answer less the mean answer with that column's value taken from the background's rows. Columns are the raw ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trimtab.pipeline.formula import decision_values, is_linear
from trimtab.pipeline.machine import core
from trimtab.pipeline.model import Array

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearTerms:
    """total = base + Σ parts: the model's own value (`of`), its mean over the background, and what each column adds,
    shape (features,). coefficients: per unit of a column, NaN where the value is missing."""

    base: float
    parts: Array
    coefficients: Array
    total: float
    of: str                                   # "", "log-odds", "score", "score before calibration"


def linear_terms(pipeline: Any, x: Array, background: Array, column: int,
                 stepped: Sequence[int]) -> LinearTerms | None:
    """The terms behind the answer to the encoded row x, shape (features,); None where the model is not such a sum.

    background: shape (n, features); column: which of the classifier's decision values;
    stepped: the columns that have a coefficient.
    """
    if not is_linear(pipeline):
        return None
    features, n = len(x), len(background)
    swapped = np.tile(x, (features, n, 1))
    further = np.tile(x, (features, 1))
    for place in range(features):
        swapped[place, :, place] = background[:, place]
    further[stepped, stepped] += 1.0
    values = decision_values(pipeline, np.vstack([x[None], background, further, swapped.reshape(-1, features)]))
    column = min(column, values.shape[1] - 1)
    total, others, steps, swaps = np.split(values[:, column], [1, 1 + n, 1 + n + features])
    parts = total[0] - swaps.reshape(features, n).mean(axis=1)
    base = float(others.mean())
    if not abs(base + parts.sum() - total[0]) <= _ROUNDING * (abs(base) + np.abs(parts).sum() + 1e-12):
        return None                            # columns work together: polynomial features, say
    model = core(pipeline)[0]
    of = "" if not hasattr(model, "decision_function") else "score before calibration" if _calibrated(pipeline) else \
        "log-odds" if type(model).__name__ == "LogisticRegression" and values.shape[1] == 1 else "score"
    coefficients = np.full(features, np.nan)
    coefficients[stepped] = np.where(np.isnan(x), np.nan, steps - total[0])[stepped]
    return LinearTerms(base=base, parts=parts, total=float(total[0]), of=of, coefficients=coefficients)


def _calibrated(pipeline: Any) -> bool:
    last = pipeline.steps[-1][1] if hasattr(pipeline, "steps") else pipeline
    return hasattr(last, "calibrated_classifiers_")
