"""Which rows are learned from, and what does the project's own transform make of them?"""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest

from trimtab.data import csvfile
from trimtab.data.contract import Column, Contract
from trimtab.data.readers import from_frame, read_table
from trimtab.errors import CheckFailed, ConfigInvalid
from trimtab.pipeline.agreed import agreed, check_agreed
from trimtab.pipeline.features import transformed
from trimtab.pipeline.quarantine import keep_contract

CONTRACT = Contract(columns=(
    Column(name="age", type="number", min=0.0, max=120.0), Column(name="city", type="category", categories=("A", "B")),
    Column(name="y", type="number", role="target")))
FRAME = pl.DataFrame({"age": [float(i % 90) for i in range(100)], "city": ["A", "B"] * 50,
                      "y": [float(i) for i in range(100)]})


def with_bad(rows):
    return FRAME.with_columns(age=pl.when(pl.int_range(pl.len()) < rows).then(-1.0).otherwise(pl.col("age")))


def test_rows_that_break_the_contract_are_set_aside_with_their_reasons():
    """Counted, with row, reason and text; the others are kept in order."""
    kept = keep_contract(from_frame(with_bad(2)), CONTRACT)
    assert kept.rows == 98
    assert [(bad.line, bad.unit) for bad in kept.quarantined] == [(1, "row"), (2, "row")]
    assert "age" in kept.quarantined[0].reason
    assert "-1" in kept.quarantined[0].reason
    assert kept.quarantined[0].text == "-1.0, A, 0.0"
    assert kept.frame["y"].to_list() == [float(i) for i in range(2, 100)]


def test_a_row_without_its_target_is_set_aside():
    """It can't be learned from."""
    frame = FRAME.with_columns(y=pl.when(pl.col("y") == 7).then(None).otherwise(pl.col("y")))
    (bad,) = keep_contract(from_frame(frame), CONTRACT).quarantined
    assert (bad.line, bad.reason) == (8, "the target y is missing")


def test_too_many_bad_rows_stop_the_training_with_the_commonest_reasons():
    """Then contract and data don't belong together."""
    with pytest.raises(CheckFailed, match=r"6 of 100 rows of data frame \(6.0%\) can't be used, over the limit of 5%"):
        keep_contract(from_frame(with_bad(6)), CONTRACT)


def test_a_column_that_is_not_there_stops_the_training():
    """Every row lacks it."""
    with pytest.raises(CheckFailed, match="age"):
        keep_contract(from_frame(FRAME.drop("age")), CONTRACT)
    with pytest.raises(ConfigInvalid, match="has no column 'y'"):
        keep_contract(from_frame(FRAME.drop("y")), CONTRACT)


def as_text(frame, **cells):
    """The frame as a CSV file would give it, with single cells replaced: column = {row: text}."""
    columns = {name: [str(value) for value in frame[name]] for name in frame.columns}
    for name, changed in cells.items():
        for row, text in changed.items():
            columns[name][row] = text
    text = "\n".join([",".join(columns), *(",".join(row) for row in zip(*columns.values(), strict=True))])
    return replace(csvfile.parse("data.csv", text.encode()), encoding="utf-8")


def test_one_cell_of_text_does_not_take_its_whole_column_with_it():
    """A reader sees a column of text then; the contract says numbers, and 99 of them are."""
    table = as_text(FRAME, age={3: "hello"}, y={7: "oops", 9: ""})
    assert table.frame["age"].dtype == table.frame["y"].dtype == pl.String
    kept = keep_contract(table, CONTRACT)
    assert kept.rows == 97
    assert kept.frame["age"].dtype == kept.frame["y"].dtype == pl.Float64
    said = sorted(bad.reason for bad in kept.quarantined)
    assert [text.split(" (")[0] for text in said] == [
        "age = 'hello' is text, the contract says a number", "the target y is missing",
        "y = 'oops' is text, the contract says a number"]


def test_what_can_be_missing_is_not_read_out_of_a_broken_cell():
    """Allowed to be missing is not allowed to be anything."""
    columns = (Column(name="age", type="number", missing=True), *CONTRACT.columns[1:])
    kept = keep_contract(as_text(FRAME, age={3: "hello", 5: ""}), Contract(columns=columns))
    assert kept.rows == 99
    assert kept.frame["age"].null_count() == 1


