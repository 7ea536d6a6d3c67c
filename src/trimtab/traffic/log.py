"""How is every answer on disk before it goes out?  (the flight recorder's writing half)

One `write()` a request, appended to the writer's own segment, before the answer is returned: kill -9 loses nothing that
was acknowledged. "fast" asks the disk to keep it once a second, so that a power cut may lose that second; "strict"
before each answer. The database is not needed.
"""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import Literal

from trimtab import clock
from trimtab.clock import Clock
from trimtab.errors import StoreFull, StoreUnreachable
from trimtab.traffic.segments import FORMAT, Header, Record, framed

Durability = Literal["fast", "strict"]
SEGMENT_BYTES = 64 << 20
_SYNC_S = 1.0


class TrafficLog:
    """Appends to segments in `<folder>/<writer>/`. Safe to share between threads; one writer's name a process.

    `append` raises StoreFull or StoreUnreachable when the record can't be written whole; then the answer must not be
    given, and half a record is taken back.
    """

    def __init__(self, folder: Path, *, writer: str, now: Clock, durability: Durability = "fast",
                 segment_bytes: int = SEGMENT_BYTES) -> None:
        self._folder, self._writer, self._clock = folder / writer, writer, now
        self._durability, self._segment_bytes = durability, segment_bytes
        self._turn = threading.Lock()
        self._handle: int | None = None
        self._size = self._number = 0
        self._dirty = False
        self._closing = threading.Event()
        self._syncing: threading.Thread | None = None

    def append(self, record: Record) -> None:
        """Write one record; when this returns, a killed process does not lose it."""
        data = framed(record)
        with self._turn:
            if self._handle is None or self._size >= self._segment_bytes:
                self._open()
            self._write(data)
            if self._durability == "strict":
                assert self._handle is not None
                os.fsync(self._handle)
            else:
                self._dirty = True

    def close(self) -> None:
        """Bring what is left to the disk and end."""
        self._closing.set()
        if self._syncing is not None:
            self._syncing.join(timeout=10)
        with self._turn:
            if self._handle is not None:
                os.fsync(self._handle)
                os.close(self._handle)
                self._handle = None

    def _open(self) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if self._handle is not None:
                os.fsync(self._handle)
                os.close(self._handle)
                self._handle = None
            self._number += 1
            path = self._folder / f"{self._number:06d}.log"
            self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        except OSError as problem:
            raise _told(problem) from problem
        self._size = 0
        self._write(framed(Header(FORMAT, self._writer, clock.to_text(self._clock.now()))))
        if self._syncing is None and self._durability == "fast":
            self._syncing = threading.Thread(target=self._sync, name="trimtab-traffic", daemon=True)
            self._syncing.start()

    def _write(self, data: bytes) -> None:
        assert self._handle is not None
        try:
            written = os.write(self._handle, data)
        except OSError as problem:
            self._take_back()
            raise _told(problem) from problem
        if written < len(data):
            self._take_back()
            raise StoreFull("no space is left for the record of predictions; free some, then ask again")
        self._size += written

    def _take_back(self) -> None:
        assert self._handle is not None
        os.ftruncate(self._handle, self._size)

    def _sync(self) -> None:
        while not self._closing.wait(_SYNC_S):
            with self._turn:
                if not self._dirty or self._handle is None:
                    continue
                handle, self._dirty = os.dup(self._handle), False
            try:
                os.fsync(handle)               # outside the turn: answers do not wait for the disk
            finally:
                os.close(handle)


def _told(problem: OSError) -> StoreFull | StoreUnreachable:
    if problem.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return StoreFull("no space is left for the record of predictions; free some, then ask again")
    return StoreUnreachable(f"predictions can't be recorded: {problem.strerror}. Look at the workspace's traffic/")
