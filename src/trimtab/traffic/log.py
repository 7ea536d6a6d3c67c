"""How is every answer on disk before it goes out?  (the flight recorder's writing half)

One `write()` a request, appended to the writer's own segment, before the answer is returned: kill -9 loses nothing that
was acknowledged. "fast" asks the disk to keep it once a second, so that a power cut may lose that second; "strict"
before each answer. The database is not needed. A segment is begun anew at a size and at each day; the writer holds a
lock on the one that it writes, so that any process sees which are finished (`closing`).
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from trimtab import clock
from trimtab.clock import Clock
from trimtab.errors import StoreFull, StoreUnreachable
from trimtab.traffic.segments import FORMAT, Header, Record, framed

Durability = Literal["fast", "strict"]
SEGMENT_BYTES = 16 << 20                       # a prediction is found by its id in some 20 ms of this
_SYNC_S = 1.0


class TrafficLog:
    """Appends to segments in `<folder>/<writer>/`. Safe to share between threads; one writer's name a process.

    `append` raises StoreFull or StoreUnreachable when the record can't be written whole; then the answer must not be
    given, and half a record is taken back. on_finished: called, quickly, when a segment was left for the next.
    """

    def __init__(self, folder: Path, *, writer: str, now: Clock, durability: Durability = "fast",
                 segment_bytes: int = SEGMENT_BYTES, on_finished: Callable[[], None] = lambda: None) -> None:
        self._folder, self._writer, self._clock = folder / writer, writer, now
        self._durability, self._segment_bytes = durability, segment_bytes
        self._turn = threading.Lock()
        self._on_finished = on_finished
        self._handle: int | None = None
        self._size = self._number = 0
        self._day = ""
        self._dirty = False
        self._gathers: int | None = None
        self._gathered: list[bytes] = []
        self._gathered_day = ""
        self._closing = threading.Event()
        self._syncing: threading.Thread | None = None

    @property
    def waits(self) -> bool:
        """Does a write wait for the disk?"""
        return self._durability == "strict"

    def append(self, record: Record) -> None:
        """Write one record; when this returns, a killed process does not lose it (but see `gather`)."""
        if threading.get_ident() == self._gathers:
            self._gathered.append(framed(record))
            self._gathered_day = max(record.at[:10], self._gathered_day)
        else:
            self._append([framed(record)], record.at[:10])

    def gather(self) -> None:
        """From now on the calling thread's records are only gathered: it takes them by `gathered`, has them written by
        `write`, and gives no answer before that returned."""
        self._gathers = threading.get_ident()

    def gathered(self) -> list[bytes]:
        """What was gathered since the last time."""
        taken, self._gathered = self._gathered, []
        return taken

    def write(self, frames: list[bytes]) -> None:
        """Write what was gathered, all or none, at once. Raises as `append`; then none of the answers may be given."""
        self._append(frames, self._gathered_day)

    def _append(self, frames: list[bytes], day: str) -> None:
        with self._turn:
            if self._handle is None or self._size >= self._segment_bytes or day > self._day:
                self._open(day)
            self._write(b"".join(frames))
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

    def _open(self, day: str) -> None:
        before = self._handle
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if before is not None:
                os.fsync(before)
                self._handle = None
                os.close(before)
            self._handle = self._locked()
        except OSError as problem:
            raise _told(problem) from problem
        self._size = 0
        try:
            self._write(framed(Header(FORMAT, self._writer, clock.to_text(self._clock.now()))))
        except (StoreFull, StoreUnreachable):
            os.close(self._handle)             # a segment without its header is not gone on with
            self._handle = None
            raise
        self._day = max(day, self._day)
        if before is not None:
            self._on_finished()
        if self._syncing is None and self._durability == "fast":
            self._syncing = threading.Thread(target=self._sync, name="trimtab-traffic", daemon=True)
            self._syncing.start()

    def _locked(self) -> int:
        """A new segment of ours. Whoever closes segments may have had an empty one before it was locked, and leaves it;
        one that is gone all the same is not written to."""
        while True:
            self._number += 1
            path = self._folder / f"{self._number:06d}.log"
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
            fcntl.flock(handle, fcntl.LOCK_EX)
            if path.exists():
                return handle
            os.close(handle)

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
