"""`trimtab serve` records what it answers; kill -9 loses nothing that a client was told."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
from tests.cli.conftest import write_linear

from trimtab.project import story
from trimtab.workspace import Workspace

KILLS = 10
ROW = {"a": 0.1, "b": 5.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a live model."""
    root = tmp_path_factory.mktemp("recorded")
    write_linear(root / "data.csv", rows=120)
    with Workspace.open(root / ".trimtab", create=True, actor="ann") as workspace:
        story.run(root / "data.csv", root, workspace)
    return root


def started(folder: Path) -> tuple[subprocess.Popen[str], str]:
    """`trimtab serve` in a process group of its own, and its URL."""
    process = subprocess.Popen([sys.executable, "-m", "trimtab", "serve", "--port", "0"], cwd=folder, text=True,
                               stderr=subprocess.PIPE, start_new_session=True)
    assert process.stderr is not None
    line = process.stderr.readline()
    assert line.startswith("Serving on "), line
    return process, line.split()[-1]


def recorded(folder: Path) -> set[str]:
    with Workspace.open(folder / ".trimtab") as workspace:
        return set(workspace.traffic.frame()["id"])


@pytest.mark.slow
def test_kill_nine_under_load_loses_no_acknowledged_prediction(folder: Path) -> None:
    rng = random.Random(20261124)
    told: set[str] = set()
    for _ in range(KILLS):
        process, url = started(folder)

        def ask(url: str = url) -> None:
            with httpx.Client(timeout=10) as client:
                try:
                    while True:
                        answer = client.post(f"{url}/api/models/y/predict", json={"rows": [ROW, ROW]})
                        told.update(one["id"] for one in answer.json()["predictions"])
                except (httpx.HTTPError, json.JSONDecodeError):
                    return                                 # the server is gone

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(rng.uniform(0.3, 1.0))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        for thread in threads:
            thread.join()
        assert told <= recorded(folder)
    assert len(told) > 10 * KILLS


def test_what_was_answered_is_found_by_its_id_and_watched(folder: Path) -> None:
    process, url = started(folder)
    try:
        made = httpx.post(f"{url}/api/models/y/predict", json={"rows": [ROW]}, timeout=10).json()["predictions"][0]
        httpx.post(f"{url}/api/models/y/predict", json={"rows": [{"a": 0.1, "b": 5000.0}]}, timeout=10)    # refused
    finally:
        process.terminate()
        process.communicate(timeout=30)
    shown = subprocess.run([sys.executable, "-m", "trimtab", "traffic", "--id", made["id"], "--json"], cwd=folder,
                           capture_output=True, text=True, check=True)
    told = json.loads(shown.stdout)
    assert told["output"] == made["value"]
    assert told["features"] == ROW
    assert (told["version"], told["stage"]) == (1, "champion")
    with Workspace.open(folder / ".trimtab") as workspace:
        before = len(workspace.traffic.frame())
        assert "5000" not in "".join(workspace.traffic.frame()["features"])      # a refused row is no prediction
        assert len(workspace.asked("y", version=1)) == before
