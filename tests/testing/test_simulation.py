"""Does a virtual month go through the real rooms, and is it the same twice?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from trimtab.clock import from_text
from trimtab.errors import Conflict
from trimtab.testing import simulate
from trimtab.testing.played import Played
from trimtab.testing.scenario import Scenario, parse
from trimtab.workspace import Workspace

SHORT = """
days = 4
rate = 60
tick = "6h"
labels = { share = 0.6, lag = "7h", spread = "2h", corrected = 0.2 }

[[event]]
at = "1d"
kind = "store_outage"
lasts = "5h"

[[event]]
at = "30h"
kind = "server_crash"
lasts = "40min"

[[event]]
at = "1d"
kind = "unit"
column = "temperature"
factor = 1.8
offset = 32

[[event]]
at = "46h"
kind = "loop_crash"
write = 1
"""


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """Four days with a changed unit, an outage, a killed server and a killed loop."""
    return simulate(parse(SHORT, name="short"), seed=3, keep=tmp_path_factory.mktemp("simulation") / "kept")


def test_nothing_that_was_answered_is_lost(played: Played) -> None:
    """Each answered row is recorded, though the database was away, and half a record was left by a killed server."""
    counts = played.counts
    assert counts.asked == 4 * 24 * 60
    assert counts.unanswered == 40                     # four requests of ten rows while nobody was there
    assert counts.recorded == counts.answered == counts.asked - counts.unanswered
    assert counts.refused == 0
    assert counts.ticks_without_store == 1


def test_labels_come_late_and_some_are_corrected(played: Played) -> None:
    """Of the rows that are labelled at all, those of the last hours are still on their way."""
    assert 0.5 * played.counts.answered < played.counts.labels < 0.61 * played.counts.answered
    assert 0.1 * played.counts.labels < played.counts.corrected < 0.21 * played.counts.labels


def test_the_fault_is_seen_and_its_cause_named(played: Played) -> None:
    """°F for °C: the first cause is the unit, and nothing may be learned from such rows."""
    assert [alert["kind"] for alert in played.alerts] == ["unit"]
    assert "°C, °F" in played.alerts[0]["broken"]
    told = [one.what for one in played.timeline]
    assert told.index("fault") < told.index("alert")
    assert played.counts.servers_killed == 1
    assert (played.live, played.versions) == (1, 1)


def test_what_was_played_can_be_looked_at_with_the_ordinary_commands(played: Played) -> None:
    """The workspace that is kept holds it all; its journal ends at the head that was told."""
    with Workspace.open(Path(played.folder) / ".trimtab") as workspace:
        assert workspace.journal.verify().hash == played.head
        assert workspace.traffic.count(model="pumps") == played.counts.recorded
        newest = workspace.traffic.frame(model="pumps", limit=1)["at"][0]
    assert from_text(played.begins) < from_text(newest) <= from_text(played.ends)


def test_a_folder_with_something_in_it_is_not_played_in(played: Played) -> None:
    """Nobody's project is mixed with made-up traffic."""
    with pytest.raises(Conflict, match="not empty"):
        simulate("quiet", keep=Path(played.folder))


def _command(seed: int, hash_seed: str, file: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "trimtab", "simulate", str(file), "--seed", str(seed), "--json"], capture_output=True,
        text=True, check=True, env={**os.environ, "PYTHONHASHSEED": hash_seed, "OMP_NUM_THREADS": "1"})
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_the_same_seed_gives_the_same_journal(played: Played, tmp_path: Path) -> None:
    """In other processes, in other folders, with Python's hashes otherwise; and another seed gives another one."""
    (tmp_path / "short.toml").write_text(SHORT, encoding="utf-8")
    first, second = (_command(3, hash_seed, tmp_path / "short.toml") for hash_seed in ("1", "4242"))
    assert first == second
    assert first["head"] == played.head
    assert first == json.loads(json.dumps(played.to_json()))
    assert _command(4, "1", tmp_path / "short.toml")["head"] != played.head


def test_a_table_is_drawn_from_or_replayed_in_the_order_of_time(tmp_path: Path) -> None:
    """Replayed rows are asked at their own moments, also where the table is not sorted, and labelled after the lag."""
    import numpy as np
    import polars as pl

    from trimtab.testing.rows import pump_station

    moments = pl.datetime_range(pl.datetime(2025, 3, 1), pl.datetime(2025, 3, 10), interval="1h", eager=True)
    table = pump_station(np.random.default_rng(1), len(moments)).with_columns(moments.alias("when"))
    table.sample(fraction=1.0, shuffle=True, seed=1).write_csv(tmp_path / "replay.csv")
    plan = parse('days = 4\nrequest = 6\nlabels = { share = 1.0, lag = "1d", spread = "1s" }\n'
                 '[rows]\ndata = "replay.csv"\ntime = "when"\n', root=tmp_path)
    played = simulate(plan, keep=tmp_path / "kept")
    assert played.begins.startswith("2025-03-01")
    assert played.ends.startswith("2025-03-05")
    assert played.counts.answered == 4 * 24                         # whole requests, the last at the end of day 4
    assert 60 <= played.counts.labels <= 72
    with Workspace.open(tmp_path / "kept" / ".trimtab") as workspace:
        asked = workspace.traffic.frame(model="pumps")
    first = json.loads(asked["features"][0])
    assert first["flow"] == table["flow"][0]
    assert asked["at"].is_sorted()


def test_a_quiet_week_is_quiet() -> None:
    """Without a fault there is no alarm and no decision, and what is live stays."""
    played = simulate(Scenario(name="quiet", days=7, rate=60), seed=5)
    assert played.alerts == ()
    assert {one.what for one in played.timeline} == {"version", "live"}


def test_a_drift_is_answered_once_and_a_person_has_the_last_word() -> None:
    """Alert, retrain on rows of after the change, shadow, canary, promotion, probation, quiet; a rollback by hand."""
    played = simulate("story", seed=1)
    told = [one.text for one in played.timeline]
    order = [next(place for place, text in enumerate(told) if sign in text) for sign in (
        "flow moves", "alert.open", "decided: retrain", "in shadow beside v1", "for 5% beside v1", "promoted v2",
        "v1 in shadow beside v2", "v1 ended beside v2", "rolled back to v1")]
    assert order == sorted(order)
    assert [one["version"] for one in played.alerts] == [1]
    assert (played.live, played.versions) == (1, 2)
    assert sum(" decided: retrain" in text for text in told) == 1
    assert "customer complaint 118" in told[order[-1]]


@pytest.mark.slow
def test_outages_and_kills_change_nothing_of_what_is_decided() -> None:
    """The same drift with the database away, servers and loops killed: the same version serves in the end, each
    answered row is recorded, no deed is done twice."""
    calm, rough = simulate("drift", days=16), simulate("outages", days=16)
    assert (rough.counts.loops_killed, rough.counts.servers_killed) == (2, 2)
    assert rough.counts.recorded == rough.counts.answered
    assert (rough.live, rough.versions) == (calm.live, calm.versions) == (2, 2)
    for played in (calm, rough):
        assert sum("promoted v2" in one.text for one in played.timeline) == 1
