"""Where does a test get a database from?

`db` runs a test on in-memory SQLite, on a SQLite file and on a real PostgreSQL 15 or later; `postgres_url` is a fresh,
empty PostgreSQL database. The server is started once per test process, on a private port in a temporary folder, as an
unprivileged user, and is ended with it, also when the process is killed. Where it can't be had, its tests are skipped
and the run says so loudly at its end; with TRIMTAB_REQUIRE_POSTGRES=1 they fail instead.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")               # test workers share the cores instead of fighting for them
os.environ["POLARS_MAX_THREADS"] = os.environ.get("POLARS_MAX_THREADS", "2")
os.environ["COLUMNS"] = "100"
os.environ["NO_COLOR"] = "1"
for variable in ("TRIMTAB_WORKSPACE", "FORCE_COLOR"):
    os.environ.pop(variable, None)

# A shared machine is slow now and then. CI draws the same examples each time: a change is not stopped by a find that is
# not its own; everybody else's runs go on searching.
settings.register_profile("trimtab", deadline=None, database=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("trimtab")

UNTESTED = "PostgreSQL was NOT TESTED"
KINDS = ("sqlite-memory", "sqlite-file", "postgres")


class PostgresMissing(Exception):
    """No server can be started here; the message says why."""


class PostgresServer:
    """A PostgreSQL server of the tests' own: private port, temporary folder, nothing fsynced. A context manager."""

    def __init__(self) -> None:
        self._bin = _binaries()
        self._folder = Path(tempfile.mkdtemp(prefix="trimtab-pg-"))
        self._as: dict[str, Any] = _unprivileged()
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0
        if self._as:
            os.chown(self._folder, self._as["user"], self._as["group"])

    def __enter__(self) -> PostgresServer:
        try:
            self._initdb()
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.send_signal(2)               # SIGINT: end sessions, shut down at once
            try:
                self._process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def url(self, database: str = "postgres") -> str:
        """URL of a database on this server."""
        return f"postgresql://trimtab@127.0.0.1:{self._port}/{database}"

    def execute(self, statement: str) -> None:
        """Run one statement in the maintenance database, outside a transaction."""
        import psycopg

        with psycopg.connect(self.url(), autocommit=True, connect_timeout=10) as connection:
            connection.execute(statement)

    def _initdb(self) -> None:
        made = subprocess.run(
            [self._bin / "initdb", "-D", self._folder / "data", "-U", "trimtab", "-A", "trust", "-E", "UTF8",
             "--locale=C", "--no-sync", "--no-instructions"],
            capture_output=True, text=True, cwd=self._folder, timeout=120, check=False, **self._as)
        if made.returncode:
            raise PostgresMissing(f"initdb failed: {made.stderr.strip()[-400:]}")

    def _start(self) -> None:
        dies_with_us = ["setpriv", "--pdeathsig", "QUIT", "--"] if shutil.which("setpriv") else []
        options = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off",
                   "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "120",
                   "shared_buffers": "32MB", "autovacuum": "off"}
        flags = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        log = self._folder / "log"
        for _ in range(5):                             # a free port may be taken before the server has it
            self._port = _free_port()
            with log.open("wb") as out:
                self._process = subprocess.Popen(
                    [*dies_with_us, self._bin / "postgres", "-D", self._folder / "data", "-p", str(self._port), *flags],
                    stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=self._folder, **self._as)
            if self._answers():
                return
        raise PostgresMissing(f"the server did not start: {log.read_text(errors='replace')[-400:]}")

    def _answers(self) -> bool:
        import psycopg

        assert self._process is not None
        until = time.monotonic() + 60
        while time.monotonic() < until and self._process.poll() is None:
            try:
                self.execute("select 1")
                return True
            except psycopg.OperationalError:
                time.sleep(0.05)
        self._process.kill()
        self._process.wait()
        return False


def _binaries() -> Path:
    """The folder of the newest PostgreSQL's programs: Debian's places first, then PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("postgres")
    if not found and not on_path:
        raise PostgresMissing("it is not installed; `apt-get install postgresql` brings it")
    return found[-1].parent if found else Path(str(on_path)).resolve().parent


def _unprivileged() -> dict[str, Any]:
    """How to start a program as somebody else: PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return {}
    import pwd

    for name in ("postgres", "nobody"):
        try:
            who = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": who.pw_uid, "group": who.pw_gid, "extra_groups": []}
    raise PostgresMissing("we are root and there is neither a user postgres nor nobody to run it as")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One server for all tests of this process; skips, or fails where PostgreSQL is required."""
    try:
        import psycopg  # noqa: F401

        server = PostgresServer().__enter__()
    except (PostgresMissing, ImportError) as why:
        if os.environ.get("TRIMTAB_REQUIRE_POSTGRES") == "1":
            pytest.fail(f"{UNTESTED}, and TRIMTAB_REQUIRE_POSTGRES=1: {why}", pytrace=False)
        pytest.skip(f"{UNTESTED}: {why}")
    try:
        yield server
    finally:
        server.__exit__()


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """URL of a new, empty PostgreSQL database, dropped after the test."""
    name = f"t_{uuid.uuid4().hex}"
    postgres_server.execute(f"create database {name}")
    yield postgres_server.url(name)
    postgres_server.execute(f"drop database if exists {name} with (force)")


def database_url(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """URL of a fresh, empty database of that kind."""
    if kind == "postgres":
        return str(request.getfixturevalue("postgres_url"))
    return "sqlite://" if kind == "sqlite-memory" else f"sqlite:///{tmp_path / 'trimtab.db'}"


@pytest.fixture(params=KINDS)
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """A fresh `Database` with the current schema, on each kind of backend in turn."""
    from trimtab.store import migrate
    from trimtab.store.db import Database

    database = Database(database_url(request.param, tmp_path, request))
    try:
        migrate.upgrade(database)
        yield database
    finally:
        database.close()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say loudly what was not tested."""
    reasons = {str(report.longrepr[2]) for report in terminalreporter.stats.get("skipped", [])
               if isinstance(report.longrepr, tuple) and UNTESTED in report.longrepr[2]}
    for reason in sorted(reasons):
        terminalreporter.write_line("")
        terminalreporter.write_line(f"!!! {reason.removeprefix('Skipped: ')} !!!", red=True, bold=True)
