"""A faster form answers as the estimator does, on every row that it may be asked for, or it is not taken."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, OneHotEncoder, StandardScaler
from sklearn.svm import SVC, SVR, NuSVR

from trimtab.flavors import formulas, tiers
from trimtab.flavors.formulas import Unknown

Array = NDArray[np.float64]
RNG = np.random.default_rng(3)
X: Array = np.column_stack([RNG.normal(size=(400, 3)), RNG.integers(0, 4, 400)]).astype(float)
HOLES: Array = np.where(RNG.random(X.shape) < 0.15, np.nan, X)
Y: Array = X @ np.array([1.0, -2.0, 0.5, 0.3]) + RNG.normal(size=400)
TWO, THREE = (Y > 0).astype(int), np.digitize(Y, [-1.0, 1.0])
NUMPY, TREELITE, OWN = "numpy", "treelite", "scikit-learn"


def table(*, unknown: str = "ignore") -> ColumnTransformer:
    """As `pipeline/preprocess.py` builds one: filled, scaled, one-hot with missing as a level, indicators."""
    level = make_pipeline(SimpleImputer(strategy="constant", fill_value=-2.0),
                          OneHotEncoder(categories=[np.array([-2.0, 0, 1, 2, 3])], handle_unknown=unknown,
                                        sparse_output=False))
    return ColumnTransformer([("filled", make_pipeline(SimpleImputer(), StandardScaler()), [0, 2]),
                              ("as_is", "passthrough", [1]), ("onehot_3", level, [3]),
                              ("missing", MissingIndicator(features="all"), [0, 2])], sparse_threshold=0)


def dense(kind: Any, **more: Any) -> Any:
    return kind(hidden_layer_sizes=(6, 4), random_state=0, tol=1e9, **more)


CASES: dict[str, tuple[Callable[[], Any], Array, Any, str]] = {
    "linear": (LinearRegression, X, Y, NUMPY),
    "ridge, prepared": (lambda: make_pipeline(table(), Ridge()), np.where(np.arange(4) == 1, X, HOLES), Y, NUMPY),
    "between bounds": (lambda: make_pipeline(MinMaxScaler(), FunctionTransformer(), Ridge()), X, Y, NUMPY),
    "side by side": (lambda: make_pipeline(FeatureUnion([("a", "passthrough"), ("b", StandardScaler())]), Ridge()),
                     X, Y, NUMPY),
    "scaled target": (lambda: TransformedTargetRegressor(Ridge(), transformer=StandardScaler()), X, Y, NUMPY),
    "searched": (lambda: GridSearchCV(make_pipeline(StandardScaler(), Ridge()), {"ridge__alpha": [0.1, 1]}, cv=3), X, Y,
                 NUMPY),
    "constant": (DummyRegressor, X, Y, NUMPY),
    "logistic": (lambda: make_pipeline(StandardScaler(), LogisticRegression()), X, TWO, NUMPY),
    "logistic of three": (LogisticRegression, X, THREE, NUMPY),
    "dense": (lambda: dense(MLPRegressor), X, Y, NUMPY),
    "dense classes": (lambda: dense(MLPClassifier), X, TWO, NUMPY),
    "dense of three": (lambda: dense(MLPClassifier, activation="tanh"), X, THREE, NUMPY),
    "forest": (lambda: RandomForestRegressor(20, random_state=0), X, Y, TREELITE),
    "forest with holes": (lambda: RandomForestRegressor(20, random_state=0), HOLES, Y, TREELITE),
    "forest, prepared": (lambda: make_pipeline(table(), RandomForestClassifier(20, random_state=0)),
                         np.where(np.arange(4) == 1, X, HOLES), THREE, TREELITE),
    "forest of two": (lambda: RandomForestClassifier(21, random_state=0), X, TWO, TREELITE),
    "extra trees": (lambda: ExtraTreesClassifier(10, random_state=0), X, THREE, TREELITE),
    "boosting": (lambda: GradientBoostingRegressor(n_estimators=20), X, Y, TREELITE),
    "boosting classes": (lambda: GradientBoostingClassifier(n_estimators=20), X, TWO, TREELITE),
    "boosting of three": (lambda: GradientBoostingClassifier(n_estimators=20), X, THREE, TREELITE),
    "histograms": (lambda: HistGradientBoostingRegressor(max_iter=20), HOLES, Y, TREELITE),
    "histograms of counts": (lambda: HistGradientBoostingRegressor(loss="poisson", max_iter=20), X, np.exp(Y / 3),
                             TREELITE),
    "histograms of three": (lambda: HistGradientBoostingClassifier(max_iter=10), HOLES, THREE, TREELITE),
    "support vectors": (lambda: make_pipeline(StandardScaler(), SVR()), X, Y, NUMPY),
    "kernel ridge": (lambda: TransformedTargetRegressor(KernelRidge(kernel="rbf"), transformer=StandardScaler()), X, Y,
                     NUMPY),
    "another kernel": (lambda: SVR(kernel="poly"), X, Y, OWN),
    "no probabilities": (SVC, X, TWO, OWN),
    "isolation": (lambda: IsolationForest(n_estimators=10, random_state=0), X, Y, OWN),
    "another loss": (lambda: GradientBoostingClassifier(loss="exponential", n_estimators=5), X, TWO, OWN),
}


def fitted(name: str) -> tuple[Any, Array, str]:
    make, rows, target, tier = CASES[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make().fit(rows[:300], target[:300]), rows[300:], tier


def asked(model: Any, rows: Array) -> Array:
    return np.asarray(getattr(model, "predict_proba", model.predict)(rows), dtype=np.float64)


@pytest.mark.parametrize("name", CASES)
def test_each_kind_of_model_gets_its_tier_and_keeps_its_answers(name: str) -> None:
    """NumPy for what is a formula, treelite for trees, the estimator itself for all else, and the record says why."""
    estimator, rows, tier = fitted(name)
    told = tiers.choose(estimator, rows)
    assert told.tier == tier, told.why
    fast = tiers.build(estimator, told.to_json())
    if tier == OWN:
        assert fast is None
        assert told.tolerance == 0
        assert "no form of" in told.why
        return
    assert told.rows > len(rows)               # rows far outside, and with values missing, were among them
    assert told.difference <= (0 if "forest" in name or "extra" in name else 1e-12)
    np.testing.assert_allclose(asked(fast, rows), asked(estimator, rows), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case[3] != OWN])
def test_a_row_has_one_answer_whatever_is_asked_with_it(name: str) -> None:
    """To the last bit: alone, in a batch, at any place of it, and in any layout of memory."""
    estimator, rows, _ = fitted(name)
    told = tiers.choose(estimator, rows)
    assert told.row_invariant
    fast = tiers.build(estimator, told.to_json())
    together = asked(fast, rows)
    for cut in (1, 2, 3, 7, 64):
        parts = [asked(fast, rows[at:at + cut]) for at in range(0, len(rows), cut)]
        np.testing.assert_array_equal(np.concatenate(parts), together)
    np.testing.assert_array_equal(asked(fast, np.asfortranarray(rows)), together)
    np.testing.assert_array_equal(asked(fast, rows[::-1]), together[::-1])


@pytest.mark.parametrize("name", ["linear", "logistic", "support vectors", "kernel ridge", "dense", "forest",
                                  "boosting", "histograms", "searched"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_what_the_estimator_refuses_is_refused(name: str, bad: float) -> None:
    """No faster form answers for a row that scikit-learn would not answer for."""
    estimator, rows, _ = fitted(name)
    fast = tiers.build(estimator, tiers.choose(estimator, rows).to_json())
    row = rows[:2].copy()
    row[1, 0] = bad
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)      # scikit-learn's own cast of 1e300
        try:
            want = asked(estimator, row)
        except ValueError:
            with pytest.raises(ValueError, match=r"NaN|infinity|large"):
                asked(fast, row)
        else:
            np.testing.assert_allclose(asked(fast, row), want, rtol=1e-12)


class Bent(LinearRegression):
    """Not what its parts suggest: a class of somebody else."""

    def predict(self, X: Any) -> Any:
        """Squared."""
        return super().predict(X) ** 2


def test_a_class_of_somebody_else_is_not_taken_for_scikit_learns_own() -> None:
    told = tiers.choose(Bent().fit(X, Y), X)
    assert told.tier == __name__.partition(".")[0]
    assert "numpy: no form of" in told.why


def test_a_form_that_answers_otherwise_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the reason, and also where it differs only for rows that training never saw."""
    estimator = LinearRegression().fit(X, Y)

    def nearly(fitted: Any) -> formulas.Step:
        right = formulas.model(fitted)
        return lambda rows: right(rows) * (1 + 1e-6 * (np.abs(rows).max(axis=1) > 100))
    monkeypatch.setitem(tiers._FORMS, "numpy", nearly)
    told = tiers.choose(estimator, X)
    assert told.tier == OWN
    assert "differs by 1.0e-06 for rows far outside of what was seen" in told.why


