"""Who may do this now, so that nobody else does it at the same time?

A lease expires by itself: a killed holder blocks nobody for ever. One that is at work longer renews it (`renewed`). Its
token grows with each take, so a holder that was overtaken is found out when it renews or finishes. A finished key is
never taken again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa

from trimtab import canon, clock
from trimtab.clock import Clock
from trimtab.errors import Conflict, TrimtabError
from trimtab.store.db import Database, insert_new
from trimtab.store.schema import leases


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to act on `key` until it expires."""

    key: str
    holder: str
    token: int


class Leases:
    """Leases of one workspace."""

    def __init__(self, db: Database, now: Clock) -> None:
        self._db, self._clock = db, now

    def take(self, key: str, *, holder: str, ttl: timedelta) -> Lease | None:
        """The lease, or None while another holds it or when the key is done."""
        now, until = self._times(ttl)
        with self._db.write() as conn:
            if insert_new(conn, leases, {"key": key, "holder": holder, "token": 1, "expires_at": until}):
                return Lease(key=key, holder=holder, token=1)
            row = conn.execute(sa.select(leases).where(leases.c.key == key).with_for_update()).one()
            if row.done_at is not None or row.expires_at > now:
                return None
            conn.execute(leases.update().where(leases.c.key == key)
                         .values(holder=holder, token=row.token + 1, expires_at=until))
            return Lease(key=key, holder=holder, token=row.token + 1)

    def renew(self, lease: Lease, *, ttl: timedelta) -> None:
        """Hold it longer. Raises Conflict when somebody else took it meanwhile."""
        self._change(lease, expires_at=self._times(ttl)[1])

    @contextmanager
    def renewed(self, lease: Lease, *, ttl: timedelta, every_s: float | None = None) -> Iterator[Callable[[], bool]]:
        """Renew it from a thread while the block lasts, every third of its time unless said otherwise. Gives a question
        for the work: is it still ours? A store that is away is asked again; a lease that was taken is not."""
        ours, over = [True], threading.Event()
        wait_s = ttl.total_seconds() / 3 if every_s is None else every_s

        def beat() -> None:
            while not over.wait(wait_s):
                try:
                    self.renew(lease, ttl=ttl)
                except Conflict:
                    ours[0] = False
                    return
                except TrimtabError:
                    continue

        thread = threading.Thread(target=beat, name="trimtab-lease", daemon=True)
        thread.start()
        try:
            yield lambda: ours[0]
        finally:
            over.set()
            thread.join(timeout=10)

    def done(self, lease: Lease, result: object = None) -> None:
        """Mark the key finished, with a JSON result. Raises Conflict when somebody else took it meanwhile."""
        self._change(lease, done_at=self._times(timedelta())[0], result=canon.dumps(result).decode())

    def release(self, lease: Lease) -> None:
        """Give it back unfinished; lost leases are nobody's concern."""
        with self._db.write() as conn:
            conn.execute(leases.update().where(self._mine(lease)).values(expires_at=self._times(timedelta())[0]))

    def result(self, key: str) -> object | None:
        """What `done` recorded, or None while it is not finished."""
        with self._db.read() as conn:
            text = conn.execute(sa.select(leases.c.result).where(leases.c.key == key,
                                                                 leases.c.done_at.is_not(None))).scalar_one_or_none()
        return None if text is None else canon.loads(text)

    def _change(self, lease: Lease, **values: str) -> None:
        with self._db.write() as conn:
            if conn.execute(leases.update().where(self._mine(lease)).values(**values)).rowcount != 1:
                raise Conflict(f"the lease on {lease.key[:40]} expired and was taken by another worker; stop, it "
                               "finishes the work", key=lease.key)

    def _mine(self, lease: Lease) -> sa.ColumnElement[bool]:
        return sa.and_(leases.c.key == lease.key, leases.c.token == lease.token, leases.c.done_at.is_(None))

    def _times(self, ttl: timedelta) -> tuple[str, str]:
        now = self._clock.now()
        return clock.to_text(now), clock.to_text(now + ttl)
