"""How is a table written a stretch at a time, so that nobody ever sees half of it?

Into a file beside the wanted one, brought to the disk and renamed at the end; where the work fails, the half is taken
away and what was there before stays. Parquet is written in row groups as the stretches come, in a thread that lets at
most one of them wait; CSV at once.
"""

from __future__ import annotations

import errno
import os
import queue
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import polars as pl
from polars.io.plugins import register_io_source

from trimtab.errors import Conflict, StoreFull, TrimtabError, UsageError

_GROUP_ROWS: Final = 1 << 16
_WAIT_S: Final = 0.5
_KINDS: Final = {".parquet": "parquet", ".pq": "parquet", ".csv": "csv"}
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Sink:
    """A file to be, at `path`: `put` frames of one schema in a `with` block; at its end the file is there, if anything
    was put. force: may it take the place of one that is there? Raises UsageError (neither .parquet nor .csv, no such
    folder), Conflict (it is there), StoreFull."""

    def __init__(self, path: Path, *, force: bool = False) -> None:
        if path.suffix.lower() not in _KINDS:
            raise UsageError(f"{path.name}: predictions are written as .parquet or .csv; give one of these endings")
        if path.exists() and not (force and path.is_file()):
            raise Conflict(f"{path.name} is there already; choose another name, or write over it with --force")
        if not path.parent.is_dir():
            raise UsageError(f"there is no folder {path.parent} to write {path.name} into; make it first")
        self.path, self._csv = path, _KINDS[path.suffix.lower()] == "csv"
        self.rows = 0
        self._beside: Path | None = None
        self._file: Any = None
        self._frames: queue.Queue[pl.DataFrame | None] = queue.Queue(1)
        self._thread: threading.Thread | None = None
        self._problem: Exception | None = None
        self._schema: dict[str, Any] = {}

    def put(self, frame: pl.DataFrame) -> None:
        """Write more rows. Raises StoreFull, UsageError (it can't be written)."""
        begins = self._beside is None
        try:
            if begins:
                self._begin(frame)
            if self._csv:
                frame.write_csv(self._file, include_header=begins)
        except (OSError, pl.exceptions.PolarsError) as problem:
            raise self._told(problem) from problem
        if not self._csv and frame.height:
            self._hand(frame)
        self.rows += frame.height

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if self._thread is not None:
                self._hand(None, whole=kind is None)
                self._thread.join()
                if kind is None and self._problem is not None:
                    raise self._told(self._problem) from self._problem
            if self._beside is not None and kind is None:
                self._keep(self._beside)
        finally:
            if self._file is not None:
                self._file.close()
            if self._beside is not None:
                self._beside.unlink(missing_ok=True)

    def _begin(self, frame: pl.DataFrame) -> None:
        handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.", suffix=".part")
        self._beside, self._file, self._schema = Path(name), os.fdopen(handle, "wb"), dict(frame.schema)
        if not self._csv:
            self._thread = threading.Thread(target=self._write, name="trimtab-sink", daemon=True)
            self._thread.start()

    def _hand(self, frame: pl.DataFrame | None, *, whole: bool = True) -> None:
        """To the thread, once it has room. whole: False where what it then says is of no interest."""
        assert self._thread is not None
        while self._thread.is_alive():
            try:
                self._frames.put(frame, timeout=_WAIT_S)
                return
            except queue.Full:
                continue
        if whole:
            raise self._told(self._problem)

    def _write(self) -> None:
        def come(columns: object, predicate: object, rows: object, size: object) -> Iterator[pl.DataFrame]:
            while (frame := self._frames.get()) is not None:
                yield frame

        try:
            register_io_source(come, schema=self._schema).sink_parquet(
                self._file, compression="zstd", row_group_size=_GROUP_ROWS, maintain_order=True)
        except (OSError, pl.exceptions.PolarsError) as problem:
            self._problem = problem

    def _keep(self, beside: Path) -> None:
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            mask = os.umask(0)                 # what any file made here would be let be
            os.umask(mask)
            beside.chmod(0o666 & ~mask)
            os.replace(beside, self.path)
        except OSError as problem:
            raise self._told(problem) from problem

    def _told(self, problem: Exception | None) -> TrimtabError:
        if (isinstance(problem, OSError) and problem.errno in _FULL) or "os error 28" in str(problem) \
                or "os error 27" in str(problem):
            return StoreFull(f"no space is left for {self.path.name}; free some, then begin again. What was there "
                             "before is untouched")
        said = getattr(problem, "strerror", None) or str(problem).splitlines()[0][:160]
        return UsageError(f"{self.path.name} can't be written: {said}")
