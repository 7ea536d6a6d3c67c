"""How do several processes answer on one port?  A socket each, which the kernel spreads connections over.

The server holds the sockets and hands one to each worker: what connects while a worker is begun again waits for it.
Each worker loads, records and counts for itself; the loop runs once, beside them.

    python -m trimtab.doors.workers SOCKET READY WORKSPACE SETTINGS
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from trimtab.doors import server
from trimtab.doors.kept import Kept, end_with_parent, ended_by_signals
from trimtab.doors.tending import Tender
from trimtab.errors import StoreUnreachable, UsageError
from trimtab.traffic.log import Durability

if TYPE_CHECKING:
    from trimtab.workspace import Workspace

_AGAIN_S: Final = 0.1
_LOOK_S: Final = 0.1


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker is told. counters: where all of them leave what they counted."""

    durability: Durability
    default: str
    actor: str
    counters: str
    memory_bytes: int | None


def serve_together(workspace: Workspace, host: str, port: int, *, workers: int, durability: Durability = "fast",
                   default: str = "", loop_every_s: float | None = None, memory_bytes: int | None = None,
                   on_ready: Callable[[str], object] = lambda url: None) -> None:
    """As `server.serve`, by `workers` processes, until SIGTERM or SIGINT. Raises also StoreUnreachable where one can't
    begin, and UsageError where the system can't spread connections."""
    sockets = _sockets(host, port, workers)
    counters = workspace.folder / "serving" / workspace.ids.short("s")
    counters.mkdir(parents=True, mode=0o700)
    told, tells = os.pipe()
    settings = msgspec.json.encode(Settings(durability=durability, default=default, actor=workspace.actor,
                                            counters=str(counters), memory_bytes=memory_bytes)).decode()
    kept = [Kept("trimtab.doors.workers", str(one.fileno()), str(tells), str(workspace.folder), settings,
                 event="worker.died", fds=(one.fileno(), tells), first_s=_AGAIN_S, end_s=server.DRAIN_S + 10)
            for one in sockets]
    tender = None if loop_every_s is None else Tender(workspace.folder, every_s=loop_every_s)
    stop = ended_by_signals()
    try:
        for one in kept:
            one.start()
        _wait(told, kept, stop)
        if not stop.is_set():
            on_ready(server.url_of(sockets[0]))
            if tender is not None:
                tender.start()
            stop.wait()
    finally:
        for each in sockets:                   # before the workers end: or who connects meanwhile would be reset
            each.close()
        for one in kept:
            one.end()
        if tender is not None:
            tender.stop()
        for one in kept:
            one.stop()
        os.close(told)
        os.close(tells)
        shutil.rmtree(counters, ignore_errors=True)


def work(listening: socket.socket, tells: int, folder: Path, settings: Settings) -> None:
    """A worker: answer until SIGTERM, or until standard input is closed."""
    from trimtab.serving.together import Together
    from trimtab.workspace import Workspace

    end_with_parent(lambda: os.kill(os.getpid(), signal.SIGTERM))
    with Workspace.open(folder, actor=settings.actor) as workspace:
        server.answer(workspace, listening, durability=settings.durability, default=settings.default,
                      memory_bytes=settings.memory_bytes,
                      together=Together(Path(settings.counters), workspace.ids.short("w")),
                      on_ready=lambda url: os.write(tells, b"."))


def _wait(told: int, kept: list[Kept], stop: threading.Event) -> None:
    """Until each of them is ready. Raises StoreUnreachable where one ends instead; what it said stands on stderr."""
    ready = 0
    while ready < len(kept) and not stop.is_set():
        if select.select([told], [], [], _LOOK_S)[0]:
            ready += len(os.read(told, len(kept)))
        elif any(one.deaths for one in kept):
            raise StoreUnreachable("a worker ended before it was ready; what it said stands above. trimtab doctor "
                                   "looks at the workspace")


def _sockets(host: str, port: int, workers: int) -> list[socket.socket]:
    if not hasattr(socket, "SO_REUSEPORT") or sys.platform != "linux":
        raise UsageError("connections are spread over workers by Linux only; leave --workers out")
    first = server.listen(host, port)          # a port that somebody else has is refused here
    address = first.getsockname()
    first.close()
    made = []
    for _ in range(workers):
        one = server.listen(address[0], address[1], shared=True)
        made.append(one)
    return made


if __name__ == "__main__":
    work(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]), Path(sys.argv[3]),
         msgspec.json.decode(sys.argv[4], type=Settings))
