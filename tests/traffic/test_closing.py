"""A finished segment becomes a table, and no reader can tell; a crash anywhere in between loses and doubles nothing."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from trimtab import clock as clocks
from trimtab.clock import FixedClock
from trimtab.errors import NotFound
from trimtab.ids import Ids
from trimtab.project import keeping
from trimtab.project.project import Project
from trimtab.traffic import closing
from trimtab.traffic.log import TrafficLog
from trimtab.traffic.query import Traffic
from trimtab.traffic.segments import Header, Record, Row, framed, whole

AT = datetime(2026, 1, 1, tzinfo=UTC)
KILLS = 12


def record(rows: int = 1, at: datetime = AT) -> Record:
    """A request of `rows` rows, with every kind of value."""
    ids = Ids()
    names = sorted(ids.prediction(at) for _ in range(rows))
    made = tuple(Row(id=name, position=place, features={"率": 0.5, "n": 3, "kind": "甲", "on": True, "gone": None},
                     output=["low", 1.5, 2][place % 3], probabilities=[0.25, 0.75] if place % 2 else None,
                     key=f"c{place}", redacted=("率",) if place % 2 else (), subject=None)
                 for place, name in enumerate(names))
    return Record(batch=names[0], at=clocks.to_text(at), model="风险", endpoint="production", version=1,
                  stage="champion", verdict="kept", latency_us=12, rows=made)


def written(folder: Path, count: int, writer: str = "w-1", **more: Any) -> list[Record]:
    """`count` requests in segments that nobody writes any more."""
    log = TrafficLog(folder, writer=writer, now=FixedClock(), **more)
    made = [record(rows=1 + number % 3) for number in range(count)]
    for one in made:
        log.append(one)
    log.close()
    return made


def test_no_reader_can_tell_that_a_segment_was_closed(tmp_path: Path) -> None:
    made = written(tmp_path, 40, segment_bytes=2_000)
    traffic = Traffic(tmp_path)
    before = traffic.frame()
    assert closing.close_all(tmp_path) > 3
    assert not list(tmp_path.glob("*/*.log"))
    assert traffic.frame().equals(before)
    assert traffic.frame(limit=5).equals(before.tail(5))
    assert traffic.count(model="风险") == before.height == sum(len(one.rows) for one in made)
    for one in made[::7]:
        for row in one.rows:
            assert traffic.find(row.id) == (one, row)
    with pytest.raises(NotFound):
        traffic.find(Ids().prediction(AT))
    assert closing.close_all(tmp_path) == 0


def test_what_is_being_written_is_not_closed(tmp_path: Path) -> None:
    log = TrafficLog(tmp_path, writer="w-1", now=FixedClock())
    log.append(record())
    assert closing.close_all(tmp_path) == 0
    log.append(record())
    assert Traffic(tmp_path).count() == 2
    log.close()
    assert closing.close_all(tmp_path) == 1
    assert Traffic(tmp_path).count() == 2


def test_a_new_day_begins_a_new_segment_and_says_so(tmp_path: Path) -> None:
    finished: list[int] = []
    log = TrafficLog(tmp_path, writer="w-1", now=FixedClock(), on_finished=lambda: finished.append(1))
    for day in (1, 1, 2, 1, 3):                            # requests of two threads may cross at midnight
        log.append(record(at=datetime(2026, 1, day, tzinfo=UTC)))
    assert len(list(tmp_path.glob("*/*.log"))) == 3
    assert len(finished) == 2
    log.close()


@pytest.mark.parametrize("point", ["write", "compare", "rename", "unlink"])
def test_a_crash_between_any_two_steps_loses_and_doubles_nothing(tmp_path: Path, point: str) -> None:
    """The process ends at the step; what it would have tidied up stays; the next one ends what was begun."""
    written(tmp_path, 9)
    before = Traffic(tmp_path).frame()
    script = f"""
