"""Over HTTP: what `[endpoint.production] fallback` of the live version's trimtab.toml declares, in both protocols."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from asgi_client import Client

from trimtab.config import SplitBy
from trimtab.doors import server
from trimtab.errors import CheckFailed
from trimtab.project import story
from trimtab.project.project import Project
from trimtab.traffic.log import TrafficLog
from trimtab.workspace import Workspace

FALLBACK = """
[endpoint.production]
fallback = { use = "last_good", stuck_after = 20, last_good_for = "10min" }
"""
BROKEN = {"temp": 999.0, "level": 2.0}


def sensor(path: Path, rows: int = 1500) -> None:
    """A pump: temperature and level every minute, and its load, which follows both."""
    rng, place = np.random.default_rng(5), np.arange(rows)
    temp = np.round(40 + 8 * np.sin(place / 90) + rng.normal(0, 0.5, rows), 2)
    level = np.round(2 + 0.5 * np.cos(place / 50) + rng.normal(0, 0.05, rows), 3)
    pl.DataFrame({"at": [datetime(2026, 1, 1) + timedelta(minutes=int(one)) for one in place], "temp": temp,
                  "level": level, "load": 3 * temp + 10 * level + rng.normal(0, 1, rows)}).write_csv(path)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """load v1 is live and declares none; v2 declares one."""
    root = tmp_path_factory.mktemp("pump")
    sensor(root / "pump.csv")
    with Workspace.open(root / ".trimtab", create=True, actor="ann") as ws:
        story.run(root / "pump.csv", root, ws, by=SplitBy(time="at"), name="load")
        path = root / "trimtab.toml"
        plain = path.read_text()
        path.write_text(plain + FALLBACK.replace("last_good_for", 'value = "hot", last_good_for'))
        project = Project.open(root, ws)
        project.train()
        with pytest.raises(CheckFailed, match="value = 'hot' is no number"):
            project.evaluate()
        path.write_text(plain + FALLBACK)
        project = Project.open(root, ws)
        project.train()
        project.evaluate()
        yield ws


@contextmanager
def serving(ws: Workspace) -> Iterator[Client]:
    """A server over the workspace, which records."""
    recorder = TrafficLog(ws.folder / "traffic", writer=ws.ids.short("w"), now=ws.clock)
    engine = server.make_engine(ws, recorder.append)
    engine.start()
    with Client(server.build_app(ws, engine), base_url="http://127.0.0.1") as client:
        yield client
    engine.stop()
    recorder.close()


def rows(client: Client, *asked: dict[str, Any]) -> list[dict[str, Any]]:
    answer = client.post("/api/models/load/predict", json={"rows": list(asked)})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["predictions"]
    return found


def test_where_none_is_declared_a_broken_row_is_refused(workspace: Workspace) -> None:
    with serving(workspace) as client:
        answer = client.post("/api/models/load/predict", json={"rows": [BROKEN]})
        assert answer.status_code == 422
        assert client.get("/v2/health").json()["endpoints"][0]["fallback"] is None


def test_the_controller_gets_an_answer_that_says_what_it_is_also_after_a_restart(workspace: Workspace) -> None:
    workspace.rollouts.deploy("load", 2, by="ann")
    with serving(workspace) as client:
        declared = client.get("/v2/health").json()["endpoints"][0]["fallback"]
        assert declared == {"use": "last_good", "value": None, "on": ["contract", "stuck", "fault"],
                            "stuck": ["level", "temp"]}
        first, = rows(client, BROKEN)
        assert (first["value"], first["fallback"]["kind"]) == (None, "abstain")
        good, bad = rows(client, {"temp": 41.5, "level": 2.1}, BROKEN)
        assert "fallback" not in good
        assert bad["value"] == good["value"]
        assert bad["fallback"]["why"].startswith("temp = 999.0 is above the contract's max")
        assert 0 <= bad["fallback"]["age_s"] < 60
    with serving(workspace) as client:                       # as after a crash: nothing is left in memory
        body = {"inputs": [{"name": "temp", "shape": [2], "datatype": "FP64", "data": [999.0, 41.0]},
                           {"name": "level", "shape": [2], "datatype": "FP64", "data": [2.0, 2.2]}]}
        told = client.post("/v2/models/load/infer", json=body).json()
        one, = told["parameters"]["fallbacks"]
        assert (one["row"], one["kind"], one["on"]) == (0, "last_good", "contract")
        assert told["outputs"][0]["data"][0] == pytest.approx(good["value"])
        assert len(told["parameters"]["prediction_ids"]) == 2
    record, row = workspace.traffic.find(bad["id"])
    assert (record.verdict, row.output) == ("fallback", pytest.approx(good["value"]))
    assert row.why.startswith("last_good: temp = 999.0 is above")


def test_a_stuck_sensor_is_told_and_a_live_one_is_not(workspace: Workspace) -> None:
    """Real rows of the same pump, in order, are all answered by the model; one number 20 times is not."""
    rng = np.random.default_rng(6)
    with serving(workspace) as client:
        live = [{"temp": round(40 + 8 * float(np.sin(n / 90)) + rng.normal(0, 0.5), 2),
                 "level": round(2 + rng.normal(0, 0.05), 3)} for n in range(300)]
        assert not [one for one in rows(client, *live) if "fallback" in one]
        still = rows(client, *[{"temp": 41.25, "level": round(2 + n / 1000, 3)} for n in range(25)])
        assert [place for place, one in enumerate(still) if "fallback" in one] == list(range(19, 25))
        assert still[19]["fallback"]["on"] == "stuck"
        assert still[19]["fallback"]["why"].startswith("temp = 41.25 came 20 times in a row")
        assert still[19]["value"] == still[18]["value"]
        body = client.post("/api/models/load/predict", json={"rows": [{"temp": 41.25}, 7]})
        assert body.status_code == 400                       # no row at all: that is no broken sensor
