"""What was tried, with which parameters, and what came out?

A run is open while its process works on it; closing it fixes a digest over all that it recorded. A process that is
killed leaves its run "running": it never becomes the latest finished one, so nothing is built on it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from trimtab import canon, clock
from trimtab.canon import Digest
from trimtab.clock import Clock
from trimtab.errors import Conflict, NotFound, UsageError
from trimtab.ids import Ids
from trimtab.store.db import Database
from trimtab.store.schema import run_metrics, run_params, run_tags, runs
from trimtab.tracking.model import Run, Status

_MIN_PREFIX = 3


class Runs:
    """The runs of one workspace."""

    def __init__(self, db: Database, now: Clock, ids: Ids) -> None:
        self._db, self._clock, self._ids = db, now, ids

    def start(self, kind: str, model: str, *, by: str, params: Mapping[str, object] | None = None,
              parent: str | None = None, inputs: Mapping[str, str] | None = None,
              tags: Mapping[str, str] | None = None) -> Run:
        """Open a run; parameters are kept as text (canonical JSON for anything that is not a string)."""
        run = Run(id=self._ids.run(), kind=kind, model=model, parent=parent, by=by,
                  started_at=clock.to_text(self._clock.now()), inputs=dict(inputs or {}), tags=dict(tags or {}),
                  params={key: _as_text(value) for key, value in (params or {}).items()})
        with self._db.write() as conn:
            conn.execute(runs.insert().values(
                id=run.id, kind=kind, model=model, parent=parent, status=run.status, started_at=run.started_at, by=by,
                inputs=canon.dumps(run.inputs).decode(), outputs="{}"))
            for table, pairs in ((run_params, run.params), (run_tags, run.tags)):
                if pairs:
                    conn.execute(table.insert(), [{"run": run.id, "key": key, "value": value}
                                                  for key, value in pairs.items()])
        return run

    def log(self, run_id: str, metrics: Mapping[str, float], *, step: int = 0) -> None:
        """Record metric values, all or none; the same (key, step) again replaces the value. NaN is kept as missing."""
        at = clock.to_text(self._clock.now())
        with self._db.write() as conn:
            _open_run(conn, run_id)
            for key, value in metrics.items():
                conn.execute(run_metrics.delete().where(
                    run_metrics.c.run == run_id, run_metrics.c.key == key, run_metrics.c.step == step))
                conn.execute(run_metrics.insert().values(
                    run=run_id, key=key, step=step, at=at, value=value if math.isfinite(value) else None))

    def finish(self, run_id: str, *, status: Status = "finished", outputs: Mapping[str, str] | None = None) -> Run:
        """Close a run with its outputs (name → digest of a blob). Raises NotFound, Conflict (closed already)."""
        with self._db.write() as conn:
            _open_run(conn, run_id)
            conn.execute(runs.update().where(runs.c.id == run_id).values(
                status=status, ended_at=clock.to_text(self._clock.now()),
                outputs=canon.dumps(dict(outputs or {})).decode()))
            closed = _load(conn, [run_id])[0]
            digest = canon.digest_json(closed.content())
            conn.execute(runs.update().where(runs.c.id == run_id).values(digest=digest))
        return replace(closed, digest=digest)

    def get(self, ref: str) -> Run:
        """A run by its id, or by any unique beginning of it (`r-7c2`). Raises NotFound, UsageError (too short)."""
        prefix = ref.removeprefix("r-").lower()
        if len(prefix) < _MIN_PREFIX or not all(char in "0123456789abcdef" for char in prefix):
            raise UsageError(f"{ref[:40]!r} is not a run; write r- and at least {_MIN_PREFIX} hex digits")
        with self._db.read() as conn:
            found = conn.execute(sa.select(runs.c.id).where(runs.c.id.startswith(prefix)).limit(2)).scalars().all()
            if not found:
                raise NotFound(f"no run begins with {ref[:40]!r}")
            if len(found) > 1:
                raise UsageError(f"more than one run begins with {ref!r}; give more of its digits")
            return _load(conn, found)[0]

    def latest(self, model: str, kind: str, *, status: Status = "finished") -> Run | None:
        """The newest run of a kind, or None."""
        with self._db.read() as conn:
            found = conn.execute(
                sa.select(runs.c.id).where(runs.c.model == model, runs.c.kind == kind, runs.c.status == status)
                .order_by(runs.c.started_at.desc(), runs.c.id.desc()).limit(1)).scalars().all()
            return _load(conn, found)[0] if found else None

    def list(self, *, model: str | None = None, parent: str | None = None, limit: int = 100) -> tuple[Run, ...]:
        """Runs, newest first."""
        query = sa.select(runs.c.id).order_by(runs.c.started_at.desc(), runs.c.id).limit(limit)
        if model is not None:
            query = query.where(runs.c.model == model)
        if parent is not None:
            query = query.where(runs.c.parent == parent)
        with self._db.read() as conn:
            return _load(conn, conn.execute(query).scalars().all())


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else canon.dumps(canon.finite(value)).decode()


def _open_run(conn: Connection, run_id: str) -> None:
    status = conn.execute(sa.select(runs.c.status).where(runs.c.id == run_id).with_for_update()).scalar_one_or_none()
    if status is None:
        raise NotFound(f"there is no run {run_id[:40]!r}")
    if status != "running":
        raise Conflict(f"run {run_id[:10]} is closed ({status}); what it recorded can't be changed")


def _load(conn: Connection, ids: Iterable[str]) -> tuple[Run, ...]:
    wanted = list(ids)
    pairs: dict[str, dict[str, dict[str, str]]] = {}
    for name, table in (("params", run_params), ("tags", run_tags)):
        for row in conn.execute(sa.select(table).where(table.c.run.in_(wanted))):
            pairs.setdefault(row.run, {}).setdefault(name, {})[row.key] = row.value
    metrics: dict[str, dict[str, float | None]] = {}
    for row in conn.execute(sa.select(run_metrics).where(run_metrics.c.run.in_(wanted)).order_by(run_metrics.c.step)):
        metrics.setdefault(row.run, {})[row.key] = row.value
    found: dict[str, Run] = {}
    for row in conn.execute(sa.select(runs).where(runs.c.id.in_(wanted))):
        inputs, outputs = canon.loads(row.inputs), canon.loads(row.outputs)
        assert isinstance(inputs, dict)
        assert isinstance(outputs, dict)
        found[row.id] = Run(
            id=row.id, kind=row.kind, model=row.model, parent=row.parent, status=row.status,
            started_at=row.started_at, ended_at=row.ended_at, by=row.by, inputs=inputs,
            outputs={name: Digest(digest) for name, digest in outputs.items()},
            params=pairs.get(row.id, {}).get("params", {}), tags=pairs.get(row.id, {}).get("tags", {}),
            metrics=metrics.get(row.id, {}), digest=Digest(row.digest) if row.digest else None)
    return tuple(found[run_id] for run_id in wanted if run_id in found)
