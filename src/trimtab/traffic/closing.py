"""How does a finished segment become Parquet without losing a row?  (in a process of its own)

A segment is finished when nobody holds its lock: its writer went on to the next, ended, or was killed. The table is
written beside it under another name, brought to the disk, read back and compared, renamed, and only then the segment is
removed; a crash between any two of these leaves both or the segment, and where both are, the table counts. A segment
that is damaged in its middle stays as it is, for somebody to look at.

    python -m trimtab.traffic.closing FOLDER
"""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from trimtab import canon
from trimtab.traffic.segments import Record, Row, read, whole

if TYPE_CHECKING:
    import polars as pl

SCHEMA: Final[Mapping[str, Any]] = {
    "id": str, "at": str, "model": str, "endpoint": str, "version": int, "stage": str, "verdict": str, "batch": str,
    "position": int, "latency_us": int, "key": str, "features": str, "output": str, "probabilities": str,
    "redacted": str, "subject": str, "why": str}
_TEXT: Final = ("features", "output", "probabilities", "redacted")       # JSON, since models differ in theirs
_GROUP_ROWS: Final = 16_384
_UNFINISHED: Final = ".closing"


def flat(record: Record, row: Row) -> dict[str, Any]:
    """A prediction as a row of a table in the columns of `SCHEMA`; a number that JSON has no word for is null."""
    told = {"id": row.id, "at": record.at, "model": record.model, "endpoint": record.endpoint,
            "version": record.version, "stage": record.stage, "verdict": record.verdict, "batch": record.batch,
            "position": row.position, "latency_us": record.latency_us, "key": row.key, "features": row.features,
            "output": row.output, "probabilities": row.probabilities, "redacted": list(row.redacted),
            "subject": row.subject, "why": row.why}
    for name in _TEXT:
        told[name] = canon.dumps(canon.finite(told[name])).decode()
    return told


def records(rows: Iterator[Mapping[str, Any]]) -> Iterator[Record]:
    """The requests that rows of a closed segment came in; the rows of one request stand together, and among them may
    be those of the version that computed along."""
    for batch, together in groupby(rows, key=lambda one: str(one["batch"])):
        for mine in _by_version(together):
            first = mine[0]
            yield Record(
                batch=batch, at=first["at"], model=first["model"], endpoint=first["endpoint"],
                version=first["version"], stage=first["stage"], verdict=first["verdict"],
                latency_us=first["latency_us"], rows=tuple(
                    _row({**one, **{name: canon.loads(one[name]) for name in _TEXT}}) for one in mine))


def close(segment: Path) -> bool:
    """Make one finished segment a table; was it done?  A segment that is still written, empty or damaged is left.

    Raises OSError where the table can't be written; the segment is then as it was.
    """
    with _finished(segment) as mine:
        if not mine or not whole(segment):
            return False
        table = segment.with_suffix(".parquet")
        if not table.exists():
            rows = [flat(record, row) for record in read(segment) for row in record.rows]
            if not rows:
                return False
            _write(rows, table)
        segment.unlink()
        _keep(segment.parent)
        return True


def close_all(folder: Path) -> int:
    """Close every finished segment under `folder`, oldest first of each writer; how many were."""
    for left in folder.glob(f"*/*{_UNFINISHED}"):
        segment = left.with_suffix(".log")
        with _finished(segment) as mine:                       # another closer may be at work on it
            if mine or not segment.exists():
                left.unlink(missing_ok=True)
    return sum(close(segment) for segment in sorted(folder.glob("*/*.log")))


def _by_version(rows: Iterable[Mapping[str, Any]]) -> Iterable[list[Mapping[str, Any]]]:
    found: dict[int, list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["version"], []).append(row)
    return found.values()


def _row(told: Mapping[str, Any]) -> Row:
    return Row(id=told["id"], position=told["position"], features=told["features"], output=told["output"],
               probabilities=told["probabilities"], key=told["key"], redacted=tuple(told["redacted"]),
               subject=told["subject"], why=told["why"] or "")


def _write(rows: list[dict[str, Any]], table: Path) -> None:
    import polars as pl

    made: pl.DataFrame = pl.DataFrame(rows, schema=dict(SCHEMA)).sort("id", maintain_order=True)
    beside = table.with_suffix(_UNFINISHED)
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
            made.write_parquet(out, compression="zstd", statistics=True, row_group_size=_GROUP_ROWS)
            out.flush()
            os.fsync(out.fileno())
        if not pl.read_parquet(beside).equals(made):
            raise OSError(f"{table.name} reads back otherwise than it was written; the disk may be failing")
        os.rename(beside, table)
    finally:
        beside.unlink(missing_ok=True)
    _keep(table.parent)


@contextmanager
def _finished(segment: Path) -> Iterator[bool]:
    """Does nobody write this segment? While the block lasts nobody else closes it."""
    try:
        handle = os.open(segment, os.O_RDONLY)
    except FileNotFoundError:
        yield False
        return
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield segment.exists()
    finally:
        os.close(handle)


def _keep(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def main() -> None:
    """Close what is finished under the folder that is named."""
    os.nice(10)
    try:
        close_all(Path(sys.argv[1]))
    except OSError as problem:
        sys.exit(f"trimtab: a segment of traffic could not be closed and stays as it is: {problem}")


if __name__ == "__main__":
    main()
