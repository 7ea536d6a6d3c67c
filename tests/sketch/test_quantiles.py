"""Quantiles without the data: accuracy, merging, and equal bytes for equal data."""

from __future__ import annotations

import datasketches
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import Malformed, UsageError
from trimtab.sketch.kll import Quantiles

NUMBERS = st.lists(st.floats(-1e6, 1e6), max_size=300)


def rank_error(sketch: Quantiles, values: np.ndarray) -> float:
    """The largest distance of a rank from the truth, as a share of n; a run of ties counts as right anywhere in it."""
    ordered = np.sort(values)
    told = np.array([sketch.rank(v) for v in ordered[:: max(1, len(ordered) // 1000)]])
    asked = ordered[:: max(1, len(ordered) // 1000)]
    high = np.searchsorted(ordered, asked, "right") / len(ordered)
    return float(np.abs(told - high).max())


@given(NUMBERS, NUMBERS)
def test_small_data_are_kept_whole(xs: list[float], ys: list[float]) -> None:
    """Below k values a merged sketch is exact."""
    merged = Quantiles.of(xs).merge(Quantiles.of(ys))
    assert merged.count == len(xs) + len(ys)
    if xs + ys:
        assert rank_error(merged, np.array(xs + ys)) == 0


@given(st.integers(1, 40_000), st.integers(8, 900), st.integers(0, 2**32))
def test_one_pass_is_within_a_run(n: int, k: int, seed: int) -> None:
    """The state that we write is a sketch that the library reads: right count and ends, ranks within 1/k."""
    values = np.random.default_rng(seed).normal(size=n)
    sketch = Quantiles.of(values, k)
    opened = datasketches.kll_doubles_sketch.deserialize(sketch.to_bytes())
    assert (opened.n, opened.get_min_value(), opened.get_max_value()) == (n, values.min(), values.max())
    assert opened.serialize() == sketch.to_bytes()
    assert rank_error(sketch, values) <= 1 / k


def test_equal_data_give_equal_bytes() -> None:
    """In any order of rows, however often; the library's own updates do not."""
    values = np.random.default_rng(5).normal(size=50_000)
    assert Quantiles.of(values) == Quantiles.of(values[::-1])


@pytest.mark.parametrize("parts", [2, 64])
def test_merged_stays_within_the_stated_rank_error(parts: int) -> None:
    """64 replicas with different data: twice the 99% bound, so that chance does not fail the build."""
    rng = np.random.default_rng(parts)
    pieces = [rng.normal(loc=i / 10, size=int(rng.integers(1, 8000))) for i in range(parts)]
    merged = Quantiles.of([])
    for piece in pieces:
        merged = merged.merge(Quantiles.of(piece))
    values = np.concatenate(pieces)
    assert merged.count == len(values)
    assert rank_error(merged, values) <= 2 * Quantiles.RANK_ERROR


def test_the_library_states_the_error_that_we_state() -> None:
    """k = 800: 0.35% of rank."""
    assert datasketches.kll_doubles_sketch(800).normalized_rank_error(False) <= Quantiles.RANK_ERROR


def test_a_shift_far_from_zero_is_seen() -> None:
    """N(10⁶, 1): quantiles still resolve a tenth of the spread."""
    values = np.random.default_rng(0).normal(1e6, 1, size=100_000)
    told = Quantiles.of(values).quantiles([0.1, 0.5, 0.9])
    assert np.abs(told - np.quantile(values, [0.1, 0.5, 0.9])).max() < 0.02


def test_nothing_seen_is_not_a_number() -> None:
    """Empty or all missing: NaN, no warning."""
    empty = Quantiles.of([np.nan])
    assert empty.count == 0
    assert np.isnan([empty.quantile(0.5), empty.rank(1.0), *empty.quantiles([0.1, 0.2])]).all()
    assert Quantiles.from_bytes(empty.to_bytes()) == empty


def test_bad_bytes_and_bad_k_are_refused() -> None:
    """With what to do."""
    with pytest.raises(Malformed, match="not a quantile sketch"):
        Quantiles.from_bytes(b"hello")
    with pytest.raises(Malformed):
        Quantiles.from_bytes(Quantiles.of(range(5000)).to_bytes()[:-9])
    with pytest.raises(UsageError, match="800 is the default"):
        Quantiles.of([1.0], k=3)
