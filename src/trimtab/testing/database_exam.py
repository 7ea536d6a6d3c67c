"""Does a database keep what `store.db.Database` promises?  The published exam that every backend sits.

Subclass it in a test module with a `db` fixture that gives a fresh, migrated `Database`, and an `other` fixture that
opens the same one again where the backend is shared between processes (else None).
"""

from __future__ import annotations

import threading

import pytest
import sqlalchemy as sa

from trimtab.store import migrate
from trimtab.store.db import Database
from trimtab.store.schema import metadata, step_cache


def _row(key: str) -> dict[str, str]:
    return {"key": key, "project": "p", "step": "s", "components": "{}", "outputs": "{}", "created_at": "",
            "used_at": ""}


class DatabaseExam:
    """The promises, one test each."""

    def test_a_committed_block_is_seen_by_the_next_reader(self, db: Database) -> None:
        with db.write() as conn:
            conn.execute(step_cache.insert().values(_row("a")))
        with db.read() as conn:
            assert conn.execute(sa.select(step_cache.c.key)).scalars().all() == ["a"]

    def test_a_block_that_raises_leaves_no_trace(self, db: Database) -> None:
        def half_done() -> None:
            with db.write() as conn:
                conn.execute(step_cache.insert().values(_row("a")))
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            half_done()
        with db.read() as conn:
            assert conn.execute(sa.select(sa.func.count()).select_from(step_cache)).scalar_one() == 0

    def test_blocks_do_not_nest(self, db: Database) -> None:
        with db.read(), pytest.raises(RuntimeError, match="don't nest"), db.write():
            pass
        with db.write() as conn:                      # and the refusal left the database usable
            conn.execute(step_cache.insert().values(_row("a")))

    def test_concurrent_writers_wait_for_each_other_and_lose_nothing(self, db: Database) -> None:
        errors: list[BaseException] = []

        def write(writer: int) -> None:
            try:
                for number in range(10):
                    with db.write() as conn:
                        conn.execute(step_cache.insert().values(_row(f"{writer}-{number}")))
            except BaseException as problem:  # noqa: BLE001  (a thread's outermost frame; re-raised below)
                errors.append(problem)

        threads = [threading.Thread(target=write, args=(writer,)) for writer in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        with db.read() as conn:
            assert conn.execute(sa.select(sa.func.count()).select_from(step_cache)).scalar_one() == 80

    def test_a_reader_keeps_one_snapshot_while_another_connection_writes(self, db: Database,
                                                                         other: Database | None) -> None:
        if other is None:
            return                                    # in memory there is no second connection to write with
        with db.read() as conn:
            count = sa.select(sa.func.count()).select_from(step_cache)
            assert conn.execute(count).scalar_one() == 0
            with other.write() as writer:
                writer.execute(step_cache.insert().values(_row("a")))
            assert conn.execute(count).scalar_one() == 0
        with db.read() as conn:
            assert conn.execute(count).scalar_one() == 1

    def test_text_of_any_script_and_exact_numbers_come_back(self, db: Database) -> None:
        with db.write() as conn:
            conn.execute(step_cache.insert().values({**_row("键"), "outputs": '{"值":0.1}'}))
        with db.read() as conn:
            row = conn.execute(sa.select(step_cache)).one()
        assert (row.key, row.outputs) == ("键", '{"值":0.1}')

    def test_the_migrated_tables_are_the_ones_that_the_code_knows(self, db: Database) -> None:
        from alembic.autogenerate import compare_metadata
        from alembic.migration import MigrationContext

        with db.read() as conn:
            assert compare_metadata(MigrationContext.configure(conn), metadata) == []

    def test_migrating_again_changes_nothing(self, db: Database) -> None:
        migrate.upgrade(db)
        migrate.check(db)
        assert not migrate.is_empty(db)
