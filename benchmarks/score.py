"""What does batch scoring cost beside Polars alone?  (goals: constant memory; ratio to bare scan → predict → sink)

    python benchmarks/score.py [ROWS …]

Ten columns of numbers in Parquet, a linear and a boosted model; each way in a process of its own. "bare" scans,
predicts and sinks, and checks nothing; "score" is `trimtab.score`: contract, row numbers, quarantine. Prints a JSON
line each: seconds (wall and CPU), rows a second, the most memory in use, and the ratios of the two. On a machine that
others use, the CPU time is what tells.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from polars.io.plugins import register_io_source

import trimtab

COLUMNS = [f"x{place}" for place in range(10)]
GROUP = 1 << 17


def write(path: Path, rows: int) -> None:
    """A table of normal numbers, made and written a group at a time."""
    rng = np.random.default_rng(0)

    def come(columns: object, predicate: object, limit: object, size: object) -> Any:
        for start in range(0, rows, GROUP):
            yield pl.DataFrame(rng.normal(size=(min(GROUP, rows - start), len(COLUMNS))), schema=COLUMNS)

    register_io_source(come, schema=dict.fromkeys(COLUMNS, pl.Float64)).sink_parquet(
        path, row_group_size=GROUP, maintain_order=True)


def models() -> dict[str, Any]:
    """Fitted on 5,000 rows."""
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.linear_model import LinearRegression

    rng = np.random.default_rng(1)
    X = rng.normal(size=(5000, len(COLUMNS)))
    y = X @ rng.normal(size=len(COLUMNS))
    return {"linear": LinearRegression().fit(X, y),
            "boosting": HistGradientBoostingRegressor(random_state=0, max_iter=50).fit(X, y)}


def bare(kind: str, table: Path, out: Path) -> None:
    """Polars' own streaming, and the estimator's predict."""
    estimator = models()[kind]

    def answered(frame: pl.DataFrame) -> pl.DataFrame:
        return pl.DataFrame({"prediction": estimator.predict(frame.to_numpy())})

    pl.scan_parquet(table).map_batches(answered, streamable=True, schema={"prediction": pl.Float64}).sink_parquet(
        out, compression="zstd")


def child(way: str, kind: str, folder: Path) -> None:
    """One way, measured."""
    table, out = folder / "in.parquet", folder / f"{way}.parquet"
    models()                                   # both ways have imported scikit-learn before the clock runs
    begun, cpu = time.perf_counter(), time.process_time()
    if way == "bare":
        bare(kind, table, out)
    else:
        trimtab.score(table, out, f"{kind}@v1", force=True, workspace=folder / "ws")
    seconds = time.perf_counter() - begun
    most_kb = int(re.findall(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[0])
    print(json.dumps({"seconds": seconds, "cpu_s": time.process_time() - cpu, "mb": most_kb / 1000,
                      "rows": pl.scan_parquet(out).select(pl.len()).collect().item()}))


def main(sizes: list[int]) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as held:
        folder = Path(held)
        rng = np.random.default_rng(2)
        told = 10 * rng.normal(size=(5000, len(COLUMNS))), rng.normal(size=5000)
        from trimtab.workspace import Workspace

        with Workspace.open(folder / "ws", create=True) as workspace:
            for name, estimator in models().items():
                trimtab.register(name, estimator, train=told, test=told, workspace=workspace)
        for rows in sizes:
            write(folder / "in.parquet", rows)
            for kind in ("linear", "boosting"):
                found = {}
                for way in ("bare", "score"):
                    ended = subprocess.run([sys.executable, __file__, way, kind, str(folder)], check=True,
                                           capture_output=True, text=True)
                    found[way] = one = json.loads(ended.stdout)
                    assert one["rows"] == rows
                    print(json.dumps({"way": way, "model": kind, "rows": rows, "seconds": round(one["seconds"], 2),
                                      "cpu_s": round(one["cpu_s"], 2),
                                      "rows_per_s": round(rows / one["seconds"]), "most_mb": round(one["mb"])}))
                print(json.dumps({"model": kind, "rows": rows, **{f"ratio_of_{what}": round(
                    found["score"][what] / found["bare"][what], 2) for what in ("seconds", "cpu_s")}}), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] in (["bare"], ["score"]):
        child(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
    else:
        main([int(size) for size in sys.argv[1:]] or [1_000_000, 10_000_000])
