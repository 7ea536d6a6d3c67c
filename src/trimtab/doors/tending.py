"""Who runs the loop while a server serves?  A process of its own, begun again where it dies, ended with the server.

    python -m trimtab.doors.tending WORKSPACE EVERY_S

The child's standard input is a pipe that the server holds: once it is closed, by whatever end of the server, the child
ends too. So no loop outlives its server.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Final

from trimtab.doors import guard
from trimtab.errors import TrimtabError

_FIRST_S: Final = 1.0
_MOST_S: Final = 60.0
_END_S: Final = 10.0


class Tender:
    """Keeps a loop running on the workspace in a folder, from `start` to `stop`."""

    def __init__(self, folder: Path, *, every_s: float) -> None:
        self._folder, self._every_s = folder, every_s
        self._turn, self._stopping = threading.Lock(), threading.Event()
        self._child: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._run, name="trimtab-loop", daemon=True)

    @property
    def pid(self) -> int | None:
        """Of the loop's process, None while there is none."""
        child = self._child
        return None if child is None or child.poll() is not None else child.pid

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End it; what is under way is taken up by the next loop."""
        with self._turn:
            self._stopping.set()
            if self._child is not None and self._child.poll() is None:
                self._child.terminate()
        if self._thread.is_alive():
            self._thread.join(timeout=_END_S)
        if self._child is not None and self._child.poll() is None:
            self._child.kill()
            self._child.wait()

    def _run(self) -> None:
        pause_s = _FIRST_S
        while True:
            wanted, held = os.pipe()
            with self._turn:
                if self._stopping.is_set():
                    os.close(wanted)
                    os.close(held)
                    return
                self._child = subprocess.Popen(
                    [sys.executable, "-m", "trimtab.doors.tending", str(self._folder), str(self._every_s)],
                    stdin=wanted, stdout=subprocess.DEVNULL)
            os.close(wanted)
            begun = time.monotonic()
            ended = self._child.wait()
            os.close(held)
            if self._stopping.is_set():
                return
            guard.log("loop.died", {"exit": ended, "again_s": pause_s})
            self._stopping.wait(pause_s)
            pause_s = _FIRST_S if time.monotonic() - begun > _MOST_S else min(2 * pause_s, _MOST_S)


def tend(folder: Path, every_s: float) -> None:
    """The child: turns until SIGTERM, or until standard input is closed. Waits for a store that is away."""
    from trimtab.project import tending
    from trimtab.workspace import Workspace

    stop = ended_by_signals()
    threading.Thread(target=_end_with_parent, args=(stop,), name="trimtab-parent", daemon=True).start()
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


def ended_by_signals() -> threading.Event:
    """Set on SIGTERM and SIGINT."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _end_with_parent(stop: threading.Event) -> None:
    os.read(0, 1)                               # whoever began us never writes: this is the end of it
    stop.set()


if __name__ == "__main__":
    tend(Path(sys.argv[1]), float(sys.argv[2]))
