"""What the loop looks at: what serves, the newest incident of it, and a trial with its verdict."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from trimtab.clock import FixedClock
from trimtab.loop.canary import Canary
from trimtab.loop.observe import Observe, incident, judged
from trimtab.monitor.alerts import Alert
from trimtab.serving.rollout import Rollout

STUCK = {"kind": "stuck", "column": "temp", "sentence": "temp stood still at 21.5", "broken": True}
CONCEPT = {"kind": "concept", "column": "", "sentence": "worse than when it was judged", "broken": False}


def alert(name: str, *causes: dict[str, Any], version: int = 2, opened_at: str = "2026-01-01", state: Any = "open"
          ) -> Alert:
    """An incident of a version."""
    return Alert(id=name, model="risk", version=version, endpoint="production", kind=str(causes[0]["kind"]), owner="",
                 state=state, opened_at=opened_at, updated_at=opened_at, snooze_until=None, evidence={}, causes=causes,
                 notes=[])


class Kept:
    """Rollouts and alerts as two lists."""

    def __init__(self, served: list[int], alerts: list[Alert]) -> None:
        self._served, self._alerts = served, alerts

    def history(self, model: str, endpoint: str) -> list[Rollout]:
        """Every version that served, the oldest first."""
        return [Rollout(model=model, endpoint=endpoint, revision=i + 1, version=version, verb="promote", at="", by="",
                        why="") for i, version in enumerate(self._served)]

    def list(self, model: str, *, endpoint: str) -> list[Alert]:
        """Alerts that are not closed."""
        return self._alerts


def observe(kept: Any, trial: Any = None) -> Observe:
    """An observer of those, with 40 labels."""
    return Observe(rollouts=kept, alerts=kept, now=FixedClock(), trial=lambda model, endpoint, champion: trial,
                   labels=lambda model, endpoint, champion, began, at: 40 if began < at else 0,
                   crossed=lambda model, endpoint, champion: [f"v{champion} fails"])


def test_what_serves_is_seen_with_its_own_newest_incident() -> None:
    kept = Kept([1, 2], [alert("a-old", CONCEPT), alert("a-new", STUCK, opened_at="2026-01-02"),
                         alert("a-other", STUCK, version=1, opened_at="2026-01-03")])
    found = observe(kept)("risk", "production")
    assert (found.champion, found.last_good, found.labels, found.crossed) == (2, 1, 40, ("v2 fails",))
    assert found.incident is not None
    assert (found.incident.id, found.incident.broken) == ("a-new", "temp stood still at 21.5")
    assert found.at == "2026-01-01T00:00:00.000000Z"


def test_where_nothing_serves_there_is_nothing_to_see() -> None:
    found = observe(Kept([], []))("risk", "eu")
    assert (found.champion, found.incident, found.trial) == (None, None, None)


def test_an_incident_says_whether_labels_show_harm_and_whether_it_is_snoozed() -> None:
    assert incident([]) is None
    harm = incident([alert("a-1", CONCEPT, state="snoozed")])
    assert harm is not None
    assert (harm.harm, harm.snoozed, harm.broken) == (True, True, None)
    stuck = incident([alert("a-1", STUCK)])
    assert stuck is not None
    assert not stuck.harm


def test_an_incident_says_since_when_rows_moved() -> None:
    """What was asked before teaches nothing of it; where labels alone tell, no row is known to have moved."""
    moved = dataclasses.replace(alert("a-1", STUCK), evidence={
        "columns": [{"column": "temp"}], "began": {"at": "2026-01-04", "until": "2026-01-05"}})
    found, told = incident([moved]), incident([alert("a-1", CONCEPT)])
    assert found is not None
    assert told is not None
    assert (found.began, told.began) == ("2026-01-05", "")


def test_a_trial_carries_its_canary_so_that_the_verdict_can_be_recomputed() -> None:
    canary = Canary(challenger=3, bound=1.0).after(np.full(200, 0.4))
    trial = judged(canary, version=4, role="challenger", share=0.05, since="2026-01-01", rows=900)
    assert (trial.number, trial.stage, trial.verdict, trial.labels) == (3, "canary", "better", 200)
    assert Canary.from_json(trial.pairs) == canary
    assert judged(canary, version=4, role="last_good", share=0.0, since="", rows=0).stage == "shadow"
    assert observe(Kept([1], []), trial)("risk", "production").trial == trial
