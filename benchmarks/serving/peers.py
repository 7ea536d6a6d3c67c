"""How many predictions a second does one server core give, of ours and of others, in one run?

Two models of ten columns, a linear regression and a forest of 100 trees, behind each of: a raw ASGI application that
echoes (`echo`), the whole of ours with recorder, contract and counters (`trimtab`), a FastAPI application by hand
(`fastapi`), MLServer and `mlflow models serve`. Each server runs on one core, the load (`wrk`) on another, where there
are two; they take turns, and a figure is the median of the turns. What is not installed is told as NOT MEASURED.
Ratios are of ours to each, in the same run. Any server that runs already can be measured beside them by its address.

    python benchmarks/serving/peers.py [--seconds 2] [--turns 3] [--fastapi PYTHON] [--mlserver PYTHON]
        [--mlflow PYTHON] [--url http://127.0.0.1:9000/v2/models/linear/infer --protocol v2]

PYTHON is that of an environment with the peer in it (and scikit-learn; for FastAPI also uvicorn[standard]).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hot_path import COLUMNS, by_wrk, cpu_s

KINDS = ("linear", "forest")
INGREDIENTS = ("code", "data", "config", "environment")
NAMES = [f"x{place}" for place in range(COLUMNS)]
VALUES = [round(0.1 * place - 0.37, 4) for place in range(COLUMNS)]
BODIES: dict[str, Any] = {
    "v2": {"inputs": [{"name": "input", "shape": [1, COLUMNS], "datatype": "FP64", "data": VALUES}]},
    "named": {"rows": [dict(zip(NAMES, VALUES, strict=True))]},
    "dataframe_split": {"dataframe_split": {"columns": NAMES, "data": [VALUES]}},
    "inputs": {"inputs": [VALUES]},
    "tfserving": {"instances": [dict(zip(NAMES, VALUES, strict=True))]}}
FASTAPI = """
    import sys, pickle
    import numpy as np, uvicorn
    from fastapi import FastAPI
    from pydantic import BaseModel
    app, model = FastAPI(), pickle.load(open(sys.argv[1], "rb"))
    class Input(BaseModel):
        name: str
        shape: list[int]
        datatype: str
        data: list[float]
    class Body(BaseModel):
        inputs: list[Input]
    @app.post("/predict")
    async def predict(body: Body):
        given = body.inputs[0]
        return {"predictions": model.predict(np.array(given.data).reshape(given.shape)).tolist()}
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning", access_log=False)
"""
SAVE = """
    import sys, pickle
    import numpy as np
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.linear_model import LinearRegression
    folder, columns, how = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, columns))
    y = X @ np.arange(columns) + rng.normal(size=2000)
    for kind, model in (("linear", LinearRegression()), ("forest", RandomForestRegressor(100, random_state=0))):
        model.fit(X, y)
        with open(f"{folder}/{kind}.pkl", "wb") as file:
            pickle.dump(model, file)
        if how == "mlserver":
            import joblib
            joblib.dump(model, f"{folder}/{kind}.joblib")
        if how == "mlflow":
            import mlflow.sklearn
            mlflow.sklearn.save_model(model, f"{folder}/{kind}", serialization_format="cloudpickle")
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A server to measure. start: makes it answer on a port, from a folder; a process, or None where it runs."""

    name: str
    kind: str
    path: str
    protocol: str
    start: Callable[[int, Path], subprocess.Popen[bytes] | None]
    base: str = ""


def ours(kind: str) -> Callable[[int, Path], subprocess.Popen[bytes]]:
    """The whole of trimtab."""
    return lambda port, folder: _pinned([sys.executable, __file__, "--serve", kind, str(port), str(folder)])


def by_hand(python: str, kind: str) -> Callable[[int, Path], subprocess.Popen[bytes]]:
    """FastAPI."""

    def start(port: int, folder: Path) -> subprocess.Popen[bytes]:
        _save(python, folder, "pickle")
        return _pinned([python, "-c", textwrap.dedent(FASTAPI), str(folder / f"{kind}.pkl"), str(port)])
    return start


def mlserver(python: str, kind: str) -> Callable[[int, Path], subprocess.Popen[bytes]]:
    """MLServer as it comes, but for its ports."""

    def start(port: int, folder: Path) -> subprocess.Popen[bytes]:
        _save(python, folder, "mlserver")
        (folder / "settings.json").write_text(json.dumps({
            "http_port": port, "grpc_port": _free(), "metrics_port": _free(), "host": "127.0.0.1"}))
        (folder / "model-settings.json").write_text(json.dumps({
            "name": kind, "implementation": "mlserver_sklearn.SKLearnModel",
            "parameters": {"uri": str(folder / f"{kind}.joblib")}}))
        return _pinned([str(Path(python).with_name("mlserver")), "start", str(folder)])
    return start


def mlflow(python: str, kind: str) -> Callable[[int, Path], subprocess.Popen[bytes]]:
    """`mlflow models serve` of one worker."""

    def start(port: int, folder: Path) -> subprocess.Popen[bytes]:
        _save(python, folder, "mlflow")
        return _pinned([str(Path(python).with_name("mlflow")), "models", "serve", "-m", str(folder / kind), "-p",
                        str(port), "--env-manager", "local", "--workers", "1"], path=str(Path(python).parent))
    return start


def serve(kind: str, port: int, folder: Path) -> None:
    """Ours, on a workspace of its own, with the tier that registration measures."""
    import pickle

    import numpy as np

    from trimtab.canon import Digest
    from trimtab.data import contract_toml
    from trimtab.data.contract import Column, Contract
    from trimtab.doors import server
    from trimtab.flavors import sklearn as flavor
    from trimtab.flavors import tiers
    from trimtab.registry.model import Ingredients
    from trimtab.store.blobs import put_json
    from trimtab.workspace import Workspace

    _save(sys.executable, folder, "pickle")
    estimator = pickle.loads((folder / f"{kind}.pkl").read_bytes())      # noqa: S301  made by the line before
    contract = Contract(columns=tuple(Column(name=name, type="number", min=-100, max=100) for name in NAMES))
    with Workspace.open(folder / "ws", create=True, actor="ada") as ws:
        saved = flavor.save(estimator)
        ws.versions.register(
            kind, {**saved.files, "contract.toml": contract_toml.render(contract).encode()}, flavor=flavor.FLAVOR,
            types=saved.types, gates="passed", by="ada", ingredients=Ingredients(**{
                each: Digest(put_json(ws.blobs, {"what": each})) for each in INGREDIENTS}),
            facts={"task": "regression", "input": "matrix", "predict": tiers.choose(
                estimator, np.random.default_rng(1).normal(size=(100, COLUMNS))).to_json()})
        ws.rollouts.deploy(kind, 1, by="ada")
        server.serve(ws, port=port)


def echo(port: int, _: Path) -> subprocess.Popen[bytes]:
    """What uvicorn alone gives."""
    return _pinned([sys.executable, __file__, "--echo", "", str(port), ""])


def _save(python: str, folder: Path, how: str) -> None:
    subprocess.run([python, "-c", textwrap.dedent(SAVE), str(folder), str(COLUMNS), how], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _pinned(command: list[str], path: str = "") -> subprocess.Popen[bytes]:
    pin = ["taskset", "-c", "0"] if shutil.which("taskset") and (os.cpu_count() or 1) > 1 else []
    env = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    if path:
        env["PATH"] = f"{path}:{env['PATH']}"
    return subprocess.Popen([*pin, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env,
                            start_new_session=True)


def _free() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


@contextlib.contextmanager
def running(peer: Peer) -> Iterator[tuple[str, int | None, float]]:
    """Its address, the process (None where it runs elsewhere) and the seconds from start to its first answer."""
    if peer.base:
        yield peer.base, None, 0.0
        return
    port = _free()
    with tempfile.TemporaryDirectory() as folder:
        begun = time.monotonic()
        process = peer.start(port, Path(folder))
        assert process is not None
        try:
            base = f"http://127.0.0.1:{port}"
            while not _answers(base + peer.path, peer.protocol):
                if process.poll() is not None or time.monotonic() - begun > 120:
                    raise RuntimeError(f"{peer.name} did not start")
                time.sleep(0.05)
            yield base, process.pid, time.monotonic() - begun
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)       # a group of our own making
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _answers(url: str, protocol: str) -> bool:
    asked = urllib.request.Request(url, json.dumps(BODIES[protocol]).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(asked, timeout=5) as told:
            return bool(told.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def group_cpu_s(leader: int) -> float:
    """CPU seconds of all processes that were started with `leader`."""
    total = 0.0
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            if int((path / "stat").read_text().rpartition(")")[2].split()[2]) == leader:
                total += cpu_s(int(path.name))
    return total


def measure(peers: list[Peer], kind: str, seconds: float, turns: int) -> None:
    """Print a line a server and number of clients, and the ratios of ours to each."""
    rates: dict[tuple[str, int], list[tuple[float, float, float, float]]] = {}
    with contextlib.ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        up: list[tuple[Peer, str, int | None]] = []
        for peer in peers:
            try:
                base, pid, _ = stack.enter_context(running(peer))
                up.append((peer, base, pid))
            except (RuntimeError, OSError, subprocess.CalledProcessError) as problem:
                print(json.dumps({"model": kind, "server": peer.name, "NOT MEASURED": str(problem)[:200]}), flush=True)
        for peer, base, _ in up:
            by_wrk(_port(base), peer.path, json.dumps(BODIES[peer.protocol]), 8, 1, Path(folder))
        for clients in (8, 64):
            for _ in range(turns):
                for peer, base, pid in up:
                    before, begun = group_cpu_s(pid) if pid else 0.0, time.perf_counter()
                    count, p50, p99 = by_wrk(_port(base), peer.path, json.dumps(BODIES[peer.protocol]), clients,
                                             seconds, Path(folder))
                    rate = count / (time.perf_counter() - begun)
                    cpu_us = (group_cpu_s(pid) - before) / count * 1e6 if pid else 0.0
                    rates.setdefault((peer.name, clients), []).append((rate, p50, p99, cpu_us))
            middle = {name: [statistics.median(column) for column in zip(*found, strict=True)]
                      for (name, at), found in rates.items() if at == clients}
            for name, (rate, p50, p99, cpu_us) in middle.items():
                print(json.dumps({"model": kind, "clients": clients, "server": name, "req_s": round(rate),
                                  "p50_ms": round(p50, 2), "p99_ms": round(p99, 2), "cpu_us": round(cpu_us, 1)}))
            for own in [name for name in middle if name.startswith("trimtab")]:
                print(json.dumps({"model": kind, "clients": clients, "ratios_of": own, **{
                    name: round(middle[own][0] / rate, 2) for name, (rate, *_) in middle.items() if name != own},
                    "by_cpu": {name: round(cpu_us / middle[own][3], 2) for name, (*_, cpu_us) in middle.items()
                               if name != own and cpu_us}}), flush=True)


def _port(base: str) -> int:
    return int(base.rpartition(":")[2])


def main() -> None:
    """See the module's docstring."""
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
        return
    if sys.argv[1:2] == ["--echo"]:
        import uvicorn
        from hot_path import echo as app

        uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[3]), http="httptools", log_config=None, access_log=False,
                    lifespan="off", server_header=False, ws="none")
        return
    given = argparse.ArgumentParser()
    given.add_argument("--seconds", type=float, default=2.0)
    given.add_argument("--turns", type=int, default=3)
    given.add_argument("--model", choices=KINDS)
    for name in ("fastapi", "mlserver", "mlflow", "url"):
        given.add_argument(f"--{name}", default="")
    given.add_argument("--protocol", choices=sorted(BODIES), default="v2")
    told = given.parse_args()
    for kind in [told.model] if told.model else KINDS:
        peers = [Peer(name="echo", kind=kind, path="/", protocol="v2", start=echo),
                 Peer(name="trimtab v2", kind=kind, path=f"/v2/models/{kind}/infer", protocol="v2", start=ours(kind))]
        for name, make, path, protocols in (
                ("fastapi", by_hand, "/predict", ("v2",)), ("mlserver", mlserver, f"/v2/models/{kind}/infer", ("v2",)),
                ("mlflow", mlflow, "/invocations", ("dataframe_split", "inputs"))):
            python = getattr(told, name)
            if not python:
                print(json.dumps({"model": kind, "server": name, "NOT MEASURED": f"give its Python by --{name}"}))
                continue
            peers += [Peer(name=f"{name} {protocol}", kind=kind, path=path, protocol=protocol,
                           start=make(python, kind)) for protocol in protocols]
        if told.url:
            base, _, path = told.url.removeprefix("http://").partition("/")
            peers.append(Peer(name=told.url, kind=kind, path="/" + path, protocol=told.protocol, base="http://" + base,
                              start=lambda port, folder: None))
        measure(peers, kind, told.seconds, told.turns)


if __name__ == "__main__":
    main()
