"""What does checking a contract cost?  (goals: 5 µs for a request row of 20 columns, 0.3 s for 10⁶ rows)

    python benchmarks/contract_check.py [ROWS]

Prints a JSON line each for a row that keeps the contract (check and encoding), a row with missing values, a row that
breaks it, a clean table, and a table of which 1% of the rows break a rule.
"""

from __future__ import annotations

import json
import sys
import timeit

import numpy as np
import polars as pl

from trimtab.data.check import check_table
from trimtab.data.contract import Column, Contract
from trimtab.data.rows import row_checker

COLUMNS = (
    *(Column(name=f"x{i}", type="number", min=-10.0, max=10.0, missing=i < 4) for i in range(14)),
    *(Column(name=f"k{i}", type="integer", min=0.0, max=1000.0) for i in range(3)),
    *(Column(name=f"c{i}", type="category", categories=("a", "b", "cc", "dd")) for i in range(2)),
    Column(name="ok", type="boolean"))
CONTRACT = Contract(columns=COLUMNS)


def table(rows: int, bad: float) -> pl.DataFrame:
    """Rows of twenty columns, of which a share has one value out of range."""
    rng = np.random.default_rng(0)
    columns: dict[str, object] = {f"x{i}": rng.uniform(-9, 9, rows) for i in range(14)}
    columns["x0"] = np.where(rng.random(rows) < bad, 99.0, rng.uniform(-9, 9, rows))
    columns |= {f"k{i}": rng.integers(0, 1000, rows) for i in range(3)}
    columns |= {f"c{i}": np.array(["a", "b", "cc", "dd"])[rng.integers(0, 4, rows)] for i in range(2)}
    return pl.DataFrame({**columns, "ok": rng.random(rows) < 0.5})


def main(rows: int) -> None:
    """Measure and print."""
    check = row_checker(CONTRACT)
    good = table(1, 0.0).row(0, named=True)
    for what, row in (("row", good), ("row, 4 of 20 missing", {**good, **{f"x{i}": None for i in range(4)}}),
                      ("row that breaks a rule", {**good, "x5": 99.0})):
        seconds = min(timeit.repeat(lambda row=row: check(row, []), number=20_000, repeat=5)) / 20_000
        print(json.dumps({"what": what, "microseconds": round(seconds * 1e6, 2), "columns": 20, "goal": 5.0}))
    for what, bad in (("table", 0.0), ("table, 1% bad", 0.01)):
        frame = table(rows, bad)
        seconds = min(timeit.repeat(lambda frame=frame: check_table(CONTRACT, frame), number=1, repeat=5))
        print(json.dumps({"what": what, "seconds": round(seconds, 3), "rows": rows, "columns": 20, "goal": 0.3}))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
