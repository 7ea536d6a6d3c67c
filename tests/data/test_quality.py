"""What is worth a look before anything is learned?"""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl
import pytest

from trimtab.data.infer import infer_contract
from trimtab.data.quality import SAMPLE, confirmed, findings
from trimtab.data.readers import from_frame

N = 500
RNG = np.random.default_rng(3)
X = RNG.normal(size=N)
Y = X * 2 + RNG.normal(size=N)


def found(target: object = Y, **columns: object) -> dict[tuple[str, str], str]:
    frame = from_frame(pl.DataFrame({"x": X, **columns, "y": target}, strict=False)).frame
    return {(f.column, f.kind): f.text for f in findings(frame, infer_contract(frame))}


def test_nothing_is_found_where_nothing_is_odd():
    """No finding is made up."""
    assert found() == {}


@pytest.mark.parametrize(("name", "values", "kind", "said"), [
    ("a", Y, "leak", "equals the target y in every row: is it known"),
    ("a", Y * 3 + 1, "leak", "alone explains 100% of the variance of the target y"),
    ("a", [5.0] * N, "constant", "the same in every row (5.0)"),
    ("a", np.exp(RNG.normal(size=N) * 2), "heavy_tail", "heavy right tail (p99/p50 = "),
    ("a", [0.0] * 11 + [0.5 + i / 1000 for i in range(N - 11)], "zeros",
     '11 rows at exactly 0: real zero or missing?   (contract marks it "confirm")'),
    ("a", [-999.0] * 4 + list(RNG.normal(size=N - 4)), "sentinel", "4 rows at -999: real, or a mark for missing?"),
    ("a", [dt.datetime(1900, 1, 1)] * 3 + [dt.datetime(2026, 1, 1) + dt.timedelta(days=i) for i in range(N - 3)],
     "sentinel", "3 rows at 1900-01-01"),
    ("a", [None] * 400 + list(RNG.normal(size=100)), "missing", "missing in 80% of the rows"),
    ("a", [None] * N, "missing", "no value in any row"),
    ("a", [f"text {i}" for i in range(N)], "ignored_text", "text with 500 different values: ignored"),
    ("customer_id", list(range(N)), "id", "looks like an id: kept out of the features"),
    ("customer_id", [i // 5 for i in range(N)], "id", "--split group:customer_id keeps one's rows together"),
    ("a", X * 2 + 1, "duplicate_column", "nearly the same as x (correlation 1.0000)"),
    ("a", [float("inf"), *RNG.normal(size=N - 1)], "infinite", "1 row with an infinite value")])
def test_each_odd_column_is_told(name, values, kind, said):
    """In the words of the screen."""
    assert said in found(**{name: values})[name, kind]


def test_a_feature_that_tells_the_class_is_told():
    """The classic leak: a field that is filled in after the fact."""
    target = RNG.choice(["no", "yes"], N)
    reason = [None if t == "no" else "fraud" for t in target]
    amount = np.where(target == "yes", 10.0, 1.0) + RNG.normal(size=N) * 0.1
    told = found(target, reason=reason, amount=amount)
    assert "alone tells 100% of the target y" in told["reason", "leak"]
    assert "alone separates the classes of the target y (AUC 1.0000)" in told["amount", "leak"]
    assert ("x", "leak") not in told


def test_rows_and_targets_are_looked_at_too():
    """Duplicates, a rare class, targets far away."""
    frame = pl.DataFrame({"x": X, "y": Y})
    twice = pl.concat([frame, frame.head(20)])
    kinds = {f.kind: f.text for f in findings(twice, infer_contract(twice))}
    assert "20 rows repeat an earlier row (3.85%)" in kinds["duplicate_rows"]
    assert "class 1 has 10 rows of 500 (2.00%)" in found([1] * 10 + [0] * 490)["y", "imbalance"]
    assert "1 row more than 10 interquartile ranges away" in found([1e6, *Y[1:]])["y", "target_outliers"]


def test_two_text_columns_that_are_the_same_are_told():
    """One of them is enough."""
    city = RNG.choice(["北京", "上海"], N)
    assert found(city=city, town=city)["town", "duplicate_column"] == "the same as city in every row"


def test_a_large_table_is_judged_on_a_sample_that_says_so():
    """Nobody is led to think that every row was looked at."""
    rows = SAMPLE + 1
    y = np.random.default_rng(1).normal(size=rows)
    frame = pl.DataFrame({"a": y * 2, "y": y})
    assert "seen on a sample of 20,000 rows" in findings(frame, infer_contract(frame))[0].text


def test_questions_go_into_the_contract():
    """For a person to answer."""
    frame = pl.DataFrame({"a": [-999.0] * 4 + list(RNG.normal(size=N - 4)), "y": Y})
    contract = infer_contract(frame)
    asked = confirmed(contract, findings(frame, contract))
    assert asked.columns[0].confirm == "4 rows at -999: real, or a mark for missing?"
