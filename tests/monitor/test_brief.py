"""What status says of monitoring, without reading traffic."""

from __future__ import annotations

import json
from datetime import timedelta

from trimtab.clock import FixedClock
from trimtab.ids import Ids
from trimtab.monitor.brief import Brief, brief
from trimtab.store.db import Database
from trimtab.store.schema import windows
from trimtab.traffic.labels import Labels


def window(db: Database, seq: int, *, alarmed: str = "", labelled: int | None = 0) -> None:
    told = {"evidence": {"columns": [{"column": name, "alarm": name == alarmed} for name in ("rate", "volume")]},
            "harm": None if labelled is None else {"n": labelled}}
    with db.write() as conn:
        conn.execute(windows.insert().values(
            model="risk", version=1, endpoint="production", seq=seq, from_at="", to_at="", first_id="", last_id="",
            rows=1000, counts=json.dumps(told), closed_at=""))


def test_a_glance_tells_drift_of_the_newest_window_labels_and_their_lag(db: Database) -> None:
    """The share is of all rows in windows; the lag is from a prediction's id to its label."""
    clock = FixedClock()
    assert brief(db, "risk", 1, "production") == Brief(drifted=None, labelled=None, lag_s=None)
    names = [Ids().prediction(clock.now()) for _ in range(3)]
    clock.advance(days=2)
    Labels(db, clock).put("risk", "prediction", [(name, 1.0) for name in names], by="ann")
    Labels(db, clock).put("other", "prediction", [("p-1", 1.0)], by="ann")
    window(db, 1, alarmed="rate", labelled=700)
    window(db, 2, labelled=1240)
    found = brief(db, "risk", 1, "production")
    assert found == Brief(drifted=(), labelled=0.62, lag_s=timedelta(days=2).total_seconds())
    assert found.words == ("drift: none", "labels: 62% (lag 2 d)")
    window(db, 3, alarmed="volume", labelled=None)
    assert brief(db, "risk", 1, "production").words == ("drift: volume",)
    assert brief(db, "risk", 2, "production").words == ("drift: cannot tell yet",)
