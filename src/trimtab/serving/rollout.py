"""Which version should answer at an endpoint?  (the desired state: deploy, promote, rollback)

A rollout is a row that is only ever added: the newest revision of an endpoint is what is live, and `champion` moves
with it in the same transaction, and a trial beside what was live ends in it. How a running server comes to serve it is
`engine.py`'s concern.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from trimtab import clock
from trimtab.clock import Clock
from trimtab.errors import CheckFailed, Conflict, NotFound
from trimtab.names import check_name
from trimtab.registry import rules
from trimtab.registry.model import Version
from trimtab.serving import stages
from trimtab.store.db import Database
from trimtab.store.journal import Journal
from trimtab.store.schema import rollouts, versions

Verb = Literal["deploy", "promote", "rollback"]
PRODUCTION = "production"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """What an endpoint should serve since one revision of it."""

    model: str
    endpoint: str
    revision: int
    version: int
    verb: Verb
    at: str
    by: str
    why: str
    restores: int | None = None
    key: str = ""                             # of the decision that it follows from, "" by hand


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a verb did, or would do (`dry_run`); `before` is None where nothing was live."""

    model: str
    endpoint: str
    verb: Verb
    before: int | None
    after: int
    revision: int
    changed: bool = True                      # False: it was live already, nothing to do
    dry_run: bool = False
    why: str = ""

    @property
    def sentence(self) -> str:
        """`risk v1 → v2`."""
        came_from = f"v{self.before} → " if self.before is not None and self.changed else ""
        return f"{self.model} {came_from}v{self.after}"

    def to_json(self) -> dict[str, object]:
        """As every JSON door shows it."""
        return {"schema": "trimtab.change/1", "model": self.model, "endpoint": self.endpoint, "verb": self.verb,
                "before": self.before, "version": self.after, "revision": self.revision, "changed": self.changed,
                "dry_run": self.dry_run, "why": self.why}


def last_good(history: list[Rollout]) -> Rollout | None:
    """The revision that a rollback re-applies: the newest one with another version, before what is live now was live.

    `history`: revisions of one endpoint, oldest first. Rolling back twice goes two versions back, not to and fro.
    """
    if not history:
        return None
    live = history[-1]
    before = live.restores if live.restores is not None else live.revision
    for earlier in reversed(history):
        if earlier.revision < before and earlier.version != live.version and earlier.restores is None:
            return earlier
    return None


