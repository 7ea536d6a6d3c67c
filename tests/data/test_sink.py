"""A table that is written a stretch at a time is there whole, or not at all."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest

from trimtab.data.sink import Sink
from trimtab.errors import Conflict, StoreFull, UsageError

ENDINGS = pytest.mark.parametrize("ending", ["parquet", "csv"])


def frames(count: int = 5) -> Iterator[pl.DataFrame]:
    for turn in range(count):
        yield pl.DataFrame({"row": range(turn * 1000, turn * 1000 + 1000), "say": [f"城 {turn}"] * 1000})


def fill(sink: Sink, made: Iterable[pl.DataFrame]) -> None:
    with sink:
        for frame in made:
            sink.put(frame)


def read(path: Path) -> pl.DataFrame:
    return pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_csv(path)


@ENDINGS
def test_what_was_put_is_there_in_its_order(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"out.{ending}"
    with Sink(path) as sink:
        for frame in frames():
            sink.put(frame)
            assert not path.exists()
    assert read(path).equals(pl.concat(frames()))
    assert sink.rows == 5000
    assert list(tmp_path.iterdir()) == [path]


@ENDINGS
def test_no_row_is_a_table_with_columns_and_nothing_put_is_no_file(tmp_path: Path, ending: str) -> None:
    with Sink(tmp_path / f"none.{ending}"), Sink(tmp_path / f"empty.{ending}") as sink:
        sink.put(next(frames()).clear())
    assert [path.name for path in tmp_path.iterdir()] == [f"empty.{ending}"]
    assert read(tmp_path / f"empty.{ending}").columns == ["row", "say"]


@ENDINGS
def test_work_that_fails_leaves_what_was_there(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"out.{ending}"
    path.write_bytes(b"before")
    with pytest.raises(ZeroDivisionError):
        fill(Sink(path, force=True), (frame for divisor in (1, 0) for frame in frames(1 // divisor)))
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(Conflict, match="--force"):
        Sink(path)


def test_another_ending_and_a_folder_that_is_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.parquet or \.csv"):
        Sink(tmp_path / "out.xlsx")
    with pytest.raises(UsageError, match="there is no folder"):
        Sink(tmp_path / "no" / "out.csv")


@contextmanager
def files_of_at_most(bytes_: int) -> Iterator[None]:
    """What a full disk does to a file, without one."""
    before, limits = signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)


@ENDINGS
def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path, ending: str) -> None:
    random = (pl.DataFrame({"row": pl.int_range(1000, eager=True).shuffle(seed=turn)}) for turn in range(400))
    with files_of_at_most(4096), pytest.raises(StoreFull, match=f"no space is left for out.{ending}"):
        fill(Sink(tmp_path / f"out.{ending}"), random)
    assert list(tmp_path.iterdir()) == []
