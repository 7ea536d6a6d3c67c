"""A version beside the champion: it computes on the same rows, answers its share, and can't hurt anybody."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import serving_scenes as scenes
from hypothesis import given
from hypothesis import strategies as st

from trimtab.data.contract import Column, Contract
from trimtab.errors import ContractViolation, Malformed, StoreFull
from trimtab.registry.bundle import Bundle
from trimtab.serving.engine import Engine
from trimtab.serving.lineup import Beside, read_side, side_of
from trimtab.serving.shadow import Shadow
from trimtab.serving.source import Place, RolloutSource, Wanted
from trimtab.serving.stages import Stage
from trimtab.traffic.segments import Record
from trimtab.workspace import Workspace

ROW = [{"rate": 1.0}]
HERE = Place("risk", "production")
KEYED = Contract(columns=(Column(name="who", type="category", role="id", unseen=True),
                          *scenes.NUMBERS.columns))


def until(true: Callable[[], bool], within_s: float = 20.0) -> None:
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)


class Moody:
    """An estimator in the place of another, which raises or hangs when it is told to."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.mood, self.go_on = inner, "", threading.Event()

    def predict(self, X: Any) -> Any:
        if self.mood == "raises":
            raise ZeroDivisionError("a fault of the challenger's")
        if self.mood == "hangs":
            self.go_on.wait(60)
        return self.inner.predict(X)


class Source(RolloutSource):
    """A workspace's, whose v2 is moody."""

    def __init__(self, ws: Workspace) -> None:
        super().__init__(ws.rollouts, ws.stages, ws.versions)
        self.moody: Moody | None = None
        self.broken = False

    def load(self, model: str, number: int) -> Bundle:
        if number == 2 and self.broken:
            raise StoreFull("no room for it")
        bundle = super().load(model, number)
        if number != 2:
            return bundle
        self.moody = Moody(bundle.estimator)
        return dataclasses.replace(bundle, estimator=self.moody)


@dataclasses.dataclass
class Scene:
    """v1 answers 1.0, v2 answers 2.0, v3 3.0; v1 is live. `records`: what was recorded."""

    ws: Workspace
    source: Source
    engine: Engine
    records: list[Record]

    def put(self, share: float = 0.0, number: int = 2) -> None:
        self.ws.stages.put("risk", number, share=share, by="ada")
        self.engine.refresh()

    @property
    def moody(self) -> Moody:
        assert self.source.moody is not None
        return self.source.moody

    @property
    def shadow(self) -> Shadow:
        beside = self.engine.state.live[HERE].beside
        assert beside is not None
        return beside.shadow

    def pairs(self) -> Mapping[str, dict[int, Record]]:
        """batch → version → record."""
        found: dict[str, dict[int, Record]] = {}
        for record in self.records:
            assert record.version not in found.get(record.batch, {})
            found.setdefault(record.batch, {})[record.version] = record
        return found


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    ws = scenes.workspace(tmp_path)
    for value in (1.0, 2.0, 3.0):
        scenes.constant(ws, value)
    ws.rollouts.deploy("risk", 1, by="ada")
    records: list[Record] = []
    source = Source(ws)
    engine = Engine(source, now=ws.clock, ids=ws.ids, poll_s=0.02, record=records.append)
    engine.start()
    yield Scene(ws, source, engine, records)
    if source.moody is not None:
        source.moody.go_on.set()
    engine.stop()


def test_in_shadow_it_computes_the_same_rows_under_the_same_ids_and_answers_nobody(scene: Scene) -> None:
    scene.put()
    answers = [scene.engine.infer("risk", ROW * 3) for _ in range(20)]
    assert {(one.version, one.stage) for one in answers} == {(1, "champion")}
    until(lambda: len(scene.records) == 40)
    pairs = scene.pairs()
    for answer in answers:
        first, second = pairs[answer.ids[0]][1], pairs[answer.ids[0]][2]
        assert (first.stage, second.stage, second.verdict) == ("champion", "shadow", "kept")
        assert [row.id for row in first.rows] == [row.id for row in second.rows] == answer.ids
        assert [row.output for row in second.rows] == [2.0] * 3
        assert first.at == second.at


def test_in_a_canary_both_compute_and_one_answers(scene: Scene) -> None:
    scene.put(0.5)
    answers = [scene.engine.infer("risk", [{"rate": n / 100}]) for n in range(200)]
    until(lambda: len(scene.records) == 400)
    for answer in answers:
        pair = scene.pairs()[answer.ids[0]]
        other = 3 - answer.version
        assert (pair[answer.version].stage, pair[other].stage) == (
            "canary" if answer.version == 2 else "champion", "shadow")
        assert answer.prediction.values == [float(answer.version)] == [pair[answer.version].rows[0].output]
    assert {answer.version for answer in answers} == {1, 2}


