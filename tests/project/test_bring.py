"""An estimator that was fitted elsewhere is judged, saved without pickle, and answers as it did before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import trimtab
from trimtab.errors import ContractViolation, UntrustedModel, UsageError
from trimtab.registry.bundle import load_bundle


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRIMTAB_USER", "ann")


@pytest.fixture
def people() -> tuple[pd.DataFrame, pd.Series]:
    """Age, income and city → "yes" or "no"."""
    rng = np.random.default_rng(0)
    n = 300
    frame = pd.DataFrame({"age": rng.integers(18, 80, n), "city": rng.choice(["北京", "上海", "广州"], n),
                          "income": rng.lognormal(10, 0.5, n)})
    wants = frame.age / 80 + (frame.city == "北京") * 0.5 + rng.normal(0, 0.3, n) > 0.8
    return frame, pd.Series(np.where(wants, "yes", "no"), name="buys")


def by_name() -> Any:
    """A pipeline that picks its columns by name."""
    return make_pipeline(ColumnTransformer([("city", OneHotEncoder(handle_unknown="ignore"), ["city"]),
                                            ("numbers", StandardScaler(), ["age", "income"])]), LogisticRegression())


def test_a_pipeline_that_picks_columns_by_name_is_served_with_a_frame(people: Any) -> None:
    frame, target = people
    X_train, X_test, y_train, y_test = train_test_split(frame, target, test_size=0.2, random_state=42)
    model = by_name().fit(X_train, y_train)
    version = trimtab.register("buys", model, train=(X_train, y_train), test=(X_test, y_test), note="own pipeline")
    assert version.record.facts["input"] == "frame"
    assert version.gates == "passed"
    answered = version.bundle.predict_frame(pl.from_pandas(X_test))
    np.testing.assert_array_equal(answered.probabilities, model.predict_proba(X_test))
    assert version.deploy().after == 1
    row = {"age": 30, "city": "北京", "income": 20_000.0}
    assert version.predict(row).values[0] in ("yes", "no")


def test_a_version_answers_for_frames_and_matrices_as_for_rows(people: Any) -> None:
    frame, target = people
    numbers = frame[["age", "income"]]
    model = LogisticRegression(max_iter=5000).fit(numbers[:200], target[:200])
    version = trimtab.register("plain", model, train=(numbers[:200], target[:200]), test=(numbers[200:], target[200:]))
    want = list(version.predict(numbers[200:].to_dict("records")).values)
    assert list(version.predict(numbers[200:]).values) == want
    assert list(version.predict(pl.from_pandas(numbers[200:])).values) == want
    assert list(version.predict(frame[200:].assign(buys="?")).values) == want       # more columns than it looks at
    assert list(version.predict(numbers[200:].to_numpy()).values) == want
    with pytest.raises(ContractViolation, match="income is absent"):
        version.predict(frame[["age"]])
    with pytest.raises(UsageError, match=r"expected \(rows, 2\): age, income"):
        version.predict([1.0, 2.0])
    with pytest.raises(UsageError):
        version.predict("data.csv")


def test_a_pipeline_by_name_answers_for_a_frame(people: Any) -> None:
    frame, target = people
    model = by_name().fit(frame[:200], target[:200])
    version = trimtab.register("buys", model, train=(frame[:200], target[:200]), test=(frame[200:], target[200:]))
    np.testing.assert_array_equal(version.predict(frame[200:]).probabilities, model.predict_proba(frame[200:]))


def test_a_classifier_on_numbers_keeps_its_labels_and_needs_no_frame(people: Any) -> None:
    frame, target = people
    numbers = frame[["age", "income"]]
    X_train, X_test, y_train, y_test = train_test_split(numbers, target, test_size=0.2, random_state=42)
    model = RandomForestClassifier(20, random_state=0).fit(X_train, y_train)
    version = trimtab.register("buys", model, train=(X_train, y_train), test=(X_test, y_test))
    assert version.record.facts["input"] == "matrix"
    assert version.record.facts["classes"] == ["no", "yes"]
    np.testing.assert_array_equal(version.bundle.predict_frame(pl.from_pandas(X_test)).probabilities,
                                  model.predict_proba(X_test))
    assert hasattr(model, "feature_names_in_")                 # the owner's own object is left as it was


def test_a_matrix_without_names_gets_some(people: Any) -> None:
    rng = np.random.default_rng(1)
    X = rng.normal(size=(100, 3))
    y = X @ [1.0, 2.0, 3.0] + rng.normal(size=100)
    version = trimtab.register("plain", LinearRegression().fit(X[:80], y[:80]), train=(X[:80], y[:80]),
                               test=(X[80:], y[80:]))
    assert [column.name for column in version.bundle.contract.features] == ["x0", "x1", "x2"]
    assert version.metrics["mse"]["value"] > 0




@pytest.mark.parametrize(("make", "said"), [
    (lambda X, y: LinearRegression(), "not fitted"),
    (lambda X, y: object(), "has no predict"),
    (lambda X, y: LinearRegression().fit(X[:, :2], y), "answers otherwise|features"),
])
def test_what_can_not_be_registered_is_said_so(make: Any, said: str) -> None:
    X = np.random.default_rng(1).normal(size=(100, 3))
    y = X @ [1.0, 2.0, 3.0]
    with pytest.raises((UsageError, ValueError), match=said):
        trimtab.register("plain", make(X, y), train=(X[:80], y[:80]), test=(X[80:], y[80:]))


@pytest.mark.parametrize(("train", "test", "said"), [
    ((np.ones((5, 2)), np.ones(4)), (np.ones((5, 2)), np.ones(5)), "5 rows and y has shape"),
    ((np.ones((5, 2)), np.ones(5)), (np.ones((0, 2)), np.ones(0)), "test has no rows"),
])
def test_rows_that_do_not_fit_are_said_so(train: Any, test: Any, said: str) -> None:
    model = LinearRegression().fit(np.ones((5, 2)), np.ones(5))
    with pytest.raises(UsageError, match=said):
        trimtab.register("plain", model, train=train, test=test)


def test_an_estimator_that_needs_pandas_own_categories_is_judged_but_not_fitted_again(people: Any) -> None:
    frame, target = people
    frame = frame.assign(city=frame.city.astype("category"))
    model = HistGradientBoostingClassifier(categorical_features="from_dtype", max_iter=5).fit(frame[:200], target[:200])
    version = trimtab.register("cats", model, train=(frame[:200], target[:200]), test=(frame[200:], target[200:]))
    np.testing.assert_array_equal(version.predict(frame[200:]).probabilities, model.predict_proba(frame[200:]))
    told: Any = version.workspace.versions.evaluation(version.record)
    assert "other splits: not tested (it can't be fitted again" in str(told["stability"])


def test_a_brought_classifier_answers_as_its_own_predict_does(people: Any) -> None:
    """No threshold of ours is put between, unless trimtab.toml says what errors cost."""
    frame, _ = people
    X = frame[["age", "income"]].to_numpy()
    rare = np.where(X[:, 0] > 70, "yes", "no")
    model = FixedThresholdClassifier(LogisticRegression(max_iter=5000), threshold=0.9).fit(X[:200], rare[:200])
    assert not np.array_equal(model.predict(X), model.estimator_.predict(X))
    version = trimtab.register("rare", model, train=(X[:200], rare[:200]), test=(X[200:], rare[200:]))
    assert version.record.facts["threshold"] is None
    assert list(version.predict(X[200:]).values) == model.predict(X[200:]).tolist()
    rows = [{"x0": int(a), "x1": float(b)} for a, b in X[200:]]
    assert list(version.predict(rows).values) == model.predict(X[200:]).tolist()


def test_the_costs_of_a_project_choose_the_threshold_of_a_brought_classifier_too(people: Any) -> None:
    frame, target = people
    table = frame[["age", "income"]].assign(buys=target)
    table.to_csv("people.csv", index=False)
    project = trimtab.open("people.csv", name="buys")
    toml = Path("trimtab.toml")
    toml.write_text(toml.read_text(encoding="utf-8") + "\n[decision]\ncost_false_negative = 9\n", encoding="utf-8")
    X, y = project.X.to_pandas(), project.y.to_numpy()
    model = LogisticRegression(max_iter=5000).fit(X[:200], y[:200])
    version = trimtab.register("buys", model, train=(X[:200], y[:200]), test=(X[200:], y[200:]))
    assert version.record.facts["threshold"] < 0.4


def test_a_function_is_a_model_where_it_is_trusted(people: Any) -> None:
    """It sees raw columns; its code is the version's own, and the entry is signed with it."""
    Path("rules.py").write_text("def share(frame):\n    return (frame['age'] > 50).cast(float) * 0.6 + 0.2\n")
    frame, target = people
    sides: Any = {"train": (frame[:200], target[:200]), "test": (frame[200:], target[200:])}
    with pytest.raises(UntrustedModel, match="nobody vouched for here"):
        trimtab.register("buys", "rules:share", **sides)
    version = trimtab.register("buys", "rules:share", trusted=["rules:share"], **sides)
    assert version.record.manifest.flavor == "python"
    assert version.record.facts["trusted"] == ["rules:share"]
    assert "code/rules.py" in version.record.manifest.files
    Path("rules.py").write_text("raise SystemError('the folder is not asked')\n")
    again = load_bundle(version.workspace.versions, version.record)
    rows: Any = [{"age": 60, "city": "北京", "income": 1e4}, {"age": 20, "city": "上海", "income": 1e4}]
    np.testing.assert_allclose(again.predict_rows(rows).probabilities, [[0.2, 0.8], [0.8, 0.2]])


def test_a_version_says_how_its_answers_are_computed(people: Any) -> None:
    """The tier is chosen on the held-out rows, recorded with the version, and made again when it is loaded."""
    frame, target = people
    numbers = frame[["age", "income"]]
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(numbers[:200], target[:200])
    sides: Any = {"train": (numbers[:200], target[:200]), "test": (numbers[200:], target[200:])}
    version = trimtab.register("buys", model, **sides)
    assert version.record.tier.startswith("numpy, ")
    assert version.bundle.tier["row_invariant"] is True
    assert version.bundle.fast is not None
    assert trimtab.register("buys", model, **sides).digest == version.digest
    want = model.predict_proba(numbers[200:])
    np.testing.assert_allclose(version.predict(numbers[200:]).probabilities, want, rtol=1e-12)
