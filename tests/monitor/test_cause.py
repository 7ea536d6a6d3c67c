"""Causes come in the order in which they should be ruled out, and broken data is called broken."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from trimtab.data.edit import edit
from trimtab.monitor.cause import Cause, broken, causes
from trimtab.monitor.drift import Detector, Rate
from trimtab.monitor.harm import Harm
from trimtab.monitor.units import nearest, unit_change
from trimtab.monitor.windows import Window
from trimtab.sketch.column import NumericSketch


def explained(world: Any, frame: pl.DataFrame, *, quiet: int = 2, harm: Harm | None = None,
              answers: pl.Series | None = None) -> tuple[Cause, ...]:
    """What is said of these rows after a few normal windows."""
    detector = world.detector()
    before: Window | None = None
    for _ in range(quiet):
        before = world.window(world.rows())
        assert not detector.step(before).alarmed
    window = world.window(frame, answers=answers)
    return causes(detector.step(window), window, world.contract, world.baseline, before=before, harm=harm)


def test_a_quiet_window_has_no_cause(world: Any) -> None:
    assert explained(world, world.rows()) == ()


def test_a_shifted_column_is_real_and_may_be_learned_from(world: Any) -> None:
    found = explained(world, world.rows().with_columns(pl.col("rate") + 0.6))
    assert [cause.kind for cause in found] == ["shift", "answers"]
    assert found[0].sentence.startswith("rate rose: mean +0.")
    assert broken(found) is None


def test_a_burst_of_missing_values_is_broken_data(world: Any) -> None:
    found = explained(world, world.rows().with_columns(pl.when(pl.int_range(1000) % 5 > 0).then("rate")))
    assert found[0].kind == "missing"
    assert found[0].sentence == "rate is missing in 20.0% of the rows, in training 0.0%"
    assert broken(found) == "the data look broken: rate is missing in 20.0% of the rows, in training 0.0%"


def test_a_stuck_sensor_is_broken_data(world: Any) -> None:
    stuck = pl.when(pl.int_range(1000) >= 600).then(17.25).otherwise(pl.col("temperature")).alias("temperature")
    found = explained(world, world.rows().with_columns(stuck))
    assert (found[0].kind, found[0].column, found[0].broken) == ("stuck", "temperature", True)
    assert "stood still at 17.25: 400 rows in a row" in found[0].sentence


def test_one_stuck_sensor_of_many_that_take_turns_is_found_too(world: Any) -> None:
    stuck = pl.when(pl.int_range(1000) % 5 < 2).then(-3.5).otherwise(pl.col("temperature")).alias("temperature")
    found = explained(world, world.rows().with_columns(stuck))
    assert found[0].kind == "stuck"
    assert "is -3.5 in 40% of the rows" in found[0].sentence


@pytest.mark.parametrize(("change", "column", "said"), [
    (pl.col("temperature") * 1.8 + 32, "temperature", "°C, °F"), (pl.col("temperature") + 273.15, "temperature", "K)"),
    (pl.col("volume") * 1000, "volume", "× 10^3"), (pl.col("volume") / 100, "volume", "× 10^-2"),
    (pl.col("volume") * 60, "volume", "minutes, seconds"),
    (pl.col("rate") * 100, "rate", "× 10^2"),
], ids=["fahrenheit", "kelvin", "thousand", "hundredth", "minutes", "percent"])
def test_a_changed_unit_is_named(world: Any, change: pl.Expr, column: str, said: str) -> None:
    found = explained(world, world.rows().with_columns(change))
    one = next(cause for cause in found if cause.column == column and cause.kind in ("unit", "shift"))
    assert one.kind == "unit", found
    assert said in one.sentence
    assert broken(found) is not None


def test_a_unit_that_changed_in_the_middle_of_a_window_is_seen(world: Any) -> None:
    late = pl.when(pl.int_range(1000) > 700).then(pl.col("temperature") + 273.15).otherwise("temperature")
    found = explained(world, world.rows().with_columns(late.alias("temperature")))
    assert found[0].kind == "unit"


def test_a_small_factor_is_named_only_where_hardly_a_value_lies_where_it_lay() -> None:
    """People's heights in inches are none in centimetres; a market whose days swing 1.6 times as far is a market."""
    rng = np.random.default_rng(3)
    tall = NumericSketch.of(rng.normal(170, 9, 5_000))
    assert unit_change(tall, NumericSketch.of(rng.normal(170, 9, 500) / 2.54, tall.edges)) == \
        "÷ 2.54 (centimetres, inches)"
    ranges = NumericSketch.of(np.exp(rng.normal(0, 0.5, 5_000)))
    before, now = (NumericSketch.of(f * np.exp(rng.normal(0, 0.5, 500)), ranges.edges) for f in (1.0, 1.609))
    assert unit_change(ranges, now, before) == ""


