"""What does a Keras network answer, and may it be put together?

Kept: the architecture as JSON, and the weights as plain arrays. No file of Keras's own is opened when a version is
loaded. The JSON is judged by an allow-list of layers that hold no code and open no file; only then Keras builds it, in
safe mode. A stack of Dense layers is also a formula (`formula`), so that a server may not need TensorFlow at all.
"""

from __future__ import annotations

import json
import random
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trimtab.errors import UntrustedModel, UsageError
from trimtab.flavors import formulas, table
from trimtab.flavors.outside import Outside

MAX_CONFIG_BYTES, MAX_FILE_BYTES, MAX_RATIO = 4 << 20, 2 << 30, 200
_FREE_CELLS = 1 << 22
_EPOCHS = 100
_TRIED_ROWS = 16
_MEMBERS = {"config.json", "metadata.json", "model.weights.h5"}
_LAYERS = frozenset((
    "Activation", "Add", "AlphaDropout", "Average", "AveragePooling1D", "BatchNormalization", "Bidirectional",
    "CategoryEncoding", "Concatenate", "Conv1D", "Dense", "Dot", "Dropout", "ELU", "Embedding", "Flatten", "GRU",
    "GaussianDropout", "GaussianNoise", "GlobalAveragePooling1D", "GlobalMaxPooling1D", "Identity", "InputLayer",
    "LSTM", "LayerNormalization", "LeakyReLU", "Masking", "MaxPooling1D", "Maximum", "Minimum", "Multiply",
    "Normalization", "PReLU", "Permute", "ReLU", "RepeatVector", "Rescaling", "Reshape", "SimpleRNN", "Softmax",
    "SpatialDropout1D", "Subtract", "TimeDistributed", "UnitNormalization", "GRUCell", "LSTMCell", "SimpleRNNCell"))
_OTHERS = ("keras.initializers", "keras.regularizers", "keras.constraints")
_MODELS = {"Sequential", "Functional"}
_ACTIVATIONS = {"linear": None, "relu": formulas.relu, "tanh": np.tanh, "sigmoid": formulas.logistic,
                "softmax": formulas.softmax}