def test_a_challenger_that_raises_or_hangs_in_shadow_never_touches_an_answer(scene: Scene) -> None:
    """What raised is recorded as failed; behind one that hangs the queue fills and drops, and is counted."""
    scene.put()
    scene.moody.mood = "raises"
    made = scene.engine.infer("risk", ROW)
    until(lambda: len(scene.records) == 2)
    failed = scene.pairs()[made.ids[0]][2]
    assert (failed.stage, failed.verdict, failed.rows[0].output) == ("shadow", "failed", None)
    scene.moody.mood = "hangs"
    for _ in range(700):
        assert scene.engine.infer("risk", ROW).version == 1
    shadow, moody = scene.shadow, scene.moody
    assert shadow.dropped >= 700 - 513
    assert len([record for record in scene.records if record.stage == "champion"]) == 701
    scene.ws.stages.stop("risk", by="ada")                     # the next trial does not wait behind it
    scene.put(number=3)
    last = scene.engine.infer("risk", ROW)
    until(lambda: 3 in scene.pairs()[last.ids[0]])
    moody.mood = ""
    moody.go_on.set()
    assert shadow.join(20)                                     # what was accepted is computed after all
    kept = [record for record in scene.records if record.version == 2 and record.verdict == "kept"]
    assert len(kept) == 700 - shadow.dropped


def test_a_canary_that_fails_is_answered_for_by_the_champion(scene: Scene) -> None:
    scene.put(0.5)
    scene.moody.mood = "raises"
    answers = [scene.engine.infer("risk", [{"rate": n / 100}]) for n in range(100)]
    assert {(one.version, one.stage) for one in answers} == {(1, "champion")}
    until(lambda: len(scene.records) == 200)
    assert {(record.version, record.stage, record.verdict) for record in scene.records} == {
        (1, "champion", "kept"), (2, "shadow", "failed")}


def test_a_row_that_breaks_the_contract_is_refused_as_without_a_trial(scene: Scene) -> None:
    """Whichever side was drawn; nothing of it is recorded, since nothing was answered."""
    scene.put(0.5)
    for rate in (50.0, 60.0, 70.0, 80.0):
        with pytest.raises(ContractViolation):
            scene.engine.infer("risk", [{"rate": rate}])
    assert scene.records == []


def test_a_challenger_that_can_not_be_loaded_leaves_the_champion_alone(scene: Scene) -> None:
    scene.source.broken = True
    scene.put(0.5)
    assert scene.engine.state.failures[HERE, 2].reason == "no room for it"
    assert scene.engine.state.ready
    assert scene.engine.state.live[HERE].beside is None
    assert scene.engine.infer("risk", ROW).version == 1
    scene.ws.stages.stop("risk", by="ada")
    scene.engine.refresh()
    assert not scene.engine.state.failures


def test_a_promoted_challenger_takes_over_without_being_loaded_again(scene: Scene) -> None:
    scene.put(0.05)
    bundle = scene.engine.bundle("risk", 2)
    scene.source.broken = True
    scene.ws.rollouts.promote("risk", 2, by="ada")
    scene.engine.refresh()
    assert scene.engine.bundle("risk") is bundle
    assert scene.engine.state.live[HERE].beside is None


def test_stopping_computes_what_was_accepted(scene: Scene) -> None:
    scene.put()
    for _ in range(200):
        scene.engine.infer("risk", ROW)
    scene.engine.stop()
    assert scene.shadow.dropped == 0
    assert len(scene.records) == 400


def test_a_shadow_that_can_not_be_recorded_is_counted_and_the_next_one_is(scene: Scene) -> None:
    scene.put()
    whole = threading.Event()

    class Full(list[Record]):
        def append(self, record: Record) -> None:
            if record.stage == "shadow" and not whole.is_set():
                raise StoreFull("no space is left")
            super().append(record)

    records = Full()
    scene.engine._answering._record = records.append
    scene.engine.infer("risk", ROW)
    until(lambda: scene.shadow.broken == 1)
    whole.set()
    scene.engine.infer("risk", ROW)
    until(lambda: len(records) == 3)


def test_the_side_can_be_asked_for_and_a_version_by_number_answers_alone(scene: Scene) -> None:
    assert scene.engine.infer("risk", ROW, side="canary").version == 1         # nothing is beside it: no error
    scene.put()
    assert scene.engine.infer("risk", ROW, side="canary").version == 2
    assert scene.engine.infer("risk", ROW, side="champion").version == 1
    until(lambda: len(scene.records) == 5)
    for number, stage in ((1, "champion"), (2, "version")):
        made = scene.engine.infer("risk", ROW, version=number)
        assert (made.version, made.stage) == (number, stage)
    time.sleep(0.05)
    assert len(scene.records) == 7
    assert read_side(None) is None
    with pytest.raises(Malformed, match="neither 'champion' nor 'canary'"):
        read_side("v2")


