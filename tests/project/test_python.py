"""The Python lines of the first page, typed in a folder that holds data.csv and nothing else."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from tests.cli.conftest import write_linear

import trimtab
from trimtab.errors import NotFound, UsageError

README = Path(__file__).resolve().parents[2] / "README.md"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRIMTAB_USER", "ann")
    write_linear(tmp_path / "data.csv", rows=120)


def test_the_lines_of_the_first_page_run_as_they_stand() -> None:
    """`data.csv` says nothing about a name: the first that is registered becomes the project's, in its file too."""
    lines = README.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    Path("lines.py").write_text(lines, encoding="utf-8")
    seen = runpy.run_path("lines.py")
    assert (seen["v"].record.name, seen["v2"].record.name) == ("risk@v1", "risk@v2")
    assert seen["p"].name == trimtab.open("data.csv").name == "risk"
    assert seen["p"].monitor(seen["Xte"], seen["yte"]).version == "risk@v2"


def test_a_project_that_has_registered_something_keeps_its_name() -> None:
    project = trimtab.open("data.csv", name="y")
    run = project.train(["linear"])
    run.best.register()
    with pytest.raises(UsageError, match="this project makes 'y', not 'risk'"):
        run.best.register("risk")
    assert 'name   = "y"' in Path("trimtab.toml").read_text(encoding="utf-8")


def test_a_batch_is_held_against_the_one_live_model_with_this_target() -> None:
    """A model that was brought under another name is the one that is live; with two of them, nothing is guessed."""
    from sklearn.linear_model import LinearRegression

    project = trimtab.open("data.csv")
    X, y = project.X, project.y
    model = LinearRegression().fit(X[:90], y[:90])
    with pytest.raises(NotFound, match="nothing of y is live"):
        project.monitor(X, y)
    for place, name in enumerate(["other", "third"]):
        trimtab.register(name, model, train=(X[:90], y[:90]), test=(X[90:], y[90:])).deploy()
        if place == 0:
            assert project.monitor(X, y).version == "other@v1"
    with pytest.raises(NotFound, match=r"other, third predict y: set \[model\] name"):
        project.monitor(X, y)
