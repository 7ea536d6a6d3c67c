"""How long does `trimtab status` take over a million logged predictions, and how long is one found by its id?

Makes a workspace in a temporary folder: a registered model that is live, a million predictions in closed segments and
one that is open, a thousand closed windows, labels. Then it runs `trimtab status` and `trimtab traffic --id` as
processes, start included, and looks up ids in this process. Goals: 300 ms, and 50 ms by id. One JSON object.

    python benchmarks/status_at_scale.py [ROWS]
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

TURNS, LOOKED_UP = 9, 40


def timed(work: Callable[[], object], turns: int) -> dict[str, float]:
    """Median and largest milliseconds of so many turns; the processes' own CPU time, where others use the machine."""
    took, cpu = [], []
    for _ in range(turns):
        begun, before = time.perf_counter(), used()
        work()
        took.append((time.perf_counter() - begun) * 1e3)
        cpu.append((used() - before) * 1e3)
    return {"median_ms": round(statistics.median(took), 1), "max_ms": round(max(took), 1),
            "cpu_median_ms": round(statistics.median(cpu), 1)}


def used() -> float:
    """CPU seconds of this process and of those that it waited for."""
    told = os.times()
    return told.user + told.system + told.children_user + told.children_system


def project(folder: Path) -> None:
    """A project whose model is live."""
    rng = random.Random(0)
    lines = ["a,b,y"] + [f"{a:.3f},{b:.3f},{2 * a + b:.3f}" for a, b in
                         ((rng.gauss(0, 1), rng.gauss(0, 1)) for _ in range(600))]
    (folder / "data.csv").write_text("\n".join(lines))
    trimtab(folder, "run", "data.csv", "--name", "risk")


def trimtab(folder: Path, *words: str) -> str:
    """Run the command line; what it printed."""
    return subprocess.run([sys.executable, "-m", "trimtab", *words], cwd=folder, check=True, capture_output=True,
                          text=True).stdout


def fill(folder: Path, rows: int) -> list[str]:
    """Log so many predictions of the last days, close what is finished, watch them; some ids."""
    from trimtab.clock import FixedClock, SystemClock, to_text
    from trimtab.traffic import closing
    from trimtab.traffic.log import TrafficLog
    from trimtab.traffic.segments import Record, Row
    from trimtab.workspace import Workspace

    kept = []
    with Workspace.open(folder / ".trimtab") as workspace:
        model = workspace.versions.models()[0]
        clock = FixedClock(SystemClock().now() - timedelta(seconds=rows * 0.2))
        log = TrafficLog(workspace.folder / "traffic", writer="w-1", now=clock)
        rng = random.Random(1)
        for number in range(rows):
            clock.advance(seconds=0.19)
            name = workspace.ids.prediction(clock.now())
            a, b = rng.gauss(0, 1), rng.gauss(0, 1)
            log.append(Record(batch=name, at=to_text(clock.now()), model=model, endpoint="production", version=1,
                              stage="champion", verdict="kept", latency_us=9,
                              rows=(Row(name, 0, {"a": a, "b": b}, 2 * a + b),)))
            if number % max(1, rows // LOOKED_UP) == 0 or number == rows - 1:
                kept.append(name)
        closing.close_all(workspace.folder / "traffic")
        workspace.labels.put(model, "prediction", ((name, 1.0) for name in kept), by="bench")
        begun = time.perf_counter()
        workspace.monitor.step(model)
        print(json.dumps({"first_monitor_step_s": round(time.perf_counter() - begun, 1)}), file=sys.stderr)
        log.close()
    return kept


def main() -> None:
    """Print one line of figures."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        project(folder)
        asked = fill(folder, rows)
        from trimtab.workspace import Workspace

        told: dict[str, Any] = {"rows": rows, "status": timed(lambda: trimtab(folder, "status"), TURNS),
                                "help": timed(lambda: trimtab(folder, "--help"), TURNS),
                                "traffic_id_process": timed(lambda: trimtab(folder, "traffic", "--id", asked[3]), 5)}
        with Workspace.open(folder / ".trimtab") as workspace:
            workspace.traffic.find(asked[0])
            names = iter(asked)
            told["by_id"] = timed(lambda: workspace.traffic.find(next(names)), len(asked))
        print(json.dumps(told))
        print(trimtab(folder, "status"), file=sys.stderr)


if __name__ == "__main__":
    main()
