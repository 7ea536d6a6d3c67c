"""What does `init` cost beside a bare Polars read + describe?  (goal: at most twice, on 1,000,000 rows × 20 columns)

    python benchmarks/data_init.py [ROWS]

Prints a JSON line for each piece (seconds, best of three, and the ratio to the bare read + describe) and one for the
sum of the pieces as `init` runs them. A third of the columns are decimals with few digits, the rest whole numbers, text
and long decimals; the file is made in a temporary folder.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from trimtab.clock import SystemClock
from trimtab.config import SplitBy
from trimtab.data.infer import infer_contract
from trimtab.data.quality import findings
from trimtab.data.readers import read_table
from trimtab.data.split import split_rows
from trimtab.data.versions import Datasets
from trimtab.keys import Keyring
from trimtab.store import migrate
from trimtab.store.blobs_local import LocalBlobs
from trimtab.store.db import Database
from trimtab.store.journal import Journal


def table(rows: int) -> pl.DataFrame:
    """Twenty columns: 14 decimals, 3 whole numbers, 2 texts, and a target."""
    rng = np.random.default_rng(0)
    columns: dict[str, Any] = {f"x{i}": rng.normal(size=rows).round(6) for i in range(14)}
    columns |= {f"k{i}": rng.integers(0, 1000, rows) for i in range(3)}
    columns |= {f"c{i}": np.array(["a", "b", "cc", "dd"])[rng.integers(0, 4, rows)] for i in range(2)}
    return pl.DataFrame({**columns, "y": rng.normal(size=rows)})


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Wall seconds and the result."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def main(rows: int) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = folder / "data.csv"
        table(rows).write_csv(file)
        bare = min(timed(lambda: pl.read_csv(file).describe())[0] for _ in range(3))
        print(json.dumps({"piece": "bare read + describe", "seconds": round(bare, 3), "rows": rows}))
        rounds = [one_round(file, folder / str(turn)) for turn in range(3)]
        for piece in rounds[0]:
            seconds = min(one[piece] for one in rounds)
            print(json.dumps({"piece": piece, "seconds": round(seconds, 3), "ratio": round(seconds / bare, 2)}))
        total = min(sum(one.values()) for one in rounds)
        print(json.dumps({"piece": "init", "seconds": round(total, 3), "ratio": round(total / bare, 2), "goal": 2.0}))


def one_round(file: Path, folder: Path) -> dict[str, float]:
    """Seconds of each piece of `init`, in order."""
    folder.mkdir()
    clock = SystemClock()
    db = Database("sqlite://")
    migrate.upgrade(db)
    datasets = Datasets(db, LocalBlobs(folder / "objects"), Journal(db, Keyring(folder / "keys"), clock), clock)
    spent: dict[str, float] = {}
    spent["read"], read = timed(lambda: read_table(file))
    spent["contract"], contract = timed(lambda: infer_contract(read.frame))
    spent["split"], _ = timed(lambda: split_rows(read.frame, contract, SplitBy()))
    spent["findings"], _ = timed(lambda: findings(read.frame, contract))
    spent["record (digest, profile, Parquet copy)"], _ = timed(lambda: datasets.record(read, contract, by="bench"))
    db.close()
    return spent


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
