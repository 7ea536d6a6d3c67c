"""How does a workspace become a server?  All routes behind one guard, run by uvicorn on this machine only.

Ending is orderly: on SIGTERM or SIGINT no new connection is taken, what was asked is answered, then the process ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn
from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Router
from starlette.types import Receive, Scope, Send

from trimtab.doors import guard, wire
from trimtab.doors.desk import DESK, Desk
from trimtab.doors.inference.lane import Lane
from trimtab.doors.routes import ROUTES
from trimtab.doors.tending import Tender
from trimtab.errors import Conflict, Forbidden, Malformed, NotFound, TooLarge, TrimtabError, UsageError
from trimtab.serving.answering import Recorder
from trimtab.serving.engine import Engine
from trimtab.serving.pulse import Pulse
from trimtab.traffic.log import Durability, TrafficLog

if TYPE_CHECKING:
    from trimtab.doors.inference.grpc_door import GrpcDoor
    from trimtab.serving.together import Together
    from trimtab.workspace import Workspace

DRAIN_S = 30
KEEP_ALIVE_S = 30
_LINGER_S, _TICK_S, _QUIET_TICKS = 3.0, 0.05, 6


def build_app(desk: Desk) -> guard.Guard:
    """The application over the desk of a started engine: every route, behind the guard."""
    router = Router(ROUTES, redirect_slashes=False)
    routes = ExceptionMiddleware(router, handlers={TrimtabError: _told, HTTPException: _no_route})

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await routes({**scope, "app": app, DESK: desk}, receive, send)

    return guard.Guard(app)


def make_engine(workspace: Workspace, record: Recorder | None = None, *, memory_bytes: int | None = None) -> Engine:
    """An engine over the workspace's rollouts, not started. record: told each answer before it goes out."""
    return workspace.engine(record=record, log=guard.log, memory_bytes=memory_bytes)


def serve(workspace: Workspace, host: str = "127.0.0.1", port: int = 0, *, durability: Durability = "fast",
          default: str = "", grpc_port: int | None = None, loop_every_s: float | None = None,
          memory_bytes: int | None = None,
          on_ready: Callable[[str], object] = lambda url: None) -> None:
    """Serve until SIGTERM or SIGINT; in-flight requests are answered. Port 0 picks a free one.

    Each answer is recorded in the workspace's traffic/ before it goes out (durability: see `traffic.log`).
    loop_every_s: seconds between two turns of the loop, which runs beside in a process of its own; None: no loop.

    memory_bytes: what the models of this process may take; default: the model of requests that name none; grpc_port:
    where gRPC is spoken too, if anywhere. on_ready: called with the URL, and gRPC's after it, when connections are
    taken. Raises Forbidden (an address that others could reach), Conflict (a port is taken), UsageError (no such
    address), MissingExtra (gRPC without grpcio).
    """
    with contextlib.closing(listen(host, port)) as listening:
        answer(workspace, listening, durability=durability, default=default, grpc_port=grpc_port,
               loop_every_s=loop_every_s, memory_bytes=memory_bytes, on_ready=on_ready)


def answer(workspace: Workspace, listening: socket.socket, *, durability: Durability = "fast", default: str = "",
           grpc_port: int | None = None, loop_every_s: float | None = None, together: Together | None = None,
           memory_bytes: int | None = None,
           on_ready: Callable[[str], object] = lambda url: None) -> None:
    """The same on a listening socket. together: the workers of a server that it is one of."""
    closer = Closer(workspace.folder / "traffic", lambda: workspace.tables.note(by=workspace.actor))
    recorder = TrafficLog(workspace.folder / "traffic", writer=workspace.ids.short("w"), now=workspace.clock,
                          durability=durability, on_finished=closer.wake)
    engine = make_engine(workspace, recorder.append, memory_bytes=memory_bytes)
    tender = None if loop_every_s is None else Tender(workspace.folder, every_s=loop_every_s)
    desk = Desk(workspace, engine, default=default, together=together)
    pulse = Pulse(engine.metrics, workspace.folder / "serving", writer=workspace.ids.short("w"), now=workspace.clock,
                  also=desk.leave_counters)
    calls: GrpcDoor | None = None
    try:
        if grpc_port is not None:
            from trimtab.doors.inference import grpc_door

            calls = grpc_door.GrpcDoor(desk)
        engine.start()
        url = url_of(listening)
        if calls is not None and grpc_port is not None:
            url += f" and grpc://{calls.start(listening.getsockname()[0], grpc_port)}"
        closer.start()
        pulse.start()
        if tender is not None:
            tender.start()
        run(desk, recorder, listening, on_ready=lambda: on_ready(url))
    finally:
        if calls is not None:
            calls.stop(DRAIN_S)
        if tender is not None:
            tender.stop()
        engine.stop()
        recorder.close()
        closer.stop()
        pulse.stop()


def run(desk: Desk, log: TrafficLog | None, listening: socket.socket, *, on_ready: Callable[[], object]) -> None:
    """Answer on a listening socket until a signal says to end. log: where the desk's engine records."""
    app = build_app(desk)
    lane = Lane(desk, app, log)
    config = uvicorn.Config(app, http=lane.connection, log_config=None, access_log=False, lifespan="off",  # type: ignore[arg-type]
                            server_header=False, proxy_headers=False, ws="none", timeout_keep_alive=KEEP_ALIVE_S,
                            timeout_graceful_shutdown=DRAIN_S, backlog=2048)

    def ready() -> None:
        lane.start()
        on_ready()

    _Server(config, app, ready).run(sockets=[listening])


