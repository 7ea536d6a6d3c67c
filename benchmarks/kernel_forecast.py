"""How near is the forecast of a kernel machine's memory to what its fit takes?  (goal: within 20%)

Each fit runs in a process of its own, through trimtab's pipeline; measured is the peak resident memory beyond what the
process held before the fit. Seconds are shown for comparison; they are a guide, not a promise.

    python benchmarks/kernel_forecast.py
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

CASES = [("kernel_ridge", 2000, 6), ("kernel_ridge", 4000, 6), ("kernel_ridge", 8000, 6), ("kernel_ridge", 6000, 60),
         ("svr", 4000, 6), ("svr", 8000, 6), ("svr", 12000, 6), ("svc", 4000, 6), ("svc", 8000, 6)]
GOAL = 0.20


def measure(family: str, rows: int, columns: int) -> dict[str, float]:
    """Fit once in this process: forecast and measured bytes and seconds."""
    import time

    import numpy as np
    from sklearn.pipeline import Pipeline
    from threadpoolctl import threadpool_limits

    from trimtab.pipeline import kernel
    from trimtab.pipeline.candidates import Situation, resolve
    from trimtab.pipeline.model import Feature
    from trimtab.pipeline.preprocess import build, plan

    rng = np.random.default_rng(0)
    X = rng.normal(size=(rows, columns))
    signal = np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2] + X[:, 3] ** 2
    noisy = signal + rng.normal(size=rows)
    task = "binary" if family == "svc" else "regression"
    y = (noisy > np.median(noisy)).astype(np.int64) if family == "svc" else noisy
    features = tuple(Feature(name=f"x{i}", kind="number") for i in range(columns))
    candidate = resolve(family, task, root=None)
    situation = Situation(task=task, rows=rows, width=columns, target_sd=float(noisy.std()), seed=0)
    params = {"gamma": 0.3 / columns, **({"alpha": 0.1} if family == "kernel_ridge" else {"C": 1.0})}

    def pipeline() -> Pipeline:
        return Pipeline([("prepare", build(plan(features, X, "scaled"))),
                         ("model", candidate.build(params, situation))])

    with threadpool_limits(limits=1):
        start = time.perf_counter()
        kernel.fit(pipeline(), X[:1000], y[:1000])         # loads what a fit needs; also the pilot
        pilot = kernel.Pilot(rows=1000, seconds=time.perf_counter() - start)
        start = time.perf_counter()
        kernel.fit(pipeline(), X[:1000], y[:1000])
        pilot = kernel.Pilot(rows=1000, seconds=time.perf_counter() - start)
        expected = kernel.forecast(rows, columns, family, pilot)
        before = resident(reset=True)
        start = time.perf_counter()
        kernel.fit(pipeline(), X, y)
        seconds = time.perf_counter() - start
    return {"forecast_bytes": expected.memory_bytes, "measured_bytes": resident(peak=True) - before,
            "forecast_s": expected.seconds, "measured_s": seconds}


def resident(*, peak: bool = False, reset: bool = False) -> int:
    """Bytes of memory of this process, now or at its peak since the last reset (Linux)."""
    if reset:
        with open("/proc/self/clear_refs", "w") as control:
            control.write("5")
    with open("/proc/self/status") as status:
        facts = dict(line.split(":", 1) for line in status)
    return int(facts["VmHWM" if peak else "VmRSS"].split()[0]) * 1024


def main() -> int:
    """Print a line per case; exit 1 where a forecast is off by more than the goal."""
    if len(sys.argv) == 4:
        print(json.dumps(measure(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
        return 0
    off = 0
    print(f"{'fit':14} {'rows':>7} {'columns':>7} {'forecast':>10} {'measured':>10} {'ratio':>6} {'forecast':>9} "
          f"{'measured':>9}")
    for family, rows, columns in CASES:
        done = subprocess.run([sys.executable, __file__, family, str(rows), str(columns)], check=True,
                              capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        got = json.loads(done.stdout)
        ratio = got["forecast_bytes"] / got["measured_bytes"]
        off += abs(ratio - 1) > GOAL
        print(f"{family:14} {rows:7,} {columns:7} {got['forecast_bytes'] / 1e6:7.0f} MB "
              f"{got['measured_bytes'] / 1e6:7.0f} MB {ratio:6.2f} {got['forecast_s']:7.2f} s "
              f"{got['measured_s']:7.2f} s")
    print(f"{len(CASES) - off} of {len(CASES)} forecasts of memory are within {GOAL:.0%}")
    return 1 if off else 0


if __name__ == "__main__":
    raise SystemExit(main())
