"""What does trimtab's training cost over the same scikit-learn calls by hand?  (goal: ≤ 1.1 × on fits of ≥ 10 s)

By hand: the same folds, the same preprocessing, estimators and parameters, one fit a fold and one on all training rows.
trimtab does the same and adds its notes, runs, model files, formulas and step cache. Both are done in turn, and again.

    python benchmarks/training_cost.py [rounds]
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.metrics import mean_squared_error
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR
from threadpoolctl import threadpool_limits

from trimtab import config
from trimtab.canon import digest_bytes
from trimtab.clock import SystemClock
from trimtab.ids import Ids
from trimtab.pipeline.cache import StepCache
from trimtab.pipeline.model import Feature, Learnable, Split
from trimtab.pipeline.train import train
from trimtab.store import migrate
from trimtab.store.blobs_local import LocalBlobs
from trimtab.store.db import Database
from trimtab.tracking.runs import Runs

ROWS, COLUMNS, GOAL = 10_000, 10, 1.1
TOML = """
[model]
name = "cost"
data = "none"
[train]
candidates = ["svr", "random_forest", "hgb"]
budget = { minutes = 60 }
[train.params.svr]
C = 10.0
gamma = 0.05
[train.params.random_forest]
n_estimators = 60
min_samples_leaf = 3
max_features = 0.5
[train.params.hgb]
max_iter = 300
max_leaf_nodes = 31
learning_rate = 0.1
"""


def by_hand(X: np.ndarray, y: np.ndarray) -> float:
    """Seconds of cross-validating and refitting the three models with scikit-learn alone."""
    def models() -> list[object]:
        return [make_pipeline(StandardScaler(), TransformedTargetRegressor(
                    SVR(C=10.0, gamma=0.05, epsilon=0.1), transformer=StandardScaler())),
                RandomForestRegressor(n_estimators=60, min_samples_leaf=3, max_features=0.5, random_state=42, n_jobs=1),
                HistGradientBoostingRegressor(max_iter=300, max_leaf_nodes=31, learning_rate=0.1, random_state=42)]
    start = time.perf_counter()
    with threadpool_limits(limits=1):
        for place in range(3):
            for fit, score in KFold(5, shuffle=True, random_state=42).split(X):
                model = models()[place].fit(X[fit], y[fit])  # type: ignore[attr-defined]
                mean_squared_error(y[score], model.predict(X[score]))
            models()[place].fit(X, y)  # type: ignore[attr-defined]
    return time.perf_counter() - start


def by_trimtab(learnable: Learnable, split: Split) -> float:
    """Seconds of `train`, in a fresh workspace on disk."""
    with tempfile.TemporaryDirectory() as folder:
        db = Database(f"sqlite:///{folder}/trimtab.db")
        migrate.upgrade(db)
        blobs, clock = LocalBlobs(Path(folder) / "objects"), SystemClock()
        start = time.perf_counter()
        train(learnable, split, config.parse(TOML, root=Path(folder)), blobs=blobs, by="benchmark",
              runs=Runs(db, clock, Ids()), cache=StepCache(db, blobs, clock, project="cost"))
        seconds = time.perf_counter() - start
        db.close()
    return seconds


def main() -> int:
    """Print both and their ratio; exit 1 over the goal."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    rng = np.random.default_rng(0)
    X = rng.normal(size=(ROWS, COLUMNS))
    y = np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2] + rng.normal(size=ROWS)
    learnable = Learnable(X=X, y=y, task="regression",
                          features=tuple(Feature(name=f"x{i}", kind="number") for i in range(COLUMNS)))
    split = Split(train=np.arange(ROWS), test=np.arange(0), kind="row", seed=42, digest=digest_bytes(b"cost"))
    pairs = [(by_hand(X, y), by_trimtab(learnable, split)) for _ in range(rounds)]
    hand, ours = (min(pair[side] for pair in pairs) for side in (0, 1))
    print(f"scikit-learn by hand {hand:.1f} s, trimtab {ours:.1f} s: {ours / hand:.3f} × "
          f"(goal ≤ {GOAL} ×; best of {rounds})")
    return 0 if ours / hand <= GOAL else 1


if __name__ == "__main__":
    raise SystemExit(main())
