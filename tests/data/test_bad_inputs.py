"""What does bad input answer?  Each with its sentence, none with a traceback.

Small files stand in this table; those whose bytes matter are made here too, so that no editor repairs them.
"""

from __future__ import annotations

import gzip
import io
import pickle
import zipfile
from pathlib import Path

import polars as pl
import pytest

from trimtab.data import contract_toml
from trimtab.data.check import check_table
from trimtab.data.infer import infer_contract
from trimtab.data.readers import read_table
from trimtab.errors import ConfigInvalid, DataUnreadable, TrimtabError, UsageError

CORPUS = Path(__file__).parent.parent / "corpus" / "csv"


def _xlsx() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    return out.getvalue()


def _parquet() -> bytes:
    out = io.BytesIO()
    pl.DataFrame({"a": [1], "b": [2]}).write_parquet(out)
    return out.getvalue()


UNREADABLE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty: no header and no rows"),
    "only a mark": (b"\xef\xbb\xbf", "is empty: no header and no rows"),
    "only blank lines": (b"\n\n  \n", "is empty: no header and no rows"),
    "only delimiters": (b",,\n,,\n", "holds only empty cells"),
    "header only": (b"a,b\n", "has a header (a, b) but no rows"),
    "header without line end": (b"a,b", "has a header (a, b) but no rows"),
    "header and blank lines": (b"a,b\n\n\n", "has a header (a, b) but no rows"),
    "duplicate headers": (b"a,b,a\n1,2,3\n", "the column name 'a' appears 2 times in the header (columns 1, 3)"),
    "duplicate after blanks": (b"a, a\n1,2\n", "the column name 'a' appears 2 times"),
    "empty header cell": (b"a,,c\n1,2,3\n", "the header's cell 2 is empty (line 1)"),
    "pandas index": (b",a,b\n0,1,2\n", "to_csv(index=False)"),
    "trailing delimiter in header": (b"a,b,\n1,2,\n", "the header's cell 3 is empty"),
    "no header": (b"1,2,3\n4,5,6\n", "holds only numbers (1, 2, 3), so the header is missing"),
    "nul byte": (b"a,b\n1,\x002\n", "NUL byte at line 2, byte 3"),
    "utf-16 without mark": ("a,b\n1,2\n".encode("utf-16-le"), "UTF-16 without a byte-order mark"),
    "latin-1": ("name,n\nSeñor,1\nMüller,2\n".encode("latin-1"), "byte 0xF1 at line 2, byte 3 (offset 9) is not utf-8"),
    "damaged utf-8": ("城市,n\n北京,1\n上海,2\n广州,3\n".encode() + b"\xe5\x8c,4\n", "at line 5, byte 1"),
    "damaged utf-16": (b"\xff\xfe" + "a,b\n1,2\n".encode("utf-16-le") + b"\x01\xd8", "is not utf-16-le"),
    "damaged utf-8 after mark": (b"\xef\xbb\xbfa,b\n1,\xff\n", "is not utf-8 with BOM"),
    "xlsx": (_xlsx(), "is an Excel workbook or another zip file"),
    "xls": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 64, "is an old Excel workbook"),
    "pickle": (pickle.dumps({"a": 1}), "is a Python pickle, which can run code"),
    "gzip": (gzip.compress(b"a,b\n1,2\n"), "is a gzip file"),
    "sqlite": (b"SQLite format 3\0" + b"\0" * 84, "is a SQLite database"),
    "pdf": (b"%PDF-1.7\n", "is a PDF"),
    "png": (b"\x89PNG\r\n\x1a\n" + b"\0" * 32, "is a picture (PNG)"),
    "numpy": (b"\x93NUMPY\x01\0", "is a NumPy array file"),
    "web page": (b"<!DOCTYPE html><html><body>Sign in</body></html>", "is a web page or XML"),
    "json": (b'[{"a": 1, "b": 2}]', "looks like JSON"),
    "json object": (b'{"a": [1, 2]}', "looks like JSON"),
    "too wide": ((",".join(f"c{i}" for i in range(10_001)) + "\n1\n").encode(), "10,001 columns, more than 10,000"),
    "mixed delimiters": (b"a,b,c\n1;2;3\n4;5;6\n", "header is separated by commas, its rows by semicolons"),
    "mixed with tabs": (b"a;b\n1\t2\n3\t4\n", "header is separated by semicolons, its rows by tabs"),
    "open quote": (b'a,b\n1,"open\n2,3\n', "line 2: a quote opens here and never closes"),
    "open quote in header": (b'a,"b\n1,2\n', "never closes"),
    "mostly ragged": (b"a,b,c\n1,2\n3,4\n5,6\n7,8,9\n", "3 of 4 lines don't fit the header of 3 columns"),
    "all ragged": (b"title of the sheet,x\n1,2,3\n4,5,6\n", "2 of 2 lines don't fit the header of 2 columns"),
}


