"""Scores are scikit-learn's, to 1e-12, and have an answer where scikit-learn has a warning."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import UsageError
from trimtab.stats.inputs import BINARY, MULTICLASS, REGRESSION
from trimtab.stats.losses import row_losses
from trimtab.stats.scores import classification_scores, direction, regression_scores
from trimtab.stats.weighted import ClassificationScorer, RegressionScorer, scorer_for

SAME = {"rel": 1e-12, "abs": 1e-12}
SEEDS = st.integers(0, 2**32)


def binary_case(seed: int, rows: int, tied: bool) -> tuple[np.ndarray, np.ndarray]:
    """Random truth and probabilities; tied: rounded, so that many are equal and some are 0, ½ or 1."""
    rng = np.random.default_rng(seed)
    p = rng.random(rows)
    return rng.integers(0, 2, rows), p.round(1) if tied else p


@given(SEEDS, st.integers(2, 60))
def test_regression_scores_are_scikit_learns(seed: int, rows: int) -> None:
    """mse, rmse, mae, r2; also for a target far from zero, and for a constant one."""
    rng = np.random.default_rng(seed)
    for y in (rng.normal(size=rows), rng.normal(1e4, 3, rows), np.full(rows, 0.25)):
        for pred in (y + rng.normal(size=rows), y):
            found = regression_scores(y, pred)
            assert found["mse"] == pytest.approx(sk.mean_squared_error(y, pred), **SAME)
            assert found["rmse"] == pytest.approx(sk.root_mean_squared_error(y, pred), **SAME)
            assert found["mae"] == pytest.approx(sk.mean_absolute_error(y, pred), **SAME)
            assert found["r2"] == pytest.approx(sk.r2_score(y, pred), **SAME)


@given(SEEDS, st.integers(1, 60), st.booleans(), st.sampled_from([None, 0.0, 0.3, 0.5, 2.0]), st.integers(0, 1))
def test_binary_scores_are_scikit_learns(seed: int, rows: int, tied: bool, threshold: float | None,
                                         positive: int) -> None:
    """Every one that it has, at any threshold, whichever class is the positive one, ties included."""
    y, p1 = binary_case(seed, rows, tied)
    proba = np.column_stack((1 - p1, p1))
    p = proba[:, positive]
    found = classification_scores(y, proba, ["a", "b"], threshold, positive=positive)
    called = proba.argmax(axis=1) if threshold is None else np.where(p >= threshold, positive, 1 - positive)
    kind = {"pos_label": positive, "zero_division": 0}
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(y, called), **SAME)
    for name, theirs in (("precision", sk.precision_score), ("recall", sk.recall_score), ("f1", sk.f1_score)):
        assert found[name] == pytest.approx(theirs(y, called, **kind), **SAME)
    assert found["log_loss"] == pytest.approx(sk.log_loss(y, proba, labels=[0, 1]), **SAME)
    assert found["brier"] == pytest.approx(np.mean((p - (y == positive)) ** 2), **SAME)
    assert found["sensitivity"] == pytest.approx(found["recall"] if (y == positive).any() else math.nan, nan_ok=True)
    assert found["specificity"] == pytest.approx(
        sk.recall_score(y, called, pos_label=1 - positive) if (y != positive).any() else math.nan, nan_ok=True, **SAME)
    if len(np.unique(y)) == 2:
        assert found["auc"] == pytest.approx(sk.roc_auc_score(y == positive, p), **SAME)
        assert found["brier"] == pytest.approx(sk.brier_score_loss(y, p, pos_label=positive), **SAME)
    else:
        assert math.isnan(found["auc"])


@given(SEEDS, st.integers(1, 80), st.integers(3, 5))
def test_multiclass_scores_are_scikit_learns(seed: int, rows: int, k: int) -> None:
    """Macro averages over the classes that occur; auc one against the rest; Brier over all classes."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, k, rows)
    proba = rng.dirichlet(np.ones(k), rows)
    found = classification_scores(y, proba, range(k))
    called = proba.argmax(axis=1)
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(y, called), **SAME)
    for name, theirs in (("precision", sk.precision_score), ("recall", sk.recall_score), ("f1", sk.f1_score)):
        assert found[name] == pytest.approx(theirs(y, called, average="macro", zero_division=0), **SAME)
    assert found["log_loss"] == pytest.approx(sk.log_loss(y, proba, labels=range(k)), **SAME)
    assert found["brier"] == pytest.approx(sk.brier_score_loss(y, proba, labels=list(range(k))), **SAME)
    if len(np.unique(y)) == k:
        assert found["auc"] == pytest.approx(sk.roc_auc_score(y, proba, multi_class="ovr"), **SAME)


@given(SEEDS, st.integers(1, 40), st.booleans())
def test_weights_are_repeated_rows(seed: int, rows: int, tied: bool) -> None:
    """What the vectorised scores say under weights is what the plain ones say of the rows repeated."""
    rng = np.random.default_rng(seed)
    y, p = binary_case(seed, rows, tied)
    three = rng.dirichlet(np.ones(3), rows)
    scorers = [RegressionScorer(y, p), ClassificationScorer(y, p), ClassificationScorer(y, three)]
    weights = rng.integers(0, 4, size=(3, rows)).astype(float)
    weights[:, 0] += 1
    for scorer, given_y, shown in zip(scorers, (y, y, y), (p, p, three), strict=True):
        together = scorer(weights)
        for i in range(3):
            often = np.repeat(np.arange(rows), weights[i].astype(int))
            again = type(scorer)(given_y[often], shown[often]).point()
            if len(often) == 1 or (scorer is scorers[0] and np.ptp(given_y[often]) == 0):
                again.pop("r2", None)             # of a constant target: a convention, not a limit
            for name, value in again.items():
                assert together[name][i] == pytest.approx(value, rel=1e-9, abs=1e-9, nan_ok=True), name


