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
    """A database that does not answer while `away`, and kills who works in `mined` after `writes_left` more writes."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.away = False
        self.writes_left: int | None = None
        self._mined = False

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
        if self._mined and self.writes_left is not None:
            self.writes_left -= 1
            if self.writes_left <= 0:
                self.writes_left = None
                raise Killed

    @contextmanager
    def mined(self) -> Iterator[None]:
        """While the block lasts writes count, and Killed is raised after the last one of `writes_left`."""
        self._mined = True
        try:
            yield
        finally:
            self._mined = False

    def _answer(self) -> None:
        if self.away:
            raise StoreUnreachable("the database does not answer (simulated)")