import os, sys
from pathlib import Path
import polars as pl
from trimtab.traffic import closing
def end(*_, **__): os._exit(9)
if {point!r} == "write": os.fsync = end
if {point!r} == "compare": pl.read_parquet = end
if {point!r} == "rename": os.rename = end
unlink = Path.unlink
if {point!r} == "unlink": Path.unlink = lambda self, **how: end() if self.suffix == ".log" else unlink(self, **how)
closing.close_all(Path(sys.argv[1]))
"""
    ended = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False)
    assert ended.returncode == 9, ended.stderr
    assert Traffic(tmp_path).frame().equals(before)
    closing.close_all(tmp_path)
    assert Traffic(tmp_path).frame().equals(before)
    assert [path.name for path in (tmp_path / "w-1").iterdir()] == ["000001.parquet"]


def test_a_disk_that_is_full_leaves_the_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, 3)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pl.DataFrame, "write_parquet", full)
    with pytest.raises(OSError, match="No space"):
        closing.close_all(tmp_path)
    assert [path.name for path in (tmp_path / "w-1").iterdir()] == ["000001.log"]


@pytest.mark.parametrize(("tail", "fine"), [(b"", True), (b"\x09\0\0", True), (b"\0" * 40, True),
                                            (b"\xff\0\0\0abcd" + b"x" * 20, True),
                                            (framed(record())[:-1] + b"!" + framed(record()), False)])
def test_an_unfinished_end_is_cut_and_a_damaged_middle_is_kept_for_somebody_to_look_at(tmp_path: Path, tail: bytes,
                                                                                      fine: bool) -> None:
    made = written(tmp_path, 3)
    path = next(tmp_path.glob("*/*.log"))
    path.write_bytes(path.read_bytes() + tail)
    assert whole(path) is fine
    assert closing.close(path) is fine
    assert path.exists() is not fine
    assert Traffic(tmp_path).count() == sum(len(one.rows) for one in made)


def test_segments_of_another_format_and_empty_ones_are_left(tmp_path: Path) -> None:
    (tmp_path / "w-1").mkdir()
    (tmp_path / "w-1" / "000001.log").write_bytes(b"")
    (tmp_path / "w-1" / "000002.log").write_bytes(framed(Header("trimtab.traffic/9", "w-1", "")) + framed(record()))
    assert closing.close_all(tmp_path) == 0
    assert len(list(tmp_path.glob("*/*.log"))) == 2
    assert Traffic(tmp_path).count() == 0


def test_an_id_that_is_only_mentioned_in_a_feature_is_not_taken_for_the_prediction(tmp_path: Path) -> None:
    wanted = record()
    liar = record()
    row = Row(id=liar.rows[0].id, position=0, features={"kind": wanted.rows[0].id}, output=0.0)
    log = TrafficLog(tmp_path, writer="w-1", now=FixedClock())
    for one in (msgspec.structs.replace(liar, rows=(row,)), wanted):
        log.append(one)
    log.close()
    assert Traffic(tmp_path).find(wanted.rows[0].id) == (wanted, wanted.rows[0])


def test_readers_miss_nothing_while_segments_are_written_and_closed(tmp_path: Path) -> None:
    log = TrafficLog(tmp_path, writer="w-1", now=FixedClock(), segment_bytes=3_000)
    acknowledged: list[str] = []
    done = threading.Event()

    def write() -> None:
        while not done.is_set():
            made = record()
            log.append(made)
            acknowledged.append(made.rows[0].id)
            time.sleep(0.001)

    def close() -> None:
        while not done.is_set():
            closing.close_all(tmp_path)

    threads = [threading.Thread(target=work) for work in (write, close)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(20):
            told = list(acknowledged)
            found = Traffic(tmp_path).frame()["id"].to_list()
            assert set(told) <= set(found)
            assert len(set(found)) == len(found)
            if told:
                Traffic(tmp_path).find(told[-1])
    finally:
        done.set()
        for thread in threads:
            thread.join()
        log.close()


@pytest.mark.slow
def test_kill_nine_while_closing_loses_and_doubles_nothing(tmp_path: Path) -> None:
    rng = random.Random(20261124)
    killed = 0
    expected: set[str] = set()
    for number in range(KILLS):
        made = written(tmp_path, 600, writer=f"w-{number}", segment_bytes=8_000)
        expected |= {row.id for one in made for row in one.rows}
        process = subprocess.Popen([sys.executable, "-m", "trimtab.traffic.closing", str(tmp_path)])
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob(f"w-{number}/*.parquet")) and process.poll() is None \
                and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(rng.uniform(0.0, 0.05))
        os.kill(process.pid, signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        found = Traffic(tmp_path).frame()["id"].to_list()
        assert len(found) == len(expected)
        assert set(found) == expected
    closing.close_all(tmp_path)
    assert set(Traffic(tmp_path).frame()["id"]) == expected
    assert not [path for path in tmp_path.glob("*/*") if path.suffix != ".parquet"]
    assert killed >= KILLS // 2


def test_a_backup_takes_open_segments_and_closed_ones(live: Project, tmp_path: Path) -> None:
    written(live.workspace.folder / "traffic", 4, writer="w-00000001")
    closing.close_all(live.workspace.folder / "traffic")
    written(live.workspace.folder / "traffic", 3, writer="w-00000002")
    keeping.backup(live.workspace, tmp_path / "all.tar")
    keeping.restore(tmp_path / "all.tar", tmp_path / "again")
    assert Traffic(tmp_path / "again" / "traffic").frame().equals(live.workspace.traffic.frame())
    assert {path.suffix for path in (tmp_path / "again" / "traffic").glob("*/*")} == {".log", ".parquet"}
