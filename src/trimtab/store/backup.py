"""How is a workspace's whole database copied while it is used?

`copy_database` reads every table in one snapshot and writes it into another, empty database of any kind, in one
transaction: the same verb backs up, restores, and moves between SQLite and PostgreSQL.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from trimtab.errors import Conflict
from trimtab.store import migrate
from trimtab.store.db import Database
from trimtab.store.schema import metadata

_BATCH_ROWS = 2000


def copy_database(source: Database, target: Database) -> dict[str, int]:
    """Copy all rows of all tables; returns the number of rows by table. Raises Conflict on a target that is in use."""
    if not migrate.is_empty(target):
        raise Conflict(f"{target.shown_url} holds a workspace already; name an empty database")
    migrate.upgrade(target)
    counts: dict[str, int] = {}
    with target.write() as into:
        _empty(into)
        # Another database's block inside this one: only blocks of one database don't nest.
        with source.read() as conn:
            for table in metadata.sorted_tables:
                counts[table.name] = _copy_table(conn, into, table)
        if not target.is_sqlite:
            _continue_numbering(into)
    return counts


def _empty(conn: Connection) -> None:
    for table in reversed(metadata.sorted_tables):
        conn.execute(table.delete())           # the first journal head that the migration wrote


def _copy_table(conn: Connection, into: Connection, table: sa.Table) -> int:
    count = 0
    with conn.execution_options(yield_per=_BATCH_ROWS).execute(sa.select(table)) as rows:
        for batch in rows.partitions(_BATCH_ROWS):
            into.execute(table.insert(), [dict(row._mapping) for row in batch])
            count += len(batch)
    return count


def _continue_numbering(conn: Connection) -> None:
    """PostgreSQL's own counters don't notice rows that bring their number."""
    for table in metadata.sorted_tables:
        column = table.autoincrement_column
        if column is not None and column.autoincrement is True:
            conn.execute(sa.text(
                f"SELECT setval(pg_get_serial_sequence('{table.name}', '{column.name}'), "
                f"COALESCE((SELECT MAX({column.name}) FROM {table.name}), 0) + 1, false)"))
