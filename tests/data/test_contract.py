"""What must the data look like?  Inferred, written, read back, edited."""

from __future__ import annotations

import math

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.data import contract_toml
from trimtab.data.check import check_table
from trimtab.data.contract import Column, Contract
from trimtab.data.contract_toml import check_column
from trimtab.data.edit import edit, edit_text
from trimtab.data.encode import decode_target, encode_target
from trimtab.data.infer import bounds, infer_contract, infer_task
from trimtab.data.lookup import shown_rule
from trimtab.data.moments import days, from_days
from trimtab.data.readers import from_frame
from trimtab.errors import ContractViolation, DataUnreadable, UsageError

FRAME = from_frame(pl.DataFrame({
    "编号": list(range(40)), "rate": [i / 100 for i in range(40)], "地区": ["北", "南"] * 20,
    "n": [None, *range(39)], "when": pl.datetime_range(pl.datetime(2026, 1, 1), pl.datetime(2026, 2, 9), eager=True),
    "comment": [f"text {i}" for i in range(40)], "y": [float(i) for i in range(40)]})).frame


def test_a_contract_is_inferred_with_room_for_new_values():
    """It accepts a value a little beyond what was seen, and not everything."""
    contract = infer_contract(FRAME, owner="risk team")
    by_name = {column.name: column for column in contract.columns}
    assert by_name["编号"].role == "id"
    assert (by_name["rate"].min, by_name["rate"].max, by_name["rate"].missing) == (0.0, 0.488, False)
    assert by_name["地区"].categories == ("北", "南")
    assert (by_name["n"].type, by_name["n"].missing) == ("integer", True)
    assert (by_name["when"].type, by_name["when"].max) == ("datetime", None)
    assert (by_name["comment"].type, by_name["comment"].role) == ("text", "ignored")
    assert contract.target.name == "y"
    assert contract.owner == "risk team"
    assert [column.name for column in contract.features] == ["rate", "地区", "n", "when"]


@given(st.lists(st.floats(-1e12, 1e12), min_size=2, max_size=30)
       | st.lists(st.integers(-10**9, 10**9), min_size=2, max_size=30))
def test_data_keep_the_contract_that_was_inferred_from_them(values):
    """Whatever the numbers are; and no bound crosses zero where no value does."""
    series = pl.Series("x", values, dtype=pl.Float64 if isinstance(values[0], float) else pl.Int64)
    low, high = bounds(series)
    assert low is not None
    assert high is not None
    assert low <= min(values)
    assert max(values) <= high
    assert min(values) < 0 or low >= 0
    assert max(values) > 0 or high <= 0


def test_inferred_contract_accepts_its_own_table():
    """All rules, all columns."""
    assert check_table(infer_contract(FRAME), FRAME).ok


@pytest.mark.parametrize(("values", "task"), [
    ([1.5, 2.5, 0.0], "regression"), ([0.0, 1.0, 1.0], "binary"), ([0, 1, 1], "binary"), ([1, 2, 3], "multiclass"),
    (list(range(11)), "regression"), (["a", "b", "a"], "binary"), (["a", "b", "c"], "multiclass"),
    ([True, False], "binary")])
def test_the_task_follows_from_the_target(values, task):
    """Stated in one place."""
    assert infer_task(pl.DataFrame({"y": values}), "y") == task


def test_more_than_fifty_classes_are_refused_with_advice():
    """It is mostly a number in disguise."""
    with pytest.raises(DataUnreadable, match="look for decimal commas, units or blanks"):
        infer_task(pl.DataFrame({"y": [f"{i},5" for i in range(60)]}), "y")


def test_odd_zeros_are_asked_about():
    """A person decides; the contract holds the question."""
    frame = pl.DataFrame({"rate": [0.0] * 11 + [0.5 + i / 1000 for i in range(489)],
                          "y": [float(i) for i in range(500)]})
    assert infer_contract(frame).columns[0].confirm == "11 rows at exactly 0: real zero or missing?"


def test_classes_are_sorted_and_decoded():
    """Text, numbers and booleans keep their own values."""
    for values, classes in ((["b", "a", "b"], ("a", "b")), ([2, 1, 2], (1, 2)), ([True, False, True], (False, True)),
                            ([1.0, 0.0, 1.0], (0, 1))):
        frame = pl.DataFrame({"x": [1, 2, 3], "y": values})
        contract = Contract(columns=(Column(name="y", type="number", role="target"),))
        codes, found = encode_target(contract, frame, "binary")
        assert found == classes
        assert codes.tolist() == [1, 0, 1]
        assert decode_target(found, codes) == [classes[1], classes[0], classes[1]]


def test_a_missing_target_can_not_be_encoded():
    """It names the first row."""
    contract = Contract(columns=(Column(name="y", type="number", role="target"),))
    with pytest.raises(ContractViolation, match="the first: row 2"):
        encode_target(contract, pl.DataFrame({"y": [1.0, None]}), "regression")


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
MOMENT = st.integers(-10**6, 10**6).map(lambda minutes: minutes / 1440).map(lambda d: float(days(from_days(d)) or 0.0))


