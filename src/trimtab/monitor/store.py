"""Which windows were closed, and what was known after each?  The windows of one workspace, in order, each once.

A row holds the window's counts together with the detector's state, the evidence and the bet on the labels after it:
whoever goes on from a row says what somebody who never stopped would say. Bin edges are left out: they are the
baseline's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from trimtab import canon
from trimtab.errors import Malformed
from trimtab.monitor.drift import Evidence
from trimtab.monitor.harm import Harm
from trimtab.monitor.windows import Sketch, Window
from trimtab.store.db import Database, insert_new
from trimtab.store.schema import windows

SCHEMA: Final = "trimtab.watched/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A closed window and what was known after it. detector: its state; harm: None where no errors can be compared."""

    model: str
    version: int
    endpoint: str
    seq: int                                  # 1, 2, 3 … for a version at an endpoint
    window: Window
    detector: Mapping[str, Any]
    evidence: Evidence
    harm: Harm | None
    closed_at: str


class Windows:
    """The closed windows of one workspace. Promises: rows are only added; a number is taken once."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def put(self, conn: Connection, watched: Watched) -> bool:
        """Keep a window in the caller's transaction; False where somebody else closed that number."""
        told = canon.finite({
            "schema": SCHEMA, "window": watched.window.to_json(edges=False), "detector": dict(watched.detector),
            "evidence": watched.evidence.to_json(), "harm": None if watched.harm is None else watched.harm.to_json()})
        window = watched.window
        return insert_new(conn, windows, {
            "model": watched.model, "version": watched.version, "endpoint": watched.endpoint, "seq": watched.seq,
            "from_at": window.from_at, "to_at": window.to_at, "first_id": window.first_id, "last_id": window.last_id,
            "rows": window.rows, "counts": canon.dumps(told).decode(), "closed_at": watched.closed_at})

    def newest(self, model: str, version: int, endpoint: str, *, baseline: Mapping[str, Sketch],
               limit: int = 1) -> list[Watched]:
        """The newest windows of a version at an endpoint, the oldest of them first. Raises Malformed."""
        with self._db.read() as conn:
            rows = conn.execute(self._of(model, version, endpoint).order_by(windows.c.seq.desc()).limit(limit)).all()
        return [_watched(row, baseline) for row in reversed(rows)]

    def get(self, conn: Connection, model: str, version: int, endpoint: str, seq: int, *,
            baseline: Mapping[str, Sketch]) -> Watched | None:
        """One window by its number, in the caller's transaction; None where there is none. Raises Malformed."""
        row = conn.execute(self._of(model, version, endpoint).where(windows.c.seq == seq)).one_or_none()
        return None if row is None else _watched(row, baseline)

    def first_at(self, model: str, version: int, endpoint: str) -> str | None:
        """When the first row of the first window was asked, as a time text; None where there is no window yet."""
        return self._moment(windows.c.from_at, windows.c.seq, model, version, endpoint)

    def last_at(self, model: str, version: int, endpoint: str) -> str | None:
        """When the last row of the newest window was asked, as `first_at`."""
        return self._moment(windows.c.to_at, windows.c.seq.desc(), model, version, endpoint)

    def _moment(self, column: Any, order: Any, model: str, version: int, endpoint: str) -> str | None:
        with self._db.read() as conn:
            query = sa.select(column).where(
                windows.c.model == model, windows.c.version == version, windows.c.endpoint == endpoint)
            found: str | None = conn.execute(query.order_by(order).limit(1)).scalar_one_or_none()
        return found

    @staticmethod
    def _of(model: str, version: int, endpoint: str) -> sa.Select[Any]:
        return sa.select(windows).where(windows.c.model == model, windows.c.version == version,
                                        windows.c.endpoint == endpoint)


def _watched(row: Row[Any], baseline: Mapping[str, Sketch]) -> Watched:
    told: Any = canon.loads(row.counts)
    if not isinstance(told, dict) or told.get("schema") != SCHEMA:
        raise Malformed(f"window {row.seq} of {row.model} is not of the form {SCHEMA}; another trimtab wrote it")
    return Watched(model=row.model, version=row.version, endpoint=row.endpoint, seq=row.seq, closed_at=row.closed_at,
                   window=Window.from_json(told["window"], baseline), detector=told["detector"],
                   evidence=Evidence.from_json(told["evidence"]),
                   harm=None if told["harm"] is None else Harm.from_json(told["harm"]))
