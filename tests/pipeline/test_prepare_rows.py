"""Which rows are learned from, and what does the project's own transform make of them?"""

from __future__ import annotations

import polars as pl
import pytest

from trimtab.data.contract import Column, Contract
from trimtab.data.readers import from_frame
from trimtab.errors import CheckFailed, ConfigInvalid
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