def test_codes_that_are_all_digits_in_one_file_stay_categories():
    """The reader can't know that the next file had an A1."""
    contract = Contract(columns=(Column(name="code", type="category", categories=("12", "7", "A1")),
                                 Column(name="flag", type="category", categories=("False", "True")),
                                 Column(name="on", type="datetime"), Column(name="y", type="number", role="target")))
    frame = pl.DataFrame({"code": ["12", "7"] * 50, "flag": ["True", "False"] * 50, "on": ["2026-01-31"] * 100,
                          "y": [float(i) for i in range(100)]})
    kept = keep_contract(as_text(frame, on={4: "someday"}), contract)
    assert kept.rows == 99
    assert kept.frame["code"].to_list()[:2] == ["12", "7"]
    assert kept.frame["flag"].to_list()[:2] == ["True", "False"]
    assert kept.frame["on"].dtype == pl.Datetime("us")


def test_a_frame_has_the_types_that_somebody_chose():
    """Numbers as text in a data frame are a mistake of the one who made it."""
    with pytest.raises(CheckFailed, match="age: 100 × type"):
        keep_contract(from_frame(FRAME.with_columns(pl.col("age").cast(pl.String))), CONTRACT)


def features(tmp_path, body):
    (tmp_path / "features.py").write_text("import polars as pl\ndef transform(frame):\n    " + body)
    return transformed(FRAME, CONTRACT, "features:transform", tmp_path, "regression")


def test_the_transform_gets_the_features_and_its_columns_get_a_contract(tmp_path):
    """Without the target, which is not there in serving either."""
    frame, seen = features(tmp_path, "return frame.select(pl.col('city'), double=pl.col('age') * 2)")
    assert [column.name for column in seen.features] == ["city", "double"]
    assert seen.target.name == "y"
    assert frame["double"][3] == 6.0
    assert seen.features[0].unseen


@pytest.mark.parametrize(("body", "sentence"), [
    ("return frame.head(3)", "made 3 rows of 100; it must keep every row"),
    ("return 7", "gave a int, not a Polars data frame"),
    ("return frame.select(y=pl.col('age'))", "a column named like the target"),
    ("return frame['y']", "features:transform raised ColumnNotFoundError"),
])
def test_a_wrong_transform_is_a_sentence(tmp_path, body, sentence):
    """Never a traceback."""
    with pytest.raises(ConfigInvalid) as caught:
        features(tmp_path, body)
    assert sentence in str(caught.value)


def test_a_transform_that_looks_at_other_rows_is_refused(tmp_path):
    """A served row comes alone: its mean is another."""
    with pytest.raises(CheckFailed, match=r"age of row 1 is .* among all rows and .* alone"):
        features(tmp_path, "return frame.with_columns(pl.col('age') - pl.col('age').mean())")


def test_rows_keep_the_numbers_of_their_file(tmp_path):
    """Rows set aside before (ragged, without a target) don't shift the ones that are told after them."""
    lines = ["age,city,y", *(f"{i % 90}.5,{'AB'[i % 2]},{i}" for i in range(100))]
    lines[4], lines[9], lines[30] = "1.5,A", "1.5,A,", "-7.5,A,29"
    (tmp_path / "data.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    table = read_table(tmp_path / "data.csv")
    assert [str(bad) for bad in table.quarantined] == ["line 5: has 2 cells, the header has 3"]
    kept = keep_contract(table, CONTRACT)
    assert [bad.line for bad in kept.quarantined] == [5, 10, 31]
    assert kept.quarantined[2].reason.startswith("age = -7.5 is below the contract's min 0.0 (row 30).")
    assert kept.number(kept.rows - 1) == 100
    report = check_agreed(CONTRACT, agreed(table, CONTRACT))
    assert [one.row for one in report.violations] == [9, 30]


def test_frames_count_rows():
    """They have no lines."""
    frame = FRAME.with_columns(y=pl.when(pl.int_range(100) == 2).then(None).otherwise("y"))
    kept = keep_contract(from_frame(frame), CONTRACT)
    assert [str(bad) for bad in kept.quarantined] == ["row 3: the target y is missing"]
