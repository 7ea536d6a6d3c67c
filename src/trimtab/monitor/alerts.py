"""What needs a person's eye, and what was done about it?  One incident, and not six.

While an incident of an endpoint is not closed, new evidence is added to it, whichever column or label it comes from.
A person acknowledges it, takes it, snoozes it with a reason, closes it; each of these, and the opening, is a journal
row. Imports nothing heavy: `trimtab status` reads it. What is evidence is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from trimtab import canon, clock
from trimtab.clock import Clock
from trimtab.errors import Conflict, NotFound, UsageError
from trimtab.ids import short_of
from trimtab.store.db import Database
from trimtab.store.journal import Journal
from trimtab.store.schema import alerts

State = Literal["open", "acknowledged", "snoozed", "closed"]
Tell = Callable[[Connection, str, str, str, str, Mapping[str, Any]], object]   # key, model, endpoint, kind, body
_TOLD: Final = 8                               # causes that a notice brings along
UNCLOSED: Final[tuple[State, ...]] = ("open", "acknowledged", "snoozed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One incident. kind: of its first cause ("shift", "missing", "concept" …). causes: what may be behind it, the
    first to be ruled out first ({"kind", "column", "sentence", "broken", …}). notes: what people did ({"at", "by",
    "what", "text"})."""

    id: str
    model: str
    version: int
    endpoint: str
    kind: str
    state: State
    opened_at: str
    updated_at: str
    owner: str
    snooze_until: str | None
    evidence: Mapping[str, Any]
    causes: Sequence[Mapping[str, Any]]
    notes: Sequence[Mapping[str, Any]]

    @property
    def broken(self) -> str | None:
        """Why nothing may be learned from these rows: the first cause that says the data are at fault, or None."""
        return next((str(cause["sentence"]) for cause in self.causes if cause.get("broken")), None)

    @property
    def sentence(self) -> str:
        """The first cause in a line."""
        if not self.causes:
            return self.kind
        more = len(self.causes) - 1
        return str(self.causes[0]["sentence"]) + (f" (and {more} more)" if more else "")

    def to_json(self) -> dict[str, object]:
        """Every field under its own name."""
        return {"id": self.id, "model": self.model, "version": self.version, "endpoint": self.endpoint,
                "kind": self.kind, "state": self.state, "opened_at": self.opened_at, "updated_at": self.updated_at,
                "owner": self.owner, "snooze_until": self.snooze_until, "broken": self.broken,
                "evidence": dict(self.evidence), "causes": [dict(one) for one in self.causes],
                "notes": [dict(one) for one in self.notes]}


