"""Who runs the loop while a server serves?  A process of its own, begun again where it dies, ended with the server.

    python -m trimtab.doors.tending WORKSPACE EVERY_S
"""

from __future__ import annotations

import sys
from pathlib import Path

from trimtab.doors import guard
from trimtab.doors.kept import Kept, end_with_parent, ended_by_signals
from trimtab.errors import TrimtabError


class Tender(Kept):
    """Keeps a loop running on the workspace in a folder; what is under way is taken up by the next loop."""

    def __init__(self, folder: Path, *, every_s: float) -> None:
        super().__init__("trimtab.doors.tending", str(folder), str(every_s), event="loop.died")


def tend(folder: Path, every_s: float) -> None:
    """The child: turns until SIGTERM, or until standard input is closed. Waits for a store that is away."""
    from trimtab.project import tending
    from trimtab.workspace import Workspace

    stop = ended_by_signals()
    end_with_parent(stop.set)
    told = ""
    while not stop.is_set():
        try:
            with Workspace.open(folder) as workspace:
                tending.tend(workspace, stop, every_s=every_s, log=guard.log)
        except TrimtabError as problem:
            if told != str(problem):
                guard.log("loop.waits", {"reason": str(problem)})
            told = str(problem)
            stop.wait(every_s)


if __name__ == "__main__":
    tend(Path(sys.argv[1]), float(sys.argv[2]))
