"""A process that is killed with -9 at any moment leaves a workspace that opens, whole, with nothing half-visible."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.cli.conftest import write_linear

from trimtab.errors import NotFound
from trimtab.project import audit
from trimtab.project.project import Project
from trimtab.workspace import Workspace

KILLS = 7                                      # a command; four commands
SEED = 20261124
SCENES = {"init": ["init", "data.csv", "--force"], "train": ["train", "--no-cache"],
          "evaluate": ["evaluate", "--note"], "deploy": ["deploy", "y@v1"]}


def command(folder: Path, *args: str) -> subprocess.Popen[bytes]:
    """Start `trimtab ARGS` in a process group of its own."""
    environment = {**os.environ, "TRIMTAB_USER": "ann"}
    return subprocess.Popen([sys.executable, "-m", "trimtab", *args], cwd=folder, env=environment,
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


def finish(folder: Path, *args: str) -> float:
    """Run it to its end; seconds that it took."""
    began = time.monotonic()
    assert command(folder, *args).wait(timeout=120) == 0
    return time.monotonic() - began


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_linear(tmp_path / "data.csv", rows=120)
    return tmp_path


def prepare(folder: Path, name: str) -> None:
    """Everything that must be there before the command can be run."""
    if name == "init":
        return
    finish(folder, "init", "data.csv")
    toml = folder / "trimtab.toml"
    toml.write_text(toml.read_text().replace('["linear", "ridge", "kernel_ridge", "svr", "hgb"]', '["linear"]'))
    for step in (["train"], ["evaluate"]):
        if name == "deploy" or (name == "evaluate" and step == ["train"]):
            finish(folder, *step)


def whole(folder: Path) -> None:
    """The workspace opens, its record verifies, and every visible thing has its bytes."""
    if not (folder / ".trimtab" / "trimtab.db").exists():
        return                                 # killed before there was a workspace
    try:
        workspace = Workspace.open(folder / ".trimtab")
    except NotFound:
        return                                 # a file of the database, and no table in it yet
    with workspace:
        audit.verify(workspace)
        for dataset in workspace.datasets.list():
            workspace.datasets.load(dataset.digest)
            workspace.datasets.profile(dataset.digest)
        for run in workspace.runs.list():
            if run.status == "finished":
                assert all(workspace.blobs.has(digest) for digest in run.outputs.values())
        for rollout in workspace.rollouts.all_live():
            workspace.versions.verify(workspace.versions.get(rollout.model, rollout.version))
            assert workspace.aliases.resolve(rollout.model, "champion").number == rollout.version
        for file in ("trimtab.toml", "contract.toml"):
            if (folder / "trimtab.toml").exists() and (folder / file).exists():
                assert Project.open(folder, workspace).contract.columns


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENES)
def test_kill_nine_at_random_moments(folder: Path, name: str) -> None:
    """Spread over the command's own running time; afterwards the same command runs to its end."""
    prepare(folder, name)
    arguments = SCENES[name]
    rng = random.Random(f"{SEED}-{name}")
    takes = finish(folder, *arguments, *(["probe"] if name == "evaluate" else []))
    if name == "deploy":
        finish(folder, "evaluate", "--note", "a second version")
        takes = min(takes, finish(folder, "status"))                      # the same work, less the write
    killed = 0
    for number in range(KILLS):
        if name == "deploy":                                              # something to change each time
            arguments = ["deploy", f"y@v{2 - number % 2}"]
        note = [f"kill {number}"] if name == "evaluate" else []
        process = command(folder, *arguments, *note)
        time.sleep(rng.uniform(0.15, 1.0) * takes)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        whole(folder)
        takes = min(takes, finish(folder, *arguments, *note))             # the first time was slower than the rest
        whole(folder)
    assert killed >= KILLS // 2, f"only {killed} of {KILLS} kills hit a running process"


@pytest.mark.slow
def test_of_two_processes_that_deploy_at_once_one_wins_and_the_other_is_told(folder: Path) -> None:
    """One exit code 0 each time; the loser, if their moments overlapped, ends with 5 and nothing else."""
    prepare(folder, "deploy")
    for number in range(3):
        finish(folder, "evaluate", "--note", f"version {number}")
    ends = []
    for round_ in range(4):
        pair = [command(folder, "deploy", f"y@v{1 + (round_ + step) % 4}") for step in (0, 1)]
        ends.append(sorted(process.wait(timeout=60) for process in pair))
    assert all(end in ([0, 0], [0, 5]) for end in ends), ends
    with Workspace.open(folder / ".trimtab") as workspace:
        audit.verify(workspace)
        revisions = [row.revision for row in workspace.rollouts.history("y")]
        assert revisions == list(range(1, len(revisions) + 1))
