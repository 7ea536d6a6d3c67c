"""What later turned out true?  Labels come late, out of order, twice, and corrected.

A label belongs to a prediction's id, or to the key that the row brought along (its id column). Each is kept with its
moment; the newest one counts. The same value again is no news, another value is a correction.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from trimtab import canon, clock
from trimtab.clock import Clock
from trimtab.errors import DataUnreadable
from trimtab.store.db import Database
from trimtab.store.schema import journal_head, labels

if TYPE_CHECKING:
    import polars as pl

KeyKind = Literal["prediction", "key"]
_CHUNK = 500
_MAX_CHARS = 500                               # of a key or a truth; PostgreSQL indexes some 2,700 bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """The newest truth told of a key, and when it arrived."""

    value: float | int | bool | str
    at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a delivery of labels held. unknown: of its keys, those that no recorded prediction has (yet)."""

    new: int
    repeated: int                             # the same value was told before
    corrected: int                            # another value was
    unknown: int = 0

    def to_json(self) -> dict[str, object]:
        """As `label --json` prints it."""
        return {"schema": "trimtab.labels/1", "new": self.new, "repeated": self.repeated, "corrected": self.corrected,
                "unknown": self.unknown}


class Labels:
    """The labels of one workspace."""

    def __init__(self, db: Database, now: Clock) -> None:
        self._db, self._clock = db, now

    def put(self, model: str, kind: KeyKind, told: Iterable[tuple[str, object]], *, by: str) -> Told:
        """Keep (key, truth) pairs, all or none; of a key told twice in a delivery the last counts. They may come before
        their prediction is known here. Raises DataUnreadable: a key or a truth that none can be."""
        values = {_key(key): _truth(key, value) for key, value in told}
        keys = list(values)
        new = repeated = corrected = 0
        at = clock.to_text(self._clock.now())
        with self._db.write() as conn:
            conn.execute(sa.select(journal_head.c.seq).with_for_update())      # deliveries take turns
            for start in range(0, len(keys), _CHUNK):
                chunk = keys[start:start + _CHUNK]
                known = {row.key: row for row in _newest(conn, model, kind, chunk)}
                rows = []
                for key in chunk:
                    before = known.get(key)
                    if before is not None and before.value == values[key]:
                        repeated += 1
                        continue
                    new, corrected = new + (before is None), corrected + (before is not None)
                    rows.append({"model": model, "key_kind": kind, "key": key, "value": values[key], "by": by,
                                 "seq": 1 if before is None else before.seq + 1, "recorded_at": at})
                if rows:
                    conn.execute(labels.insert(), rows)
        return Told(new=new, repeated=repeated, corrected=corrected)

    def told_after(self, model: str, moment: str) -> tuple[list[str], list[str]]:
        """(ids of predictions, keys) that a label came for after a moment (`clock.to_text`), each once."""
        with self._db.read() as conn:
            rows = conn.execute(sa.select(labels.c.key_kind, labels.c.key).where(
                labels.c.model == model, labels.c.recorded_at > moment).distinct()).all()
        return ([row.key for row in rows if row.key_kind == "prediction"],
                [row.key for row in rows if row.key_kind == "key"])

    def of(self, model: str, kind: KeyKind, keys: Iterable[str]) -> Mapping[str, Label]:
        """The newest label of each key that has one."""
        wanted = list(dict.fromkeys(keys))
        found: dict[str, Label] = {}
        with self._db.read() as conn:
            for start in range(0, len(wanted), _CHUNK):
                for row in _newest(conn, model, kind, wanted[start:start + _CHUNK]):
                    found[row.key] = Label(value=canon.loads(row.value), at=row.recorded_at)  # type: ignore[arg-type]
        return found


    def newest(self) -> tuple[int, str]:
        """How many truths were told, and when the last was."""
        with self._db.read() as conn:
            count, at = conn.execute(sa.select(sa.func.count(), sa.func.max(labels.c.recorded_at))).one()
        return count, at or ""

    def told(self, model: str, *, until: str = "9") -> pl.DataFrame:
        """What was told of each key up to a time text: `kind`, `key`, the `first` truth and `first_at`, the newest
        `label` and `label_at`; truths are JSON text."""
        import polars as pl

        query = sa.select(labels.c.key_kind.label("kind"), labels.c.key, labels.c.value, labels.c.recorded_at).where(
            labels.c.model == model, labels.c.recorded_at <= until).order_by(labels.c.key, labels.c.seq)
        with self._db.read() as conn:
            rows = conn.execute(query).all()
        frame = pl.DataFrame([tuple(row) for row in rows], orient="row", schema=dict.fromkeys(
            ("kind", "key", "value", "at"), pl.String))
        return frame.group_by("kind", "key", maintain_order=True).agg(
            first=pl.col("value").first(), first_at=pl.col("at").first(), label=pl.col("value").last(),
            label_at=pl.col("at").last())


def _key(key: str) -> str:
    if not 0 < len(key) <= _MAX_CHARS or not key.isprintable():
        raise DataUnreadable(f"{key[:40]!r} can't be a key of a label: 1 to {_MAX_CHARS} printable characters")
    return key


def _truth(key: str, value: object) -> str:
    if not isinstance(value, bool | int | float | str) or (isinstance(value, float) and not math.isfinite(value)) \
            or (isinstance(value, str) and len(value) > _MAX_CHARS):
        raise DataUnreadable(f"the truth of {key[:40]!r} is {str(value)[:40]!r} ({type(value).__name__}); it must be a "
                             f"finite number, true or false, or text of up to {_MAX_CHARS} characters")
    return canon.dumps(value).decode()


def _newest(conn: Connection, model: str, kind: KeyKind, keys: list[str]) -> Iterable[sa.Row[tuple[object, ...]]]:
    mine = sa.and_(labels.c.model == model, labels.c.key_kind == kind, labels.c.key.in_(keys))
    newest = sa.select(labels.c.key, sa.func.max(labels.c.seq).label("seq")).where(mine).group_by(
        labels.c.key).subquery()
    return conn.execute(sa.select(labels).join(
        newest, sa.and_(labels.c.key == newest.c.key, labels.c.seq == newest.c.seq)).where(mine)).all()
