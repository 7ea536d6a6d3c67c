"""Is the database of the shape that this trimtab knows?  If older, bring it forward; if newer, refuse.

Alembic is imported only when there is something to do. All steps run in one transaction: an upgrade happens wholly
or not at all.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from trimtab.errors import NotFound, StoreNewer
from trimtab.store.db import Database

REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006")   # oldest first; one file each in migrations/versions/
_VERSION_TABLE = "alembic_version"
_LOCK = 0x7472696D                             # any fixed number: PostgreSQL's advisory lock for "trimtab migrates"


def is_empty(db: Database) -> bool:
    """Has nobody set up a workspace in this database yet?"""
    with db.read() as conn:
        return _revision(conn) is None


def check(db: Database) -> None:
    """Raises NotFound on an empty database, StoreNewer on a newer one; an older one is upgraded."""
    with db.read() as conn:
        revision = _revision(conn)
    if revision is None:
        raise NotFound(f"there is no workspace in {db.shown_url}; make one with trimtab init")
    if revision != REVISIONS[-1]:
        upgrade(db)


def upgrade(db: Database) -> None:
    """Bring an empty or older database to the newest shape; does nothing to one that is there already."""
    with db.write() as conn:
        if not db.is_sqlite:
            conn.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
        revision = _revision(conn)
        if revision is not None and revision not in REVISIONS:
            raise StoreNewer(f"this workspace was written by a newer trimtab (its format is {revision}, this one knows "
                             f"up to {REVISIONS[-1]}); upgrade with pip install -U trimtab", revision=revision)
        if revision != REVISIONS[-1]:
            _run_alembic(conn)


def _revision(conn: Connection) -> str | None:
    if not sa.inspect(conn).has_table(_VERSION_TABLE):
        return None
    return conn.execute(sa.text(f"SELECT version_num FROM {_VERSION_TABLE}")).scalar_one_or_none()


def _run_alembic(conn: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = conn
    command.upgrade(config, "head")
