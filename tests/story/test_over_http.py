"""The one long scene, over real HTTP with a held clock.

predict → log → window → drift → decide → retrain → gate → shadow → canary → promote → swap → rollback
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest
import uvicorn
from shop import MODEL, Shop
from tests.conftest import database_url

from trimtab.doors.desk import Desk
from trimtab.doors.server import build_app

TURNED = {"bend": 2.0, "shift": 0.5}


class Street(Shop):
    """The shop, and a server in front of it: everything that clients do goes over TCP."""

    def __init__(self, folder: Path, *, database: str | None = None) -> None:
        super().__init__(folder, database=database)
        listening = socket.create_server(("127.0.0.1", 0))
        self._server = uvicorn.Server(uvicorn.Config(build_app(Desk(self.workspace, self.engine)), log_config=None,
                                                     lifespan="off"))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [listening]}, daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}", timeout=30)
        self.answered_by: list[int] = []

    def _answer(self, row: dict[str, Any]) -> str:
        asked = self.http.post(f"/v2/models/{MODEL}/infer", json={"inputs": [
            {"name": name, "datatype": "FP64", "shape": [1], "data": [value]} for name, value in row.items()]})
        assert asked.status_code == 200, asked.text
        told = asked.json()
        self.answered_by.append(int(told["model_version"]))
        lineup = self.engine.lineup(MODEL)
        while lineup.beside is not None and lineup.beside.shadow.waiting:
            time.sleep(0.0005)                 # what is computed along is recorded before the clock goes on
        return str(told["parameters"]["prediction_ids"][0])

    def send(self, features: pl.DataFrame, truth: list[float], *, minutes: float = 60.0) -> None:
        """Requests one after the other, then their labels in one delivery."""
        names = []
        for row in features.iter_rows(named=True):
            self.clock.advance(minutes=minutes / features.height)
            names.append(self._answer(row))
        told = self.http.post("/api/labels", json={"model": MODEL, "labels": [
            {"id": name, "truth": value} for name, value in zip(names, truth, strict=True)]})
        assert told.status_code == 200, told.text
        assert told.json()["unknown"] == 0
        self.clock.advance(seconds=3)

    def get(self, path: str) -> Any:
        """What a route answers."""
        found = self.http.get(path)
        assert found.status_code == 200, found.text
        return found.json()

    def close(self) -> None:
        """End the server, then let go."""
        self.http.close()
        self._server.should_exit = True
        self._thread.join(timeout=30)
        super().close()


@pytest.fixture(params=["sqlite-file", "postgres"])
def street(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Street]:
    kind = request.param
    made = Street(tmp_path, database=None if kind == "sqlite-file" else database_url(kind, tmp_path, request))
    yield made
    made.close()


def test_from_a_prediction_to_a_rollback(street: Street) -> None:
    """Nobody touches anything but the wire; each station leaves its mark where people and auditors look."""
    done: list[str] = []
    for _ in range(2):                                                         # quiet days
        street.ask(150, minutes=1440)
        done += street.tick()
    assert not [one for one in done if one.startswith("acted")]
    for _ in range(10):                                                        # the world turns
        if "acted promote" in done:
            break
        street.ask(200, minutes=1440, **TURNED)
        done += street.tick()
    acted = [one.removeprefix("acted ") for one in done if one.startswith("acted")]
    assert acted[:5] == ["notify", "retrain", "start_shadow", "start_canary", "promote"]
    assert {1, 2} == set(street.answered_by), "the canary answered a share of the requests"

    street.ask(20, **TURNED)                                                   # the swap: all of it is v2's
    assert set(street.answered_by[-20:]) == {2}
    status = street.get("/api/status")["models"][0]
    assert status["champion"]["version"] == 2

    (alert,) = street.workspace.alerts.list(MODEL, states=None)
    assert alert.broken is None
    decisions = street.get(f"/api/models/{MODEL}/decisions")["decisions"]
    made = [one["decision"] for one in decisions]
    assert {one["action"] for one in made} >= {"notify", "retrain", "start_shadow", "start_canary", "promote"}
    for one in decisions:
        assert street.workspace.decisions.replay(one["id"]).differs == ()
    promoted = next(one for one in made if one["action"] == "promote")
    assert "labels" in promoted["reason"] or "e ≥" in promoted["reason"]

    back = street.http.post(f"/api/models/{MODEL}/rollback", json={"why": "customer complaint 118"})
    assert back.status_code == 200, back.text
    street.engine.refresh()
    street.ask(10, **TURNED)
    assert set(street.answered_by[-10:]) == {1}
    assert street.workspace.stages.current(MODEL) is None, "a rollback ends the trial in the same step"
    assert street.workspace.rollouts.current(MODEL).why == "customer complaint 118"  # type: ignore[union-attr]
    answered = street.workspace.traffic.count(model=MODEL)
    assert answered == len(street.answered_by)
    street.workspace.journal.verify()