@st.composite
def any_column(draw, name):
    kind = draw(st.sampled_from(["number", "integer", "boolean", "category", "text", "datetime"]))
    number = MOMENT if kind == "datetime" else st.floats(allow_nan=False, allow_infinity=False)
    ranged = kind in ("number", "integer", "datetime")
    low, high = sorted([draw(number), draw(number)]) if ranged else (None, None)
    made = Column(
        name=name, type=kind, role="ignored" if kind == "text" else draw(st.sampled_from(["feature", "time", "group"])),
        missing=draw(st.booleans()), min=draw(st.sampled_from([low, None])), max=draw(st.sampled_from([high, None])),
        categories=tuple(draw(st.lists(TEXT, min_size=1, max_size=9, unique=True))) if kind == "category" else (),
        unseen=kind == "category" and draw(st.booleans()), unit=draw(TEXT), note=draw(TEXT), confirm=draw(TEXT))
    assert not check_column(made)
    return made


@given(st.lists(TEXT, min_size=1, max_size=4, unique=True)
       .flatmap(lambda names: st.tuples(*map(any_column, names))), TEXT)
def test_what_is_written_is_read_back(columns, owner):
    """Names, categories, notes in any script; bounds to the last bit; dates as dates."""
    contract = Contract(columns=columns, owner=owner)
    again = contract_toml.parse(contract_toml.render(contract))
    assert again == contract
    assert again.digest == contract.digest


def test_the_file_reads_like_a_form():
    """The owner on top, a table a column, dates as dates, Chinese names in quotes."""
    contract = Contract(owner="风险部", columns=(
        Column(name="rate", type="number", min=0.0, max=0.5, unit="1/year"),
        Column(name="日期", type="datetime", min=20454.0, missing=True),
        Column(name="region", type="category", categories=("North", "South"))))
    text = contract_toml.render(contract)
    assert 'owner = "风险部"' in text
    assert '[columns."日期"]\ntype = "datetime"\nmissing = true\nmin = 2026-01-01\n' in text
    assert '[columns.rate]\ntype = "number"\nmissing = false\nmin = 0.0\nmax = 0.5\nunit = "1/year"\n' in text
    assert 'categories = ["North", "South"]\nunseen = false\n' in text


CONTRACT = Contract(columns=(
    Column(name="rate", type="number", min=0.0, max=1.0, confirm="11 rows at exactly 0?"),
    Column(name="region", type="category", categories=("N",)), Column(name="when", type="datetime"),
    Column(name="y", type="number", role="target")))


def test_a_contract_is_edited_one_column_at_a_time():
    """The old one is left as it is."""
    edited = edit(CONTRACT, "rate", min="-1", max="none", missing=True, unit="%", note="checked", confirm="done")
    assert edited.columns[0] == Column(name="rate", type="number", min=-1.0, missing=True, unit="%", note="checked")
    assert edit(CONTRACT, "region", add_categories=["S"]).columns[1].categories == ("N", "S")
    assert edit(CONTRACT, "when", min="2026-01-01").columns[2].min == 20454.0
    assert edit_text(CONTRACT, "rate", low="0.5", confirmed=True).columns[0].confirm == ""
    assert CONTRACT.columns[0].min == 0.0


@pytest.mark.parametrize(("column", "change", "said"), [
    ("rat", {"min": 1}, "Did you mean rate?"), ("rate", {}, "nothing to change in rate"),
    ("rate", {"min": "abc"}, "is no finite number"), ("rate", {"min": math.inf}, "is no finite number"),
    ("rate", {"min": 2}, "min 2.0 is above max 1.0"), ("when", {"min": "March"}, "is no date"),
    ("region", {"add_categories": ["N"]}, "is in the contract already"), ("region", {"min": 1}, "say nothing about"),
    ("rate", {"role": "targt"}, "Did you mean target?"), ("rate", {"role": "target"}, "y is the target already"),
    ("rate", {"add_categories": ["x"]}, "belong to type")])
def test_an_edit_that_makes_no_sense_is_refused(column, change, said):
    """With the reason, and nothing is changed."""
    with pytest.raises(UsageError) as caught:
        edit(CONTRACT, column, **change)
    assert said in str(caught.value)


def test_a_rule_is_shown_in_a_few_words():
    """For a screen's table."""
    assert [shown_rule(column) for column in CONTRACT.columns] == ["0 … 1", "1 categories (N)", "any", "any"]


def test_a_target_may_not_be_missing():
    """Rows without one can't be learned from, whatever the contract says."""
    contract = Contract(columns=(Column(name="x", type="number"), Column(name="y", type="number", role="target")))
    with pytest.raises(UsageError, match=r"y: rows without a target can't be learned from"):
        edit(contract, "y", missing=True)