class Network(Outside):
    """A Keras model. config: its architecture, canonical JSON; weights: its arrays in Keras's order."""

    library = "tensorflow"

    @classmethod
    def of(cls, model: Any, labels: Any = None) -> Network:
        """A trained Keras model, or the path of a `.keras` file. Raises UsageError, UntrustedModel."""
        made = cls()
        made._keep(opened(Path(model)) if isinstance(model, str | Path) else model)
        if labels is not None:
            made.classes_ = np.asarray(labels)
        return made

    def fit(self, X: Any, y: Any) -> Network:
        """Train a new network; class codes as y give probabilities. Same inputs, same weights on one thread."""
        if self.make is None:
            return super().fit(X, y)  # type: ignore[no-any-return]
        keras = _keras()
        before = random.getstate(), np.random.get_state()
        try:
            keras.utils.set_random_seed(self.seed)           # Keras draws its first weights from the global ones
            model, told = self.make()
            rows = np.asarray(X, dtype=np.float32)
            if not model.built:
                model.build((None, rows.shape[1]))
            outputs = int(model.output_shape[-1])
            is_class = np.issubdtype(np.asarray(y).dtype, np.integer)
            if getattr(model, "optimizer", None) is None:
                loss = "mse" if not is_class else "binary_crossentropy" if outputs == 1 else \
                    "sparse_categorical_crossentropy"
                model.compile(optimizer="adam", loss=loss)
            model.fit(rows, np.asarray(y), **{"epochs": _EPOCHS, "verbose": 0, **told})
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])
        self._keep(model)
        if is_class:
            self.classes_ = np.arange(max(outputs, 2))
        return self

    def outputs(self, X: NDArray[np.float64]) -> NDArray[Any]:
        """Through one compiled function: a tenth of what `model.predict` costs for a row."""
        if self._live is None:
            self._live = _compiled(self._model())
        found: NDArray[Any] = self._live(X.astype(np.float32)).numpy()
        return found

    def check(self) -> None:
        """Raises UntrustedModel where the architecture holds anything but known layers, or is out of proportion."""
        config, weights = self.held("config", str), self.held("weights", list)
        if not all(isinstance(each, np.ndarray) and each.dtype.kind in "fiub" for each in weights):
            raise UntrustedModel("the network's weights are no arrays of numbers; nothing was loaded")
        judge(config, weights)

    def formula(self) -> formulas.Step:
        """A stack of dense layers in NumPy, in float64. Raises `formulas.Unknown` for any other network."""
        told = json.loads(self.config)
        if told["class_name"] != "Sequential":
            raise formulas.Unknown(f"a {told['class_name']} network")
        arrays = iter(np.asarray(each, dtype=np.float64) for each in self.weights)
        ahead: list[formulas.Step | None] = []
        layers: list[tuple[Any, Any, formulas.Step | None]] = []
        for layer in told["config"]["layers"]:
            kind, config = layer["class_name"], layer["config"]
            if kind in ("InputLayer", "Dropout", "GaussianNoise"):
                continue
            if kind == "Normalization" and not layers and config["mean"] is None and not config["invert"]:
                ahead.append(_normal(next(arrays), next(arrays)))
                next(arrays)                                 # its count of rows
            elif kind == "Dense":
                weights = next(arrays)
                shift = next(arrays) if config["use_bias"] else np.zeros(weights.shape[1])
                layers.append((weights, shift, _activation(config["activation"])))
            elif kind == "Activation" and layers and layers[-1][2] is None:
                layers[-1] = (*layers[-1][:2], _activation(config["activation"]))
            else:
                raise formulas.Unknown(f"a network with {kind}")
        if not layers or next(arrays, None) is not None:
            raise formulas.Unknown("a network whose weights are not those of its layers")
        run = formulas.dense(layers)
        first = formulas.chain([lambda X: X.astype(np.float32).astype(np.float64), *ahead])
        assert first is not None
        if not hasattr(self, "classes_"):
            return lambda X: run(first(X))[:, 0]
        if len(layers[-1][1]) == 1:
            return lambda X: formulas.pair(run(first(X))[:, 0])
        return lambda X: run(first(X))

    def _keep(self, model: Any) -> None:
        if not hasattr(model, "to_json") or not model.built:
            raise UsageError(f"this {type(model).__name__} is not a built Keras model; train it first")
        if len(model.inputs) != 1 or len(model.outputs) != 1:
            raise UsageError("the network must have one input, the matrix of features, and one output")
        try:
            self.config = canonical(json.loads(model.to_json()))
        except (TypeError, ValueError) as problem:
            raise UsageError(f"the network has no safe form: {str(problem)[:200]}") from None
        self.weights = [np.asarray(each) for each in model.get_weights()]
        self._live = None
        self.check()
        self._same_as(model)

    def _same_as(self, model: Any) -> None:
        """Raises UsageError where the network that was kept answers otherwise than the one that was given."""
        width = model.input_shape[-1]
        if len(model.input_shape) != 2 or width is None:
            raise UsageError(f"the network takes input of shape {model.input_shape}, and a matrix of features is given")
        rows = np.random.default_rng(0).normal(size=(_TRIED_ROWS, width)).astype(np.float32)
        want, got = (np.asarray(each(rows, training=False)) for each in (model, self._model()))
        if not np.allclose(got, want, rtol=1e-4, atol=1e-5 * max(1.0, float(np.abs(want).max())), equal_nan=True):
            raise UsageError("the network answers otherwise once it is put together again: a layer keeps something "
                             "besides its settings and weights")

    def _model(self) -> Any:
        table.require("keras")
        self.check()
        keras = _keras()
        try:
            model = keras.saving.deserialize_keras_object(json.loads(self.config), safe_mode=True)
            model.set_weights(self.weights)
            for layer in model._flatten_layers():
                if hasattr(layer, "finalize_state"):
                    layer.finalize_state()     # Normalization answers by what it derives from its weights
        except (TypeError, ValueError, KeyError, IndexError, AttributeError) as broken:
            raise UntrustedModel(f"the network can't be put together ({str(broken)[:200]}); save it again under the "
                                 "Keras that is installed") from None
        return model


def opened(path: Path) -> Any:
    """The model in a `.keras` file, its list of contents and architecture judged before Keras opens it.

    Raises UntrustedModel, UsageError (no such file).
    """
    if not path.is_file():
        raise UsageError(f"there is no file {path}")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise UntrustedModel(f"{path.name} is over the limit of {MAX_FILE_BYTES:,} bytes; nothing was loaded")
    try:
        with zipfile.ZipFile(path) as held:
            infos = {info.filename: info for info in held.infolist()}
            unpacked = sum(info.file_size for info in infos.values())
            if len(infos) != len(held.infolist()) or set(infos) != _MEMBERS:
                raise UntrustedModel(f"{path.name} holds {', '.join(sorted(infos))[:200]}; a model of plain layers "
                                     f"holds {', '.join(sorted(_MEMBERS))}. Nothing was loaded")
            if unpacked > MAX_FILE_BYTES or unpacked > MAX_RATIO * max(path.stat().st_size, 1):
                raise UntrustedModel(f"{path.name} would unpack to {unpacked:,} bytes; nothing was loaded")
            if infos["config.json"].file_size > MAX_CONFIG_BYTES:
                raise UntrustedModel(f"the architecture in {path.name} is over {MAX_CONFIG_BYTES:,} bytes")
            config = held.read("config.json").decode()
    except (zipfile.BadZipFile, UnicodeDecodeError, OSError, NotImplementedError) as broken:
        raise UntrustedModel(f"{path.name} is no .keras file ({broken}); HDF5 and SavedModel folders are not loaded: "
                             "save it with model.save(\"model.keras\")") from None
    judge(config, [])
    keras = _keras()
    try:
        return keras.saving.load_model(path, safe_mode=True, compile=False)
    except (TypeError, ValueError, KeyError, OSError) as broken:
        raise UntrustedModel(f"{path.name} can't be put together ({str(broken)[:200]})") from None


