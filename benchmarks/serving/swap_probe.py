"""Does anybody who asks notice that the model is changed under load, also when it is large or broken?

A real server in a process of its own; clients in another, over keep-alive connections, at `share` of the rate that the
small model was found to bear; and promotes and rollbacks at random moments from a third, as the command line makes
them, without waiting for one to be over. Versions of about a kilobyte to over a hundred megabytes, among them one that
answers no finite number and one whose bytes were changed. Of each answer version and value must belong together, to the
last bit.

Figures: errors, answers that no version gives; `stall`: for each version that went live or failed to, the longest any
request waited that was under way between its promote and that moment, less the median of what the longest is in windows
as long without any change; `first_answer`: from warmed and bound to the first answer of the new version. One JSON
object at the end.

    python benchmarks/serving/swap_probe.py [SWAPS] [MEGABYTES] [SHARE]
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

MODEL, COLUMNS, CLIENTS, ROWS = "churn", 10, 8, 64
FIRST_S = 1.5
BROKEN = "answers no number"
DAMAGED = "damaged"


def rows() -> list[dict[str, float]]:
    """What the clients ask, in turn."""
    drawn = random.Random(5)
    return [{f"x{place}": round(drawn.uniform(-3, 3), 4) for place in range(COLUMNS)} for _ in range(ROWS)]


def make(folder: Path, megabytes: float) -> dict[int, tuple[str, int]]:
    """A workspace with versions, the first one live: {number: (what it is, bytes of its file)}."""
    import numpy as np
    from sklearn.dummy import DummyRegressor
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.linear_model import LinearRegression

    from trimtab.canon import Digest
    from trimtab.data import contract_toml
    from trimtab.data.contract import Column, Contract
    from trimtab.flavors import sklearn as flavor
    from trimtab.flavors import tiers
    from trimtab.registry.model import Ingredients
    from trimtab.store.blobs import put_json
    from trimtab.workspace import Workspace

    rng = np.random.default_rng(1)
    leaves = int(megabytes * 1e6 / 64 / 45)                  # of one of its 64 trees; a leaf takes about so many bytes
    X = rng.normal(size=(max(500, leaves), COLUMNS))
    y = X @ np.arange(COLUMNS) + rng.normal(size=len(X))
    made = {"linear": LinearRegression().fit(X, y), "also linear": LinearRegression().fit(X, y + 100),
            "forest": RandomForestRegressor(100, max_depth=6, n_jobs=2, random_state=1).fit(X[:2000], y[:2000]),
            BROKEN: DummyRegressor(strategy="constant", constant=0.0),
            DAMAGED: LinearRegression().fit(X, y - 100),
            "large": RandomForestRegressor(64, bootstrap=False, max_features=1, n_jobs=2, random_state=2).fit(X, y)}
    made[BROKEN].fit(X[:2], y[:2])
    made[BROKEN].constant_ = np.array([[np.nan]])
    contract = Contract(columns=tuple(Column(name=f"x{place}", type="number", min=-100, max=100)
                                      for place in range(COLUMNS)))
    told: dict[int, tuple[str, int]] = {}
    with Workspace.open(folder, create=True, actor="ada") as ws:
        ingredients = Ingredients(**{name: Digest(put_json(ws.blobs, {"what": name}))
                                     for name in ("code", "data", "config", "environment")})
        for name, estimator in made.items():
            estimator.n_jobs = None if name != "also linear" else 1
            saved = flavor.save(estimator)
            version = ws.versions.register(
                MODEL, {**saved.files, "contract.toml": contract_toml.render(contract).encode()}, flavor=flavor.FLAVOR,
                types=saved.types, ingredients=ingredients, gates="passed", note=name, by="ada",
                facts={"task": "regression", "input": "matrix", "predict": tiers.choose(estimator, X[:50]).to_json()})
            told[version.number] = (name, len(saved.files[flavor.FILE]))
            if name == DAMAGED:
                digest = str(version.manifest.files[flavor.FILE]).rpartition(":")[2]
                path = next(path for path in folder.rglob("*") if path.name in (digest, digest[2:]))
                path.chmod(0o600)
                path.write_bytes(path.read_bytes()[:-1] + b"?")
        ws.rollouts.deploy(MODEL, 1, by="ada")
    return told


def expected(folder: Path, numbers: list[int]) -> dict[int, list[float]]:
    """What each version answers to each row, by itself."""
    from trimtab.registry.bundle import load_bundle
    from trimtab.workspace import Workspace

    with Workspace.open(folder, actor="ada") as ws:
        loaded = {number: load_bundle(ws.versions, ws.versions.get(MODEL, number)) for number in numbers}
    return {number: [float(one.predict_rows([row]).values[0]) for row in rows()] for number, one in loaded.items()}


def serve(folder: Path) -> None:
    """`trimtab serve` of the workspace, until SIGTERM."""
    from trimtab.doors import server
    from trimtab.workspace import Workspace

    with Workspace.open(folder, actor="ada") as ws:
        server.serve(ws, on_ready=lambda url: print(url.rpartition(":")[2], flush=True))


def load(port: int, rate: float, seconds: float, out: Path) -> None:
    """Ask at `rate` a second in all, as fast as answers come where 0; write [[begun, took_s, version, place, value]].

    A request that is due while the one before is not answered begins when it was due: who waits is not spared.
    """
    bodies = [json.dumps({"rows": [row]}).encode() for row in rows()]
    asked = [(f"POST /api/models/{MODEL}/predict HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
              f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body
             for body in bodies]
    seen: list[tuple[float, float, bytes, int]] = []
    errors: list[str] = []

    async def client(own: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        due = start + (own / rate if rate else 0)
        place = own
        while due < start + seconds:
            wait = due - time.time()
            if wait > 0:
                await asyncio.sleep(wait)
            begun = due if rate else time.time()
            writer.write(asked[place % ROWS])
            try:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                body = await reader.readexactly(length)
            except (OSError, asyncio.IncompleteReadError) as lost:
                errors.append(repr(lost))
                return
            if head.startswith(b"HTTP/1.1 200"):
                seen.append((begun, time.time() - begun, body, place % ROWS))
            else:
                errors.append(repr(head[:40] + body[:200]))
            place += CLIENTS
            due = due + CLIENTS / rate if rate else time.time()
        writer.close()

    async def all_of_them() -> None:
        await asyncio.gather(*(client(own) for own in range(CLIENTS)))

    start = time.time()
    asyncio.run(all_of_them())
    answers = []
    for begun, took_s, body, place in seen:
        told = json.loads(body)
        answers.append((begun, took_s, told["version"], place, told["predictions"][0]["value"]))
    out.write_text(json.dumps({"answers": answers, "errors": errors}))


def change(folder: Path, kinds: dict[int, str], swaps: int, seed: int) -> tuple[list[float], int]:
    """Promotes and rollbacks at random moments: when each was asked for, how many were refused."""
    from trimtab.errors import TrimtabError
    from trimtab.workspace import Workspace

    drawn, asked, refusals = random.Random(seed), [], 0
    with Workspace.open(folder, actor="ada") as ws:
        for turn in range(swaps):
            first = turn < len(kinds)                        # each version once, with time to be loaded
            time.sleep(FIRST_S if first else drawn.uniform(0.05, 0.5))
            asked.append(time.time())
            try:
                if not first and drawn.random() < 0.3:
                    ws.rollouts.rollback(MODEL, by="ada")
                else:
                    ws.rollouts.promote(MODEL, sorted(kinds)[-turn] if first else drawn.choice(sorted(kinds)), by="ada")
            except TrimtabError:
                refusals += 1
    return asked, refusals


def probe(folder: Path, swaps: int, megabytes: float, share: float = 0.8) -> dict[str, Any]:
    """One probe; what was seen."""
    kinds = make(folder / "ws", megabytes)
    want = expected(folder / "ws", [number for number, (name, _) in kinds.items() if name not in (BROKEN, DAMAGED)])
    server = subprocess.Popen([sys.executable, __file__, "--serve", str(folder / "ws")], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    said: list[dict[str, Any]] = []

    def listen() -> None:
        assert server.stderr is not None
        for line in server.stderr:
            said.append(json.loads(line) if line.startswith("{") else {"event": "", "line": line})

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline())

        def ask(rate: float, seconds: float) -> subprocess.Popen[bytes]:
            return subprocess.Popen([sys.executable, __file__, "--load", str(port), str(rate), str(seconds),
                                     str(folder / "told.json")])

        def told(loading: subprocess.Popen[bytes]) -> tuple[list[Any], list[str]]:
            assert loading.wait() == 0
            found = json.loads((folder / "told.json").read_text())
            return found["answers"], found["errors"]

        told(ask(0, 1.0))
        capacity = len(told(ask(0, 2.0))[0]) / 2.0
        rate = capacity * share
        calm, errors = told(ask(rate, 4.0))
        loading = ask(rate, swaps * 0.3 + len(kinds) * FIRST_S + 4.0)
        time.sleep(0.5)
        asked, refusals = change(folder / "ws", {number: name for number, (name, _) in kinds.items()}, swaps, seed=7)
        answers, more = told(loading)
        errors += more
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=60)
        listener.join(timeout=5)
        for pipe in (server.stdout, server.stderr):
            if pipe is not None:
                pipe.close()
    wrong = [one for one in answers if one[4] != want.get(one[2], [None] * ROWS)[one[3]]]
    moments = [(one["at"], one.get("version"), one["event"]) for one in said
               if one["event"] in ("serving.live", "serving.load_failed")]
    firsts = [min(ends) - at for (at, number, event), (until, *_) in zip(moments, [*moments[1:], (9e99,)], strict=True)
              if event == "serving.live" and (ends := [begun + took for begun, took, version, *_ in answers
                                                       if version == number and at <= begun + took < until + 0.1])]
    stalls, quiet = [], []
    span = sorted(calm)
    for at, _, _ in moments:
        began = max((each for each in asked if each <= at + 0.002), default=at)
        worst = [took for begun, took, *_ in answers if begun < at + 0.1 and begun + took > began]
        width = at + 0.1 - began
        if worst:
            stalls.append(max(worst))
            begin = random.Random(len(stalls)).uniform(span[0][0], max(span[0][0], span[-1][0] - width))
            quiet.append(max((took for begun, took, *_ in calm if begun < begin + width and begun + took > begin),
                             default=0.0))
    base = statistics.median(quiet)
    for one in said:
        if one["event"] not in ("serving.live", "serving.load_failed"):
            print(one, file=sys.stderr)
    return {"sizes": dict(kinds.values()), "swaps": len(asked), "refused": refusals, "capacity": round(capacity),
            "rate": round(rate), "answers": len(answers), "errors": len(errors), "first_errors": errors[:3],
            "wrong": len(wrong), "first_wrong": wrong[:3], "versions": sorted({one[2] for one in answers}),
            "live": sum(event == "serving.live" for *_, event in moments),
            "failed": sum(event != "serving.live" for *_, event in moments),
            "calm_ms": shares(one[1] for one in calm), "changing_ms": shares(one[1] for one in answers),
            "quiet_window_ms": shares(quiet), "stall_ms": shares(one - base for one in stalls),
            "first_answer_ms": shares(firsts)}


def shares(seconds: Any) -> dict[str, float]:
    """Median, p99 and the largest, in ms."""
    found = sorted(seconds)
    return {name: round(found[min(len(found) - 1, int(len(found) * at))] * 1e3, 2)
            for name, at in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))} if found else {}


def main() -> None:
    """See the module's docstring."""
    if sys.argv[1:2] == ["--serve"]:
        serve(Path(sys.argv[2]))
    elif sys.argv[1:2] == ["--load"]:
        load(int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4]), Path(sys.argv[5]))
    else:
        given = [float(one) for one in sys.argv[1:]]
        swaps, megabytes, share = (*given, *(200.0, 120.0, 0.8)[len(given):])
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(probe(Path(folder), int(swaps), megabytes, share)))


if __name__ == "__main__":
    main()
