"""How is an everyday prediction answered without a detour?

In front of uvicorn's own protocol. An everyday request came in whole and at once, with plain headers, called by this
machine's name, with a small JSON body, to a model that lately answered within a moment: it is decoded, predicted and
counted on the event loop, by what the routes use, and answered, or refused, with the headers that the guard sets. All
that came in one turn of the loop is predicted together, where that is worth it, and recorded by one write, and only
then answered. Everything else, and whatever fails
by a fault, is uvicorn's, the guard's and the routes': they look again from the start and tell.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple
from urllib.parse import unquote_to_bytes

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from trimtab.doors import guard, wire
from trimtab.doors.desk import Desk
from trimtab.doors.inference import tensors
from trimtab.doors.inference.asking import SIDE, Rows, ask
from trimtab.doors.inference.crowd import Crowd
from trimtab.doors.inference.routes import named, predictions_json
from trimtab.errors import Malformed, TooLarge, TrimtabError
from trimtab.registry.bundle import Bundle
from trimtab.serving.answering import Answer
from trimtab.serving.rollout import PRODUCTION
from trimtab.serving.source import Place
from trimtab.traffic.log import TrafficLog

SMALL_BYTES: Final = 16 << 10
MOMENT_US: Final = 1000                        # what takes longer goes to a thread
WORTH_US: Final = 50                           # what takes less is not predicted together: that would only cost
_HEAD_BYTES: Final = 2048
_PLANS: Final = 512
_PLAIN: Final = frozenset({b"host", b"content-type", b"content-length", b"connection", b"accept", b"accept-encoding",
                           b"accept-language", b"user-agent", b"traceparent", b"tracestate"})
_JSON: Final = frozenset({b"application/json", b"application/json; charset=utf-8"})
_CONTROLS: Final = bytes([*range(32), 127])
_GOOD: Final = STATUS_LINE[200]
_MARKS: Final = b"content-type: application/json\r\n" + SIDE.encode() + b": champion\r\n" + b"".join(
    name + b": " + value + b"\r\n" for name, value in guard.MARKS)

Reading = Callable[[bytes], tuple[Callable[[Bundle], Rows], Callable[[Answer], bytes]]]


class Plan(NamedTuple):
    """What the head of a request asks for."""

    place: Place
    length: int                                # of the body
    reading: Reading                           # of the body: what finds its rows, and what tells the answer to them
    protocol: str                              # whose shape an error has


class Lane:
    """The everyday requests of one server; all of it runs on the event loop.

    log: where answers are recorded, by the engine of the desk; None where none are. `start` on the loop's thread.
    """

    def __init__(self, desk: Desk, app: guard.Guard, log: TrafficLog | None) -> None:
        self._desk, self._app, self._log = desk, app, log
        self._plans: dict[bytes, Plan | None] = {}
        self._due: list[Due] = []
        self._crowd = Crowd(desk.engine)
        self._crowded: list[tuple[Connection, Plan, bytes]] = []
        self._disk = ThreadPoolExecutor(1, "trimtab-disk") if log is not None and log.waits else None
        self._writing = False
        self._dated: object = None
        self._good_head = b""

    def start(self) -> None:
        """From now on the records of the calling thread wait for this lane to write them."""
        if self._log is not None:
            self._log.gather()

    def connection(self, **given: Any) -> Connection:
        """uvicorn's protocol for a new connection, with this lane before it."""
        return Connection(self, **given)

    def take(self, connection: Connection, data: bytes) -> bool:
        """Begin to answer what came in, where it is an everyday request; False: it is not, and nothing was done."""
        end = data.find(b"\r\n\r\n")
        if not 0 < end <= _HEAD_BYTES or self._app.draining or connection.flow.write_paused:
            return False
        head = data[:end]
        plan = self._plans[head] if head in self._plans else self._planned(head)
        if plan is None or len(data) != end + 4 + plan.length:
            return False
        model = plan.place.model
        engine = self._desk.engine
        live = engine.live.get(plan.place)
        if live is None or live.beside is not None:
            return False
        pace_us = engine.metrics.of(model, PRODUCTION, live.champion.number).pace_us
        if pace_us > MOMENT_US:
            return False
        told: bytes | TrimtabError
        try:
            read, tell = plan.reading(data[end + 4:])
            if pace_us > WORTH_US and live.fallback is None and live.champion.together is not None:
                self._crowd.join(live, read, tell)
                self._crowded.append((connection, plan, data))
                self._wake(connection.loop)
                return True
            told = tell(ask(engine, model, None, read))
        except TrimtabError as problem:
            if problem.answer.http == 500:
                return False
            if isinstance(problem, Malformed | TooLarge):
                engine.metrics.refused(model, problem.code)
            told = problem
        except Exception:  # noqa: BLE001  the guard meets it too, and tells it
            return False
        self._due.append((connection, plan, told))
        self._wake(connection.loop)
        return True

    def _wake(self, loop: asyncio.AbstractEventLoop) -> None:
        """At the end of this turn of the loop, unless a write is waited for, which then takes what came in."""
        if len(self._due) + len(self._crowded) == 1 and not self._writing:
            loop.call_soon(self._flush, loop)

    def _predict(self) -> None:
        """Answer what waits to be predicted together; a fault goes the long way, which tells it."""
        crowded, self._crowded = self._crowded, []
        for (connection, plan, data), told in zip(crowded, self._crowd.answers(), strict=True):
            if isinstance(told, bytes) or (isinstance(told, TrimtabError) and told.answer.http != 500):
                self._due.append((connection, plan, told))
            else:
                connection.long_way(data)

    def _planned(self, head: bytes) -> Plan | None:
        if len(self._plans) >= _PLANS:
            self._plans.clear()
        self._plans[head] = plan = planned(head)
        return plan

    def _flush(self, loop: asyncio.AbstractEventLoop) -> None:
        """One write for all that is due, then the answers; what comes in while the disk is asked waits for the next."""
        if self._crowded:
            self._predict()
        due, self._due = self._due, []
        frames = [] if self._log is None else self._log.gathered()
        if self._log is None or self._disk is None:
            self._answer(due, self._written(frames))
            return
        self._writing = True
        waiting = loop.run_in_executor(self._disk, self._written, frames)
        waiting.add_done_callback(lambda done: self._safe(loop, due, done.result()))

    def _safe(self, loop: asyncio.AbstractEventLoop, due: list[Due], problem: TrimtabError | None) -> None:
        self._writing = False
        self._answer(due, problem)
        if self._due or self._crowded:
            self._flush(loop)

    def _written(self, frames: list[bytes]) -> TrimtabError | None:
        try:
            if self._log is not None and frames:
                self._log.write(frames)
        except TrimtabError as problem:
            return problem
        return None

    def _answer(self, due: list[Due], problem: TrimtabError | None) -> None:
        for connection, plan, told in due:
            if problem is not None and isinstance(told, bytes):
                self._desk.engine.metrics.refused(plan.place.model, problem.code)
                told = problem
            if isinstance(told, bytes):
                head = self._head(connection)
                connection.answered(b"%bcontent-length: %d\r\n\r\n%b" % (head, len(told), told))
            else:
                connection.answered(_told(told, plan, connection))

    def _head(self, connection: Connection) -> bytes:
        """Everything before the length; the date in it changes once a second."""
        default = connection.server_state.default_headers
        if default is not self._dated:
            self._dated, self._good_head = default, _GOOD + _lines(default) + _MARKS
        return self._good_head


