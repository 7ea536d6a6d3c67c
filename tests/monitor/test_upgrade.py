"""A workspace from before monitoring gets its tables and loses nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from trimtab.store import migrate
from trimtab.store.db import Database
from trimtab.store.schema import alerts, step_cache, windows


def test_an_older_database_keeps_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from alembic import command

    db = Database(f"sqlite:///{tmp_path / 'trimtab.db'}")
    real = command.upgrade
    monkeypatch.setattr(command, "upgrade", lambda config, target: real(config, "0001"))
    migrate.upgrade(db)
    monkeypatch.undo()
    kept = {"key": "k", "project": "p", "step": "s", "components": "{}", "outputs": "{}", "created_at": "",
            "used_at": ""}
    with db.write() as conn:
        conn.execute(step_cache.insert().values(kept))
        assert not sa.inspect(conn).has_table("alerts")
    migrate.check(db)                                  # what every opening does
    with db.read() as conn:
        assert dict(conn.execute(sa.select(step_cache)).one()._mapping) == kept
        assert conn.execute(sa.select(alerts)).all() == []
        assert conn.execute(sa.select(windows)).all() == []
    db.close()
