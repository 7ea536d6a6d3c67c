"""The processes of the long story: a server and a loop whose clock is a file, so that days pass when the test says so.

    python teller.py serve WORKSPACE CLOCK      prints `Serving on URL` to standard error
    python teller.py tick  WORKSPACE CLOCK      one turn of the loop
"""

from __future__ import annotations

import os
import sys
import threading
from datetime import datetime
from pathlib import Path


class FileClock:
    """The moment that stands in a file; it is replaced as a whole."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def now(self) -> datetime:
        return datetime.fromisoformat(self._path.read_text())


def main(what: str, folder: str, clock: str) -> None:
    """One process."""
    assert os.getuid() != 0, "a server that is killed at random must not be able to harm anything"
    from trimtab.workspace import Workspace

    threading.Thread(target=_end_with_parent, daemon=True).start()
    with Workspace.open(Path(folder), now=FileClock(Path(clock)), actor="ann") as workspace:
        if what == "serve":
            from trimtab.doors import server

            server.serve(workspace, "127.0.0.1", 0,
                         on_ready=lambda url: print(f"Serving on {url}", file=sys.stderr, flush=True))
        else:
            from trimtab.project.looping import Loop

            for ticked in Loop(workspace, spawn=False).tick():
                assert not ticked.problem, ticked.problem


def _end_with_parent() -> None:
    os.read(0, 1)                               # whoever began us never writes: this is the end of it
    os._exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
