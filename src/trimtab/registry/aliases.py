"""Which version does a name point at?  (champion, challenger, …)

An alias is a movable name on a fixed version. Moves are journalled in the same transaction. `champion` belongs to the
rollout: setting it *is* `promote`, under the same rules, and it can't be removed.
"""

from __future__ import annotations

from typing import Protocol

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from trimtab import clock
from trimtab.clock import Clock
from trimtab.errors import Conflict, Live, NotFound
from trimtab.registry import rows, rules
from trimtab.registry.model import Alias
from trimtab.registry.names import CHAMPION, alias_name, model_name, near
from trimtab.store.db import Database
from trimtab.store.journal import Journal
from trimtab.store.schema import aliases


class Promote(Protocol):
    """Makes a version the champion, and moves the alias with `Aliases.put`; the rollout's verb, handed in."""

    def __call__(self, model: str, number: int, *, by: str, why: str) -> object: ...


class Aliases:
    """The aliases of a workspace. `promote` may be any callable that is looked up when `champion` is set."""

    def __init__(self, db: Database, journal: Journal, clock: Clock, promote: Promote) -> None:
        self._db, self._journal, self._clock, self._promote = db, journal, clock, promote

    def set(self, model: str, alias: str, number: int, *, by: str, why: str = "") -> Alias:
        """Point `alias` of `model` at version `number`; where it already points there, nothing changes.

        Raises UsageError (name), NotFound (model or version), Conflict (deleted version), and for `champion`
        whatever `promote` raises.
        """
        model, alias = model_name(model), alias_name(alias)
        if alias == CHAMPION:
            self._promote(model, number, by=by, why=why)
            return self.resolve(model, alias)
        with self._db.write() as conn:
            return self.put(conn, model=model, alias=alias, number=number, by=by, why=why)

    def put(self, conn: Connection, *, model: str, alias: str, number: int, by: str, why: str = "") -> Alias:
        """The same within the caller's transaction and without `promote`: what the rollout moves `champion` with."""
        rows.take_turn(conn)
        verdict = rules.may_point_at(rows.the_version(conn, model, number), alias)
        if not verdict.allowed:
            raise Conflict(verdict.reason, model=model, alias=alias, number=number)
        before = rows.find_alias(conn, model, alias)
        if before is not None and before.number == number:
            return before
        moved = Alias(model=model, alias=alias, number=number, moved_at=clock.to_text(self._clock.now()), moved_by=by)
        conn.execute(aliases.delete().where(aliases.c.model == model, aliases.c.alias == alias))
        conn.execute(sa.insert(aliases).values(model=model, alias=alias, number=number, moved_at=moved.moved_at,
                                               moved_by=by))
        self._journal.append(conn, kind="alias.set", model=model, subject=alias, by=by, why=why,
                             body={"alias": alias, "from": before.number if before else None, "to": number})
        return moved

    def remove(self, model: str, alias: str, *, by: str, why: str = "") -> Alias:
        """Take the name away; returns where it pointed. Raises NotFound, Live (`champion`)."""
        model, alias = model_name(model), alias_name(alias)
        verdict = rules.may_remove_alias(alias)
        if not verdict.allowed:
            raise Live(verdict.reason, model=model, alias=alias)
        with self._db.write() as conn:
            rows.take_turn(conn)
            before = _the_alias(conn, model, alias)
            drop(conn, self._journal, before, by=by, why=why)
        return before

    def resolve(self, model: str, alias: str) -> Alias:
        """Where the alias points. Raises NotFound with near names."""
        with self._db.read() as conn:
            return _the_alias(conn, model_name(model), alias_name(alias))

    def list(self, model: str | None = None) -> list[Alias]:
        """The aliases of one model, or of all, by name."""
        with self._db.read() as conn:
            return rows.all_aliases(conn, None if model is None else model_name(model))


def drop(conn: Connection, journal: Journal, alias: Alias, *, by: str, why: str) -> None:
    """Remove an alias and journal it, within the caller's transaction."""
    conn.execute(aliases.delete().where(aliases.c.model == alias.model, aliases.c.alias == alias.alias))
    journal.append(conn, kind="alias.remove", model=alias.model, subject=alias.alias, by=by, why=why,
                   body={"alias": alias.alias, "from": alias.number, "to": None})


def no_alias(conn: Connection, model: str, alias: str) -> NotFound:
    """The error for a name that points at nothing."""
    known = [known.alias for known in rows.all_aliases(conn, model)]
    return NotFound(f"{model} has no alias {alias!r}. {near(alias, known)}", model=model, alias=alias)


def _the_alias(conn: Connection, model: str, alias: str) -> Alias:
    found = rows.find_alias(conn, model, alias)
    if found is None:
        raise no_alias(conn, model, alias) if rows.numbers(conn, model) else rows.no_model(conn, model)
    return found
