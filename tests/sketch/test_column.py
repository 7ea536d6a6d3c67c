"""The profile of a column: what it counts, how it merges, how it is stored."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab import canon
from trimtab.errors import Malformed, UsageError
from trimtab.sketch.bins import bin_centres, bin_counts, quantile_edges, sort_column
from trimtab.sketch.column import CategorySketch, NumericSketch, column_from_json

ANY_FLOAT = st.floats(allow_nan=True, allow_infinity=True, width=64)
COLUMN = st.lists(ANY_FLOAT, max_size=200)
WORDS = st.lists(st.one_of(st.none(), st.text(max_size=3)), max_size=200)


def assert_same_but_quantiles(one: NumericSketch, other: NumericSketch) -> None:
    assert (one.rows, one.missing, one.infinite, one.edges, one.counts) == (
        other.rows, other.missing, other.infinite, other.edges, other.counts)
    assert (one.moments.n, one.moments.min, one.moments.max) == (other.moments.n, other.moments.min, other.moments.max)


@given(COLUMN, COLUMN)
def test_two_batches_count_what_one_pass_counts(xs: list[float], ys: list[float]) -> None:
    """Folding row groups loses no row, whatever the numbers are."""
    whole = NumericSketch.of(xs + ys)
    merged = NumericSketch.of(xs, whole.edges).merge(NumericSketch.of(ys, whole.edges))
    assert_same_but_quantiles(merged, NumericSketch.of(xs + ys, whole.edges))


@given(COLUMN)
def test_every_row_is_counted_once(xs: list[float]) -> None:
    """Bins, missing and infinite values add up to the rows; the two outer bins are empty in the data itself."""
    sketch = NumericSketch.of(xs)
    assert sketch.rows == len(xs) == sketch.missing + sketch.infinite + sum(sketch.counts)
    assert sketch.missing == sum(map(math.isnan, xs))
    assert sketch.infinite == sum(map(math.isinf, xs))
    if len(sketch.counts) > 1 and sketch.moments.min > -np.finfo(float).max:
        assert sketch.counts[0] == sketch.counts[-1] == 0


@given(COLUMN, COLUMN)
def test_counts_are_those_of_plain_comparison(xs: list[float], ys: list[float]) -> None:
    """Bin i holds edge[i−1] < v ≤ edge[i]."""
    edges = quantile_edges(xs, bins=7)
    finite = [y for y in ys if math.isfinite(y)]
    by_hand = [sum(1 for y in finite if sum(y > edge for edge in edges) == i) for i in range(len(edges) + 1)]
    assert bin_counts(ys, edges).tolist() == by_hand


@given(COLUMN)
def test_a_stored_profile_comes_back_bit_for_bit(xs: list[float]) -> None:
    """JSON keeps every bit of every number, and equal data give equal text."""
    sketch = NumericSketch.of(xs)
    text = canon.dumps(sketch.to_json())
    assert column_from_json(canon.loads(text)) == sketch
    assert canon.dumps(NumericSketch.of(xs[::-1]).to_json(quantiles=False)).startswith(b'{"counts"')
    assert canon.dumps(NumericSketch.of(list(xs)).to_json()) == text


@given(WORDS, WORDS)
def test_categories_merge_exactly(xs: list[str | None], ys: list[str | None]) -> None:
    """Up to 100 categories of a side's own choice, or any given list: merged equals one pass."""
    one_pass = CategorySketch.of(xs + ys, top=1000)
    assert CategorySketch.of(xs, top=1000).merge(CategorySketch.of(ys, top=1000)) == one_pass
    names = one_pass.categories.names[:3]
    assert CategorySketch.of(xs, names).merge(CategorySketch.of(ys, names)) == CategorySketch.of(xs + ys, names)


@given(WORDS, WORDS, st.integers(1, 5))
def test_a_cut_list_says_how_wrong_it_may_be(xs: list[str | None], ys: list[str | None], top: int) -> None:
    """Beyond `top` categories a merged count is a lower bound that misses at most `error`; rows are never lost."""
    values = [value for value in xs + ys if value is not None]
    merged = CategorySketch.of(xs, top=top).merge(CategorySketch.of(ys, top=top))
    assert merged.rows == len(xs) + len(ys) == merged.missing + merged.categories.rows
    for name, count in zip(merged.categories.names, merged.categories.counts, strict=True):
        assert count <= values.count(name) <= count + merged.categories.error
    for name in set(values) - set(merged.categories.names):
        assert values.count(name) <= merged.categories.dropped
    assert merged.categories.distinct == len(set(values))


