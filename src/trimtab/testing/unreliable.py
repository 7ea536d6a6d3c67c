"""What if the database is away, or a process is killed between two writes?  A database that a simulation can break."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.engine import Connection

from trimtab.errors import StoreUnreachable
from trimtab.store.db import Database


class Killed(BaseException):
    """kill -9, told to the code under it: nothing of ours catches it."""


class Unreliable(Database):
    """A database that does not answer while `away`, and kills whoever works with it after a number of writes."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.away = False
        self._writes_left: int | None = None

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """As `Database.read`. Raises StoreUnreachable while it is away."""
        self._answer()
        with super().read() as conn:
            yield conn

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """As `Database.write`. Raises StoreUnreachable while it is away, Killed after the last write that is left."""
        self._answer()
        with super().write() as conn:
            yield conn
        if self._writes_left is not None:
            self._writes_left -= 1
            if self._writes_left <= 0:
                self._writes_left = None
                raise Killed

    @contextmanager
    def killing_after(self, writes: int | None) -> Iterator[None]:
        """While the block lasts, raise Killed after so many writes that were committed; None: never."""
        self._writes_left = writes
        try:
            yield
        finally:
            self._writes_left = None

    def _answer(self) -> None:
        if self.away:
            raise StoreUnreachable("the database does not answer (simulated)")
