"""Where is everything that trimtab knows?  Opens a workspace and wires its rooms; holds no logic of theirs.

A workspace is one folder (`.trimtab/`), found like git finds its own: the nearest one upwards. Its database is
`trimtab.db` in that folder, or a PostgreSQL named by `TRIMTAB_DATABASE` or by the folder's `workspace.toml`. Reading
never creates a workspace.
"""

from __future__ import annotations

import getpass
import os
import time
import tomllib
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from trimtab.clock import Clock, SystemClock
from trimtab.config import parse_notify, quote
from trimtab.errors import ConfigInvalid, NotFound, StoreUnreachable
from trimtab.ids import Ids
from trimtab.keys import Keyring
from trimtab.sections import Notify
from trimtab.store import migrate
from trimtab.store.blobs_local import LocalBlobs
from trimtab.store.db import Database
from trimtab.store.journal import Journal
from trimtab.store.leases import Leases

if TYPE_CHECKING:
    from datetime import datetime

    import polars as pl
    from sqlalchemy.engine import Connection

    from trimtab.data.versions import Datasets
    from trimtab.loop.decisions import Decisions
    from trimtab.loop.notices import Notices
    from trimtab.loop.policies import Policies
    from trimtab.monitor.alerts import Alerts
    from trimtab.monitor.monitor import Monitor
    from trimtab.registry.aliases import Aliases
    from trimtab.registry.versions import Versions
    from trimtab.serving.answering import Recorder
    from trimtab.serving.engine import Engine, Log
    from trimtab.serving.rollout import Rollouts
    from trimtab.serving.shadow import Shadow
    from trimtab.serving.stages import Stages
    from trimtab.tracking.runs import Runs
    from trimtab.traffic.labels import Labels
    from trimtab.traffic.query import Traffic
    from trimtab.traffic.tables import Tables

FOLDER = ".trimtab"
SETTINGS = "workspace.toml"
FOLLOWS = "moves with the rollout"             # why `champion` moved, where a rollout moved it


def find(start: Path | None = None) -> Path | None:
    """The nearest `.trimtab/` in `start` (default: the current folder) or above it."""
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / FOLDER).is_dir():
            return folder / FOLDER
    return None


def locate(named: str | Path | None = None, start: Path | None = None) -> Path:
    """The workspace's folder: as named, else `TRIMTAB_WORKSPACE`, else the nearest upwards, else `./.trimtab`."""
    named = named or os.environ.get("TRIMTAB_WORKSPACE") or None
    if named:
        return Path(named).absolute()
    return find(start) or (start or Path.cwd()).absolute() / FOLDER


def default_actor() -> str:
    """Who acts here: `TRIMTAB_USER`, else the operating system's name for the user."""
    try:
        return os.environ.get("TRIMTAB_USER") or getpass.getuser()
    except (KeyError, OSError):                # no such user in the system's list
        return f"uid-{os.getuid()}"


