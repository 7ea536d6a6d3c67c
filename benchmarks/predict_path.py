"""What does one prediction cost through trimtab, against the estimator's own predict?

One row of ten columns, in this process, one thread: the estimator's `predict` (or `predict_proba`) on a ready matrix,
`Bundle.predict` on the same matrix through the tier that was chosen for it on held-out rows, and `Bundle.predict_rows`
on a JSON row, which also checks the contract and encodes. The three take turns within one run; each figure is the
median of all turns. A ratio below 1 is faster than scikit-learn. One JSON object a line.

    python benchmarks/predict_path.py
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

COLUMNS, TURNS = 10, 30


def seconds(work: Callable[[], object], times: int) -> float:
    """Seconds a call, over `times` calls."""
    begun = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - begun) / times


def measure(name: str, bundle: Any, X: Any, row: dict[str, float]) -> dict[str, object]:
    """Median microseconds of the three, and the ratios to the estimator's own."""
    own = bundle.estimator.predict_proba if bundle.classes else bundle.estimator.predict
    ways = {"estimator": lambda: own(X), "predict": lambda: bundle.predict(X),
            "predict_rows": lambda: bundle.predict_rows([row])}
    times = max(2, int(0.01 / seconds(ways["estimator"], 3)))
    turns: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(TURNS):
        for way, work in ways.items():
            turns[way].append(seconds(work, times))
    took = {way: statistics.median(values) for way, values in turns.items()}
    told = bundle.tier
    return {"model": name, "columns": COLUMNS, "calls": TURNS * times, "tier": told["tier"],
            "difference_at_most": told["difference"], "row_invariant": told["row_invariant"],
            **{f"{way}_us": round(value * 1e6, 2) for way, value in took.items()},
            "predict_ratio": round(took["predict"] / took["estimator"], 3),
            "predict_rows_ratio": round(took["predict_rows"] / took["estimator"], 3)}


def main() -> None:
    """Print one line a model."""
    import numpy as np
    from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
    from sklearn.linear_model import LinearRegression, LogisticRegression
    from sklearn.neural_network import MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVR

    from trimtab.data.contract import Column, Contract
    from trimtab.flavors import tiers
    from trimtab.registry.bundle import Bundle

    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, COLUMNS))
    y = X.sum(axis=1) + rng.normal(size=len(X))
    names = [f"x{place}" for place in range(COLUMNS)]
    contract = Contract(columns=tuple(Column(name=name, type="number", min=-100, max=100) for name in names))
    row = dict(zip(names, X[0].tolist(), strict=True))
    for name, estimator in {
            "linear": LinearRegression(), "scaler + logistic": make_pipeline(StandardScaler(), LogisticRegression()),
            "dense": make_pipeline(StandardScaler(), MLPRegressor(
                hidden_layer_sizes=(32, 16), random_state=0, tol=1e9)),
            "svr": make_pipeline(StandardScaler(), SVR()), "forest of 100": RandomForestRegressor(100, random_state=0),
            "hgb": HistGradientBoostingRegressor(random_state=0)}.items():
        classes = [0, 1] if "logistic" in name else []
        estimator.fit(X[:1500], ((y > 0).astype(int) if classes else y)[:1500])
        told = tiers.choose(estimator, X[1500:]).to_json()
        facts = {"task": "binary" if classes else "regression", "classes": classes, "predict": told}
        bundle = Bundle(contract=contract, facts=facts, estimator=estimator, name=name,
                        fast=tiers.build(estimator, told))
        print(json.dumps(measure(name, bundle, X[:1], row)), flush=True)


if __name__ == "__main__":
    main()