@pytest.mark.parametrize("case", sorted(UNREADABLE))
def test_an_unreadable_file_says_what_is_wrong(case, tmp_path):
    """What happened, where, and what to do; one sentence or two."""
    data, expected = UNREADABLE[case]
    path = tmp_path / "data.csv"
    path.write_bytes(data)
    with pytest.raises(DataUnreadable) as caught:
        read_table(path)
    assert expected in str(caught.value)
    assert str(caught.value).startswith("data.csv")


QUARANTINED: dict[str, tuple[bytes, list[str]]] = {
    "short line": (b"a,b\n1,2\n3\n4,5\n", ["line 3: has 1 cell, the header has 2"]),
    "long line": (b"a,b\n1,2\n3,4,5\n6,7\n", ["line 3: has 3 cells, the header has 2"]),
    "last line cut off": (b"a,b,c\n1,2,3\n4,5,6\n7,8", ["line 4: has 2 cells, the header has 3"]),
    "unquoted comma": (b"name,n\nSmith,1\nSmith, J.,2\nLee,3\n", ["line 3: has 3 cells, the header has 2"]),
    "text after a quote": (b'a,b\n"x"y,1\nz,2\n', ["line 2: a quoted cell goes on after its closing quote"]),
    "very long cell": (b"a,b\n1," + b"x" * 140_000 + b"\n2,y,\n3,z\n",
                       ["line 2: a cell is longer than 131,072 characters", "line 3: has 3 cells, the header has 2"]),
    "footer": (b"a,b,c\n1,2,3\n4,5,6\nTotal: 2 rows\n", ["line 4: has 1 cell, the header has 3"]),
}


@pytest.mark.parametrize("case", sorted(QUARANTINED))
def test_bad_lines_are_set_aside_with_reasons(case, tmp_path):
    """The good lines are read; each bad one is told by its line."""
    data, expected = QUARANTINED[case]
    path = tmp_path / "data.csv"
    path.write_bytes(data + (b"8,9\n10,11\n12,13\n" if case == "very long cell" else b""))
    assert [str(bad) for bad in read_table(path).quarantined] == expected


def test_places_that_are_no_tables(tmp_path):
    """A folder, a name that is nearly right, a wrong ending, a broken Parquet file."""
    (tmp_path / "loans.csv").write_text("a,b\n1,2\n")
    (tmp_path / "notes.docx").write_bytes(b"text")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 but no more")
    for name, expected in [("", "is a folder, not a file"), ("laons.csv", "Did you mean loans.csv?"),
                           ("nowhere/x.csv", "The folder does not exist either."),
                           ("zzz.csv", "The tables there: broken.parquet, loans.csv."),
                           ("notes.docx", "files ending in .docx are not read"),
                           ("broken.parquet", "is not a readable Parquet file")]:
        with pytest.raises(DataUnreadable) as caught:
            read_table(tmp_path / name)
        assert expected in str(caught.value), name


def test_a_parquet_file_under_another_name_is_read(tmp_path):
    """It is safe and certain, so it is no error."""
    (tmp_path / "data.csv").write_bytes(_parquet())
    assert read_table(tmp_path / "data.csv").frame.rows() == [(1, 2)]


UNFIT: dict[str, tuple[str, dict[str, object], type[TrimtabError], str]] = {
    "one column": ("a\n1\n2\n", {}, DataUnreadable, "the table has one column (a)"),
    "wrong delimiter": ("a b c\n1 2 3\n", {}, DataUnreadable, "check the delimiter"),
    "unknown target": ("rate,y\n1,2\n3,4\n", {"target": "rat"}, UsageError, "Did you mean rate?"),
    "target place too far": ("a,b\n1,2\n3,4\n", {"target": 7}, UsageError, "target = 7, but the table has 2 columns"),
    "constant target": ("a,y\n1,2\n3,2\n", {}, DataUnreadable, "the target y is 2 in every row"),
    "target all missing": ("a,y\n1,\n3,\n", {}, DataUnreadable, "the target y has no value in any row"),
    "target a time": ("a,y\n1,2026-01-01\n3,2026-01-02\n", {}, DataUnreadable, "the target y is a time"),
    "too many classes": ("a,y\n" + "".join(f"{i},name {i}\n" for i in range(60)), {}, DataUnreadable,
                         "60 different texts; at most 50 classes"),
    "unknown time column": ("a,y\n1,2\n3,4\n", {"time": "date"}, UsageError, "time names the column 'date'"),
    "target as group": ("a,y\n1,2\n3,4\n", {"group": "y"}, UsageError, "y is the target and can't be group too"),
    "no feature left": ("id,y\n1,2.5\n2,4.5\n", {}, DataUnreadable,
                        "no feature is left to learn from (id is id; y is target)"),
}


