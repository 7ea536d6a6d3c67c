"""How does a version compute along without anybody waiting for it?

One bounded queue and one thread a trial. A request leaves its rows and goes; they are computed after its answer went
out. Where the queue is full, or its oldest waits too long, they are dropped and counted: what is computed along is on
disk soon after its answer, or never. What was accepted is computed, also when the trial ends.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

MAX_WAITING = 512                             # requests
MAX_ROWS = 20_000                             # together; one request alone may have more
MAX_WAIT_S = 0.5                              # of the oldest, when the next one asks to be taken
_PAUSE_S = 0.002                              # after idling: the answer that woke us goes out first

Job = Callable[[], None]


class Shadow:
    """Computes jobs in turn. lost: told what a job raised. Safe to share between threads.

    dropped: requests that found no room, or came after `close`; broken: jobs that raised.
    """

    def __init__(self, name: str, *, lost: Callable[[Exception], None], max_waiting: int = MAX_WAITING,
                 max_rows: int = MAX_ROWS) -> None:
        self._lost, self._max_waiting, self._max_rows = lost, max_waiting, max_rows
        self._waiting: deque[tuple[Job, int, float]] = deque()     # job, rows, since when (monotonic)
        self._rows = 0
        self._closed = False
        self._turn = threading.Condition(threading.Lock())
        self.dropped = self.broken = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Requests that wait."""
        return len(self._waiting)

    def offer(self, job: Job, rows: int) -> bool:
        """Leave a job of so many rows; False where it was dropped. Returns at once."""
        now = time.monotonic()
        with self._turn:
            full = self._waiting and (
                len(self._waiting) >= self._max_waiting or self._rows + rows > self._max_rows
                or now - self._waiting[0][2] > MAX_WAIT_S)
            if self._closed or full:
                self.dropped += 1
                return False
            self._waiting.append((job, rows, now))
            self._rows += rows
            self._turn.notify()
            return True

    def close(self) -> None:
        """Take no more; what was accepted is still computed. Returns at once."""
        with self._turn:
            self._closed = True
            self._turn.notify()

    def join(self, timeout_s: float) -> bool:
        """Wait until all is computed, after `close`; False where it was not in time."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._turn:
                idle = not self._waiting
                while not self._waiting and not self._closed:
                    self._turn.wait()
                if not self._waiting:
                    return
                closed = self._closed
            if idle and not closed:
                time.sleep(_PAUSE_S)
            job, rows, _ = self._waiting[0]
            try:
                job()
            except Exception as problem:  # noqa: BLE001  the thread's outermost frame: the next job must be computed
                self.broken += 1
                self._lost(problem)
            with self._turn:
                self._waiting.popleft()
                self._rows -= rows
