"""A window is counts over the training data's bins, and two windows are one window of all their rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trimtab.data.contract import Column, Contract
from trimtab.data.profile import profile
from trimtab.errors import Malformed, UsageError
from trimtab.monitor.windows import PREDICTION, Window

CONTRACT = Contract(columns=(Column(name="x", type="number", missing=True, max=5.0),
                             Column(name="kind", type="category", categories=("a", "b"), missing=True)))
SEEN = pl.DataFrame({"x": np.random.default_rng(0).normal(size=500), "kind": ["a", "b"] * 250})
BASELINE = profile(SEEN, CONTRACT)

cell = st.none() | st.floats(-50, 50) | st.sampled_from([0.0, 1.0])
rows = st.lists(st.tuples(cell, st.sampled_from([None, "a", "b", "other"])), max_size=40)


def frame_of(cells: list[tuple[float | None, str | None]]) -> pl.DataFrame:
    """The two columns."""
    return pl.DataFrame({"x": [x for x, _ in cells], "kind": [kind for _, kind in cells]},
                        schema={"x": pl.Float64, "kind": pl.String})


def counted(window: Window) -> Any:
    """Everything that adds exactly."""
    return window.rows, window.broken, {
        name: (one.sketch.rows, one.sketch.missing, one.sketch.count_array().tolist(), dict(one.broken))
        for name, one in window.columns.items()}


@given(rows, rows)
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_two_windows_added_are_the_window_of_all_their_rows(one: Any, two: Any) -> None:
    """Splitting a window between two replicas loses nothing of what evidence is computed from."""
    first, second = (Window.of(frame_of(part), CONTRACT, BASELINE) for part in (one, two))
    whole = Window.of(frame_of(one + two), CONTRACT, BASELINE)
    assert counted(first.merge(second)) == counted(whole)
    top = first.merge(second).columns["x"].top
    assert top is None or top[1] <= sum(x == top[0] for x, _ in one + two)


def test_a_stored_window_comes_back_as_it_was(world: Any) -> None:
    window = world.window(world.rows())
    assert Window.from_json(window.to_json()) == window
    assert Window.from_json(window.to_json(edges=False), world.baseline) == window
    with pytest.raises(Malformed, match=r"not of the form trimtab\.window/1"):
        Window.from_json({"schema": "other"})


def test_what_breaks_the_contract_is_counted_by_rule(world: Any) -> None:
    rows = world.rows(100).with_columns(volume=pl.when(pl.int_range(100) < 7).then(-1.0).otherwise(pl.col("volume")))
    window = world.window(rows)
    assert window.broken == 7
    assert dict(window.columns["volume"].broken) == {"min": 7}


def test_text_where_numbers_belong_is_counted_and_does_not_stop_the_window(world: Any) -> None:
    rows = world.rows(50).with_columns(pl.lit("n/a").alias("rate"))
    window = world.window(rows)
    assert dict(window.columns["rate"].broken) == {"type": 50}
    assert window.columns["rate"].missing == 1.0


def test_a_column_that_is_gone_is_missing_in_every_row(world: Any) -> None:
    window = world.window(world.rows(50), answers=pl.Series([1.0] * 50))
    gone = Window.of(world.rows(50).drop("temperature"), world.contract, world.baseline)
    assert window.columns["temperature"].missing == 0.0
    assert gone.columns["temperature"].missing == 1.0
    assert PREDICTION not in gone.columns


def test_windows_of_different_baselines_do_not_add(world: Any, a_world: Any) -> None:
    other = a_world(seed=2)
    with pytest.raises(UsageError, match="can't be added"):
        world.window(world.rows(20)).merge(other.window(other.rows(20)))
