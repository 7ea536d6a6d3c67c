"""How many predictions does one server core answer, and what do the recorder and the counters take of it?

One row of ten columns to a linear model whose predict is a NumPy product, over loopback, keep-alive. Four servers, each
a process of its own with the uvicorn settings of `trimtab serve`: `echo` (a raw ASGI application that reads the body
and sends as many bytes as an answer has), `without` (the whole application, nothing recorded), `with` (the recorder,
"fast") and `strict`. They take turns within one run; each figure is the median of all turns. The load comes from `wrk`
where it is installed, else from this script. CPU time is the server's own, from /proc, and tells more than the rate
does where others use the machine. One JSON object a line.

    python benchmarks/serving/hot_path.py [SECONDS A TURN] [TURNS] [named | tensor]
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

COLUMNS = 10
ROLES = ("echo", "without", "with", "strict")
_TICKS = os.sysconf("SC_CLK_TCK")


class Linear:
    """What the NumPy predict path of a linear model is."""

    def __init__(self, coefficients: Any, intercept: float) -> None:
        self.coefficients, self.intercept = coefficients, intercept

    def predict(self, X: Any) -> Any:
        """One number a row."""
        return X @ self.coefficients + self.intercept


class OneVersion:
    """A source with one version that is always live."""

    def __init__(self, made: Any) -> None:
        self._made = made

    def revision(self) -> int:
        """Never changes."""
        return 1

    def wanted(self) -> Mapping[Any, Any]:
        """The one."""
        from trimtab.serving.source import Place, Wanted

        return {Place("linear", "production"): Wanted(1)}

    def load(self, model: str, number: int) -> Any:
        """It is made already."""
        return self._made

    def servable(self, model: str, number: int) -> bool:
        """Always."""
        return True


def bundle() -> Any:
    """A linear model of ten columns."""
    import numpy as np

    from trimtab.data.contract import Column, Contract
    from trimtab.registry.bundle import Bundle

    names = [f"x{place}" for place in range(COLUMNS)]
    contract = Contract(columns=tuple(Column(name=name, type="number", min=-100, max=100) for name in names))
    return Bundle(contract=contract, facts={"task": "regression", "classes": []}, name="linear", number=1,
                  estimator=Linear(np.arange(COLUMNS) / 7, 0.5))


def request(kind: str) -> tuple[str, str]:
    """Path and body of the question."""
    values = [round(0.1 * place - 0.37, 4) for place in range(COLUMNS)]
    if kind == "named":
        row = {f"x{place}": value for place, value in enumerate(values)}
        return "/api/models/linear/predict", json.dumps({"rows": [row]})
    return "/v2/models/linear/infer", json.dumps({"inputs": [
        {"name": "input", "shape": [1, COLUMNS], "datatype": "FP64", "data": values}]})


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Reads the body, sends as many bytes as an answer has."""
    body = b""
    while True:
        message = await receive()
        body += message["body"]
        if not message["more_body"]:
            break
    sent = body.ljust(200)[:200]
    await send({"type": "http.response.start", "status": 200, "headers": [
        (b"content-type", b"application/json"), (b"content-length", b"200")]})
    await send({"type": "http.response.body", "body": sent})


def serve(role: str, folder: Path) -> None:
    """Answer until SIGTERM; prints the port when ready."""
    import socket
    from types import SimpleNamespace

    import uvicorn

    from trimtab.clock import SystemClock
    from trimtab.doors import server
    from trimtab.doors.desk import Desk
    from trimtab.ids import Ids
    from trimtab.serving.engine import Engine
    from trimtab.traffic.log import TrafficLog

    listening = socket.create_server(("127.0.0.1", 0), backlog=2048)
    if role == "echo":
        config = uvicorn.Config(echo, http="httptools", log_config=None, access_log=False, lifespan="off",
                                server_header=False, ws="none")
        print(listening.getsockname()[1], flush=True)
        uvicorn.Server(config).run(sockets=[listening])
        return
    log = None if role == "without" else TrafficLog(
        folder / role, writer="w-1", now=SystemClock(), durability="strict" if role == "strict" else "fast")
    engine = Engine(OneVersion(bundle()), now=SystemClock(), ids=Ids(), record=log and log.append)
    engine.start()
    desk = Desk(SimpleNamespace(), engine)  # type: ignore[arg-type]
    server.run(desk, log, listening, on_ready=lambda: print(listening.getsockname()[1], flush=True))


def cpu_s(pid: int) -> float:
    """CPU seconds that a process has used."""
    told = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(told[11]) + int(told[12])) / _TICKS


