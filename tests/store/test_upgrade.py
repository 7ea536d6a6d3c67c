"""A workspace of any earlier release is brought forward, and keeps every row."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from trimtab.store import migrate
from trimtab.store.db import Database
from trimtab.store.schema import metadata, step_cache

ROW = {"key": "k", "project": "风险", "step": "train", "components": "{}", "outputs": "{}", "created_at": "2026",
       "used_at": "2026"}


def older(db: Database, revision: str) -> None:
    """An empty database, brought to an older shape."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrate.__file__).parent / "migrations"))
    with db.write() as conn:
        config.attributes["connection"] = conn
        command.upgrade(config, revision)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
@pytest.mark.parametrize("revision", migrate.REVISIONS[:-1])
def test_an_older_workspace_is_upgraded_and_keeps_its_rows(tmp_path: Path, request: pytest.FixtureRequest, kind: str,
                                                           revision: str) -> None:
    url = request.getfixturevalue("postgres_url") if kind == "postgres" else f"sqlite:///{tmp_path / 'trimtab.db'}"
    db = Database(url)
    older(db, revision)
    with db.write() as conn:
        conn.execute(step_cache.insert().values(**ROW))
    migrate.check(db)
    with db.read() as conn:
        assert dict(conn.execute(sa.select(step_cache)).one()._mapping) == ROW
        assert set(metadata.tables) <= set(sa.inspect(conn).get_table_names())
    db.close()


def test_one_decision_a_key(db: Database) -> None:
    """The same policy on the same evidence is decided once, whoever asks."""
    from sqlalchemy.exc import IntegrityError

    from trimtab.store.schema import decisions

    told = {"model": "risk", "endpoint": "production", "at": "", "key": "k", "action": "none", "reason": "",
            "evidence": "{}", "state": "decided"}
    with db.write() as conn:
        conn.execute(decisions.insert().values(id="d-1", **told))
    with pytest.raises(IntegrityError), db.write() as conn:
        conn.execute(decisions.insert().values(id="d-2", **told))
