"""A registry on each kind of database, and versions to put into it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from trimtab.canon import Digest
from trimtab.clock import FixedClock
from trimtab.keys import Keyring
from trimtab.registry.aliases import Aliases
from trimtab.registry.model import Ingredients, Version
from trimtab.registry.versions import Versions
from trimtab.store import migrate
from trimtab.store.blobs import put_json
from trimtab.store.blobs_local import LocalBlobs
from trimtab.store.db import Database
from trimtab.store.journal import Journal
from trimtab.store.schema import rollouts


@dataclass
class Registry:
    """What a workspace wires, without its folder."""

    db: Database
    blobs: LocalBlobs
    keyring: Keyring
    clock: FixedClock
    journal: Journal
    versions: Versions
    aliases: Aliases

    def register(self, model: str = "risk", weights: bytes = b"weights", **more: Any) -> Version:
        """A small version whose bytes are `weights`."""
        self.clock.advance(minutes=1)
        given: dict[str, Any] = {
            "flavor": "sklearn", "types": ("sklearn.linear_model._base.LinearRegression",),
            "ingredients": self.ingredients(), "facts": {"task": "regression", "candidate": "linear"},
            "by": "ada", **more}
        return self.versions.register(model, {"model.skops": weights, "contract.toml": b"# contract\n"}, **given)

    def ingredients(self, **words: str) -> Ingredients:
        """Four small blobs."""
        return Ingredients(**{name: put_json(self.blobs, {"what": name, "is": words.get(name, "")})
                              for name in ("code", "data", "config", "environment")})

    def roll_out(self, number: int, *, model: str = "risk", endpoint: str = "production", verb: str = "deploy",
                 by: str = "ada", why: str = "") -> None:
        """What `serving/rollout.py` leaves in the store: a journal row, a rollout, and the moved champion."""
        self.clock.advance(minutes=1)
        with self.db.write() as conn:
            told = [row for row in conn.execute(rollouts.select().order_by(rollouts.c.revision)).all()
                    if (row.model, row.endpoint) == (model, endpoint)]
            row = self.journal.append(
                conn, kind=f"rollout.{verb}", model=model, subject=endpoint, by=by, why=why,
                body={"endpoint": endpoint, "from": told[-1].version if told else None, "to": number,
                      "revision": len(told) + 1})
            if endpoint == "production":
                self.aliases.put(conn, model=model, alias="champion", number=number, by=by, why=why)
            conn.execute(rollouts.insert().values(
                model=model, endpoint=endpoint, revision=len(told) + 1, version=number, verb=verb, at=row.at, by=by,
                why=why, journal_seq=row.seq))

    def blob_file(self, digest: str) -> Path:
        """Where the bytes of a digest are, to tamper with."""
        with self.blobs.open(Digest(digest)) as source:
            return Path(source.name)


def open_registry(database: Database, folder: Path) -> Registry:
    """The rooms on one database and folder."""
    clock, keyring, blobs = FixedClock(), Keyring(folder / "keys"), LocalBlobs(folder / "objects")
    journal = Journal(database, keyring, clock)
    versions = Versions(database, blobs, journal, keyring, clock)
    promoted: list[Callable[..., None]] = []
    aliases = Aliases(database, journal, clock, lambda model, number, **told: promoted[0](number, model=model,
                                                                                          verb="promote", **told))
    registry = Registry(database, blobs, keyring, clock, journal, versions, aliases)
    promoted.append(registry.roll_out)
    return registry


@pytest.fixture
def reg(tmp_path: Path) -> Iterator[Registry]:
    """A registry in memory."""
    database = Database("sqlite://")
    migrate.upgrade(database)
    yield open_registry(database, tmp_path)
    database.close()


@pytest.fixture
def every(db: Database, tmp_path: Path) -> Registry:
    """A registry on each kind of database in turn."""
    migrate.upgrade(db)
    return open_registry(db, tmp_path)
