"""Closed tables are what the journal says, and go by age once they were judged."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from trimtab import clock as times
from trimtab.clock import FixedClock
from trimtab.errors import DigestMismatch, UsageError
from trimtab.project import audit
from trimtab.project.project import Project
from trimtab.project.tidying import forget_traffic
from trimtab.store.schema import windows
from trimtab.traffic import closing
from trimtab.traffic.log import TrafficLog
from trimtab.traffic.segments import Record, Row
from trimtab.workspace import Workspace


def ask(workspace: Workspace, day: str, *, version: int = 1, rows: int = 3) -> str:
    """A closed table of one day's predictions; its name."""
    log = TrafficLog(workspace.folder / "traffic", writer=workspace.ids.short("w"), now=workspace.clock)
    for number in range(rows):
        name = f"p-{day}-{number}"
        log.append(Record(batch=name, at=f"{day}T0{number}:00:00.000000Z", model="y", endpoint="production",
                          version=version, stage="champion", verdict="kept", latency_us=9,
                          rows=(Row(name, 0, {"a": 0.1}, 1.0),)))
    log.close()
    before = set(workspace.folder.glob("traffic/*/*.parquet"))
    closing.close_all(workspace.folder / "traffic")
    made = next(iter(set(workspace.folder.glob("traffic/*/*.parquet")) - before))
    return f"{made.parent.name}/{made.name}"


def judged_until(workspace: Workspace, at: str) -> None:
    """A window of the live version that ends there."""
    with workspace.db.write() as conn:
        conn.execute(windows.insert().values(
            model="y", version=1, endpoint="production", seq=1, from_at="", to_at=at, first_id="", last_id="", rows=3,
            counts="{}", closed_at=at))


def test_each_table_is_noted_once_and_a_changed_one_is_named(live: Project) -> None:
    workspace = live.workspace
    names = [ask(workspace, "2026-01-01"), ask(workspace, "2026-01-02")]
    assert workspace.tables.note(by="ann") == 2
    assert workspace.tables.note(by="ann") == 0
    rows = workspace.journal.rows(kind="traffic.close")
    assert sorted(row.subject for row in rows) == sorted(names)
    assert rows[0].body["rows"] == 3
    assert audit.verify(workspace).tables == 2
    path = workspace.folder / "traffic" / names[1]
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(DigestMismatch, match=names[1]):
        audit.verify(workspace)
    path.write_bytes(whole)
    path.rename(path.with_suffix(".away"))
    with pytest.raises(DigestMismatch, match=f"{names[1]} of traffic is gone"):
        audit.verify(workspace)


def test_old_tables_go_with_a_row_each_and_what_was_not_judged_stays(live: Project) -> None:
    """By age; never what no window holds; the audit still holds after."""
    workspace = live.workspace
    old, unjudged = ask(workspace, "2024-01-01"), ask(workspace, "2024-02-01")
    ask(workspace, times.to_text(workspace.clock.now())[:10])
    judged_until(workspace, "2024-01-20T00:00:00.000000Z")
    told = forget_traffic(workspace, "400d", dry_run=True)
    assert [(one.name, bool(one.kept)) for one in sorted(told, key=lambda one: one.from_at)] == [
        (old, False), (unjudged, True)]
    assert (workspace.folder / "traffic" / old).exists()
    assert workspace.journal.rows(kind="traffic.forget") == []
    forget_traffic(workspace, "400d", why="policy 7")
    assert not (workspace.folder / "traffic" / old).exists()
    assert (workspace.folder / "traffic" / unjudged).exists()
    row = workspace.journal.rows(kind="traffic.forget")[0]
    assert (row.subject, row.why) == (old, "policy 7")
    assert row.body["digest"] == next(one.body["digest"] for one in workspace.journal.rows(kind="traffic.close")
                                      if one.subject == old)
    assert audit.verify(workspace).tables == 2
    assert len(workspace.traffic.frame()) == 6
    with pytest.raises(UsageError, match="400d"):
        forget_traffic(workspace, "soon")


def test_rows_of_versions_that_serve_no_more_are_judged_by_nobody(live: Project) -> None:
    ask(live.workspace, "2024-01-01", version=7)
    assert [one.kept for one in forget_traffic(live.workspace, "400d")] == [""]


def test_one_that_was_killed_between_its_row_and_the_deletion_is_made_good(tmp_path: Path,
                                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FixedClock(datetime(2026, 6, 1, tzinfo=times.UTC))
    workspace = Workspace.open(tmp_path / "ws", create=True, now=clock, actor="ann")
    name = ask(workspace, "2024-01-01")
    path = workspace.folder / "traffic" / name

    def killed(self: Path, missing_ok: bool = False) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "unlink", killed)
    with pytest.raises(KeyboardInterrupt):
        forget_traffic(workspace, "1d")
    monkeypatch.undo()
    assert path.exists()
    assert workspace.tables.verify() == 0                      # what is to go is not missed
    clock.advance(days=timedelta(days=1).days)
    assert forget_traffic(workspace, "1d") == []
    assert not path.exists()
    assert len(workspace.journal.rows(kind="traffic.forget")) == 1
    workspace.close()