def test_a_form_that_names_another_class_at_the_threshold_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Agreeing within the tolerance is not enough where the answer is a class."""
    estimator = LogisticRegression().fit(X, TWO)
    edge = float(estimator.predict_proba(X)[5, 1])

    def nearly(fitted: Any) -> formulas.Step:
        right = formulas.model(fitted)
        return lambda rows: right(rows) - 1e-12
    monkeypatch.setitem(tiers._FORMS, "numpy", nearly)
    assert tiers.choose(estimator, X).tier == "numpy"
    told = tiers.choose(estimator, X, threshold=(1, edge))
    assert told.tier == OWN
    assert "another class for held-out rows" in told.why


def test_forests_compare_in_float32_as_scikit_learn_does() -> None:
    """Values that only float64 tells apart from a threshold fall on the same side."""
    estimator = RandomForestRegressor(20, random_state=0).fit(X, Y)
    thresholds = np.concatenate([tree.tree_.threshold[tree.tree_.feature == 0] for tree in estimator.estimators_])
    rows = np.tile(X[0], (3 * len(thresholds), 1))
    rows[:, 0] = np.concatenate([thresholds, np.nextafter(thresholds, np.inf), thresholds * (1 + 1e-9)])
    fast = tiers.build(estimator, {"tier": "treelite", "tolerance": 1e-9})
    np.testing.assert_array_equal(fast.predict(rows), estimator.predict(rows))


def test_large_ids_and_times_keep_their_digits() -> None:
    """Scaling is not folded into the weights: Unix times and ids above 2**24 lose nothing, as float32 would."""
    when = 1.7e9 + RNG.integers(0, 10**6, 400)
    ids = 2.0**40 + RNG.integers(0, 1000, 400)
    rows = np.column_stack([when, ids])
    target = 100 * (when - 1.7e9) / 1e6 + (ids - 2.0**40) / 1e3
    estimator = make_pipeline(StandardScaler(), LinearRegression()).fit(rows, target)
    told = tiers.choose(estimator, rows)
    assert told.tier == "numpy"
    np.testing.assert_allclose(tiers.build(estimator, told.to_json()).predict(rows), estimator.predict(rows),
                               atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 5), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_a_product_is_the_same_for_a_row_alone(n: int, h: int, d: int, seed: int) -> None:
    """For any shape; and it is the product, within rounding."""
    rng = np.random.default_rng(seed)
    rows, weights = rng.normal(size=(n, d)) * 10.0 ** rng.integers(-3, 4, d), rng.normal(size=(d, h))
    done = formulas.times(rows, weights)
    np.testing.assert_allclose(done, rows @ weights, rtol=1e-9, atol=1e-9)
    for place in range(n):
        np.testing.assert_array_equal(formulas.times(rows[place:place + 1], weights)[0], done[place])
        np.testing.assert_array_equal(formulas.times(rows, weights[:, 0])[place],
                                      formulas.times(rows[place:place + 1], weights[:, 0])[0])


def test_an_unknown_step_is_named() -> None:
    with pytest.raises(Unknown, match="NuSVR"):
        formulas.model(NuSVR())
    told = {"tier": "numpy", "tolerance": 1e-9}              # recorded elsewhere, not possible here
    assert tiers.build(NuSVR().fit(X, Y), told) is None
