"""What shakes the model is measured, and what was not tested says so."""

from __future__ import annotations

import numpy as np
import pytest

from trimtab import canon
from trimtab.pipeline import stability
from trimtab.pipeline.latency import measure, quantile_interval
from trimtab.pipeline.model import Feature, Learnable, Split
from trimtab.pipeline.stability import Refits, other_splits, refit_elsewhere, shake

NUMBERS = (Feature(name="a", kind="number"), Feature(name="b", kind="number", missing=True))


def _data(rows=300, task="regression", **more):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(rows, 2))
    y = X @ [1.0, 2.0] if task == "regression" else (X[:, 0] > 0).astype(np.int64)
    return Learnable(X=X, y=y, task=task, features=NUMBERS, classes=() if task == "regression" else (0, 1), **more)


def _split(rows=300, kind="row", test=60):
    order = np.random.default_rng(1).permutation(rows)
    return Split(train=order[test:], test=order[:test], kind=kind, seed=1, digest=canon.digest_bytes(b"split"))


def _mean_model(data):
    def refit(rows, seed):
        mean = data.y[rows].mean()
        return lambda X: np.full(len(X), mean)
    return refit


NOT_REFITTED = Refits(why_not="the test says so")


def _shake(predict, refits=NOT_REFITTED, features=NUMBERS, rounding=lambda X: 0.0):
    data, split = _data(), _split()
    return shake(task="regression", predict=predict, X=data.X[split.test], y=data.y[split.test],
                 reference=data.X[split.train], features=features, refits=refits, kind="row",
                 rng=np.random.default_rng(0), rounding=rounding)


