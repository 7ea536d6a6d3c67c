"""Which version answers beside the champion of an endpoint?  (the desired state: shadow, canary, and its end)

One trial at a time: another version than the champion, in shadow (it computes, and answers nobody) or for a share of
the traffic. A trial is of one champion: a rollout at its endpoint ends it in the same transaction. Whether a challenger
is good enough is the loop's concern, how it comes to answer `engine.py`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from trimtab import clock
from trimtab.clock import Clock
from trimtab.errors import CheckFailed, Conflict, NotFound, UsageError
from trimtab.names import check_name
from trimtab.registry import rows, rules
from trimtab.registry.history import PRODUCTION
from trimtab.registry.model import Version
from trimtab.store.db import Database
from trimtab.store.journal import Entry, Journal
from trimtab.store.schema import journal as entries
from trimtab.store.schema import stages, versions

Role = Literal["challenger", "last_good"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What answers beside the champion of an endpoint. share: of the traffic; 0 in shadow. trial: which one of the
    endpoint it is, counted from 1. since, stage_since: when the trial, and this stage of it, began. key: of the
    decision that put it so, "" by hand. revision: how often what is beside the champion was changed."""

    model: str
    endpoint: str
    champion: int
    version: int
    role: Role
    stage: Literal["shadow", "canary"]
    share: float
    trial: int
    since: str
    stage_since: str
    key: str
    revision: int
    by: str = ""
    why: str = ""

    @property
    def sentence(self) -> str:
        """`risk v2 in shadow beside v1`, `risk v2 for 5% beside v1`."""
        how = f"for {percent(self.share)}" if self.share else "in shadow"
        return f"{self.model} v{self.version} {how} beside v{self.champion}"

    def to_json(self) -> dict[str, object]:
        """As every JSON door shows it."""
        return {name: getattr(self, name) for name in self.__slots__}


class Stages:
    """The trials of one workspace.

    get, verify: how a version is read and its bytes are checked, as for a rollout.
    """

    def __init__(self, db: Database, journal: Journal, now: Clock, *, get: Callable[[str, int], Version],
                 verify: Callable[[Version], object]) -> None:
        self._db, self._journal, self._clock, self._get, self._verify = db, journal, now, get, verify

    def current(self, model: str, endpoint: str = PRODUCTION) -> Stage | None:
        """What is beside the champion of an endpoint now, or None."""
        with self._db.read() as conn:
            return _stage(_row(conn, check_name("model", model), endpoint))

    def all_open(self) -> list[Stage]:
        """Everything that is beside a champion in this workspace."""
        query = _select().where(stages.c.version.is_not(None)).order_by(stages.c.model, stages.c.endpoint)
        with self._db.read() as conn:
            return [found for row in conn.execute(query) if (found := _stage(row)) is not None]

    def put(self, model: str, number: int, *, champion: int | None = None, role: Role = "challenger",
            share: float = 0.0, by: str, why: str = "", key: str = "", endpoint: str = PRODUCTION,
            dry_run: bool = False) -> Stage:
        """Let a version compute beside the champion and answer `share` of the traffic, 0 to below 1; 0 is shadow.

        Of the version that is beside it already this is the next stage of the same trial. Done again under the same
        `key`, or as it is, it changes nothing. Raises as a deploy (NotFound, CheckFailed, DigestMismatch,
        SignatureInvalid), CheckFailed also where the two are for different tasks, UsageError (share), and Conflict:
        `champion` does not serve (any more), the version is itself the champion, another one is beside it, or what
        `key` did was ended since.
        """
        if not 0 <= share < 1:
            raise UsageError(f"a share of the traffic is from 0 (shadow) to below 1, not {share:g}; for all of it: "
                             f"trimtab promote {model}@v{number}")
        check_name("endpoint", endpoint)
        version = self._get(model, number)
        if not (verdict := rules.may_serve(version)).allowed:
            raise CheckFailed(verdict.reason, version=version.name)
        self._verify(version)
        wanted = Stage(model=version.model, endpoint=endpoint, champion=champion or 0, version=number, role=role,
                       stage="canary" if share else "shadow", share=share, trial=0, since="", stage_since="", key=key,
                       revision=0, by=by, why=why)
        if dry_run:
            with self._db.read() as conn:
                return self._next(conn, wanted)[0]
        with self._db.write() as conn:
            rows.take_turn(conn)                               # concurrent changes wait here
            made, changed = self._next(conn, wanted)
            if changed:
                _refuse_deleted(conn, made)
                entry = _journalled(conn, self._journal, made, kind=f"trial.{made.stage}", by=by, why=why)
                _write(conn, made, entry, version=number)
            return made

    def stop(self, model: str, *, by: str, why: str = "", key: str = "", endpoint: str = PRODUCTION) -> Stage | None:
        """End the trial: the champion alone answers. Gives what was beside it; None, a success, where nothing was."""
        with self._db.write() as conn:
            rows.take_turn(conn)
            return end_in(conn, self._journal, check_name("model", model), endpoint, by=by, why=why, key=key)

    def revision(self) -> int:
        """A number that grows with every change of what is beside a champion in the workspace."""
        with self._db.read() as conn:
            newest: int | None = conn.execute(sa.select(sa.func.max(stages.c.journal_seq))).scalar_one()
        return newest or 0

    def _next(self, conn: Connection, wanted: Stage) -> tuple[Stage, bool]:
        """(what is beside the champion after `wanted`, does that change anything?) Raises Conflict, NotFound."""
        row = _row(conn, wanted.model, wanted.endpoint)
        now, where = _stage(row), f"{wanted.endpoint!r} of {wanted.model}"
        if row is not None and wanted.key and row.key == wanted.key:
            if now is None:
                raise Conflict(f"v{wanted.version} was put beside the champion at {where} for this reason already, and "
                               "the trial was ended since; decide anew", model=wanted.model)
            return now, False
        live = rows.live_numbers(conn, wanted.model).get(wanted.endpoint)
        if live is None:
            raise NotFound(f"nothing serves at {where} yet, so nothing can be beside it; trimtab deploy "
                           f"{wanted.model}@v{wanted.version} first")
        if wanted.champion not in (0, live):
            raise Conflict(f"v{wanted.champion} does not serve at {where} any more, v{live} does; look with trimtab "
                           "status, then decide anew", model=wanted.model)
        if live == wanted.version:
            raise Conflict(f"v{live} is itself what serves at {where}; name the version to try beside it",
                           model=wanted.model)
        if now is not None and (now.version, now.role) != (wanted.version, wanted.role):
            raise Conflict(f"v{now.version} is beside v{now.champion} at {where} already, and there is one trial at a "
                           f"time; first: trimtab canary {wanted.model} --stop", model=wanted.model)
        if now is not None and now.share == wanted.share:
            return now, False
        task, other = (rows.the_version(conn, wanted.model, number).facts.get("task", "regression")
                       for number in (live, wanted.version))
        if task != other:
            raise CheckFailed(f"v{wanted.version} is for {other}, and v{live}, which serves at {where}, for {task}: "
                              "who asks expects its kind of answers. Deploy it at another endpoint", model=wanted.model)
        at = clock.to_text(self._clock.now())
        return replace(wanted, champion=live, stage_since=at, since=at if now is None else now.since,
                       trial=now.trial if now is not None else 1 if row is None else row.trial + 1,
                       revision=1 if row is None else row.revision + 1), True


