"""How often does the monitor alarm without a cause, and how soon with one?  Counted over 200 seeds each.

20 columns (15 numeric, 5 categorical), a baseline of 20,000 rows, windows of 1,000 rows, one false alarm a year allowed
at 365 windows a year. Without drift: runs of 30 windows with any alarm, beside the promise for 30 windows. With a shift
of one column: runs in which that column alarms within so many windows. Intervals are Clopper–Pearson's, 95%. And what
one window costs from raw rows, 20 columns.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
import polars as pl
from scipy.stats import beta

from trimtab.data.contract import Column, Contract
from trimtab.data.profile import profile
from trimtab.monitor.drift import Detector, Rate
from trimtab.monitor.windows import ColumnWindow, Window
from trimtab.sketch.column import CategorySketch, NumericSketch

SEEDS, WINDOWS, ROWS = int(sys.argv[1]) if len(sys.argv) > 1 else 200, 30, 1_000
NUMBERS, CATEGORIES = 15, 5
NAMES = tuple("abcdefgh")
RATE = Rate(false_alarms_per_year=1, windows_per_year=365)


def exact(k: int, n: int) -> str:
    """k of n with its Clopper–Pearson interval."""
    low = 0.0 if k == 0 else float(beta.ppf(0.025, k, n - k + 1))
    high = 1.0 if k == n else float(beta.ppf(0.975, k + 1, n - k))
    return f"{k:>3} of {n}  ({k / n:.1%}; [{low:.1%}, {high:.1%}])"


def baseline(rng: np.random.Generator, rows: int) -> dict[str, Any]:
    """A sketch a column: normal, and lognormal where the place is odd; categories of uneven shares."""
    X = numbers(rng, rows)
    found: dict[str, Any] = {f"x{i}": NumericSketch.of(X[:, i]) for i in range(NUMBERS)}
    for i in range(CATEGORIES):
        found[f"k{i}"] = CategorySketch.of_counts(categories(rng, rows), 0, NAMES)
    return found


def numbers(rng: np.random.Generator, rows: int) -> Any:
    """Raw numeric columns, shape (rows, 15)."""
    X = rng.normal(size=(rows, NUMBERS))
    X[:, 1::2] = np.exp(X[:, 1::2])
    return X


def categories(rng: np.random.Generator, rows: int) -> dict[str, int]:
    """Rows per category."""
    shares = np.array([0.4, 0.2, 0.15, 0.1, 0.08, 0.04, 0.02, 0.01])
    return dict(zip(NAMES, rng.multinomial(rows, shares).tolist(), strict=True))


def window(rng: np.random.Generator, before: dict[str, Any], shift: float = 0.0) -> Window:
    """The next 1,000 rows; x0 shifted by so many sds."""
    X = numbers(rng, ROWS)
    X[:, 0] += shift
    columns = {f"x{i}": ColumnWindow(sketch=NumericSketch.of(X[:, i], before[f"x{i}"].edges, k=128))
               for i in range(NUMBERS)}
    columns |= {f"k{i}": ColumnWindow(sketch=CategorySketch.of_counts(categories(rng, ROWS), 0, NAMES))
                for i in range(CATEGORIES)}
    return Window(rows=ROWS, broken=0, columns=columns)


def null(rows: int, ignored: float) -> None:
    """Runs of 30 windows without drift."""
    alarmed = 0
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        before = baseline(rng, rows)
        detector = Detector(before, RATE, ignore_below_sd=ignored)
        alarmed += any(detector.step(window(rng, before)).alarmed for _ in range(WINDOWS))
    print(f"  baseline {rows:>6,} rows, ignore below {ignored} sd: {exact(alarmed, SEEDS)}   promised ≤ "
          f"{WINDOWS / 365:.1%}")


def power(shift: float, within: int, rows: int = 20_000) -> None:
    """Runs in which the shifted column alarms within so many windows; three calm windows before."""
    seen = 0
    for seed in range(SEEDS):
        rng = np.random.default_rng(10_000 + seed)
        before = baseline(rng, rows)
        detector = Detector(before, RATE)
        for _ in range(3):
            detector.step(window(rng, before))
        seen += any(one.column == "x0" for _ in range(within)
                    for one in detector.step(window(rng, before, shift)).alarmed)
    print(f"  +{shift} sd, within {within} windows, baseline {rows:,}: {exact(seen, SEEDS)}")


def cost() -> None:
    """Milliseconds from raw rows to evidence."""
    rng = np.random.default_rng(0)
    contract = Contract(columns=tuple(Column(name=f"x{i}", type="number") for i in range(20)))
    frame = pl.DataFrame({f"x{i}": rng.normal(size=20_000) for i in range(20)})
    before = profile(frame, contract)
    part = frame[:ROWS]
    detector = Detector(before, RATE)
    start = time.process_time()
    for _ in range(20):
        detector.step(Window.of(part, contract, before))
    print(f"  one window of {ROWS:,} rows × 20 columns: {(time.process_time() - start) / 20 * 1e3:.1f} ms CPU")


if __name__ == "__main__":
    print(f"No drift, {SEEDS} runs of {WINDOWS} windows: runs with any alarm")
    null(20_000, 0.1)
    null(20_000, 0.0)
    null(1_000, 0.0)
    print("A shift of the mean of one column")
    power(0.5, 2)
    power(0.5, 2, 1_000)
    power(0.25, 5)
    print("Cost")
    cost()
