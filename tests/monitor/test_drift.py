"""No drift, no alarm beyond the declared rate; a change that matters is seen at once."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import polars as pl
import pytest

from trimtab.data.contract import Column, Contract
from trimtab.monitor.baseline import design_effects
from trimtab.monitor.bets import Bets, counts_of, features_of
from trimtab.monitor.drift import Detector, Evidence, Rate
from trimtab.monitor.windows import CONTRACT, PREDICTION, ColumnWindow, Window
from trimtab.sketch.column import NumericSketch


def numeric_window(X: np.ndarray[Any, Any], baseline: dict[str, NumericSketch]) -> Window:
    """A window of plain numbers, without the table around them."""
    return Window(rows=len(X), broken=0, columns={
        name: ColumnWindow(sketch=NumericSketch.of(X[:, place], before.edges))
        for place, (name, before) in enumerate(baseline.items())})


def test_an_average_bet_wins_nothing_where_nothing_changed() -> None:
    """E[E] ≤ 1 over windows drawn from the very distribution that the baseline was drawn from."""
    rng = np.random.default_rng(3)
    before = NumericSketch.of(rng.normal(size=5_000))
    bets = Bets.on(counts_of(before), features_of(before, ignore_below_sd=0.0))
    gains = [math.exp(bets.score(counts_of(NumericSketch.of(rng.normal(size=50), before.edges)))[0])
             for _ in range(2_000)]
    assert np.mean(gains) + 3 * np.std(gains) / math.sqrt(len(gains)) < 1.0


@pytest.mark.parametrize("ignored", [0.1, 0.0])
def test_without_drift_alarms_stay_within_the_declared_rate(ignored: float) -> None:
    """20 columns, 30 windows: the promise is 30/365 of a false alarm. Here 40 seeds; the benchmark plays 200."""
    alarmed = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        baseline = {f"x{i}": NumericSketch.of(column) for i, column in enumerate(rng.normal(size=(20, 4_000)))}
        detector = Detector(baseline, Rate(false_alarms_per_year=1, windows_per_year=365), ignore_below_sd=ignored)
        alarmed += any(detector.step(numeric_window(rng.normal(size=(250, 20)), baseline)).alarmed for _ in range(30))
    assert alarmed <= 7                                 # P(more | 40 runs, 30/365) < 3%; 0 and 0 were seen


def test_half_a_standard_deviation_is_seen_within_two_windows() -> None:
    seen = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        baseline = {f"x{i}": NumericSketch.of(column) for i, column in enumerate(rng.normal(size=(20, 5_000)))}
        detector = Detector(baseline, Rate())
        for _ in range(3):
            assert not detector.step(numeric_window(rng.normal(size=(1_000, 20)), baseline)).alarmed
        shifted = rng.normal(size=(2, 1_000, 20)) + 0.5 * (np.arange(20) == 7)
        found = [detector.step(numeric_window(X, baseline)).alarmed for X in shifted]
        seen += any(one.column == "x7" and one.direction > 0 for columns in found for one in columns)
    assert seen == 40


CHANGES = [
    ("level", lambda f, rng: f.with_columns(pl.col("rate") - 0.5), "rate", "level", -1),
    ("spread", lambda f, rng: f.with_columns(pl.col("rate") * 1.5), "rate", "spread", 1),
    ("missing", lambda f, rng: f.with_columns(pl.when(pl.int_range(1000) % 12 > 0).then("rate")), "rate", "missing", 1),
    ("swap", lambda f, rng: f.with_columns(pl.col("kind").replace({"a": "b", "b": "a"})), "kind", "category b", 1),
    ("unseen", lambda f, rng: f.with_columns(pl.col("kind").replace({"c": "d"})), "kind", "unseen", 1),
]


@pytest.mark.parametrize(("change", "column", "feature", "direction"), [case[1:] for case in CHANGES],
                         ids=[case[0] for case in CHANGES])
def test_the_evidence_names_what_changed(world: Any, change: Any, column: str, feature: str, direction: int) -> None:
    detector = world.detector()
    assert not detector.step(world.window(world.rows())).alarmed
    found = next(evidence for _ in range(3) if (evidence := detector.step(
        world.window(change(world.rows(), world.rng)))).alarmed)
    one = next(one for one in found.alarmed if one.column == column)
    assert (one.feature, one.direction) == (feature, direction)
    assert one.began == 2
    assert found.words.startswith(found.alarmed[0].words)


def test_the_answers_and_the_contract_are_columns_too(world: Any) -> None:
    detector = world.detector()
    rows = world.rows()
    quiet = detector.step(world.window(rows, answers=pl.Series(world.rng.normal(9.0, 2.0, 1000))))
    assert [one.column for one in quiet.alarmed] == [PREDICTION]
    bad = detector.step(world.window(rows.with_columns(volume=pl.col("volume") - 12.0)))
    assert CONTRACT in [one.column for one in bad.alarmed]


def test_small_windows_and_large_ones_keep_the_same_books(world: Any) -> None:
    """An alarm does not hang on how rows are cut into windows: 20 windows of 50 see the shift as one of 1,000 does."""
    rows = world.rows().with_columns(pl.col("rate") + 0.6)
    small = world.detector()
    for start in range(0, 1000, 50):
        evidence = small.step(world.window(rows[start:start + 50]))
    assert "rate" in [one.column for one in evidence.alarmed]


def test_a_detector_goes_on_from_its_stored_state(world: Any) -> None:
    """A killed monitor says what one that ran through says, bit for bit."""
    windows = [world.window(world.rows().with_columns(pl.col("rate") + 0.02 * step)) for step in range(8)]
    straight, told = world.detector(), []
    for window in windows:
        told.append(straight.step(window))
    state: Any = None
    for window, want in zip(windows, told, strict=True):
        detector = world.detector(state=state)
        assert detector.step(window) == want
        state = json.loads(json.dumps(detector.state()))
    assert Evidence.from_json(json.loads(json.dumps(told[-1].to_json()))) == told[-1]


def test_evidence_heals_when_the_change_is_over(world: Any) -> None:
    detector = world.detector()
    assert detector.step(world.window(world.rows().with_columns(pl.col("rate") + 3.0))).alarmed
    assert not [detector.step(world.window(world.rows())) for _ in range(4)][-1].alarmed


def test_a_restarted_column_has_to_show_itself_anew(world: Any) -> None:
    detector = world.detector()
    assert detector.step(world.window(world.rows().with_columns(pl.col("rate") + 3.0))).alarmed
    detector.restart(["rate", PREDICTION])
    assert not detector.step(world.window(world.rows())).alarmed


def test_dependent_rows_alarm_without_their_design_effect_and_not_with_it() -> None:
    """AR(1) with 0.95: independent-rows evidence is wrong about it, and the baseline's own order in time says so."""
    rng = np.random.default_rng(5)

    def walk(n: int) -> np.ndarray[Any, Any]:
        noise = rng.normal(size=n)
        out = np.empty(n)
        last = 0.0
        for place in range(n):
            last = out[place] = 0.95 * last + math.sqrt(1 - 0.95**2) * noise[place]
        return out

    contract = Contract(columns=(Column(name="x", type="number"), Column(name="t", type="integer", role="time")))
    values = walk(40_000)
    baseline = {"x": NumericSketch.of(values)}
    effects = design_effects(pl.DataFrame({"x": values, "t": np.arange(40_000)}), contract, baseline)
    assert effects["x"] > 10
    naive, wise = Detector(baseline, Rate()), Detector(baseline, Rate(), effects=effects)
    alarms = [(bool(naive.step(window).alarmed), bool(wise.step(window).alarmed))
              for window in (numeric_window(walk(500)[:, None], baseline) for _ in range(100))]
    assert sum(first for first, _ in alarms) > 20
    assert not any(second for _, second in alarms)
    assert any(wise.step(numeric_window(walk(1_000)[:, None] + 2.0, baseline)).alarmed for _ in range(3))


def test_a_promise_is_a_rate_and_reads_as_one() -> None:
    assert Rate(false_alarms_per_year=2, windows_per_year=8766).words == \
        "at most 2 false alarms a year over all columns, at 8,766 windows a year"
    assert Rate(false_alarms_per_year=1, windows_per_year=365).log_threshold(20) == pytest.approx(math.log(7300))
