"""Does a row keep the contract?  One list of rules, two evaluators."""

from __future__ import annotations

import datetime as dt
import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.data.check import check_table
from trimtab.data.contract import Column, Contract
from trimtab.data.encode import encode
from trimtab.data.rows import row_checker
from trimtab.errors import ContractViolation, UsageError

CONTRACT = Contract(columns=(
    Column(name="rate", type="number", min=0.0, max=1.0), Column(name="n", type="integer", missing=True),
    Column(name="region", type="category", categories=("North", "South")), Column(name="ok", type="boolean"),
    Column(name="when", type="datetime", min=20_000.0, missing=True), Column(name="客户", type="text", role="id"),
    Column(name="y", type="number", role="target")))
ROW = {"rate": 0.5, "n": 3, "region": "South", "ok": True, "when": "2026-03-01T12:00"}


def broken(**changes: object) -> list[str]:
    """Messages for ROW with some values changed."""
    return [v.message for v in row_checker(CONTRACT)({**ROW, **changes}, [])]


def test_a_row_that_keeps_the_contract_is_encoded():
    """Numbers as they are, categories as places, moments as days, missing as NaN."""
    out: list[float] = []
    assert row_checker(CONTRACT)({**ROW, "n": None}, out) == ()
    assert out[0] == 0.5
    assert math.isnan(out[1])
    assert out[2:] == [1.0, 1.0, 20513.5]


@pytest.mark.parametrize(("changes", "message"), [
    ({"rate": -0.2}, "is below the contract's min 0.0. Fix the request, or widen it: trimtab contract edit rate"),
    ({"rate": 1.5}, "rate = 1.5 is above the contract's max 1.0"),
    ({"rate": None}, "rate is missing. Fill it in, or allow missing values"),
    ({"rate": float("nan")}, "rate is missing"),
    ({"rate": float("inf")}, "rate = inf is not a finite number"),
    ({"rate": 10**400}, "is not a finite number"),
    ({"rate": "0.5"}, "rate = '0.5' is text, the contract says a number"),
    ({"rate": True}, "rate = True is true or false, the contract says a number"),
    ({"rate": [0.5]}, "rate = [0.5] is a list"),
    ({"n": 2.5}, "n = 2.5 is no whole number"),
    ({"n": 2**53}, "2^53 or more"),
    ({"region": "Nort"}, "region = 'Nort' is not one of the contract's 2 categories. Did you mean 'North'?"),
    ({"region": 1}, "region = 1 is a whole number, the contract says text"),
    ({"region": {"a": 1}}, "is an object"),
    ({"ok": 1}, "ok = 1 is a whole number, the contract says true or false"),
    ({"when": "1 March 2026"}, "the contract says an ISO date or time"),
    ({"when": 20_600}, "the contract says an ISO date or time"),
    ({"when": "1999-01-01"}, "is below the contract's min 2024-10-04"),
    ({"ratte": 1}, "ratte is not a column of the contract. Did you mean rate?"),
])
def test_a_broken_rule_says_what_where_why_and_the_fix(changes, message):
    """The sentences of the product."""
    found = broken(**changes)
    assert len(found) == 1
    assert message in found[0]


def test_every_broken_column_of_a_row_is_told_at_once():
    """A caller repairs a row in one go."""
    assert len(broken(rate=-1, region="x", ok=None, extra=1)) == 4


def test_whole_floats_are_integers_and_integers_are_numbers():
    """JSON has one kind of number."""
    out: list[float] = []
    assert row_checker(CONTRACT)({**ROW, "n": 3.0, "rate": 1}, out) == ()
    assert out[:2] == [1.0, 3.0]
    assert all(type(value) is float for value in out)


def test_numpy_scalars_are_values():
    """A request may come from Python."""
    assert row_checker(CONTRACT)({**ROW, "n": np.int64(3), "rate": np.float64(0.5), "ok": np.bool_(True)}, []) == ()


def test_ids_ignored_columns_and_the_target_may_be_there():
    """They are accepted and not looked at."""
    assert row_checker(CONTRACT)({**ROW, "客户": 17, "y": "anything"}, []) == ()


def test_a_broken_row_leaves_the_output_as_it_was():
    """A batch is either right or refused."""
    out = [7.0]
    row_checker(CONTRACT)({**ROW, "when": "x"}, out)
    assert out == [7.0]


def test_the_row_number_is_told_in_a_batch():
    """Of many rows, which?"""
    found = row_checker(CONTRACT)({**ROW, "rate": -0.2}, [], 17)
    assert found[0].message == ("rate = -0.2 is below the contract's min 0.0 (row 17). Fix the row, or widen it: "
                                "trimtab contract edit rate")
    assert found[0].to_json()["row"] == 17


def test_free_text_as_a_feature_is_refused_when_the_checker_is_made():
    """Not with the first request."""
    with pytest.raises(UsageError, match="is free text"):
        row_checker(Contract(columns=(Column(name="t", type="text"),)))


