"""The lane before the guard: the same answers as by the long way, in order, each on disk before it goes out."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Literal

import pytest
import serving_scenes as scenes
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st
from uvicorn.server import ServerState

from trimtab.doors import server
from trimtab.doors.desk import Desk
from trimtab.doors.inference.lane import Lane, planned
from trimtab.serving.rollout import PRODUCTION
from trimtab.traffic import log as log_module
from trimtab.traffic.log import TrafficLog
from trimtab.traffic.query import Traffic
from trimtab.workspace import Workspace

Answer = tuple[int, dict[bytes, bytes], Any]
NAMED = ("/api/models/risk/predict", '{"rows": [{"rate": 0.5, "volume": 2.0}]}')
TENSOR = ("/v2/models/risk/infer",
          '{"id": "a", "inputs": [{"name": "input", "shape": [1, 2], "datatype": "FP64", "data": [0.5, 2.0]}]}')


class Scene:
    """A served model, and how many requests went the long way."""

    def __init__(self, ws: Workspace, durability: Literal["fast", "strict"] | None = "fast", idle_s: int = 30) -> None:
        self.log = None if durability is None else TrafficLog(ws.folder / "traffic", writer=ws.ids.short("w"),
                                                              now=ws.clock, durability=durability)
        self.engine = server.make_engine(ws, None if self.log is None else self.log.append)
        self.engine.refresh()
        self.desk = Desk(ws, self.engine)
        self.engine.metrics.of("risk", PRODUCTION, 1).answered(1, 0.0001, 50)      # it was quick before
        self.slow = 0
        self.guard = server.build_app(self.desk)
        self.lane = Lane(self.desk, self.guard, self.log)
        self.idle_s = idle_s

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        self.slow += 1
        await self.guard(scope, receive, send)

    def play(self, scene: Callable[[int], Awaitable[Any]]) -> Any:
        """Run a client against it."""

        async def whole() -> Any:
            loop, state = asyncio.get_running_loop(), ServerState()
            config = uvicorn.Config(self._app, interface="asgi3", log_config=None, lifespan="off", ws="none",
                                    timeout_keep_alive=self.idle_s)
            self.lane.start()
            made = await loop.create_server(lambda: self.lane.connection(
                config=config, server_state=state, app_state={}, _loop=loop), "127.0.0.1", 0)
            try:
                return await asyncio.wait_for(scene(made.sockets[0].getsockname()[1]), 60)
            finally:
                made.close()
                for connection in list(state.connections):
                    connection.transport.close()                 # type: ignore[union-attr]

        try:
            return asyncio.run(whole())
        finally:
            if self.log is not None:
                self.log.close()


def asked(path: str, body: str, *more: str, host: str = "127.0.0.1") -> bytes:
    """A request as bytes."""
    raw = body.encode()
    head = [f"POST {path} HTTP/1.1", f"Host: {host}", "Content-Type: application/json",
            f"Content-Length: {len(raw)}", *more]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + raw


async def answer(reader: asyncio.StreamReader) -> Answer:
    """Status, headers and JSON of one answer."""
    head = (await reader.readuntil(b"\r\n\r\n"))[:-4]
    first, *lines = head.split(b"\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(b": ") for line in lines)}
    return int(first.split()[1]), headers, json.loads(await reader.readexactly(int(headers[b"content-length"])))


async def ask(port: int, *requests: bytes) -> list[Answer]:
    """The answers to requests that are sent one after the other over one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    found = []
    for each in requests:
        writer.write(each)
        found.append(await answer(reader))
    writer.close()
    return found


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    made = scenes.workspace(tmp_path)
    scenes.linear(made)
    made.rollouts.deploy("risk", 1, by="ada")
    return made


def masked(told: Answer) -> Any:
    """An answer without what differs each time."""
    status, headers, body = told
    text = re.sub(r'p-[0-9A-Z]{26}|"latency_us": \d+', "p-…", json.dumps(body))
    return status, sorted(set(headers) - {b"date"}), text


