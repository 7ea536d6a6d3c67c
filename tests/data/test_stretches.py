"""A table read a stretch at a time is the table: no row lost, none twice, each with its number."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.data import stretches as subject
from trimtab.data.readers import read_table
from trimtab.data.stretches import stretches
from trimtab.errors import DataUnreadable

CELLS = st.text(alphabet=st.sampled_from('ab",\n 城7'), max_size=6)


@given(rows=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=30), size=st.integers(64, 300))
def test_stretches_of_a_text_file_hold_its_rows(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]],
                                                size: int) -> None:
    """Cells with quotes, commas and line ends, cut anywhere: the same texts in the same order, numbered 1, 2, 3 …"""
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    held = io.StringIO()
    csv.writer(held, lineterminator="\n").writerows([("left", "right"), *((f"x{a}", f"y{b}") for a, b in rows)])
    path.write_text(held.getvalue(), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subject, "STRETCH_BYTES", size)
        found = list(stretches(path))
    assert pl.concat(table.frame for table in found).equals(read_table(path).frame)
    assert [table.number(place) for table in found for place in range(table.rows)] == [*range(1, len(rows) + 1)]


@pytest.mark.parametrize("size", [20, 33, 64, 10_000])
def test_bad_lines_keep_their_line_and_rows_their_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                         size: int) -> None:
    """As `read_table` tells them of the whole file."""
    path = tmp_path / "t.csv"
    path.write_text("\n".join(["a,b", *(f"{n},{n}" if n % 7 else f"{n},{n},9" for n in range(1, 60))]) + "\n")
    whole = read_table(path)
    monkeypatch.setattr(subject, "STRETCH_BYTES", size)
    found = list(stretches(path))
    assert [bad for table in found for bad in table.quarantined] == list(whole.quarantined)
    assert [table.number(place) for table in found for place in range(table.rows)] == [
        whole.number(place) for place in range(whole.rows)]
    assert pl.concat(table.frame for table in found).equals(whole.frame)
    assert whole.lines is not None
    assert [int(line) for table in found for line in table.lines] == whole.lines.tolist()      # type: ignore[union-attr]


def test_gbk_and_line_ends_of_windows_are_read_as_in_one_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("\r\n".join(["城市,b", *(f"上海这是一段中文{n},{n}" for n in range(200))]).encode("gb18030"))
    whole = read_table(path)
    monkeypatch.setattr(subject, "STRETCH_BYTES", 500)
    assert pl.concat(table.frame for table in stretches(path)).equals(whole.frame)


def test_what_is_wrong_far_down_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"a,b\n" + b"1,2\n" * 100 + b"1,\xff\xfe\xff\n" * 3 + b"1,2\n" * 5)
    monkeypatch.setattr(subject, "STRETCH_BYTES", 100)
    with pytest.raises(DataUnreadable, match=r"in the stretch that begins at line \d+"):
        list(stretches(path))


def test_parquet_and_frames_come_in_stretches_too(tmp_path: Path) -> None:
    """Only the columns that are wanted are read of Parquet; numbers go on."""
    frame = pl.DataFrame({"a": range(1000), "b": ["x"] * 1000, "c": [0.5] * 1000})
    frame.write_parquet(tmp_path / "t.parquet")
    for source, columns in ((tmp_path / "t.parquet", ["a", "c"]), (frame, ["a", "b", "c"]), (frame.lazy(), None)):
        found = list(stretches(source, columns=["c", "a", "not there"], rows=300))
        assert [table.number(0) for table in found] == [1, 301, 601, 901]
        assert pl.concat(table.frame["a"] for table in found).to_list() == list(range(1000))
        assert columns is None or set(found[0].frame.columns) == set(columns)
