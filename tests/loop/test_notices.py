"""A fact leaves one notice, in its own transaction; one worker has each try; nothing is lost or told for ever."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from loop_scenes import DRIFT, RETRAIN, STUCK, TOLD, seen

from trimtab.clock import FixedClock
from trimtab.keys import Keyring
from trimtab.loop.decisions import Decisions
from trimtab.loop.notices import TRIES, Notices, of_decision, pause_s
from trimtab.loop.policy import decide
from trimtab.store.db import Database
from trimtab.store.journal import Journal

RETRAINS = decide(RETRAIN, seen(incident=DRIFT, past=(TOLD,)))
REFUSES = decide(RETRAIN, seen(incident=STUCK))


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture
def notices(db: Database, clock: FixedClock) -> Notices:
    return Notices(db, clock)


@pytest.fixture
def decisions(db: Database, tmp_path: Path, clock: FixedClock) -> Decisions:
    return Decisions(db, Journal(db, Keyring(tmp_path / "keys"), clock), clock)


def test_a_key_is_told_once(notices: Notices, clock: FixedClock) -> None:
    first = notices.put("a-1.0", "risk", "production", "alert.open", {"text": "temp stood still", "x": float("nan")})
    clock.advance(hours=1)
    assert notices.put("a-1.0", "risk", "production", "alert.open", {"text": "again"}) == first
    assert first.body == {"text": "temp stood still", "x": None}
    assert [one.id for one in notices.list()] == [first.id]


def test_a_fact_that_is_rolled_back_leaves_none(notices: Notices, db: Database) -> None:
    def fails() -> None:
        with db.write() as conn:
            notices.put_in(conn, "a-1.0", "risk", "production", "alert.open", {})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert notices.list() == []


def test_one_worker_has_each_try_and_the_next_comes_later(notices: Notices, clock: FixedClock) -> None:
    put = notices.put("a-1.0", "risk", "production", "alert.open", {})
    mine, theirs = notices.claim(put), notices.claim(put)
    assert mine is not None
    assert (mine.tries, theirs) == (1, None)
    assert notices.due(clock.now()) == []                    # also where its worker is killed now: it comes back
    clock.advance(seconds=pause_s("a-1.0", 1))
    assert notices.due(clock.now()) == [mine]
    notices.mark(mine, "told", had=["3f"])
    clock.advance(days=30)
    assert notices.due(clock.now()) == []
    kept, = notices.list(state="told")
    assert (kept.had, kept.told_at is not None) == (("3f",), True)


def test_what_was_given_up_can_be_sent_again(notices: Notices, clock: FixedClock) -> None:
    notices.mark(notices.put("a-1.0", "risk", "production", "alert.open", {"text": "t"}), "gave_up", why="refused")
    assert notices.due(clock.now()) == []
    assert notices.again() == 1
    one, = notices.due(clock.now())
    assert (one.tries, one.body) == (0, {"text": "t"})
    assert notices.again() == 0


def test_pauses_grow_differ_by_key_and_span_a_night() -> None:
    pauses = [pause_s("a-1.0", tries) for tries in range(1, TRIES + 1)]
    assert pauses == [pause_s("a-1.0", tries) for tries in range(1, TRIES + 1)]
    assert all(0.75 * 30 * 2**n <= one <= 1.25 * 30 * 2**n for n, one in enumerate(pauses[:9]))
    assert len({pause_s(f"a-{n}", 1) for n in range(50)}) == 50
    assert timedelta(hours=8) < timedelta(seconds=sum(pauses[:-1])) < timedelta(hours=24)


def test_a_decision_that_was_acted_on_is_told_with_what_became_of_it(decisions: Decisions, notices: Notices) -> None:
    kept = decisions.record(RETRAINS)
    assert notices.list() == []                              # nothing became of it yet
    done = decisions.finish(kept, "done", {"version": 2, "gates": "passed"})
    decisions.finish(kept, "failed", {"why": "too late"})    # marked already
    one, = notices.list()
    assert (one.key, one.kind, one.model) == (RETRAINS.key, "decision.retrain", "risk")
    assert (one.body["decision"], one.body["result"]) == (kept.id, {"version": 2, "gates": "passed"})
    assert one.body["text"] == f"risk: {RETRAINS.words}"
    assert notices.put(*of_decision(done)) == one            # whoever tells it too tells it once


def test_a_failed_act_is_told_as_failed_and_a_refusal_as_a_refusal(decisions: Decisions, notices: Notices) -> None:
    decisions.finish(decisions.record(RETRAINS), "failed", {"why": "no rows are labelled"})
    decisions.finish(decisions.record(REFUSES), "refused", {})
    told = {one.kind: one.body["text"] for one in notices.list()}
    assert told == {"decision.failed": "risk: retrain failed: no rows are labelled",
                    "decision.refuse": f"risk: {REFUSES.words}"}


def test_what_only_holds_is_not_told(decisions: Decisions, notices: Notices) -> None:
    decisions.record(msgspec.structs.replace(RETRAINS, action="hold"), state="done")
    assert notices.list() == []
