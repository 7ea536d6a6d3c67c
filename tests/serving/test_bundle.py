"""A bundle gives the same answer whichever way it is asked, in the words of the data, once it was verified."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import serving_scenes as scenes
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.svm import SVC

from trimtab.data import contract_toml
from trimtab.data.contract import Column, Contract
from trimtab.errors import Conflict, ContractViolation, DigestMismatch, MissingExtra, UntrustedModel, UsageError
from trimtab.flavors import sklearn as flavor
from trimtab.flavors.keras import Network
from trimtab.registry.bundle import Bundle, decode, load_bundle
from trimtab.registry.model import Version
from trimtab.workspace import Workspace


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return scenes.workspace(tmp_path)


ROWS = [{"年龄": 30, "城市": "北京", "member": True, "joined": "2001-03-04", "note": None},
        {"年龄": 90, "城市": "上海", "member": False, "joined": "2010-01-01T06:00:00", "note": "never seen"}]


def test_rows_table_and_matrix_get_the_same_answer(ws: Workspace) -> None:
    """No train/serve skew: one path behind three questions, labels and column names in Chinese."""
    bundle = load_bundle(ws.versions, scenes.mixed_classifier(ws))
    by_rows = bundle.predict_rows(ROWS)
    by_matrix = bundle.predict(bundle.encode_rows(ROWS))
    frame = pl.DataFrame(ROWS).with_columns(pl.col("joined").str.to_datetime(strict=False).fill_null(
        pl.col("joined").str.to_date(strict=False).cast(pl.Datetime("us"))))
    by_frame = bundle.predict_frame(frame)
    assert by_rows.values == by_matrix.values == by_frame.values == ["低", "高"]
    assert by_rows.probabilities is not None
    assert np.array_equal(by_rows.probabilities, by_matrix.probabilities)
    assert np.array_equal(by_rows.probabilities, by_frame.probabilities)


def test_the_answer_is_the_estimators_own_to_the_last_bit(ws: Workspace) -> None:
    """Nothing is rounded on the way."""
    bundle = load_bundle(ws.versions, scenes.linear(ws))
    X = np.random.default_rng(0).normal(size=(50, 2))
    assert bundle.predict(X).values == bundle.estimator.predict(X).tolist()
    assert bundle.predict(np.empty((0, 2))).values == []


def test_a_chosen_threshold_moves_the_answer_not_the_probability(ws: Workspace) -> None:
    """`[decision]` costs choose the threshold; the version carries it."""
    cautious = load_bundle(ws.versions, scenes.mixed_classifier(ws, threshold=0.0))
    plain = load_bundle(ws.versions, scenes.mixed_classifier(ws, model="plain"))
    assert cautious.predict_rows(ROWS).values == ["高", "高"]
    assert np.array_equal(cautious.predict_rows(ROWS).probabilities, plain.predict_rows(ROWS).probabilities)


@pytest.mark.parametrize("labels", [[0, 1, 5], [False, True], ["a", "b", "c"], [1, 2]])
@pytest.mark.parametrize("coded", [True, False])
def test_labels_keep_the_type_that_the_data_has(ws: Workspace, labels: list[object], coded: bool) -> None:
    """Also for estimators without probabilities, fitted on codes or on the labels themselves."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(60, 2))
    codes = rng.integers(0, len(labels), 60)
    estimator = SVC().fit(X, codes if coded else np.array(labels)[codes])
    task = "binary" if len(labels) == 2 else "multiclass"
    bundle = Bundle(contract=scenes.NUMBERS, facts={"task": task, "classes": labels}, estimator=estimator)
    values = bundle.predict(X).values
    assert bundle.predict(X).probabilities is None
    assert {type(value) for value in values} == {type(labels[0])}
    assert set(values) <= set(labels)
    own = estimator.predict(X).tolist()
    assert values == ([labels[code] for code in own] if coded else own)


def test_broken_rows_are_told_one_by_one(ws: Workspace) -> None:
    """All rows, all columns, with reasons; nothing is predicted."""
    bundle = load_bundle(ws.versions, scenes.linear(ws))
    with pytest.raises(ContractViolation) as broken:
        bundle.predict_rows([{"rate": 1.0}, {"rate": -99}, {"rate": "x", "extra": 1}, {}])
    told = broken.value.details["violations"]
    assert isinstance(told, list)
    assert [(each["row"], each["column"], each["rule"]) for each in told] == [
        (2, "rate", "min"), (3, "extra", "unknown"), (3, "rate", "type"), (4, "rate", "missing")]


