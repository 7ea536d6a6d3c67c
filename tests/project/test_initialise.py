"""What `init` says before anything is learned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from trimtab.project.initialise import initialise
from trimtab.project.project import Project
from trimtab.workspace import Workspace


@pytest.mark.parametrize("copies", [1, 2])
def test_test_rows_that_are_training_rows_too_are_told(tmp_path: Path, copies: int) -> None:
    """The same rows on both sides of the split: their score would be memory."""
    rng = np.random.default_rng(5)
    lines = [f"{a:.5f},{b:.5f}" for a, b in rng.normal(size=(60, 2))] * copies
    (tmp_path / "data.csv").write_text("x,y\n" + "\n".join(lines) + "\n")
    with Workspace.open(tmp_path / ".trimtab", create=True) as workspace:
        done = initialise("data.csv", tmp_path, workspace)
    told = [found.text for found in done.findings if found.kind == "overlap"]
    assert len(told) == copies - 1
    assert all("their score is memory" in text for text in told)


def test_one_cell_of_text_does_not_hide_a_column_of_numbers(tmp_path: Path) -> None:
    """The column is a number, the cell is named, its row set aside now and when training; codes stay categories."""
    rng = np.random.default_rng(5)
    cells = [[f"{a:.3f}", "123K"[i % 4] if i < 8 else "123"[i % 3], f"{b:.3f}"]
             for i, (a, b) in enumerate(rng.normal(size=(300, 2)))]
    cells[16][0], cells[40][0], cells[99][2] = "n/a?", "", "oops"
    (tmp_path / "data.csv").write_text("rate,code,y\n" + "\n".join(map(",".join, cells)) + "\n", encoding="utf-8")
    with Workspace.open(tmp_path / ".trimtab", create=True) as workspace:
        done = initialise(tmp_path / "data.csv", tmp_path, workspace)
        trained = Project.open(tmp_path, workspace).pipeline.prepare()
    told = {found.column: found.text for found in done.findings if found.kind == "unread"}
    assert told["rate"].startswith(
        '298 of 299 cells are numbers; row 17 is "n/a?": read as a number, that row set aside. Mend the cell')
    assert [(c.name, c.type, c.role, c.missing) for c in done.contract.columns] == [
        ("rate", "number", "feature", True), ("code", "category", "feature", False), ("y", "number", "target", False)]
    assert [bad.line for bad in done.quarantined] == [18, 101]
    assert sorted(bad.line for bad in trained.rejected) == [18, 101]
    assert trained.dataset == done.dataset


def test_the_user_can_keep_such_a_column_as_text(tmp_path: Path) -> None:
    """What is ignored is not read as something else, and costs no row."""
    lines = [f"{i}.5,{i % 7}.25" for i in range(60)]
    lines[3] = "n/a?,0.5"
    (tmp_path / "data.csv").write_text("x,z,y\n" + "\n".join(f"{line},{i}.125" for i, line in enumerate(lines)))
    with Workspace.open(tmp_path / ".trimtab", create=True) as workspace:
        done = initialise(tmp_path / "data.csv", tmp_path, workspace, ignore=("x",))
    assert done.rows == 60
    assert done.contract.columns[0].type == "text"
