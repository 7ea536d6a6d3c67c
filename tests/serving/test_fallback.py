"""A row that the model must not answer is answered all the same, says so, and is nobody's prediction."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import serving_scenes as scenes
from sklearn.linear_model import LinearRegression

from trimtab.clock import FixedClock
from trimtab.data.contract import Column, Contract
from trimtab.errors import CheckFailed, ConfigInvalid, ContractViolation, StoreFull
from trimtab.registry.bundle import Bundle
from trimtab.sections import Fallback as Declared
from trimtab.serving.answering import Answer
from trimtab.serving.engine import Engine
from trimtab.serving.fallback import Fallback, Memory, check
from trimtab.serving.fallbacks import can_be_stuck
from trimtab.serving.lineup import Side
from trimtab.serving.source import Place, RolloutSource
from trimtab.traffic.segments import Record, framed, read
from trimtab.workspace import Workspace

DEVICES = Contract(columns=(Column(name="who", type="text", role="id"), *scenes.NUMBERS.columns))
GOOD, BAD = {"who": "pump-1", "rate": 1.0, "volume": 3.0}, {"who": "pump-1", "rate": 999.0, "volume": 3.0}


class Moody:
    """A regression that raises or answers no number when it is told to."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.mood = inner, ""

    def predict(self, X: Any) -> Any:
        if self.mood == "refuses":
            raise ContractViolation("what the features transform made is no matrix")
        if self.mood == "raises":
            raise ZeroDivisionError("a fault of the model's")
        found = self.inner.predict(X)
        return np.where(X[:, 0] == 2.0, np.nan, found) if self.mood == "nan at 2" else found


@dataclasses.dataclass
class Scene:
    """score = 2 · rate + volume, of devices; what it recorded."""

    ws: Workspace
    clock: FixedClock
    records: list[Record]
    engine: Engine
    moods: dict[int, Moody]

    def ask(self, *rows: dict[str, Any]) -> Answer:
        return self.engine.infer("risk", rows)

    def told(self, row: dict[str, Any]) -> tuple[str, Any]:
        """(what was answered with, the value)."""
        answer = self.ask(row)
        return answer.instead[0].kind if answer.instead else "model", answer.prediction.values[0]


