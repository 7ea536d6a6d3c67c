"""Several processes on one port: connections are spread; all swap, count and end together; a dead one is replaced."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import serving_scenes as scenes
from test_tending import ends, soon

from trimtab.errors import Conflict, UsageError
from trimtab.serving.together import Together, added
from trimtab.workspace import Workspace

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="connections are spread by Linux only")
BODY = {"inputs": [{"name": "input", "shape": [1, 2], "datatype": "FP64", "data": [0.0, 0.0]}]}
SERVE = [sys.executable, "-m", "trimtab", "serve", "--port", "0"]


class Server:
    """`trimtab serve --workers 2` on folder/ws."""

    def __init__(self, folder: Path, *more: str) -> None:
        self.process = subprocess.Popen([*SERVE, "--workers", "2", "--workspace", str(folder / "ws"), *more],
                                        stderr=subprocess.PIPE, text=True)
        self.said: list[str] = []
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)
            if line.startswith("Serving on "):
                self.url = line.split()[-1]
                break
        else:
            raise AssertionError("".join(self.said))
        self._reader = threading.Thread(target=self.said.extend, args=(self.process.stderr,), daemon=True)
        self._reader.start()

    def children(self, module: str) -> list[int]:
        """Processes of ours that run a module."""
        told = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        pids = [int(one) for task in told for one in task.read_text().split()]
        return [pid for pid in pids if module in Path(f"/proc/{pid}/cmdline").read_text().split("\0")]

    def end(self) -> int:
        self.process.terminate()
        code = self.process.wait(timeout=60)
        self._reader.join(timeout=5)
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    with scenes.workspace(tmp_path) as made:
        scenes.constant(made, 1.0)
        scenes.constant(made, 2.0)
        made.rollouts.deploy("risk", 1, by="ada")
        yield made


@pytest.fixture
def server(ws: Workspace, tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path)
    yield made
    if made.process.poll() is None:
        made.end()


@contextmanager
def on_connections(server: Server, count: int) -> Iterator[list[Callable[[], str]]]:
    """`count` kept connections; each call asks over its own and says which version answered."""
    host, port = server.url.removeprefix("http://").split(":")

    def asking(held: http.client.HTTPConnection) -> Callable[[], str]:
        def ask() -> str:
            held.request("POST", "/v2/models/risk/infer", json.dumps(BODY), {"Content-Type": "application/json"})
            told = held.getresponse()
            answer = json.loads(told.read())
            assert told.status == 200, answer
            return str(answer["model_version"])
        return ask

    held = [http.client.HTTPConnection(host, int(port), timeout=60) for _ in range(count)]
    yield [asking(one) for one in held]
    for one in held:
        one.close()


def requests(server: Server) -> int:
    found = re.findall(r'^trimtab_requests_total\{.*\} (\d+)$', httpx.get(server.url + "/metrics").text, re.MULTILINE)
    return sum(map(int, found))


def test_they_share_the_work_swap_count_and_end_together(server: Server, ws: Workspace, tmp_path: Path) -> None:
    """64 connections reach both; both answer with what was promoted; /metrics has them all; each has its own segments,
    and there is one loop."""
    with on_connections(server, 64) as asking:
        assert {ask() for ask in asking} == {"1"}
        assert len(list((tmp_path / "ws" / "traffic").iterdir())) == 2       # both wrote, so both were asked
        ws.rollouts.promote("risk", 2, by="ada")
        assert soon(lambda: {ask() for ask in asking} == {"2"})
    before = ws.traffic.count()
    assert before >= 128
    assert soon(lambda: requests(server) == before)
    assert len(server.children("trimtab.doors.workers")) == 2
    assert soon(lambda: len(server.children("trimtab.doors.tending")) == 1)
    pids = server.children("trimtab.doors.workers") + server.children("trimtab.doors.tending")
    assert server.end() == 0
    assert all(map(ends, pids))
    assert [line for line in server.said if not line.startswith(("{", "Serving on "))] == []
    assert list((tmp_path / "ws" / "serving").iterdir()) == []


def test_a_worker_that_dies_is_begun_again_and_what_it_counted_stays(server: Server) -> None:
    """Who connects meanwhile waits; nobody is refused."""
    with on_connections(server, 16) as asking:
        for ask in asking:
            ask()
    assert soon(lambda: requests(server) == 16)
    first = server.children("trimtab.doors.workers")
    os.kill(first[0], signal.SIGKILL)
    with on_connections(server, 16) as asking:
        for ask in asking:
            ask()
    assert soon(lambda: len(server.children("trimtab.doors.workers")) == 2)
    assert first[0] not in server.children("trimtab.doors.workers")
    assert soon(lambda: requests(server) == 32)
    assert server.end() == 0
    assert any('"worker.died"' in line for line in server.said)


def test_the_end_of_the_server_by_force_is_the_end_of_its_workers(server: Server) -> None:
    pids = server.children("trimtab.doors.workers")
    server.process.kill()
    assert all(map(ends, pids))
    server.process.wait()
    assert server.process.stderr is not None
    server._reader.join(timeout=20)
    server.process.stderr.close()


def test_a_port_of_another_server_is_taken_though_sockets_are_shared(server: Server, ws: Workspace) -> None:
    from trimtab.doors.workers import serve_together

    with pytest.raises(Conflict, match="is taken"):
        serve_together(ws, "127.0.0.1", int(server.url.rsplit(":", 1)[1]), workers=2)


def test_counters_are_added_and_what_is_told_by_each_is_not(tmp_path: Path) -> None:
    """Of a worker that is gone the counters stay and the gauges go; labels may differ."""
    head = "# HELP trimtab_rows_total Rows.\n# TYPE trimtab_rows_total counter\n"
    live = ("# TYPE trimtab_live gauge\ntrimtab_live 1\n"
            "# TYPE trimtab_waiting_requests gauge\ntrimtab_waiting_requests 3\n")
    told = added([(head + 'trimtab_rows_total{model="a"} 2\n' + live, True),
                  (head + 'trimtab_rows_total{model="b"} 3\ntrimtab_rows_total{model="a"} 1.500000\n' + live, True),
                  (head + 'trimtab_rows_total{model="a"} 4\n' + live, False)])
    assert told.splitlines() == [*head.splitlines(), 'trimtab_rows_total{model="a"} 7.500000',
                                 'trimtab_rows_total{model="b"} 3', "# TYPE trimtab_live gauge", "trimtab_live 1",
                                 "# TYPE trimtab_waiting_requests gauge", "trimtab_waiting_requests 6"]
    one, other = Together(tmp_path, "w-1"), Together(tmp_path, "w-2")
    one.leave(head + "trimtab_rows_total 1\n")
    other.leave(head + "trimtab_rows_total 2\n")
    assert one.text() == other.text() == head + "trimtab_rows_total 3\n"


def test_the_unit_is_one_that_systemd_takes(ws: Workspace, tmp_path: Path) -> None:
    """With the options that were given; a folder whose name a unit can't hold is refused."""
    from trimtab.doors.systemd import unit

    options = {"host": "127.0.0.1", "port": 8321, "durability": "strict", "loop": False, "grpc_port": None,
               "default": "risk", "memory": "2GiB"}
    text = unit(tmp_path / "100%", workers=3, **options)       # type: ignore[arg-type]
    assert "--durability strict --workers 3 --no-loop --default risk --memory 2GiB" in text
    assert "/100%%" in text
    with pytest.raises(UsageError, match="plainer"):
        unit(tmp_path / "a b", workers=1, **options)           # type: ignore[arg-type]
    printed = subprocess.run([*SERVE, "--workspace", str(ws.folder), "--print-systemd"], capture_output=True, text=True,
                             check=True).stdout
    if shutil.which("systemd-analyze") is None:
        pytest.skip("the unit was NOT VERIFIED: there is no systemd-analyze")
    (tmp_path / "trimtab.service").write_text(printed)
    ran = subprocess.run(["systemd-analyze", "verify", "--man=no", str(tmp_path / "trimtab.service")],
                         capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout + ran.stderr) == (0, "")