class Connection(HttpToolsProtocol):
    """uvicorn's HTTP protocol, whose lane is asked first."""

    def __init__(self, lane: Lane, **given: Any) -> None:
        super().__init__(**given)
        self._lane = lane
        self._inside = False                   # part of a request is with uvicorn's parser
        self._waits = self._ends = False
        self._later = b""
        self._last_s = 0.0

    def data_received(self, data: bytes) -> None:
        """Bytes came in."""
        if self._waits:                        # sent before the answer to the last one: in its turn
            self._later += data
            self.flow.pause_reading()
        elif not self._inside and (self.cycle is None or self.cycle.response_complete) and not self.pipeline \
                and self._lane.take(self, data):
            self._waits = True
        else:
            super().data_received(data)

    def long_way(self, data: bytes) -> None:
        """What the lane took is uvicorn's after all; what came in since follows it."""
        self._waits = False
        later, self._later = self._later, b""
        super().data_received(data)
        if later:
            self.flow.resume_reading()
            self.data_received(later)
        if self._ends:
            super().shutdown()

    def answered(self, data: bytes) -> None:
        """The lane's answer, to be sent."""
        self._waits = False
        if self.transport.is_closing():
            return
        self.transport.write(data)
        self._last_s = self.loop.time()
        if self._ends:
            self.transport.close()
        elif self.timeout_keep_alive_task is None:
            self._watch(self.timeout_keep_alive)
        if self._later:
            later, self._later = self._later, b""
            self.flow.resume_reading()
            self.data_received(later)

    def on_message_begin(self) -> None:
        """uvicorn's parser began a request."""
        self._inside = True
        super().on_message_begin()

    def on_message_complete(self) -> None:
        """uvicorn's parser has all of it."""
        self._inside = False
        super().on_message_complete()

    def timeout_keep_alive_handler(self) -> None:
        """Close what is idle; an answer of the lane does not set the timer anew, so it is looked at here."""
        left = self._last_s + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._watch(left)
        elif not self._waits:
            super().timeout_keep_alive_handler()

    def shutdown(self) -> None:
        """End after the answer that is under way."""
        if self._waits:
            self._ends = True
        else:
            super().shutdown()

    def _watch(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)


