"""Decisions and policies are kept, once, with their journal rows; on every database."""

from __future__ import annotations

from pathlib import Path

import pytest
from loop_scenes import DRIFT, RETRAIN, STUCK, TOLD, past, seen

from trimtab.clock import FixedClock
from trimtab.errors import NotFound, UsageError
from trimtab.keys import Keyring
from trimtab.loop.decisions import Decisions, name_of
from trimtab.loop.model import Policy
from trimtab.loop.policies import Policies
from trimtab.loop.policy import decide
from trimtab.store.db import Database
from trimtab.store.journal import Journal


class Room:
    """The stores of the loop, their journal, and a clock that is held."""

    def __init__(self, db: Database, folder: Path) -> None:
        self.clock = FixedClock()
        self.journal = Journal(db, Keyring(folder / "keys"), self.clock)
        self.decisions = Decisions(db, self.journal, self.clock)
        self.policies = Policies(db, self.journal, self.clock)

    @property
    def kinds(self) -> list[str]:
        """What the journal says, in order."""
        return [row.kind for row in self.journal.rows()]


@pytest.fixture
def room(db: Database, tmp_path: Path) -> Room:
    return Room(db, tmp_path)


RETRAINS = decide(RETRAIN, seen(incident=DRIFT, past=(TOLD,)))
REFUSES = decide(RETRAIN, seen(incident=STUCK))


def test_a_decision_is_kept_whole_once_and_journalled_with_its_reason(room: Room) -> None:
    kept = room.decisions.record(RETRAINS)
    room.clock.advance(hours=1)
    assert room.decisions.record(RETRAINS) == kept
    assert room.decisions.get(kept.id[:5]) == kept
    assert kept.decision == RETRAINS
    assert kept.id == name_of(RETRAINS.key)
    row, = room.journal.rows(kind="decision.decide")
    assert (row.subject, row.why, row.body["key"]) == (kept.id, RETRAINS.reason, RETRAINS.key)


def test_a_model_has_one_decision_under_way(room: Room) -> None:
    first = room.decisions.record(RETRAINS)
    assert room.decisions.record(REFUSES) == first
    room.decisions.finish(first, "done", {"version": 2, "gates": "passed"})
    assert room.decisions.under_way("risk") is None
    assert room.decisions.record(REFUSES).decision == REFUSES


def test_a_mark_is_set_once(room: Room) -> None:
    kept = room.decisions.record(RETRAINS)
    done = room.decisions.finish(kept, "done", {"version": 2, "figure": float("nan")})
    assert (done.state, done.result) == ("done", {"version": 2, "figure": None})
    assert room.decisions.finish(kept, "failed", {"why": "late"}) == done
    assert room.kinds == ["decision.decide", "decision.done"]
    room.journal.verify()


def test_the_order_of_decisions_is_that_in_which_they_were_made_also_within_one_moment(room: Room) -> None:
    for i in range(6):
        made = room.decisions.record(decide(RETRAIN, seen(incident=DRIFT, endpoint=f"e{i}")))
        room.decisions.finish(made, "done", {})
    assert [one.endpoint for one in room.decisions.past("risk")] == [f"e{i}" for i in range(6)]
    assert [one.endpoint for one in room.decisions.past("risk", limit=2)] == ["e4", "e5"]
    assert room.decisions.past("other") == ()


def test_what_only_held_is_kept_and_not_looked_back_on(room: Room) -> None:
    held = decide(RETRAIN, seen(incident=DRIFT, labels=0, past=(TOLD,)))
    assert room.decisions.record(held, state="done").state == "done"
    assert room.decisions.past("risk") == ()
    assert [one.decision for one in room.decisions.list("risk")] == [held]


def test_every_trial_is_counted_for_the_error_that_it_spends(room: Room) -> None:
    assert room.decisions.trials("risk", "production") == 0
    made = past("retrain", "a-drift", version=2, gates="passed")
    trial = room.decisions.record(decide(RETRAIN, seen(incident=DRIFT, past=(TOLD, made))))
    assert trial.decision.action == "start_shadow"
    room.decisions.finish(trial, "done", {})
    assert room.decisions.trials("risk", "production") == 1


def test_an_unknown_decision_is_answered_plainly(room: Room) -> None:
    with pytest.raises(NotFound, match="there is no decision 'd-nope'"):
        room.decisions.get("d-nope")


def test_replaying_tells_which_fields_no_longer_follow(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = room.decisions.record(RETRAINS)
    assert room.decisions.replay(kept.id).differs == ()
    monkeypatch.setattr("trimtab.loop.policy.again", lambda evidence: REFUSES)
    assert "action" in room.decisions.replay(kept.id).differs


def test_a_policy_is_what_was_kept_or_what_the_caller_names(room: Room) -> None:
    named = Policy(on_drift="propose")
    assert room.policies.get("risk", default=named) == named
    kept = room.policies.put("risk", Policy(on_drift="retrain", cooldown_s=60.0), by="ann", why="faster")
    assert room.policies.get("risk", default=named) == kept
    assert room.policies.get("other") == Policy()
    assert room.kinds == ["policy.set"]


def test_the_kill_switch_works_for_one_model_or_for_all_and_survives_a_new_policy(room: Room) -> None:
    with pytest.raises(UsageError, match="needs a reason"):
        room.policies.pause("risk", by="ann", why=" ")
    room.policies.pause("risk", by="ann", why="audit")
    assert room.policies.get("risk", default=RETRAIN).on_drift == "retrain"      # pausing keeps no policy
    assert room.policies.get("risk").on_drift == "notify"
    assert room.policies.paused() == {"risk": ("ann", "audit")}
    room.policies.put("risk", Policy(on_drift="propose"), by="bob")
    paused = room.policies.get("risk")
    assert (paused.paused, paused.by, paused.why) == (True, "ann", "audit")
    assert room.policies.kept("risk")
    room.policies.reset("risk", by="bob", why="as trimtab.toml says")
    assert not room.policies.kept("risk")
    assert room.policies.get("risk", default=RETRAIN).on_drift == "retrain"
    assert room.policies.get("risk").paused
    assert not room.policies.get("other").paused
    room.policies.resume("risk", by="ann", why="over")
    room.policies.pause(by="ann", why="all of it")
    room.policies.pause(by="ann", why="again: nothing to do")
    assert room.policies.get("risk").why == "all of it"
    assert room.policies.get("never-heard-of").paused
    room.policies.resume(by="ann")
    assert not room.policies.get("risk").paused
    assert room.kinds == ["policy.pause", "policy.set", "policy.reset", "policy.resume", "policy.pause",
                          "policy.resume"]


def test_pausing_does_not_change_which_decision_it_is() -> None:
    assert Policy(paused=True, why="x", by="y").digest == Policy().digest
    assert Policy(cooldown_s=1.0).digest != Policy().digest


@pytest.mark.parametrize("wrong", [{"wrong_promotion": 0.0}, {"steps": (0.0, 1.0)}, {"steps": (0.25, 0.05)},
                                   {"steps": ()}, {"attempts": 0}, {"least_labels": -1}, {"cooldown_s": -1.0}], ids=str)
def test_a_policy_out_of_range_is_not_kept(room: Room, wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="this policy can't be kept"):
        room.policies.put("risk", Policy(**wrong), by="ann")  # type: ignore[arg-type]
