"""Kernel machines are first-class: forecast, approximated over budget, and written out as the sum they compute."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from trimtab.pipeline import kernel
from trimtab.pipeline.candidates import resolve
from trimtab.pipeline.formula import decision_values, formula, linear_forms, terms
from trimtab.pipeline.machine import unwrap
from trimtab.pipeline.model import Feature
from trimtab.pipeline.nystroem import approximated, landmarks, nystroem_forecast, sentence
from trimtab.pipeline.preprocess import build, plan, width
from trimtab.pipeline.recipes import Situation

FEATURES = (Feature(name="a", kind="number"), Feature(name="b", kind="number", missing=True),
            Feature(name="c", kind="category", categories=("w", "x", "y", "z")), Feature(name="d", kind="datetime"))
N = 160


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N, 4))
    X[:, 2] = rng.integers(0, 4, N)
    X[rng.random(N) < 0.1, 1] = np.nan
    X[:, 3] = X[:, 3] * 100 + 20_000
    y = 300 + 40 * X[:, 0] + 20 * (X[:, 2] == 1) + rng.normal(size=N)
    return X, {"regression": y, "binary": (y > 300).astype(np.int64),
               "multiclass": np.digitize(y, [280, 320]).astype(np.int64)}


def fitted(data, name, task, *, params=None, nystroem=False):
    X, targets = data
    candidate = resolve(name, task, root=None, params=params) if ":" not in name else None
    treatments = plan(FEATURES, X, candidate.style)
    situation = Situation(task=task, rows=N, width=width(treatments), target_sd=float(targets[task].std()), seed=3)
    setting = candidate.settings(situation)[-1]
    model = candidate.build(setting, situation)
    if nystroem:
        model = approximated(name, setting, situation, landmarks(N, 10**7))
    return kernel.fit(Pipeline([("prepare", build(treatments)), ("model", model)]), X, targets[task])


CASES = [("kernel_ridge", "regression"), ("svr", "regression"), ("svc", "binary"), ("svc", "multiclass")]


@pytest.mark.parametrize("nystroem", [False, True])
@pytest.mark.parametrize(("name", "task"), CASES)
def test_the_terms_sum_to_the_models_own_decision_value(data, name, task, nystroem):
    """Through preprocessing, target scaling, calibration and Nyström's map; one sum per class pair."""
    model = fitted(data, name, task, nystroem=nystroem)
    X = data[0][:25]
    ours = np.array([[term.total for term in terms(model, x)] for x in X])
    theirs = decision_values(model, X)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)
    if task == "regression":
        np.testing.assert_allclose(ours[:, 0], model.predict(X), rtol=1e-9)


@pytest.mark.parametrize(("name", "task", "kind"), [
    *((*case, kind) for case in CASES for kind in ("linear", "poly")), ("kernel_ridge", "regression", "laplacian"),
    ("kernel_ridge", "regression", "cosine"), ("svr", "regression", "sigmoid"), ("svc", "multiclass", "sigmoid")])
def test_other_kernels_are_written_out_as_well(data, name, task, kind):
    """γ, degree and constant as the library has them."""
    model = fitted(data, name, task, params={"kernel": kind})
    X = data[0][:10]
    ours = np.array([[term.total for term in terms(model, x)] for x in X])
    np.testing.assert_allclose(ours, decision_values(model, X), rtol=1e-8, atol=1e-8)


def test_the_terms_name_the_training_rows_that_carried_a_prediction(data):
    """A row's own kernel value is 1, and it is found among the rows by its position in the training set."""
    X, _ = data
    (sums,) = terms(fitted(data, "kernel_ridge", "regression"), X[17])
    assert sums.rows[17] == 17
    assert sums.kernel[17] == pytest.approx(1.0)
    machine = unwrap(model := fitted(data, "svr", "regression"))
    np.testing.assert_allclose(machine.support, model[0].transform(X)[machine.rows])
    assert len(sums.strongest(3)) == 3


def test_a_multiclass_machine_has_one_sum_for_each_pair_of_classes(data):
    """f > 0 votes for the first of the pair."""
    model = fitted(data, "svc", "multiclass")
    assert [term.pair for term in terms(model, data[0][0])] == [(0, 1), (0, 2), (1, 2)]
    text = formula(model, FEATURES, ("low", "mid", "high"))
    assert "positive: low, negative: high" in text


def test_the_formula_has_its_numbers(data):
    """ŷ(x) = Σ αᵢ K(xᵢ, x; θ) + b, with γ, λ and the count of rows."""
    text = formula(fitted(data, "kernel_ridge", "regression", params={"gamma": 0.05, "alpha": 0.1}), FEATURES)
    assert text.startswith("ŷ(x) = Σ αᵢ K(xᵢ, x; θ) + 30")
    assert "γ=0.05, λ=0.1, 160 support rows" in text


def test_a_negative_intercept_is_subtracted(data):
    """Not `+ −3.76`."""
    X, targets = data
    shifted = X, {**targets, "regression": targets["regression"] - 1000}
    assert "K(xᵢ, x; θ) − 6" in formula(fitted(shifted, "kernel_ridge", "regression"), FEATURES)


