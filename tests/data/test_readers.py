"""Which table does a source hold?"""

from __future__ import annotations

import datetime as dt
import sqlite3
from pathlib import Path

import pandas
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.config import SqlSource
from trimtab.data import csvfile
from trimtab.data.readers import read_table
from trimtab.data.table import without_missing_target
from trimtab.errors import DataUnreadable, UsageError

CHINESE = "利率,地区,风险\n0.5,北京,1\n0.7,上海,0\n0.9,北京,1\n"


def write(folder: Path, data: bytes | str, name: str = "data.csv") -> Path:
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


@pytest.mark.parametrize(("codec", "mark", "said"), [
    ("utf-8", b"", "utf-8"), ("utf-8", b"\xef\xbb\xbf", "utf-8 with BOM"), ("gbk", b"", "gb18030"),
    ("gb18030", b"", "gb18030"), ("utf-16-le", b"\xff\xfe", "utf-16-le"), ("utf-16-be", b"\xfe\xff", "utf-16-be")])
def test_chinese_text_is_read_in_each_encoding_that_people_save(tmp_path, codec, mark, said):
    """Excel, WPS and databases write Chinese in different encodings; the reader finds out which and says so."""
    table = read_table(write(tmp_path, mark + CHINESE.encode(codec)))
    assert table.encoding == said
    assert table.frame.columns == ["利率", "地区", "风险"]
    assert table.frame["地区"].to_list() == ["北京", "上海", "北京"]


@pytest.mark.parametrize(("mark", "line"), [
    (",", "a,b\n1,2\n"), (";", "a;b\n1;2\n"), ("\t", "a\tb\n1\t2\n"), ("|", "a|b\n1|2\n")])
def test_the_delimiter_is_found(tmp_path, mark, line):
    """Comma, semicolon, tab and bar."""
    table = read_table(write(tmp_path, line))
    assert table.frame.rows() == [(1, 2)]
    assert bool(table.notes) == (mark != ",")


def test_quoted_newlines_and_windows_line_ends_are_one_table(tmp_path):
    """A cell may hold a line break; lines may end in CR LF."""
    table = read_table(write(tmp_path, b'id,note,y\r\n1,"two\r\nlines",3\r\n2,"a ""word""",\r\n'))
    assert table.frame["note"].to_list() == ["two\r\nlines", 'a "word"']
    assert not table.quarantined


def test_ragged_lines_are_set_aside_with_line_and_reason(tmp_path):
    """Never dropped silently: neither the short line, which a fast reader fills up, nor the long one."""
    table = read_table(write(tmp_path, "a,b,c\n1,2,3\n4,5\n6,7,8\n9,10,11,12\n13,14,15\n"))
    assert table.frame["a"].to_list() == [1, 6, 13]
    assert [str(bad) for bad in table.quarantined] == [
        "line 3: has 2 cells, the header has 3", "line 5: has 4 cells, the header has 3"]


def test_a_line_number_counts_quoted_newlines(tmp_path):
    """The number is the one that an editor shows."""
    table = read_table(write(tmp_path, 'a,b\n"x\ny",1\nshort\nz,2\n'))
    assert [bad.line for bad in table.quarantined] == [4]


def test_blank_lines_are_skipped_and_counted(tmp_path):
    """A blank line is no row; the notes say how many there were."""
    table = read_table(write(tmp_path, "a,b\n\n1,2\n\n3,4\n"))
    assert table.rows == 2
    assert table.notes == ("2 blank lines skipped",)


@pytest.mark.parametrize("ends", ["1,2,\n3,4,5\n", "1,2,5\n3,4,\n"])
def test_an_empty_last_cell_is_missing_and_not_ragged(tmp_path, ends):
    """Delimiters are counted, so a row that ends in one is whole."""
    table = read_table(write(tmp_path, "a,b,c\n" + ends))
    assert not table.quarantined
    assert table.frame["c"].null_count() == 1


def test_types_follow_the_stated_rule(tmp_path):
    """Leading zeros stay text, whole numbers with gaps stay whole, words for missing are missing, dates are dates."""
    table = read_table(write(tmp_path, "zip,n,x,when,ok,word\n007,1,1.5,2026-03-01,true,NA\n"
                                       "112,NA,nan,2026-03-02,False,b\n090,3,inf,,true,c\n"))
    assert table.frame.schema == {"zip": pl.String, "n": pl.Int64, "x": pl.Float64, "when": pl.Datetime("us"),
                                  "ok": pl.Boolean, "word": pl.String}
    assert table.frame["zip"].to_list() == ["007", "112", "090"]
    assert table.frame["n"].to_list() == [1, None, 3]
    assert table.frame["x"].to_list() == [1.5, None, float("inf")]
    assert table.frame["when"][0] == dt.datetime(2026, 3, 1)
    assert table.frame["word"].to_list() == [None, "b", "c"]


@pytest.mark.parametrize(("cell", "said"), [
    ('"1,234.5"', "thousands separators"), ('"1.234,5"', "decimal comma"), ('"3,14"', "decimal comma"),
    ("12%", "percentages"), ("¥12.50", "amounts of money"), ("31/12/2026", "not in ISO form")])
def test_numbers_in_other_notations_are_not_guessed(tmp_path, cell, said):
    """They stay text, and a note says what they look like."""
    table = read_table(write(tmp_path, f"a,price\n1,{cell}\n2,{cell}\n"))
    assert table.frame.schema["price"] == pl.String
    assert said in table.notes[0]


def test_a_decimal_after_many_whole_numbers_makes_the_column_decimal(tmp_path):
    """The type is that of all rows, not of the first ten thousand."""
    table = read_table(write(tmp_path, "a,b\n" + "1,x\n" * 12_000 + "2.5,x\n"))
    assert table.frame.schema["a"] == pl.Float64


