"""What does one step of the monitor cost after 10⁵ or 10⁶ logged predictions?

One endpoint with so many predictions behind it, in closed segments, labelled; then windows of 1,000 new rows come, with
the labels of 1,000 rows of a day ago, and each is one step. Two ways take turns over the same traffic: `incremental`
(what the product does) and `whole` (labels looked for among all rows of the last 30 days, as before). CPU seconds are
this process's own. One JSON object a line; flat is what it should be.

    python benchmarks/monitor_step.py [ROWS …]
"""

from __future__ import annotations

import json
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

WINDOW, STEPS, EVERY_S = 1000, 6, 2.0


def fill(folder: Path, rows: int) -> tuple[Any, Any, Any, list[str]]:
    """A workspace with so many predictions, closed: (workspace, its clock, its log, ids)."""
    from trimtab.clock import FixedClock
    from trimtab.ids import Ids
    from trimtab.traffic import closing
    from trimtab.traffic.log import TrafficLog
    from trimtab.workspace import Workspace

    clock = FixedClock()
    workspace = Workspace.open(folder, create=True, now=clock, ids=Ids(random.Random(1).randbytes), actor="bench")
    log = TrafficLog(folder / "traffic", writer="w-1", now=clock)
    names = ask(workspace, clock, log, rows)
    log.close()
    log = TrafficLog(folder / "traffic", writer="w-2", now=clock)
    closing.close_all(folder / "traffic")
    return workspace, clock, log, names


def ask(workspace: Any, clock: Any, log: Any, rows: int) -> list[str]:
    """So many more predictions, one each `EVERY_S`; their ids."""
    from trimtab.clock import to_text
    from trimtab.traffic.segments import Record, Row

    rng, names = random.Random(rows), []
    for _ in range(rows):
        clock.advance(seconds=EVERY_S)
        names.append(workspace.ids.prediction(clock.now()))
        values = {f"x{place}": rng.gauss(0, 1) for place in range(5)}
        log.append(Record(batch=names[-1], at=to_text(clock.now()), model="risk", endpoint="production", version=1,
                          stage="champion", verdict="kept", latency_us=9,
                          rows=(Row(names[-1], 0, values, sum(values.values())),)))
    return names


def watch(workspace: Any, asked: Any) -> Any:
    """A monitor of its own, in memory."""
    import numpy as np
    import polars as pl

    from trimtab.config import Monitor as Settings
    from trimtab.data.contract import Column, Contract
    from trimtab.data.profile import profile
    from trimtab.keys import Keyring
    from trimtab.monitor.alerts import Alerts
    from trimtab.monitor.baseline import Baseline
    from trimtab.monitor.harm import Risk
    from trimtab.monitor.monitor import Live, Monitor
    from trimtab.monitor.windows import PREDICTION
    from trimtab.sketch.column import NumericSketch
    from trimtab.store import migrate
    from trimtab.store.db import Database
    from trimtab.store.journal import Journal

    rng = np.random.default_rng(0)
    contract = Contract(columns=(*(Column(name=f"x{place}", type="number") for place in range(5)),
                                 Column(name="y", type="number", role="target")))
    training = pl.DataFrame({f"x{place}": rng.normal(size=5000) for place in range(5)})
    columns: dict[str, Any] = dict(profile(training, contract))
    columns[PREDICTION] = NumericSketch.of(training.sum_horizontal().to_numpy())
    baseline = Baseline(contract=contract, columns=columns, risk=Risk.of(rng.normal(size=1000) ** 2),
                        score={"value": 1.0, "low": 0.9, "high": 1.1})
    db = Database("sqlite://")
    migrate.upgrade(db)
    alerts = Alerts(db, Journal(db, Keyring(workspace.folder / "bench"), workspace.clock), workspace.clock,
                    workspace.ids)
    return Monitor(db=db, traffic=asked, alerts=alerts, now=workspace.clock,
                   live=lambda model: [Live(endpoint="production", version=1)],
                   baseline=lambda model, version: baseline, settings=lambda model, version: Settings(window=WINDOW))


def cost(folder: Path, rows: int) -> dict[str, object]:
    """CPU seconds of a step after so many predictions, by both ways; they must say the same."""
    workspace, clock, log, names = fill(folder, rows)
    workspace.labels.put("risk", "prediction", ((name, 0.1) for name in names[:-WINDOW * 50]), by="bench")
    ways = {"incremental": watch(workspace, workspace.asked),
            "whole": watch(workspace, lambda model, told_after=None, **more: workspace.asked(model, **more))}
    clock.advance(seconds=5)
    for one in ways.values():
        one.step("risk")                                        # catches up with all that was before
    took: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(STEPS):
        ask(workspace, clock, log, WINDOW)
        late = names[-WINDOW * (50 - turn):][:WINDOW]
        workspace.labels.put("risk", "prediction", ((name, 0.2) for name in late), by="bench")
        clock.advance(seconds=5)
        said = []
        for name, one in ways.items():
            begun = time.process_time()
            said.append([watched.harm.to_json() for watched in one.step("risk").closed])
            took[name].append(time.process_time() - begun)
        if said[0] != said[1] or len(said[0]) != 1:
            raise RuntimeError("the two ways do not say the same")
    log.close()
    return {"rows": rows, **{f"{name}_cpu_s": round(statistics.median(values), 3) for name, values in took.items()}}


def main() -> None:
    """One line a number of rows."""
    for rows in [int(word) for word in sys.argv[1:]] or [100_000, 1_000_000]:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(cost(Path(folder) / "ws", rows)), flush=True)


if __name__ == "__main__":
    main()
