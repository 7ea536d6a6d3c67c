"""What changed, when, by whom and why?  (the audit trail)

An append-only list. Each row holds the hash of the row before, and the newest hash is signed: an edit, deletion,
insertion, reordering or cut of the tail is found by `verify`. A row is written in the same transaction as the state
that it describes, so there is no change without its row. The format is described in docs/journal.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from trimtab import canon, clock
from trimtab.clock import Clock
from trimtab.errors import JournalBroken
from trimtab.keys import Keyring
from trimtab.store.db import Database
from trimtab.store.schema import journal, journal_head

FORMAT = "trimtab.journal/1"
ORIGIN = "0" * 64                              # what the first row names as the one before


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One row of the journal."""

    seq: int
    at: str
    kind: str                                  # "version.register", "rollout.deploy", …
    model: str
    subject: str
    by: str
    why: str
    body: dict[str, object]
    prev: str
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The newest row, signed. Keep a copy elsewhere: it proves later that nothing before it was changed or cut."""

    seq: int
    hash: str
    key_id: str
    signature: str

    def to_json(self) -> dict[str, object]:
        """The head as it is exported and anchored."""
        return {"schema": "trimtab.head/1", "seq": self.seq, "hash": self.hash, "key_id": self.key_id,
                "signature": self.signature}


class Journal:
    """Appends to and verifies one workspace's journal."""

    def __init__(self, db: Database, keyring: Keyring, now: Clock) -> None:
        self._db, self._keyring, self._clock = db, keyring, now

    def append(self, conn: Connection, *, kind: str, model: str, subject: str, by: str, why: str = "",
               body: dict[str, object] | None = None) -> Entry:
        """Add a row in the caller's transaction; concurrent appenders wait for each other."""
        last = conn.execute(sa.select(journal_head).with_for_update()).one()
        at = clock.to_text(self._clock.now())
        text = canon.dumps(body or {}).decode()
        fields = (last.seq + 1, at, kind, model, subject, by, why, text)
        digest = row_hash(fields, last.hash)
        key_id, signature = self._keyring.sign(head_message(last.seq + 1, digest))
        conn.execute(journal.insert().values(
            seq=last.seq + 1, at=at, kind=kind, model=model, subject=subject, by=by, why=why, body=text,
            prev=last.hash, hash=digest))
        conn.execute(journal_head.update().values(seq=last.seq + 1, hash=digest, key_id=key_id, signature=signature))
        return Entry(seq=last.seq + 1, at=at, kind=kind, model=model, subject=subject, by=by, why=why,
                     body=body or {}, prev=last.hash, hash=digest)

    def length(self, conn: Connection) -> int:
        """The number of the newest row, as the caller's transaction sees it; waits for a concurrent appender."""
        seq: int = conn.execute(sa.select(journal_head.c.seq).with_for_update()).scalar_one()
        return seq

    def rows(self, *, model: str | None = None, kind: str | None = None, since: str | None = None,
             until: str | None = None, limit: int | None = None) -> list[Entry]:
        """Rows in order, oldest first; `since` and `until` are inclusive time texts; `limit` keeps the newest."""
        query = sa.select(journal).order_by(journal.c.seq.desc())
        for wanted, condition in (
            (model, journal.c.model == model), (kind, journal.c.kind == kind),
            (since, journal.c.at >= (since or "")), (until, journal.c.at <= (until or "")),
        ):
            if wanted is not None:
                query = query.where(condition)
        if limit is not None:
            query = query.limit(limit)
        with self._db.read() as conn:
            return [_entry(row) for row in reversed(conn.execute(query).all())]

    def head(self) -> Head:
        """The newest row's number, hash and signature."""
        with self._db.read() as conn:
            row = conn.execute(sa.select(journal_head)).one()
        return Head(seq=row.seq, hash=row.hash, key_id=row.key_id, signature=row.signature)

    def verify(self, expected: Head | None = None) -> Head:
        """Walk the whole chain, then the head's signature; returns the head that holds.

        `expected`: an earlier head kept elsewhere; the chain must still contain it. Raises JournalBroken naming the
        first bad row, SignatureInvalid, NotFound (the signing key's public half is missing).
        """
        with self._db.read() as conn:
            head_row = conn.execute(sa.select(journal_head)).one()
            head = Head(seq=head_row.seq, hash=head_row.hash, key_id=head_row.key_id, signature=head_row.signature)
            with conn.execution_options(yield_per=5000).execute(sa.select(journal).order_by(journal.c.seq)) as rows:
                last, anchored = _walk(rows, expected)
        if (last.seq, last.hash) != (head.seq, head.hash):
            raise JournalBroken(f"the journal ends at row {last.seq}, its signed head says row {head.seq}: rows at the "
                                "end were cut or added. Restore the database from a backup.", row=last.seq)
        if expected is not None:
            if not anchored:
                raise JournalBroken(f"row {expected.seq} is not the one that the kept head names: the journal was "
                                    "rewritten or cut. Compare with a backup.", row=expected.seq)
            self._keyring.verify(head_message(expected.seq, expected.hash), expected.key_id, expected.signature)
        if head.seq:
            self._keyring.verify(head_message(head.seq, head.hash), head.key_id, head.signature)
        return head


def row_hash(fields: tuple[int, str, str, str, str, str, str, str], prev: str) -> str:
    """SHA-256 (hex) of the canonical JSON list [format, prev, seq, at, kind, model, subject, by, why, body text]."""
    return sha256(_encode([FORMAT, prev, *fields])).hexdigest()


def head_message(seq: int, digest: str) -> bytes:
    """The bytes that a head's signature covers."""
    return canon.dumps({"format": FORMAT, "seq": seq, "hash": digest})


_encode_text = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


def _encode(value: list[object]) -> bytes:
    return _encode_text(value).encode()


@dataclass(slots=True)
class _Last:
    seq: int = 0
    hash: str = ORIGIN


def _walk(rows: Iterable[Any], expected: Head | None) -> tuple[_Last, bool]:
    last, anchored = _Last(), expected is None or (expected.seq == 0 and expected.hash == ORIGIN)
    for seq, at, kind, model, subject, by, why, body, prev, digest in rows:
        if seq != last.seq + 1:
            raise JournalBroken(f"row {last.seq + 1} of the journal is missing (the next one there is {seq}). "
                                "Restore the database from a backup.", row=last.seq + 1)
        if prev != last.hash or row_hash((seq, at, kind, model, subject, by, why, body), prev) != digest:
            raise JournalBroken(f"row {seq} of the journal was changed after it was written. Restore the database "
                                "from a backup.", row=seq)
        last.seq, last.hash = seq, digest
        if expected is not None and seq == expected.seq:
            anchored = digest == expected.hash
    return last, anchored


def _entry(row: Row[tuple[object, ...]]) -> Entry:
    fields = dict(row._mapping)
    body = canon.loads(str(fields.pop("body")))
    assert isinstance(body, dict)
    return Entry(body=body, **fields)
