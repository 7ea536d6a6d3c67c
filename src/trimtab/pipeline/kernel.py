"""What will a kernel machine cost, and how is it fitted in as little memory as can be?

Kernel ridge holds the whole kernel matrix, n² numbers of 8 bytes, factored in place; libsvm fills a column cache of
4-byte numbers up to its `cache_size`. Both are forecast before the fit; `nystroem.py` is what is done over budget.
"""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from trimtab.pipeline.budget import shown_bytes, shown_seconds

KernelFamily = Literal["kernel_ridge", "svr", "svc"]
_CACHE_BYTES = 200e6                          # libsvm's cache_size, scikit-learn's default
_TOUCHED = {"svr": 0.85, "svc": 0.68}         # share of kernel columns that the solver visits on noisy data
_SVM_PAIR_S = 2.0e-8                          # libsvm seconds per pair of rows at 10 columns, C near 1; a rough guide


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What one fit will take: peak bytes beyond what is held before it, wall seconds, and the sentence."""

    memory_bytes: int
    seconds: float
    what: str                                 # the matrix, without times: "K: 4,000², 128 MB"

    @property
    def text(self) -> str:
        """For people, with the time."""
        return f"{self.what}; about {shown_seconds(self.seconds)} a fit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pilot:
    """A fit that was measured on fewer rows."""

    rows: int
    seconds: float


def forecast(n: int, p: int, family: KernelFamily, pilot: Pilot | None = None) -> Forecast:
    """Memory and time of one fit on n rows of p prepared columns.

    Memory is within 20% of measured peaks (benchmarks/kernel_forecast.py). Seconds are a guide: kernel ridge from this
    machine's measured speed, support vector machines from a `pilot` fit where one is given.

    >>> forecast(4000, 6, "kernel_ridge").what
    'K: 4,000², 128 MB'
    """
    data = 3 * 8.0 * n * p
    if family == "kernel_ridge":
        flops, entries = machine_speed()
        memory = 8.0 * n * n + data
        seconds = n**3 / 3 / flops + n * n * (1 + p / 20) / entries
        what = f"K: {n:,}², {shown_bytes(8.0 * n * n)}"
    else:
        cache = min(_CACHE_BYTES, 4.0 * n * n * _TOUCHED[family])
        memory = cache + data
        seconds = _SVM_PAIR_S * n * n * (0.5 + p / 20) * (2.4 if family == "svc" else 1)
        what = f"K: {n:,}², cached up to {shown_bytes(cache)}"
    if pilot is not None and family != "kernel_ridge":
        seconds = pilot.seconds * (n / pilot.rows) ** 2
    return Forecast(memory_bytes=int(memory), seconds=seconds, what=what)


def fit(pipeline: Any, X: Any, y: Any) -> Any:
    """`pipeline.fit(X, y)`, except that kernel ridge factors its matrix in place: 8 n² bytes at the peak, not 24.

    What is fitted is scikit-learn's KernelRidge all the same, with the same duals up to rounding.
    """
    machine = pipeline[-1] if hasattr(pipeline, "steps") else pipeline
    inner = getattr(machine, "regressor", None)
    if type(inner).__name__ != "KernelRidge":
        return pipeline.fit(X, y)
    from sklearn.kernel_ridge import KernelRidge

    from trimtab.pipeline.kernel_fit import InPlaceKernelRidge

    inner.__class__ = InPlaceKernelRidge
    try:
        pipeline.fit(X, y)
    finally:
        inner.__class__ = KernelRidge
    machine.regressor_.__class__ = KernelRidge
    return pipeline


@functools.cache
def machine_speed() -> tuple[float, float]:
    """This machine: floating-point operations a second of a Cholesky factorisation, kernel entries a second."""
    from scipy.linalg import cho_factor

    n = 768
    root = np.linspace(0.0, 1.0, n)
    best_flops = best_entries = 0.0
    for _ in range(3):
        start = time.perf_counter()
        K = np.exp(-np.subtract.outer(root, root) ** 2)
        middle = time.perf_counter()
        K.flat[::n + 1] += 1.0
        cho_factor(K.T, lower=True, overwrite_a=True, check_finite=False)
        end = time.perf_counter()
        best_entries = max(best_entries, n * n / (middle - start))
        best_flops = max(best_flops, n**3 / 3 / (end - middle))
    return best_flops, best_entries
