"""Observe, decide, act: once, wherever it is killed, and whoever else is at it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from loop_scenes import DRIFT, RETRAIN, STUCK
from loop_world import House, Killed, Mine

from trimtab.errors import Busy, CheckFailed, StoreUnreachable
from trimtab.loop import decisions
from trimtab.loop.model import Policy
from trimtab.loop.reconciler import TAKES, TTL
from trimtab.store import migrate, schema
from trimtab.store.db import Database
from trimtab.store.journal import ORIGIN

STORY = ["notify a-drift", "retrain a-drift", "start_shadow v2", "start_canary trial 1: v2", "start_canary trial 1: v2",
         "promote trial 1: v2", "start_shadow v1 beside v2", "rollback trial 2: v1"]


def fresh() -> Database:
    """An empty workspace's database, without a migration's cost: 200 of them are needed."""
    db = Database("sqlite://")
    with db.write() as conn:
        schema.metadata.create_all(conn)
        conn.execute(schema.journal_head.insert().values(id=1, seq=0, hash=ORIGIN, key_id="", signature=""))
    return db


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    db = Database("sqlite://")
    migrate.upgrade(db)
    yield House(db, tmp_path, RETRAIN)
    db.close()


def days(house: House) -> Iterator[None]:
    """The whole story: calm, drift and retrain, shadow and shares, promotion and probation, and back."""
    world = house.world
    yield
    house.day(1)
    world.incident = DRIFT
    yield
    house.day(2)
    world.shown = {"rows": 150, "labels": 90}
    yield
    house.day(3)
    world.shown, world.incident = {"rows": 150, "labels": 112, "verdict": "better", "words": "better"}, None
    yield
    house.day(4)
    world.shown = {"rows": 300, "labels": 250, "verdict": "better", "words": "the one before is better"}
    yield


def play(house: House, mine: Mine | None = None) -> None:
    """The story, with a mine that lies somewhere in it."""
    for _ in days(house):
        house.run(mine)


def ends(house: House) -> dict[str, Any]:
    """Where a story ended, whatever was killed in it."""
    world, deeds = house.world, house.deeds
    return {"history": world.history, "trial": world.trial, "trials": world.trials, "deeds": deeds.names,
            "versions": deeds.versions, "datasets": deeds.datasets, "told": deeds.told, "kept": house.kept}


def test_the_whole_story_from_drift_to_rollback(house: House) -> None:
    play(house)
    assert house.deeds.names == STORY
    assert (house.world.history, house.world.trial) == ([1, 2, 1], None)
    assert {state for _, _, state in house.kept} == {"done"}
    house.journal.verify()


@pytest.mark.parametrize("every", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_a_kill_between_any_two_steps_ends_where_the_undisturbed_story_ends(tmp_path: Path, every: int) -> None:
    """Each place in turn (each 7th in the fast lane): around every call to a store or a deed, and inside a retrain."""
    def told(at: int | None) -> tuple[dict[str, Any], int]:
        db = fresh()
        house, mine = House(db, tmp_path, RETRAIN), Mine(at)
        play(house, mine)
        assert house.decisions.under_way("risk") is None
        found = ends(house)
        db.close()
        return found, mine.passed

    expected, places = told(None)
    assert expected["deeds"] == STORY
    assert places > 200
    for at in range(1, places + 1, every):
        found, _ = told(at)
        assert found == expected, f"killed at place {at} of {places}"


def test_a_finished_decision_is_never_repeated(house: House) -> None:
    house.world.incident = STUCK
    assert house.run() == ["acted refuse", "quiet none"]
    for day in (1, 10, 100):
        house.day(day)
        assert house.run() == ["quiet none"]
    assert house.deeds.names == ["refuse a-stuck"]
    assert [one.state for one in house.decisions.list("risk")] == ["refused"]


def test_while_one_worker_is_at_it_another_leaves_it_alone_and_takes_it_up_when_it_is_dead(house: House) -> None:
    house.world.incident = DRIFT
    notify = house.deeds.notify

    def dies(order: Any) -> Any:
        raise Killed
    house.deeds.notify = dies  # type: ignore[method-assign]
    with pytest.raises(Killed):
        house.worker().run("risk")
    house.deeds.notify = notify  # type: ignore[method-assign]
    begun = house.decisions.under_way("risk")
    assert begun is not None
    assert [one.outcome for one in house.worker().run("risk")] == ["elsewhere"]
    house.clock.advance(seconds=TTL.total_seconds() + 1)
    first = house.worker().run("risk")[0]
    assert (first.outcome, first.stored) == ("acted", house.decisions.get(begun.id))
    assert house.decisions.get(begun.id).state == "done"


@pytest.mark.parametrize("beats", [True, False])
def test_a_worker_that_was_overtaken_while_it_trained_marks_nothing(house: House, beats: bool) -> None:
    """Its lease ran out; another took over and finished; the first comes back and leaves it, told by a beat or not."""
    house.world.incident = DRIFT
    slow, quick = house.worker(), house.worker()
    slow.step("risk")                                      # people are told
    retrain = house.deeds.retrain
    seen: list[str] = []

    def late(order: Any, beat: Any) -> Any:
        if not seen:
            seen.append("slow began")
            house.clock.advance(seconds=TTL.total_seconds() + 1)
            seen.append(quick.step("risk").outcome)
        return retrain(order, beat if beats else lambda: None)
    house.deeds.retrain = late  # type: ignore[method-assign]
    step = slow.step("risk")
    assert seen == ["slow began", "acted"]
    assert (step.outcome, step.decision.action) == ("elsewhere", "retrain")
    assert house.deeds.names == STORY[:2]


def test_of_many_workers_each_deed_is_done_by_one(db: Database, tmp_path: Path) -> None:
    """Four threads at one story, on every database."""
    house = House(db, tmp_path, RETRAIN)
    house.world.incident = DRIFT
    began: list[str] = []
    stage = house.deeds.stage

    def counted(order: Any) -> Any:
        began.append(order.decision.key)
        return stage(order)
    house.deeds.stage = counted  # type: ignore[method-assign]

    def work(worker: Any) -> None:
        for _ in range(6):
            worker.run("risk")
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(work, house.worker()) for _ in range(4)]:
            done.result()
    house.run()
    assert house.deeds.names == STORY[:3]
    assert len(began) == 1                                 # not even begun twice
    house.journal.verify()


def test_a_model_has_one_open_action_over_all_its_endpoints(house: House) -> None:
    house.world.incident = DRIFT
    house.deeds.fails = [Busy("the store is busy")]
    assert house.worker().step("risk", "eu").outcome == "later"
    step = house.worker().step("risk", "production")       # takes up what was begun at the other endpoint
    assert (step.outcome, step.decision.endpoint) == ("acted", "eu")


def test_a_busy_store_means_later_and_everything_else_is_a_failure_that_is_told(house: House) -> None:
    house.world.incident = DRIFT
    house.worker().step("risk")
    house.deeds.fails = [StoreUnreachable("the store is away"), CheckFailed("no candidate could be fitted")]
    assert [one.outcome for one in house.worker().run("risk")] == ["later"]
    steps = house.worker().run("risk")
    assert [(one.outcome, one.decision.action) for one in steps] == [
        ("failed", "retrain"), ("acted", "notify"), ("held", "hold")]
    assert steps[0].stored is not None
    assert steps[0].stored.result == {"why": "no candidate could be fitted", "code": "check_failed"}
    assert steps[1].decision.reason.endswith("no candidate could be fitted")
    house.day(3)                                           # the cooldown is over
    assert "acted retrain" in house.run()


def test_what_ends_every_worker_is_given_up_in_the_end(house: House) -> None:
    house.world.incident = DRIFT
    house.worker().step("risk")

    def dies(order: Any, beat: Any) -> Any:
        raise Killed
    house.deeds.retrain = dies  # type: ignore[method-assign]
    for _ in range(TAKES):
        with pytest.raises(Killed):
            house.worker().step("risk")
        house.clock.advance(seconds=TTL.total_seconds() + 1)
    step = house.worker().step("risk")
    assert step.outcome == "failed"
    assert step.stored is not None
    assert "workers ended while they were at it" in step.stored.result["why"]


def test_a_dry_run_says_what_it_would_do_and_keeps_nothing(house: House) -> None:
    house.world.incident = DRIFT
    head = house.journal.head()
    step = house.worker().step("risk", dry_run=True)
    assert (step.outcome, step.decision.action) == ("dry", "notify")
    assert house.journal.head() == head
    assert house.decisions.list() == []
    assert house.deeds.names == []


def test_the_kill_switch_stops_also_what_is_under_way_until_it_is_lifted(house: House) -> None:
    house.world.incident = DRIFT
    house.worker().step("risk")
    house.deeds.fails = [Busy("later")]
    assert house.worker().step("risk").outcome == "later"  # a retrain is under way
    house.policies.pause(by="ann", why="audit week")
    assert house.worker().step("risk").outcome == "held"
    assert house.deeds.names == ["notify a-drift"]
    house.policies.resume(by="ann", why="done")
    assert house.run()[0] == "acted retrain"


def test_while_paused_it_says_once_what_it_would_have_done(house: House) -> None:
    house.world.incident = DRIFT
    house.policies.pause("risk", by="ann", why="audit week")
    assert house.run() == ["acted notify", "held hold"]
    assert house.run() == ["held hold"]
    held = house.decisions.list("risk")
    assert len(held) == 2
    assert held[0].decision.reason.startswith("paused by ann: audit week. It would have done this: retrain: ")
    house.policies.resume("risk", by="ann")
    assert "acted retrain" in house.run()


def test_somebody_who_changes_the_endpoint_by_hand_is_not_overruled(house: House) -> None:
    """A promotion that was begun and not done is dropped when another version serves meanwhile."""
    story = days(house)
    for _ in range(3):
        next(story)
        house.run()
    next(story)
    house.deeds.fails = [Busy("later")]
    step = house.worker().step("risk")
    assert (step.outcome, step.decision.action) == ("later", "promote")
    house.world.history.append(7)
    step = house.worker().step("risk")
    assert step.outcome == "failed"
    assert step.stored is not None
    assert step.stored.result["why"] == "v7 serves now, and this was decided when v1 did"
    assert house.world.champion == 7


def test_a_worse_challenger_never_reaches_champion(house: House) -> None:
    house.world.incident = DRIFT
    house.run()
    house.world.shown = {"rows": 10, "labels": 400, "verdict": "worse", "words": "v2 is worse"}
    assert house.run()[0] == "acted stop"
    assert (house.world.history, house.world.trial) == ([1], None)
    assert "promote" not in {action for _, action, _ in house.kept}


def test_a_challenger_that_failed_its_gates_is_told_and_gets_no_traffic(house: House) -> None:
    house.world.incident, house.world.gates = DRIFT, "failed"
    assert house.run() == ["acted notify", "acted retrain", "acted notify", "held hold"]
    assert "v2 was trained and is not tried: mse 16 is over 15; v1 stays" in house.deeds.told.values()
    assert house.world.trial is None


def test_every_decision_is_recomputed_from_its_evidence_and_journalled_with_its_reason(house: House) -> None:
    play(house)
    kept = house.decisions.list("risk")
    assert len(kept) >= len(STORY)
    for one in kept:
        replayed = house.decisions.replay(one.id)
        assert replayed.differs == ()
        assert replayed.again == one.decision
    rows = house.journal.rows(kind="decision.decide")
    assert {row.subject for row in rows} == {one.id for one in kept}
    assert all(row.why for row in rows)


def test_what_was_done_long_ago_is_not_done_again_nor_in_the_way(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where so much happened since that it no longer lies in what is looked back on."""
    past = house.decisions.past
    monkeypatch.setattr(house.decisions, "past", lambda model: past(model, limit=1))
    play(house)
    assert house.deeds.names == STORY
    assert decisions.PAST > 1


def test_a_policy_that_notifies_never_trains(house: House) -> None:
    house.policies.put("risk", Policy(on_drift="notify"), by="ann")
    house.world.incident = DRIFT
    assert house.run() == ["acted notify", "quiet none"]
    house.day(30)
    assert house.run() == ["quiet none"]
