"""A project with a live version, on each kind of database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.conftest import write_linear
from tests.conftest import database_url

from trimtab.project import story
from trimtab.project.project import Project
from trimtab.workspace import Workspace


@pytest.fixture(params=["sqlite-file", "postgres"])
def live(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """`data.csv` → y v1, live at production."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TRIMTAB_DATABASE", raising=False)
    write_linear(tmp_path / "data.csv", rows=120)
    url = None if request.param == "sqlite-file" else database_url("postgres", tmp_path, request)
    with Workspace.open(tmp_path / ".trimtab", create=True, database=url, actor="ann") as workspace:
        story.run("data.csv", tmp_path, workspace, task="regression")
        yield Project.open(tmp_path, workspace)