def test_text_after_many_decimals_makes_the_column_text(tmp_path):
    """Nothing is turned into a missing value to keep a type."""
    table = read_table(write(tmp_path, "a,b\n" + "1.5,x\n" * 12_000 + "oops,x\n"))
    assert table.frame.schema["a"] == pl.String
    assert table.frame["a"][-1] == "oops"


CELL = st.sampled_from(["", "1", "-2", "007", "1.5", "x", "NA", '"q,r"', '"n\nl"', " 3 ", "true", "2026-01-01", "inf",
                        '""'])


@settings(max_examples=150)
@given(st.lists(st.lists(CELL, min_size=2, max_size=4), min_size=1, max_size=8))
def test_the_fast_and_the_careful_path_read_the_same_table(rows):
    """Speed changes no value: whatever the fast path accepts, the careful one reads alike, with nothing set aside."""
    data = ("a,b,c\n" + "".join(",".join(row) + "\n" for row in rows)).encode()
    fast = csvfile._fast(data, ",", ["a", "b", "c"])
    if fast is None:
        return
    careful = csvfile._careful("x", data, ",", ["a", "b", "c"])
    assert not careful.quarantined
    assert csvfile.cells.typed(fast)[0].equals(csvfile.cells.typed(careful.frame)[0])
    if (lines := csvfile.parse("x", data).lines) is not None:
        assert careful.lines.tolist() == lines.tolist()


def test_the_careful_path_reads_batch_by_batch(monkeypatch):
    """Batches change nothing; only one of them is held as Python's own texts."""
    data = ("a,b\n" + "".join(f"{i},x{i}\n" for i in range(50)) + "7\n8,y\n").encode()
    whole = csvfile.parse("x", data)
    monkeypatch.setattr(csvfile, "_BATCH_CELLS", 6)
    parts = csvfile.parse("x", data)
    assert parts.frame.equals(whole.frame)
    assert parts.frame.height == 51
    assert (parts.quarantined, parts.lines.tolist(), parts.numbers.tolist()) == (
        whole.quarantined, [*range(2, 52), 53], [*range(1, 51), 52])


def test_parquet_pandas_and_polars_give_the_same_table(tmp_path):
    """One data set, four ways in."""
    frame = pl.DataFrame({"数": [1, None, 3], "x": [0.5, 1.5, None], "c": ["a", None, "b"], "b": [True, False, None],
                          "t": [dt.datetime(2026, 1, 1), None, dt.datetime(2026, 1, 3)]})
    frame.write_parquet(tmp_path / "d.parquet")
    pandas_frame = pandas.DataFrame({
        "数": pandas.array([1, None, 3], dtype="Int64"), "x": [0.5, 1.5, float("nan")], "c": ["a", None, "b"],
        "b": pandas.array([True, False, None], dtype="boolean"),
        "t": pandas.to_datetime(["2026-01-01", None, "2026-01-03"])})
    for source in (tmp_path / "d.parquet", frame, frame.lazy(), pandas_frame):
        assert read_table(source).frame.equals(frame), type(source)


def test_whole_floats_with_gaps_from_pandas_are_integers():
    """pandas turns integers with missing values into floats; the reader turns them back and says so."""
    table = read_table(pandas.DataFrame({"n": [1.0, float("nan"), 3.0], "y": [0.5, 1.0, 2.0]}))
    assert table.frame["n"].to_list() == [1, None, 3]
    assert "read as integers" in table.notes[0]


def test_a_query_is_a_table_and_its_secret_is_never_told(tmp_path, monkeypatch):
    """The URL may name an environment variable; an error shows no password."""
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("create table sale (amount real, n integer, city text, day text)")
        connection.executemany("insert into sale values (?, ?, ?, ?)",
                               [(1.5, 1, "北京", "2026-01-01"), (None, None, "上海", "2026-01-02")])
    connection.close()
    table = read_table(SqlSource(sql="select * from sale", url="sqlite:///shop.db"), root=tmp_path)
    assert table.frame.schema == {"amount": pl.Float64, "n": pl.Int64, "city": pl.String, "day": pl.Datetime("us")}
    assert table.source == "SQL query on sqlite shop.db"
    monkeypatch.setenv("SHOP", f"sqlite:///{tmp_path / 'shop.db'}")
    assert read_table(SqlSource(sql="select n from sale", url="$SHOP")).rows == 2
    with pytest.raises(DataUnreadable, match="no such table") as caught:
        read_table(SqlSource(sql="select * from absent", url="$SHOP"))
    assert "\n" not in str(caught.value)
    with pytest.raises(DataUnreadable) as caught:
        read_table(SqlSource(sql="select 1", url="postgresql://me:geheim@127.0.0.1:1/x"))
    assert "geheim" not in str(caught.value)


def test_a_query_reads_from_postgresql(postgres_url):
    """The other database that is read."""
    sql = "select 1 as n, 2.5::numeric as x, null::text as c, date '2026-01-01' as d"
    source = SqlSource(sql=sql, url=postgres_url)
    assert read_table(source).frame.rows() == [(1, 2.5, None, dt.datetime(2026, 1, 1))]


def test_rows_without_a_target_are_set_aside_with_their_reason(tmp_path):
    """They can't be learned from, and are counted."""
    table = without_missing_target(read_table(write(tmp_path, "x,y\n1,2\n3,\n5,6\n")), "y")
    assert table.rows == 2
    assert [str(bad) for bad in table.quarantined] == ["line 3: the target y is missing"]


def test_other_things_are_refused_by_name():
    """What is no table is named."""
    with pytest.raises(UsageError, match="can't read a table from dict"):
        read_table({"a": [1]})                                             # type: ignore[arg-type]