def end_in(conn: Connection, journal: Journal, model: str, endpoint: str, *, by: str, why: str,
           key: str = "") -> Stage | None:
    """End the trial of an endpoint in the caller's transaction, whose turn it is; None where there is none."""
    found = _stage(_row(conn, model, endpoint))
    if found is not None:
        entry = _journalled(conn, journal, found, kind="trial.stop", by=by, why=why)
        _write(conn, replace(found, key=key or found.key, revision=found.revision + 1), entry, version=None)
    return found


def percent(share: float) -> str:
    """A share as people write it.

    >>> percent(0.05), percent(0.125), percent(1.0)
    ('5%', '12.5%', '100%')
    """
    return f"{share * 100:.4g}%"


def _select() -> sa.Select[Any]:
    return sa.select(stages, entries.c.by, entries.c.why).join(entries, entries.c.seq == stages.c.journal_seq)


def _row(conn: Connection, model: str, endpoint: str) -> Any:
    return conn.execute(_select().where(stages.c.model == model, stages.c.endpoint == endpoint)).one_or_none()


def _stage(row: Any) -> Stage | None:
    if row is None or row.version is None:
        return None
    return Stage(**{name: getattr(row, name) for name in Stage.__slots__})


def _journalled(conn: Connection, journal: Journal, found: Stage, *, kind: str, by: str, why: str) -> Entry:
    return journal.append(conn, kind=kind, model=found.model, subject=found.endpoint, by=by, why=why, body={
        "champion": found.champion, "version": found.version, "role": found.role, "share": found.share,
        "trial": found.trial, "key": found.key})


def _write(conn: Connection, found: Stage, entry: Entry, *, version: int | None) -> None:
    """Replace the row of an endpoint; version None: nothing is beside its champion now."""
    conn.execute(stages.delete().where(stages.c.model == found.model, stages.c.endpoint == found.endpoint))
    values = {column.name: getattr(found, column.name) for column in stages.c if column.name != "journal_seq"}
    conn.execute(stages.insert().values({**values, "version": version, "journal_seq": entry.seq}))


def _refuse_deleted(conn: Connection, wanted: Stage) -> None:
    deleted = conn.execute(sa.select(versions.c.deleted_at).where(
        versions.c.model == wanted.model, versions.c.number == wanted.version)).scalar_one()
    if deleted is not None:
        raise Conflict(f"{wanted.model} v{wanted.version} was deleted just now", model=wanted.model)
