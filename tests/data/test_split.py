"""Which rows train, and which are held out?"""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from trimtab.config import SplitBy
from trimtab.data.infer import infer_contract
from trimtab.data.quality import overlap_finding
from trimtab.data.split import split_rows
from trimtab.errors import DataUnreadable, UsageError


def table(rows: int) -> pl.DataFrame:
    rng = np.random.default_rng(7)
    return pl.DataFrame({"x": rng.normal(size=rows), "who": rng.integers(0, 6, rows).astype(str),
                         "t": np.sort(rng.integers(0, max(rows // 3, 2), rows)), "y": rng.normal(size=rows)})


def split(frame: pl.DataFrame, **by: object):
    return split_rows(frame, infer_contract(frame), SplitBy(**by))         # type: ignore[arg-type]


@given(st.integers(10, 300), st.sampled_from([0.1, 0.2, 0.25, 0.33, 0.5]), st.integers(0, 50))
def test_rows_are_split_as_the_ten_line_script_does(rows, share, seed):
    """The same rows in the same order as scikit-learn's train_test_split."""
    train, test, kind = split(table(rows), test=share, seed=seed)
    theirs = train_test_split(np.arange(rows), test_size=share, random_state=seed)
    assert kind == "row"
    np.testing.assert_array_equal(train, theirs[0])
    np.testing.assert_array_equal(test, theirs[1])


def test_no_group_is_on_both_sides():
    """One customer's rows either train or test."""
    frame = table(200)
    train, test, kind = split(frame, group="who")
    who = frame["who"].to_numpy()
    assert kind == "group"
    assert not set(who[train]) & set(who[test])
    assert sorted([*train, *test]) == list(range(200))


@given(st.lists(st.integers(0, 12), min_size=10, max_size=60).filter(lambda ts: len(set(ts)) > 1))
def test_the_newest_stretch_is_held_out_and_ties_stay_together(times):
    """Every training moment lies before every test moment."""
    count = len(times)
    frame = pl.DataFrame({"x": [float(i) for i in range(count)], "t": times, "y": [i * 0.5 for i in range(count)]})
    train, test, _ = split(frame, time="t")
    moments = np.array(times)
    assert moments[train].max() < moments[test].min()
    assert len(train) + len(test) == len(times)
    assert (np.diff(moments[train]) >= 0).all()


@pytest.mark.parametrize(("by", "kind", "said"), [
    ({"test": 1.2}, UsageError, "a share between 0 and 1"), ({"time": "t", "group": "who"}, UsageError, "choose one"),
    ({"time": "tt"}, UsageError, "Did you mean t?"), ({"group": "one"}, DataUnreadable, "has one group"),
    ({"time": "same"}, DataUnreadable, "At least two moments"), ({"time": "who"}, DataUnreadable, "not times"),
    ({"test": 0.99}, DataUnreadable, "rows to train on"), ({"group": "gap"}, DataUnreadable, "missing in 1 rows")])
def test_a_split_that_can_not_be_made_says_why(by, kind, said):
    """And how many rows, groups or moments are needed."""
    frame = table(20).with_columns(one=pl.lit("a"), same=pl.lit(3), gap=pl.Series([None, *range(19)]))
    with pytest.raises(kind) as caught:
        split_rows(frame, infer_contract(table(20)), SplitBy(**by))
    assert said in str(caught.value)


def test_too_few_rows_are_told_with_the_number_needed():
    """Nine rows are no data set."""
    with pytest.raises(DataUnreadable, match="at least 10 are needed"):
        split(table(9))


def test_test_rows_that_were_trained_on_are_counted():
    """A score on them is memory."""
    frame = table(50)
    doubled = pl.concat([frame, frame])
    contract = infer_contract(doubled)
    train, test, _ = split_rows(doubled, contract, SplitBy())
    found = overlap_finding(doubled, contract, train, test)
    assert "test rows also in the training rows" in found[0].text
    assert overlap_finding(frame, contract, np.arange(40), np.arange(40, 50)) == ()