class Closer:
    """Has finished segments of traffic made into tables, in a process of its own: once at the start, for what killed
    servers left, and whenever it is woken. Where that fails the segments stay as they are and are read as they are.
    on_closed: called after; what it can't do now is done the next time."""

    def __init__(self, folder: Path, on_closed: Callable[[], object]) -> None:
        self._folder, self._on_closed = folder, on_closed
        self._due, self._stopping = threading.Event(), threading.Event()
        self._turn = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._run, name="trimtab-closer", daemon=True)

    def start(self) -> None:
        """Begin, if there is something to do."""
        if any(self._folder.glob("*/*.*")):
            self._due.set()
        self._thread.start()

    def wake(self) -> None:
        """A segment was finished. Returns at once."""
        self._due.set()

    def stop(self) -> None:
        """End; what was begun is taken up by the next server."""
        with self._turn:
            self._stopping.set()
            self._due.set()
            if self._process is not None:
                self._process.terminate()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    def _run(self) -> None:
        while True:
            self._due.wait()
            self._due.clear()
            with self._turn:
                if self._stopping.is_set():
                    return
                self._process = subprocess.Popen([sys.executable, "-m", "trimtab.traffic.closing", str(self._folder)],
                                                 stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            ended = self._process.wait()
            if ended and not self._stopping.is_set():
                guard.log("traffic.closing_failed", {"exit": ended})
            try:
                self._on_closed()
            except TrimtabError as problem:
                guard.log("traffic.not_noted", {"reason": str(problem)})


class _Server(uvicorn.Server):
    """uvicorn's, which says when it listens and does not raise the signal again once it has ended."""

    def __init__(self, config: uvicorn.Config, app: guard.Guard, on_ready: Callable[[], object]) -> None:
        super().__init__(config)
        self._app, self._on_ready = app, on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to take connections, then say so."""
        await super().startup(sockets=sockets)
        if self.started:
            self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no new connection, answer what comes over those that are there, each answer closing its own; then end.

        uvicorn alone resets a connection that it has not accepted yet, or whose request it has not begun to read.
        """
        await self._stop_listening(sockets or [])
        self._app.draining = True
        begun, quiet = time.monotonic(), 0
        while not self.force_exit and quiet < _QUIET_TICKS and time.monotonic() - begun < _LINGER_S \
                and self.server_state.connections:
            await asyncio.sleep(_TICK_S)
            quiet = 0 if self._app.in_flight else quiet + 1
        await super().shutdown(sockets=sockets)

    async def _stop_listening(self, sockets: list[socket.socket]) -> None:
        """Who connected already is let in, who comes later is refused. Before any answer tells a client to come anew:
        it would connect while the socket closes, and be reset."""
        loop, waiting = asyncio.get_running_loop(), []
        for listening in [one.dup() for one in sockets]:
            for server in self.servers:
                server.close()
            listening.setblocking(False)
            with contextlib.suppress(OSError):
                while True:
                    waiting.append(listening.accept()[0])
            listening.close()
        for each in waiting:
            each.setblocking(False)
            await loop.connect_accepted_socket(self._connection, each)

    def _connection(self) -> asyncio.Protocol:
        return self.config.http_protocol_class(config=self.config, server_state=self.server_state,  # type: ignore[call-arg]
                                               app_state=self.lifespan.state)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT end the server in an orderly way while the block lasts; a second SIGINT at once."""
        before = {number: signal.signal(number, self._end) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _end(self, number: int, frame: FrameType | None) -> None:
        self.handle_exit(number, frame)


def url_of(listening: socket.socket) -> str:
    """Where a listening socket is reached."""
    address, port = listening.getsockname()[:2]
    return f"http://[{address}]:{port}" if listening.family == socket.AF_INET6 else f"http://{address}:{port}"


def listen(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A listening socket on a loopback address; what it accepts sends small answers at once (TCP_NODELAY). shared:
    others of ours may listen there too, and connections are spread over them. Raises Forbidden, Conflict, UsageError.
    """
    if host.lower() == "localhost":
        host = "127.0.0.1"
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        raise Forbidden(f"{host[:80]!r} is not an address of this machine's own; use --host 127.0.0.1") from None
    if not address.is_loopback:
        raise Forbidden(f"{host} can be reached by others, and this release has no log-in: it serves on 127.0.0.1 "
                        "(or ::1) only. Put a proxy that asks who is there in front of it.")
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.bind((str(address), port))
        made.listen(2048)
        made.set_inheritable(True)
    except OSError as problem:
        made.close()
        if problem.errno in (98, 48):
            raise Conflict(f"port {port} is taken; choose another with --port, or --port 0 for any") from None
        raise UsageError(f"can't listen on {host} port {port}: {problem.strerror}") from None
    except OverflowError:
        made.close()
        raise UsageError(f"port {port} does not exist; ports are 0 to 65535") from None
    return made


async def _told(request: Request, problem: Exception) -> Response:
    assert isinstance(problem, TrimtabError)
    if problem.answer.http == 500:
        raise problem
    if isinstance(problem, Malformed | TooLarge) and "model" in request.path_params:
        request.scope[DESK].engine.metrics.refused(request.path_params["model"], problem.code)
    return wire.told(problem, protocol=guard.protocol_of(request.url.path))


async def _no_route(request: Request, problem: Exception) -> Response:
    assert isinstance(problem, HTTPException)
    if problem.status_code == 404:
        said: TrimtabError = NotFound("there is nothing at this address; predictions are asked at "
                                      "POST /v2/models/{model}/infer")
    else:
        said = Malformed(f"this address does not take {request.method[:20]}")
    made = wire.told(said, protocol=guard.protocol_of(request.url.path))
    made.status_code = problem.status_code
    for name, value in (problem.headers or {}).items():
        made.headers[name] = value
    return made
