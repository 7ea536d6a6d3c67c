"""Distances between two binned distributions: their laws, and other people's numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.spatial.distance
import scipy.stats
from hypothesis import assume, given
from hypothesis import strategies as st

from trimtab.sketch.column import NumericSketch
from trimtab.sketch.distances import jensen_shannon, ks, psi, wasserstein

COUNTS = st.lists(st.integers(0, 1000), min_size=6, max_size=6)
CENTRES = [-3.0, -1.0, 0.0, 0.5, 2.0, 10.0]


def all_distances(p: list[int], q: list[int]) -> list[float]:
    return [psi(p, q, floor=1e-9), jensen_shannon(p, q), wasserstein(p, q, CENTRES, 2.0), ks(p, q)]


@given(COUNTS, COUNTS)
def test_laws(p: list[int], q: list[int]) -> None:
    """≥ 0; symmetric; > 0 where shares differ; bounded where it says so."""
    assume(sum(p) and sum(q))
    there, back = all_distances(p, q), all_distances(q, p)
    assert there == pytest.approx(back, rel=1e-9, abs=1e-12)
    assert all(d >= 0 for d in there)
    assert there[1] <= 1
    assert there[3] <= 1
    if any(a * sum(q) != b * sum(p) for a, b in zip(p, q, strict=True)):
        assert all(d > 0 for d in there)


@given(COUNTS, st.integers(1, 50))
def test_equal_shares_are_at_distance_zero(p: list[int], times: int) -> None:
    """Exactly 0, however many rows each side has."""
    assume(sum(p))
    assert all_distances(p, [times * c for c in p]) == [0, 0, 0, 0]


@given(COUNTS, COUNTS, COUNTS)
def test_triangle(p: list[int], q: list[int], r: list[int]) -> None:
    """Jensen–Shannon (its root), Wasserstein and KS are metrics."""
    assume(sum(p) and sum(q) and sum(r))
    for pq, qr, pr in list(zip(all_distances(p, q), all_distances(q, r), all_distances(p, r), strict=True))[1:]:
        assert pr <= pq + qr + 1e-9


@given(COUNTS, COUNTS)
def test_the_numbers_are_scipys(p: list[int], q: list[int]) -> None:
    """jensenshannon with base 2, and wasserstein_distance over the centres."""
    assume(sum(p) and sum(q))
    assert jensen_shannon(p, q) == pytest.approx(scipy.spatial.distance.jensenshannon(p, q, base=2), abs=1e-7)
    assert wasserstein(p, q, CENTRES, 2.0) == pytest.approx(
        scipy.stats.wasserstein_distance(CENTRES, CENTRES, p, q) / 2, abs=1e-12)


def test_a_shift_of_half_a_spread_reads_as_half() -> None:
    """Wasserstein over 100 bins of a normal column is in training sds, and KS is that of the raw values."""
    rng = np.random.default_rng(0)
    then, now = rng.normal(10, 4, 20_000), rng.normal(12, 4, 20_000)
    baseline = NumericSketch.of(then)
    window = NumericSketch.of(now, baseline.edges)
    counts = baseline.count_array(), window.count_array()
    assert baseline.moments.sd is not None
    assert wasserstein(*counts, baseline.centres(window), baseline.moments.sd) == pytest.approx(0.5, abs=0.02)
    assert ks(*counts) == pytest.approx(scipy.stats.ks_2samp(then, now).statistic, abs=0.01)


def test_nothing_to_compare_is_not_a_number() -> None:
    """An empty window, a training column without spread, bins that don't match."""
    assert all(math.isnan(d) for d in all_distances([0] * 6, [1] * 6))
    assert math.isnan(wasserstein([1, 0], [0, 1], [0.0, 1.0], 0.0))
    assert wasserstein([1, 0], [2, 0], [0.0, 1.0], 0.0) == 0.0
    assert (psi([5], [9]), jensen_shannon([5], [9]), wasserstein([5], [9], [0.0], 1.0), ks([5], [9])) == (0, 0, 0, 0)
    with pytest.raises(ValueError, match="different bins"):
        psi([1, 2], [1, 2, 3])
