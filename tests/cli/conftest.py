"""A folder to work in, and the command line as a function."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trimtab.doors.cli import main as door


@dataclass(frozen=True)
class Ran:
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON object on stdout."""
        return json.loads(self.out)


Trimtab = Callable[..., Ran]


@pytest.fixture
def trimtab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Trimtab:
    """Run `trimtab ARGS` in this process, in a folder of the test's own."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("TRIMTAB_USER", "ann")
    monkeypatch.delenv("TRIMTAB_DATABASE", raising=False)

    def run(*args: str, code: int | None = 0) -> Ran:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["trimtab", *args])
        with pytest.raises(SystemExit) as ended:
            door.main(list(args))
        out, err = capsys.readouterr()
        ran = Ran(int(ended.value.code or 0), out, err)
        assert "Traceback" not in out + err
        if code is not None:
            assert ran.code == code, f"exit {ran.code}, expected {code}\n{out}\n{err}"
        return ran

    return run


def write_linear(path: Path, rows: int = 200, seed: int = 1, noise: float = 1.0) -> None:
    """A small regression table: y = 3a − 2b + noise."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=rows), rng.uniform(0, 10, size=rows)
    y = 3 * a - 2 * b + noise * rng.normal(size=rows)
    path.write_text("a,b,y\n" + "".join(f"{i:.6f},{j:.6f},{k:.6f}\n" for i, j, k in zip(a, b, y, strict=True)))


@pytest.fixture
def table() -> Path:
    """`data.csv` in the folder of the test."""
    path = Path("data.csv")
    write_linear(path)
    return path