Due = tuple[Connection, Plan, bytes | TrimtabError]


def _infer(body: bytes) -> tuple[Callable[[Bundle], Rows], Callable[[Answer], bytes]]:
    """Raises LookupError where more than JSON answers for every output is asked for."""
    wanted = wire.decode(body, tensors.InferRequest, keys=tensors.least_keys)
    if wanted.outputs is not None or wanted.parameters:
        raise LookupError("not an everyday request")
    return functools.partial(tensors.rows_for, wanted), lambda answer: wire.encode(tensors.answer_json(answer, wanted))


def _predict(body: bytes) -> tuple[Callable[[Bundle], Rows], Callable[[Answer], bytes]]:
    """Raises LookupError where more than the answers is asked for."""
    read, parameters = named(body)
    if parameters is not None:
        raise LookupError("not an everyday request")
    return read, lambda answer: wire.encode(predictions_json(answer))


_ROUTES: Final[tuple[tuple[bytes, bytes, Reading, str], ...]] = (
    (b"POST /v2/models/", b"/infer HTTP/1.1", _infer, "v2"),
    (b"POST /api/models/", b"/predict HTTP/1.1", _predict, ""))


def planned(head: bytes) -> Plan | None:
    """What a head (without its last empty line) asks for; None where it is not of the plainest kind."""
    first, *lines = head.split(b"\r\n")
    told: dict[bytes, bytes] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        name, value = name.lower(), value.strip(b" \t")
        if not colon or name not in _PLAIN or name in told or value != value.translate(None, _CONTROLS):
            return None
        told[name] = value
    length = told.get(b"content-length", b"")
    if told.get(b"content-type", b"").lower() not in _JSON or not guard.is_local(told.get(b"host", b"")) \
            or told.get(b"connection", b"keep-alive").lower() != b"keep-alive" \
            or not (length.isdigit() and len(length) < 7 and 0 < int(length) <= SMALL_BYTES):
        return None
    for begins, ends, reading, protocol in _ROUTES:
        if first.startswith(begins) and first.endswith(ends):
            model = _model(first[len(begins):-len(ends)])
            return None if model is None else Plan(Place(model, PRODUCTION), int(length), reading, protocol)
    return None


def _model(text: bytes) -> str | None:
    """The model's name from one part of an address."""
    try:
        name = unquote_to_bytes(text).decode()
        text.decode("ascii")
    except UnicodeDecodeError:
        return None
    return name if name.isprintable() and not set("/?# \\") & set(name) and b"?" not in text else None


def _told(problem: TrimtabError, plan: Plan, connection: Connection) -> bytes:
    made = wire.told(problem, protocol=plan.protocol)
    headers = [*connection.server_state.default_headers, *made.raw_headers, *guard.MARKS]
    return STATUS_LINE[made.status_code] + _lines(headers) + b"\r\n" + bytes(made.body)


def _lines(headers: list[tuple[bytes, bytes]]) -> bytes:
    return b"".join(name + b": " + value + b"\r\n" for name, value in headers)
