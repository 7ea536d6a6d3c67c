"""How does a process of ours run for as long as its server?  Begun again where it dies, ended with the server.

The child's standard input is a pipe that the server holds: once it is closed, by whatever end of the server, the child
ends too (`end_with_parent`). So no child outlives its server.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from trimtab.doors import guard

_FIRST_S: Final = 1.0
_MOST_S: Final = 60.0


class Kept:
    """Keeps `python -m MODULE WORDS…` running from `start` to `stop`. event: what its death is logged as; fds: open
    files that it gets; first_s: how long after the first death it is begun again; end_s: how long it may take to end.
    """

    def __init__(self, *words: str, event: str, fds: Sequence[int] = (), first_s: float = _FIRST_S,
                 end_s: float = 10.0) -> None:
        self._command, self._event, self._fds = [sys.executable, "-m", *words], event, tuple(fds)
        self._first_s, self._end_s = first_s, end_s
        self._turn, self._stopping = threading.Lock(), threading.Event()
        self._child: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._run, name=f"trimtab-{event}", daemon=True)
        self.deaths = 0                        # how often it ended unasked

    @property
    def pid(self) -> int | None:
        """Of the process, None while there is none."""
        child = self._child
        return None if child is None or child.poll() is not None else child.pid

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def end(self) -> None:
        """Ask it to end, and begin it no more. Returns at once."""
        with self._turn:
            if not self._stopping.is_set() and self._child is not None and self._child.poll() is None:
                self._child.terminate()
            self._stopping.set()

    def stop(self) -> None:
        """End it; where it takes too long, at once."""
        self.end()
        if self._thread.is_alive():
            self._thread.join(timeout=self._end_s)
        if self._child is not None and self._child.poll() is None:
            self._child.kill()
            self._child.wait()

    def _run(self) -> None:
        pause_s = self._first_s
        while True:
            wanted, held = os.pipe()
            with self._turn:
                if self._stopping.is_set():
                    os.close(wanted)
                    os.close(held)
                    return
                self._child = subprocess.Popen(self._command, stdin=wanted, stdout=subprocess.DEVNULL,
                                               pass_fds=self._fds, start_new_session=True)
            os.close(wanted)
            begun = time.monotonic()
            ended = self._child.wait()
            os.close(held)
            if self._stopping.is_set():
                return
            self.deaths += 1
            guard.log(self._event, {"exit": ended, "again_s": pause_s})
            self._stopping.wait(pause_s)
            pause_s = self._first_s if time.monotonic() - begun > _MOST_S else min(2 * pause_s, _MOST_S)


def end_with_parent(end: Callable[[], object]) -> None:
    """In the child: call `end` once whoever began it is gone."""

    def wait() -> None:
        os.read(0, 1)                          # the parent never writes: this is the end of it
        end()

    threading.Thread(target=wait, name="trimtab-parent", daemon=True).start()


def ended_by_signals() -> threading.Event:
    """Set on SIGTERM and SIGINT."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop
