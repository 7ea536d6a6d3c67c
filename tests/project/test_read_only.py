"""A copy that may only be read can be audited, by a process that may write nowhere in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.conftest import write_linear

from trimtab.project import story
from trimtab.workspace import Workspace


@pytest.fixture
def copy() -> Iterator[Path]:
    """A workspace whose every file and folder is read-only, in a folder of its own."""
    place = Path(tempfile.mkdtemp(prefix="trimtab-read-only-"))
    place.chmod(0o755)
    write_linear(place / "data.csv", rows=120)
    with Workspace.open(place / "ws", create=True, actor="ann") as workspace:
        story.run(place / "data.csv", place, workspace)
    for path in sorted((place / "ws").rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    (place / "ws" / "keys" / "signing.pem").chmod(0o400)        # the owner's; who audits has no use for it
    (place / "ws").chmod(0o555)
    yield place
    for path in [place / "ws", *(one for one in (place / "ws").rglob("*") if one.is_dir())]:
        path.chmod(0o755)
    shutil.rmtree(place)


def bound_by_modes(place: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Run a command that file modes hold for: root's power to pass them by is given up first."""
    plainly = ["setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner", "--"] if os.getuid() == 0 else []
    return subprocess.run([*plainly, sys.executable, "-m", "trimtab", *args, "--workspace", str(place / "ws")],
                          cwd=place, capture_output=True, text=True, timeout=120, check=False)


def test_modes_hold_for_the_command(copy: Path) -> None:
    """Else the tests below would show nothing."""
    plainly = ["setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner", "--"] if os.getuid() == 0 else []
    assert subprocess.run([*plainly, "touch", str(copy / "ws" / "x")], capture_output=True, check=False).returncode != 0


def test_a_read_only_copy_is_verified_and_read(copy: Path) -> None:
    verified = bound_by_modes(copy, "audit", "verify", "--json")
    assert verified.returncode == 0, verified.stderr
    assert json.loads(verified.stdout)["versions"] == 1
    for command in (["status"], ["log", "y"], ["versions", "y"], ["predict", "y@champion", "data.csv", "--limit", "1"]):
        ran = bound_by_modes(copy, *command)
        assert ran.returncode == 0, (command, ran.stderr)


def test_what_would_change_it_is_refused_and_nothing_is_left_behind(copy: Path) -> None:
    before = sorted(path.relative_to(copy).as_posix() for path in copy.rglob("*"))
    refused = bound_by_modes(copy, "alias", "set", "y", "good", "1")
    assert refused.returncode == 4
    assert "readonly" in refused.stderr
    assert sorted(path.relative_to(copy).as_posix() for path in copy.rglob("*")) == before
