"""Are the closed tables of traffic what they were when they were closed, and which are old enough to go?

Each table's digest goes into the journal (`traffic.close`), by whoever meets a table that has no row yet: so one that
was closed while the database was away is noted later. A table that is deleted by age gets its row first
(`traffic.forget`), and is removed after; a crash in between is made good by the next turn.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from trimtab import clock
from trimtab.errors import DigestMismatch
from trimtab.store.db import Database
from trimtab.store.journal import Journal
from trimtab.store.schema import journal

CLOSED: Final = "traffic.close"
FORGOTTEN: Final = "traffic.forget"
Watched = Callable[[str, str, int], str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Aged:
    """A table that is old enough to go. kept: why it stays all the same, "" where it goes."""

    name: str                                 # <writer>/<number>.parquet
    rows: int
    from_at: str
    to_at: str
    kept: str = ""

    def to_json(self) -> dict[str, object]:
        """As `gc --json` prints it."""
        return {"table": self.name, "rows": self.rows, "from_at": self.from_at, "to_at": self.to_at, "kept": self.kept}


class Tables:
    """The closed tables of one workspace, in `folder` (`<workspace>/traffic`)."""

    def __init__(self, folder: Path, db: Database, journal: Journal) -> None:
        self._folder, self._db, self._journal = folder, db, journal

    def note(self, *, by: str) -> int:
        """Give each table that has none its row in the journal; how many were given."""
        known, count = self._told(), 0
        for name in sorted(self._there() - known.keys()):
            told = {"digest": _digest(self._folder / name), **_extent(self._folder / name)}
            with self._db.write() as conn:
                self._journal.length(conn)     # others wait here, and then see this row
                if conn.execute(sa.select(journal.c.seq).where(journal.c.kind == CLOSED,
                                                               journal.c.subject == name)).first() is None:
                    self._journal.append(conn, kind=CLOSED, model="", subject=name, by=by, body=told)
                    count += 1
        return count

    def verify(self) -> int:
        """How many tables are what the journal says. Raises DigestMismatch naming the first that changed or is gone."""
        good = 0
        for name, row in sorted(self._told().items()):
            if row["kind"] == FORGOTTEN:
                continue
            path = self._folder / name
            if not path.is_file():
                raise DigestMismatch(f"the table {name} of traffic is gone, and no row of the journal says that it was "
                                     "deleted. Restore it from a backup.", table=name)
            if (found := _digest(path)) != row["digest"]:
                raise DigestMismatch(f"the table {name} of traffic is not the one that was closed: expected "
                                     f"{str(row['digest'])[:19]}…, found {found[:19]}…. Restore it from a backup.",
                                     table=name)
            good += 1
        return good

    def forget(self, before: datetime, *, by: str, why: str, watched: Watched, dry_run: bool = False) -> list[Aged]:
        """Delete the tables whose rows are all older than `before`, each with its row in the journal; also those that
        stay, and why. watched: up to when (a time text) the rows of a (model, endpoint, version) were judged, None
        where nobody will judge them."""
        self.note(by=by)
        known, found = self._told(), []
        for name in sorted(self._there()):
            row = known[name]
            if row["kind"] == FORGOTTEN:       # its row was written, and then we were killed
                if not dry_run:
                    (self._folder / name).unlink(missing_ok=True)
                continue
            if row["to_at"] >= clock.to_text(before):
                continue
            aged = Aged(name=name, rows=row["rows"], from_at=row["from_at"], to_at=row["to_at"],
                        kept=_needed(self._folder / name, watched))
            found.append(aged)
            if aged.kept or dry_run:
                continue
            with self._db.write() as conn:
                self._journal.append(conn, kind=FORGOTTEN, model="", subject=name, by=by, why=why, body={
                    "digest": row["digest"], "rows": row["rows"], "from_at": row["from_at"], "to_at": row["to_at"]})
            (self._folder / name).unlink(missing_ok=True)
        return found

    def gone(self, moment: datetime) -> str | None:
        """The table that held what was recorded then and was deleted by age, by the journal; None where none was."""
        at = clock.to_text(moment)             # of an id, which is cut to the millisecond
        after = clock.to_text(moment + timedelta(milliseconds=1))
        return next((name for name, row in sorted(self._told().items())
                     if row["kind"] == FORGOTTEN and row["from_at"] <= after and at <= row["to_at"]), None)

    def _there(self) -> set[str]:
        return {f"{path.parent.name}/{path.name}" for path in self._folder.glob("*/*.parquet")}

    def _told(self) -> dict[str, Mapping[str, Any]]:
        """What the journal says last of each table."""
        rows = sorted((row for kind in (CLOSED, FORGOTTEN) for row in self._journal.rows(kind=kind)),
                      key=lambda row: row.seq)
        return {row.subject: {**row.body, "kind": row.kind} for row in rows}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _extent(path: Path) -> dict[str, object]:
    import polars as pl

    found = pl.scan_parquet(path).select(pl.len().alias("rows"), pl.col("at").min().alias("from_at"),
                                         pl.col("at").max().alias("to_at")).collect()
    return found.row(0, named=True)


def _needed(path: Path, watched: Watched) -> str:
    """Why a table may not go yet: rows in it were not judged."""
    import polars as pl

    groups = pl.scan_parquet(path).group_by("model", "endpoint", "version").agg(pl.col("at").max()).collect()
    for model, endpoint, version, newest in sorted(groups.iter_rows()):
        judged = watched(model, endpoint, version)
        if judged is not None and newest > judged:
            return f"rows of {model} v{version} at {endpoint} are in no window, or in a trial that is open"
    return ""
