"""A small shop: one model on a generated table, its traffic and labels, a held clock, and the loop that tends it.

Rows have `a` (around 0) and `b` (0 … 10); y = 3a − 2b + noise. Where the world turns it adds `bend`·a²: a model from
before is worse then, and one that is trained anew is better. Of classes: y is "high" above −10, else "low".
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from trimtab.clock import FixedClock
from trimtab.doors.server import make_engine
from trimtab.ids import Ids
from trimtab.loop.model import Stored
from trimtab.project.initialise import initialise
from trimtab.project.looping import Loop, Ticked
from trimtab.project.project import Project
from trimtab.traffic.log import TrafficLog
from trimtab.workspace import Workspace

MODEL = "shop"
TOML = """
[model]
name   = "shop"
data   = "data.csv"
target = "y"
task   = "regression"

[train]
candidates = ["hgb"]

[monitor]
window = 200
on_drift = "retrain"
retrain = { cooldown = "1d", per_month = 4, least_labels = 300 }

[deploy.production]
canary = { steps = [0, 25, 100], rows = 50, labels = 5000, probation = 400, loss_clip = 60 }
"""

LINEAR = TOML.replace('["hgb"]', '["ridge"]').replace("labels = 5000", "labels = 400")
CLASSES = TOML.replace('"regression"', '"binary"').replace(", loss_clip = 60", "")


def seeded(seed: int) -> Ids:
    """Ids that are the same in every run."""
    count = 0

    def random_bytes(n: int) -> bytes:
        nonlocal count
        count += 1
        return hashlib.sha256(f"{seed} {count}".encode()).digest()[:n]
    return Ids(random_bytes)


class Shop:
    """A workspace with v1 live, and everything that happens to it."""

    def __init__(self, folder: Path, *, database: str | None = None, toml: str = TOML, seed: int = 1,
                 keyed: bool = False) -> None:
        self.classes = "binary" in ((folder / "trimtab.toml").read_text() if (folder / "trimtab.toml").exists()
                                    else toml)
        self.clock = FixedClock(datetime(2026, 3, 2, 8, tzinfo=UTC))
        self.rng = np.random.default_rng(seed)
        found = (folder / ".trimtab").exists()
        self.workspace = Workspace.open(folder / ".trimtab", create=True, database=database, now=self.clock,
                                        ids=seeded(seed + 1000 * found), actor="ann")
        if not found:
            self._make(folder, toml, keyed)
        self._log = TrafficLog(self.workspace.folder / "traffic", writer="w-00000001", now=self.clock)
        self.engine = make_engine(self.workspace, self._log.append)
        self.engine.refresh()

    def _make(self, folder: Path, toml: str, keyed: bool) -> None:
        table = self.rows(600)
        if keyed:                              # rows have a name of their own, by which labels may be told
            table = table.select(pl.Series("id", [f"t{place}" for place in range(600)]), "a", "b", "y")
        table.write_csv(folder / "data.csv")
        (folder / "trimtab.toml").write_text(toml)
        initialise(folder / "data.csv", folder, self.workspace, force=True, name=MODEL)
        (folder / "trimtab.toml").write_text(toml)
        project = Project.open(folder, self.workspace)
        for column in ("a", "b") if self.classes else ("a", "b", "y"):
            project.edit_contract(column, low="none", high="none")
        project.train()
        version = project.evaluate().version
        assert version is not None
        version.deploy(why="the first")

    def rows(self, n: int, *, shift: float = 0.0, bend: float = 0.0, noise: float = 1.0) -> pl.DataFrame:
        """So many rows with their truth."""
        a, b = self.rng.normal(size=n) + shift, self.rng.uniform(0, 10, size=n)
        y = 3 * a - 2 * b + bend * a * a + noise * self.rng.normal(size=n)
        if self.classes:
            return pl.DataFrame({"a": a, "b": b, "y": np.where(y > -10, "high", "low")})
        return pl.DataFrame({"a": a, "b": b, "y": y})

    def ask(self, n: int, *, minutes: float = 60.0, label: bool = True, **world: float) -> None:
        """So many requests of one row, spread over a time; what is beside the champion computes them too."""
        frame = self.rows(n, **world)
        self.send(frame.drop("y"), frame["y"].to_list() if label else [], minutes=minutes)

    def send(self, features: pl.DataFrame, truth: list[float], *, minutes: float = 60.0) -> None:
        """The same with rows of one's own; truths, where there are any, are told at once."""
        names = []
        for row in features.iter_rows(named=True):
            self.clock.advance(minutes=minutes / features.height)
            names.append(self._answer(row))
        if truth:
            self.workspace.labels.put(MODEL, "prediction", list(zip(names, truth, strict=True)), by="ann")
        self.clock.advance(seconds=3)

    def _answer(self, row: dict[str, Any]) -> str:
        lineup = self.engine.lineup(MODEL)
        answer = self.engine.answer(lineup, [row])
        while lineup.beside is not None and lineup.beside.shadow.waiting:
            time.sleep(0.0005)                 # what is computed along is recorded before the clock goes on
        return answer.ids[0]

    def tick(self) -> list[str]:
        """A turn of the loop by a new worker; what it did, as `acted retrain`."""
        (ticked,) = self.turn()
        assert not ticked.problem, ticked.problem
        return [f"{step.outcome} {step.decision.action}" for step in ticked.steps]

    def turn(self) -> list[Ticked]:
        """The same, whole."""
        found = Loop(self.workspace, spawn=False).tick()
        self.engine.refresh()
        return found

    def acted(self, days: int, requests: int = 200, **world: Any) -> list[str]:
        """So many days; what was done in them."""
        return [one.removeprefix("acted ") for day in self.days(days, requests, **world) for one in day
                if one.startswith("acted")]

    def until(self, action: str, *, days: int = 10, requests: int = 200, **world: Any) -> list[str]:
        """Days until something was done, at most so many; what was done."""
        done: list[str] = []
        while action not in done:
            assert (days := days - 1) >= 0, f"{action} never came, only {done}"
            done += self.acted(1, requests, **world)
        return done

    def days(self, number: int, requests: int, **world: Any) -> Iterator[list[str]]:
        """A day each: requests, labels, a turn."""
        for _ in range(number):
            self.ask(requests, minutes=24 * 60, **world)
            yield self.tick()

    def wait(self, **by: float) -> None:
        """Let time go by."""
        self.clock.advance(seconds=timedelta(**by).total_seconds())

    @property
    def live(self) -> int:
        """The champion."""
        current = self.workspace.rollouts.current(MODEL)
        assert current is not None
        return current.version

    @property
    def decided(self) -> list[Stored]:
        """All decisions, the oldest first."""
        return list(reversed(self.workspace.decisions.list(MODEL)))

    def close(self) -> None:
        """Let go."""
        self.engine.stop()
        self._log.close()
        self.workspace.close()
