"""SQLite in memory, SQLite in a file and PostgreSQL sit the same exam."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from trimtab.errors import NotFound, StoreNewer, StoreUnreachable, TrimtabError, UsageError
from trimtab.store import migrate
from trimtab.store.backup import copy_database
from trimtab.store.db import Database
from trimtab.store.schema import metadata, step_cache
from trimtab.testing import DatabaseExam


class TestDatabase(DatabaseExam):
    """On each kind of backend (the `db` fixture)."""

    @pytest.fixture
    def other(self, db: Database) -> Iterator[Database | None]:
        if db.is_sqlite and not db.url.database:
            yield None
            return
        again = Database(db.url.render_as_string(hide_password=False))
        yield again
        again.close()


def test_thirty_two_processes_write_to_one_sqlite_file_without_a_locked_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'trimtab.db'}"
    db = Database(url)
    migrate.upgrade(db)
    writer = textwrap.dedent("""
        import sys
        from trimtab.store.db import Database
        from trimtab.store.schema import step_cache
        db = Database(sys.argv[1])
        for n in range(5):
            with db.write() as conn:
                conn.execute(step_cache.insert().values(key=f"{sys.argv[2]}-{n}", project="p", step="s",
                             components="{}", outputs="{}", created_at="", used_at=""))
    """)
    processes = [subprocess.Popen([sys.executable, "-c", writer, url, str(number)], stderr=subprocess.PIPE, text=True)
                 for number in range(32)]
    errors = [process.communicate(timeout=300)[1] for process in processes]
    assert [error for error in errors if error] == []
    with db.read() as conn:
        assert conn.execute(sa.select(sa.func.count()).select_from(step_cache)).scalar_one() == 32 * 5
    db.close()


def test_a_newer_workspace_is_refused_with_a_sentence(db: Database) -> None:
    with db.write() as conn:
        conn.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreNewer, match=r"written by a newer trimtab.*pip install -U trimtab"):
        migrate.check(db)


def test_an_empty_database_is_not_a_workspace(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path / 'empty.db'}")
    with pytest.raises(NotFound, match="trimtab init"):
        migrate.check(db)
    db.close()


def test_an_upgrade_that_is_interrupted_leaves_nothing_behind(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path / 'trimtab.db'}")

    def interrupted() -> None:
        with db.write() as conn:
            migrate._run_alembic(conn)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert migrate.is_empty(db)
    migrate.upgrade(db)
    migrate.check(db)
    db.close()


@pytest.mark.parametrize(("url", "kind", "text"), [
    ("mysql://host/db", UsageError, "'mysql' is not supported"),
    ("no url at all", UsageError, "can't be read"),
    ("postgresql://nobody@127.0.0.1:9/none", StoreUnreachable, "does not answer"),
    ("sqlite:////proc/nowhere/trimtab.db", StoreUnreachable, "can't be used"),
])
def test_a_database_that_can_not_be_used_is_said_so(url: str, kind: type[TrimtabError], text: str) -> None:
    if url.startswith("postgresql"):
        pytest.importorskip("psycopg")

    def use() -> None:
        with Database(url).read() as conn:
            conn.execute(sa.text("SELECT 1"))

    with pytest.raises(kind, match=text):
        use()


def test_a_password_is_never_shown() -> None:
    pytest.importorskip("psycopg")
    assert "geheim" not in Database("postgresql://me:geheim@127.0.0.1/db").shown_url


def test_a_file_that_is_no_database_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "trimtab.db").write_bytes(b"this is not a database at all, " * 100)
    db = Database(f"sqlite:///{tmp_path / 'trimtab.db'}")
    with pytest.raises(StoreUnreachable, match="is damaged, so nothing was read or changed"):
        migrate.check(db)


def test_a_copy_holds_the_same_rows_in_any_kind_of_database(db: Database, tmp_path: Path) -> None:
    with db.write() as conn:
        conn.execute(step_cache.insert(), [
            {"key": f"k{n}", "project": "p", "step": "s", "components": "{}", "outputs": "{}", "created_at": "",
             "used_at": ""} for n in range(5000)])
    copy = Database(f"sqlite:///{tmp_path / 'copy.db'}")
    counts = copy_database(db, copy)
    assert counts["step_cache"] == 5000
    for table in metadata.sorted_tables:
        order = list(table.primary_key.columns)
        with db.read() as conn:
            want = conn.execute(sa.select(table).order_by(*order)).all()
        with copy.read() as conn:
            assert conn.execute(sa.select(table).order_by(*order)).all() == want
    with pytest.raises(TrimtabError, match="holds a workspace already"):
        copy_database(db, copy)
    copy.close()


def test_sqlite_syncs_each_commit_to_disk(tmp_path: Path) -> None:
    """`synchronous=FULL` in WAL mode fsyncs the log before a commit returns."""
    db = Database(f"sqlite:///{tmp_path / 'trimtab.db'}")
    with db.read() as conn:
        assert conn.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2
        assert conn.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
    db.close()
    assert sqlite3.connect(tmp_path / "trimtab.db").execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.parametrize("url", ["postgresql://nobody@127.0.0.1:9/none", "sqlite:////proc/nowhere/trimtab.db"])
def test_a_database_that_is_away_is_told_without_its_address(url: str) -> None:
    """The same sentence goes out over HTTP."""
    if url.startswith("postgresql"):
        pytest.importorskip("psycopg")
    with pytest.raises(StoreUnreachable) as caught, Database(url).read() as conn:
        conn.execute(sa.text("SELECT 1"))
    assert not any(part in str(caught.value) for part in ("127.0.0.1", "nobody", "/proc", ":9"))
