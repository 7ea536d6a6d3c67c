"""Models of XGBoost and LightGBM are kept in their own text, and answer as they did."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
import xgboost

import trimtab

pytestmark = pytest.mark.full


@pytest.mark.parametrize(("flavour", "make"), [
    ("xgboost", lambda: xgboost.XGBRegressor(n_estimators=20)),
    ("lightgbm", lambda: lightgbm.LGBMRegressor(n_estimators=20, verbose=-1))], ids=["xgboost", "lightgbm"])
def test_numbers_come_back_as_they_were(rows: Any, flavour: str, make: Any) -> None:
    """Missing values too, which both know."""
    X = np.where(np.random.default_rng(1).random(rows.X.shape) < 0.1, np.nan, rows.X)
    model = make().fit(X[:300], rows.y[:300])
    version = trimtab.register("risk", model, **rows.sides(rows.y, X))
    assert version.record.manifest.flavor == flavour
    assert version.bundle.tier["tier"] == flavour
    np.testing.assert_array_equal(version.predict(X[300:]).values, model.predict(X[300:]).astype(np.float64))
    assert version.deploy().after == 1


@pytest.mark.parametrize("make", [lambda: xgboost.XGBClassifier(n_estimators=20),
                                  lambda: lightgbm.LGBMClassifier(n_estimators=20, verbose=-1)],
                         ids=["xgboost", "lightgbm"])
@pytest.mark.parametrize("which", ["two", "three"])
def test_classes_keep_their_labels(rows: Any, make: Any, which: str) -> None:
    target = getattr(rows, which)
    labels = sorted(set(target))
    model = make().fit(rows.X[:300], np.searchsorted(labels, target[:300]))
    version = trimtab.register("size", model, **rows.sides(target))
    assert version.record.facts["classes"] == labels
    np.testing.assert_allclose(version.predict(rows.X[300:]).probabilities, model.predict_proba(rows.X[300:]),
                               atol=1e-6)


def test_early_stopping_is_kept(rows: Any) -> None:
    model = xgboost.XGBRegressor(n_estimators=300, early_stopping_rounds=3)
    model.fit(rows.X[:200], rows.y[:200], eval_set=[(rows.X[200:300], rows.y[200:300])], verbose=False)
    assert model.best_iteration < 299
    version = trimtab.register("risk", model, **rows.sides(rows.y))
    np.testing.assert_allclose(version.predict(rows.X[300:]).values, model.predict(rows.X[300:]), rtol=1e-6)


MODELS = """
def boost(depth=3):
    import xgboost
    return xgboost.XGBRegressor(n_estimators=20, max_depth=depth)
"""


def test_a_function_that_gives_a_booster_is_a_candidate(folder: Path) -> None:
    rng = np.random.default_rng(0)
    lines = [f"{p},{q},{2 * p + q}" for p, q in rng.normal(size=(200, 2)).tolist()]
    Path("data.csv").write_text("a,b,y\n" + "\n".join(lines) + "\n")
    Path("models.py").write_text(MODELS)
    project = trimtab.open("data.csv")
    project.train(["models:boost"])
    version = project.evaluate().version
    assert version is not None
    assert (version.record.manifest.flavor, version.gates) == ("xgboost", "passed")
    assert abs(float(version.predict({"a": 1.0, "b": 0.0}).values[0]) - 2) < 1
