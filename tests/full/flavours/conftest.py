"""Each test in a folder of its own; rows whose answers are known."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest
from numpy.typing import NDArray

Array = NDArray[np.float64]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRIMTAB_USER", "ann")
    return tmp_path


class Rows:
    """400 rows of four numbers: the first 300 train."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.X: Array = rng.normal(size=(400, 4))
        self.y: Array = self.X @ [1.0, 2.0, -1.0, 0.5] + rng.normal(size=400) * 0.1
        self.two = np.where(self.y > 0, "yes", "no")
        self.three = np.array(["low", "mid", "top"])[np.digitize(self.y, [-1, 1])]

    def sides(self, target: Any, X: Array | None = None) -> dict[str, Any]:
        """`train` and `test` as `register` takes them."""
        X = self.X if X is None else X
        return {"train": (X[:300], target[:300]), "test": (X[300:], target[300:])}


@pytest.fixture
def rows() -> Rows:
    return Rows()
