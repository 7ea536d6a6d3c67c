"""A server in a process of its own, unprivileged, on loopback."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

# Where the tests run as root, the interpreter may lie where nobody else can read: so everything that a server needs is
# imported first, by serving one prediction, and the privileges are given up for good before anything listens.
PROGRAM = """
import os, sys
from pathlib import Path
from trimtab.doors import server
from trimtab.doors.desk import Desk
from trimtab.workspace import Workspace

folder, uid, gid, calls = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:] == ["grpc"]
if uid:
    import uvicorn
    import importlib, pkgutil, trimtab
    for module in pkgutil.walk_packages(trimtab.__path__, "trimtab."):
        if module.name.split(".")[1] in ("data", "doors", "loop", "monitor", "project", "traffic"):
            importlib.import_module(module.name)
    with Workspace.open(folder, actor="ada") as workspace:
        engine = server.make_engine(workspace)
        engine.start()
        config = uvicorn.Config(server.build_app(Desk(workspace, engine)), log_config=None, ws="none")
        config.load()
        config.get_loop_factory()
        engine.infer("risk", [{"rate": 0.0, "volume": 0.0}])
        if calls:
            from trimtab.doors.inference.grpc_door import GrpcDoor
            door = GrpcDoor(Desk(workspace, engine))
            door.start("127.0.0.1", 0)
            door.stop(0)
        workspace.rollouts.promote("risk", 2, by="ada", dry_run=True)
        workspace.keyring.sign(b"")
        trimtab.project.steering.decide(workspace, "risk", endpoint="production", dry_run=True)
        engine.stop()
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, uid, gid)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    assert os.getuid() == uid and not os.access("/root", os.R_OK)
with Workspace.open(Path(sys.argv[1]), actor="ada") as workspace:
    server.serve(workspace, "127.0.0.1", 0, default="risk", grpc_port=0 if calls else None,
                 on_ready=lambda url: print("Serving on " + url, file=sys.stderr, flush=True))
"""


class Running:
    """A server in a process of its own, as an unprivileged user where the tests run as root. Serves folder/ws, which
    has a model risk. `url`: over HTTP; `grpc`: host:port, where it was asked for."""

    def __init__(self, folder: Path, *, grpc: bool = False) -> None:
        who = pwd.getpwnam("nobody") if os.getuid() == 0 else None
        ids = [str(who.pw_uid), str(who.pw_gid)] if who else ["0", "0"]
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(folder / "ws"), *ids, *["grpc"][:grpc]], text=True, cwd=folder,
            stderr=subprocess.PIPE, env={**os.environ, "HOME": str(folder)})
        self.said: list[str] = []
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)
            if line.startswith("Serving on "):
                self.url, _, self.grpc = line.removeprefix("Serving on ").strip().partition(" and grpc://")
                break
        else:
            self.process.wait(timeout=40)
            self.process.stderr.close()
            raise AssertionError("the server did not start: " + "".join(self.said)[-2000:])
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        self.said.extend(self.process.stderr)

    def end(self) -> int:
        """SIGTERM; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=40)
        self._reader.join(timeout=5)
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that an unprivileged user can reach, which pytest's own is not. Skips where there is no such user."""
    if os.getuid() == 0:
        try:
            pwd.getpwnam("nobody")
        except KeyError:
            pytest.skip("the running server was NOT TESTED: we are root and there is no user nobody to run it as")
    made = Path(tempfile.mkdtemp(prefix="trimtab-serve-"))
    made.chmod(0o755)
    try:
        yield made
    finally:
        shutil.rmtree(made)