@pytest.mark.parametrize(("path", "body", "host"), [
    (*NAMED, "127.0.0.1"), (*TENSOR, "localhost:9"), (NAMED[0], '[{"rate": 1}, {"rate": 2, "volume": null}]', "[::1]"),
    (NAMED[0], '{"rate": 99}', "localhost"), (NAMED[0], '{"rows": [{"rate": 1, "rate": 2}]}', "localhost"),
    (NAMED[0], "{", "localhost"), (NAMED[0], "[" * 99, "localhost"), (NAMED[0], '{"rate": 1}', "evil.example"),
    (TENSOR[0], '{"inputs": []}', "localhost"), ("/v2/models/none/infer", TENSOR[1], "localhost"),
    (TENSOR[0], TENSOR[1].replace('"a"', '"a:b"'), "localhost"),
    (TENSOR[0], TENSOR[1].replace('"id": "a"', '"id": "a", "id": "b"'), "localhost")])
def test_the_lane_and_the_long_way_answer_alike(ws: Workspace, path: str, body: str, host: str) -> None:
    """Status, names of headers, body: for good requests and for every kind of bad one."""
    scene = Scene(ws, None)
    quick, slow = scene.play(lambda port: ask(port, asked(path, body, host=host),
                                              asked(path, body, "X-Other: 1", host=host)))
    assert masked(quick) == masked(slow)
    assert scene.slow == (2 if host == "evil.example" or "none" in path or quick[0] == 500 else 1)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    made = scenes.workspace(tmp_path_factory.mktemp("kept"))
    scenes.linear(made)
    made.rollouts.deploy("risk", 1, by="ada")
    return made


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(1, 1500), max_size=8), kinds=st.lists(st.booleans(), min_size=1, max_size=5))
def test_requests_that_come_in_pieces_or_together_are_answered_in_order(
        kept: Workspace, cuts: list[int], kinds: list[bool]) -> None:
    """However the bytes are cut, and whether a request goes through the lane or the long way."""
    sent = b"".join(asked(TENSOR[0], TENSOR[1].replace('"a"', f'"{place}"'), *(() if kind else ("X-Other: 1",)))
                    for place, kind in enumerate(kinds))

    async def pieces(port: int) -> list[Answer]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        start = 0
        for cut in [*sorted(set(cuts)), len(sent)]:
            writer.write(sent[start:cut])
            start = max(start, cut)
            await writer.drain()
            await asyncio.sleep(0.002)
        found = [await answer(reader) for _ in kinds]
        writer.close()
        return found

    told = Scene(kept).play(pieces)
    assert [body["id"] for _, _, body in told] == [str(place) for place in range(len(kinds))]


