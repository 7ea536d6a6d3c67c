"""Is everything that serves still as it was?  Closes windows of traffic, steps the detectors, raises the alerts.

Where a window ends hangs on the traffic alone (so many rows, or so much time since its first), never on when somebody
looked. Each window is kept with the evidence after it and with what it did to the alerts in *one* transaction, so a
step may be repeated, come late, be killed anywhere or run twice at once, and ends where one undisturbed run ends.
Reads traffic through a function that is handed in, and what is live through another.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from sqlalchemy.engine import Connection

from trimtab import clock
from trimtab.clock import Clock
from trimtab.config import Monitor as Settings
from trimtab.monitor.alerts import Alert, Alerts
from trimtab.monitor.asked import Asked, watched_answers
from trimtab.monitor.baseline import Baseline
from trimtab.monitor.cause import causes
from trimtab.monitor.drift import Detector, Evidence, Rate
from trimtab.monitor.harm import Harm
from trimtab.monitor.performance import Performance, losses, performance
from trimtab.monitor.store import Watched, Windows
from trimtab.monitor.windows import Window
from trimtab.store.db import Database

if TYPE_CHECKING:
    import polars as pl

_YEAR_S = 365.25 * 86_400
_GRACE_S = 2.0                                 # rows younger than this may still be overtaken by another writer's
_LEAST_HORIZON_S = 30 * 86_400.0
_SEED = 42


class TrafficQuery(Protocol):
    """The rows that a version was asked about (`traffic/query.py`): columns `id`, `at`, `endpoint`, `stage`,
    `features`, `output`, `probabilities`, `label`, `label_at`. `since` and `until` are inclusive; told_after
    leaves out rows that no label came for after that moment (a time text)."""

    def __call__(self, model: str, *, since: datetime | None = None, until: datetime | None = None,
                 version: int | None = None, told_after: str | None = None) -> pl.DataFrame: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """What serves at an endpoint of a model."""

    endpoint: str
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stepped:
    """What one step did. closed: the windows that it closed, in order; opened: the incidents that are new."""

    model: str
    closed: tuple[Watched, ...] = ()
    opened: tuple[Alert, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What is known of one endpoint. waiting: rows that are in no window yet; windows: the newest, oldest first."""

    model: str
    version: int
    endpoint: str
    windows: tuple[Watched, ...]
    waiting: int
    performance: Performance | None
    reference: Mapping[str, float] | None
    harm: Harm | None
    alerts: tuple[Alert, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def evidence(self) -> Evidence | None:
        """After the newest window."""
        return self.windows[-1].evidence if self.windows else None

    def to_json(self) -> dict[str, object]:
        """As `trimtab monitor --json` prints it."""
        return {"model": self.model, "version": self.version, "endpoint": self.endpoint, "waiting": self.waiting,
                "windows": [{"seq": one.seq, "from_at": one.window.from_at, "to_at": one.window.to_at,
                             "rows": one.window.rows, "broken": one.window.broken,
                             "alarmed": [column.column for column in one.evidence.alarmed]} for one in self.windows],
                "evidence": None if self.evidence is None else self.evidence.to_json(),
                "performance": None if self.performance is None else self.performance.to_json(),
                "reference": None if self.reference is None else dict(self.reference),
                "harm": None if self.harm is None else {**self.harm.to_json(), "alarm": self.harm.alarm,
                                                        "words": self.harm.words, "needed": self.harm.needed},
                "alerts": [one.to_json() for one in self.alerts], "notes": list(self.notes)}


class Monitor:
    """Watches what serves. Safe to run in several processes: a window is closed once.

    live: what serves of a model. baseline, settings: of a version; baselines are kept, since versions never change.
    """

    def __init__(self, *, db: Database, traffic: TrafficQuery, alerts: Alerts, now: Clock,
                 live: Callable[[str], Sequence[Live]], baseline: Callable[[str, int], Baseline],
                 settings: Callable[[str, int], Settings]) -> None:
        self._db, self._traffic, self._alerts, self._clock = db, traffic, alerts, now
        self._live, self._baseline_of, self._settings = live, baseline, settings
        self._windows = Windows(db)
        self._baselines: dict[tuple[str, int], Baseline] = {}

    def step(self, model: str) -> Stepped:
        """Close every window that is due, at each endpoint of the model; nothing due is a success.

        Raises what reading the traffic and the version's baseline raises; what was closed before stays closed.
        """
        closed: list[Watched] = []
        opened: list[Alert] = []
        for live in self._live(model):
            for watched, alert in self._endpoint(model, live):
                closed.append(watched)
                opened += [] if alert is None else [alert]
        return Stepped(model=model, closed=tuple(closed), opened=tuple(opened))

    def report(self, model: str, *, windows: int = 12) -> list[Report]:
        """What is known of each endpoint now; reads and changes nothing.

        Performance is of the rows of the newest `windows` windows and of those that wait.
        """
        found = []
        for live in self._live(model):
            baseline = self._baseline(model, live.version)
            newest = self._windows.newest(model, live.version, live.endpoint, baseline=baseline.columns, limit=windows)
            since = newest[0].window.from_at if newest else ""
            asked = self._asked(model, live, since=clock.from_text(since) if since else None, until=self._clock.now())
            last = newest[-1].window.last_id if newest else ""
            scored = None if not asked.rows else performance(
                asked, task=baseline.task, classes=baseline.classes, metric=baseline.metric,
                threshold=baseline.threshold, rng=np.random.default_rng(_SEED))
            found.append(Report(
                model=model, version=live.version, endpoint=live.endpoint, windows=tuple(newest), performance=scored,
                waiting=sum(one > last for one in asked.ids), reference=baseline.score, notes=baseline.notes,
                harm=newest[-1].harm if newest else None,
                alerts=tuple(self._alerts.list(model, endpoint=live.endpoint))))
        return found

    def _endpoint(self, model: str, live: Live) -> Iterator[tuple[Watched, Alert | None]]:
        baseline, settings = self._baseline(model, live.version), self._settings(model, live.version)
        with self._db.write() as conn:
            self._alerts.supersede(conn, model=model, endpoint=live.endpoint, live=live.version)
        last = next(iter(self._windows.newest(model, live.version, live.endpoint, baseline=baseline.columns)), None)
        until = self._clock.now() - timedelta(seconds=_GRACE_S)
        after = None if last is None else last.window
        asked = self._asked(model, live, since=clock.from_text(after.to_at) if after and after.to_at else None,
                            until=until)
        fresh = next((place for place, one in enumerate(asked.ids) if after is None or one > after.last_id), asked.rows)
        parts = [asked.take(start, stop) for start, stop in _cuts(asked.at, fresh, settings, until)]
        if not parts and not self._labels_due(last, settings):
            return
        harm = self._harm(model, live, baseline, settings, last, until)
        if not parts and (last is None or harm is None or last.harm is None or harm.cursor == last.harm.cursor):
            return
        for part in parts or [asked.take(0, 0)]:
            watched, alert = self._close(model, live, baseline, settings, last, part, harm)
            if watched is None:
                return                         # another process closed it: it goes on from there
            yield watched, alert
            last = watched

    def _close(self, model: str, live: Live, baseline: Baseline, settings: Settings, last: Watched | None, part: Asked,
               harm: Harm | None) -> tuple[Watched | None, Alert | None]:
        answers = watched_answers(part, baseline.task, baseline.classes, categorical=baseline.categorical_answers)
        where = {"from_at": part.at[0], "to_at": part.at[-1], "first_id": part.ids[0], "last_id": part.ids[-1]} \
            if part.rows else _nowhere(last)
        window = Window.of(part.features, baseline.contract, baseline.columns, answers=answers.drop_nulls(),
                           fallen=part.fallen, **where)
        rate = Rate(false_alarms_per_year=settings.false_alarms_per_year,
                    windows_per_year=self._windows_per_year(model, live, settings, last, window))
        detector = Detector(baseline.columns, rate, ignore_below_sd=settings.ignore_below_sd, effects=baseline.effects,
                            state=None if last is None else last.detector)
        seq = 1 if last is None else last.seq + 1
        with self._db.write() as conn:
            settled = [] if last is None else self._alerts.closed_since(
                conn, model=model, version=live.version, endpoint=live.endpoint, since=last.closed_at)
            detector.restart(str(one["column"]) for alert in settled for one in alert.evidence.get("columns", ()))
            if harm is not None and any(_is_harm(cause) for alert in settled for cause in alert.causes):
                harm = Harm(risk=harm.risk, cursor=harm.cursor)
            evidence = detector.step(window)
            watched = Watched(model=model, version=live.version, endpoint=live.endpoint, seq=seq, window=window,
                              detector=detector.state(), evidence=evidence, harm=harm,
                              closed_at=clock.to_text(self._clock.now()))
            if not self._windows.put(conn, watched):
                return None, None
            alert = self._alert(conn, watched, baseline)
        return watched, alert

    def _alert(self, conn: Connection, watched: Watched, baseline: Baseline) -> Alert | None:
        """The incident that this window opened, or None."""
        evidence = watched.evidence
        began = min((one.began for one in evidence.alarmed), default=watched.seq)
        first, before = (self._windows.get(conn, watched.model, watched.version, watched.endpoint, seq,
                                           baseline=baseline.columns) for seq in (began, began - 1))
        found = causes(evidence, watched.window, baseline.contract, baseline.columns, harm=watched.harm,
                       runs=baseline.runs, before=None if before is None else before.window)
        if not found:
            return None
        alert, new = self._alerts.note(
            conn, model=watched.model, version=watched.version, endpoint=watched.endpoint,
            evidence=_told(watched, first or watched), causes=[cause.to_json() for cause in found])
        return alert if new else None

    def _harm(self, model: str, live: Live, baseline: Baseline, settings: Settings, last: Watched | None,
              until: datetime) -> Harm | None:
        """The bet after the labels that came since the last window, in the order of their arrival."""
        if baseline.risk is None:
            return None
        harm = Harm(risk=baseline.risk) if last is None or last.harm is None else last.harm
        horizon = max(4 * settings.labels.lag_s, _LEAST_HORIZON_S)
        asked = self._asked(model, live, since=self._clock.now() - timedelta(seconds=horizon), until=until,
                            told_after=harm.cursor)
        end = clock.to_text(until)
        order = sorted((str(at), name, place) for place, (at, name) in enumerate(zip(asked.label_at, asked.ids,
                                                                                     strict=True))
                       if at is not None and harm.cursor < str(at) <= end)
        if not order:
            return harm
        found = losses(asked, baseline.task, baseline.classes)
        return harm.after(found[[place for _, _, place in order]], cursor=order[-1][0])

    def _labels_due(self, last: Watched | None, settings: Settings) -> bool:
        """Is it long enough since the last window to look at labels alone?"""
        if last is None or last.harm is None:
            return False
        return self._clock.now() >= clock.from_text(last.closed_at) + timedelta(seconds=settings.every_s)

    def _windows_per_year(self, model: str, live: Live, settings: Settings, last: Watched | None,
                          window: Window) -> float:
        """How many windows a year has at the rate seen so far: at least one each `every`, and never fewer than before,
        so that the threshold only rises."""
        ordinary = _YEAR_S / settings.every_s
        if last is None:
            return math.ceil(ordinary)
        first = self._windows.first_at(model, live.version, live.endpoint) or window.from_at
        elapsed = (clock.from_text(window.to_at) - clock.from_text(first)).total_seconds()
        seen = (last.seq + 1) * _YEAR_S / max(elapsed, settings.every_s)
        return math.ceil(max(ordinary, seen, last.evidence.rate.windows_per_year))

    def _asked(self, model: str, live: Live, *, since: datetime | None, until: datetime,
               told_after: str | None = None) -> Asked:
        import polars as pl

        frame = self._traffic(model, since=since, until=until, version=live.version, told_after=told_after)
        if "endpoint" in frame.columns:
            frame = frame.filter(pl.col("endpoint") == live.endpoint)
        return Asked.of(frame)

    def _baseline(self, model: str, version: int) -> Baseline:
        if (model, version) not in self._baselines:
            self._baselines[model, version] = self._baseline_of(model, version)
        return self._baselines[model, version]


def _cuts(at: Sequence[str], start: int, settings: Settings, until: datetime) -> Iterator[tuple[int, int]]:
    """The windows that are due: `window` rows, or what came within `every` of the first row once that time is over."""
    end, every = clock.to_text(until), timedelta(seconds=settings.every_s)
    while start < len(at):
        over = clock.to_text(clock.from_text(at[start]) + every)
        stop = start
        while stop < len(at) and stop < start + settings.window and at[stop] < over:
            stop += 1
        if stop - start < settings.window and end < over:
            return
        yield start, stop
        start = stop


def _told(watched: Watched, first: Watched) -> dict[str, Any]:
    """What an alert keeps of the evidence: the columns that alarmed, the promise, where it began."""
    evidence = watched.evidence
    return {"window": watched.seq, "rows": watched.window.rows, "rate": evidence.rate.words,
            "log_threshold": evidence.log_threshold, "columns": [one.to_json() for one in evidence.alarmed],
            "began": {"window": first.seq, "at": first.window.from_at, "id": first.window.first_id},
            "broken_rows": watched.window.broken, "harm": None if watched.harm is None else watched.harm.to_json()}


def _nowhere(last: Watched | None) -> dict[str, str]:
    """A window without rows stands where the last one ended."""
    if last is None:
        return {}
    window = last.window
    return {"from_at": window.to_at, "to_at": window.to_at, "first_id": window.last_id, "last_id": window.last_id}


def _is_harm(cause: Mapping[str, Any]) -> bool:
    return cause.get("kind") in ("harm", "concept")

