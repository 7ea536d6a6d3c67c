"""The real server: it listens, swaps under load, drains when asked to end, and refuses what others could reach."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import serving_scenes as scenes
from running import Running, open_folder

from trimtab.doors import server
from trimtab.errors import Conflict, Forbidden
from trimtab.workspace import Workspace


@pytest.fixture
def folder() -> Iterator[Path]:
    with open_folder() as made:
        yield made


@pytest.fixture
def running(folder: Path) -> Iterator[Running]:
    ws = scenes.workspace(folder)
    scenes.constant(ws, 1.0)
    scenes.constant(ws, 2.0)
    ws.rollouts.deploy("risk", 1, by="ada")
    ws.close()
    made = Running(folder)
    yield made
    if made.process.poll() is None:
        made.process.kill()
    made.end()


def body(rows: int = 1) -> dict[str, Any]:
    return {"inputs": [{"name": "input", "shape": [rows, 2], "datatype": "FP64", "data": [0.0] * (2 * rows)}]}


def test_it_says_when_it_is_ready_answers_and_ends_in_order(running: Running) -> None:
    """Port 0 picks a free one; /health is OK; SIGTERM ends it with exit code 0 and nothing but events on stderr."""
    assert httpx.get(running.url + "/health").text == "OK"
    told = httpx.post(running.url + "/v2/models/risk/infer", json=body()).json()
    assert told["outputs"][0]["data"] == [1.0]
    assert running.end() == 0
    assert [line for line in running.said if not line.startswith(("{", "Serving on "))] == []


def test_swaps_and_rollbacks_over_http_under_load_lose_and_mix_nothing(running: Running) -> None:
    """Eight clients, 56 changes: every answer is 200 and of exactly the version that it names."""
    wrong: list[object] = []
    counts = {"1": 0, "2": 0}
    done = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=running.url) as client:
            while not done.is_set():
                made = client.post("/v2/models/risk/infer", json=body(3))
                told = made.json()
                if made.status_code != 200 or told["outputs"][0]["data"] != [float(told["model_version"])] * 3:
                    wrong.append((made.status_code, told))
                    return
                counts[told["model_version"]] += 1

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    with httpx.Client(base_url=running.url, timeout=30) as client:
        for turn in range(56):
            if turn % 7 == 6:
                made = client.post("/api/models/risk/rollback", json={"to": 1, "why": "practice"})
            else:
                made = client.post("/api/models/risk/promote", json={"version": 2 - turn % 2, "why": "practice"})
            assert made.status_code == 200, made.text
            live = client.post("/v2/models/risk/infer", json=body()).json()["model_version"]
            assert live == str(made.json()["version"])       # what was answered is live
    done.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert min(counts.values()) > 20


def test_what_was_asked_before_sigterm_is_answered(running: Running) -> None:
    """A request that came in whole gets its answer, though the server is told to end meanwhile."""
    host, port = running.url.removeprefix("http://").split(":")
    payload = json.dumps(body(5000)).encode()
    head = (f"POST /v2/models/risk/infer HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(payload)}\r\n\r\n").encode()
    sockets = [socket.create_connection((host, int(port))) for _ in range(12)]
    for each in sockets:
        each.sendall(head + payload)
    time.sleep(0.05)
    running.process.send_signal(signal.SIGTERM)
    answers = []
    for each in sockets:
        each.settimeout(30)
        got = b""
        while chunk := each.recv(1 << 16):
            got += chunk
        answers.append(got[:15])
        each.close()
    assert answers == [b"HTTP/1.1 200 OK"] * 12
    assert running.end() == 0


def test_another_process_that_deploys_is_noticed(running: Running, folder: Path) -> None:
    """The store is where they meet: no signal, no restart."""
    ws = Workspace.open(folder / "ws", actor="bob")
    ws.rollouts.promote("risk", 2, by="bob", why="from elsewhere")
    begun = time.monotonic()
    with httpx.Client(base_url=running.url) as client:
        while client.post("/v2/models/risk/infer", json=body()).json()["model_version"] != "2":
            assert time.monotonic() - begun < 60, "it was never noticed"
            time.sleep(0.01)
    ws.close()


def test_hostile_addresses_reach_nothing_on_the_wire(running: Running) -> None:
    """As raw bytes, to a server that runs as nobody in a folder of its own."""
    host, port = running.url.removeprefix("http://").split(":")
    for path in (b"/../../etc/passwd", b"//etc/passwd", b"/v2/models/..%2f..%2fetc%2fpasswd",
                 b"/%2e%2e/%2e%2e/etc/passwd", b"/v2/models/\xff\xfe", b"/v2/models/a%00b",
                 b"http://evil.example/health", b"/v2/models/" + b"a" * 20000):
        with socket.create_connection((host, int(port))) as raw:
            raw.settimeout(10)
            raw.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            got = b""
            try:
                while chunk := raw.recv(65536):
                    got += chunk
            except ConnectionResetError:
                pass
        assert b"root:" not in got
        assert b"Traceback" not in got
        assert not got.startswith(b"HTTP/1.1 5")
    assert httpx.get(running.url + "/health").text == "OK"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.org", "", "10.0.0.1"])
def test_an_address_that_others_could_reach_is_refused(tmp_path: Path, host: str) -> None:
    """There is no log-in in this release, so there is no exception."""
    with pytest.raises(Forbidden, match=r"127\.0\.0\.1"):
        server.serve(scenes.workspace(tmp_path), host, 0)


def test_a_port_that_is_taken_is_said_so(tmp_path: Path) -> None:
    """With the way on: another port."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(Conflict, match="is taken; choose another with --port"):
            server.serve(scenes.workspace(tmp_path), "127.0.0.1", taken.getsockname()[1])


@pytest.mark.slow
def test_clients_that_ask_without_pause_are_not_reset_by_sigterm(folder: Path) -> None:
    """Six of them over kept connections: each request that was sent is answered whole; the last answer says so, and who
    connects anew is refused."""
    ws = scenes.workspace(folder)
    for value in (1.0, 2.0):
        scenes.constant(ws, value)
    ws.rollouts.deploy("risk", 1, by="ada")
    ws.close()
    payload = json.dumps(body()).encode()
    for _ in range(2):
        running, asked, ends = Running(folder), [0] * 6, [""] * 6
        host, port = running.url.removeprefix("http://").split(":")
        head = (f"POST /v2/models/risk/infer HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(payload)}\r\n\r\n").encode()

        def ask(place: int, address: tuple[str, int], sent: bytes, asked: list[int], ends: list[str]) -> None:
            while not ends[place]:
                try:
                    each = socket.create_connection(address, timeout=30)
                except ConnectionRefusedError:
                    ends[place] = "refused"
                    return
                with each:
                    closing = False
                    while not closing:
                        try:
                            each.sendall(sent)
                            got = b""
                            while b"\r\n\r\n" not in got or not got.endswith(b"}"):
                                part = each.recv(1 << 16)
                                if not part:
                                    raise ConnectionResetError
                                got += part
                        except (ConnectionError, TimeoutError) as problem:
                            ends[place] = type(problem).__name__
                            return
                        assert got.startswith(b"HTTP/1.1 200")
                        asked[place] += 1
                        closing = b"connection: close" in got

        threads = [threading.Thread(target=ask, args=(place, (host, int(port)), head + payload, asked, ends))
                   for place in range(6)]
        for thread in threads:
            thread.start()
        time.sleep(1.0)
        assert running.end() == 0
        for thread in threads:
            thread.join()
        assert ends == ["refused"] * 6
        assert min(asked) > 10