def test_a_figure_that_is_held_by_nature_is_not_stuck(world: Any) -> None:
    """A monthly yield stands still in daily rows, in training as in production."""
    frame = world.rows().with_columns(temperature=pl.when(pl.int_range(1000) > 500).then(27.0).otherwise("temperature"))
    detector = world.detector()
    window = world.window(frame)
    evidence = detector.step(window)
    kinds = [[cause.kind for cause in causes(evidence, window, world.contract, world.baseline, runs=runs)
              if cause.column == "temperature"] for runs in ({}, {"temperature": 400})]
    assert kinds == [["stuck"], ["shift"]]


@pytest.mark.parametrize("factor", [1.5, 2.0, 2.5, 3.0, 4.0])
def test_a_wilder_world_is_no_change_of_unit(factor: float) -> None:
    """Returns that swing three times as far, as in 2008, are a real drift: a column around zero has no small factor."""
    rng = np.random.default_rng(1)
    calm = NumericSketch.of(rng.normal(0.0003, 0.01, 5_000))
    wild = NumericSketch.of(factor * rng.normal(0.0003, 0.01, 1_000), calm.edges)
    assert unit_change(calm, wild) == ""
    assert unit_change(calm, wild, NumericSketch.of(rng.normal(0.0003, 0.01, 1_000), calm.edges)) == ""


def test_a_slow_rise_is_no_change_of_unit(world: Any) -> None:
    """Prices that doubled over years did not turn from miles into kilometres: the window before says so."""
    rng = np.random.default_rng(2)
    old = NumericSketch.of(rng.normal(100, 10, 5_000))
    before, now = (NumericSketch.of(rng.normal(100 * f, 10 * f, 1_000), old.edges) for f in (1.55, 1.609))
    assert unit_change(old, now, before) == ""


def test_a_contract_break_comes_first_and_stops_learning(world: Any) -> None:
    """Broken rows are set aside; where they are many, the whole stretch is not learned from."""
    found = explained(world, world.rows().with_columns(pl.col("volume") - 12.0, pl.col("rate") + 0.6))
    assert found[0].kind == "contract"
    assert "values are below the contract's min" in found[0].sentence
    assert found[0].broken
    assert [cause.kind for cause in found] == sorted((cause.kind for cause in found), key=[
        "contract", "missing", "unseen", "stuck", "unit", "shift", "answers", "concept", "harm"].index)


def test_a_broken_sensor_is_named_where_a_fallback_answered_for_it(world: Any) -> None:
    """Dependence makes rows weak evidence of a drift, and not of being broken; the sensor behind them comes first."""
    stuck = world.rows().with_columns(
        pl.when(pl.int_range(1000) >= 600).then(17.25).otherwise(pl.col("temperature")).alias("temperature"))
    fallen = np.arange(1000) >= 624
    detector = Detector(world.baseline, Rate(), effects=dict.fromkeys(world.baseline, 600.0))
    window = Window.of(stuck, world.contract, world.baseline, fallen=fallen)
    evidence = detector.step(window)
    assert [one.column for one in evidence.alarmed] == ["(contract)"]
    found = causes(evidence, window, world.contract, world.baseline)
    assert [(cause.kind, cause.column, cause.broken) for cause in found] == [("stuck", "temperature", True)]
    bounded = edit(world.contract, "temperature", max=40)
    fahrenheit = Window.of(world.rows().with_columns(pl.col("temperature") * 1.8 + 32), bounded, world.baseline)
    assert fahrenheit.broken > 500
    detector = Detector(world.baseline, Rate(), effects=dict.fromkeys(world.baseline, 600.0))
    found = causes(detector.step(fahrenheit), fahrenheit, bounded, world.baseline)
    assert (found[0].kind, found[0].column) == ("unit", "temperature")
    assert "°C, °F" in found[0].sentence


@pytest.mark.parametrize("change", ["× 1.8 + 32 (°C, °F)", "+ 273.15 (°C, K)", "× 10^3"])
def test_the_nearest_conversion_is_named_though_the_weather_moved_meanwhile(change: str) -> None:
    """Values that are known to be broken: a guess is wanted, also where the week was warmer than the one before."""
    factor, offset = {"× 10^3": (1000.0, 0.0), "+ 273.15 (°C, K)": (1.0, 273.15)}.get(change, (1.8, 32.0))
    rng = np.random.default_rng(4)
    year = NumericSketch.of(rng.normal(15, 6, 5_000))
    before, now = NumericSketch.of(rng.normal(12, 4, 300), year.edges), rng.normal(14, 5, 300)
    assert nearest(year, NumericSketch.of(factor * now + offset, year.edges), before) == change
    assert nearest(year, NumericSketch.of(now * 37 + 4_000, year.edges), before) == ""


def test_where_the_loss_moved_and_the_inputs_did_not_it_is_the_concept(world: Any) -> None:
    assert world.risk is not None
    harm = Harm(risk=world.risk).after(np.full(400, world.risk.bound))
    found = explained(world, world.rows(), harm=harm)
    assert [cause.kind for cause in found] == ["concept"]
    assert found[0].sentence.endswith("the inputs did not move: what they mean did")
    both = explained(world, world.rows().with_columns(pl.col("rate") + 0.6), harm=harm)
    assert [cause.kind for cause in both][-1] == "harm"
    assert broken(both) is None
    assert [Cause.from_json(cause.to_json()) for cause in both] == list(both)