def by_wrk(port: int, path: str, body: str, clients: int, seconds: float, folder: Path) -> tuple[int, float, float]:
    """(requests, p50 ms, p99 ms)."""
    script = folder / "post.lua"
    script.write_text(f"wrk.method = 'POST'\nwrk.body = [=[{body}]=]\n"
                      "wrk.headers['Content-Type'] = 'application/json'\n"
                      "done = function(s, l, r) io.write(string.format('told %d %d %f %f\\n', s.requests, "
                      "s.errors.status + s.errors.connect + s.errors.read + s.errors.write + s.errors.timeout, "
                      "l:percentile(50) / 1000, l:percentile(99) / 1000)) end\n")
    out = subprocess.run(["wrk", "-t1", f"-c{clients}", f"-d{seconds:g}s", "-s", str(script),
                          f"http://127.0.0.1:{port}{path}"], capture_output=True, text=True, check=True).stdout
    told = re.search(r"told (\d+) (\d+) ([\d.]+) ([\d.]+)", out)
    if told is None or told[2] != "0":
        raise RuntimeError(out)
    return int(told[1]), float(told[3]), float(told[4])


def by_hand(port: int, path: str, body: str, clients: int, seconds: float) -> tuple[int, float, float]:
    """The same without wrk."""
    raw = body.encode()
    asked = (f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
             f"Content-Length: {len(raw)}\r\n\r\n").encode() + raw
    took: list[float] = []

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        end = time.perf_counter() + seconds
        while (begun := time.perf_counter()) < end:
            writer.write(asked)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            found = re.search(rb"content-length: (\d+)", head)
            assert found is not None
            await reader.readexactly(int(found[1]))
            took.append(time.perf_counter() - begun)
        writer.close()

    async def all_of_them() -> None:
        await asyncio.gather(*(client() for _ in range(clients)))

    asyncio.run(all_of_them())
    took.sort()
    return len(took), took[len(took) // 2] * 1e3, took[int(len(took) * 0.99)] * 1e3


def measure(folder: Path, seconds: float, turns: int, kind: str, roles: tuple[str, ...] = ROLES) -> None:
    """Print one line a role and number of clients, then what the recorder and the counters take."""
    started = {role: subprocess.Popen([sys.executable, __file__, "--serve", role, str(folder / kind)], text=True,
                                      stdout=subprocess.PIPE) for role in roles}
    try:
        ports = {role: int(one.stdout.readline()) for role, one in started.items()}  # type: ignore[union-attr]
        path, body = request(kind)

        def ask(role: str, clients: int, lasting: float) -> tuple[int, float, float]:
            if shutil.which("wrk"):
                return by_wrk(ports[role], path, body, clients, lasting, folder)
            return by_hand(ports[role], path, body, clients, lasting)

        for role in roles:
            ask(role, 8, 1)
        for clients in (8, 64):
            told: dict[str, list[tuple[float, float, float, float]]] = {role: [] for role in roles}
            for _ in range(turns):
                for role, process in started.items():
                    before = cpu_s(process.pid)
                    begun = time.perf_counter()
                    count, p50, p99 = ask(role, clients, seconds)
                    rate = count / (time.perf_counter() - begun)
                    told[role].append((rate, (cpu_s(process.pid) - before) / count * 1e6, p50, p99))
            middle = {role: [statistics.median(column) for column in zip(*rows, strict=True)]
                      for role, rows in told.items()}
            for role, (rate, cpu_us, p50, p99) in middle.items():
                print(json.dumps({"clients": clients, "body": kind, "server": role, "req_s": round(rate),
                                  "cpu_us": round(cpu_us, 1), "p50_ms": round(p50, 2), "p99_ms": round(p99, 2)}))
            if {"echo", "without", "with"} <= set(roles):
                print(json.dumps({
                    "clients": clients, "body": kind,
                    "of_echo_ratio": round(middle["with"][0] / middle["echo"][0], 3),
                    "of_echo_by_cpu_ratio": round(middle["echo"][1] / middle["with"][1], 3),
                    "recorder_and_counters_cost_ratio": round(1 - middle["with"][0] / middle["without"][0], 3),
                    "by_cpu_ratio": round(1 - middle["without"][1] / middle["with"][1], 3)}), flush=True)
    finally:
        for process in started.values():
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=30)


def main() -> None:
    """See the module's docstring."""
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2], Path(sys.argv[3]))
        return
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 2.0
    turns = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    with tempfile.TemporaryDirectory() as folder:
        for kind in sys.argv[3:4] or ("named", "tensor"):
            measure(Path(folder), seconds, turns, kind)


if __name__ == "__main__":
    main()
