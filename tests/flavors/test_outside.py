"""Models of other libraries are judged before they run, and say what they need; none of those is needed here."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from trimtab.errors import MissingExtra, UntrustedModel, UsageError
from trimtab.flavors import keras, onnx, table, tiers
from trimtab.flavors import sklearn as flavor
from trimtab.flavors.keras import Network
from trimtab.flavors.onnx import Graph
from trimtab.flavors.python import Function

RNG = np.random.default_rng(0)
WEIGHTS = [RNG.normal(size=(2, 3)).astype(np.float32), RNG.normal(size=3).astype(np.float32),
           RNG.normal(size=(3, 1)).astype(np.float32), RNG.normal(size=1).astype(np.float32)]
X = RNG.normal(size=(20, 2))


def layer(kind: str, *, module: str = "keras.layers", registered: str | None = None, **config: Any) -> dict[str, Any]:
    """One layer as Keras writes it."""
    return {"module": module, "class_name": kind, "config": config, "registered_name": registered}


def network(*more: dict[str, Any], units: int = 3, activation: Any = "relu") -> dict[str, Any]:
    """Two dense layers, and what else is given."""
    return {"module": "keras", "class_name": "Sequential", "registered_name": None, "config": {
        "name": "sequential_7", "layers": [
            layer("InputLayer", batch_shape=[None, 2], name="input_layer_7"),
            layer("Dense", units=units, activation=activation, use_bias=True, name="dense_12"),
            layer("Dropout", rate=0.1, name="dropout"),
            layer("Dense", units=1, activation="linear", use_bias=True, name="dense_13"), *more]}}


def held(told: dict[str, Any] | None = None) -> Network:
    """A network as it comes out of a file, Keras or not."""
    made = Network()
    made.config, made.weights = json.dumps(told or network()), WEIGHTS
    return made


@pytest.mark.parametrize(("name", "product"), [("keras", "TensorFlow"), ("onnx", "ONNX Runtime"),
                                               ("xgboost", "XGBoost"), ("lightgbm", "LightGBM")])
def test_what_is_not_installed_is_said_with_its_line(name: str, product: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingExtra) as caught:
        table.require(name)
    assert str(caught.value) == f"flavour '{name}' needs {product}: pip install 'trimtab[{name}]'"


def test_an_unknown_flavour_is_named() -> None:
    with pytest.raises(MissingExtra, match="'catboost' is not known to this trimtab; it knows sklearn, keras"):
        table.require("catboost")


@pytest.mark.parametrize(("given", "flavour"), [
    ("model.onnx", "onnx"), (Path("MODEL.KERAS"), "keras"), ("rules:score", "python"), (StandardScaler(), "sklearn")])
def test_a_thing_is_recognised_by_what_it_is(given: Any, flavour: str) -> None:
    assert table.of_model(given) == flavour


def test_a_network_comes_back_from_its_file_and_answers_without_tensorflow() -> None:
    """As the last step of a pipeline, in the one container that every model has."""
    pipeline = make_pipeline(StandardScaler().fit(X), held())
    saved = flavor.save(pipeline)
    assert table.of_types(saved.types) == "keras"
    assert saved.files == flavor.save(pipeline).files
    again = flavor.load(saved.files[flavor.FILE])
    fast = tiers.build(again, {"tier": "numpy", "tolerance": 1e-5})
    hidden = np.maximum(StandardScaler().fit(X).transform(X).astype(np.float32) @ WEIGHTS[0] + WEIGHTS[1], 0)
    np.testing.assert_allclose(fast.predict(X), (hidden @ WEIGHTS[2] + WEIGHTS[3])[:, 0], rtol=1e-5)


def test_counted_names_make_no_other_file() -> None:
    """Keras numbers layers through a whole process; the architecture is kept without those numbers."""
    other = json.loads(json.dumps(network()).replace("dense_12", "dense_99").replace("sequential_7", "sequential"))
    assert keras.canonical(other) == keras.canonical(network())
    assert "dense_12" not in keras.canonical(network())
    assert '"float32"' in keras.canonical({**network(), "dtype": {"config": {"name": "float32"}}})


LAMBDA = layer("Lambda", name="l", function={"class_name": "__lambda__", "config": {"code": "4wAA"}})
FUNCTION = {"module": "builtins", "class_name": "function", "config": "run", "registered_name": "function"}


@pytest.mark.parametrize(("told", "said"), [
    (network(LAMBDA), "keras.layers.Lambda"),
    (network(activation=FUNCTION), "builtins.function"),
    (network(layer("Dense", module="os", units=1)), "os.Dense"),
    (network(layer("Dense", units=1, registered="my>Dense")), "keras.layers.Dense"),
    (network(layer("StringLookup", vocabulary="/etc/passwd")), "StringLookup"),
    (network(layer("enable_unsafe_deserialization", module="keras.config")), "keras.config"),
    (network(layer("TFSMLayer", filepath="x")), "TFSMLayer"),
    (network(units=10**7), "no weights of that size"),
    ({"class_name": "Model", "config": {}}, "no Sequential or Functional network"),
    ({"class_name": ["Sequential"]}, "no Sequential or Functional network"),
])
def test_a_network_with_code_or_files_in_it_is_refused(told: dict[str, Any], said: str) -> None:
    """Before Keras sees it: safe mode alone has let such things through."""
    with pytest.raises(UntrustedModel, match=said):
        held(told).check()
    with pytest.raises(UntrustedModel, match=said):
        flavor.load(flavor.save(held(told)).files[flavor.FILE])


def test_a_network_nested_without_end_is_refused() -> None:
    made = held()
    made.config = '{"a":' * 100_000 + "1" + "}" * 100_000
    with pytest.raises(UntrustedModel):
        made.check()


@pytest.mark.parametrize(("members", "said"), [
    ({"config.json": b"{}", "metadata.json": b"{}", "model.weights.h5": b"", "assets/x": b"a"}, "holds assets/x"),
    ({"config.json": b"{}", "metadata.json": b"{}"}, "a model of plain layers holds"),
    ({"config.json": json.dumps(network(LAMBDA)).encode(), "metadata.json": b"{}", "model.weights.h5": b""}, "Lambda"),
    ({"config.json": b"{}", "metadata.json": b"{}", "model.weights.h5": bytes(10**7)}, "would unpack to"),
])
def test_a_keras_file_is_judged_before_it_is_opened(members: dict[str, bytes], said: str, tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name, data in members.items():
            out.writestr(name, data)
    with pytest.raises(UntrustedModel, match=said):
        keras.opened(path)


def test_an_old_keras_file_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "model.keras").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(UntrustedModel, match="HDF5 and SavedModel folders are not loaded"):
        keras.opened(tmp_path / "model.keras")
    with pytest.raises(UsageError, match="there is no file"):
        keras.opened(tmp_path / "other.keras")


def part(number: int, data: bytes | int) -> bytes:
    """One field as Protocol Buffers have it."""
    def varint(value: int) -> bytes:
        out = b""
        while value > 0x7F:
            out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
        return out + bytes([value])
    if isinstance(data, int):
        return varint(number << 3) + varint(data)
    return varint(number << 3 | 2) + varint(len(data)) + data


def graph(node: bytes = b"", tensor: bytes = b"") -> bytes:
    """A model of one graph with one node and one tensor."""
    return part(1, 8) + part(7, part(1, part(4, b"Add") + node) + part(5, part(1, 3) + tensor)) + part(8, part(2, 17))


def test_a_plain_graph_is_let_through() -> None:
    onnx.judge(graph())
    onnx.judge(graph(node=part(7, b"ai.onnx.ml")))


def nested(depth: int) -> bytes:
    """A graph in an attribute of a node of a graph in …"""
    inner = b""
    for _ in range(depth):
        inner = part(1, part(5, part(6, inner)))
    return part(7, inner)


@pytest.mark.parametrize(("data", "said"), [
    (graph(tensor=part(14, 1)), "external data"),
    (graph(tensor=part(13, part(1, b"location") + part(2, b"/etc/passwd"))), "external data"),
    (graph(node=part(5, part(5, part(14, 1)))), "external data"),                       # in a node's attribute
    (graph(node=part(5, part(6, part(5, part(14, 1))))), "external data"),              # in a branch of an If
    (graph() + part(25, part(7, part(5, part(5, part(14, 1))))), "external data"),      # in a function
    (graph(node=part(7, b"evil.ops")), "operators of 'evil.ops'"),
    (graph() + part(8, part(1, b"com.microsoft")), "operators of 'com.microsoft'"),
    (nested(40), "nested more than"),
    (b"", "no ONNX graph"), (part(1, 8), "no ONNX graph"), (graph()[:-3], "breaks off"), (graph() * 2, "no ONNX graph"),
    (b"\x80\x04\x95", "breaks off"), (b"PK\x03\x04" + bytes(40), "breaks off"),
])
def test_a_graph_that_is_none_or_reaches_out_is_refused(data: bytes, said: str) -> None:
    """Before ONNX Runtime sees a byte of it."""
    with pytest.raises(UntrustedModel, match=said):
        onnx.judge(data)
    made = Graph()
    made.model, made.output = data, "y"
    with pytest.raises(UntrustedModel, match=said):
        flavor.load(flavor.save(made).files[flavor.FILE])


@given(st.binary(max_size=200))
def test_no_bytes_at_all_do_more_than_be_refused(data: bytes) -> None:
    with contextlib.suppress(UntrustedModel):
        onnx.judge(data)


def test_a_function_runs_only_where_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is imported before: the module is left alone."""
    (tmp_path / "rules_of_ours.py").write_text("def score(frame):\n    return frame.sum(axis=1)\n")
    monkeypatch.syspath_prepend(tmp_path)
    data = flavor.save(Function.of("rules_of_ours:score")).files[flavor.FILE]
    import sys
    for trusted in ((), ("rules_of_ours",), ("rules_of_ours:other",)):
        with pytest.raises(UntrustedModel, match=r"nobody vouched for here.*trusted = \[\"rules_of_ours:score"):
            flavor.load(data, trusted)
        assert "rules_of_ours" not in sys.modules
    loaded: Any = flavor.load(data, ("rules_of_ours:score",))
    np.testing.assert_array_equal(loaded.predict(X), X.sum(axis=1))
    sys.modules.pop("rules_of_ours")


