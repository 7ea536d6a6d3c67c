"""How is a workspace copied into one file while it is used, and made again from it?

A backup is a tar: the tables as one SQLite database (whatever database they live in), every object, the keys. The
tables are copied first, in one snapshot; objects are only ever added, so all that the snapshot names are there.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import tarfile
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from trimtab import canon
from trimtab.canon import Digest
from trimtab.config import quote
from trimtab.errors import Conflict, DigestMismatch, StoreUnreachable, UsageError
from trimtab.store.backup import copy_database
from trimtab.store.blobs_local import LocalBlobs
from trimtab.store.db import Database
from trimtab.workspace import SETTINGS, Workspace

_MEMBER = re.compile(r"trimtab\.db|keys/(?:signing\.pem|[a-z]+\.secret|[0-9a-f]{16}\.pub)"
                     r"|objects/[0-9a-f]{2}/[0-9a-f]{62}|traffic/w-[0-9a-z]{8}/\d{6}\.(?:log|parquet)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What a backup or a restore moved."""

    bytes: int
    blobs: int
    rows: int
    seq: int = 0                              # the newest journal row

    def to_json(self) -> dict[str, object]:
        """As `backup --json` and `restore --json` print it."""
        return {"schema": "trimtab.backup/1", "bytes": self.bytes, "objects": self.blobs, "rows": self.rows,
                "journal": self.seq}


def backup(workspace: Workspace, file: Path) -> Kept:
    """Write a backup; the file appears whole or not at all, readable by its owner only (it holds the signing key).

    Raises Conflict when the file exists, UsageError (no such folder), StoreUnreachable when it can't be written.
    """
    if not file.parent.is_dir():
        raise UsageError(f"there is no folder {file.parent.name or file.parent} to write {file.name} into; name one "
                         "that is there")
    if file.exists():
        raise Conflict(f"{file.name} exists already; name a new file")
    try:
        handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=".backup-")
    except OSError as problem:
        raise StoreUnreachable(f"{file.name} can't be written: {problem.strerror}") from None
    try:
        with tempfile.TemporaryDirectory() as scratch, os.fdopen(handle, "wb") as out:
            tables = Path(scratch) / "trimtab.db"
            with closing(Database(f"sqlite:///{tables}")) as copy:
                rows = sum(copy_database(workspace.db, copy).values())
            blobs = _write_tar(out, workspace, tables)
            out.flush()
            os.fsync(out.fileno())
        os.link(temporary, file)                               # unlike a rename, never over an existing file
    except FileExistsError:
        raise Conflict(f"{file.name} exists already; name a new file") from None
    except OSError as problem:
        raise StoreUnreachable(f"{file.name} can't be written: {problem.strerror}") from problem
    finally:
        os.unlink(temporary)
    return Kept(bytes=file.stat().st_size, blobs=blobs, rows=rows, seq=workspace.journal.head().seq)


def restore(file: Path, folder: Path, *, database: str | None = None) -> Kept:
    """Make the workspace `folder` from a backup; it appears only after every object and the journal were verified.

    database: put the tables there (empty; `postgresql://…`) instead of into the folder. Raises UsageError (not a
    backup), Conflict (the folder holds something), DigestMismatch, JournalBroken.
    """
    if folder.exists() and any(folder.iterdir()):
        raise Conflict(f"{folder.name}/ is not empty; name a new folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".restore-"))
    try:
        size = _unpack(file, scratch)
        blobs = _check_objects(scratch)
        tables = Database(f"sqlite:///{scratch / 'trimtab.db'}")
        rows = 0
        with Workspace(scratch, tables) as restored:
            seq = restored.journal.verify().seq
            if database is not None:
                with closing(Database(database)) as target:
                    rows = sum(copy_database(tables, target).values())
        if database is not None:
            for left in scratch.glob("trimtab.db*"):
                left.unlink()
            (scratch / SETTINGS).write_text(f"database = {quote(database)}\n", encoding="utf-8")
            (scratch / SETTINGS).chmod(0o600)
        (scratch / ".gitignore").write_text("*\n")
        if folder.exists():
            folder.rmdir()
        os.rename(scratch, folder)
        return Kept(bytes=size, blobs=blobs, rows=rows or _count(folder), seq=seq)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _write_tar(out: io.BufferedIOBase, workspace: Workspace, tables: Path) -> int:
    count = 0
    with tarfile.open(fileobj=out, mode="w") as tar:
        _add(tar, "trimtab.db", tables.read_bytes())
        for path in sorted((workspace.folder / "keys").iterdir()):
            if _MEMBER.fullmatch(f"keys/{path.name}"):
                _add(tar, f"keys/{path.name}", path.read_bytes())
        for kind in ("log", "parquet"):        # in this order: a segment may become a table in between
            for path in sorted((workspace.folder / "traffic").glob(f"*/*.{kind}")):
                with contextlib.suppress(FileNotFoundError):
                    _add(tar, path.relative_to(workspace.folder).as_posix(), path.read_bytes())
        for digest in workspace.blobs.list():
            with workspace.blobs.open(digest) as source:
                info = tarfile.TarInfo(f"objects/{digest.hex[:2]}/{digest.hex[2:]}")
                info.size = os.fstat(source.fileno()).st_size
                info.mode = 0o444
                tar.addfile(info, source)
            count += 1
    return count


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), 0o600
    tar.addfile(info, io.BytesIO(data))


def _unpack(file: Path, folder: Path) -> int:
    """Plain files of known names only: no links, no folders of the archive's choosing."""
    try:
        with tarfile.open(file, mode="r:") as tar:
            for member in tar:
                if not member.isreg() or not _MEMBER.fullmatch(member.name):
                    raise UsageError(f"{file.name} is not a trimtab backup: it holds {member.name[:60]!r}")
                source = tar.extractfile(member)
                assert source is not None
                path = folder / member.name
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                with path.open("xb") as out:
                    shutil.copyfileobj(source, out, 1 << 20)
                path.chmod(0o444 if member.name.startswith("objects/") else 0o600)
    except FileNotFoundError:
        raise UsageError(f"there is no file {file.name}") from None
    except FileExistsError:
        raise UsageError(f"{file.name} is not a trimtab backup: it holds one file twice") from None
    except (tarfile.TarError, EOFError):
        raise UsageError(f"{file.name} is not a trimtab backup, or only a part of one") from None
    if not (folder / "trimtab.db").is_file():
        raise UsageError(f"{file.name} is not a trimtab backup: it holds no trimtab.db")
    return file.stat().st_size


def _check_objects(folder: Path) -> int:
    blobs = LocalBlobs(folder / "objects")
    count = 0
    for digest in blobs.list():
        with blobs.open(digest) as source:
            found: Digest = canon.digest_stream(source)
        if found != digest:
            raise DigestMismatch(f"the object {digest.short} of the backup holds other bytes; take another backup",
                                 want=digest, got=found)
        count += 1
    return count


def _count(folder: Path) -> int:
    import sqlalchemy as sa

    from trimtab.store.schema import metadata

    db = Database(f"sqlite:///{folder / 'trimtab.db'}")
    with db.read() as conn:
        total = sum(conn.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
                    for table in metadata.sorted_tables)
    db.close()
    return int(total)
