"""Preprocessing is part of the model: chosen from the contract, fitted inside the fold, printable, overridable."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.metrics import mean_squared_error
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline

from trimtab.config import FeatureRule
from trimtab.errors import ConfigInvalid
from trimtab.pipeline.candidates import resolve
from trimtab.pipeline.model import Feature
from trimtab.pipeline.preprocess import build, lines, plan, width
from trimtab.pipeline.recipes import Situation

NAN = np.nan
FEATURES = (
    Feature(name="age", kind="number"),
    Feature(name="income", kind="number", missing=True),
    Feature(name="city", kind="category", categories=("Bern", "Köln", "上海")),
    Feature(name="member", kind="boolean"),
    Feature(name="since", kind="datetime"),
)
X = np.array([
    [30.0, 5.0, 0, 1, 20000], [40, NAN, 1, 0, 20010], [50, 7, 2, 1, 20020], [60, 9, 0, 0, 20030]])


def prepared(style, rows=X, *, rules=None, fit=X, features=FEATURES):
    return build(plan(features, fit, style, rules)).fit(fit).transform(rows)


def test_least_squares_on_plain_numbers_gives_exactly_scikit_learns_answer(tmp_path):
    """The ten-line script that everyone starts with, to 1e-9, also with columns of very different size."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 4)) * [1, 1e6, 1e-4, 30] + [0, 1e7, 0, 5]
    y = X @ [3, 1e-6, 2e4, 0.1] + rng.normal(size=500)
    Xtr, Xte, ytr, yte = train_test_split(X, y, test_size=0.2, random_state=42)
    theirs = mean_squared_error(yte, LinearRegression().fit(Xtr, ytr).predict(Xte))

    features = tuple(Feature(name=f"x{i}", kind="number") for i in range(4))
    treatments = plan(features, Xtr, "plain")
    situation = Situation(task="regression", rows=len(Xtr), width=4, target_sd=1.0, seed=42)
    ours = Pipeline([("prepare", build(treatments)),
                     ("model", resolve("linear", "regression", root=tmp_path).build({}, situation))]).fit(Xtr, ytr)
    assert mean_squared_error(yte, ours.predict(Xte)) == pytest.approx(theirs, rel=1e-9)


def test_missing_numbers_are_filled_and_an_indicator_says_so():
    """Median of the training rows, and one column more for each column that may be missing."""
    got = prepared("plain")
    assert got.shape == (4, width(plan(FEATURES, X, "plain"))) == (4, 8)
    assert got[1, 2] == 7.0                      # the median of 5, 7, 9; columns of equal treatment stand together
    assert got[:, -1].tolist() == [0, 1, 0, 0]


def test_a_column_without_missing_values_gets_no_indicator_unless_the_contract_allows_them():
    """Only where the contract allows missing values, or the training rows have them."""
    whole = np.nan_to_num(X, nan=6.0)
    treatments = plan(FEATURES, whole, "scaled")
    assert [t.name for t in treatments if t.indicator] == ["income"]
    got = prepared("scaled", rows=X, fit=whole)  # none was missing in this fold, one is at prediction
    assert np.isfinite(got).all()
    assert got[1, -1] == 1


def test_a_column_that_is_missing_in_a_whole_fold_keeps_its_place():
    """The shape does not depend on the fold."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        empty = X.copy()
        empty[:, 1] = NAN
        assert prepared("scaled", rows=X, fit=empty).shape == prepared("scaled").shape


def test_an_unseen_category_sets_no_column_and_a_missing_one_is_a_level_of_its_own():
    """Codes: −1 unseen, NaN missing."""
    fit = X.copy()
    fit[3, 2] = NAN
    rows = X[:3].copy()
    rows[:, 2] = [1, -1, NAN]
    levels = prepared("plain", rows, fit=fit)[:, 4:8]
    assert levels.tolist() == [[0, 0, 1, 0], [0, 0, 0, 0], [1, 0, 0, 0]]


def test_scaled_numbers_and_dates_have_mean_0_and_sd_1_and_booleans_stay():
    """For penalised and kernel models."""
    parts = {t.name: t for t in plan(FEATURES, X, "scaled")}
    assert [parts[n].scale for n in ("age", "income", "since", "member", "city")] == [True, True, True, False, False]
    got = prepared("scaled")
    assert got[:, 0].mean() == pytest.approx(0)
    assert got[:, 0].std() == pytest.approx(1)


def test_trees_get_codes_and_missing_values_as_they_are():
    """Trees split on missing values and on order; nothing is invented for them."""
    assert build(plan(FEATURES, X, "trees")) == "passthrough"


def test_the_plan_is_printed_one_line_per_group():
    """People read what happens to their columns."""
    assert lines(plan(FEATURES, X, "scaled")) == (
        "age: scaled to mean 0, sd 1",
        "income: missing → median, with a column that says so, scaled to mean 0, sd 1",
        "city: one column per category, an unseen one sets none",
        "member: as it is",
        "since: days since 1970-01-01, scaled to mean 0, sd 1",
    )


def test_features_in_the_configuration_override_the_choice():
    """`[features] income = { impute = "mean", missing_indicator = false }`."""
    rules = {"income": FeatureRule(impute="mean", missing_indicator=False), "age": FeatureRule(scale=False),
             "city": FeatureRule(encode="ordinal")}
    got = prepared("scaled", rules=rules)
    assert got.shape == (4, 5)
    told = lines(plan(FEATURES, X, "scaled", rules))
    assert "age, member: as it is" in told
    assert "income: missing → mean, scaled to mean 0, sd 1" in told
    assert "city: category codes in the contract's order, unseen → -1, scaled to mean 0, sd 1" in told


def test_a_rule_for_a_column_that_is_no_feature_names_the_near_one():
    """Did you mean …"""
    with pytest.raises(ConfigInvalid, match=r"\[features\] incom: .* did you mean 'income'"):
        plan(FEATURES, X, "scaled", {"incom": FeatureRule(scale=False)})


@pytest.mark.parametrize(("column", "rule", "sentence"), [
    ("age", FeatureRule(encode="onehot"), r"\[features\] age: encode = \"onehot\" is for categories.* a number"),
    ("since", FeatureRule(encode="ordinal"), r"is for categories, and this is a datetime"),
    ("city", FeatureRule(impute="median"), r"\[features\] city: a category has no median; write impute = \"most_fr"),
])
def test_a_rule_that_could_do_nothing_is_refused(column, rule, sentence):
    """A setting that is read and ignored would be a lie."""
    with pytest.raises(ConfigInvalid, match=sentence):
        plan(FEATURES, X, "scaled", {column: rule})