@pytest.mark.parametrize("case", sorted(UNFIT))
def test_a_table_that_nothing_can_be_learned_from_says_so(case, tmp_path):
    """Read well, but no contract can be made of it."""
    text, options, kind, expected = UNFIT[case]
    path = tmp_path / "data.csv"
    path.write_text(text)
    with pytest.raises(kind) as caught:
        infer_contract(read_table(path).frame, **options)                  # type: ignore[arg-type]
    assert expected in str(caught.value)


TOML: dict[str, tuple[str, str]] = {
    "no toml": ("columns = [", "is not valid TOML"),
    "duplicate table": ("[columns.a]\ntype = \"number\"\n[columns.a]\ntype = \"text\"\n", "is not valid TOML"),
    "bare text": ("[columns.a]\ntype = number\n", "Text needs quotes"),
    "empty": ("", "names no columns"),
    "columns a list": ("columns = [1]\n", "names no columns"),
    "unknown at top": ("ownr = \"x\"\n[columns.a]\ntype = \"number\"\n",
                       "unknown key 'ownr' at the top. Did you mean owner?"),
    "other version": ("version = 2\n[columns.a]\ntype = \"number\"\n", "version = 2; this trimtab reads version 1"),
    "owner a number": ("owner = 3\n[columns.a]\ntype = \"number\"\n", "owner = 3 must be text"),
    "unknown key": ("\n[columns.a]\ntype = \"number\"\nmissin = true\n",
                    "[columns.a] (line 2): unknown key 'missin'. Did you mean missing?"),
    "no type": ("[columns.a]\nmin = 1\n", "has no type; one of number, integer"),
    "wrong type": ("[columns.a]\ntype = \"numbr\"\n",
                   "is none of number, integer, boolean, category, text, datetime. Did you mean number?"),
    "wrong role": ("[columns.a]\ntype = \"number\"\nrole = \"y\"\n", "role = 'y' is none of feature, target"),
    "flag as text": ("[columns.a]\ntype = \"number\"\nmissing = \"yes\"\n", "missing = 'yes' must be true or false"),
    "bound as text": ("[columns.a]\ntype = \"number\"\nmin = \"0\"\n", "min = '0' must be a number, without quotes"),
    "bound nan": ("[columns.a]\ntype = \"number\"\nmin = nan\n", "is not a finite number"),
    "bound inf": ("[columns.a]\ntype = \"number\"\nmax = inf\n", "leave max out where there is no limit"),
    "date bound as number": ("[columns.t]\ntype = \"datetime\"\nmin = 3\n", "must be a date or time without quotes"),
    "min above max": ("[columns.a]\ntype = \"number\"\nmin = 2\nmax = 1\n", "min 2.0 is above max 1.0"),
    "range of text": ("[columns.a]\ntype = \"text\"\nrole = \"ignored\"\nmin = 2\n",
                      "min and max say nothing about a text column"),
    "categories of number": ("[columns.a]\ntype = \"number\"\ncategories = [\"x\"]\n",
                             "categories and unseen belong to"),
    "no categories": ("[columns.a]\ntype = \"category\"\n", "a category column needs categories"),
    "category a number": ("[columns.a]\ntype = \"category\"\ncategories = [1, 2]\n", "must be a list of texts"),
    "category twice": ("[columns.a]\ntype = \"category\"\ncategories = [\"x\", \"x\"]\n", "categories names 'x' twice"),
    "text feature": ("[columns.a]\ntype = \"text\"\n", "free text can't be a feature"),
    "two targets": ("\n".join(f"[columns.{name}]\ntype = \"number\"\nrole = \"target\"" for name in "ab"),
                    "a and b both have role = \"target\""),
    "column no table": ("[columns]\na = 1\n", "must be a table with a type"),
    "note a number": ("[columns.\"利率\"]\ntype = \"number\"\nnote = 3\n",
                      "[columns.\"利率\"] (line 1): note = 3 must be text"),
}


@pytest.mark.parametrize("case", sorted(TOML))
def test_a_wrong_contract_names_table_key_and_cure(case):
    """Read by people who don't write Python, so the error says where and what."""
    text, expected = TOML[case]
    with pytest.raises(ConfigInvalid) as caught:
        contract_toml.parse(text)
    assert expected in str(caught.value)
    assert str(caught.value).startswith("contract.toml")


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*.csv")), ids=lambda path: path.stem)
def test_files_of_the_corpus_are_read_or_refused_as_they_say(path):
    """Each file's neighbour `.expected` holds the words of the error, of the quarantine or of the notes."""
    expected = path.with_suffix(".expected").read_text(encoding="utf-8").strip()
    said = told(path)
    assert any(expected in text for text in said), said


def told(path: Path) -> list[str]:
    """Everything that is said of a file."""
    try:
        table = read_table(path)
    except DataUnreadable as error:
        return [str(error)]
    report = check_table(infer_contract(table.frame), table.frame)
    return [*map(str, table.quarantined), *table.notes, *(violation.message for violation in report.violations)]
