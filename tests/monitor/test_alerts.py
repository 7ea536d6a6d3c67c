"""One incident and not six; somebody owns it, and the journal knows who did what."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from trimtab.clock import FixedClock
from trimtab.errors import Conflict, NotFound, UsageError
from trimtab.keys import Keyring
from trimtab.monitor.alerts import Alert, Alerts
from trimtab.store.db import Database
from trimtab.store.journal import Journal

SHIFT = {"kind": "shift", "column": "rate", "sentence": "rate rose: mean +0.52 sd", "broken": False, "began": 4}
STUCK = {"kind": "stuck", "column": "temp", "sentence": "temp stood still at 21.5", "broken": True, "began": 5}


class Room:
    """Alerts, their journal, and a clock that is held."""

    def __init__(self, db: Database, folder: Path) -> None:
        self.db, self.clock = db, FixedClock()
        self.journal = Journal(db, Keyring(folder / "keys"), self.clock)
        self.alerts = Alerts(db, self.journal, self.clock)

    def note(self, *causes: dict[str, Any], version: int = 1, endpoint: str = "production") -> tuple[Alert, bool]:
        """What a window leaves."""
        with self.db.write() as conn:
            return self.alerts.note(conn, model="risk", version=version, endpoint=endpoint, causes=causes,
                                    evidence={"columns": [{"column": one["column"]} for one in causes]})

    @property
    def kinds(self) -> list[str]:
        """What the journal says, in order."""
        return [row.kind for row in self.journal.rows()]


@pytest.fixture
def room(db: Database, tmp_path: Path) -> Room:
    return Room(db, tmp_path)


def test_six_windows_of_evidence_are_one_incident(room: Room) -> None:
    first, new = room.note(SHIFT)
    assert new
    for _ in range(5):
        room.clock.advance(hours=1)
        again, new = room.note({**SHIFT, "sentence": "rate rose: mean +0.60 sd", "began": 4})
        assert not new
        assert again.id == first.id
    kept = room.alerts.list("risk")
    assert [one.id for one in kept] == [first.id]
    assert kept[0].sentence == "rate rose: mean +0.60 sd"
    assert kept[0].opened_at < kept[0].updated_at
    assert room.kinds == ["alert.open"]


def test_what_shows_later_joins_the_incident_and_broken_data_is_said(room: Room) -> None:
    alert, _ = room.note(SHIFT)
    assert alert.broken is None
    alert, _ = room.note(STUCK)
    assert [cause["kind"] for cause in alert.causes] == ["stuck", "shift"]
    assert (alert.kind, alert.broken) == ("stuck", "temp stood still at 21.5")
    assert alert.sentence == "temp stood still at 21.5 (and 1 more)"


def test_endpoints_and_versions_have_incidents_of_their_own(room: Room) -> None:
    ids = {room.note(SHIFT)[0].id, room.note(SHIFT, endpoint="eu")[0].id, room.note(SHIFT, version=2)[0].id}
    assert len(ids) == 3
    assert len(room.alerts.list("risk", endpoint="eu")) == 1


def test_acknowledging_makes_it_yours_and_closing_needs_a_reason(room: Room) -> None:
    alert, _ = room.note(SHIFT)
    seen = room.alerts.acknowledge(alert.id, by="ann")
    assert (seen.state, seen.owner) == ("acknowledged", "ann")
    assert room.alerts.acknowledge(alert.id, by="ann") == seen                 # again: nothing to do
    assert room.alerts.assign(alert.id, owner="bob", by="ann").owner == "bob"
    with pytest.raises(UsageError, match="close needs a reason"):
        room.alerts.close(alert.id, by="bob", why=" ")
    assert room.alerts.close(alert.id[:5], by="bob", why="sensor replaced").state == "closed"
    with pytest.raises(Conflict, match="closed already"):
        room.alerts.acknowledge(alert.id, by="ann")
    assert room.alerts.list("risk") == []
    assert [note["what"] for note in room.alerts.list("risk", states=None)[0].notes] == ["ack", "assign", "close"]
    assert room.kinds == ["alert.open", "alert.ack", "alert.assign", "alert.close"]
    room.journal.verify()


def test_after_closing_new_evidence_is_a_new_incident(room: Room) -> None:
    first, _ = room.note(SHIFT)
    room.alerts.close(first.id, by="ann", why="known")
    second, new = room.note(SHIFT)
    assert new
    assert second.id != first.id


def test_a_snooze_is_quiet_takes_evidence_and_ends_by_itself(room: Room) -> None:
    alert, _ = room.note(SHIFT)
    until = room.clock.now() + timedelta(days=2)
    with pytest.raises(UsageError, match="snooze needs a reason"):
        room.alerts.snooze(alert.id, until=until, by="ann", why="")
    with pytest.raises(UsageError, match="is past"):
        room.alerts.snooze(alert.id, until=room.clock.now(), by="ann", why="x")
    assert room.alerts.snooze(alert.id, until=until, by="ann", why="vendor is on it").state == "snoozed"
    assert room.alerts.list("risk", states=["open"]) == []
    later, new = room.note(STUCK)
    assert (later.state, new) == ("snoozed", False)
    room.clock.advance(days=2)
    assert [one.state for one in room.alerts.list("risk", states=["open"])] == ["open"]
    assert room.note(STUCK)[0].snooze_until is None


def test_a_version_that_no_longer_serves_has_no_open_incident(room: Room) -> None:
    alert, _ = room.note(SHIFT)
    with room.db.write() as conn:
        room.alerts.supersede(conn, model="risk", endpoint="production", live=2)
    closed = room.alerts.get(alert.id)
    assert closed.state == "closed"
    assert closed.notes[-1]["text"] == "v2 serves now"


def test_an_unknown_or_ambiguous_name_is_answered_plainly(room: Room) -> None:
    room.note(SHIFT)
    room.note(SHIFT, endpoint="eu")
    with pytest.raises(NotFound, match="there is no alert 'a-zzzz'"):
        room.alerts.get("a-zzzz")
    with pytest.raises(UsageError, match="more than one"):
        room.alerts.get("a-")