class Alerts:
    """The incidents of one workspace; safe to share between threads and processes. tell: leaves a notice of what was
    opened or changed, in the same transaction."""

    def __init__(self, db: Database, journal: Journal, now: Clock, tell: Tell | None = None) -> None:
        self._db, self._journal, self._clock, self._tell = db, journal, now, tell

    def note(self, conn: Connection, *, model: str, version: int, endpoint: str, evidence: Mapping[str, Any],
             causes: Sequence[Mapping[str, Any]], by: str = "monitor") -> tuple[Alert, bool]:
        """Open an incident, or add to the one that is not closed, in the caller's transaction; (it, is it new?).

        `causes` replace earlier ones of the same kind and column, and stand before those that no longer show.
        """
        at = clock.to_text(self._clock.now())
        plain: Any = canon.finite(dict(evidence))
        known = self._unclosed(conn, model, version, endpoint)
        if known is not None:
            merged = _merged(known.causes, causes)
            changed = replace(known, updated_at=at, evidence=plain, causes=merged,
                              kind=str(merged[0]["kind"]) if merged else known.kind)
            self._save(conn, changed)
            return changed, False
        alert = Alert(id=_name(conn, model, version, endpoint), model=model, version=version, endpoint=endpoint,
                      state="open", kind=str(causes[0]["kind"]) if causes else "drift", opened_at=at, updated_at=at,
                      owner="", snooze_until=None, evidence=plain, causes=[dict(one) for one in causes], notes=[])
        conn.execute(alerts.insert().values(_row(alert)))
        self._journal.append(conn, kind="alert.open", model=model, subject=alert.id, by=by, why=alert.sentence,
                             body={"version": version, "endpoint": endpoint, "kind": alert.kind,
                                   "broken": alert.broken})
        self._notice(conn, alert, "open", by)
        return alert, True

    def get(self, name: str) -> Alert:
        """The alert with this id, or the only one whose id begins so. Raises NotFound, UsageError."""
        with self._db.read() as conn:
            return self._get(conn, name)

    def list(self, model: str | None = None, *, states: Iterable[State] | None = UNCLOSED, endpoint: str | None = None,
             limit: int | None = None) -> list[Alert]:
        """Alerts, the newest first; by default those that are not closed. A snooze that is over counts as open."""
        query = sa.select(alerts).order_by(alerts.c.opened_at.desc(), alerts.c.id)
        if model is not None:
            query = query.where(alerts.c.model == model)
        if endpoint is not None:
            query = query.where(alerts.c.endpoint == endpoint)
        wanted = None if states is None else set(states)
        if wanted is not None and "closed" not in wanted:
            query = query.where(alerts.c.state != "closed")
        with self._db.read() as conn:
            found = [self._read(row) for row in conn.execute(query)]
        kept = [alert for alert in found if wanted is None or alert.state in wanted]
        return kept if limit is None else kept[:limit]

    def acknowledge(self, name: str, *, by: str, why: str = "") -> Alert:
        """Somebody looks at it: `by` becomes its owner unless it has one. Raises NotFound, Conflict (closed)."""
        return self._change(name, "ack", by, why, state="acknowledged", snooze_until=None, take=True)

    def snooze(self, name: str, *, until: datetime, by: str, why: str) -> Alert:
        """Keep it quiet until a moment; evidence goes on being added. Raises UsageError without a reason, or for a
        moment that is past; NotFound, Conflict (closed)."""
        if until <= self._clock.now():
            raise UsageError("snooze until when? That moment is past; write a later one, as --until 2026-03-09")
        return self._change(name, "snooze", by, why, state="snoozed", snooze_until=clock.to_text(until), reason=True)

    def assign(self, name: str, *, owner: str, by: str, why: str = "") -> Alert:
        """Give it to somebody. Raises NotFound, Conflict (closed)."""
        return self._change(name, "assign", by, why, owner=owner)

    def close(self, name: str, *, by: str, why: str) -> Alert:
        """It is done with: what comes now has to show itself anew. Raises UsageError without a reason, NotFound,
        Conflict (closed already)."""
        return self._change(name, "close", by, why, state="closed", snooze_until=None, reason=True)

    def supersede(self, conn: Connection, *, model: str, endpoint: str, live: int, by: str = "monitor") -> None:
        """Close the incidents of versions that `live` replaced at an endpoint, in the caller's transaction."""
        query = sa.select(alerts).where(alerts.c.model == model, alerts.c.endpoint == endpoint,
                                        alerts.c.version != live, alerts.c.state != "closed")
        for row in conn.execute(query).all():
            self._apply(conn, self._read(row), "close", by, f"v{live} serves now", state="closed", snooze_until=None)

    def closed_since(self, conn: Connection, *, model: str, version: int, endpoint: str,
                     since: str) -> Sequence[Alert]:
        """The incidents of a version that were closed at or after a time text."""
        query = sa.select(alerts).where(alerts.c.model == model, alerts.c.version == version,
                                        alerts.c.endpoint == endpoint, alerts.c.state == "closed",
                                        alerts.c.updated_at >= since)
        return [self._read(row) for row in conn.execute(query)]

    def _change(self, name: str, what: str, by: str, why: str, *, reason: bool = False, take: bool = False,
                **fields: Any) -> Alert:
        if reason and not why.strip():
            raise UsageError(f"{what} needs a reason: --reason \"…\"")
        with self._db.write() as conn:
            alert = self._get(conn, name)
            if alert.state == "closed":
                raise Conflict(f"{alert.id} is closed already; a new incident opens by itself when there is evidence",
                               alert=alert.id)
            if take and not alert.owner:
                fields["owner"] = by
            return self._apply(conn, alert, what, by, why, **fields)

    def _apply(self, conn: Connection, alert: Alert, what: str, by: str, why: str, **fields: Any) -> Alert:
        if all(getattr(alert, name) == value for name, value in fields.items()) and not why:
            return alert
        at = clock.to_text(self._clock.now())
        notes = [*alert.notes, {"at": at, "by": by, "what": what, "text": why}]
        changed = replace(alert, updated_at=at, notes=notes, **fields)
        self._save(conn, changed)
        self._journal.append(conn, kind=f"alert.{what}", model=alert.model, subject=alert.id, by=by, why=why,
                             body={"state": changed.state, "owner": changed.owner, "until": changed.snooze_until})
        self._notice(conn, changed, what, by, why)
        return changed

    def _notice(self, conn: Connection, alert: Alert, what: str, by: str, why: str = "") -> None:
        if self._tell is None:
            return
        done = {"open": "alarms", "ack": "acknowledged", "snooze": "snoozed", "close": "closed", "assign": "assigned"}
        said = f" by {by}" + (f" ({why})" if why else "") if what != "open" else ""
        told = alert.to_json()
        self._tell(conn, f"{alert.id}.{len(alert.notes)}", alert.model, alert.endpoint, f"alert.{what}", {
            "text": f"{alert.model} v{alert.version} {done[what]}{said}: {alert.sentence} [{alert.id}]",
            "alert": alert.id, "by": by, "why": why, "causes": [dict(one) for one in alert.causes[:_TOLD]],
            **{name: told[name] for name in ("version", "state", "opened_at", "updated_at", "owner", "snooze_until",
                                             "broken")}})

    def _save(self, conn: Connection, alert: Alert) -> None:
        values = _row(alert)
        conn.execute(alerts.update().where(alerts.c.id == values.pop("id")).values(values))

    def _unclosed(self, conn: Connection, model: str, version: int, endpoint: str) -> Alert | None:
        query = sa.select(alerts).where(alerts.c.model == model, alerts.c.version == version,
                                        alerts.c.endpoint == endpoint, alerts.c.state != "closed")
        row = conn.execute(query.order_by(alerts.c.opened_at, alerts.c.id).limit(1)).one_or_none()
        return None if row is None else self._read(row)

    def _get(self, conn: Connection, name: str) -> Alert:
        start = name if name.startswith("a-") else f"a-{name}"
        query = sa.select(alerts).where(alerts.c.id.startswith(start.lower(), autoescape=True)).limit(2)
        found = conn.execute(query).all()
        if not found:
            raise NotFound(f"there is no alert {name[:40]!r}; see them with trimtab monitor", alert=name[:40])
        if len(found) > 1:
            raise UsageError(f"more than one alert begins with {start}; write more of it")
        return self._read(found[0])

    def _read(self, row: Row[Any]) -> Alert:
        fields = dict(row._mapping)
        for name in ("evidence", "causes", "notes"):
            fields[name] = canon.loads(fields[name])
        if fields["state"] == "snoozed" and fields["snooze_until"] <= clock.to_text(self._clock.now()):
            fields["state"], fields["snooze_until"] = "open", None
        return Alert(**fields)


