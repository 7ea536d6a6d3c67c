"""What are people to be told, and were they?  One notice a fact, kept until it was told or given up.

A notice is written in the transaction of the fact that it tells, once per key; sending it is somebody else's (who takes
one try at a time with `claim`, and may be killed at any place). Whoever gets it twice can tell by its key.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Final, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from trimtab import canon, clock
from trimtab.clock import Clock
from trimtab.ids import Ids
from trimtab.loop.model import Stored
from trimtab.store.db import Database, insert_new
from trimtab.store.schema import notices

State = Literal["pending", "told", "gave_up", "unheard"]
TRIES: Final = 12                              # the last one some 16 hours after the first
_FIRST_S: Final = 30.0
_MOST_S: Final = 4 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One thing to tell. key: of the fact; kind: "alert.open", "decision.promote" …; body: {"text": a sentence, …}.

    state: pending, told (to everyone who asked for it), gave_up (after `TRIES`), unheard (nobody asked for its kind).
    had: names of those who have it already. why: what went wrong last, empty where nothing did.
    """

    id: str
    key: str
    model: str
    endpoint: str
    kind: str
    at: str
    body: Mapping[str, Any]
    state: State
    tries: int
    next_at: str
    told_at: str | None = None
    why: str = ""
    had: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """Every field under its own name."""
        return {**{name: getattr(self, name) for name in self.__slots__}, "body": dict(self.body),
                "had": list(self.had)}


class Notices:
    """The notices of one workspace; safe to share between threads and processes."""

    def __init__(self, db: Database, now: Clock) -> None:
        self._db, self._clock = db, now

    def put(self, key: str, model: str, endpoint: str, kind: str, body: Mapping[str, Any]) -> Notice:
        """Keep a notice, once per key; gives the one that is kept."""
        with self._db.write() as conn:
            return self.put_in(conn, key, model, endpoint, kind, body)

    def put_in(self, conn: Connection, key: str, model: str, endpoint: str, kind: str,
               body: Mapping[str, Any]) -> Notice:
        """The same in the caller's transaction."""
        at = clock.to_text(self._clock.now())
        insert_new(conn, notices, {
            "id": Ids(lambda n: sha256(key.encode()).digest()[:n]).short("n"), "key": key, "model": model,
            "endpoint": endpoint, "kind": kind, "at": at, "body": _text(body, ()), "state": "pending", "tries": 0,
            "next_at": at, "told_at": None, "why": ""})
        return _notice(conn.execute(sa.select(notices).where(notices.c.key == key)).one())

    def due(self, now: datetime, *, limit: int = 100) -> list[Notice]:
        """What should be told now, the oldest first."""
        query = sa.select(notices).where(notices.c.state == "pending", notices.c.next_at <= clock.to_text(now))
        with self._db.read() as conn:
            return [_notice(row) for row in conn.execute(query.order_by(notices.c.at, notices.c.key).limit(limit))]

    def claim(self, notice: Notice) -> Notice | None:
        """Take the next try, and say when the one after it is due; None where somebody else took it."""
        tries = notice.tries + 1
        next_at = clock.to_text(self._clock.now() + timedelta(seconds=pause_s(notice.key, tries)))
        query = notices.update().where(notices.c.id == notice.id, notices.c.state == "pending",
                                       notices.c.tries == notice.tries).values(tries=tries, next_at=next_at)
        with self._db.write() as conn:
            if not conn.execute(query).rowcount:
                return None
            return _notice(conn.execute(sa.select(notices).where(notices.c.id == notice.id)).one())

    def mark(self, notice: Notice, state: State, *, why: str = "", had: Iterable[str] = ()) -> None:
        """Say what became of it. had: who has it by now."""
        told = clock.to_text(self._clock.now()) if state == "told" else None
        with self._db.write() as conn:
            conn.execute(notices.update().where(notices.c.id == notice.id).values(
                state=state, why=why, told_at=told, body=_text(notice.body, had)))

    def again(self) -> int:
        """Try once more, from the start, what was given up; how many there are."""
        now = clock.to_text(self._clock.now())
        query = notices.update().where(notices.c.state == "gave_up").values(state="pending", tries=0, next_at=now)
        with self._db.write() as conn:
            return conn.execute(query).rowcount

    def list(self, model: str | None = None, *, state: State | None = None, limit: int = 100) -> list[Notice]:
        """Notices, the newest first."""
        query = sa.select(notices).order_by(notices.c.at.desc(), notices.c.key.desc())
        for wanted, column in ((model, notices.c.model), (state, notices.c.state)):
            if wanted is not None:
                query = query.where(column == wanted)
        with self._db.read() as conn:
            return [_notice(row) for row in conn.execute(query.limit(limit))]


def of_decision(stored: Stored) -> tuple[str, str, str, str, dict[str, Any]]:
    """What `put` takes to tell a decision that was acted on: (key, model, endpoint, kind, body)."""
    made = stored.decision
    failed = stored.state == "failed"
    what = f"{made.action} failed: {stored.result.get('why', '')}" if failed else made.words
    return made.key, made.model, made.endpoint, "decision.failed" if failed else f"decision.{made.action}", {
        "text": f"{made.model}: {what}", "decision": stored.id, "action": made.action, "state": stored.state,
        "reason": made.reason, "champion": made.champion, "version": made.version, "result": stored.result}


def pause_s(key: str, tries: int) -> float:
    """Seconds from a try to the next: doubling, at most four hours, spread by ± a quarter that follows from the key.

    >>> [round(pause_s("d-1", tries)) for tries in (1, 2, 3, 12)]
    [23, 69, 122, 14335]
    """
    spread = int.from_bytes(sha256(f"{key} {tries}".encode()).digest()[:4]) / 2**32
    return min(_FIRST_S * 2.0 ** (tries - 1), _MOST_S) * (0.75 + spread / 2)


def _text(body: Mapping[str, Any], had: Iterable[str]) -> str:
    return canon.dumps({"had": list(had), "told": canon.finite(dict(body))}).decode()


def _notice(row: Row[Any]) -> Notice:
    fields = dict(row._mapping)
    kept: Any = canon.loads(fields.pop("body"))
    return Notice(**fields, body=kept["told"], had=tuple(kept["had"]))
