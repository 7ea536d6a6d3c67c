"""Intervals hold what they promise, for independent rows, groups and time."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
import scipy.stats
from scipy.signal import lfilter

from trimtab.errors import UsageError
from trimtab.stats import bootstrap
from trimtab.stats.bootstrap import bca, score_differences, score_intervals
from trimtab.stats.resample import Units, block_length
from trimtab.stats.scores import classification_scores


def binomial_bounds(trials: int, rate: float = 0.95, chance: float = 1e-4) -> tuple[float, float]:
    """Between which shares of `trials` a true rate stays, but for `chance`."""
    low, high = scipy.stats.binom.interval(1 - chance, trials, rate)
    return low / trials, high / trials


def ar1(rng: np.random.Generator, n: int, phi: float) -> np.ndarray:
    """A stationary series with autocorrelation phi and variance 1."""
    noise = rng.normal(size=n) * math.sqrt(1 - phi * phi)
    noise[0] = rng.normal()
    return np.asarray(lfilter([1.0], [1.0, -phi], noise))


def test_a_95_percent_interval_of_a_regression_score_covers_in_95_percent() -> None:
    """500 test sets of 200 rows with normal errors: mse, mae and r2 within binomial bounds."""
    rng = np.random.default_rng(1)
    truth = {"mse": 1.0, "rmse": 1.0, "mae": math.sqrt(2 / math.pi), "r2": 0.8}
    hits = dict.fromkeys(truth, 0)
    for _ in range(500):
        signal = rng.normal(size=200) * 2
        found = score_intervals("regression", signal + rng.normal(size=200), signal, rng=rng, resamples=400)
        for name, value in truth.items():
            hits[name] += found[name].low <= value <= found[name].high
    low, high = binomial_bounds(500, 0.945)               # BCa at 200 rows is a shade below its name
    assert {name: low <= n / 500 <= high for name, n in hits.items()} == dict.fromkeys(hits, True), hits


def test_intervals_of_classification_scores_cover() -> None:
    """400 test sets of 200 rows, 30% positive: every score within binomial bounds, truth from a million rows."""
    rng = np.random.default_rng(2)

    def draw(n: int) -> tuple[np.ndarray, np.ndarray]:
        y = (rng.random(n) < 0.3).astype(int)
        return y, 1 / (1 + np.exp(-(1.5 * y - 1 + rng.normal(size=n))))

    truth = classification_scores(*draw(1_000_000), [0, 1])
    truth.pop("calibration")                              # biased upward in small samples: its interval is its own
    hits = dict.fromkeys(truth, 0)
    for _ in range(400):
        found = score_intervals("binary", *draw(200), rng=rng, resamples=400)
        for name, value in truth.items():
            hits[name] += found[name].low <= value <= found[name].high
    low, high = binomial_bounds(400)
    assert {name: low - 0.01 <= n / 400 <= high for name, n in hits.items()} == dict.fromkeys(hits, True), hits


def test_rows_of_a_group_are_no_news_of_their_own() -> None:
    """Each patient ten times: by row the interval of mse is far too narrow, by group it covers."""
    rng = np.random.default_rng(3)
    by_row = by_group = 0
    for _ in range(300):
        group = np.repeat(np.arange(60), 10)
        error = np.repeat(rng.normal(size=60), 10)
        rows, groups = (score_intervals("regression", error, np.zeros(600), rng=rng, resamples=300, groups=label)["mse"]
                        for label in (None, group))
        by_row += rows.low <= 1 <= rows.high
        by_group += groups.low <= 1 <= groups.high
    assert by_row / 300 < 0.6
    assert by_group / 300 > binomial_bounds(300, 0.93)[0]


def test_rows_in_time_are_drawn_in_blocks() -> None:
    """Errors with memory (0.7): by row the interval of mae covers too seldom, by blocks nearly as often as it says."""
    rng = np.random.default_rng(4)
    by_row = by_block = 0
    for _ in range(300):
        error = ar1(rng, 800, 0.7)
        block = 4 * block_length(np.abs(error))
        rows, blocks = (score_intervals("regression", error, np.zeros(800), rng=rng, resamples=300, blocks=size)["mae"]
                        for size in (None, block))
        truth = math.sqrt(2 / math.pi)
        by_row += rows.low <= truth <= rows.high
        by_block += blocks.low <= truth <= blocks.high
    assert by_row / 300 < 0.9
    assert by_block / 300 > binomial_bounds(300, 0.93)[0]


def test_differences_of_two_models_cover_and_tell_them_apart() -> None:
    """Auc of a model less auc of a noisier one, on the same rows: covered; paired, so narrower than either's own."""
    rng = np.random.default_rng(5)

    def draw(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        y = rng.integers(0, 2, n)
        score = y + rng.normal(size=n)
        return y, 1 / (1 + np.exp(-score - 0.5 * rng.normal(size=n))), 1 / (1 + np.exp(-score))

    y, a, b = draw(1_000_000)
    truth = classification_scores(y, b, [0, 1])["auc"] - classification_scores(y, a, [0, 1])["auc"]
    assert truth > 0
    hits = 0
    for _ in range(300):
        y, a, b = draw(200)
        found = score_differences("binary", y, a, b, rng=rng, resamples=300)["auc"]
        hits += found.low <= truth <= found.high
    alone = score_intervals("binary", y, b, rng=rng, resamples=300)["auc"]
    assert found.high - found.low < alone.high - alone.low
    low, high = binomial_bounds(300)
    assert low - 0.01 <= hits / 300 <= high


def test_the_same_generator_gives_the_same_interval() -> None:
    """Chance is handed in."""
    y = np.arange(50.0)
    first, second = (score_intervals("regression", y, y**1.01, rng=np.random.default_rng(9)) for _ in range(2))
    assert first == second


def test_weights_of_resamples() -> None:
    """Rows sum to n; a group's rows share a weight; each row is drawn equally often wherever it stands in a block."""
    rng = np.random.default_rng(0)
    assert (Units(30).draw(rng, 50).sum(axis=1) == 30).all()
    grouped = Units(6, groups=["b", "a", "b", "a", "c", "c"]).draw(rng, 50)
    assert (grouped[:, [0, 1, 4]] == grouped[:, [2, 3, 5]]).all()
    blocks = Units(20, blocks=6)
    assert blocks.count == 3
    drawn = blocks.draw(rng, 4000)
    assert (drawn.sum(axis=1) == 24).all()
    assert drawn.mean(axis=0) == pytest.approx(np.full(20, 1.2), abs=0.1)
    assert np.unique(blocks.clusters(), return_counts=True)[1].tolist() == [7, 7, 6]
    assert Units(5, blocks=99).count == 1
    for units in (Units(1000), Units(1000, blocks=3), Units(1000, groups=np.arange(1000) // 2)):
        sets = np.concatenate(list(units.leave_out(at_once=30)))
        assert len(sets) == 200
        assert (sets == 0).sum(axis=0).tolist() == [1] * 1000


def test_block_length_follows_memory() -> None:
    """Longer memory, longer blocks; near the figure of another implementation of the same papers."""
    from arch.bootstrap import optimal_block_length

    rng = np.random.default_rng(0)
    for phi, least in ((0.0, 1), (0.5, 8), (0.9, 30)):
        series = ar1(rng, 4000, phi)
        ours, theirs = block_length(series), float(optimal_block_length(series)["circular"].iloc[0])
        assert ours >= least
        assert abs(ours - theirs) <= 1 + 0.2 * theirs
    assert [block_length(s) for s in ([], [1.0], [2.0] * 50, [math.nan] * 50)] == [1, 1, 1, 1]


def test_a_perfect_score_is_not_a_certain_one() -> None:
    """20 rows all right: the lower bounds say how little 20 rows prove."""
    y = np.array([0, 1] * 10)
    found = score_intervals("binary", y, y * 0.98 + 0.01, rng=np.random.default_rng(0))
    for name in ("accuracy", "precision", "recall", "f1", "auc", "sensitivity", "specificity"):
        assert found[name].value == found[name].high == 1
        assert 0.65 < found[name].low < 0.85, name
    three = score_intervals("multiclass", np.arange(30) % 3, np.eye(3)[np.arange(30) % 3], rng=np.random.default_rng(0))
    assert three["auc"].value == 1
    assert 0.65 < three["auc"].low < 0.8
    grouped = score_intervals("binary", y, y * 0.98 + 0.01, rng=np.random.default_rng(0), groups=np.arange(20) // 4)
    assert grouped["accuracy"].low < 0.6


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_few_rows_have_an_answer(rows: int) -> None:
    """A value where there is one, bounds where two rows allow any, else NaN; no warning."""
    y = np.arange(rows)
    cases = (("regression", "mse", y + 1.0), ("binary", "log_loss", np.full((rows, 2), 0.5)),
             ("multiclass", "log_loss", np.full((rows, 3), 1 / 3)))
    for task, metric, shown in cases:
        for extra in ({}, {"groups": y}, {"blocks": 3}):
            rng = np.random.default_rng(0)
            found = score_intervals(task, y, shown, rng=rng, resamples=20, **extra)  # type: ignore[arg-type]
            assert all(math.isnan(i.value) for i in found.values()) == (rows == 0)
            assert math.isnan(found[metric].low) == (rows < 2 or "blocks" in extra)


def test_one_class_only_and_constant_and_undefined() -> None:
    """Auc without a second class is NaN with NaN bounds; a constant target and constant errors have flat intervals."""
    found = score_intervals("binary", [1] * 30, np.full(30, 0.7), rng=np.random.default_rng(0))
    assert math.isnan(found["auc"].value)
    assert math.isnan(found["auc"].low)
    assert math.isnan(found["specificity"].value)
    assert found["sensitivity"].low > 0.8
    flat = score_intervals("regression", [2.0] * 30, [3.0] * 30, rng=np.random.default_rng(0))
    assert (flat["mse"].low, flat["mse"].high, flat["r2"].value) == (1.0, 1.0, 0.0)
    broken = score_intervals("regression", [1.0, 2.0, 3.0], [1.0, math.nan, 3.0], rng=np.random.default_rng(0))
    assert math.isnan(broken["mse"].value)
    assert math.isnan(broken["mse"].high)
    endless = score_intervals("regression", [1.0, 2.0, 3.0], [1.0, math.inf, 3.0], rng=np.random.default_rng(0))
    assert math.isnan(endless["mse"].high)


@pytest.mark.parametrize("size", [1e-200, 1e150, 1e160, 1e308])
def test_numbers_at_the_ends_of_float64_have_an_answer(size: float) -> None:
    """Squares that overflow are infinite with NaN bounds, squares that vanish are 0; no warning."""
    y = np.array([1.0, -1.0, 0.5] * 5) * size
    for found in (score_intervals("regression", y, -y, rng=np.random.default_rng(0)),
                  score_differences("regression", y, -y, y / 2, rng=np.random.default_rng(0))):
        assert math.isfinite(found["mse"].low) == (size < 1e154)
    assert block_length(y) == block_length(y / size)


def test_very_many_rows_take_fewer_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound on drawn rows, 200 resamples and a normal interval say the same as 1,000 and BCa."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 5000)
    p = 1 / (1 + np.exp(-y - rng.normal(size=5000)))
    full = score_intervals("binary", y, p, rng=np.random.default_rng(1))
    monkeypatch.setattr(bootstrap, "MOST_DRAWN", 1_000_000)
    quick = score_intervals("binary", y, p, rng=np.random.default_rng(1))
    for name, interval in full.items():
        width = interval.high - interval.low
        assert (quick[name].low, quick[name].high) == pytest.approx((interval.low, interval.high), abs=0.15 * width)
    undefined = score_intervals("binary", np.ones(5000, int), p, rng=np.random.default_rng(1))
    assert math.isnan(undefined["auc"].low)


def test_a_thousand_resamples_of_20_000_rows_are_quick() -> None:
    """A guard against the row-by-row: about 0.5 CPU-seconds, and no array of rows × resamples."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 20_000)
    p = rng.random(20_000)
    start = time.process_time()
    score_intervals("binary", y, p, rng=rng)
    assert time.process_time() - start < 5


def test_bca_is_the_percentile_interval_without_bias_or_lean() -> None:
    """And leans where the jackknife leans; half undefined draws say nothing."""
    draws = np.random.default_rng(0).normal(size=100_000)
    low, high = bca(draws, float(np.median(draws)), np.array([-1.0, 0.0, 1.0]), 0.95)
    assert (low, high) == pytest.approx(tuple(np.quantile(draws, [0.025, 0.975])), abs=0.02)
    leaning = bca(draws, float(np.median(draws)), np.array([0.0] * 9 + [-1.0]), 0.95)
    assert leaning[0] > low
    assert leaning[1] > high
    assert all(map(math.isnan, bca(np.array([1.0, math.nan, math.nan]), 1.0, np.ones(3), 0.95)))
    assert bca(np.ones(10), 2.0, np.array([]), 0.95) == (1.0, 1.0)


def test_bad_settings_are_refused_with_a_sentence() -> None:
    """Levels, resamples, groups and blocks."""
    y = [1.0, 2.0]
    for extra, words in (({"level": 95}, "0.95"), ({"resamples": 0}, "1000 is usual"), ({"blocks": 0}, "≥ 1"),
                         ({"groups": [1]}, "one label per row"), ({"groups": [1, 2], "blocks": 2}, "not by both")):
        with pytest.raises(UsageError, match=words):
            score_intervals("regression", y, y, rng=np.random.default_rng(0), **extra)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="more than two"):
        score_differences("binary", [0, 1], [0.1, 0.2], [[0.1, 0.2, 0.7]] * 2, rng=np.random.default_rng(0))
