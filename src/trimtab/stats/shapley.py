"""How much did each column add to one answer, whatever the model?  (sampled Shapley values)

E. Štrumbelj and I. Kononenko, "Explaining prediction models and individual predictions with feature contributions",
Knowledge and Information Systems 41 (2014) 647–665: random orders of the columns, and random rows of a background; a
column's contribution is the mean change of the answer when its value joins those before it. Here all columns of one
order are counted, so that the contributions sum to the answer less the background's mean answer without an error, and
each order is also walked backwards.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trimtab.stats.inputs import Array

Bits = NDArray[np.bool_]
Index = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Shares:
    """base: the background's mean answer; parts, errors: shape (columns,), contributions and their standard errors.

    base + Σ parts is the answer that was explained. The errors count the draw of orders and of background rows.
    """

    base: float
    parts: Array
    errors: Array


def shapley(ask: Callable[[Bits, Index], Array], columns: int, background: int, rng: np.random.Generator) -> Shares:
    """Shapley values of one row, from 2 · background · (columns + 1) answers.

    ask: given a mask, shape (n, columns), and rows of the background, shape (n,), the answers for rows that have the
    explained row's value where the mask is set and the background row's elsewhere. background: its rows, ≥ 2.

    >>> x, others = np.array([2.0, 3.0]), np.zeros((4, 2))
    >>> def product(mask, rows): return np.where(mask, x, others[rows]).prod(axis=1)
    >>> found = shapley(product, 2, 4, np.random.default_rng(1))
    >>> found.base, found.parts.tolist(), found.errors.tolist()
    (0.0, [3.0, 3.0], [0.0, 0.0])
    """
    forward = rng.permuted(np.tile(np.arange(columns), (background, 1)), axis=1)
    place = np.argsort(np.vstack([forward, forward[:, ::-1]]), axis=1)            # of each column in each order
    mask = place[:, None, :] < np.arange(columns + 1)[None, :, None]
    rows = np.tile(np.arange(background), 2)
    answers = np.asarray(ask(mask.reshape(-1, columns), np.repeat(rows, columns + 1)), dtype=np.float64)
    answers = answers.reshape(2 * background, columns + 1)
    gains = np.take_along_axis(np.diff(answers, axis=1), place, axis=1)
    both = (gains[:background] + gains[background:]) / 2
    return Shares(base=float(answers[:background, 0].mean()), parts=both.mean(axis=0),
                  errors=both.std(axis=0, ddof=1) / np.sqrt(background))
