"""A server's loop is a process of its own: begun with it, again where it dies, and gone with it, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import serving_scenes as scenes

from trimtab.doors.tending import Tender
from trimtab.errors import StoreUnreachable
from trimtab.project import tending
from trimtab.workspace import Workspace


def ends(pid: int) -> bool:
    """Is the process gone within a while?"""
    return soon(lambda: not alive(pid))


def soon(true: Callable[[], object]) -> bool:
    """Does it become true?  On a busy machine that takes a while."""
    for _ in range(1200):
        if true():
            return True
        time.sleep(0.05)
    return False


def alive(pid: int) -> bool:
    """Does it run?  A zombie doesn't."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    made = scenes.workspace(tmp_path)
    scenes.constant(made, 1.0)
    made.rollouts.deploy("risk", 1, by="ada")
    return made


def test_it_is_begun_again_where_it_dies_and_leaves_nothing_behind(ws: Workspace,
                                                                   capfd: pytest.CaptureFixture[str]) -> None:
    tender = Tender(ws.folder, every_s=0.2)
    tender.start()
    said: list[str] = []

    def says(word: str, times: int = 1) -> bool:
        said.append(capfd.readouterr().err)
        return "".join(said).count(word) >= times

    assert soon(lambda: says('"event": "loop.begun"'))
    first = tender.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    assert soon(lambda: says('"event": "loop.begun"', 2))
    assert '"event": "loop.died", "exit": -9' in "".join(said)
    second = tender.pid
    assert second not in (None, first)
    assert soon(lambda: says("was registered without its data"))     # a version that can't be watched: told, once
    tender.stop()
    assert second is not None
    assert ends(second)
    assert says('"event": "loop.ended"')
    assert "".join(said).count("loop.died") == 1
    tender.stop()                                          # a second time is nothing


def test_it_ends_with_a_server_that_is_killed(ws: Workspace) -> None:
    """kill -9 of the server closes the pipe that its loop listens to."""
    program = ("import sys, time; from pathlib import Path; from trimtab.doors.tending import Tender\n"
               "tender = Tender(Path(sys.argv[1]), every_s=0.2); tender.start()\n"
               "while tender.pid is None: time.sleep(0.01)\n"
               "print(tender.pid, flush=True); time.sleep(600)")
    server = subprocess.Popen([sys.executable, "-c", program, str(ws.folder)], stdout=subprocess.PIPE, text=True,
                              stderr=subprocess.DEVNULL)
    assert server.stdout is not None
    loop = int(server.stdout.readline())
    server.kill()
    server.wait()
    assert ends(loop)
    server.stdout.close()


def test_a_store_that_is_away_is_waited_for_and_said_once(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three turns without a store, then with it."""
    stop, told, live = threading.Event(), list[str](), ws.rollouts.all_live
    turns = iter([StoreUnreachable("the database is away")] * 3)

    def all_live() -> object:
        problem = next(turns, None)
        if problem is None:
            stop.set()
            return live()
        raise problem

    monkeypatch.setattr(ws.rollouts, "all_live", all_live)
    tending.tend(ws, stop, every_s=0.001, log=lambda event, fields: told.append(event))
    assert told == ["loop.begun", "loop.waits", "loop.store_back", "loop.ended"]


@pytest.mark.parametrize("switch", ["--loop", "--no-loop"])
def test_serve_brings_a_loop_along_unless_it_is_told_not_to(switch: str, ws: Workspace, tmp_path: Path) -> None:
    said = tmp_path / "said"
    with said.open("w") as out:
        server = subprocess.Popen([sys.executable, "-m", "trimtab", "serve", "--port", "0", switch, "--workspace",
                                   str(ws.folder)], stdout=out, stderr=out, cwd=tmp_path)
        wanted = "loop.begun" if switch == "--loop" else "Serving on"
        assert soon(lambda: wanted in said.read_text())
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0
    assert ("loop.ended" in said.read_text()) == (switch == "--loop")
    assert "loop.died" not in said.read_text()