def _row(alert: Alert) -> dict[str, Any]:
    fields = {name: getattr(alert, name) for name in Alert.__slots__}
    fields["causes"], fields["notes"] = [dict(one) for one in alert.causes], [dict(one) for one in alert.notes]
    return {**fields, **{name: canon.dumps(canon.finite(fields[name])).decode()
                         for name in ("evidence", "causes", "notes")}}


def _merged(old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The new causes, then the earlier ones that no longer show; each since when it first showed."""
    began = {(one["kind"], one["column"]): one["began"] for one in old if "began" in one}
    told = [{**one, "began": min(one.get("began", 1), began.get((one["kind"], one["column"]), one.get("began", 1)))}
            for one in new]
    shown = {(one["kind"], one["column"]) for one in told}
    return [*told, *(dict(one) for one in old if (one["kind"], one["column"]) not in shown)]


def _name(conn: Connection, model: str, version: int, endpoint: str) -> str:
    """The id of the next incident there: the same for the same story, since decisions are told apart by it."""
    before = conn.execute(sa.select(sa.func.count()).select_from(alerts).where(
        alerts.c.model == model, alerts.c.version == version, alerts.c.endpoint == endpoint)).scalar_one()
    return short_of("a", canon.digest_json(["alert", model, version, endpoint, before]))
