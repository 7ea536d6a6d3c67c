"""A step that reads only what is new says what a step that reads everything again says."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import sqlalchemy as sa

from trimtab import clock as times
from trimtab.config import Monitor as Settings
from trimtab.ids import Ids
from trimtab.keys import Keyring
from trimtab.monitor.alerts import Alerts
from trimtab.monitor.baseline import Baseline
from trimtab.monitor.monitor import Live, Monitor
from trimtab.store import migrate
from trimtab.store.db import Database
from trimtab.store.journal import Journal
from trimtab.store.schema import windows
from trimtab.traffic import closing
from trimtab.traffic.log import TrafficLog
from trimtab.traffic.segments import Record, Row
from trimtab.workspace import Workspace


def monitor(ws: Workspace, folder: Path, world: Any, asked: Callable[..., pl.DataFrame]) -> tuple[Monitor, Database]:
    """One that keeps its windows in a database of its own, over the workspace's traffic and labels."""
    db = Database("sqlite://")
    migrate.upgrade(db)
    np.random.default_rng(3)
    alerts = Alerts(db, Journal(db, Keyring(folder / "keys"), ws.clock), ws.clock)
    baseline = Baseline(contract=world.contract, columns=world.baseline, risk=world.risk,
                        score={"value": 1.0, "low": 0.9, "high": 1.1})
    return Monitor(db=db, traffic=asked, alerts=alerts, now=ws.clock, live=lambda model: [Live(
        endpoint="production", version=1)], baseline=lambda model, version: baseline,
        settings=lambda model, version: Settings(window=40)), db


def kept(db: Database) -> list[tuple[Any, ...]]:
    with db.read() as conn:
        return [tuple(row) for row in conn.execute(sa.select(
            windows.c.seq, windows.c.first_id, windows.c.last_id, windows.c.counts).order_by(windows.c.seq))]


@pytest.mark.parametrize("seed", range(6))
def test_random_labels_late_corrected_by_id_and_by_key_change_nothing(tmp_path: Path, world: Any, seed: int) -> None:
    """Rows come, segments close, labels come late, twice, corrected, before their row, by id or key, in any order."""
    rng = np.random.default_rng(seed)
    clock = times.FixedClock(datetime(2026, 1, 1, tzinfo=times.UTC))
    ws = Workspace.open(tmp_path / "ws", create=True, now=clock, ids=Ids(rng.bytes), actor="ada")
    log = TrafficLog(ws.folder / "traffic", writer="w-1", now=clock, segment_bytes=9_000)

    def whole(model: str, *, told_after: str | None = None, **more: Any) -> pl.DataFrame:
        return ws.asked(model, **more)

    asked_of = []

    def new(model: str, **more: Any) -> pl.DataFrame:
        found = ws.asked(model, **more)
        asked_of.append((more.get("told_after"), len(found)))
        return found

    fresh, fresh_db = monitor(ws, tmp_path / "a", world, new)
    old, old_db = monitor(ws, tmp_path / "b", world, whole)
    made: list[tuple[str, str, float]] = []
    for turn in range(25):
        rows = world.rows(int(rng.integers(1, 30)))
        for row in rows.to_dicts():
            clock.advance(seconds=float(rng.uniform(1, 400)))
            name, key = ws.ids.prediction(clock.now()), f"k{len(made)}"
            answer = 2.0 * row["rate"] + 0.1 * row["temperature"]
            log.append(Record(batch=name, at=times.to_text(clock.now()), model="risk", endpoint="production", version=1,
                              stage="champion", verdict="kept", latency_us=1,
                              rows=(Row(name, 0, row, answer, None, key),)))
            made.append((name, key, answer))
        for kind, place in (("prediction", 0), ("key", 1)):
            picked = rng.choice(len(made), size=min(len(made), int(rng.integers(0, 25))), replace=False)
            told = [(str(made[one][place]), made[one][2] + float(rng.normal(0, 1.5))) for one in picked]
            if rng.random() < 0.3:
                told += [(f"k{len(made) + 3}", 1.0)] if kind == "key" else told[:1]       # before its row; repeated
            ws.labels.put("risk", kind, told, by="ann")                        # type: ignore[arg-type]
            clock.advance(seconds=float(rng.uniform(0, 3)))
        if turn % 4 == 3:
            closing.close_all(ws.folder / "traffic")
        clock.advance(hours=float(rng.choice([0, 0, 1, 30])))
        assert len(fresh.step("risk").closed) == len(old.step("risk").closed)
        assert kept(fresh_db) == kept(old_db)
    assert len(kept(fresh_db)) > 5
    assert json.loads(kept(fresh_db)[-1][3])["harm"]["n"] > 50
    late = [rows for told_after, rows in asked_of if told_after]
    assert late
    assert max(late) < len(made)                            # it did not read everything again
    log.close()


def test_a_late_label_of_an_old_row_reads_only_that_row(tmp_path: Path) -> None:
    """Found by its id or key, in tables and in the segment that is still written."""
    clock = times.FixedClock()
    ws = Workspace.open(tmp_path / "ws", create=True, now=clock, actor="ada")
    log = TrafficLog(ws.folder / "traffic", writer="w-1", now=clock, segment_bytes=2_000)
    names = []
    for number in range(60):
        clock.advance(seconds=60)
        names.append(ws.ids.prediction(clock.now()))
        log.append(Record(batch=names[-1], at=times.to_text(clock.now()), model="risk", endpoint="production",
                          version=1, stage="champion", verdict="kept", latency_us=1,
                          rows=(Row(names[-1], 0, {"a": 1.0}, 1.0, None, f"k{number}"),)))
    closing.close_all(ws.folder / "traffic")
    ws.labels.put("risk", "prediction", [(names[2], 1.0), (names[59], 1.0)], by="ann")
    before = times.to_text(clock.now())
    clock.advance(days=1)
    ws.labels.put("risk", "prediction", [(names[5], 1.0), (names[58], 2.0)], by="ann")
    ws.labels.put("risk", "key", [("k7", 1.0), ("nobody", 1.0)], by="ann")
    found = ws.asked("risk", version=1, told_after=before)
    assert found["id"].to_list() == [names[5], names[7], names[58]]
    assert found["label"].to_list() == ["1.0", "1.0", "2.0"]
    assert ws.asked("risk", version=1, told_after=times.to_text(clock.now() + timedelta(days=1))).is_empty()
    log.close()