@pytest.mark.parametrize("given", ["model.pkl", "a b:c", ":f", "m:", "m:f()", "../x:y"])
def test_what_is_no_reference_is_told(given: str) -> None:
    with pytest.raises(UsageError, match="neither a model, nor a file"):
        table.estimator(given)


@pytest.mark.parametrize(("made", "said"), [(Network(), "has no config"), (Graph(), "has no output"),
                                            (Function(), "has no reference")])
def test_what_is_put_together_by_hand_is_told(made: Any, said: str) -> None:
    with pytest.raises(UntrustedModel, match=said):
        flavor.load(flavor.save(made).files[flavor.FILE], ("a:b",))


def test_nothing_in_a_file_takes_the_place_of_the_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    """An attribute named `check` would be asked instead of the method."""
    made = held(network(LAMBDA))
    monkeypatch.setattr(Network, "__getstate__", lambda self: {**self.__dict__, "check": np.mean})
    data = flavor.save(made).files[flavor.FILE]
    with pytest.raises(UntrustedModel, match="keeps check, make, which it does not have"):
        flavor.load(data)


class Scores(Graph):
    """A graph whose answers are these."""

    def __init__(self, answers: Any = None, classes: int = 0) -> None:
        self.answers = np.asarray(answers)
        if classes:
            self.classes_ = np.arange(classes)

    def outputs(self, X: Any) -> Any:
        """As they are."""
        return self.answers


@pytest.mark.parametrize(("answers", "classes", "said"), [
    ([[-2.5, 2.5]], 2, "no probabilities"),                  # an SVC's scores, [−s, s]
    ([[0.6, 0.6]], 2, "no probabilities"), ([[np.nan, 0.5]], 2, "no probabilities"),
    ([[0.2, 0.3, 0.5]], 2, "there are 2 classes"), ([0.4], 3, "there are 3 classes"),
])
def test_scores_are_not_taken_for_probabilities(answers: Any, classes: int, said: str) -> None:
    with pytest.raises(UntrustedModel, match=said):
        Scores(answers, classes).predict_proba(np.zeros((1, 2)))


def test_one_probability_is_the_second_classs() -> None:
    np.testing.assert_allclose(Scores([0.25], 2).predict_proba(np.zeros((1, 2))), [[0.75, 0.25]])
    assert not hasattr(Scores([1.0]), "predict_proba")
    with pytest.raises(UntrustedModel, match="one is wanted"):
        Scores([[1.0, 2.0]]).predict(np.zeros((1, 2)))


def test_what_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN or infinity"):
        held().predict(np.array([[np.nan, 1.0]]))
