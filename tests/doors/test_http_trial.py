"""A trial over HTTP and on the command line: put, seen, asked for by header, stopped; the same words everywhere."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import serving_scenes as scenes
from asgi_client import Client

from trimtab import clock
from trimtab.doors import server
from trimtab.doors.cli.main import main
from trimtab.errors import JournalBroken
from trimtab.project import audit, trying
from trimtab.project.handles import ModelVersion
from trimtab.store.schema import stages
from trimtab.traffic.log import TrafficLog
from trimtab.workspace import Workspace

ROW = {"rate": 0.0}


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    made = scenes.workspace(tmp_path)
    for value in (1.0, 2.0, 3.0):
        scenes.constant(made, value)
    made.rollouts.deploy("risk", 1, by="ada")
    return made


@pytest.fixture
def client(ws: Workspace) -> Iterator[Client]:
    engine = server.make_engine(ws)
    engine.start()
    with Client(server.build_app(ws, engine), base_url="http://localhost") as made:
        yield made
    engine.stop()


def asked(client: Client, side: str | None = None, path: str = "/api/models/risk/predict") -> tuple[int, str]:
    """(version, side) of an answer."""
    body: Any = {"rows": [ROW]} if path.startswith("/api") else {
        "inputs": [{"name": "rate", "shape": [1], "datatype": "FP64", "data": [0.0]}]}
    made = client.post(path, json=body, headers={"x-trimtab-version": side} if side else {})
    told = made.json()
    assert made.status_code == 200, told
    return int(told.get("version") or told["model_version"]), made.headers["x-trimtab-version"]


def test_put_ask_and_stop(client: Client) -> None:
    assert asked(client) == (1, "champion")
    put = client.post("/api/models/risk/canary", json={"version": 2, "why": "try"}).json()
    assert (put["schema"], put["before"], put["changed"]) == ("trimtab.trial/1", None, True)
    assert (put["now"]["version"], put["now"]["stage"], put["now"]["champion"]) == (2, "shadow", 1)
    assert asked(client) == (1, "champion")
    for path in ("/api/models/risk/predict", "/v2/models/risk/infer"):
        assert asked(client, "canary", path) == (2, "canary")
    assert asked(client, path="/v2/models/risk/versions/2/infer") == (2, "version")
    refused = client.post("/api/models/risk/predict", json=ROW, headers={"x-trimtab-version": "2"})
    assert (refused.status_code, refused.json()["error"]["field"]) == (400, "x-trimtab-version")
    live = client.get("/api/status").json()["models"][0]["live"][0]
    assert (live["version"], live["share"], live["beside"]["version"]) == (1, 1.0, 2)
    client.post("/api/models/risk/canary", json={"version": 2, "share": 0.25})
    health = client.get("/v2/health").json()["endpoints"][0]["beside"]
    assert (health["version"], health["stage"], health["share"], health["dropped"]) == (2, "canary", 0.25, 0)
    ended = client.post("/api/models/risk/canary/stop", json={"why": "enough"}).json()
    assert (ended["before"]["share"], ended["now"]) == (0.25, None)
    assert asked(client, "canary") == (1, "champion")
    again = client.post("/api/models/risk/canary/stop", json={})
    assert (again.status_code, again.json()["changed"]) == (200, False)


def test_what_makes_no_sense_is_told(client: Client) -> None:
    for body, status in (({"version": 1}, 409), ({"version": 2, "share": 1}, 400), ({"version": 9}, 404),
                         ({"version": 2, "share": -1}, 400), ({"share": 0.5}, 400),
                         ({"version": 2, "endpoint": "europe"}, 404)):
        assert client.post("/api/models/risk/canary", json=body).status_code == status, body
    assert client.post("/api/models/nope/canary/stop", json={}).status_code == 404
    dry = client.post("/api/models/risk/canary", json={"version": 2, "dry_run": True}).json()
    assert dry["now"]["trial"] == 1
    assert client.get("/api/status").json()["models"][0]["live"][0]["beside"] is None


def test_a_key_makes_it_once(client: Client) -> None:
    key = {"Idempotency-Key": "k1"}
    first = client.post("/api/models/risk/canary", json={"version": 2}, headers=key).json()
    client.post("/api/models/risk/canary/stop", json={})
    assert client.post("/api/models/risk/canary", json={"version": 2}, headers=key).json() == first
    assert client.get("/api/status").json()["models"][0]["live"][0]["beside"] is None


def said(capsys: pytest.CaptureFixture[str], ws: Workspace, *args: str, code: int = 0) -> str:
    with pytest.raises(SystemExit) as left:
        main([*args, "--workspace", str(ws.folder)])
    found = capsys.readouterr()
    assert left.value.code == code, found.err
    return found.out + found.err


def test_the_same_on_the_command_line(ws: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert "nothing is beside the champion of risk" in said(capsys, ws, "canary", "risk")
    assert "Would       try risk v2 for 5% beside v1" in said(
        capsys, ws, "canary", "risk@v2", "--share", "5%", "--dry-run")
    assert "risk v2 in shadow beside v1 at production (trial 1" in said(capsys, ws, "canary", "risk@v2", "--shadow")
    assert "v1 100%  v2 shadow" in said(capsys, ws, "status")
    told = json.loads(said(capsys, ws, "canary", "risk@v2", "--share", "0.125", "--json"))
    assert (told["schema"], told["before"]["stage"], told["now"]["share"]) == ("trimtab.trial/1", "shadow", 0.125)
    assert "v1 87.5%  v2 12.5% canary" in said(capsys, ws, "status")
    live = json.loads(said(capsys, ws, "status", "--json"))["models"][0]["live"][0]
    assert (live["share"], live["beside"]["share"]) == (0.875, 0.125)
    assert "one trial at a time" in said(capsys, ws, "canary", "risk@v3", "--shadow", code=5)
    assert "write it as 5% or 0.05" in said(capsys, ws, "canary", "risk@v2", "--share", "5", code=2)
    assert "choose one" in said(capsys, ws, "canary", "risk@v2", "--shadow", "--stop", code=2)
    assert "Would       end risk v2 for 12.5%" in said(capsys, ws, "canary", "risk", "--stop", "--dry-run")
    assert "Ended       risk v2 for 12.5% beside v1" in said(capsys, ws, "canary", "risk", "--stop", "--why", "enough")
    assert "v2 ended beside v1 at production" in said(capsys, ws, "log", "risk")


def test_the_same_in_python(ws: Workspace) -> None:
    second, third = (ModelVersion(ws, ws.versions.get("risk", number)) for number in (2, 3))
    shadow = second.shadow(why="try").now
    assert shadow is not None
    assert shadow.stage == "shadow"
    canary = second.canary(0.05)
    assert canary.now is not None
    assert (canary.before, canary.now.share) == (shadow, 0.05)
    with pytest.raises(Exception, match="it is v2 that is tried"):
        third.stop_trial()
    assert second.stop_trial().before == canary.now
    assert not second.stop_trial().changed


def test_a_trial_that_is_put_behind_the_journals_back_is_found(ws: Workspace) -> None:
    ws.stages.put("risk", 2, by="ada")
    audit._check_state(ws)
    with ws.db.write() as conn:
        conn.execute(stages.update().values(version=3))
    with pytest.raises(JournalBroken, match="trial at production of risk is at v3, the journal says v2"):
        audit._check_state(ws)


@pytest.mark.slow
def test_kill_nine_during_a_canary_loses_no_acknowledged_answer(ws: Workspace) -> None:
    """Real servers, killed at random moments under load; what was told is recorded as it was told, and once."""
    import random

    ws.stages.put("risk", 2, share=0.5, by="ada")
    rng, told = random.Random(20261124), {}
    for _ in range(5):
        process = subprocess.Popen([sys.executable, "-m", "trimtab", "serve", "--port", "0", "--workspace", ws.folder],
                                   text=True, stderr=subprocess.PIPE)
        assert process.stderr is not None
        line = process.stderr.readline()
        assert line.startswith("Serving on "), line
        url = line.split()[-1]

        def ask(me: int, url: str = url) -> None:
            with httpx.Client(timeout=10) as client:
                try:
                    for n in range(100_000):
                        answer = client.post(f"{url}/api/models/risk/predict",
                                             json={"rows": [{"rate": n % 997 / 100, "volume": me}] * 2}).json()
                        told.update({one["id"]: answer["version"] for one in answer["predictions"]})
                except (httpx.HTTPError, json.JSONDecodeError):
                    return                                     # the server is gone

        threads = [threading.Thread(target=ask, args=(me,)) for me in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(rng.uniform(0.3, 0.8))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        for thread in threads:
            thread.join()
        frame = ws.traffic.frame()
        found = dict(zip(frame["id"], frame["version"], strict=True))
        assert len(found) == frame.height
        assert told.items() <= found.items()
    assert set(told.values()) == {1, 2}
    assert len(told) > 500
    pairs = ws.traffic.pairs("risk", "production", 1, 2, clock.from_text("2000-01-01"))
    assert set(pairs["output_champion"]) == {"1.0"}
    assert set(pairs["output_challenger"]) == {"2.0"}
    assert 0 < pairs.height <= frame.height


def test_a_challenger_that_is_unfit_is_told_so_from_what_was_recorded(
        ws: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    """v1 answers 2 · rate + volume, v2 always the same: through the engine, the log and the command line."""
    scenes.linear(ws, "slope")
    scenes.constant(ws, 5.0, "slope")
    ws.rollouts.deploy("slope", 1, by="ada")
    ws.stages.put("slope", 2, by="ada")
    recorder = TrafficLog(ws.folder / "traffic", writer="w-1", now=ws.clock)
    engine = server.make_engine(ws, recorder.append)
    engine.start()
    for n in range(150):
        engine.infer("slope", [{"rate": n / 100, "volume": 1.0}])
    engine.stop()
    recorder.close()
    stage = ws.stages.current("slope")
    assert stage is not None
    assert trying.crossed(ws, stage) == ("v2's answer changed from row to row 0 times in 150, v1's 149 times",)
    assert trying.crossed(ws, stage, champion=True) == ()
    told = said(capsys, ws, "canary", "slope")
    assert "Unfit       v2's answer changed from row to row 0 times in 150" in told
    assert told.rstrip().endswith("Next: trimtab canary slope --stop")
