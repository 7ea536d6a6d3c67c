"""Rates, reliability and thresholds: small tables that people decide by."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest
from sklearn.calibration import calibration_curve

from trimtab.errors import UsageError
from trimtab.stats.calibration import reliability
from trimtab.stats.interval import Interval
from trimtab.stats.proportion import wilson
from trimtab.stats.scores import classification_scores
from trimtab.stats.threshold import choose_threshold

ROWS = st.lists(st.tuples(st.integers(0, 1), st.floats(0, 1)), min_size=1, max_size=60)


@given(st.integers(1, 200), st.data(), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_wilson_is_scipys(n: int, data: st.DataObject, level: float) -> None:
    """To 1e-12, and it holds the rate."""
    k = data.draw(st.integers(0, n))
    ours, theirs = wilson(k, n, level), binomtest(k, n).proportion_ci(level, method="wilson")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert ours.low <= ours.value <= ours.high
    assert ours.n == n


def test_wilson_covers() -> None:
    """Averaged over rates from 1% to 99%, 40 trials, exactly computed: 95% to within a point."""
    bounds = [wilson(k, 40) for k in range(41)]
    covered = [sum(binom.pmf(k, 40, rate) for k, b in enumerate(bounds) if b.low <= rate <= b.high)
               for rate in np.linspace(0.01, 0.99, 99)]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.01)
    none = wilson(0, 0)
    assert math.isnan(none.value)
    assert (none.low, none.high, none.n) == (0, 1, 0)
    assert Interval(value=1, low=0, high=2).to_json() == {"value": 1, "low": 0, "high": 2, "level": 0.95, "n": 0}


@given(ROWS)
def test_the_reliability_table_holds_every_row_and_adds_up_to_the_score(rows: list[tuple[int, float]]) -> None:
    """Rows in all bins sum to the rows; the weighted gaps are the score `calibration`."""
    y, p = (np.array(column) for column in zip(*rows, strict=True))
    table = reliability(y, p)
    assert sum(b.observed.n for b in table) == len(rows)
    for b in table:
        assert b.low - 1e-12 <= b.predicted <= b.high + 1e-12
        assert b.observed.low <= b.observed.value <= b.observed.high
    gap = sum(b.observed.n * abs(b.predicted - b.observed.value) for b in table) / len(rows)
    assert classification_scores(y, p, [0, 1])["calibration"] == pytest.approx(gap, abs=1e-12)


def test_the_reliability_table_is_scikit_learns() -> None:
    """The same points as its calibration_curve."""
    rng = np.random.default_rng(0)
    p = rng.random(500)
    y = rng.random(500) < p
    shares, means = calibration_curve(y, p, n_bins=10)
    table = reliability(y, p)
    assert [b.observed.value for b in table] == pytest.approx(shares)
    assert [b.predicted for b in table] == pytest.approx(means)
    assert reliability([], []) == ()
    assert reliability([1, 0], [math.nan, 0.5])[0].observed.n == 1


@given(ROWS, st.floats(0, 10), st.floats(0.1, 10))
def test_no_threshold_is_cheaper(rows: list[tuple[int, float]], cost_fn: float, cost_fp: float) -> None:
    """Against every threshold that calls rows differently; and the curve tells the truth about each of its points."""
    y, p = (np.array(column) for column in zip(*rows, strict=True))

    def cost(threshold: float) -> float:
        called = p >= threshold
        return float(np.mean(cost_fn * (~called & (y == 1)) + cost_fp * (called & (y == 0))))

    chosen = choose_threshold(y, p, cost_fn, cost_fp)
    assert chosen.cost == pytest.approx(cost(chosen.value), abs=1e-12)
    for threshold in (0.0, *p, math.inf):
        assert chosen.cost <= cost(threshold) + 1e-9
    assert chosen.value in [point.threshold for point in chosen.curve]
    thresholds = [point.threshold for point in chosen.curve]
    assert thresholds == sorted(set(thresholds))
    for point in chosen.curve:
        assert point.cost == pytest.approx(cost(point.threshold), abs=1e-12)
        scores = classification_scores(y, p, [0, 1], point.threshold)
        assert point.sensitivity == pytest.approx(scores["sensitivity"], nan_ok=True, abs=1e-12)
        assert point.specificity == pytest.approx(scores["specificity"], nan_ok=True, abs=1e-12)


def test_dear_misses_lower_the_threshold_to_its_ideal() -> None:
    """Honest probabilities, a miss nine times as dear as a false alarm: about 0.1."""
    rng = np.random.default_rng(0)
    p = rng.random(200_000)
    chosen = choose_threshold(rng.random(200_000) < p, p, cost_fn=9, cost_fp=1)
    assert chosen.value == pytest.approx(0.1, abs=0.02)
    assert len(chosen.curve) <= 201


def test_odd_thresholds_have_an_answer() -> None:
    """No rows, one class only, constant probabilities, all missing."""
    assert choose_threshold([], [], 3, 1).value == 0.25
    assert math.isnan(choose_threshold([1], [math.nan]).cost)
    never = choose_threshold([0, 0], [0.9, 1.0])
    assert never.cost == 0
    assert never.value > 1
    assert math.isnan(never.curve[0].sensitivity)
    assert choose_threshold([1, 1], [0.2, 0.9]).cost == 0
    assert choose_threshold([1, 0], [0.5, 0.5]).cost == 0.5


def test_what_does_not_fit_is_refused_with_a_sentence() -> None:
    """Costs, probabilities, truth, shapes, bins."""
    for call, words in ((lambda: choose_threshold([0, 1], [0.1, 0.9], -1, 1), "two numbers ≥ 0"),
                        (lambda: choose_threshold([0, 1], [0.1, 0.9], 0, 0), "not both 0"),
                        (lambda: choose_threshold([0, 1], [0.1, 0.9], math.nan, 1), "costs are nan"),
                        (lambda: choose_threshold([0, 1], [0.1, 1.9]), "between 0 and 1"),
                        (lambda: choose_threshold([0, 2], [0.1, 0.9]), "true and false"),
                        (lambda: reliability([0], [0.1, 0.9]), "one per row"),
                        (lambda: reliability([0], [0.1], bins=0), "at least one")):
        with pytest.raises(UsageError, match=words):
            call()
