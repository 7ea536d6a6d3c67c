"""The terms of an explanation sum to the answer, on the columns that people know."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, PolynomialFeatures, StandardScaler
from sklearn.svm import SVC, SVR

import trimtab
from trimtab.errors import CheckFailed
from trimtab.project import story
from trimtab.project.endpoint import Endpoint
from trimtab.project.explaining import Explainer, Explanation
from trimtab.project.project import Project
from trimtab.workspace import Workspace

RNG = np.random.default_rng(11)
X = RNG.normal(size=(240, 4)) * [1.0, 10.0, 100.0, 0.1]
Y = 3 * X[:, 0] - 0.2 * X[:, 1] + 0.01 * X[:, 2] + 0.5 * X[:, 0] ** 2
CLASSES = np.array(["no", "maybe", "yes"])[np.digitize(Y, [-2.0, 2.0])]
TWO = np.where(Y > 0, "yes", "no")


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    with Workspace.open(tmp_path_factory.mktemp("explained") / ".trimtab", create=True, actor="ann") as workspace:
        yield workspace


def explained(space: Workspace, model: Any, truth: Any, X: Any = X, row: int = 230) -> tuple[Explanation, Any]:
    """The explanation of one recorded prediction, and the bundle that made it."""
    name = f"m{len(space.versions.models())}"
    train = X[:200], truth[:200]
    version = trimtab.register(name, model.fit(*train), train=train, test=(X[200:], truth[200:]), workspace=space)
    version.deploy()
    with Endpoint(space, name) as endpoint:
        made = endpoint.predict(X[row:row + 1])
        found = endpoint.explain(made.ids[0])
        assert found == endpoint.explain(made)                 # the same prediction, the same way
    assert found.answer == made.prediction.values[0]
    assert math.isclose(found.base + sum(part.amount for part in found.parts) + found.rest, found.total, rel_tol=1e-9)
    return found, made


def test_linear_terms_are_coefficients_times_centred_values(space: Workspace) -> None:
    model = make_pipeline(StandardScaler(), LinearRegression())
    found, made = explained(space, model, Y)
    assert (found.method, found.of) == ("linear", "the answer")
    assert found.total == pytest.approx(made.prediction.values[0], rel=1e-9)
    slopes = model[-1].coef_ / model[0].scale_
    for part in found.parts:
        place = int(part.name[1:])
        assert part.coefficient == pytest.approx(slopes[place], rel=1e-6)
        assert part.value == X[230, place]


def test_one_hot_columns_are_one_term(space: Workspace) -> None:
    """City and size, not city=Graz, city=Linz, …"""
    frame = pl.DataFrame({"city": RNG.choice(["Graz", "Linz", "Wien"], 240), "size": X[:, 0]})
    truth = X[:, 0] + (frame["city"] == "Wien").to_numpy() * 2.0
    model = make_pipeline(ColumnTransformer([("city", OneHotEncoder(), ["city"]), ("rest", "passthrough", ["size"])]),
                          LinearRegression())
    found, made = explained(space, model, truth, frame.to_pandas())
    assert {part.name for part in found.parts} == {"city", "size"}
    assert found.total == pytest.approx(made.prediction.values[0], rel=1e-9)


def test_log_odds_of_a_logistic_regression(space: Workspace) -> None:
    found, made = explained(space, make_pipeline(StandardScaler(), LogisticRegression()), TWO)
    assert (found.method, found.of) == ("linear", "the log-odds of yes")
    assert made.prediction.probabilities is not None
    assert 1 / (1 + math.exp(-found.total)) == pytest.approx(made.prediction.probabilities[0, 1], rel=1e-9)


@pytest.mark.parametrize("model", [KernelRidge(kernel="rbf", gamma=0.1, alpha=0.1), SVR(C=10.0)])
def test_kernel_terms_sum_to_the_answer(space: Workspace, model: Any) -> None:
    found, made = explained(space, make_pipeline(StandardScaler(), model), Y)
    assert found.method == "kernel"
    assert found.total == pytest.approx(made.prediction.values[0], rel=1e-9)
    assert all(part.amount == pytest.approx(part.coefficient * part.kernel) for part in found.parts)


def test_the_decision_value_tells_the_answered_class_from_the_next(space: Workspace) -> None:
    model = make_pipeline(StandardScaler(), CalibratedClassifierCV(SVC(), ensemble=False))
    found, made = explained(space, model, CLASSES)
    assert found.method == "kernel"
    side = found.of.split("positive for ")[1].split(",")[0] if found.total > 0 else found.of.split("negative for ")[1]
    assert side == made.prediction.values[0]


def test_shapley_values_of_a_forest_sum_to_its_answer_with_their_errors(space: Workspace) -> None:
    found, made = explained(space, RandomForestRegressor(40, random_state=0), Y)
    assert found.method == "shapley"
    assert found.total == pytest.approx(made.prediction.values[0], rel=1e-9)
    assert all(part.error is not None and part.error >= 0 for part in found.parts)
    assert found.parts[0].name == "x0"
    assert "Kononenko 2014" in found.source


def test_shapley_values_of_a_class_sum_to_its_probability(space: Workspace) -> None:
    found, made = explained(space, RandomForestClassifier(40, random_state=0), CLASSES)
    assert made.prediction.probabilities is not None
    assert found.total == pytest.approx(made.prediction.probabilities.max(), rel=1e-9)
    assert found.of == f"the probability of {made.prediction.values[0]}"


def test_a_linear_model_of_products_is_no_sum_over_columns(space: Workspace) -> None:
    """Polynomial features make columns work together: then the terms are Shapley values."""
    found, made = explained(space, make_pipeline(PolynomialFeatures(2), LinearRegression()), Y * X[:, 1])
    assert found.method == "shapley"
    assert found.total == pytest.approx(made.prediction.values[0], rel=1e-9)


def test_what_the_model_did_not_answer_is_not_explained(space: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    explained(space, LinearRegression(), Y)
    name = space.traffic.frame(columns=["id"])["id"][-1]
    monkeypatch.setattr("trimtab.project.explaining.why_not", lambda *_: "redacted: x0 was not recorded as it came")
    with pytest.raises(CheckFailed, match="redacted"):
        Explainer(space).recorded(name)


def test_the_one_hot_columns_of_a_project_are_folded_back_exactly(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A linear model of city, size and age has three terms, and city's is the difference of its levels."""
    monkeypatch.chdir(tmp_path)
    frame = pl.DataFrame({"city": RNG.choice(["Graz", "Linz", "Wien"], 240), "size": X[:, 0], "age": X[:, 1]})
    levels = frame["city"].replace_strict({"Graz": 0.0, "Linz": 1.0, "Wien": 3.0}, return_dtype=pl.Float64)
    frame.with_columns((frame["size"] * 2 + levels).alias("y")).write_csv(tmp_path / "data.csv")
    with Workspace.open(tmp_path / ".trimtab", create=True, actor="ann") as workspace:
        story.run("data.csv", tmp_path, workspace)             # without noise the linear model is the best
        with Project.open(tmp_path, workspace).endpoint() as endpoint:
            told = {city: endpoint.explain(endpoint.predict({"city": city, "size": 0.5, "age": 1.0}))
                    for city in ("Graz", "Wien")}
    amounts = {city: {part.name: part.amount for part in one.parts} for city, one in told.items()}
    assert told["Wien"].method == "linear"
    assert amounts["Wien"].keys() == {"city", "size", "age"}
    assert amounts["Wien"]["city"] - amounts["Graz"]["city"] == pytest.approx(3.0, abs=1e-6)
    assert told["Wien"].total == pytest.approx(told["Wien"].answer, rel=1e-9)