class Rollouts:
    """The rollouts of one workspace.

    get, verify: how a version is read and its bytes are checked; move_champion: moves the alias in our transaction.
    """

    def __init__(self, db: Database, journal: Journal, now: Clock, *, get: Callable[[str, int], Version],
                 verify: Callable[[Version], object],
                 move_champion: Callable[[Connection, str, int, str], None]) -> None:
        self._db, self._journal, self._clock = db, journal, now
        self._get, self._verify, self._move_champion = get, verify, move_champion

    def deploy(self, model: str, number: int, *, by: str, why: str = "", endpoint: str = PRODUCTION,
               dry_run: bool = False) -> Change:
        """Make a version live at an endpoint, the first one or in place of another.

        Raises NotFound, CheckFailed (its gates did not pass), DigestMismatch, SignatureInvalid, Conflict (somebody
        else changed the endpoint meanwhile).
        """
        return self._apply("deploy", model, number, self.history(model, endpoint), endpoint, by, why, dry_run)

    def promote(self, model: str, number: int, *, by: str, why: str = "", endpoint: str = PRODUCTION,
                dry_run: bool = False, key: str = "", champion: int | None = None) -> Change:
        """Make a version the champion of an endpoint that serves already. Raises as `deploy`, NotFound before it.

        key: of a decision; done again under it while its revision is live, that Change is given again. champion: what
        the decision was about; Conflict where it does not serve any more.
        """
        history = self.history(model, endpoint)
        if not history:
            raise NotFound(f"nothing serves at {endpoint!r} of {model} yet; trimtab deploy {model}@v{number} first")
        return self._apply("promote", model, number, history, endpoint, by, why, dry_run, key=key, champion=champion)

    def rollback(self, model: str, *, by: str, why: str = "", to: int | None = None, endpoint: str = PRODUCTION,
                 dry_run: bool = False, key: str = "", champion: int | None = None) -> Change:
        """Re-apply the last good revision, or the newest one that served version `to`. Raises as `deploy`; key and
        champion as for `promote`."""
        history = self.history(model, endpoint)
        if not history:
            raise NotFound(f"nothing serves at {endpoint!r} of {model}, so there is nothing to roll back")
        if (done := _done(history, key)) is not None:
            return done
        if to is None:
            target = last_good(history)
            if target is None:
                raise CheckFailed(f"{model} has no earlier version at {endpoint!r}; v{history[-1].version} is the "
                                  "first one that served")
        else:
            served = [row for row in history if row.version == to]
            if not served:
                raise NotFound(f"{model} v{to} never served at {endpoint!r}; deploy it instead: trimtab deploy "
                               f"{model}@v{to}")
            target = next((row for row in reversed(served) if row.restores is None), served[-1])
        return self._apply("rollback", model, target.version, history, endpoint, by, why, dry_run, target.revision,
                           key=key, champion=champion)

    def current(self, model: str, endpoint: str = PRODUCTION) -> Rollout | None:
        """The newest revision of an endpoint, or None."""
        history = self.history(model, endpoint)
        return history[-1] if history else None

    def history(self, model: str, endpoint: str = PRODUCTION) -> list[Rollout]:
        """All revisions of an endpoint, oldest first."""
        with self._db.read() as conn:
            return _rows(conn, sa.and_(rollouts.c.model == model, rollouts.c.endpoint == endpoint))

    def all_live(self) -> list[Rollout]:
        """What every endpoint of the workspace should serve now."""
        newest = (sa.select(rollouts.c.model, rollouts.c.endpoint, sa.func.max(rollouts.c.revision).label("revision"))
                  .group_by(rollouts.c.model, rollouts.c.endpoint).subquery())
        with self._db.read() as conn:
            return _rows(conn, sa.tuple_(rollouts.c.model, rollouts.c.endpoint, rollouts.c.revision).in_(
                sa.select(newest.c.model, newest.c.endpoint, newest.c.revision)))

    def revision(self) -> int:
        """A number that grows with every rollout in the workspace: what a server watches."""
        with self._db.read() as conn:
            newest: int | None = conn.execute(sa.select(sa.func.max(rollouts.c.journal_seq))).scalar_one()
        return newest or 0

    def _apply(self, verb: Verb, model: str, number: int, history: list[Rollout], endpoint: str, by: str, why: str,
               dry_run: bool, restores: int | None = None, *, key: str = "", champion: int | None = None) -> Change:
        check_name("endpoint", endpoint)
        if (done := _done(history, key)) is not None:
            return done
        if champion is not None and history[-1].version != champion:
            raise Conflict(f"v{champion} does not serve at {endpoint!r} of {model} any more, v{history[-1].version} "
                           "does; look with trimtab status, then decide anew", model=model)
        version = self._get(model, number)
        if not (verdict := rules.may_serve(version)).allowed:
            raise CheckFailed(verdict.reason, version=version.name)
        live = history[-1] if history else None
        change = Change(model=model, endpoint=endpoint, verb=verb, before=live.version if live else None, after=number,
                        revision=live.revision if live else 0, why=why, dry_run=dry_run,
                        changed=live is None or live.version != number)
        if not change.changed:
            return change
        self._verify(version)
        if dry_run:
            return change
        with self._db.write() as conn:
            return self._write(conn, change, live, by, restores, key)

    def _write(self, conn: Connection, change: Change, live: Rollout | None, by: str, restores: int | None,
               key: str) -> Change:
        model, endpoint, number = change.model, change.endpoint, change.after
        entry = self._journal.append(                          # first: its lock makes concurrent changes wait here
            conn, kind=f"rollout.{change.verb}", model=model, subject=endpoint, by=by, why=change.why,
            body={"endpoint": endpoint, "from": change.before, "to": number, "restores": restores,
                  "revision": (live.revision if live else 0) + 1})
        now = conn.execute(sa.select(sa.func.max(rollouts.c.revision)).where(
            rollouts.c.model == model, rollouts.c.endpoint == endpoint)).scalar_one() or 0
        if now != (live.revision if live else 0):
            raise Conflict(f"{model} at {endpoint!r} was changed by somebody else just now; look with trimtab status, "
                           "then repeat if you still want it", model=model, endpoint=endpoint)
        deleted = conn.execute(sa.select(versions.c.deleted_at).where(
            versions.c.model == model, versions.c.number == number)).scalar_one()
        if deleted is not None:
            raise Conflict(f"{model} v{number} was deleted just now", model=model)
        conn.execute(rollouts.insert().values(
            model=model, endpoint=endpoint, revision=now + 1, version=number, verb=change.verb, restores=restores,
            at=clock.to_text(self._clock.now()), by=by, why=change.why, journal_seq=entry.seq,
            key=key or None))
        stages.end_in(conn, self._journal, model, endpoint, by=by, why=f"ended by the {change.verb} of v{number}",
                      key=key)
        if endpoint == PRODUCTION:
            self._move_champion(conn, model, number, by)
        return Change(model=model, endpoint=endpoint, verb=change.verb, before=change.before, after=number,
                      revision=now + 1, why=change.why)


def _done(history: list[Rollout], key: str) -> Change | None:
    """What was done under this key already, or None. Raises Conflict where it was, and was changed since."""
    place = next((place for place, row in enumerate(history) if key and row.key == key), None)
    if place is None:
        return None
    row = history[place]
    if row is not history[-1]:
        raise Conflict(f"the {row.verb} of v{row.version} at {row.endpoint!r} of {row.model} was done for this reason "
                       f"already, and v{history[-1].version} was put there since; decide anew", model=row.model)
    return Change(model=row.model, endpoint=row.endpoint, verb=row.verb, before=history[place - 1].version if place
                  else None, after=row.version, revision=row.revision, why=row.why)


def _rows(conn: Connection, condition: sa.ColumnElement[bool]) -> list[Rollout]:
    query = sa.select(rollouts).where(condition).order_by(rollouts.c.model, rollouts.c.endpoint, rollouts.c.revision)
    return [Rollout(model=row.model, endpoint=row.endpoint, revision=row.revision, version=row.version, verb=row.verb,
                    at=row.at, by=row.by, why=row.why, restores=row.restores, key=row.key or "")
            for row in conn.execute(query)]