def test_a_linear_model_is_written_in_the_columns_own_units(data):
    """β of the scaled fit, turned back, reproduces the prediction from raw values."""
    model = fitted(data, "ridge", "regression", params={"alpha": 1.0})
    (form,) = linear_forms(model, FEATURES)
    weights = dict(form.weights)
    x = np.array([[1.5, -0.3, 2, 20_050.0]])
    by_hand = form.intercept + 1.5 * weights["a"] - 0.3 * weights["b"] + weights["[c = y]"] + 20_050 * weights["d"]
    assert by_hand == pytest.approx(model.predict(x)[0], rel=1e-9)
    x[0, 1] = np.nan
    by_hand += 0.3 * weights["b"] + weights["[b missing]"]
    assert by_hand == pytest.approx(model.predict(x)[0], rel=1e-9)


def test_kernel_ridge_in_place_is_scikit_learns_kernel_ridge(data):
    """The same duals, one third of the memory, and a class that a model file may hold."""
    X, targets = data
    ours = fitted(data, "kernel_ridge", "regression")
    theirs = clone(ours).fit(X, targets["regression"])
    assert type(ours[-1].regressor_) is type(theirs[-1].regressor_)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-9)


def test_a_singular_kernel_matrix_falls_back_to_scikit_learns_own_fit(data):
    """λ = 0 with repeated rows: a warning and a least-squares answer, no crash."""
    X, targets = data
    twice = np.vstack([X[:20], X[:20]])
    model = Pipeline([("prepare", build(plan(FEATURES, twice, "scaled"))), ("model", resolve(
        "kernel_ridge", "regression", root=None, params={"alpha": 0.0, "gamma": 0.1}).build(
        {"alpha": 0.0, "gamma": 0.1}, Situation(task="regression", rows=40, width=8, target_sd=1.0, seed=0)))])
    with pytest.warns(UserWarning, match=r"Singular matrix|[Ii]ll-conditioned"):
        kernel.fit(model, twice, np.concatenate([targets["regression"][:20]] * 2))
    assert np.isfinite(model.predict(X)).all()


def test_the_forecast_grows_with_the_square_of_the_rows():
    """n² numbers of 8 bytes for kernel ridge; libsvm's cache is bounded."""
    small, large = kernel.forecast(4_000, 10, "kernel_ridge"), kernel.forecast(8_000, 10, "kernel_ridge")
    assert large.memory_bytes / small.memory_bytes == pytest.approx(4, rel=0.02)
    assert small.what == "K: 4,000², 128 MB"
    assert large.seconds > 4 * small.seconds
    assert kernel.forecast(100_000, 10, "svr").memory_bytes < 250e6


def test_nystroem_stays_within_the_memory_and_the_rows():
    """Landmark rows: 10 √n, at most 1,000, at most what fits."""
    assert [landmarks(40_000, memory) for memory in (2**31, 10**8, 10)] == [1_000, 103, 0]
    for memory in (10**6, 10**7, 10**8):
        m = landmarks(40_000, memory)
        needed = [nystroem_forecast(40_000, 8, "svr", count).memory_bytes for count in (m, m + 1)]
        assert needed[0] <= memory < needed[1]
    expected = nystroem_forecast(40_000, 8, "svr", 101)
    assert expected.memory_bytes <= 1.01e8
    assert sentence("too large", "svr", expected, 101) == (
        "too large: approximated by Nyström's method with 101 landmark rows and LinearSVR (97 MB)")
    assert expected.seconds < nystroem_forecast(40_000, 8, "svr", 1_000).seconds


@pytest.mark.parametrize("nystroem", [False, True])
@pytest.mark.parametrize("name", ["kernel_ridge", "svr"])
def test_answers_to_a_row_differ_by_no_more_than_the_known_rounding(data, name, nystroem):
    """Alone, in a batch, in another order; and the bound is small beside the answers, so that it excuses little."""
    model, X = fitted(data, name, "regression", nystroem=nystroem), data[0]
    most = unwrap(model).rounding(X)
    order = np.random.default_rng(0).permutation(N)
    batch = model.predict(X)
    assert np.abs(model.predict(X[order]) - batch[order]).max() <= most
    assert max(abs(model.predict(X[row:row + 1])[0] - batch[row]) for row in range(N)) <= most
    assert 0 < most < 1e-6 * np.abs(batch).max()


def test_terms_that_are_rounding_are_left_out_of_a_linear_formula():
    """A column that tells nothing has a weight like 1e-17, which is no finding."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(200, 3))
    model = Pipeline([("scale", StandardScaler()), ("model", LinearRegression())]).fit(X, 3 * X[:, 0] - 2 * X[:, 2])
    named = tuple(Feature(name=name, kind="number") for name in "abc")
    assert formula(model, named) == "ŷ = 0 + 3·a − 2·c"
    assert dict(linear_forms(model, named)[0].weights)["b"] == 0
    assert formula(model.fit(X, 3 * X[:, 0] + 1e-9 * X[:, 1] + 5), named) == "ŷ = 5 + 3·a + 1e−09·b"
