"""What does comparing two tables cost?  CPU time and memory, beside the bare engine's counting of the same data.

    python benchmarks/drift_two_tables.py [ROWS]          default 1,000,000 rows × 20 columns (15 numbers, 5 categories)

The floor is the bare libraries: Polars reads both Parquet files and counts the categories, NumPy sorts each number and
finds 100 quantile bins in it. With Evidently installed, its preset runs on the same data (frames in memory). Each way
has a process of its own.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

BATCH = 250_000


def write(path: Path, rows: int, shift: float, seed: int) -> None:
    """A table, made a stretch at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng, writer = np.random.default_rng(seed), None
    for start in range(0, rows, BATCH):
        n = min(BATCH, rows - start)
        columns = {f"n{i}": rng.normal(size=n) for i in range(15)}
        columns["n3"] = columns["n3"] + shift
        columns |= {f"c{i}": np.array(list("abcdefgh"))[rng.integers(0, 8, n)] for i in range(5)}
        part = pa.table(columns)
        writer = writer or pq.ParquetWriter(path, part.schema)
        writer.write_table(part)
    assert writer is not None
    writer.close()


def ours(before: str, now: str) -> str:
    from trimtab.monitor.two_tables import drift

    report = drift(before, now)
    return f"alarms {report.alarms}, page {len(report.to_html()) / 1e3:.0f} kB"


def floor(before: str, now: str) -> str:
    a, b = pl.read_parquet(before), pl.read_parquet(now)
    for name in a.columns:
        if a.schema[name] == pl.String:
            a[name].value_counts()
            b[name].value_counts()
        else:
            then, new = np.sort(a[name].to_numpy()), np.sort(b[name].to_numpy())
            edges = then[np.linspace(0, len(then) - 1, 100).astype(int)]
            np.searchsorted(then, edges)
            np.searchsorted(new, edges)
    return "counts only"


def evidently(before: str, now: str) -> str:
    from evidently import Report
    from evidently.presets import DataDriftPreset

    result = Report([DataDriftPreset()]).run(pl.read_parquet(now).to_pandas(), pl.read_parquet(before).to_pandas())
    return f"page {len(result.get_html_str(False)) / 1e3:.0f} kB"


def main() -> None:
    """Each way in a process of its own."""
    if len(sys.argv) > 2:
        began, wall = time.process_time(), time.monotonic()
        said = {"ours": ours, "floor": floor, "evidently": evidently}[sys.argv[1]](*sys.argv[2:4])
        print(f"{sys.argv[1]:9}  {time.process_time() - began:7.2f} CPU-s  {time.monotonic() - wall:7.2f} s  "
              f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:7,.0f} MB   {said}", flush=True)
        return
    rows = int(float(sys.argv[1])) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        before, now = Path(folder) / "before.parquet", Path(folder) / "now.parquet"
        write(before, rows, 0.0, 1)
        write(now, rows, 0.3, 2)
        print(f"{rows:,} rows × 20 columns, both tables")
        for way in ("ours", "floor", "evidently"):
            if subprocess.run([sys.executable, __file__, way, str(before), str(now)], check=False,
                              stderr=subprocess.DEVNULL).returncode:
                print(f"{way:9}  not installed, or it failed: NOT MEASURED")


if __name__ == "__main__":
    main()
