"""What is done when a kernel matrix would be too large or take too long?

Nyström's method (Williams & Seeger 2001): m landmark rows stand for all n, K ≈ K(X, Z) K(Z, Z)⁻¹ K(Z, X), and a linear
machine is fitted to the m features; memory n·m, time n·m². The number of landmark rows is what memory and time allow.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from trimtab.pipeline.budget import shown_bytes
from trimtab.pipeline.kernel import Forecast, KernelFamily, machine_speed
from trimtab.pipeline.recipes import Situation, calibrated, scaled_target

FEWEST, MOST = 10, 1000                      # landmark rows: with fewer it is not worth a fit
_KERNEL_PARAMS = ("kernel", "gamma", "degree", "coef0")
_COPIES = 3                                   # K(X, Z), its whitened form, and the solver's copy; K(Z, Z) likewise
_PASSES = 150                                 # over the features in LinearSVR's and LinearSVC's Newton steps; a guide
_BYTES_A_SECOND = 4e9                         # memory read in such a pass; a guide
_MACHINES: Mapping[str, str] = {"kernel_ridge": "Ridge", "svr": "LinearSVR", "svc": "LinearSVC"}


def landmarks(n: int, memory_bytes: int) -> int:
    """How many landmark rows: 10·√n, at most 1,000 and half of the rows (folds have fewer), and what fits.

    >>> landmarks(2_000, 2**31), landmarks(1_000_000, 2**31), landmarks(60, 2**31), landmarks(2_000, 100_000)
    (447, 89, 30, 2)
    """
    fits = int((np.sqrt(n * n + 4 * memory_bytes / (8.0 * _COPIES)) - n) / 2)      # of 8·3·(n·m + m²) bytes
    return min(n // 2, MOST, int(10 * np.sqrt(n)), fits)


def nystroem_forecast(n: int, p: int, family: KernelFamily, m: int) -> Forecast:
    """Memory and time of one fit on n rows of p prepared columns with m landmark rows; seconds are a guide."""
    flops, entries = machine_speed()
    seconds = n * m * (1 + p / 20) / entries + 3.0 * n * m * m / flops + 25.0 * m**3 / flops
    if family != "kernel_ridge":
        seconds += _PASSES * 8.0 * n * m / _BYTES_A_SECOND
    if family == "svc":                        # calibration fits three times on two thirds
        seconds *= 3
    memory = 8 * _COPIES * (n * m + m * m)
    return Forecast(memory_bytes=memory, seconds=seconds, what=f"K: {n:,} × {m:,}, {shown_bytes(8.0 * n * m)}")


def approximated(family: KernelFamily, params: Mapping[str, Any], situation: Situation, m: int) -> Any:
    """The unfitted estimator: Nyström features and Ridge, LinearSVR or LinearSVC with the same λ or C on them."""
    from sklearn.kernel_approximation import Nystroem
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import Pipeline
    from sklearn.svm import LinearSVC, LinearSVR

    kernel = {"kernel": "rbf", **{key: params[key] for key in _KERNEL_PARAMS if key in params}}
    if isinstance(kernel.get("gamma"), str):   # "scale" and "auto" have no meaning here: features have unit variance
        kernel["gamma"] = 1.0 / max(situation.width, 1)
    if kernel["kernel"] in ("linear", "cosine"):
        kernel.pop("gamma", None)
    machine: Any
    if family == "kernel_ridge":
        machine = Ridge(alpha=params.get("alpha", 1.0))
    elif family == "svr":
        machine = LinearSVR(C=params.get("C", 1.0), epsilon=params.get("epsilon", 0.1), dual=False, max_iter=5000,
                            loss="squared_epsilon_insensitive")
    else:
        machine = LinearSVC(C=params.get("C", 1.0), class_weight=params.get("class_weight"), dual=False, max_iter=5000)
    mapped = Nystroem(**kernel, n_components=m, random_state=situation.seed)
    steps = Pipeline([("map", mapped), ("machine", machine)])
    return calibrated(steps) if family == "svc" else scaled_target(steps)


def sentence(because: str, family: KernelFamily, expected: Forecast, m: int) -> str:
    """Why, and by what, the exact machine was replaced."""
    return (f"{because}: approximated by Nyström's method with {m:,} landmark rows and {_MACHINES[family]} "
            f"({shown_bytes(expected.memory_bytes)})")