Make = Callable[..., Scene]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Make a scene with a declared fallback."""
    engines: list[Engine] = []

    def build(held: dict[str, frozenset[float]] | None = None, full: bool = False, **declared: Any) -> Scene:
        ws, now, records = scenes.workspace(tmp_path), FixedClock(), list[Record]()
        X = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [2.0, 1.0]])
        for _ in range(2):
            scenes.register(ws, "risk", LinearRegression().fit(X, X @ [2.0, 1.0]), DEVICES, {"task": "regression"},
                            note=str(len(records)), files={"n.txt": str(len(ws.versions.models())).encode()})
        ws.rollouts.deploy("risk", 1, by="ada")
        moods: dict[int, Moody] = {}

        class Source(RolloutSource):
            def load(self, model: str, number: int) -> Bundle:
                bundle = super().load(model, number)
                moods[number] = Moody(bundle.estimator)
                return dataclasses.replace(bundle, estimator=moods[number])

        def record(one: Record) -> None:
            if full:
                raise StoreFull("no space")
            records.append(one)

        said, memory = Declared(**declared), Memory()
        engine = Engine(Source(ws.rollouts, ws.stages, ws.versions), now=now, ids=ws.ids, record=record,
                        fallback=lambda place, bundle: Fallback(said, bundle, held or {}, memory, now,
                                                                lambda: ws.redaction))
        engine.refresh()
        engines.append(engine)
        return Scene(ws, now, records, engine, moods)

    yield build
    for engine in engines:
        engine.stop()


def test_only_the_broken_row_is_answered_instead_and_says_why(make: Make) -> None:
    scene = make(use="constant", value=21)
    answer = scene.ask(GOOD, BAD, {**GOOD, "rate": 2.0})
    assert answer.prediction.values == pytest.approx([5.0, 21.0, 7.0])
    assert list(answer.instead) == [1]
    assert answer.instead[1].to_json() == {
        "kind": "constant", "on": "contract", "why": "rate = 999.0 is above the contract's max 10.0"}
    assert len(set(answer.ids)) == 3
    kept, instead = scene.records
    assert (kept.verdict, [row.id for row in kept.rows]) == ("kept", [answer.ids[0], answer.ids[2]])
    assert (instead.verdict, instead.stage, instead.version) == ("fallback", "champion", 1)
    row, = instead.rows
    assert (row.id, row.output, row.key) == (answer.ids[1], 21.0, "pump-1")
    assert row.features == {"rate": 999.0, "volume": 3.0}
    assert row.why == "constant: rate = 999.0 is above the contract's max 10.0"


def test_a_request_of_good_rows_is_answered_as_ever(make: Make) -> None:
    answer = make(use="abstain").ask(GOOD)
    assert (answer.instead, answer.prediction.values) == ({}, pytest.approx([5.0]))


def test_the_last_good_answer_is_of_the_same_device_and_expires(make: Make) -> None:
    scene = make(use="last_good", value=-1.0, last_good_for="10min")
    assert scene.told(BAD) == ("constant", -1.0)                     # nothing was answered yet
    scene.ask(GOOD)
    scene.ask({**GOOD, "who": "pump-2", "rate": 5.0})
    scene.clock.advance(seconds=12)
    answer = scene.ask(BAD, {**BAD, "who": "pump-2"}, {**BAD, "who": "pump-3"})
    assert answer.prediction.values == pytest.approx([5.0, 13.0, -1.0])
    assert [one.age_s for one in answer.instead.values()] == [12.0, 12.0, None]
    scene.clock.advance(seconds=588)
    assert scene.told(BAD)[0] == "last_good"
    scene.clock.advance(seconds=1)                                   # what was answered instead is not good
    assert scene.told(BAD) == ("constant", -1.0)


def test_without_a_constant_it_abstains(make: Make) -> None:
    scene = make(use="last_good")
    assert scene.told(BAD) == ("abstain", None)
    assert scene.records[0].rows[0].output is None


def test_a_stuck_sensor_is_seen_per_device_and_comes_back_when_it_moves(make: Make) -> None:
    scene = make(held={"rate": frozenset()}, use="last_good", stuck_after=5)
    for _ in range(4):
        assert scene.told(GOOD)[0] == "model"
        assert scene.told({**GOOD, "who": "pump-2", "rate": 1.0})[0] == "model"
    answer = scene.ask(GOOD, {**GOOD, "who": "pump-2", "rate": 1.5})
    assert {place: (one.on, one.kind) for place, one in answer.instead.items()} == {0: ("stuck", "last_good")}
    assert answer.instead[0].why == "rate = 1 came 5 times in a row; a sensor that is alive does not do that"
    assert scene.told({**GOOD, "rate": 1.1})[0] == "model"
    assert scene.told(GOOD)[0] == "model"


def test_numbers_that_come_often_and_columns_that_are_held_never_count(make: Make) -> None:
    scene = make(held={"rate": frozenset({1.0})}, use="abstain", stuck_after=5)
    assert {scene.told(GOOD)[0] for _ in range(40)} == {"model"}     # volume stands still as well
    scene = make(held={"rate": frozenset()}, use="abstain", stuck_after=5, on=("contract",))
    assert {scene.told(GOOD)[0] for _ in range(40)} == {"model"}


def test_a_model_that_raises_is_answered_for_and_is_recorded_as_failed(make: Make) -> None:
    scene = make(use="last_good")
    scene.ask(GOOD)
    scene.moods[1].mood = "raises"
    answer = scene.ask(GOOD, BAD)
    assert {place: (one.on, one.kind) for place, one in answer.instead.items()} == {
        0: ("fault", "last_good"), 1: ("contract", "last_good")}
    assert answer.instead[0].why == "the model failed (ZeroDivisionError: a fault of the model's)"
    assert [(one.verdict, len(one.rows)) for one in scene.records[1:]] == [("fallback", 1), ("failed", 1)]


def test_a_step_behind_the_contract_that_refuses_a_clean_row_is_a_fault(make: Make) -> None:
    scene = make(use="constant", value=1.0)
    scene.moods[1].mood = "refuses"
    answer = scene.ask(GOOD)
    assert (answer.instead[0].on, answer.prediction.values) == ("fault", [1.0])


def test_an_answer_that_is_no_number_is_never_given(make: Make) -> None:
    scene = make(use="constant", value=0.5)
    scene.moods[1].mood = "nan at 2"
    answer = scene.ask(GOOD, {**GOOD, "rate": 2.0}, {**GOOD, "rate": 3.0})
    assert answer.prediction.values == pytest.approx([5.0, 0.5, 9.0])
    assert answer.instead[1].why == "the model failed (NotFinite: risk@v1 gave no finite answer)"
    assert all(math.isfinite(float(row.output)) for one in scene.records for row in one.rows  # type: ignore[arg-type]
               if one.verdict == "kept")


def test_what_is_not_declared_is_refused_or_raised_as_ever(make: Make) -> None:
    scene = make(use="abstain", on=("stuck",))
    with pytest.raises(ContractViolation) as refused:
        scene.ask(GOOD, BAD)
    assert refused.value.details["violations"][0]["row"] == 2        # type: ignore[index]
    scene.moods[1].mood = "raises"
    with pytest.raises(ZeroDivisionError):
        scene.ask(GOOD)
    assert scene.records == []


def test_a_version_that_is_asked_for_by_number_has_no_fallback(make: Make) -> None:
    scene = make(use="abstain")
    with pytest.raises(ContractViolation):
        scene.engine.infer("risk", [BAD], version=1)


def test_nothing_is_answered_that_can_not_be_recorded(make: Make) -> None:
    scene = make(use="abstain", full=True)
    for row in (GOOD, BAD):
        with pytest.raises(StoreFull):
            scene.ask(row)


@pytest.mark.parametrize("side", ["champion", "canary"])
def test_a_version_on_trial_is_not_asked_about_broken_rows(make: Make, side: Side) -> None:
    scene = make(use="constant", value=1.0)
    scene.ws.stages.put("risk", 2, share=0.5, by="ada")
    scene.engine.refresh()
    answer = scene.engine.infer("risk", [BAD, GOOD], side=side)
    assert answer.prediction.values == pytest.approx([1.0, 5.0])
    scene.engine.stop()
    assert sorted((one.version, one.stage, one.verdict, len(one.rows)) for one in scene.records) == sorted([
        (1, "champion", "fallback", 1), (2, "canary" if side == "canary" else "shadow", "kept", 1),
        (1, "shadow" if side == "canary" else "champion", "kept", 1)])


def test_the_memory_outlives_a_promotion(make: Make) -> None:
    scene = make(use="last_good")
    scene.ask(GOOD)
    scene.ws.rollouts.promote("risk", 2, by="ada")
    scene.engine.refresh()
    answer = scene.ask(BAD)
    assert (answer.version, answer.instead[0].kind, answer.prediction.values) == (2, "last_good", pytest.approx([5.0]))


@pytest.mark.parametrize("odd", [[1, 2], {"a": {}}, 10**400, -(10**400), "x" * 5000, True, None, 1e308 * 10])
def test_whatever_a_row_holds_its_record_can_be_read_again(make: Make, odd: Any, tmp_path: Path) -> None:
    scene = make(use="constant", value=1.0)
    assert scene.told({**GOOD, "rate": odd})[0] == "constant"
    segment = tmp_path / "000001.log"
    from trimtab.traffic.segments import FORMAT, Header

    segment.write_bytes(framed(Header(FORMAT, "w", "")) + b"".join(map(framed, scene.records)))
    found, = read(segment)
    assert (found.rows[0].id, found.rows[0].why) == (scene.records[0].rows[0].id, scene.records[0].rows[0].why)
    kept = found.rows[0].features["rate"]
    assert kept == (odd if odd is None or isinstance(odd, bool) or odd == math.inf else
                    (1e308 if odd > 0 else -1e308) if isinstance(odd, int) else str(odd)[:200])


def test_too_many_devices_are_not_remembered_for_ever() -> None:
    memory = Memory()
    for number in range(10_050):
        memory.keep(f"d{number}", 1.0, 0.0)
        memory.run(f"d{number}", "rate", 1.0)
    assert (len(memory.good), len(memory.runs)) == (10_000, 10_000)
    assert "d0" not in memory.good


@pytest.mark.parametrize(("value", "task", "classes"), [
    ("low", "regression", ()), (True, "regression", ()), (float("nan"), "regression", ()),
    ("lo", "binary", ("low", "high")), (1, "binary", (True, False)), (True, "multiclass", (0, 1, 2))])
def test_a_constant_that_the_model_could_not_answer_is_refused(value: Any, task: str, classes: tuple[Any, ...]) -> None:
    with pytest.raises(CheckFailed, match="fallback's value"):
        check(Declared(use="constant", value=value), task, classes)


def training(rows: int = 3000) -> pl.DataFrame:
    """Two devices every ten minutes: a live sensor, and columns that stand still or repeat by nature."""
    rng = np.random.default_rng(3)
    place = np.arange(rows)
    return pl.DataFrame({
        "who": np.where(place % 2 == 0, "a", "b"),
        "at": [datetime(2026, 1, 1) + timedelta(minutes=10 * int(one)) for one in place],
        "temp": np.round(20 + 5 * np.sin(place / 70) + rng.normal(0, 0.3, rows), 2),
        "altitude": np.where(place % 2 == 0, 440.0, 12.0),               # constant for a device
        "setpoint": 18.0 + (place // 200) % 7,                           # held for days
        "mode": rng.integers(0, 3, rows),                                # coarse
        "rain": np.where(rng.random(rows) < 0.9, 0.0, np.round(rng.gamma(2, 2, rows), 2)),
        "y": rng.normal(size=rows)})


def contract_of(frame: pl.DataFrame, **roles: str) -> Contract:
    return Contract(columns=tuple(Column(
        name=name, role=roles.get(name, "feature"),                      # type: ignore[arg-type]
        type="text" if name == "who" else "datetime" if name == "at" else "integer" if name == "mode" else "number")
        for name in frame.columns))


def test_only_a_column_that_training_shows_to_be_alive_can_be_stuck() -> None:
    """Constant, held and coarse columns never count; of a rain gauge the nought does not, and any other number does."""
    frame = training()
    roles = {"who": "id", "at": "time", "y": "target"}
    found = can_be_stuck(frame.sample(fraction=1.0, shuffle=True, seed=1), contract_of(frame, **roles), 20)
    assert found == {"temp": frozenset(), "rain": frozenset({0.0})}
    assert can_be_stuck(frame, contract_of(frame, **{**roles, "at": "ignored"}), 20) == {}     # no order, no runs
    assert can_be_stuck(frame.head(120), contract_of(frame, **roles), 20) == {}                # too few rows to tell


@pytest.mark.parametrize(("fallback", "said"), [
    ('{ use = "constant" }', "needs value"), ('{ use = "abstain", value = 3 }', "answers nothing"),
    ('{ use = "last_god" }', "did you mean 'last_good'"), ('{ use = "abstain", on = [] }', "names no occasion"),
    ('{ use = "abstain", stuck_after = 2 }', "must lie in 5"),
    ('{ use = "abstain", last_good_for = "soon" }', "not a duration"),
    ('{ use = "abstain", stuk_after = 9 }', "did you mean 'stuck_after'")])
def test_what_can_not_be_meant_is_said(fallback: str, said: str) -> None:
    from trimtab import config

    text = f'[model]\nname = "y"\ndata = "d.csv"\n[endpoint.production]\nfallback = {fallback}\n'
    with pytest.raises(ConfigInvalid, match=said):
        config.parse(text, root=Path())


def test_a_place_that_declares_none_has_none(tmp_path: Path) -> None:
    from trimtab.serving.fallbacks import Fallbacks

    ws = scenes.workspace(tmp_path)
    version = scenes.linear(ws)
    source = RolloutSource(ws.rollouts, ws.stages, ws.versions)
    made = Fallbacks(ws.versions, ws.datasets, ws.traffic, ws.clock, lambda: ws.redaction).of(
        Place("risk", "production"), source.load("risk", version.number))
    assert made is None
