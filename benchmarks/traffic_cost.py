"""What does the flight recorder cost, and how soon is one of a million predictions found?

The first part asks `Engine.infer` for one row of ten columns of a linear model, in this process, one thread: without a
recorder, with it ("fast"), and with "strict"; and over the whole HTTP application (in-process ASGI, no socket) without
and with it. The ways take turns within one run; each figure is the median of all turns. The goal is at most 15% of the
application's throughput. The second part records a million predictions, closes the segments, and looks up single ones.
One JSON object a line.

    python benchmarks/traffic_cost.py [ROWS]
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

COLUMNS, TURNS, CALLS = 10, 30, 200
LOOKED_UP = 40


def bundle() -> tuple[Any, dict[str, float]]:
    """A linear model of ten columns, and a row."""
    import numpy as np
    from sklearn.linear_model import LinearRegression

    from trimtab.data.contract import Column, Contract
    from trimtab.registry.bundle import Bundle

    X = np.random.default_rng(0).normal(size=(2000, COLUMNS))
    names = [f"x{place}" for place in range(COLUMNS)]
    contract = Contract(columns=tuple(Column(name=name, type="number", min=-100, max=100) for name in names))
    made = Bundle(contract=contract, facts={"task": "regression", "classes": []}, name="linear",
                  number=1, estimator=LinearRegression().fit(X, X.sum(axis=1)))
    return made, dict(zip(names, X[0].tolist(), strict=True))


class OneVersion:
    """A source with one version that is always live."""

    def __init__(self, made: Any) -> None:
        self._made = made

    def revision(self) -> int:
        """Never changes."""
        return 1

    def wanted(self) -> Mapping[Any, Any]:
        """The one."""
        from trimtab.serving.source import Place, Wanted

        return {Place("linear", "production"): Wanted(1)}

    def load(self, model: str, number: int) -> Any:
        """It is made already."""
        return self._made

    def servable(self, model: str, number: int) -> bool:
        """Always."""
        return True


def engine(made: Any, record: Any = None) -> Any:
    """An engine over it, started by hand."""
    from trimtab.clock import SystemClock
    from trimtab.ids import Ids
    from trimtab.serving.engine import Engine

    started = Engine(OneVersion(made), now=SystemClock(), ids=Ids(), record=record)
    started.refresh()
    return started


def asking(engine: Any, row: dict[str, float]) -> Callable[[], None]:
    """One POST of the row through every route and the guard."""
    from trimtab.doors import server
    from trimtab.doors.desk import Desk

    app: Any = server.build_app(Desk(SimpleNamespace(), engine))  # type: ignore[arg-type]
    body = json.dumps({"rows": [row]}).encode()
    scope = {"type": "http", "method": "POST", "path": "/api/models/linear/predict", "raw_path": b"", "scheme": "http",
             "query_string": b"", "http_version": "1.1", "root_path": "", "client": ("127.0.0.1", 1),
             "server": ("localhost", 80), "headers": [(b"host", b"localhost"), (b"content-type", b"application/json"),
                                                      (b"content-length", str(len(body)).encode())]}
    loop = asyncio.new_event_loop()

    async def ask() -> None:
        async def receive() -> dict[str, object]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            assert message.get("status", 200) == 200, message

        await app(dict(scope), receive, send)

    return lambda: loop.run_until_complete(ask())


def seconds(work: Callable[[], object]) -> float:
    """Seconds a call, over `CALLS` calls."""
    begun = time.perf_counter()
    for _ in range(CALLS):
        work()
    return (time.perf_counter() - begun) / CALLS


def cost(folder: Path) -> Iterator[dict[str, object]]:
    """Microseconds a request, and the share of throughput that is left."""
    from trimtab.clock import SystemClock
    from trimtab.traffic.log import Durability, TrafficLog

    made, row = bundle()
    kinds: tuple[Durability, ...] = ("fast", "strict")
    logs = {name: TrafficLog(folder, writer=f"w-{name}", now=SystemClock(), durability=name) for name in kinds}
    engines: dict[str, Any] = {"without": engine(made)}
    engines |= {name: engine(made, log.append) for name, log in logs.items()}
    for where, ways in (
            ("engine", {name: (lambda one=one: one.infer("linear", [row])) for name, one in engines.items()}),
            ("application", {name: asking(engines[name], row) for name in ("without", "fast")})):
        turns: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(TURNS):
            for name, work in ways.items():
                turns[name].append(seconds(work))
        took = {name: statistics.median(values) for name, values in turns.items()}
        yield {"where": where, "columns": COLUMNS, "calls": TURNS * CALLS,
               **{f"{name}_us": round(value * 1e6, 1) for name, value in took.items()},
               "fast_costs_ratio": round(1 - took["without"] / took["fast"], 3)}
    for log in logs.values():
        log.close()


def million(folder: Path, rows: int) -> dict[str, object]:
    """Record so many, close the segments, look some up by id."""
    from trimtab.clock import FixedClock, to_text
    from trimtab.ids import Ids
    from trimtab.traffic import closing
    from trimtab.traffic.log import TrafficLog
    from trimtab.traffic.query import Traffic
    from trimtab.traffic.segments import Record, Row

    clock, ids = FixedClock(), Ids()
    log = TrafficLog(folder, writer="w-1", now=clock)
    features: dict[str, Any] = {f"x{place}": 0.123456789 * place for place in range(COLUMNS)}
    asked = []
    for number in range(rows):
        if number % 10 == 0:
            clock.advance(milliseconds=1)
        name = ids.prediction(clock.now())
        log.append(Record(batch=name, at=to_text(clock.now()), model="linear", endpoint="production", version=1,
                          stage="champion", verdict="kept", latency_us=9,
                          rows=(Row(id=name, position=0, features=features, output=1.5),)))
        if number % max(1, rows // LOOKED_UP) == 0 or number == rows - 1:
            asked.append(name)
    begun = time.perf_counter()
    closed = closing.close_all(folder)                          # the newest segment is still written: not closed
    took_s = time.perf_counter() - begun
    traffic, found_s = Traffic(folder), []
    traffic.find(asked[0])
    for name in asked:
        begun = time.perf_counter()
        assert traffic.find(name)[1].id == name
        found_s.append(time.perf_counter() - begun)
    log.close()
    return {"rows": rows, "segments_closed": closed, "closing_s": round(took_s, 1),
            "parquet_bytes_a_row": round(sum(path.stat().st_size for path in folder.glob("*/*.parquet")) / rows, 1),
            "find_median_ms": round(statistics.median(found_s) * 1e3, 1), "find_max_ms": round(max(found_s) * 1e3, 1)}


def main() -> None:
    """Print one line a figure."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        for line in cost(Path(folder) / "cost"):
            print(json.dumps(line), flush=True)
        print(json.dumps(million(Path(folder) / "million", rows)), flush=True)


if __name__ == "__main__":
    main()
