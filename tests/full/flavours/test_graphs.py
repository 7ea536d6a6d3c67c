"""An ONNX graph is judged and served as it is; a converted one only where it agrees with its original."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from skl2onnx import to_onnx
from sklearn.ensemble import BaggingRegressor, HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR
from sklearn.tree import DecisionTreeRegressor

import trimtab
from trimtab.errors import UntrustedModel
from trimtab.flavors import onnx as flavor
from trimtab.flavors import tiers

pytestmark = [pytest.mark.full, pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")]


def exported(estimator: Any, X: Any, **options: Any) -> Any:
    return to_onnx(estimator, X[:1].astype(np.float32), options=options or None)


def test_a_graph_is_registered_by_its_file(rows: Any) -> None:
    estimator = make_pipeline(StandardScaler(), Ridge()).fit(rows.X[:300], rows.y[:300])
    onnx.save(exported(estimator, rows.X), "model.onnx")
    version = trimtab.register("risk", "model.onnx", **rows.sides(rows.y))
    assert version.record.manifest.flavor == "onnx"
    assert version.bundle.tier["tier"] == "onnxruntime"
    np.testing.assert_allclose(version.predict(rows.X[300:]).values, estimator.predict(rows.X[300:]), rtol=1e-5,
                               atol=1e-5)
    assert version.deploy().after == 1


def test_a_graph_of_classes_gives_their_probabilities(rows: Any) -> None:
    estimator = LogisticRegression().fit(rows.X[:300], rows.two[:300])
    version = trimtab.register("buys", exported(estimator, rows.X, zipmap=False), **rows.sides(rows.two))
    np.testing.assert_allclose(version.predict(rows.X[300:]).probabilities, estimator.predict_proba(rows.X[300:]),
                               atol=1e-6)


def test_a_graph_that_answers_with_maps_is_refused_with_advice(rows: Any) -> None:
    estimator = LogisticRegression().fit(rows.X[:300], rows.two[:300])
    with pytest.raises(UntrustedModel, match="zipmap"):
        trimtab.register("buys", exported(estimator, rows.X), **rows.sides(rows.two))


def test_a_graph_with_data_in_another_file_is_refused(rows: Any) -> None:
    made = exported(Ridge().fit(rows.X, rows.y), rows.X)
    made.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(2000, dtype=np.float32), "more"))
    onnx.save(made, "model.onnx", save_as_external_data=True, location="secret.bin", size_threshold=0)
    assert Path("secret.bin").exists()
    with pytest.raises(UntrustedModel, match="external data"):
        trimtab.register("risk", "model.onnx", **rows.sides(rows.y))


@pytest.mark.parametrize("make", [lambda: make_pipeline(StandardScaler(), LinearRegression()), lambda: make_pipeline(
    StandardScaler(), SVR()), lambda: RandomForestRegressor(20, random_state=0)], ids=["linear", "svr", "forest"])
def test_a_converted_graph_is_used_where_it_agrees(rows: Any, make: Any) -> None:
    """The tolerance and the difference are on the version, and the graph is one of its files."""
    estimator = make().fit(rows.X[:300], rows.y[:300])
    version = trimtab.register("risk", estimator, convert="onnx", **rows.sides(rows.y))
    told: Any = version.record.facts["predict"]
    assert (told["tier"], told["tolerance"]) == ("onnxruntime", 1e-5)
    assert 0 < told["difference"] <= 1e-5
    assert "model.onnx" in version.record.manifest.files
    np.testing.assert_allclose(version.predict(rows.X[300:]).values, estimator.predict(rows.X[300:]), atol=1e-4)
    assert version.record.manifest.flavor == "sklearn"       # the estimator is there, and answers what the graph can't


@pytest.mark.parametrize(("start", "step"), [(1.7e9, 1000.0), (2.0**24 + 1, 1.0)], ids=["unix time", "large ids"])
def test_what_float32_would_round_away_falls_back(rows: Any, start: float, step: float) -> None:
    """Unix times and ids above 2**24 lose digits in float32; the estimator's own arithmetic is kept, and it is said."""
    X = rows.X.copy()
    X[:, 0] = start + step * np.arange(400)
    y = rows.y + np.arange(400) % 7 + 100 * (X[:, 0] - start) / np.ptp(X[:, 0])
    version = trimtab.register("risk", LinearRegression().fit(X[:300], y[:300]), convert="onnx", **rows.sides(y, X))
    told: Any = version.record.facts["predict"]
    assert told["tier"] == "numpy"
    assert "onnxruntime: differs by" in told["why"]
    assert "model.onnx" not in version.record.manifest.files


def test_thresholds_that_float32_moves_are_found(rows: Any) -> None:
    """Rows on the thresholds of trees, and beside them, are among those replayed; held-out rows alone don't tell."""
    estimator = DecisionTreeRegressor(random_state=0).fit(np.arange(6.0).reshape(-1, 1) + 0.1, np.arange(6.0))
    estimator = BaggingRegressor(estimator, 1, bootstrap=False).fit(np.arange(6.0).reshape(-1, 1) + 0.1, np.arange(6.0))
    shifted = exported(estimator, np.zeros((1, 1)))
    for node in shifted.graph.node:
        for told in node.attribute:
            if told.name == "nodes_values":
                moved = np.nextafter(np.array(told.floats, dtype=np.float32), np.float32(9), dtype=np.float32)
                told.floats[:] = moved.tolist()
    X = np.arange(6.0).reshape(-1, 1)
    told = tiers.choose(estimator, X, graph=flavor.Graph.of(shifted))
    assert told.tier == "scikit-learn"
    assert "on a tree's threshold" in told.why


def test_what_does_not_convert_falls_back_with_its_reason(rows: Any) -> None:
    estimator = HistGradientBoostingRegressor(max_iter=5).fit(rows.X[:300], rows.y[:300])
    version = trimtab.register("risk", estimator, convert="onnx", **rows.sides(rows.y))
    told: Any = version.record.facts["predict"]
    assert told["tier"] == "treelite"
    assert "onnxruntime: " in told["why"]


def test_an_svcs_scores_are_not_taken_for_probabilities(rows: Any) -> None:
    """Its graph gives [−s, s]."""
    estimator = SVC().fit(rows.X[:300], rows.two[:300])
    graph = exported(estimator, rows.X, zipmap=False)
    with pytest.raises(UntrustedModel, match="probabilities"):
        trimtab.register("buys", graph, **rows.sides(rows.two))


def test_bytes_that_onnx_runtime_refuses_are_told() -> None:
    node = onnx.helper.make_node("NoSuchOperator", ["x"], ["y"])
    told = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None, 2]) for name in "xy"]
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", told[:1], told[1:]))
    with pytest.raises(UntrustedModel, match="ONNX Runtime refuses"):
        flavor.Graph.of(model)