@given(WORDS, st.integers(1, 5))
def test_stored_categories_come_back(xs: list[str | None], top: int) -> None:
    """Chinese names, empty names and all."""
    sketch = CategorySketch.of(xs, top=top)
    assert column_from_json(canon.loads(canon.dumps(sketch.to_json()))) == sketch


def test_many_different_names_are_estimated_the_same_in_one_pass_and_merged() -> None:
    """100,000 names: within four standard errors of 6%, and merged equals one pass."""
    counts = {f"customer {i}": 1 for i in range(100_000)}
    names = list(counts)
    whole = CategorySketch.of_counts(counts).categories
    halves = [CategorySketch.of(part).categories for part in (names[:60_000], names[40_000:])]
    assert whole.distinct is not None
    assert abs(whole.distinct / 100_000 - 1) < 0.25
    assert halves[0].merge(halves[1]).distinct == whole.distinct
    assert CategorySketch.of(["a"], ["a"]).categories.distinct is None


def test_values_beyond_the_training_range_have_bins_of_their_own() -> None:
    """A constant column that moves is visible in the counts."""
    baseline = NumericSketch.of([5.0] * 10)
    assert baseline.counts == (0, 10, 0)
    assert NumericSketch.of([4.9, 5.0, 5.1, 5.1], baseline.edges).counts == (1, 1, 2)


@pytest.mark.parametrize("values", [
    [], [math.nan] * 3, [1.0], [7.0] * 50, [math.inf, -math.inf], [1e308, -1e308, 1e308], [5e-324, 0.0, -0.0]])
def test_odd_columns_have_a_profile(values: list[float]) -> None:
    """Empty, one row, constant, all missing, infinite, at the ends of float64: an answer, no warning, exact storage."""
    sketch = NumericSketch.of(values)
    assert sketch.merge(NumericSketch.of(values, sketch.edges)).rows == 2 * len(values)
    assert column_from_json(canon.loads(canon.dumps(sketch.to_json()))) == sketch
    assert len(sketch.centres()) == len(sketch.counts)
    assert np.isfinite(sketch.centres()).all()


def test_equal_bins_hold_equal_shares() -> None:
    """100 bins of 1,000 rows hold ten each."""
    counts = NumericSketch.of(np.random.default_rng(0).normal(size=1000)).counts
    assert counts == (0, *[10] * 100, 0)


def test_sketches_over_different_edges_refuse_to_merge() -> None:
    """The error says what to do."""
    with pytest.raises(UsageError, match=r"NumericSketch\.of\(values, first\.edges\)"):
        NumericSketch.of([1.0]).merge(NumericSketch.of([2.0]))
    with pytest.raises(UsageError, match=r"names=first\.names"):
        CategorySketch.of(["a"], ["a"]).merge(CategorySketch.of(["a"], ["b"]))


@pytest.mark.parametrize("damage", [
    {"kind": "photo"}, {"rows": "3"}, {"rows": True}, {"counts": [1]}, {"moments": 3}, {"quantiles": "!"},
    {"quantiles": "AAAA"}, {"edges": None}, {"moments": {"n": 1.5}}, {"moments": {"n": 1}}])
def test_a_damaged_profile_is_refused_with_a_sentence(damage: dict[str, object]) -> None:
    """Never a traceback from inside."""
    with pytest.raises(Malformed, match="trimtab init"):
        column_from_json({**NumericSketch.of([1.0, 2.0]).to_json(), **damage})
    with pytest.raises(Malformed, match="'kind' is missing"):
        column_from_json({})
    category = CategorySketch.of(["a"]).to_json()
    for broken in ({}, {"names": 3}, {"names": [], "counts": [1], "hashes": []}):
        with pytest.raises(Malformed):
            column_from_json({**category, "categories": broken})


def test_parts_of_bins() -> None:
    """Integers, booleans and strided columns are read as numbers; outer centres reach the extremes that are given."""
    table = np.arange(12).reshape(4, 3)
    assert sort_column(table[:, 1]).values.tolist() == [1, 4, 7, 10]
    assert sort_column([True, False]).values.tolist() == [0, 1]
    assert bin_centres([], 1.0, 3.0).tolist() == [2.0]


def test_a_million_rows_take_a_moment() -> None:
    """A guard against the quadratic and the row-by-row: 1,000,000 rows well under a second of CPU (about 25 ms)."""
    column = np.random.default_rng(0).normal(size=1_000_000)
    start = time.process_time()
    NumericSketch.of(column)
    assert time.process_time() - start < 1.0