def judge(config: str, weights: list[NDArray[Any]]) -> None:
    """Only known layers, initialisers and so on, no function, no class of anybody's; sizes that the weights bear out.

    weights: empty where they are not at hand yet; then sizes are only bounded. Raises UntrustedModel.
    """
    if len(config) > MAX_CONFIG_BYTES:
        raise UntrustedModel(f"the network's architecture is over {MAX_CONFIG_BYTES:,} bytes; nothing was loaded")
    try:
        told = json.loads(config)
    except (ValueError, RecursionError) as broken:
        raise UntrustedModel(f"the network's architecture is no JSON ({str(broken)[:100]})") from None
    if not isinstance(told, dict) or told.get("class_name") not in ("Sequential", "Functional"):
        raise UntrustedModel("the file holds no Sequential or Functional network; nothing was loaded")
    told.pop("compile_config", None)           # never read: a network is not trained further from its file
    sizes = [_FREE_CELLS, *(4 * int(np.prod(array.shape, dtype=np.float64)) for array in weights)]
    units = [1, 1]
    for part in _parts(told):
        if "class_name" in part and not _known(part):
            name = f"{part.get('module')}.{part['class_name']}"[:100]
            raise UntrustedModel(f"the network holds {name}, which is not on trimtab's list of layers (code of "
                                 "one's own, a Lambda, or a layer that reads files); nothing was loaded", types=[name])
        for key in ("units", "filters", "input_dim", "output_dim", "num_tokens"):
            if isinstance(part.get(key), int):
                units.append(part[key])
    big = sorted(units)[-2:]
    if big[0] * big[1] > max(sizes):
        raise UntrustedModel(f"the network has layers of {big[0]:,} and {big[1]:,} units, and no weights of that size; "
                             "nothing was loaded")


def canonical(told: dict[str, Any]) -> str:
    """The architecture without what differs from one run of Python to the next: compiling, and counted names."""
    told = {key: value for key, value in told.items() if key != "compile_config"}
    names: dict[str, str] = {}
    for part in _parts(told):
        config = part.get("config")
        if part.get("class_name") in _LAYERS | _MODELS and isinstance(config, dict) and "name" in config:
            names.setdefault(config["name"], f"layer_{len(names)}")
    return json.dumps(_renamed(told, names), sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _renamed(value: Any, names: dict[str, str], key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _renamed(inner, names, name) for name, inner in value.items()}
    if isinstance(value, list):
        if key in ("keras_history", "input_layers", "output_layers") and value and isinstance(value[0], str):
            return [names.get(value[0], value[0]), *value[1:]]
        return [_renamed(inner, names, key) for inner in value]
    return names.get(value, value) if key == "name" and isinstance(value, str) else value


def _parts(value: Any) -> Iterator[dict[str, Any]]:
    """Every object in the JSON, outermost first."""
    stack = [value]
    while stack:
        item = stack.pop(0)
        if isinstance(item, dict):
            yield item
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)


def _known(part: dict[str, Any]) -> bool:
    name, module = part["class_name"], part.get("module")
    if not isinstance(name, str) or part.get("registered_name") not in (None, name):
        return False
    if name == "__keras_tensor__":
        return module is None
    if name in _MODELS:
        return module in ("keras", "keras.models", f"keras.src.models.{name.lower()}")
    if module in _OTHERS or (module == "keras" and name == "DTypePolicy"):
        return name.isalnum()
    return module == "keras.layers" and name in _LAYERS


def _activation(name: Any) -> formulas.Step | None:
    if not isinstance(name, str) or name not in _ACTIVATIONS:
        raise formulas.Unknown(f"a network with activation {str(name)[:40]}")
    return _ACTIVATIONS[name]


def _normal(mean: Any, variance: Any) -> formulas.Step:
    spread = np.maximum(np.sqrt(variance), 1e-7)             # Keras's own least spread
    return lambda X: (X - mean) / spread


def _compiled(model: Any) -> Callable[[Any], Any]:
    import tensorflow as tf

    width = model.input_shape[-1]
    called = tf.function(lambda X: model(X, training=False)).get_concrete_function(
        tf.TensorSpec([None, width], tf.float32))
    return lambda X: called(tf.constant(X))


def _keras() -> Any:
    """Keras on TensorFlow, with one thread where nobody has started it yet: the same sums each time."""
    import os

    table.require("keras")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    try:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:                       # it is running: the user's own choice holds
        pass
    import keras

    return keras