@pytest.mark.parametrize("durability", ["fast", "strict"])
def test_many_clients_are_recorded_together_and_before_their_answers(
        ws: Workspace, durability: Literal["fast", "strict"], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each answer's id is in the segment by the time that it arrives; fewer writes than requests."""
    writes: list[int] = []
    real = os.write
    monkeypatch.setattr(log_module.os, "write", lambda handle, data: (writes.append(len(data)), real(handle, data))[1])
    scene = Scene(ws, durability)

    async def client(port: int) -> int:
        for _ in range(20):
            told = (await ask(port, asked(*NAMED)))[0][2]
            wanted = told["predictions"][0]["id"].encode()
            assert any(wanted in path.read_bytes() for path in ws.folder.glob("traffic/*/*.log"))
        return 20

    async def crowd(port: int) -> list[int]:
        return await asyncio.gather(*(client(port) for _ in range(12)))

    assert sum(scene.play(crowd)) == 240
    assert scene.slow < 240                                 # a busy machine may make some of them slow
    assert len(Traffic(ws.folder / "traffic").frame()) == 240
    assert len(writes) < 240


def test_a_full_disk_answers_none_of_them_and_it_goes_on_by_itself(ws: Workspace,
                                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    """507 for all that waited for that write; nothing is recorded of it; the next is served."""
    scene, real, full = Scene(ws), os.write, [True]

    def fails(handle: int, data: bytes) -> int:
        if full[0] and b"request" in data:
            raise OSError(errno.ENOSPC, "full")
        return real(handle, data)

    monkeypatch.setattr(log_module.os, "write", fails)

    async def two(port: int) -> tuple[list[list[Answer]], list[Answer]]:
        refused = await asyncio.gather(*(ask(port, asked(*NAMED)) for _ in range(3)))
        full[0] = False
        return refused, await ask(port, asked(*TENSOR))

    refused, good = scene.play(two)
    assert [told[0][0] for told in refused] == [507] * 3
    assert "no space is left" in refused[0][0][2]["error"]["message"]
    assert good[0][0] == 200
    assert scene.slow == 0
    assert len(Traffic(ws.folder / "traffic").frame()) == 1


def test_a_model_that_takes_long_goes_to_a_thread(ws: Workspace) -> None:
    """What answers slowly must not hold up the loop; so does one that was not asked yet."""
    scene = Scene(ws)
    scene.engine.metrics.of("risk", PRODUCTION, 1).pace_us = 5000
    assert [told[0] for told in scene.play(lambda port: ask(port, asked(*NAMED)))] == [200]
    assert scene.slow == 1


def test_an_idle_connection_is_closed_after_a_while(ws: Workspace) -> None:
    async def idle(port: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(2):
            writer.write(asked(*NAMED))
            await answer(reader)
        left = await reader.read()
        writer.close()
        await writer.wait_closed()
        return left

    scene = Scene(ws, idle_s=1)
    assert scene.play(idle) == b""
    assert scene.slow == 0


GOOD = [b"POST /api/models/risk/predict HTTP/1.1", b"Host: localhost", b"Content-Type: application/json",
        b"Content-Length: 5"]


@pytest.mark.parametrize("lines", [
    [b"GET /api/models/risk/predict HTTP/1.1", *GOOD[1:]], [b"POST /api/models/risk/predict HTTP/1.0", *GOOD[1:]],
    [b"POST /api/models/a/b/predict HTTP/1.1", *GOOD[1:]], [b"POST /api/models/a%2fb/predict HTTP/1.1", *GOOD[1:]],
    [b"POST /api/models/a?x/predict HTTP/1.1", *GOOD[1:]], [b"POST /api/models/\xff/predict HTTP/1.1", *GOOD[1:]],
    [b"POST  /api/models/risk/predict HTTP/1.1", *GOOD[1:]], [b"POST /api/models/a b/predict HTTP/1.1", *GOOD[1:]],
    [*GOOD, b"Host: localhost"], [*GOOD, b"Content-Length: 5"], [*GOOD, b"Transfer-Encoding: chunked"],
    [*GOOD, b"Origin: http://evil.example"], [*GOOD, b"Sec-Fetch-Site: cross-site"], [*GOOD, b"Connection: close"],
    [*GOOD, b" folded"], [*GOOD, b"Accept : a"], [*GOOD, b"Accept: a\nX: b"], [*GOOD, b"Accept: \0"], [*GOOD, b""],
    [*GOOD[:3], b"Content-Length: +5"], [*GOOD[:3], b"Content-Length: 0"], [*GOOD[:3], b"Content-Length: 5, 5"],
    [*GOOD[:3], b"Content-Length: 99999"], GOOD[:3], [*GOOD[:2], b"Content-Type: text/plain", GOOD[3]],
    [GOOD[0], b"Host: localhost.evil.example", *GOOD[2:]], [GOOD[0], *GOOD[2:]],
    [*GOOD, b"Content-Encoding: gzip"], [*GOOD, b"Expect: 100-continue"], [*GOOD, b"X-Trimtab-Version: canary"]])
def test_only_the_plainest_heads_take_the_lane(lines: list[bytes]) -> None:
    """Everything else is the guard's to judge."""
    assert planned(b"\r\n".join(GOOD)) is not None
    assert planned(b"\r\n".join(lines)) is None


def test_a_name_in_any_script_takes_the_lane() -> None:
    plan = planned(b"\r\n".join([b"POST /v2/models/%E9%A3%8E%E9%99%A9/infer HTTP/1.1", *GOOD[1:]]))
    assert plan is not None
    assert plan.place.model == "风险"
