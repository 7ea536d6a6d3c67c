"""How do versions, aliases and rollouts look in their tables?

Reads within the caller's block, so that a decision and the change that follows it see the same state.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from trimtab import canon
from trimtab.canon import Digest
from trimtab.errors import NotFound
from trimtab.registry.model import Alias, GateVerdict, Ingredients, Manifest, Version
from trimtab.registry.names import near
from trimtab.store.schema import aliases, journal_head, rollouts, stages, versions


def take_turn(conn: Connection) -> None:
    """Wait until every other writer has committed: what is read next is the newest. (The lock of `Journal.append`.)"""
    conn.execute(sa.select(journal_head.c.id).with_for_update()).all()


def find_version(conn: Connection, model: str, number: int) -> Version | None:
    """The version with this number, a deleted one too; None where there never was one."""
    query = sa.select(versions).where(versions.c.model == model, versions.c.number == number)
    row = conn.execute(query).one_or_none()
    return None if row is None else version_of(row._mapping)


def the_version(conn: Connection, model: str, number: int) -> Version:
    """The same, or NotFound with the names or numbers that exist."""
    version = find_version(conn, model, number)
    if version is None:
        known = numbers(conn, model)
        if not known:
            raise no_model(conn, model)
        raise NotFound(f"{model} has no version {number}; its newest is v{max(known)}", model=model, number=number)
    return version


def all_versions(conn: Connection, model: str) -> list[Version]:
    """All versions of a model, oldest first, deleted ones too."""
    query = sa.select(versions).where(versions.c.model == model).order_by(versions.c.number)
    return [version_of(row._mapping) for row in conn.execute(query)]


def numbers(conn: Connection, model: str) -> list[int]:
    """All numbers that a model ever gave away, in order."""
    query = sa.select(versions.c.number).where(versions.c.model == model).order_by(versions.c.number)
    return list(conn.execute(query).scalars())


def model_names(conn: Connection) -> list[str]:
    """All models that have, or had, a version."""
    return list(conn.execute(sa.select(versions.c.model).distinct().order_by(versions.c.model)).scalars())


def find_alias(conn: Connection, model: str, alias: str) -> Alias | None:
    """Where an alias points; None where there is no such alias."""
    query = sa.select(aliases).where(aliases.c.model == model, aliases.c.alias == alias)
    row = conn.execute(query).one_or_none()
    return None if row is None else Alias(**row._mapping)


def all_aliases(conn: Connection, model: str | None = None) -> list[Alias]:
    """The aliases of one model, or of all, by name."""
    query = sa.select(aliases).order_by(aliases.c.model, aliases.c.alias)
    if model is not None:
        query = query.where(aliases.c.model == model)
    return [Alias(**row._mapping) for row in conn.execute(query)]


def live_numbers(conn: Connection, model: str) -> dict[str, int]:
    """Which version each endpoint of a model serves: the newest revision of its rollouts."""
    query = (sa.select(rollouts.c.endpoint, rollouts.c.version)
             .where(rollouts.c.model == model).order_by(rollouts.c.revision))
    return {row.endpoint: row.version for row in conn.execute(query)}


def serving(conn: Connection, model: str) -> set[int]:
    """The versions of a model that requests reach at any endpoint: what is live, and what is tried beside it."""
    beside = conn.execute(sa.select(stages.c.version).where(stages.c.model == model, stages.c.version.is_not(None)))
    return {*live_numbers(conn, model).values(), *beside.scalars()}


def no_model(conn: Connection, model: str) -> NotFound:
    """The error for a model that nothing is registered under."""
    return NotFound(f"no model {model!r} is registered here. {near(model, model_names(conn))}", model=model)


def row_of(version: Version) -> dict[str, Any]:
    """The table row of a version."""
    return {
        "model": version.model, "number": version.number, "digest": version.digest,
        "manifest": canon.dumps(version.manifest.to_json()).decode(), "key_id": version.key_id,
        "signature": version.signature, "gates": version.gates, "evaluation": version.evaluation, "run": version.run,
        "note": version.note, "facts": canon.dumps(version.facts).decode(), "created_at": version.created_at,
        "created_by": version.created_by, "deleted_at": version.deleted_at,
    }


def version_of(row: Mapping[Any, Any]) -> Version:
    """The version that a table row tells of."""
    facts = canon.loads(row["facts"])
    assert isinstance(facts, dict)
    gates: GateVerdict = row["gates"]
    return Version(
        model=row["model"], number=row["number"], digest=Digest(row["digest"]),
        manifest=manifest_of(canon.loads(row["manifest"])), key_id=row["key_id"], signature=row["signature"],
        gates=gates, evaluation=None if row["evaluation"] is None else Digest(row["evaluation"]), run=row["run"],
        note=row["note"], created_at=row["created_at"], created_by=row["created_by"], deleted_at=row["deleted_at"],
        facts=facts)


def manifest_of(value: Any) -> Manifest:
    """The inverse of `Manifest.to_json`."""
    made_from = value["ingredients"]
    return Manifest(
        flavor=value["flavor"], types=tuple(value["trusted"]),
        files={path: Digest(file["digest"]) for path, file in value["files"].items()},
        sizes={path: int(file["bytes"]) for path, file in value["files"].items()},
        ingredients=Ingredients(**{name: Digest(made_from[name])
                                   for name in ("code", "data", "config", "environment")}))
