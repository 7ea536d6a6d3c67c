"""Scenes that the loop's tests share: what was seen, in a word or two."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from trimtab import clock
from trimtab.loop.model import Action, Incident, Past, Policy, Seen, State, Trial

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
RETRAIN = Policy(on_drift="retrain")
DRIFT = Incident(id="a-drift", kind="shift", sentence="rate rose: mean +0.5 sd")
STUCK = Incident(id="a-stuck", kind="stuck", sentence="temp stood still", broken="temp stood still at 21.5")
HARM = Incident(id="a-harm", kind="concept", sentence="worse than when it was judged", harm=True)


def seen(**fields: Any) -> Seen:
    """Noon at an endpoint where v1 serves and 500 labels came."""
    return Seen(**{"model": "risk", "endpoint": "production", "at": clock.to_text(NOON), "champion": 1, "labels": 500,
                   **fields})


def trial(**fields: Any) -> Trial:
    """v2 in shadow since an hour, 150 rows answered."""
    return Trial(**{"number": 1, "version": 2, "role": "challenger", "stage": "shadow", "share": 0.0, "rows": 150,
                    "labels": 90, "words": "cannot tell yet", "since": clock.to_text(NOON - timedelta(hours=1)),
                    **fields})


def past(action: Action, subject: str, *, hours: float = 1, state: State = "done", champion: int = 1,
         **result: Any) -> Past:
    """A decision of so many hours ago."""
    return Past(id=f"d-{action}", endpoint="production", at=clock.to_text(NOON - timedelta(hours=hours)), action=action,
                subject=subject, champion=champion, state=state, result=result, version=result.get("version"))


TOLD = past("notify", "a-drift", hours=2)
