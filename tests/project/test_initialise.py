"""What `init` says before anything is learned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from trimtab.project.initialise import initialise
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
