"""A new version takes over while requests are in flight, and what goes wrong leaves the old one live."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import serving_scenes as scenes

from trimtab.clock import FixedClock
from trimtab.errors import Busy, CheckFailed, NotFound, StoreUnreachable, UntrustedModel
from trimtab.ids import Ids
from trimtab.registry.bundle import Bundle
from trimtab.serving.engine import Engine
from trimtab.serving.source import Place, RolloutSource, Wanted
from trimtab.workspace import Workspace

ROW = [{"rate": 1.0}]


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return scenes.workspace(tmp_path)


@pytest.fixture
def engines() -> Iterator[Callable[..., Engine]]:
    made: list[Engine] = []

    def make(ws: Workspace, **more: object) -> Engine:
        engine = Engine(RolloutSource(ws.rollouts, ws.stages, ws.versions), now=ws.clock, ids=ws.ids, poll_s=0.02,
                        **more)                    # type: ignore[arg-type]
        made.append(engine)
        engine.start()
        return engine

    yield make
    for engine in made:
        engine.stop()


def until(true: Callable[[], bool], within_s: float = 10.0) -> None:
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)


def test_fifty_swaps_under_eight_threads_fail_no_request_and_mix_no_answer(
        ws: Workspace, engines: Callable[..., Engine]) -> None:
    """v1 always answers 1.0 and v2 always 2.0: every row of every answer is of the version that it names."""
    for value in (1.0, 2.0):
        scenes.constant(ws, value)
    ws.rollouts.deploy("risk", 1, by="ada")
    engine = engines(ws)
    wrong: list[object] = []
    counts = {1: 0, 2: 0}
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            try:
                answer = engine.infer("risk", ROW * 5)
            except Exception as problem:           # noqa: BLE001  any failure at all is what the test is about
                wrong.append(problem)
                return
            counts[answer.version] += 1
            if answer.prediction.values != [float(answer.version)] * 5:
                wrong.append(answer)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for turn in range(56):
        want = 2 if turn % 2 == 0 else 1
        if turn % 8 == 7:
            ws.rollouts.rollback("risk", by="ada", why="practice", to=1)
        else:
            ws.rollouts.promote("risk", want, by="ada", why="practice")
        until(lambda want=want: engine.bundle("risk").number == want)  # type: ignore[misc]
    done.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert counts[1] > 50
    assert counts[2] > 50


def test_a_change_is_noticed_without_a_restart(ws: Workspace, engines: Callable[..., Engine]) -> None:
    """From the commit of the rollout to the first answer of the new version."""
    scenes.constant(ws, 1.0)
    scenes.constant(ws, 2.0)
    ws.rollouts.deploy("risk", 1, by="ada")
    engine = engines(ws)
    ws.rollouts.promote("risk", 2, by="ada")
    until(lambda: engine.infer("risk", ROW).version == 2)
    assert engine.infer("risk", ROW).prediction.values == [2.0]


def test_a_model_deployed_while_the_server_runs_begins_to_answer(ws: Workspace,
                                                                 engines: Callable[..., Engine]) -> None:
    """An empty workspace is served too; who asks too early is told what is live."""
    engine = engines(ws)
    assert engine.state.ready
    with pytest.raises(NotFound, match="nothing is live here"):
        engine.infer("risk", ROW)
    scenes.constant(ws, 3.0)
    ws.rollouts.deploy("risk", 1, by="ada")
    until(lambda: Place("risk", "production") in engine.state.live)
    assert engine.infer("risk", ROW).prediction.values == [3.0]


class Faulty:
    """A source that breaks on demand."""

    def __init__(self, inner: RolloutSource) -> None:
        self.inner, self.away, self.broken = inner, False, set[int]()

    def _check(self) -> None:
        if self.away:
            raise StoreUnreachable("the database does not answer; start it, then repeat")

    def revision(self) -> int:
        self._check()
        return self.inner.revision()

    def wanted(self) -> Mapping[Place, Wanted]:
        self._check()
        return self.inner.wanted()

    def load(self, model: str, number: int) -> Bundle:
        self._check()
        if number in self.broken:
            raise UntrustedModel("the model file is cut off or damaged")
        return self.inner.load(model, number)

    def servable(self, model: str, number: int) -> bool:
        self._check()
        return self.inner.servable(model, number)


@pytest.fixture
def faulty(ws: Workspace) -> Iterator[tuple[Faulty, Engine]]:
    scenes.constant(ws, 1.0)
    scenes.constant(ws, 2.0)
    ws.rollouts.deploy("risk", 1, by="ada")
    source = Faulty(RolloutSource(ws.rollouts, ws.stages, ws.versions))
    engine = Engine(source, now=FixedClock(), ids=Ids(), poll_s=0.02)
    engine.start()
    yield source, engine
    engine.stop()


def test_a_version_that_can_not_be_loaded_leaves_the_old_one_live(
        ws: Workspace, faulty: tuple[Faulty, Engine], monkeypatch: pytest.MonkeyPatch) -> None:
    """It says which and why; once mended, it takes over by itself."""
    source, engine = faulty
    monkeypatch.setattr("trimtab.serving.engine._RETRY_S", 0.2)
    source.broken.add(2)
    ws.rollouts.promote("risk", 2, by="ada")
    until(lambda: bool(engine.state.failures))
    failure = engine.state.failures[Place("risk", "production"), 2]
    assert (failure.version, failure.reason) == (2, "the model file is cut off or damaged")
    assert engine.infer("risk", ROW).version == 1
    assert engine.state.ready
    source.broken.clear()
    until(lambda: engine.infer("risk", ROW).version == 2)
    assert not engine.state.failures


def test_with_the_store_away_it_serves_on_from_memory_and_catches_up(ws: Workspace,
                                                                     faulty: tuple[Faulty, Engine]) -> None:
    """Health says so; what changed meanwhile is applied when the store is back."""
    source, engine = faulty
    source.away = True
    until(lambda: engine.state.store != "")
    assert "does not answer" in engine.state.store
    assert engine.infer("risk", ROW).prediction.values == [1.0]
    ws.rollouts.promote("risk", 2, by="ada")
    time.sleep(0.1)
    assert engine.infer("risk", ROW).version == 1
    source.away = False
    until(lambda: engine.infer("risk", ROW).version == 2)
    assert engine.state.store == ""


def test_a_model_that_never_loaded_is_busy_and_says_why(ws: Workspace) -> None:
    """503 with the reason, not 404: it should be there."""
    scenes.constant(ws, 1.0)
    ws.rollouts.deploy("risk", 1, by="ada")
    source = Faulty(RolloutSource(ws.rollouts, ws.stages, ws.versions))
    source.broken.add(1)
    engine = Engine(source, now=FixedClock(), ids=Ids())
    engine.refresh()
    assert not engine.state.ready
    with pytest.raises(Busy, match="v1 should be live and could not be loaded: the model file is cut off"):
        engine.infer("risk", ROW)


def test_a_version_by_number_answers_without_being_live(ws: Workspace, engines: Callable[..., Engine]) -> None:
    """Loaded on demand, a few kept; failed gates and deleted ones never answer."""
    for value in (1.0, 2.0, 3.0, 4.0):
        scenes.constant(ws, value)
    scenes.constant(ws, 5.0, gates="failed")
    ws.rollouts.deploy("risk", 1, by="ada")
    engine = engines(ws, keep=2)
    for number in (2, 3, 4, 2, 1):
        answer = engine.infer("risk", ROW, version=number)
        assert (answer.version, answer.prediction.values) == (number, [float(number)])
    assert len(engine._numbered) == 2
    with pytest.raises(CheckFailed, match="failed its gates"):
        engine.infer("risk", ROW, version=5)
    with pytest.raises(NotFound, match="no version 9"):
        engine.infer("risk", ROW, version=9)
    ws.versions.delete("risk", 2, by="ada", why="test")
    until(lambda: ("risk", 2) not in engine._numbered)
    with pytest.raises(CheckFailed, match="was deleted"):
        engine.infer("risk", ROW, version=2)


def test_no_request_touches_the_database(ws: Workspace, engines: Callable[..., Engine],
                                         monkeypatch: pytest.MonkeyPatch) -> None:
    """What is live answers from memory alone."""
    scenes.constant(ws, 1.0)
    ws.rollouts.deploy("risk", 1, by="ada")
    engine = engines(ws)
    engine.stop()
    monkeypatch.setattr(ws.db, "read", lambda: pytest.fail("the database was read"))
    monkeypatch.setattr(ws.db, "write", lambda: pytest.fail("the database was written"))
    assert engine.infer("risk", ROW).version == 1


def test_ids_are_one_per_row_and_in_the_order_of_time(ws: Workspace, engines: Callable[..., Engine]) -> None:
    """Sorting ids sorts predictions, rows of one request included."""
    scenes.constant(ws, 1.0)
    ws.rollouts.deploy("risk", 1, by="ada")
    engine = engines(ws)
    first = engine.infer("risk", ROW * 20).ids
    time.sleep(0.005)
    both = first + engine.infer("risk", ROW * 20).ids
    assert both == sorted(set(both))
    assert len(both) == 40


def test_names_are_met_in_any_unicode_form(ws: Workspace, engines: Callable[..., Engine]) -> None:
    """é typed as one or two characters is one model."""
    scenes.constant(ws, 1.0, model="caf\u00e9")
    ws.rollouts.deploy("caf\u00e9", 1, by="ada")
    assert engines(ws).infer("cafe\u0301", ROW).model == "caf\u00e9"


def test_a_version_that_memory_has_no_room_for_leaves_the_old_one_live(ws: Workspace) -> None:
    """Judged by its files unpacked, before it is constructed; with more memory it is loaded."""
    scenes.constant(ws, 1.0)
    scenes.constant(ws, 2.0, files={"big.bin": bytes(300_000)})
    ws.rollouts.deploy("risk", 1, by="ada")
    engine = ws.engine(memory_bytes=200_000)
    engine.refresh()
    ws.rollouts.promote("risk", 2, by="ada")
    engine.refresh()
    assert engine.infer("risk", ROW).version == 1
    why = engine.state.failures[Place("risk", "production"), 2].reason
    assert "risk@v2 needs about 0.3 MB" in why
    assert "over --memory 0.2 MB" in why
    roomy = ws.engine(memory_bytes=10_000_000)
    roomy.refresh()
    assert roomy.infer("risk", ROW).version == 2
