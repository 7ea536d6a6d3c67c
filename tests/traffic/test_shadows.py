"""What was computed along is kept beside what was answered, and only who asks for it sees it."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from trimtab import clock as clocks
from trimtab.clock import FixedClock
from trimtab.ids import Ids
from trimtab.traffic import closing
from trimtab.traffic.log import TrafficLog
from trimtab.traffic.query import Traffic
from trimtab.traffic.segments import Record, Row, Stage

AT = datetime(2026, 1, 1, tzinfo=UTC)


def request(ids: list[str], version: int, stage: Stage, at: str, *, verdict: str = "kept") -> Record:
    return Record(batch=ids[0], at=at, model="risk", endpoint="production", version=version, stage=stage,
                  verdict=verdict, latency_us=version, rows=tuple(
                      Row(id=name, position=place, features={"x": float(place)}, key=f"c-{name}",
                          output=None if verdict == "failed" else version * 10.0 + place,
                          probabilities=[0.1 * version, 1 - 0.1 * version])
                      for place, name in enumerate(ids)))


@pytest.fixture
def both(tmp_path: Path) -> tuple[Traffic, list[Record], list[Record]]:
    """60 requests of v1 and v2, small segments, half of them closed: (traffic, answered, computed along)."""
    rng, ids = random.Random(7), Ids()
    answered, along = [], []
    log = TrafficLog(tmp_path, writer="w-1", now=FixedClock(), segment_bytes=1_500)
    late: list[Record] = []
    for number in range(60):
        moment = AT + timedelta(seconds=number)
        names = sorted(ids.prediction(moment) for _ in range(rng.randint(1, 3)))
        canary = rng.random() < 0.3
        made = request(names, 2 if canary else 1, "canary" if canary else "champion", clocks.to_text(moment))
        other = request(names, 1 if canary else 2, "shadow", clocks.to_text(moment),
                        verdict="failed" if number % 10 == 3 else "kept")
        log.append(made)
        answered.append(made)
        late.append(other)
        if len(late) > 3:                          # it is computed after a while, and may be in another segment
            log.append(late.pop(0))
            along.append(other)
        if number == 30:
            log.close()
            assert closing.close_all(tmp_path) > 2
            log = TrafficLog(tmp_path, writer="w-2", now=FixedClock(), segment_bytes=1_500)
    for one in late:
        log.append(one)
    log.close()
    assert list(tmp_path.glob("*/*.log"))
    assert list(tmp_path.glob("*/*.parquet"))
    return Traffic(tmp_path), answered, along


def test_who_asks_what_was_answered_does_not_see_it(both: tuple[Traffic, list[Record], list[Record]]) -> None:
    traffic, answered, _ = both
    told = [row.id for record in answered for row in record.rows]
    assert traffic.frame()["id"].to_list() == told
    assert traffic.count() == len(told)
    assert set(traffic.frame()["stage"]) == {"champion", "canary"}
    assert traffic.known("risk", "id", told) == len(told)
    assert traffic.known("risk", "key", [f"c-{name}" for name in told]) == len(told)
    by_version = {number: traffic.count(version=number) for number in (1, 2)}
    assert by_version == {number: sum(len(one.rows) for one in answered if one.version == number) for number in (1, 2)}
    for record in answered:
        for row in record.rows:
            assert traffic.find(row.id) == (record, row)
    everything = traffic.frame(shadows=True)
    assert everything.height == 2 * len(told)
    assert everything["id"].is_sorted()
    assert traffic.frame(shadows=True, version=2).height == len(told)
    assert traffic.frame(shadows=True, columns=("id", "version")).equals(everything.select("id", "version"))


def test_pairs_are_the_rows_that_both_computed(both: tuple[Traffic, list[Record], list[Record]]) -> None:
    """Whoever answered; a failed computation is no half of a pair."""
    traffic, answered, _ = both
    pairs = traffic.pairs("risk", "production", 1, 2, AT)
    whole = [row for place, record in enumerate(answered) if place % 10 != 3 for row in record.rows]
    assert pairs["id"].to_list() == [row.id for row in whole]
    assert pairs["output_champion"].to_list() == [str(10.0 + row.position) for row in whole]
    assert pairs["output_challenger"].to_list() == [str(20.0 + row.position) for row in whole]
    assert pairs["probabilities_challenger"][0] == "[0.2,0.8]"
    assert set(pairs.columns) == {"id", "at", "batch", "key", "features", "output_champion", "output_challenger",
                                  "probabilities_champion", "probabilities_challenger"}
    late = AT + timedelta(seconds=40)
    assert traffic.pairs("risk", "production", 1, 2, late)["at"].min() == clocks.to_text(late)
    assert traffic.pairs("risk", "production", 1, 2, AT, until=AT)["id"].to_list() == [
        row.id for row in answered[0].rows]
    assert traffic.pairs("risk", "europe", 1, 2, AT).is_empty()
    assert traffic.pairs("risk", "production", 1, 3, AT).is_empty()


def test_closing_changes_nothing_of_it(both: tuple[Traffic, list[Record], list[Record]]) -> None:
    traffic, answered, _ = both
    before, pairs = traffic.frame(shadows=True), traffic.pairs("risk", "production", 1, 2, AT)
    assert closing.close_all(traffic._folder) > 0
    assert not list(traffic._folder.glob("*/*.log"))
    assert traffic.frame(shadows=True).equals(before)
    assert traffic.pairs("risk", "production", 1, 2, AT).equals(pairs)
    for record in answered:
        assert traffic.find(record.rows[-1].id) == (record, record.rows[-1])
