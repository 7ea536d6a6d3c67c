"""What was answered is on disk, whole, before the answer goes out."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from trimtab.clock import FixedClock
from trimtab.errors import NotFound, StoreFull, StoreUnreachable
from trimtab.traffic import log as module
from trimtab.traffic.log import TrafficLog
from trimtab.traffic.query import Traffic
from trimtab.traffic.segments import Header, Record, Row, framed, read


def record(number: int, rows: int = 1, at: str = "2026-01-01T00:00:00.000000Z", version: int = 1) -> Record:
    """A request of `rows` rows."""
    made = tuple(Row(id=f"p-{number:06d}{place}", position=place, features={"率": 0.1 * number, "kind": "甲"},
                     output=float(number)) for place in range(rows))
    return Record(batch=made[0].id, at=at, model="风险", endpoint="production", version=version, stage="champion",
                  verdict="kept", latency_us=12, rows=made)


def recorder(folder: Path, **more: int) -> TrafficLog:
    return TrafficLog(folder, writer="w-1", now=FixedClock(), **more)  # type: ignore[arg-type]


def test_what_was_appended_reads_back_also_while_it_is_written(tmp_path: Path) -> None:
    writer = recorder(tmp_path)
    for number in range(5):
        writer.append(record(number, rows=2))
        assert len(Traffic(tmp_path).frame()) == 2 * (number + 1)
    writer.close()
    frame = Traffic(tmp_path).frame(limit=2)
    assert frame["output"].to_list() == ["4.0", "4.0"]
    assert frame["features"].to_list()[0] == '{"kind":"甲","率":0.4}'


@given(st.lists(st.tuples(st.integers(1, 3), st.floats(allow_nan=False), st.text(max_size=8)), min_size=1, max_size=6),
       st.data())
def test_a_cut_anywhere_loses_only_the_unfinished_record(tmp_path_factory: pytest.TempPathFactory, made: list[object],
                                                          data: st.DataObject) -> None:
    """Truncate the file at every kind of place: whole records before it are read, nothing else is."""
    parts = [framed(Header("trimtab.traffic/1", "w-1", "")), *(framed(record(n)) for n in range(len(made)))]
    whole = b"".join(parts)
    cut = data.draw(st.integers(0, len(whole)))
    path = tmp_path_factory.mktemp("cut") / "000001.log"
    path.write_bytes(whole[:cut])
    ends = [sum(map(len, parts[:place + 1])) for place in range(len(parts))]
    assert [one.rows[0].output for one in read(path)] == [float(n) for n, end in enumerate(ends[1:]) if end <= cut]


@pytest.mark.parametrize(("given", "kept"), [(10**30, 1e30), (-(10**30), -1e30), (2**63, 2**63), (-(2**63), -(2**63))])
def test_a_whole_number_that_is_too_long_for_the_format_is_kept_as_the_model_saw_it(given: int, kept: float,
                                                                                    tmp_path: Path) -> None:
    """A column of numbers without a bound may hold one; the request is answered, so it is recorded."""
    told = record(1)
    row = Row(id="p-1", position=0, features={"n": given}, output=1.0)
    path = tmp_path / "000001.log"
    path.write_bytes(framed(Header("trimtab.traffic/1", "w-1", "")) + framed(replace(told, rows=(row,))) + framed(told))
    first, second = read(path)
    assert (first.rows[0].features["n"], second) == (kept, told)


def test_a_flipped_bit_ends_the_reading_there(tmp_path: Path) -> None:
    writer = recorder(tmp_path)
    for number in range(3):
        writer.append(record(number))
    writer.close()
    path = next(tmp_path.glob("*/*.log"))
    data = bytearray(path.read_bytes())
    data[-10] ^= 1
    path.write_bytes(data)
    assert [one.rows[0].output for one in read(path)] == [0.0, 1.0]


def test_a_full_segment_is_followed_by_the_next(tmp_path: Path) -> None:
    writer = recorder(tmp_path, segment_bytes=200)
    for number in range(10):
        writer.append(record(number))
    writer.close()
    assert len(list(tmp_path.glob("*/*.log"))) > 2
    assert len(Traffic(tmp_path).frame()) == 10


def test_many_threads_lose_nothing(tmp_path: Path) -> None:
    writer = recorder(tmp_path, segment_bytes=5_000)
    threads = [threading.Thread(target=lambda start=start: [writer.append(record(start + n)) for n in range(50)])
               for start in range(0, 400, 50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    assert len(set(Traffic(tmp_path).frame()["id"])) == 400


@pytest.mark.parametrize(("number", "kind"), [(errno.ENOSPC, StoreFull), (errno.EIO, StoreUnreachable)])
def test_a_disk_that_fails_is_said_so_and_half_a_record_is_taken_back(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Exception]) -> None:
    writer = recorder(tmp_path)
    writer.append(record(0))
    real = os.write

    def fails(handle: int, data: bytes) -> int:
        real(handle, data[:7])
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(module.os, "write", fails)
    with pytest.raises(kind):
        writer.append(record(1))
    monkeypatch.setattr(module.os, "write", real)
    writer.append(record(2))                                # and it goes on by itself
    writer.close()
    assert Traffic(tmp_path).frame()["output"].to_list() == ["0.0", "2.0"]


def test_strict_asks_the_disk_before_it_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    write, fsync = os.write, os.fsync
    monkeypatch.setattr(module.os, "write", lambda handle, data: (order.append("write"), write(handle, data))[1])
    monkeypatch.setattr(module.os, "fsync", lambda handle: (order.append("fsync"), fsync(handle))[1])
    writer = TrafficLog(tmp_path, writer="w-1", now=FixedClock(), durability="strict")
    writer.append(record(0))
    assert order[-2:] == ["write", "fsync"]
    writer.close()


def test_queries_by_time_version_and_id(tmp_path: Path) -> None:
    from datetime import UTC, datetime

    writer = recorder(tmp_path)
    writer.append(record(0, at="2026-01-01T00:00:00.000000Z"))
    writer.append(record(1, at="2026-01-02T00:00:00.000000Z", version=2))
    writer.close()
    traffic = Traffic(tmp_path)
    assert traffic.frame(since=datetime(2026, 1, 2, tzinfo=UTC))["version"].to_list() == [2]
    assert traffic.frame(version=1)["output"].to_list() == ["0.0"]
    assert traffic.frame(model="other").is_empty()
    assert traffic.find("p-0000010")[0].version == 2
    with pytest.raises(NotFound, match="no prediction"):
        traffic.find("p-nope")


def test_a_workspace_without_traffic_has_none(tmp_path: Path) -> None:
    assert Traffic(tmp_path / "traffic").frame().is_empty()
