"""How do rooms reach the database?

`read()` gives one consistent snapshot, `write()` one transaction that applies wholly or not at all. SQLite waits for
its one writer instead of answering "locked"; PostgreSQL is reached by URL. Blocks don't nest: pass the connection on.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.pool import StaticPool

from trimtab.errors import Busy, MissingExtra, StoreFull, StoreUnreachable, TrimtabError, UsageError

_BUSY_MS = 60_000
_POSTGRES_CONNECT_S = 5


class Database:
    """One database by URL: `sqlite://` (in memory), `sqlite:///file`, `postgresql://…`.

    Promises: safe to share between threads; files and servers also between processes. A block that raises leaves no
    trace. A commit is on disk (fsync) when `write()` returns. Raises StoreUnreachable, StoreFull, Busy.
    """

    def __init__(self, url: str) -> None:
        self.url = _parse(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._in_memory = self.is_sqlite and not self.url.database
        self._turn = threading.Lock()          # one writer a process; in memory: one block at a time
        self._inside = threading.local()
        self._engine = self._make_engine()

    @property
    def shown_url(self) -> str:
        """The URL without its password."""
        return self.url.render_as_string(hide_password=True)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A read-only block over one snapshot."""
        with self._block(lock=self._in_memory, write=False) as conn:
            yield conn

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction: committed when the block ends, rolled back when it raises."""
        with self._block(lock=self.is_sqlite, write=True) as conn:
            yield conn

    def close(self) -> None:
        """Give back all connections."""
        self._engine.dispose()

    @contextmanager
    def _block(self, *, lock: bool, write: bool) -> Iterator[Connection]:
        if getattr(self._inside, "busy", False):
            raise RuntimeError("database blocks don't nest: hand the open connection on")
        if lock and not self._turn.acquire(timeout=_BUSY_MS / 1000):
            raise Busy("another thread has been writing to the workspace for a minute; try again")
        self._inside.busy = True
        try:
            with self._connect() as conn:
                if write:
                    conn = conn.execution_options(trimtab_write=True)
                elif not self.is_sqlite:
                    conn = conn.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
                with _told_plainly(), conn.begin():
                    yield conn
        finally:
            self._inside.busy = False
            if lock:
                self._turn.release()

    def _read_only_file(self) -> Path | None:
        """The database's file where it, or its folder, may only be read; an auditor's copy is such a one."""
        if self._in_memory:
            return None
        path = Path(str(self.url.database))
        writable = os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
        return path.absolute() if path.is_file() and not writable else None

    def _connect(self) -> Connection:
        with _told_plainly():
            return self._engine.connect()

    def _make_engine(self) -> Engine:
        if not self.is_sqlite:
            try:
                import psycopg  # noqa: F401
            except ImportError:
                raise MissingExtra(
                    "a postgresql:// workspace needs psycopg: pip install 'trimtab[postgres]'") from None
            return sa.create_engine(
                self.url, pool_pre_ping=True, pool_size=5, max_overflow=10,
                connect_args={"connect_timeout": _POSTGRES_CONNECT_S, "application_name": "trimtab"})
        options: dict[str, Any] = {"connect_args": {"timeout": _BUSY_MS / 1000, "check_same_thread": False}}
        if self._in_memory:
            options["poolclass"] = StaticPool
        if (path := self._read_only_file()) is not None:
            options["creator"] = lambda: _open_read_only(path)
            engine = sa.create_engine(self.url, **options)
        else:
            engine = sa.create_engine(self.url, **options)
            event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine


def insert_new(conn: Connection, table: sa.Table, values: dict[str, object]) -> bool:
    """Insert a row unless its key is taken, also by a transaction under way; True where it was inserted."""
    insert: Any
    if conn.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert
    else:
        from sqlalchemy.dialects.sqlite import insert
    made = insert(table).values(values).on_conflict_do_nothing().returning(*table.primary_key.columns)
    return conn.execute(made).first() is not None


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise UsageError("the database URL can't be read; write sqlite:///file or "
                         "postgresql://user@host/name") from None
    backend = parsed.get_backend_name()
    if backend == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    if backend == "sqlite":
        return parsed
    raise UsageError(f"database {backend!r} is not supported; use sqlite:///file or postgresql://user@host/name")


def _open_read_only(path: Path) -> sqlite3.Connection:
    """SQLite wants to write beside a database even to read it, unless it is told that nobody changes it.

    Where a write-ahead log lies beside it somebody may be at work, and that promise is not made.
    """
    log = path.with_name(path.name + "-wal")
    still = "" if log.is_file() and log.stat().st_size else "&immutable=1"
    return sqlite3.connect(f"file:{quote(str(path))}?mode=ro{still}", uri=True, check_same_thread=False,
                           timeout=_BUSY_MS / 1000, isolation_level=None)


def _set_up_sqlite(raw: sqlite3.Connection, _record: object) -> None:
    raw.isolation_level = None                 # we say BEGIN ourselves
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={_BUSY_MS}"):
        raw.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(conn: Connection) -> None:
    write = conn.get_execution_options().get("trimtab_write", False)
    conn.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


@contextmanager
def _told_plainly() -> Iterator[None]:
    """Turn a driver's error into one that says what to do; our own errors pass.

    It names no address and no path: the same sentence is told over HTTP.
    """
    try:
        yield
    except TrimtabError:
        raise
    except DBAPIError as problem:
        _tell(problem)


def _tell(problem: DBAPIError) -> NoReturn:
    text = str(problem.orig).lower()
    if "database is locked" in text or "database is busy" in text:
        raise Busy("the workspace's database has been busy for a minute; try again") from problem
    if "disk is full" in text or "no space left" in text or "disk full" in text:
        raise StoreFull("no space is left for the workspace's database; free some, then repeat") from problem
    gone = isinstance(problem, OperationalError) or problem.connection_invalidated
    if gone and not isinstance(problem.orig, sqlite3.OperationalError):
        raise StoreUnreachable("the workspace's database does not answer; start it, then repeat") from problem
    if "not a database" in text or "malformed" in text:
        raise StoreUnreachable("the workspace's database is damaged, so nothing was read or changed; restore a backup "
                               "(trimtab restore FILE DIR) in its place") from problem
    if any(sign in text for sign in ("unable to open", "readonly", "disk i/o")):
        raise StoreUnreachable(f"the workspace's database can't be used: {problem.orig}. Check its folder's "
                               "permissions, or restore it from a backup") from problem
    raise problem
