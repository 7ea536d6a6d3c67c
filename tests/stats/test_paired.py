"""A paired comparison errs as seldom as it says, and finds what is there."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from scipy.signal import lfilter

from trimtab.errors import UsageError
from trimtab.stats.paired import paired_difference
from trimtab.stats.resample import block_length


def within(hits: int, trials: int, rate: float, chance: float = 1e-4) -> bool:
    low, high = scipy.stats.binom.interval(1 - chance, trials, rate)
    return bool(low <= hits <= high)


def test_it_is_the_paired_t_test() -> None:
    """Mean, bounds and p to 1e-12 against SciPy."""
    rng = np.random.default_rng(0)
    a, b = rng.exponential(size=80), rng.exponential(size=80)
    found, theirs = paired_difference(a, b, level=0.9), scipy.stats.ttest_rel(a, b)
    bounds = theirs.confidence_interval(0.9)
    assert (found.mean, found.p, found.low, found.high) == pytest.approx(
        (np.mean(a - b), theirs.pvalue, bounds.low, bounds.high), rel=1e-10)
    assert (found.n, found.units, found.level) == (80, 80, 0.9)
    assert found.to_json()["p"] == found.p


def test_equal_models_are_called_different_as_often_as_it_says() -> None:
    """2,000 comparisons of two equally good models: p < 0.05 in 5%, p < 0.01 in 1%, within binomial bounds."""
    rng = np.random.default_rng(1)
    p = np.array([paired_difference(*(rng.normal(size=(2, 100)) ** 2)).p for _ in range(2000)])
    assert within(int((p < 0.05).sum()), 2000, 0.05)
    assert within(int((p < 0.01).sum()), 2000, 0.01)


def test_equal_models_in_time_need_blocks() -> None:
    """Differences with memory 0.7: by row a third is called different; by blocks about 5%."""
    rng = np.random.default_rng(2)
    by_row = by_block = 0
    for _ in range(500):
        difference = lfilter([1.0], [1.0, -0.7], rng.normal(size=1100))[100:]
        by_row += paired_difference(difference, np.zeros(1000)).p < 0.05
        by_block += paired_difference(difference, np.zeros(1000), blocks=4 * block_length(difference)).p < 0.05
    assert by_row > 100
    assert by_block <= scipy.stats.binom.ppf(0.9999, 500, 0.06)


def test_equal_models_on_groups_need_groups() -> None:
    """Ten rows of each of 50 patients: by group within binomial bounds, by row far off."""
    rng = np.random.default_rng(3)
    patient = np.repeat(np.arange(50), 10)
    p = np.array([[paired_difference(d, np.zeros(500), groups=g).p for g in (None, patient)]
                  for d in (np.repeat(rng.normal(size=50), 10) for _ in range(500))])
    assert (p[:, 0] < 0.05).mean() > 0.3
    assert within(int((p[:, 1] < 0.05).sum()), 500, 0.05)


def test_the_interval_covers_the_true_difference() -> None:
    """1,000 comparisons where b is better by 0.1."""
    rng = np.random.default_rng(4)
    found = [paired_difference(rng.normal(size=50) + 0.1, np.zeros(50)) for _ in range(1000)]
    assert within(sum(f.low <= 0.1 <= f.high for f in found), 1000, 0.95)


def test_a_better_model_is_found_and_positive_means_b() -> None:
    """A fifth less loss on 500 rows."""
    rng = np.random.default_rng(5)
    loss = rng.exponential(size=500)
    found = paired_difference(loss, 0.8 * loss)
    assert found.low > 0
    assert found.p < 1e-6
    assert paired_difference(0.8 * loss, loss).mean == -found.mean


def test_odd_losses_have_an_answer() -> None:
    """Nothing, one row, one block, identical models, a constant difference, NaN and infinite losses."""
    for a, b, extra in (([], [], {}), ([1.0], [2.0], {}), ([1.0, 2.0], [2.0, 1.0], {"blocks": 2}),
                        ([1.0, math.nan], [1.0, 1.0], {}), ([1.0, math.inf], [1.0, 1.0], {}),
                        ([math.inf, 1.0], [math.inf, 1.0], {}), ([1.0, 2.0], [1.0, 3.0], {"groups": [7, 7]})):
        found = paired_difference(a, b, **extra)  # type: ignore[arg-type]
        assert all(map(math.isnan, (found.low, found.high, found.p)))
    same = paired_difference([0.1, 0.2, 0.3], [0.1, 0.2, 0.3])
    assert (same.mean, same.low, same.high, same.p) == (0, 0, 0, 1)
    plain = paired_difference([1.0, 2.0, 0.0], [0.0, 0.0, 0.0])
    for unit in (1e-300, 1e300):
        tiny_or_huge = paired_difference([unit, 2 * unit, 0.0], [0.0, 0.0, 0.0])
        assert tiny_or_huge.p == pytest.approx(plain.p)
        assert tiny_or_huge.high / unit == pytest.approx(plain.high)
    constant = paired_difference([0.1, 0.2, 0.3], [0.0, 0.1, 0.2])
    assert constant.mean == pytest.approx(0.1)
    assert constant.p < 1e-12
    for losses, level, words in (([1.0], 0.95, "shapes"), ([1.0, 2.0], 2, "0.95")):
        with pytest.raises(UsageError, match=words):
            paired_difference([1.0, 2.0], losses, level=level)