def test_a_missing_value_that_the_contract_allows_is_predicted(ws: Workspace) -> None:
    """The estimator's own preprocessing sees NaN."""
    bundle = load_bundle(ws.versions, scenes.mixed_classifier(ws))
    assert len(bundle.predict_rows([{**ROWS[0], "note": None}]).values) == 1


def test_a_matrix_of_another_width_is_refused(ws: Workspace) -> None:
    """A matrix encoded with another contract would be read as something else."""
    bundle = load_bundle(ws.versions, scenes.linear(ws))
    with pytest.raises(UsageError, match="takes 2 features"):
        bundle.predict(np.zeros((1, 3)))


def test_an_estimator_fitted_on_a_pandas_frame_gets_one(ws: Workspace) -> None:
    """`input = frame`: column names and raw categories reach a ColumnTransformer by name."""
    import pandas as pd
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    contract = Contract(columns=(Column(name="rate", type="number"),
                                 Column(name="city", type="category", categories=("a", "b"), unseen=True)))
    frame = pd.DataFrame({"rate": [1.0, 2.0, 3.0, 4.0], "city": ["a", "b", "a", "c"]})
    estimator = make_pipeline(ColumnTransformer([("r", "passthrough", ["rate"]), ("c", OneHotEncoder(), ["city"])]),
                              LinearRegression()).fit(frame, [1.0, 2.0, 3.0, 9.0])
    version = scenes.register(ws, "frames", estimator, contract, {"task": "regression", "input": "frame"})
    bundle = load_bundle(ws.versions, version)
    rows = [{"rate": 4.0, "city": "c"}, {"rate": 1.0, "city": "a"}]
    want = estimator.predict(pd.DataFrame(rows)).tolist()
    assert bundle.predict_rows(rows).values == want
    assert bundle.predict_frame(pl.DataFrame(rows)).values == want


def test_the_matrix_can_be_read_back(ws: Workspace) -> None:
    """decode is the inverse of encode, apart from categories that nobody listed."""
    from trimtab.data.encode import encode

    bundle = load_bundle(ws.versions, scenes.mixed_classifier(ws))
    X = bundle.encode_rows(ROWS)
    back = decode(scenes.MIXED, X)
    again = encode(scenes.MIXED, back)
    assert np.array_equal(np.nan_to_num(X, nan=-1.0), np.nan_to_num(again, nan=-1.0))


TRANSFORM = b"""
import polars as pl
from helpers_of_v%d import factor

def transform(frame):
    return frame.select(double=pl.col('rate') * factor())
"""


def with_transform(ws: Workspace, number: int) -> Bundle:
    contract = Contract(columns=(Column(name="rate", type="number"),))
    X = np.array([[0.0], [1.0], [2.0]])
    files = {"code/features.py": TRANSFORM % number,
             f"code/helpers_of_v{number}.py": b"def factor():\n    return %d\n" % number}
    return load_bundle(ws.versions, scenes.register(
        ws, "transformed", LinearRegression().fit(X, X[:, 0]), contract,
        {"task": "regression", "transform": "features:transform",
         "features": [{"name": "double", "type": "number", "categories": []}]}, files=files))


