"""A Keras network is trained, evaluated, gated, versioned and served like any other model."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import trimtab
from trimtab.errors import UntrustedModel, UsageError
from trimtab.project.rebuilding import rebuild

pytestmark = [pytest.mark.full, pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")]


def trained(X: Any, y: Any, *stack: Any, loss: str = "mse") -> Any:
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((X.shape[1],)), *stack])
    model.compile("adam", loss)
    model.fit(X[:300], y[:300], epochs=60, verbose=0)
    return model


def test_a_stack_of_dense_layers_answers_through_numpy(rows: Any) -> None:
    """Equal within what float32 leaves open, in any batch, and recorded so."""
    model = trained(rows.X, rows.y, layers.Dense(16, activation="relu"), layers.Dropout(0.1), layers.Dense(1))
    version = trimtab.register("risk", model, **rows.sides(rows.y))
    assert version.record.manifest.flavor == "keras"
    assert version.gates == "passed"
    assert version.bundle.tier["tier"] == "numpy"
    assert version.bundle.tier["row_invariant"] is True
    assert version.bundle.tier["tolerance"] == 1e-5
    want = model.predict(rows.X[300:], verbose=0)[:, 0]
    np.testing.assert_allclose(version.predict(rows.X[300:]).values, want, rtol=1e-5, atol=1e-5)
    assert version.deploy().after == 1


def test_a_server_needs_no_tensorflow_for_it(rows: Any) -> None:
    """Loaded, verified and asked in a new process, in which TensorFlow was never imported."""
    model = trained(rows.X, rows.y, layers.Dense(8, activation="tanh"), layers.Dense(1))
    version = trimtab.register("risk", model, **rows.sides(rows.y))
    probe = textwrap.dedent("""
        import json, sys
        from trimtab.registry.bundle import load_bundle
        from trimtab.workspace import Workspace, locate
        space = Workspace.open(locate(None))
        bundle = load_bundle(space.versions, space.versions.resolve("risk"))
        values = bundle.predict_rows([{"x0": 1, "x1": 0, "x2": 0, "x3": 0}]).values
        print(json.dumps([values, "tensorflow" in sys.modules, "keras" in sys.modules]))
    """)
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    values, *imported = json.loads(done.stdout)
    assert values == version.predict([{"x0": 1, "x1": 0, "x2": 0, "x3": 0}]).values
    assert imported == [False, False]


def test_normalisation_inside_the_network_is_kept(rows: Any) -> None:
    """The trap of the ONNX export, which loses it: here it is part of the formula."""
    X = rows.X * [1e3, 1, 1, 1] + [1e6, 0, 0, 0]
    scale = layers.Normalization()
    scale.adapt(X[:300])
    model = trained(X, rows.y, scale, layers.Dense(8, activation="relu"), layers.Dense(1))
    version = trimtab.register("risk", model, **rows.sides(rows.y, X))
    want = model.predict(X[300:], verbose=0)[:, 0]
    np.testing.assert_allclose(version.predict(X[300:]).values, want, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("last", "loss"), [
    (layers.Dense(1, activation="sigmoid"), "binary_crossentropy"),
    (layers.Dense(2, activation="softmax"), "sparse_categorical_crossentropy")])
def test_classes_keep_their_labels(rows: Any, last: Any, loss: str) -> None:
    """A sigmoid is the second label's probability, in the labels' order."""
    model = trained(rows.X, (rows.two == "yes").astype(int), layers.Dense(8, activation="tanh"), last, loss=loss)
    version = trimtab.register("buys", model, **rows.sides(rows.two))
    assert version.record.facts["classes"] == ["no", "yes"]
    found = version.predict(rows.X[300:])
    own = model.predict(rows.X[300:], verbose=0)
    np.testing.assert_allclose(found.probabilities[:, 1], own[:, -1], atol=1e-5)
    assert set(found.values) == {"no", "yes"}


def test_a_network_that_is_no_formula_is_asked_itself(rows: Any) -> None:
    """Recurrent and branching networks: one compiled function, the same answers after a restart."""
    i = keras.Input((4,))
    x = layers.GRU(3)(layers.Reshape((4, 1))(i))
    model = keras.Model(i, layers.Dense(3, activation="softmax")(layers.Concatenate()([x, i])))
    model.compile("adam", "sparse_categorical_crossentropy")
    codes = np.searchsorted(["low", "mid", "top"], rows.three)
    model.fit(rows.X[:300], codes[:300], epochs=3, verbose=0)
    version = trimtab.register("size", model, **rows.sides(rows.three))
    assert version.bundle.tier["tier"] == "tensorflow"
    np.testing.assert_allclose(version.predict(rows.X[300:]).probabilities, model.predict(rows.X[300:], verbose=0),
                               atol=1e-5)


def test_a_keras_file_is_the_same_version(rows: Any) -> None:
    """Names that Keras counts through a process, and how it was compiled, make no other digest."""
    model = trained(rows.X, rows.y, layers.Dense(4, activation="relu", kernel_regularizer="l2"), layers.Dense(1))
    model.save("model.keras")
    first = trimtab.register("risk", model, **rows.sides(rows.y))
    assert trimtab.register("risk", "model.keras", **rows.sides(rows.y)).digest == first.digest


def test_a_network_that_would_answer_otherwise_is_refused(rows: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was kept is put together and asked beside the original, before anything is registered."""
    model = trained(rows.X, rows.y, layers.Dense(1))
    monkeypatch.setattr(type(model), "get_weights", lambda self: [2 * np.asarray(each) for each in self.weights])
    with pytest.raises(UsageError, match="answers otherwise once it is put together again"):
        trimtab.register("risk", model, **rows.sides(rows.y))