def test_a_table_is_checked_row_by_row_with_counts():
    """The first 1,000 are told one by one, all are counted."""
    frame = pl.DataFrame({"rate": [0.5, -0.2, None, float("inf")] * 500, "y": [1.0] * 2000})
    contract = Contract(columns=(CONTRACT.columns[0], CONTRACT.columns[-1]))
    report = check_table(contract, frame)
    assert report.counts == {("rate", "min"): 500, ("rate", "missing"): 500, ("rate", "finite"): 500}
    assert (report.bad, len(report.violations)) == (1500, 1000)
    assert [v.row for v in report.violations[:3]] == [2, 3, 4]
    with pytest.raises(ContractViolation, match="1,500 of 2,000 rows break the contract"):
        report.raise_if_bad("data.csv")


def test_a_table_without_labels_is_checked_by_its_features():
    """Batch scoring has no target yet."""
    frame = pl.DataFrame({"rate": [0.5]})
    contract = Contract(columns=(CONTRACT.columns[0], CONTRACT.columns[-1]))
    assert not check_table(contract, frame).ok
    assert check_table(contract, frame, roles=("feature",)).ok


def test_extra_columns_of_a_table_are_named_and_accepted():
    """A table may hold more than is asked for."""
    report = check_table(Contract(columns=(CONTRACT.columns[0],)), pl.DataFrame({"rate": [0.5], "x": [1]}))
    assert (report.ok, report.extra) == (True, ("x",))


VALUES = {
    pl.Int64: st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 5) | st.sampled_from([2**53, 2**53 - 1, -(2**53)]),
    pl.Float64: st.floats() | st.sampled_from([0.0, -0.0, 1.0, 2.0, 0.5, float("nan"), float("inf"), -1.0]),
    pl.Boolean: st.booleans(), pl.String: st.sampled_from(
        ["a", "b", "c", "", "7", "2026-01-01", "2026-02-30", "1969-12-31T23:59Z"]),
    pl.Datetime("us"): st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2300, 1, 1)),
    pl.Date: st.dates(dt.date(1900, 1, 1), dt.date(2300, 1, 1)), pl.UInt8: st.integers(0, 255)}


@st.composite
def columns(draw, name):
    kind = draw(st.sampled_from(["number", "integer", "boolean", "category", "datetime"]))
    ranged = kind in ("number", "integer", "datetime")
    bound = st.none() | st.sampled_from([-1.0, 0.0, 1.5, 2.0, 20_000.0, *([2.0**60] if kind != "datetime" else [])])
    return Column(name=name, type=kind, missing=draw(st.booleans()), min=draw(bound) if ranged else None,
                  max=draw(bound) if ranged else None, unseen=kind == "category" and draw(st.booleans()),
                  categories=draw(st.sampled_from([("a", "b"), ("c",), ("7", "", "a")])) if kind == "category" else ())


@st.composite
def contracts_and_frames(draw):
    names = ["x", "利率", "z"]
    id_column = Column(name="id", type="integer", role="id")
    contract = Contract(columns=(*(draw(columns(name)) for name in names), id_column))
    height = draw(st.integers(1, 4))
    made = {}
    for name in [n for n in (*names, "id", "stray") if draw(st.integers(0, 9)) < (1 if n == "stray" else 9)]:
        kind = draw(st.sampled_from(list(VALUES)))
        values = draw(st.lists(st.none() | VALUES[kind], min_size=height, max_size=height))
        made[name] = pl.Series(name, values, dtype=kind)
    if not made:
        made["id"] = pl.Series("id", [1] * height)
    return contract, pl.DataFrame(list(made.values()))


@settings(max_examples=400)
@given(contracts_and_frames())
def test_both_evaluators_say_the_same_of_every_row(case):
    """One list of rules: a table and a request are judged alike, and what passes is encoded to the same numbers."""
    contract, frame = case
    report = check_table(contract, frame, roles=("feature",), reject_unknown=True)
    check = row_checker(contract)
    whole = {(v.column, v.rule) for v in report.violations if v.row is None}
    by_row = {row: set(whole) for row in range(1, frame.height + 1)}
    for v in report.violations:
        if v.row is not None:
            by_row[v.row].add((v.column, v.rule))
    for number, row in enumerate(frame.iter_rows(named=True), start=1):
        out: list[float] = []
        found = check(row, out, number)
        assert {(v.column, v.rule) for v in found} == by_row[number]
        assert bool(found) == bool(report.bad_rows[number - 1])
        assert not found or not out
        if not found:
            single = Contract(columns=tuple(c for c in contract.columns if c.role == "feature"))
            typed = frame[number - 1 : number]
            np.testing.assert_array_equal(np.array(out), encode(single, typed)[0])


def test_a_column_that_is_not_there_is_called_absent():
    """It is another mistake than an empty cell, and has another cure."""
    contract = Contract(columns=(Column(name="rate", type="number"), Column(name="n", type="integer", missing=True)))
    (found,) = row_checker(contract)({"n": 1}, [], 3)
    assert found.message == ("rate is absent: the request has no such field (row 3). Send it, or allow missing values: "
                             "trimtab contract edit rate --missing")
    report = check_table(contract, pl.DataFrame({"n": [1, 2]}), roles=("feature",))
    assert (report.bad, [one.message for one in report.violations]) == (2, [
        ("rate is absent: the table has no such column. Add it, or allow missing values: "
         "trimtab contract edit rate --missing")])