def test_a_features_transform_comes_from_the_version_and_not_from_the_folder(
        ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two versions with different code under one module name live side by side; what lies about is not imported."""
    import sys

    monkeypatch.delitem(sys.modules, "features", raising=False)       # another test's project may have had one
    (tmp_path / "features.py").write_text("raise SystemExit('the wrong file')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    ten, twenty = with_transform(ws, 10), with_transform(ws, 20)
    for bundle, factor in ((ten, 10), (twenty, 20), (ten, 10)):
        assert bundle.predict_rows([{"rate": 3.0}]).values == pytest.approx([3.0 * factor])
        assert bundle.predict(np.array([[3.0]])).values == pytest.approx([3.0 * factor])
    assert "features" not in sys.modules
    assert "helpers_of_v10" not in sys.modules


def test_a_custom_class_loads_from_the_versions_own_code_when_it_is_trusted(ws: Workspace, tmp_path: Path,
                                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    """Named in `[model] trusted`, signed into the version's facts; without that, nothing of it is imported."""
    source = "from sklearn.linear_model import Ridge\nclass Ours(Ridge):\n    marker = 'the version'\n"
    (tmp_path / "custom_of_ours.py").write_text(source.replace("the version", "the folder"))
    monkeypatch.syspath_prepend(str(tmp_path))
    import custom_of_ours  # type: ignore[import-not-found]

    X = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0]])
    estimator = custom_of_ours.Ours().fit(X, X.sum(axis=1))
    files = {"code/custom_of_ours.py": source.encode()}
    refused = scenes.register(ws, "custom", estimator, scenes.NUMBERS, {"task": "regression"}, files=files)
    with pytest.raises(UntrustedModel, match=r"custom v1|custom@v1: the model file holds custom_of_ours\.Ours"):
        load_bundle(ws.versions, refused)
    facts = {"task": "regression", "trusted": ["custom_of_ours.Ours"]}
    bundle = load_bundle(ws.versions, scenes.register(ws, "custom", estimator, scenes.NUMBERS, facts, files=files))
    assert type(bundle.estimator).marker == "the version"
    assert bundle.predict(X).values == estimator.predict(X).tolist()


def test_bytes_are_verified_before_they_are_looked_into(ws: Workspace) -> None:
    """A flipped bit in any file, a changed signature, a deleted version: refused before a type is read."""
    version = scenes.linear(ws)
    with ws.blobs.open(version.manifest.files[flavor.FILE]) as source:
        path = Path(source.name)
    good = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(DigestMismatch):
        load_bundle(ws.versions, version)
    path.write_bytes(good)
    load_bundle(ws.versions, version)
    ws.versions.delete("risk", 1, by="ada", why="test")
    with pytest.raises(Conflict, match="was deleted"):
        load_bundle(ws.versions, ws.versions.get("risk", 1))


def test_another_scikit_learn_is_said_in_words(ws: Workspace) -> None:
    """A sentence on the bundle, no warning to catch."""
    X = np.array([[0.0, 1.0], [1.0, 0.0]])
    version = scenes.register(ws, "old", Ridge().fit(X, X[:, 0]), scenes.NUMBERS,
                              {"task": "regression", "libraries": {"scikit-learn": "1.2.0"}})
    bundle = load_bundle(ws.versions, version)
    assert bundle.warning.startswith("old@v1 was made with scikit-learn 1.2.0")


def network(ws: Workspace, **facts: Any) -> Version:
    """A registered network of one dense layer: score = rate + 2 · volume + 3."""
    made = Network()
    layer = {"module": "keras.layers", "class_name": "Dense", "registered_name": None, "config": {
        "name": "layer_1", "units": 1, "activation": "linear", "use_bias": True}}
    made.config = json.dumps({"module": "keras", "class_name": "Sequential", "registered_name": None,
                              "config": {"name": "layer_0", "layers": [layer]}})
    made.weights = [np.array([[1.0], [2.0]], dtype=np.float32), np.array([3.0], dtype=np.float32)]
    saved = flavor.save(made)
    return ws.versions.register(
        "net", {**saved.files, "contract.toml": contract_toml.render(scenes.NUMBERS).encode()}, flavor="keras",
        types=saved.types, ingredients=scenes.ingredients(ws), facts={"task": "regression", "input": "matrix", **facts},
        gates="passed", by="ada")


def test_a_network_in_numpy_is_served_without_its_library(ws: Workspace) -> None:
    told = {"tier": "numpy", "tolerance": 1e-5, "difference": 1e-7, "rows": 9, "row_invariant": True, "why": ""}
    bundle = load_bundle(ws.versions, network(ws, predict=told))
    assert bundle.predict_rows([{"rate": 1.0, "volume": 2.0}]).values == [8.0]
    assert bundle.tier == told


def test_a_network_without_a_faster_form_says_what_it_needs(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingExtra, match=r"flavour 'keras' needs TensorFlow: pip install 'trimtab\[keras\]'"):
        load_bundle(ws.versions, network(ws))