def test_code_in_a_network_is_refused(rows: Any) -> None:
    model = trained(rows.X, rows.y, layers.Lambda(lambda x: x * 2), layers.Dense(1))
    with pytest.raises(UntrustedModel, match=r"keras\.layers\.Lambda"):
        trimtab.register("risk", model, **rows.sides(rows.y))
    model.save("model.keras")
    with pytest.raises(UntrustedModel, match=r"keras\.layers\.Lambda"):
        trimtab.register("risk", "model.keras", **rows.sides(rows.y))


def test_scores_instead_of_probabilities_are_refused(rows: Any) -> None:
    model = trained(rows.X, (rows.two == "yes").astype(int), layers.Dense(2),
                    loss="sparse_categorical_crossentropy")
    with pytest.raises(UntrustedModel, match="no probabilities"):
        trimtab.register("buys", model, **rows.sides(rows.two))


MODELS = """
def net(width=8):
    import keras
    model = keras.Sequential([keras.layers.Dense(width, activation="relu"), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.05), "mse")
    return model, {"epochs": 40}
"""


def test_a_function_that_gives_a_network_is_a_candidate(folder: Path) -> None:
    """Columns are prepared as for a linear model; the fit is repeatable, the version can be rebuilt bit for bit."""
    rng = np.random.default_rng(0)
    a, b, c = rng.normal(size=200), rng.normal(size=200), rng.choice(["x", "y"], 200)
    lines = [f"{p},{q},{r},{2 * p + q + (r == 'x')}" for p, q, r in zip(a, b, c, strict=True)]
    Path("data.csv").write_text("a,b,c,y\n" + "\n".join(lines) + "\n")
    Path("models.py").write_text(MODELS)
    project = trimtab.open("data.csv")
    first = project.train(["models:net"])
    assert first.report.chosen == "models:net"
    again = project.train(["models:net"], no_cache=True)
    assert again.chosen.model == first.chosen.model
    version = project.evaluate().version
    assert version is not None
    assert version.gates == "passed"
    assert version.record.manifest.flavor == "keras"
    assert "code/models.py" in version.record.manifest.files
    assert version.bundle.tier["tier"] == "numpy"
    assert abs(float(version.predict({"a": 1.0, "b": 1.0, "c": "x"}).values[0]) - 4) < 1
    assert rebuild(project.workspace, version.record.name).same