class Workspace:
    """An open workspace: the rooms over one folder, ready to use; safe to share between threads."""

    def __init__(self, folder: Path, db: Database, *, now: Clock | None = None, ids: Ids | None = None,
                 actor: str | None = None, timer: Callable[[], float] = time.perf_counter) -> None:
        self.folder, self.db = folder, db
        self.clock: Clock = now or SystemClock()
        self.timer = timer                     # what durations are measured with, in seconds
        self.ids = ids or Ids()
        self.actor = actor or default_actor()
        self.keyring = Keyring(folder / "keys")
        self.blobs = LocalBlobs(folder / "objects")
        self.journal = Journal(db, self.keyring, self.clock)
        self.leases = Leases(db, self.clock)

    @classmethod
    def open(cls, folder: Path, *, create: bool = False, database: str | None = None, now: Clock | None = None,
             ids: Ids | None = None, actor: str | None = None) -> Workspace:
        """Open the workspace in `folder`; `create` makes what is missing, wholly or not at all.

        `database`: a URL that overrides the folder's own setting and is remembered on `create`.
        Raises NotFound (no workspace there), StoreNewer, StoreUnreachable, ConfigInvalid.
        """
        if not create and not folder.is_dir():
            raise NotFound(f"there is no workspace at {folder.name}/; make one with trimtab init data.csv")
        url = database or os.environ.get("TRIMTAB_DATABASE") or _settings(folder)[0]
        if url is None and not _holds_something(folder / "trimtab.db"):
            _refuse_to_begin_anew(folder)
            if not create:
                raise NotFound(f"{folder.name}/ holds no workspace yet; make one with trimtab init data.csv")
        if create:
            _make_folder(folder, database)
        workspace = cls(folder, Database(url or f"sqlite:///{folder / 'trimtab.db'}"), now=now, ids=ids, actor=actor)
        if create:
            migrate.upgrade(workspace.db)
            workspace._first_row()
        else:
            migrate.check(workspace.db)
        return workspace

    @cached_property
    def runs(self) -> Runs:
        """What was tried."""
        from trimtab.tracking.runs import Runs

        return Runs(self.db, self.clock, self.ids)

    @cached_property
    def datasets(self) -> Datasets:
        """The dataset versions."""
        from trimtab.data.versions import Datasets

        return Datasets(self.db, self.blobs, self.journal, self.clock)

    @cached_property
    def versions(self) -> Versions:
        """The registered models."""
        from trimtab.registry.versions import Versions

        return Versions(self.db, self.blobs, self.journal, self.keyring, self.clock)

    @cached_property
    def aliases(self) -> Aliases:
        """Names on versions; moving `champion` is `promote`."""
        from trimtab.registry.aliases import Aliases

        return Aliases(self.db, self.journal, self.clock, self._promote)

    @cached_property
    def rollouts(self) -> Rollouts:
        """What is live."""
        from trimtab.serving.rollout import Rollouts

        return Rollouts(self.db, self.journal, self.clock, get=self.versions.get, verify=self.versions.verify,
                        move_champion=self._move_champion)

    @cached_property
    def stages(self) -> Stages:
        """What is tried beside what is live."""
        from trimtab.serving.stages import Stages

        return Stages(self.db, self.journal, self.clock, get=self.versions.get, verify=self.versions.verify)

    @cached_property
    def alerts(self) -> Alerts:
        """What needs a person's eye."""
        from trimtab.monitor.alerts import Alerts

        return Alerts(self.db, self.journal, self.clock, tell=self.notices.put_in)

    @cached_property
    def notices(self) -> Notices:
        """What people are to be told."""
        from trimtab.loop.notices import Notices

        return Notices(self.db, self.clock)

    @property
    def notify(self) -> Notify:
        """Who is told of all its models, as workspace.toml says now. Raises ConfigInvalid."""
        return _settings(self.folder)[1]

    @cached_property
    def decisions(self) -> Decisions:
        """What the loop decided."""
        from trimtab.loop.decisions import Decisions

        return Decisions(self.db, self.journal, self.clock)

    @cached_property
    def policies(self) -> Policies:
        """What the loop may do."""
        from trimtab.loop.policies import Policies

        return Policies(self.db, self.journal, self.clock)

    @cached_property
    def monitor(self) -> Monitor:
        """What watches the traffic of everything that is live."""
        from trimtab.monitor.baseline import baseline_of, settings_of
        from trimtab.monitor.monitor import Live, Monitor

        return Monitor(
            db=self.db, traffic=self.asked, alerts=self.alerts, now=self.clock,
            live=lambda model: [Live(endpoint=row.endpoint, version=row.version) for row in self.rollouts.all_live()
                                if row.model == model],
            baseline=lambda model, number: baseline_of(self.versions, self.datasets, self.versions.get(model, number)),
            settings=lambda model, number: settings_of(self.versions, self.versions.get(model, number)))

    def asked(self, model: str, *, since: datetime | None = None, until: datetime | None = None,
              version: int | None = None, told_after: str | None = None) -> pl.DataFrame:
        """The traffic of a model as monitoring reads it: with the labels that are known by now; of a version all that
        it computed, also where another one answered. told_after: only rows that a label came for after that moment."""
        from trimtab.traffic.query import with_labels
        from trimtab.traffic.segments import FAILED

        found = self.traffic.frame(
            model=model, since=since, until=until, version=version, shadows=version is not None,
            among=None if told_after is None else self.labels.told_after(model, told_after))
        return with_labels(found.filter(found["verdict"] != FAILED), self.labels, model)

    @cached_property
    def labels(self) -> Labels:
        """What later turned out true."""
        from trimtab.traffic.labels import Labels

        return Labels(self.db, self.clock)

    @cached_property
    def traffic(self) -> Traffic:
        """What was asked and answered, as `trimtab serve` recorded it."""
        from trimtab.traffic.query import Traffic

        return Traffic(self.folder / "traffic")

    def engine(self, *, record: Recorder | None = None, log: Log | None = None,
               shadow: type[Shadow] | None = None, memory_bytes: int | None = None) -> Engine:
        """An engine over its rollouts, not started. record: told each answer before it goes out; shadow: what computes
        along with a trial; memory_bytes: what the models may take."""
        from trimtab.serving.engine import Engine
        from trimtab.serving.fallbacks import Fallbacks
        from trimtab.serving.shadow import Shadow
        from trimtab.serving.source import RolloutSource

        source = RolloutSource(self.rollouts, self.stages, self.versions, memory_bytes)
        fallbacks = Fallbacks(self.versions, self.datasets, self.traffic, self.clock, lambda: self.redaction)
        return Engine(source, now=self.clock, ids=self.ids, log=log, record=record, shadow=shadow or Shadow,
                      secret=lambda: self.redaction, fallback=fallbacks.of)

    @cached_property
    def redaction(self) -> bytes:
        """The secret that hashes values which a contract does not let be recorded as they are; made on first use."""
        from trimtab.traffic.redaction import SECRET

        return self.keyring.secret(SECRET)

    @cached_property
    def tables(self) -> Tables:
        """The closed tables of traffic, and their digests."""
        from trimtab.traffic.tables import Tables

        return Tables(self.folder / "traffic", self.db, self.journal)

    def close(self) -> None:
        """Give the database's connections back."""
        self.db.close()

    def __enter__(self) -> Workspace:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _promote(self, model: str, number: int, *, by: str, why: str) -> object:
        return self.rollouts.promote(model, number, by=by, why=why)

    def _move_champion(self, conn: Connection, model: str, number: int, by: str) -> None:
        self.aliases.put(conn, model=model, alias="champion", number=number, by=by, why=FOLLOWS)

    def _first_row(self) -> None:
        if self.journal.head().seq:
            return
        with self.db.write() as conn:
            if self.journal.length(conn) == 0:
                self.journal.append(conn, kind="workspace.init", model="", subject="workspace", by=self.actor,
                                    why="made", body={"format": "trimtab.workspace/1"})


