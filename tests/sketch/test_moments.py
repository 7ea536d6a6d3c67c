"""Moments merge as if the data had been seen at once."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from trimtab.sketch.moments import Moments

VALUES = st.lists(st.floats(-1e3, 1e3).map(lambda v: round(v, 3)), min_size=1, max_size=100)


@given(VALUES, VALUES)
def test_merged_moments_equal_one_pass(xs: list[float], ys: list[float]) -> None:
    """To 1e-9 of the largest sum that the spread allows; equal values spread by the rounding of their mean."""
    merged, whole = Moments.of(xs).merge(Moments.of(ys)), Moments.of(xs + ys)
    assert (merged.n, merged.min, merged.max) == (whole.n, whole.min, whole.max)
    reach = max(abs(v) for v in xs + ys)
    spread = max(abs(v - np.mean(xs + ys)) for v in xs + ys)
    assert merged.mean == pytest.approx(whole.mean, rel=1e-9, abs=1e-9 * reach)
    for power, name in ((2, "m2"), (3, "m3"), (4, "m4")):
        slack = whole.n * (1e-9 * spread**power + (8 * np.spacing(reach))**power)
        assert getattr(merged, name) == pytest.approx(getattr(whole, name), rel=1e-9, abs=slack)


@given(VALUES, VALUES, VALUES)
def test_the_order_of_merging_does_not_matter(xs: list[float], ys: list[float], zs: list[float]) -> None:
    """Associative and commutative up to rounding."""
    a, b, c = map(Moments.of, (xs, ys, zs))
    left, right = a.merge(b).merge(c), c.merge(a.merge(b))
    assert left.m2 == pytest.approx(right.m2, rel=1e-9, abs=1e-6)
    assert a.merge(Moments()) == a == Moments().merge(a)


def test_shape_is_that_of_scipy() -> None:
    """Skewness and excess kurtosis of a lopsided column, a million away from zero."""
    values = np.random.default_rng(0).exponential(size=10_000) + 1e6
    moments = Moments.of(values)
    assert moments.sd == pytest.approx(values.std(ddof=1), rel=1e-12)
    assert moments.skewness == pytest.approx(scipy.stats.skew(values), rel=1e-9)
    assert moments.kurtosis == pytest.approx(scipy.stats.kurtosis(values), rel=1e-9)


def test_what_is_not_there_is_none() -> None:
    """Empty, one value, constant, and sums beyond float64."""
    assert (Moments().mean, Moments().sd, Moments().skewness) == (None, None, None)
    assert (Moments.of([3.0]).mean, Moments.of([3.0]).sd) == (3.0, None)
    constant = Moments.of([2.0, 2.0])
    assert (constant.sd, constant.skewness, constant.kurtosis) == (0.0, None, None)
    huge = Moments.of([1e308, -1e308, 1e308, 1e308])
    assert (huge.m4, huge.kurtosis, huge.min, huge.max) == (None, None, -1e308, 1e308)
    assert huge.merge(huge).n == 8
    assert Moments.from_json(huge.to_json()) == huge
    assert math.isfinite(Moments.of([1e100, 2e100]).m2 or math.nan)
