"""How are blobs kept as files?  As `objects/ab/cdef…`, written to a temporary name, fsynced, renamed."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from trimtab.canon import Digest
from trimtab.errors import BlobMissing, StoreFull, StoreUnreachable

_CHUNK_BYTES = 1 << 20
_SHARD, _REST = re.compile(r"[0-9a-f]{2}"), re.compile(r"[0-9a-f]{62}")


class LocalBlobs:
    """A `BlobStore` in one folder, which is made on the first `put`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, source: BinaryIO) -> Digest:
        """Store what is left in `source`; returns when file and folder are on disk."""
        try:
            return self._put(source)
        except OSError as problem:
            if problem.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise StoreFull("no space is left for the workspace's objects; free some, then repeat") from problem
            raise StoreUnreachable(f"the workspace's objects can't be written: {problem.strerror}") from problem

    def open(self, digest: Digest) -> BinaryIO:
        """The blob's bytes, as an open file. Raises BlobMissing."""
        try:
            return self._path(digest).open("rb")
        except FileNotFoundError:
            raise BlobMissing(f"the bytes of {digest.short} are not in this workspace; restore them from a backup",
                              digest=digest) from None

    def has(self, digest: Digest) -> bool:
        """Is it there, whole?"""
        return self._path(digest).is_file()

    def delete(self, digest: Digest) -> None:
        """Remove it; absent is fine."""
        self._path(digest).unlink(missing_ok=True)

    def list(self) -> Iterator[Digest]:
        """Every blob's digest, in order."""
        shards = sorted(self._root.iterdir()) if self._root.is_dir() else []
        for shard in shards:
            if _SHARD.fullmatch(shard.name):
                for path in sorted(shard.iterdir()):
                    if _REST.fullmatch(path.name):
                        yield Digest(f"sha256:{shard.name}{path.name}")

    def leftovers(self) -> tuple[Path, ...]:
        """Temporary files that a killed writer left; `trimtab doctor` removes those older than a day."""
        return tuple(sorted(self._root.glob(".put-*")))

    def _put(self, source: BinaryIO) -> Digest:
        _make_folder(self._root)
        running = hashlib.sha256()
        handle, temporary = tempfile.mkstemp(dir=self._root, prefix=".put-")
        try:
            with os.fdopen(handle, "wb") as out:
                while chunk := source.read(_CHUNK_BYTES):
                    running.update(chunk)
                    out.write(chunk)
                out.flush()
                os.fchmod(out.fileno(), 0o444)
                os.fsync(out.fileno())
            digest = Digest("sha256:" + running.hexdigest())
            path = self._path(digest)
            if not path.exists():
                _make_folder(path.parent)
                os.rename(temporary, path)
                _sync_folder(path.parent)
            return digest
        finally:
            if os.path.exists(temporary):
                os.unlink(temporary)

    def _path(self, digest: Digest) -> Path:
        return self._root / digest.hex[:2] / digest.hex[2:]


def _make_folder(path: Path) -> None:
    if not path.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        _sync_folder(path.parent)


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
