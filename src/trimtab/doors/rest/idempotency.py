"""Was this very request carried out already?  (Idempotency-Key)

A key is written to the store before the work begins and gets its answer after it: a repeated request is given the same
answer, by any server on the workspace, also after a restart. The journal alone could not do this: a rollback that was
carried out twice looks there like two that were meant. Where a server died between the work and its answer, the key
tells whether the rollouts moved since: if not, the work is done now; if so, the client is told to look first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, NoReturn

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from trimtab import canon, clock
from trimtab.errors import Busy, Conflict, Malformed, TrimtabError
from trimtab.store.schema import idempotency

if TYPE_CHECKING:
    from trimtab.workspace import Workspace

MAX_KEY_CHARS = 200
KEPT = timedelta(days=7)
IN_FLIGHT = timedelta(seconds=60)             # longer than a request may take
_PENDING = 0                                  # the status of a key whose work has begun

Answer = dict[str, object]


def once(workspace: Workspace, key: str | None, request: bytes, work: Callable[[], Answer]) -> tuple[int, Answer]:
    """(status, answer) of `work`, or of the request that came with this key before.

    request: what makes requests the same (method, path, body). Raises Malformed (key), Conflict (key of another
    request; unknown outcome), Busy (the first one is still being carried out), and what `work` raises, each time anew.
    """
    if key is None:
        return 200, work()
    if not (0 < len(key) <= MAX_KEY_CHARS and key.isascii() and key.isprintable()):
        raise Malformed(f"Idempotency-Key: 1 to {MAX_KEY_CHARS} printable ASCII characters", field="Idempotency-Key")
    meant = hashlib.sha256(request).hexdigest()
    if (known := _claim(workspace, key, meant)) is not None:
        return known
    try:
        answer = work()
    except TrimtabError:                      # nothing was changed: the key is free again
        with workspace.db.write() as conn:
            conn.execute(idempotency.delete().where(idempotency.c.key == key))
        raise
    with workspace.db.write() as conn:
        conn.execute(idempotency.update().where(idempotency.c.key == key).values(
            status=200, answer=canon.dumps(answer).decode()))
    return 200, answer


def _claim(workspace: Workspace, key: str, meant: str) -> tuple[int, Answer] | None:
    """The answer given before; None where the work is this request's to do."""
    revision = max(workspace.rollouts.revision(), workspace.stages.revision())
    now = workspace.clock.now()
    row = {"key": key, "request": meant, "status": _PENDING, "answer": canon.dumps({"revision": revision}).decode(),
           "at": clock.to_text(now)}
    try:
        with workspace.db.write() as conn:
            conn.execute(idempotency.delete().where(idempotency.c.at < clock.to_text(now - KEPT)))
            known = conn.execute(sa.select(idempotency).where(idempotency.c.key == key)).one_or_none()
            if known is None:
                conn.execute(idempotency.insert().values(row))
                return None
            if known.request != meant:
                raise Conflict("this Idempotency-Key came with another request before; take a new one for a new "
                               "request", key=key)
            told = canon.loads(known.answer)
            assert isinstance(told, dict)
            if known.status != _PENDING:
                return int(known.status), told
            if known.at > clock.to_text(now - IN_FLIGHT):
                raise Busy("the first request with this Idempotency-Key is still being carried out; ask again")
            if told.get("revision") != revision:
                raise Conflict("a server ended while it carried out the request with this Idempotency-Key, and the "
                               "rollouts have moved since: look with trimtab log, then use a new key", key=key)
            conn.execute(idempotency.update().where(idempotency.c.key == key).values(at=row["at"]))
            return None
    except IntegrityError:
        _lost()


def _lost() -> NoReturn:
    raise Busy("another server began to carry out the request with this Idempotency-Key just now; ask again")