@pytest.mark.parametrize("kind", ["row", "group", "time"])
def test_other_splits_never_touch_the_held_out_rows(kind):
    data = _data(groups=np.arange(300) // 10, times=np.arange(300.0))
    split = _split(kind=kind)
    splits = other_splits(data, split, rng=np.random.default_rng(0))
    assert len(splits) == 5
    for fit, check in splits:
        assert not set(fit) & set(check)
        assert not (set(fit) | set(check)) & set(split.test)
        if kind == "group":
            assert not set(data.groups[fit]) & set(data.groups[check])
        if kind == "time":
            assert data.times[fit].max() < data.times[check].min()


def test_each_training_row_is_predicted_out_of_fold_once():
    data, split = _data(), _split()
    refits = refit_elsewhere(data, split, _mean_model(data), rng=np.random.default_rng(0), budget_s=60)
    assert sorted(refits.rows) == sorted(split.train)
    assert len(refits.losses) == 5
    assert np.mean(refits.losses) == pytest.approx(data.y[split.train].var(), rel=0.05)


def test_a_fit_over_the_budget_is_not_tested_and_a_spent_budget_is_said():
    data, split = _data(), _split()
    over = refit_elsewhere(data, split, _mean_model(data), rng=np.random.default_rng(0), budget_s=10, forecast_s=20)
    assert "not tested (one fit takes about 20.00 s, over the budget" in _shake(lambda X: X[:, 0], over).words
    ticks = iter(range(0, 1000, 4))
    short = refit_elsewhere(data, split, _mean_model(data), rng=np.random.default_rng(0), budget_s=10,
                            now_s=lambda: next(ticks))
    assert 1 <= len(short.losses) < 5
    assert "of 5 planned; the budget was spent" in _shake(lambda X: X[:, 0], short).words


def test_of_many_rows_a_sample_is_split_anew(monkeypatch):
    """Refits on other splits cost no more than the training itself, and the words say on how many rows they were."""
    monkeypatch.setattr(stability, "MOST_ROWS", 100)
    data, split = _data(), _split()
    sizes = []

    def refit(rows, seed):
        sizes.append(len(rows))
        return _mean_model(data)(rows, seed)

    refits = refit_elsewhere(data, split, refit, rng=np.random.default_rng(0), budget_s=10, forecast_s=15)
    assert sizes == [80] * 5
    assert len(set(refits.rows)) == 100
    assert set(refits.rows) <= set(split.train)
    assert "5 other splits of 100 training rows " in _shake(lambda X: X[:, 0], refits).words


def test_classes_are_stratified_in_other_splits():
    data, split = _data(task="binary"), _split()
    for _, check in other_splits(data, split, rng=np.random.default_rng(0)):
        assert data.y[check].mean() == pytest.approx(data.y[split.train].mean(), abs=0.02)


def test_input_noise_and_missing_values_are_measured_as_a_change_of_the_loss():
    report = _shake(lambda X: np.nan_to_num(X) @ [1.0, 2.0])
    noise, missing = report.get("input noise"), report.get("missing values")
    assert noise.values[0] == pytest.approx(0.01**2 * 5, rel=0.5)     # (1² + 2²) · (1% sd)²
    assert missing.values[0] > 0.1
    assert "contract allows them in 1 column" in missing.words
    assert "5 other splits" not in report.words
    assert report.words.startswith("other splits: not tested (the test says so) · 1% input noise +0.000")


def test_a_contract_without_missing_values_makes_the_check_not_applicable():
    check = _shake(lambda X: X[:, 0], features=(NUMBERS[0], NUMBERS[0])).get("missing values")
    assert not check.tested
    assert check.words == "missing values: not applicable (the contract allows none)"


def test_a_model_that_refuses_or_spoils_allowed_missing_values_is_told_on():
    def refuses(X):
        if np.isnan(X).any():
            raise ValueError("Input contains NaN.")
        return X[:, 0]

    assert "the model refuses them (Input contains NaN.)" in _shake(refuses).words
    assert "some predictions are not finite" in _shake(lambda X: X[:, 1]).words


def test_a_prediction_that_depends_on_its_neighbours_is_found():
    """Scaling by the batch's own mean is a classic bug: right in evaluation, wrong for single requests."""
    assert "row order CHANGES predictions" in _shake(lambda X: X[:, 0] - X[:, 0].mean()).words
    assert "row order changes nothing" in _shake(lambda X: X[:, 0]).words


def test_rounding_is_called_so_only_within_its_known_bound():
    """The check of 1e-9 stays; what is over it is rounding where sums of that size can differ by so much, and not
    otherwise."""
    def rounds(X):
        return X[:, 0] + (5e-8 if len(X) == 1 else 0.0)

    shaken = {bound: _shake(rounds, rounding=lambda X, bound=bound: bound).get("row order")
              for bound in (0.0, 1e-9, 1e-7)}
    assert "row order CHANGES predictions" in shaken[0.0].words
    assert "row order CHANGES predictions" in shaken[1e-9].words
    assert shaken[1e-7].words == ("row order changes predictions by ≤ 5e-08, over 1e-09 of the largest: rounding of "
                                  "cancelling terms, which can come to 1e-07")
    assert shaken[1e-7].values[0] == pytest.approx(5e-8)


def test_p99_is_bounded_by_its_order_statistics_in_95_percent_of_samples():
    """The interval of the 99th percentile covers the true one (exponential times) at its nominal rate: 400 samples."""
    truth = -np.log(0.01)
    draws = (np.random.default_rng(seed).exponential(size=1000) for seed in range(400))
    found = [quantile_interval(np.sort(draw), 0.99) for draw in draws]
    covered = np.mean([one.low <= truth <= one.high for one in found])
    assert 0.95 <= covered <= 0.995                       # ranks are whole numbers: nominal 95%, exactly 97.6%


def test_too_few_calls_have_no_upper_bound():
    assert quantile_interval(np.arange(1.0, 101.0), 0.99).high == np.inf


def test_latency_times_single_rows_one_by_one():
    shapes, ticks = [], iter(np.arange(0, 100, 0.001))
    found = measure(lambda X: shapes.append(X.shape), np.zeros((7, 2)), calls=500, now_s=lambda: next(ticks))
    assert set(shapes) == {(1, 2)}
    assert len(shapes) == 520
    assert found.p50_ms == pytest.approx(1.0)
    assert found.p99.n == 500


def test_a_slow_model_stops_the_clock():
    ticks = iter(range(10_000))
    found = measure(lambda X: None, np.zeros((1, 2)), budget_s=30, now_s=lambda: next(ticks))
    assert found.p99.n < 100
    assert found.p99.high == np.inf