def test_calibration_of_honest_probabilities_is_small_and_of_shy_ones_is_their_gap() -> None:
    """Events at the said rate: near 0. Saying 0.5 where 0.9 come true: 0.4."""
    rng = np.random.default_rng(0)
    p = rng.random(50_000)
    assert classification_scores(rng.random(50_000) < p, p, [0, 1])["calibration"] < 0.02
    y = np.array([1] * 9 + [0])
    assert classification_scores(y, np.full(10, 0.5), [0, 1])["calibration"] == pytest.approx(0.4)
    three = np.tile([0.6, 0.3, 0.1], (10, 1))
    assert classification_scores(1 - y, three, [0, 1, 2])["calibration"] == pytest.approx(0.3)


@pytest.mark.parametrize("rows", [0, 1])
def test_no_rows_and_one_row_have_an_answer(rows: int) -> None:
    """Nothing to score is NaN; one row scores what one row can."""
    found = regression_scores([1.0] * rows, [2.0] * rows)
    assert tuple(found) == REGRESSION
    assert math.isnan(found["r2"])
    assert math.isnan(found["mse"]) == (rows == 0)
    proba = np.full((rows, 2), 0.5)
    found = classification_scores([1] * rows, proba, [0, 1])
    assert tuple(found) == BINARY
    assert math.isnan(found["auc"])
    found = classification_scores([1] * rows, np.full((rows, 3), 1 / 3), [0, 1, 2])
    assert tuple(found) == MULTICLASS
    assert math.isnan(found["accuracy"]) == (rows == 0)


def test_a_prediction_that_is_no_number_makes_the_scores_none() -> None:
    """NaN in, NaN out, no warning; infinite and huge predictions too."""
    assert all(math.isnan(v) for v in regression_scores([1.0, 2.0], [1.0, math.nan]).values())
    assert all(math.isnan(v) for v in classification_scores([0, 1], [0.5, math.nan], [0, 1]).values())
    assert regression_scores([1.0, 2.0], [1e200, 1.0])["mse"] == math.inf
    assert regression_scores([1.0, 2.0], [math.inf, 1.0])["mae"] == math.inf
    assert math.isnan(row_losses("regression", [1.0], [math.nan])[0])


@given(SEEDS, st.integers(1, 50))
def test_row_losses_average_to_the_score(seed: int, rows: int) -> None:
    """Their mean is mse, or log loss, also for probabilities of 0 and 1."""
    y, p = binary_case(seed, rows, tied=True)
    assert row_losses("regression", y, p).mean() == pytest.approx(regression_scores(y, p)["mse"], **SAME)
    table = np.column_stack((1 - p, p))
    assert row_losses("binary", y, table).mean() == pytest.approx(
        classification_scores(y, table, [0, 1])["log_loss"], **SAME)
    assert row_losses("regression", [], []).shape == (0,)


def test_what_does_not_fit_is_refused_with_a_sentence() -> None:
    """Shapes, codes, classes, thresholds, tasks."""
    two = np.full((2, 2), 0.5)
    for call, words in (
            (lambda: regression_scores([1.0], [1.0, 2.0]), "one number per row"),
            (lambda: classification_scores([0, 1], two, ["a", "b", "c"]), "3 classes but 2 columns"),
            (lambda: classification_scores([0, 2], two, ["a", "b"]), "whole codes 0 … 1"),
            (lambda: classification_scores([0, -1], two, ["a", "b"]), "whole codes"),
            (lambda: classification_scores([0, 0.5], two, ["a", "b"]), "whole codes"),
            (lambda: classification_scores([0, math.nan], two, ["a", "b"]), "whole codes"),
            (lambda: classification_scores([0], two, ["a", "b"]), "one code per row"),
            (lambda: classification_scores([0, 1], two[:, :1], ["a"]), "at least two classes"),
            (lambda: classification_scores([0, 1], two, ["a", "b"], positive=2), "positive = 2"),
            (lambda: ClassificationScorer([0, 1], np.full((2, 3), 1 / 3), threshold=0.2), "needs two classes"),
            (lambda: scorer_for("multiclass", [0, 1], two), "the task is multiclass"),
            (lambda: scorer_for("ranking", [0, 1], two), "unknown"),                     # type: ignore[arg-type]
            (lambda: row_losses("ranking", [0, 1], two), "unknown"),                     # type: ignore[arg-type]
            (lambda: direction("rsme"), "Did you mean 'rmse'"),
            (lambda: direction("zzz"), "Known: r2")):
        with pytest.raises(UsageError, match=words):
            call()


def test_every_score_has_a_direction() -> None:
    """Gates and comparisons ask for it."""
    assert {name for name in (*REGRESSION, *BINARY) if direction(name) == "lower"} == {
        "mse", "rmse", "mae", "log_loss", "brier", "calibration"}


def test_importing_the_room_loads_neither_scipy_nor_scikit_learn() -> None:
    """Looked at in a fresh interpreter."""
    import subprocess
    import sys

    code = ("import sys; import trimtab.stats.bootstrap, trimtab.stats.paired, trimtab.stats.threshold, "
            "trimtab.sketch.column, trimtab.sketch.distances; "
            "print([m for m in ('scipy', 'sklearn', 'polars', 'pandas') if m in sys.modules])")
    with warnings.catch_warnings():
        assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
