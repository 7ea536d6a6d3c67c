"""The counters, their Prometheus text, and the figures that `status` reads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import serving_scenes as scenes
from asgi_client import Client

from trimtab.clock import FixedClock
from trimtab.doors import server
from trimtab.doors.desk import Desk
from trimtab.serving.metrics import BOUNDS_S, Metrics, quantile_s
from trimtab.serving.pulse import Pulse, last_minute

_SAMPLE = re.compile(r'[a-z_]+(\{[a-z_]+="(?:[^"\\\n]|\\.)*"(,[a-z_]+="(?:[^"\\\n]|\\.)*")*\})? -?[0-9.e+-]+')


def samples(text: str) -> dict[str, float]:
    """Prometheus text as a mapping; every line must be of the format, every family described before its samples."""
    found, described = {}, set()
    for line in text.splitlines():
        if line.startswith("# "):
            described.add(line.split()[2])
            continue
        assert _SAMPLE.fullmatch(line), line
        name = re.sub(r"_(bucket|sum|count)$", "", line.split("{")[0].split(" ")[0])
        assert name in described, line
        left, _, value = line.rpartition(" ")
        found[left] = float(value)
    return found


def test_what_is_asked_is_counted_by_version_and_errors_by_code(tmp_path: Path) -> None:
    """Requests, rows, latency, errors, broken rows, swaps; a model that is not there adds no label."""
    ws = scenes.workspace(tmp_path)
    scenes.constant(ws, 1.0)
    scenes.constant(ws, 2.0)
    ws.rollouts.deploy("risk", 1, by="ada")
    engine = server.make_engine(ws)
    engine.refresh()
    with Client(server.build_app(Desk(ws, engine))) as client:
        where = "/api/models/risk/predict"
        for rows in (1, 3):
            client.post(where, json=[{"rate": 0.0, "volume": 1.0}] * rows)
        client.post(where, json=[{"rate": 99.0}, {"rate": 0.0}, {"rate": "x", "volume": "y"}])
        client.post(where, content=b"{", headers={"content-type": "application/json"})
        client.post("/api/models/nobody/predict", json=[{"rate": 0.0}])
        client.post("/api/models/risk/promote", json={"version": 2})
        client.post(where, json=[{"rate": 0.0}])
        told = client.get("/metrics")
    assert told.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    found = samples(told.text)
    first = '{model="risk",endpoint="production",version="1"}'
    assert found["trimtab_requests_total" + first] == 2
    assert found["trimtab_rows_total" + first] == 4
    assert found["trimtab_request_seconds_count" + first] == 2
    assert found['trimtab_request_seconds_bucket{model="risk",endpoint="production",version="1",le="+Inf"}'] == 2
    assert found['trimtab_requests_total{model="risk",endpoint="production",version="2"}'] == 1
    assert found['trimtab_errors_total{model="risk",code="contract_violation"}'] == 1
    assert found['trimtab_contract_broken_rows_total{model="risk"}'] == 2
    assert found['trimtab_errors_total{model="risk",code="malformed"}'] == 1
    assert found['trimtab_errors_total{model="(none)",code="not_found"}'] == 1
    assert found['trimtab_swaps_total{model="risk",endpoint="production"}'] == 1
    assert found['trimtab_live{model="risk",endpoint="production",version="2"}'] == 1
    assert found["trimtab_store_reached"] == 1
    ws.close()


def test_buckets_are_cumulative_and_names_are_escaped() -> None:
    metrics = Metrics()
    for seconds in (0.00005, 0.0001, 0.0002, 99.0):
        metrics.of('a"b\\c', "production", 1).answered(1, seconds, 10)
    found = samples(metrics.text())
    at = 'trimtab_request_seconds_bucket{model="a\\"b\\\\c",endpoint="production",version="1",le='
    assert [found[f'{at}"{bound:g}"}}'] for bound in BOUNDS_S[:2]] == [2, 3]
    assert found[f'{at}"10"}}'] == 3
    assert found[f'{at}"+Inf"}}'] == 4


@pytest.mark.parametrize(("buckets", "share", "want"), [([], 0.99, None), ([0, 0], 0.5, None), ([99, 1], 0.99, 0.0001),
                                                        ([98, 2], 0.99, 0.00025), ([0] * 15 + [1], 0.99, 10.0)])
def test_a_quantile_is_the_bound_of_its_bucket(buckets: list[int], share: float, want: float | None) -> None:
    assert quantile_s(buckets, share) == want


def test_the_last_minute_of_all_living_processes_is_added_up(tmp_path: Path) -> None:
    """What is older than ten seconds was left by a killed process; half a file is none."""
    clock = FixedClock()
    pulses = []
    for writer in ("w-1", "w-2"):
        metrics = Metrics()
        pulse = Pulse(metrics, tmp_path, writer=writer, now=clock)
        for _ in range(30):
            metrics.of("risk", "production", 1).answered(2, 0.002, 100)
        metrics.refused("risk", "contract_violation")
        pulse.beat()
        pulses.append((metrics, pulse))
    (tmp_path / "w-3.json").write_text('{"schema": "trimtab.pu')
    told = last_minute(tmp_path, clock)["risk", "production"]
    assert (told.requests_per_minute, told.errors, told.p99_ms) == (2 * 30 * 60, 2, 2.5)
    for _ in range(70):                                     # over a minute later nothing of it is left
        clock.advance(seconds=1)
        pulses[0][1].beat()
    told = last_minute(tmp_path, clock)["risk", "production"]
    assert (told.requests_per_minute, told.errors, told.p99_ms) == (0, 0, None)
    clock.advance(seconds=11)
    assert last_minute(tmp_path, clock) == {}