def _settings(folder: Path) -> tuple[str | None, Notify]:
    path = folder / SETTINGS
    if not path.is_file():
        return None, Notify()
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise ConfigInvalid(f"{SETTINGS} of the workspace is not valid TOML: {problem}") from None
    url, notify = settings.pop("database", None), settings.pop("notify", {})
    if settings or not isinstance(url, str | None):
        raise ConfigInvalid(f"{SETTINGS} of the workspace holds database = \"postgresql://…\", [notify], and nothing "
                            "else")
    return url, parse_notify(notify, SETTINGS)


def _holds_something(file: Path) -> bool:
    return file.is_file() and file.stat().st_size > 0


def _refuse_to_begin_anew(folder: Path) -> None:
    """Objects without the database that names them: somebody lost it, and a new one would hide that."""
    if any((folder / "objects").glob("??/*")):
        raise StoreUnreachable(f"{folder.name}/ holds objects, but its database trimtab.db is gone or empty. Put it "
                               "back, or restore a backup (trimtab restore FILE DIR); to begin anew, move the folder "
                               "away first")


def _make_folder(folder: Path, database: str | None) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        ignore = folder / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n")
        if database is not None and not (folder / SETTINGS).exists():
            handle = os.open(folder / SETTINGS, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)   # may hold a password
            with os.fdopen(handle, "w", encoding="utf-8") as out:
                out.write(f"database = {quote(database)}\n")
    except OSError as problem:
        raise StoreUnreachable(f"the workspace {folder.name}/ can't be made: {problem.strerror}. Name another place "
                               "with --workspace DIR") from problem
