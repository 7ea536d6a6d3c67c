"""Windows close by count and by time, each once, wherever the monitor is killed; drift becomes one incident."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import sqlalchemy as sa

from trimtab import clock as times
from trimtab.clock import FixedClock
from trimtab.config import Monitor as Settings
from trimtab.keys import Keyring
from trimtab.monitor.alerts import Alerts
from trimtab.monitor.baseline import Baseline
from trimtab.monitor.monitor import Live, Monitor
from trimtab.store.db import Database
from trimtab.store.journal import Journal
from trimtab.store.schema import windows

START = datetime(2026, 3, 1, tzinfo=UTC)


class Killed(BaseException):
    """The process ends here."""


class Post:
    """A monitor over traffic that a test writes by hand."""

    def __init__(self, db: Database, folder: Path, world: Any, **settings: Any) -> None:
        self.db, self.world, self.clock, self.live = db, world, FixedClock(START), [Live(endpoint="production",
                                                                                         version=1)]
        self.frame = pl.DataFrame()
        self.settings = Settings(**{"window": 200, "every": "1d", **settings})
        self.alerts = Alerts(db, Journal(db, Keyring(folder / "keys"), self.clock), self.clock)
        self.baseline = Baseline(contract=world.contract, columns=world.baseline, risk=world.risk,
                                 score={"value": 1.0, "low": 0.9, "high": 1.1})
        self.monitor = self.fresh()

    def fresh(self) -> Monitor:
        """What a new process has."""
        return Monitor(db=self.db, traffic=self.query, alerts=self.alerts, now=self.clock,
                       live=lambda model: self.live if model == "risk" else [],
                       baseline=lambda model, version: self.baseline, settings=lambda model, version: self.settings)

    def query(self, model: str, *, since: datetime | None = None, until: datetime | None = None,
              version: int | None = None, told_after: str | None = None) -> pl.DataFrame:
        """The traffic, as its own room gives it."""
        frame = self.frame
        if frame.is_empty():
            return pl.DataFrame(schema={"id": pl.String, "at": pl.String, "endpoint": pl.String, "version": pl.Int64,
                                        "features": pl.String, "output": pl.Float64, "label": pl.Float64,
                                        "label_at": pl.String})
        if since is not None:
            frame = frame.filter(pl.col("at") >= times.to_text(since))
        if until is not None:
            frame = frame.filter(pl.col("at") <= times.to_text(until))
        return frame if version is None else frame.filter(pl.col("version") == version)

    def ask(self, rows: int, *, minutes: float = 60.0, change: pl.Expr | None = None, version: int = 1,
            error: float | None = None, endpoint: str = "production") -> None:
        """So many requests over the next minutes; `error`: sd of the truth around the answer, labelled at once."""
        features = self.world.rows(rows)
        if change is not None:
            features = features.with_columns(change)
        step = timedelta(minutes=minutes) / rows
        moments = [self.clock.now() + step * place for place in range(rows)]
        answers = (2.0 * features["rate"] + 0.1 * features["temperature"]).to_numpy()
        rng = np.random.default_rng(len(self.frame))
        truth = None if error is None else answers + rng.normal(0.0, error, rows)
        new = pl.DataFrame({
            "id": [f"p-{times.to_text(one)}-{place:05d}" for place, one in enumerate(moments)],
            "at": [times.to_text(one) for one in moments], "endpoint": endpoint, "version": version,
            "features": [json.dumps(row) for row in features.to_dicts()], "output": answers,
            "label": pl.Series(truth, dtype=pl.Float64) if truth is not None else pl.Series(
                [None] * rows, dtype=pl.Float64),
            "label_at": [times.to_text(one) if truth is not None else None for one in moments],
        }, schema_overrides={"label_at": pl.String, "version": pl.Int64})
        self.frame = new if self.frame.is_empty() else pl.concat([self.frame, new])
        self.clock.advance(minutes=minutes, seconds=5)

    def kept(self) -> list[Any]:
        """Every stored window, without the times at which it was closed."""
        with self.db.read() as conn:
            return [tuple(row) for row in conn.execute(sa.select(
                windows.c.version, windows.c.endpoint, windows.c.seq, windows.c.first_id, windows.c.last_id,
                windows.c.rows, windows.c.counts).order_by(windows.c.version, windows.c.endpoint, windows.c.seq))]


@pytest.fixture
def post(db: Database, tmp_path: Path, world: Any) -> Post:
    """On each kind of database."""
    return Post(db, tmp_path, world)


@pytest.fixture
def in_memory(tmp_path: Path, a_world: Callable[..., Any]) -> Callable[..., Post]:
    """As many as a test wants, in memory, each with the same world."""
    from trimtab.store import migrate

    def make(**settings: Any) -> Post:
        database = Database("sqlite://")
        migrate.upgrade(database)
        return Post(database, tmp_path, a_world(), **settings)

    return make


def test_nothing_due_is_a_success(post: Post) -> None:
    assert post.monitor.step("risk").closed == ()
    assert post.monitor.step("other").closed == ()
    post.ask(150)
    assert post.monitor.step("risk").closed == ()
    report = post.monitor.report("risk")[0]
    assert (report.waiting, report.evidence) == (150, None)


def test_windows_close_by_count_and_by_time_whichever_comes_first(post: Post) -> None:
    post.ask(450)
    assert [one.window.rows for one in post.monitor.step("risk").closed] == [200, 200]
    assert post.monitor.step("risk").closed == ()                      # again: nothing to do
    post.clock.advance(days=1)
    closed = post.monitor.step("risk").closed
    assert [(one.seq, one.window.rows) for one in closed] == [(3, 50)]
    ids = post.frame["id"].to_list()
    assert (closed[0].window.first_id, closed[0].window.last_id) == (ids[400], ids[449])


def test_where_windows_end_does_not_hang_on_when_somebody_looks(in_memory: Callable[..., Post]) -> None:
    """One monitor looks after every bunch of requests, the other a week later: the same windows, bit for bit."""
    often, late = in_memory(every="6h"), in_memory(every="6h")
    for rows, minutes in ((90, 30), (300, 200), (10, 700), (450, 100), (3, 900)):
        for post in (often, late):
            post.ask(rows, minutes=minutes)
        often.monitor.step("risk")
    for post in (often, late):
        post.clock.advance(days=7)
        post.monitor.step("risk")
    assert often.kept() == late.kept()
    assert len(often.kept()) > 5
    assert sum(row[5] for row in often.kept()) == 853                  # each row in one window


def test_drift_opens_one_incident_and_later_windows_join_it(post: Post) -> None:
    post.ask(600)
    assert post.monitor.step("risk").opened == ()
    opened = []
    for _ in range(4):
        post.ask(400, change=pl.col("rate") + 0.8)
        opened += post.monitor.step("risk").opened
    assert len(opened) == 1
    alert = post.alerts.list("risk")[0]
    assert [cause["kind"] for cause in alert.causes] == ["shift", "answers"]
    assert alert.broken is None
    assert alert.evidence["began"]["window"] == 4
    assert alert.evidence["began"]["id"] == post.frame["id"][600]
    assert alert.evidence["rate"].startswith("at most 1 false alarm a year over all columns")
    report = post.monitor.report("risk")[0]
    assert report.evidence is not None
    assert [one.id for one in report.alerts] == [alert.id]
    assert json.loads(json.dumps(report.to_json()))["alerts"][0]["id"] == alert.id


def test_a_closed_incident_opens_again_only_on_fresh_evidence(post: Post) -> None:
    post.ask(400, change=pl.col("rate") + 0.8)
    alert, = post.monitor.step("risk").opened
    post.alerts.close(alert.id, by="ann", why="a campaign, over now")
    post.ask(400)
    assert post.monitor.step("risk").opened == ()
    post.ask(400, change=pl.col("rate") + 0.8)
    assert len(post.monitor.step("risk").opened) == 1


def test_a_new_version_has_a_baseline_and_windows_of_its_own(post: Post) -> None:
    """A promotion must not trigger the next retrain at once."""
    post.ask(400, change=pl.col("rate") + 0.8)
    alert, = post.monitor.step("risk").opened
    post.live = [Live(endpoint="production", version=2)]
    post.ask(400, version=2)
    stepped = post.monitor.step("risk")
    assert [(one.version, one.seq) for one in stepped.closed] == [(2, 1), (2, 2)]
    assert stepped.opened == ()
    assert post.alerts.get(alert.id).state == "closed"


def test_endpoints_are_watched_apart(post: Post) -> None:
    post.live = [Live(endpoint="production", version=1), Live(endpoint="eu", version=1)]
    post.ask(200)
    post.ask(200, endpoint="eu", change=pl.col("rate") + 2.0)
    stepped = post.monitor.step("risk")
    assert [(one.endpoint, one.seq) for one in stepped.closed] == [("production", 1), ("eu", 1)]
    assert [alert.endpoint for alert in stepped.opened] == ["eu"]


def test_labels_that_come_late_are_bet_on_once_and_harm_is_the_concept(post: Post) -> None:
    post.ask(600, error=1.0)
    post.monitor.step("risk")
    quiet = post.monitor.report("risk")[0]
    assert quiet.performance is not None
    assert quiet.performance.score is not None
    assert quiet.performance.score.low < 1.0 < quiet.performance.score.high
    assert quiet.harm is not None
    assert quiet.harm.n == 600
    post.ask(600, error=2.0)
    opened = post.monitor.step("risk").opened
    assert [alert.kind for alert in opened] == ["concept"]
    assert post.monitor.report("risk")[0].harm.n == 1200               # type: ignore[union-attr]


def test_labels_without_new_traffic_are_looked_at_too(post: Post) -> None:
    post.ask(400)
    post.monitor.step("risk")
    post.clock.advance(days=2)
    at = times.to_text(post.clock.now() - timedelta(hours=1))
    post.frame = post.frame.with_columns(label=pl.col("output") + 5.0, label_at=pl.lit(at))
    stepped = post.monitor.step("risk")
    assert [one.window.rows for one in stepped.closed] == [0]
    assert [alert.kind for alert in stepped.opened] == ["concept"]
    assert post.monitor.step("risk").closed == ()


def test_two_monitors_at_once_close_a_window_once(post: Post) -> None:
    """The second finds the number taken, in the same transaction as its alert, and leaves nothing behind."""
    post.ask(400, change=pl.col("rate") + 0.8)
    other, query = post.fresh(), post.query

    def overtaken(model: str, **more: Any) -> pl.DataFrame:
        frame = query(model, **more)
        if post.query is overtaken:                                     # while we read, somebody else steps
            post.query = query                                          # type: ignore[method-assign]
            other.step("risk")
        return frame

    slow = post.fresh()
    post.query = overtaken                                              # type: ignore[method-assign]
    slow._traffic = lambda model, **more: post.query(model, **more)
    other._traffic = query
    assert slow.step("risk").closed == ()
    assert len(post.kept()) == 2
    assert len(post.alerts.list("risk")) == 1


def test_killed_at_every_write_it_ends_where_one_run_ends(in_memory: Callable[..., Post]) -> None:
    """An exception at each transaction in turn, before it commits and after it, then a new process goes on."""

    def play(post: Post, kill_at: int | None) -> tuple[Any, ...]:
        post.ask(500, error=1.0)
        post.ask(500, change=pl.col("rate") + 0.8, error=1.0)
        writes = 0
        real = post.db.write

        @contextmanager
        def write() -> Iterator[Any]:
            nonlocal writes
            writes += 1
            with real() as conn:
                yield conn
                if writes * 2 - 1 == kill_at:
                    raise Killed
            if writes * 2 == kill_at:
                raise Killed

        post.db.write = write                                           # type: ignore[method-assign]
        with suppress(Killed):
            post.monitor.step("risk")
        post.db.write = real                                            # type: ignore[method-assign]
        post.fresh().step("risk")
        alerts = post.alerts.list("risk", states=None)
        return post.kept(), [(one.kind, one.state, one.evidence, one.causes) for one in alerts], writes

    want, incidents, writes = play(in_memory(), None)
    assert len(want) == 5
    assert len(incidents) == 1
    for place in range(1, 2 * writes + 1):
        assert play(in_memory(), place)[:2] == (want, incidents), f"killed at {place}"


def test_rows_that_another_writer_may_still_overtake_wait(post: Post) -> None:
    """Ids are ordered by time over all writers; a row that was answered this second is left for the next step."""
    post.ask(200, minutes=1)
    post.clock.advance(seconds=-6)
    assert post.monitor.step("risk").closed == ()
    post.clock.advance(seconds=10)
    assert len(post.monitor.step("risk").closed) == 1


def fallen(post: Post, rows: int, which: pl.Expr, verdict: str = "fallback") -> None:
    """Of the newest requests those were answered by a fallback, with 1e6, and labelled as anything."""
    place = pl.int_range(pl.len()) - (post.frame.height - rows)
    mine = (place >= 0) & which.replace_strict({True: True, False: False}, return_dtype=pl.Boolean)
    verdicts = post.frame["verdict"] if "verdict" in post.frame.columns else pl.Series(["kept"] * post.frame.height)
    post.frame = post.frame.with_columns(verdicts.alias("verdict")).with_columns(
        pl.when(mine).then(pl.lit(verdict)).otherwise("verdict").alias("verdict"),
        pl.when(mine).then(1e6).otherwise("output").alias("output"),
        pl.when(mine).then(-1e6).otherwise("label").alias("label"))


def test_what_a_fallback_answered_is_nobodys_answer_and_counts_as_broken(post: Post) -> None:
    """One row in ten was answered instead: neither its answer nor its label is the version's; its rate is watched."""
    post.ask(1000, error=1.0)
    fallen(post, 1000, pl.int_range(pl.len()) % 10 == 0)
    post.monitor.step("risk")
    report, = post.monitor.report("risk")
    assert [one.window.broken for one in report.windows] == [20] * 5
    assert report.performance is not None
    assert (report.performance.rows, report.performance.labelled) == (900, 900)
    assert report.performance.score is not None
    assert report.performance.score.value < 2.0              # and not 4e12
    assert report.harm is not None
    assert not report.harm.alarm
    alert, = report.alerts
    assert alert.kind == "contract"
    assert "20 of 200 rows break the contract" in alert.sentence


def test_a_value_of_another_type_in_a_fallen_row_does_not_spoil_the_others(post: Post) -> None:
    post.ask(200)
    fallen(post, 200, pl.int_range(pl.len()) == 7)
    odd = {**json.loads(post.frame["features"][7]), "temperature": "a lot"}
    post.frame = post.frame.with_columns(pl.when(pl.int_range(pl.len()) == 7).then(pl.lit(json.dumps(odd))).otherwise(
        "features").alias("features"))
    watched, = post.monitor.step("risk").closed
    assert watched.window.broken == 1
    assert watched.window.columns["temperature"].broken == {}


def test_what_a_model_failed_on_is_in_no_window(post: Post) -> None:
    post.ask(400)
    fallen(post, 400, pl.int_range(pl.len()) % 2 == 0, "failed")
    watched, = post.monitor.step("risk").closed
    assert (watched.window.rows, watched.window.broken) == (200, 0)
