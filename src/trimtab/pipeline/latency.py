"""How long does the model's own predict take on one row?

Warm calls on single rows, timed one by one. The 99th percentile comes with its order-statistics interval (David &
Nagaraja, Order Statistics, 7.1): no assumption on the shape of the times, only that calls are alike.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np

from trimtab.pipeline.evaluation import Latency
from trimtab.pipeline.model import Array
from trimtab.stats.interval import Interval

CALLS = 1000
LEAST_CALLS = 500
_WARM_CALLS = 20


def measure(predict: Callable[[Array], object], X: Array, *, calls: int = CALLS, budget_s: float = 30.0,
            now_s: Callable[[], float] = time.perf_counter) -> Latency:
    """Time `predict` on single rows of X, shape (rows, features), taken in turn.

    At most `calls` calls; fewer once `budget_s` seconds are over and LEAST_CALLS are done, and never longer than four
    times the budget. now_s: a clock in seconds. The upper bound of p99 is infinite where too few calls were made.
    """
    for index in range(_WARM_CALLS):
        predict(X[index % len(X)][None, :])
    times = np.empty(calls)
    began = now_s()
    done = 0
    for index in range(calls):
        row = X[index % len(X)][None, :]
        start = now_s()
        predict(row)
        end = now_s()
        times[index] = end - start
        done = index + 1
        spent = end - began
        if (spent > budget_s and done >= LEAST_CALLS) or spent > 4 * budget_s:
            break
    sorted_ms = np.sort(times[:done]) * 1000
    return Latency(p50_ms=float(np.median(sorted_ms)), p99=quantile_interval(sorted_ms, 0.99))


def quantile_interval(ordered: Array, q: float, level: float = 0.95) -> Interval:
    """The q-quantile of what sorted values are a sample of, with an interval that assumes nothing about its shape.

    ordered: shape (n,), ascending. The bounds are the order statistics whose ranks a Binomial(n, q) count falls between
    with probability ≥ level; infinite where n is too small for one.

    >>> quantile_interval(np.arange(1.0, 1001.0), 0.99)
    Interval(value=990.0, low=983.0, high=997.0, level=0.95, n=1000)
    """
    from scipy.stats import binom

    n = len(ordered)
    tail = (1 - level) / 2
    low, high = int(binom.ppf(tail, n, q)), int(binom.ppf(1 - tail, n, q)) + 1
    return Interval(value=float(ordered[math.ceil(q * n) - 1]), level=level, n=n,
                    low=float(ordered[low - 1]) if low >= 1 else -math.inf,
                    high=float(ordered[high - 1]) if high <= n else math.inf)