@pytest.mark.slow
def test_a_hundred_changes_under_eight_threads_fail_no_request_and_mix_no_answer(scene: Scene) -> None:
    """Every row of every answer is of the version that it names; what answered is recorded once, as it was told."""
    wrong: list[object] = []
    answers: list[Any] = []
    done = threading.Event()

    def ask(me: int) -> None:
        n = 0
        while not done.is_set():
            n += 1
            try:
                answer = scene.engine.infer("risk", [{"rate": (n % 1000) / 1000, "volume": float(me)}] * 3)
            except Exception as problem:           # noqa: BLE001  any failure at all is what the test is about
                wrong.append(problem)
                return
            answers.append(answer)
            if answer.prediction.values != [float(answer.version)] * 3:
                wrong.append(answer)

    threads = [threading.Thread(target=ask, args=(me,)) for me in range(8)]
    for thread in threads:
        thread.start()
    for turn in range(100):
        before = len(answers)
        other = 2 + turn // 4 % 2
        if turn % 4 == 3:
            scene.ws.rollouts.promote("risk", other, by="ada")
            scene.ws.rollouts.promote("risk", 1, by="ada")
        else:
            scene.ws.stages.put("risk", other, share=(0.0, 0.2, 0.6)[turn % 4], by="ada")
        until(lambda before=before: len(answers) > before + 5)  # type: ignore[misc]
    done.set()
    for thread in threads:
        thread.join()
    scene.engine.stop()
    assert wrong == []
    assert {answer.version for answer in answers} == {1, 2, 3}
    told = {record.batch: (record.version, record.stage) for record in scene.records if record.stage != "shadow"}
    assert told == {answer.ids[0]: (answer.version, answer.stage) for answer in answers}
    assert all(len(pair) <= 2 for pair in scene.pairs().values())


def beside(share: float, trial: int = 1) -> Beside:
    stage = Stage(model="risk", endpoint="production", champion=1, version=2, role="challenger", stage="canary",
                  share=share, trial=trial, since="", stage_since="", key="", revision=1)
    return Beside(bundle=None, stage=stage, shadow=None)       # type: ignore[arg-type]


@given(st.text(min_size=1), st.floats(0.01, 0.99), st.floats(0.01, 0.99), st.integers(1, 50))
def test_a_key_stays_on_its_side_while_the_share_grows(key: str, one: float, other: float, trial: int) -> None:
    low, high = sorted((one, other))
    rows = [{"who": key, "rate": one}]
    if side_of(beside(low, trial), KEYED, rows) == "canary":
        assert side_of(beside(high, trial), KEYED, [{"who": key, "rate": other}]) == "canary"
    assert side_of(beside(0.0, trial), KEYED, rows) == "champion"


@pytest.mark.parametrize("contract", [KEYED, scenes.NUMBERS])
def test_the_share_is_met_and_another_trial_draws_anew(contract: Contract) -> None:
    """20,000 keys, or rows where there are none: within five standard errors of the share, and of independence."""
    n, share = 20_000, 0.05
    drawn = [[side_of(beside(share, trial), contract, [{"who": f"c-{k}", "rate": float(k)}]) == "canary"
              for k in range(n)] for trial in (1, 2)]
    bound = 5 * (share * (1 - share) / n) ** 0.5
    for one in drawn:
        assert abs(sum(one) / n - share) < bound
    both = sum(a and b for a, b in zip(*drawn, strict=True)) / n
    assert abs(both - share ** 2) < 5 * (share ** 2 / n) ** 0.5


def test_without_a_trial_nothing_else_is_done(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint alone pays one look at an attribute."""
    monkeypatch.setattr("trimtab.serving.answering.side_of", lambda *_: pytest.fail("a side was drawn"))
    assert scene.engine.infer("risk", ROW).version == 1
    assert [record.stage for record in scene.records] == ["champion"]


def test_a_torn_look_at_the_store_is_never_a_trial_of_another_champion(
        scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rollouts and trials are two reads: what does not fit together is not served."""
    scene.put(0.9)
    source = Source(scene.ws)
    looked = scene.ws.stages.all_open

    def then_changed() -> list[Stage]:
        found = looked()
        scene.ws.rollouts.promote("risk", 3, by="ada")
        return found

    monkeypatch.setattr(scene.ws.stages, "all_open", then_changed)
    assert source.wanted() == {HERE: Wanted(3)}


def test_a_queue_whose_oldest_waits_too_long_takes_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is accepted is computed; what would come too late is not accepted."""
    go_on, done = threading.Event(), []
    shadow = Shadow("test", lost=lambda problem: None, max_rows=10)
    assert shadow.offer(lambda: done.append(go_on.wait(20)), 50)           # one alone may be larger than the bound
    assert not shadow.offer(lambda: None, 1)
    assert shadow.dropped == 1
    go_on.set()
    until(lambda: shadow.waiting == 0)
    go_on.clear()
    assert shadow.offer(lambda: done.append(go_on.wait(20)), 1)
    assert shadow.offer(lambda: done.append(True), 1)
    monkeypatch.setattr("trimtab.serving.shadow.MAX_WAIT_S", -1.0)
    assert not shadow.offer(lambda: done.append(False), 1)
    go_on.set()
    shadow.close()
    assert shadow.join(20)
    assert done == [True, True, True]
    assert not shadow.offer(lambda: done.append(False), 1)
