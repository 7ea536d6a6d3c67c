"""What was decided, why, and what became of it?  One row a decision, told by its key.

A decision is written before it is acted on and marked when it is done, each in one transaction with its journal row,
which holds the digest of the evidence. A model has one decision under way at a time; whoever decides another meanwhile
is given that one. Names follow from keys, so that a run that was killed and taken up again has the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from trimtab import canon, clock
from trimtab.clock import Clock
from trimtab.errors import NotFound, UsageError
from trimtab.ids import short_of
from trimtab.loop import policy
from trimtab.loop.model import Decision, Past, State, Stored, unlike
from trimtab.loop.notices import Notices, of_decision
from trimtab.store.db import Database
from trimtab.store.journal import Journal
from trimtab.store.schema import decisions

PAST: Final = 60                               # acts that a decision looks back on; older ones are found by key
_COLUMNS: Final = frozenset({"model", "endpoint", "action", "reason", "key", "evidence"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """A stored decision, and what its evidence gives today. differs: the fields in which they differ; none: it
    holds."""

    stored: Stored
    again: Decision
    differs: tuple[str, ...]


class Decisions:
    """The decisions of one workspace; safe to share between threads and processes."""

    def __init__(self, db: Database, journal: Journal, now: Clock) -> None:
        self._db, self._journal, self._clock = db, journal, now
        self._notices = Notices(db, now)

    def record(self, decision: Decision, *, state: State = "decided", by: str = "loop") -> Stored:
        """Keep a decision, once a key; gives the one that is kept.

        That is the earlier one of its key, or the one that the model has under way, where there is such a one; compare
        keys. `state` is "done" for what needs no act.
        """
        with self._db.write() as conn:
            self._journal.length(conn)         # its lock: who decides at the same time waits here
            known = self._first(conn, decisions.c.key == decision.key)
            if known is None and state == "decided":
                known = self._first(conn, decisions.c.model == decision.model, decisions.c.state == "decided")
            if known is not None:
                return known
            stored = Stored(id=name_of(decision.key), at=self._next(conn, decision.model), decision=decision,
                            state=state)
            conn.execute(decisions.insert().values(_row(stored)))
            self._journal.append(
                conn, kind="decision.decide", model=decision.model, subject=stored.id, by=by, why=decision.reason,
                body={"endpoint": decision.endpoint, "action": decision.action, "version": decision.version,
                      "key": decision.key, "evidence": canon.digest_json(decision.evidence)})
        return stored

    def finish(self, stored: Stored, state: State, result: Mapping[str, Any], *, by: str = "loop") -> Stored:
        """Mark what is under way as done, failed or refused, once, and leave a notice; gives it as it is then kept."""
        plain: Any = canon.finite(dict(result))
        with self._db.write() as conn:
            self._journal.length(conn)
            query = decisions.update().where(decisions.c.id == stored.id, decisions.c.state == "decided")
            marked = conn.execute(query.values(state=state, result=canon.dumps(plain).decode())).rowcount
            if marked:
                self._journal.append(conn, kind=f"decision.{state}", model=stored.decision.model, subject=stored.id,
                                     by=by, why=str(plain.get("why", "")), body={
                                         "endpoint": stored.decision.endpoint, "action": stored.decision.action,
                                         "key": stored.decision.key, "result": plain})
            kept = self._first(conn, decisions.c.id == stored.id)
            assert kept is not None
            if marked:
                self._notices.put_in(conn, *of_decision(kept))
        return kept

    def of_key(self, key: str) -> Stored | None:
        """The decision with this key, or None."""
        with self._db.read() as conn:
            return self._first(conn, decisions.c.key == key)

    def under_way(self, model: str) -> Stored | None:
        """The decision of a model that is neither done nor failed, or None."""
        with self._db.read() as conn:
            return self._first(conn, decisions.c.model == model, decisions.c.state == "decided")

    def past(self, model: str, *, limit: int = PAST) -> tuple[Past, ...]:
        """The newest acts and words of a model, the oldest first; what only held is left out."""
        query = sa.select(decisions).where(decisions.c.model == model, decisions.c.action != "hold")
        with self._db.read() as conn:
            rows = conn.execute(query.order_by(decisions.c.at.desc()).limit(limit)).all()
        return tuple(_stored(row).past for row in reversed(rows))

    def list(self, model: str | None = None, *, limit: int | None = None) -> list[Stored]:
        """Decisions, the newest first."""
        query = sa.select(decisions).order_by(decisions.c.at.desc(), decisions.c.id).limit(limit)
        if model is not None:
            query = query.where(decisions.c.model == model)
        with self._db.read() as conn:
            return [_stored(row) for row in conn.execute(query)]

    def trials(self, model: str, endpoint: str) -> int:
        """How many trials began at an endpoint: the next one is number j = this + 1, and spends α·6/(π²j²)."""
        query = sa.select(sa.func.count()).select_from(decisions).where(
            decisions.c.model == model, decisions.c.endpoint == endpoint, decisions.c.action == "start_shadow",
            decisions.c.state == "done")
        with self._db.read() as conn:
            found: int = conn.execute(query).scalar_one()
        return found

    def get(self, name: str) -> Stored:
        """The decision with this id, or the only one whose id begins so. Raises NotFound, UsageError."""
        start = name if name.startswith("d-") else f"d-{name}"
        query = sa.select(decisions).where(decisions.c.id.startswith(start.lower(), autoescape=True)).limit(2)
        with self._db.read() as conn:
            found = conn.execute(query).all()
        if not found:
            raise NotFound(f"there is no decision {name[:40]!r}; see them with trimtab decisions", decision=name[:40])
        if len(found) > 1:
            raise UsageError(f"more than one decision begins with {start}; write more of it")
        return _stored(found[0])

    def replay(self, name: str) -> Replayed:
        """Recompute a decision from its stored evidence alone. Raises as `get`, Malformed."""
        stored = self.get(name)
        again = policy.again(stored.decision.evidence)
        return Replayed(stored=stored, again=again, differs=unlike(stored.decision.to_json(), again.to_json()))

    def _next(self, conn: Connection, model: str) -> str:
        """Now, or just after the model's newest decision: their order is that in which they were made."""
        now = clock.to_text(self._clock.now())
        last: str | None = conn.execute(sa.select(sa.func.max(decisions.c.at)).where(
            decisions.c.model == model)).scalar_one()
        if last is None or last < now:
            return now
        return clock.to_text(clock.from_text(last) + timedelta(microseconds=1))

    @staticmethod
    def _first(conn: Connection, *conditions: sa.ColumnElement[bool]) -> Stored | None:
        row = conn.execute(sa.select(decisions).where(*conditions).order_by(decisions.c.at).limit(1)).one_or_none()
        return None if row is None else _stored(row)


def name_of(key: str) -> str:
    """The id of the decision with a key: `d-` and eight digits that follow from it.

    >>> name_of("sha256:" + "0f" * 32)
    'd-1w7gy3rf'
    """
    return short_of("d", key)


def _row(stored: Stored) -> dict[str, Any]:
    told = stored.decision.to_json()
    rest = {name: value for name, value in told.items() if name not in _COLUMNS}
    return {"id": stored.id, "at": stored.at, "state": stored.state, "result": None,
            **{name: told[name] for name in _COLUMNS - {"evidence"}},
            "evidence": canon.dumps({**told["evidence"], "decision": rest}).decode()}


def _stored(row: Row[Any]) -> Stored:
    evidence: Any = canon.loads(row.evidence)
    rest = evidence.pop("decision")
    decision = Decision.from_json({"model": row.model, "endpoint": row.endpoint, "action": row.action, "key": row.key,
                                   "reason": row.reason, "evidence": evidence, **rest})
    result: Any = {} if row.result is None else canon.loads(row.result)
    return Stored(id=row.id, at=row.at, decision=decision, state=row.state, result=result)
