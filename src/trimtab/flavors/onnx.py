"""What does an ONNX graph answer, and may it be run?

The bytes are judged before ONNX Runtime sees them, by walking the file's own encoding (Protocol Buffers): no data
outside of the file, no operators but the standard ones, no nesting without end, sizes within bounds. Most graphs
compute in float32: an id above 2²⁴ or a Unix time loses digits there. So a graph that was converted from another model
is used only where its answers on replayed rows are that model's, and one that was brought is judged by its own answers.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trimtab.errors import UntrustedModel, UsageError
from trimtab.flavors import table
from trimtab.flavors.outside import Outside

MAX_BYTES = 1 << 30
_MAX_DEPTH = 24
_MAX_FIELDS = 5_000_000
_DOMAINS = {"", "ai.onnx", "ai.onnx.ml"}
_TYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64}
_BROKEN = "the file is no ONNX graph (its encoding breaks off or makes no sense); nothing was loaded"

# Where messages stand inside messages, by their field numbers in onnx.proto.
_MODEL, _GRAPH, _NODE, _ATTRIBUTE, _TENSOR, _SPARSE, _OPSET, _FUNCTION = range(8)
_INSIDE: dict[int, dict[int, int]] = {
    _MODEL: {7: _GRAPH, 8: _OPSET, 25: _FUNCTION}, _GRAPH: {1: _NODE, 5: _TENSOR, 15: _SPARSE},
    _NODE: {5: _ATTRIBUTE}, _SPARSE: {1: _TENSOR, 2: _TENSOR}, _FUNCTION: {7: _NODE, 9: _OPSET, 11: _ATTRIBUTE},
    _ATTRIBUTE: {5: _TENSOR, 6: _GRAPH, 10: _TENSOR, 11: _GRAPH, 22: _SPARSE, 23: _SPARSE},
    _TENSOR: {}, _OPSET: {}}


class Graph(Outside):
    """An ONNX graph of one input, a matrix of numbers. model: the file's bytes; output: the name of what is asked."""

    library = "onnxruntime"
    knows_missing = True

    @classmethod
    def of(cls, model: Any, labels: Any = None) -> Graph:
        """The path of a `.onnx` file, its bytes, or a ModelProto. Raises UsageError, UntrustedModel."""
        made = cls()
        made.model, made.output = _bytes(model), ""
        made.check()
        if labels is not None:
            made.classes_ = np.asarray(labels)
        made.output = _output(made._session(), labels is not None)
        return made

    def outputs(self, X: NDArray[np.float64]) -> NDArray[Any]:
        """What ONNX Runtime gives, in the precision that the graph asks for."""
        if self._live is None:
            self._live = self._session()
        given = self._live.get_inputs()[0]
        with np.errstate(over="ignore"):
            rows = X.astype(_TYPES[given.type])
        found: NDArray[Any] = self._live.run([self.output], {given.name: rows})[0]
        return found

    def check(self) -> None:
        """Raises UntrustedModel."""
        self.held("output", str)
        judge(self.held("model", bytes))

    def _session(self) -> Any:
        table.require("onnx")
        self.check()
        import onnxruntime

        told = onnxruntime.SessionOptions()
        told.intra_op_num_threads = told.inter_op_num_threads = 1      # a row's sums in one order
        told.log_severity_level = 4
        try:
            session = onnxruntime.InferenceSession(bytes(self.model), told, providers=["CPUExecutionProvider"])
        except Exception as refused:           # noqa: BLE001  ONNX Runtime's errors have no other common class
            raise UntrustedModel(f"ONNX Runtime refuses the graph: {str(refused).splitlines()[0][:200]}") from None
        given = session.get_inputs()
        if len(given) != 1 or given[0].type not in _TYPES or len(given[0].shape) != 2:
            raise UntrustedModel("the graph must take one input, a matrix of float or double with a row for each "
                                 f"prediction; it takes {', '.join(f'{one.name} {one.type}' for one in given)[:200]}")
        return session


def judge(data: bytes) -> None:
    """Raises UntrustedModel where the bytes are no graph, name other files, or hold operators of somebody's own."""
    if len(data) > MAX_BYTES:
        raise UntrustedModel(f"the graph has {len(data):,} bytes; the limit is {MAX_BYTES:,}. Nothing was loaded")
    seen = 0
    graphs = 0
    stack: list[tuple[int, int, int, int]] = [(_MODEL, 0, len(data), 0)]
    while stack:
        kind, start, end, depth = stack.pop()
        if depth > _MAX_DEPTH:
            raise UntrustedModel(f"the graph is nested more than {_MAX_DEPTH} deep; nothing was loaded")
        for number, value, at, upto in _fields(data, start, end):
            seen += 1
            if seen > _MAX_FIELDS:
                raise UntrustedModel("the graph has too many parts; nothing was loaded")
            if kind == _TENSOR and (number == 13 or (number == 14 and value)):
                raise UntrustedModel("the graph keeps data in other files (external data), which is refused: save it "
                                     "as one file (onnx.save(model, path, save_as_external_data=False))")
            if (kind, number) in ((_NODE, 7), (_OPSET, 1)) and value is None:
                domain = data[at:upto].decode("utf-8", "replace")
                if domain not in _DOMAINS:
                    raise UntrustedModel(f"the graph uses operators of {domain[:60]!r}, which are not standard ones; "
                                         "nothing was loaded")
            inside = _INSIDE[kind].get(number)
            if inside is not None and value is None:
                graphs += kind == _MODEL and inside == _GRAPH
                stack.append((inside, at, upto, depth + 1))
    if graphs != 1:
        raise UntrustedModel(_BROKEN)


def converted(estimator: Any, width: int) -> Graph:
    """A graph that skl2onnx makes of a fitted scikit-learn estimator. Whether it agrees is for `tiers` to find out.

    Raises MissingExtra, UsageError (it has no such form).
    """
    table.require("onnx")
    try:
        from skl2onnx import to_onnx
    except ImportError:
        raise UsageError("converting a model needs skl2onnx: pip install skl2onnx") from None
    options = {"zipmap": False} if hasattr(estimator, "classes_") else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            made = to_onnx(estimator, np.zeros((1, width), dtype=np.float32), options=options)
        except Exception as refused:           # noqa: BLE001  a converter may raise anything
            said = str(refused).strip().splitlines()
            raise UsageError(f"it does not convert ({said[0][:160] if said else type(refused).__name__})") from None
    return Graph.of(made.SerializeToString(), getattr(estimator, "classes_", None))


def _bytes(model: Any) -> bytes:
    if isinstance(model, str | Path):
        path = Path(model)
        if not path.is_file():
            raise UsageError(f"there is no file {path}")
        if path.stat().st_size > MAX_BYTES:
            raise UntrustedModel(f"{path.name} is over the limit of {MAX_BYTES:,} bytes; nothing was loaded")
        return path.read_bytes()
    return model if isinstance(model, bytes) else bytes(model.SerializeToString())


def _output(session: Any, classes: bool) -> str:
    """The output to ask for: the first of floats; for classes the first that has a column for each."""
    floats = [one for one in session.get_outputs() if one.type in _TYPES]
    if classes:
        floats = [one for one in floats if len(one.shape) == 2]
    if not floats:
        listed = ", ".join(f"{one.name} {one.type}" for one in session.get_outputs())
        raise UntrustedModel(f"the graph gives {listed[:200]}; wanted is a matrix of probabilities or a column of "
                             "numbers (with skl2onnx: options={\"zipmap\": False})")
    return str(floats[0].name)


def _fields(data: bytes, start: int, end: int) -> Iterator[tuple[int, int | None, int, int]]:
    """(field number, its number or None, where its bytes begin, where they end) of one encoded message."""
    at = start
    while at < end:
        key, at = _varint(data, at, end)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(data, at, end)
            yield number, value, at, at
            continue
        if wire == 2:
            length, at = _varint(data, at, end)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise UntrustedModel(_BROKEN)
        if number == 0 or at + length > end:
            raise UntrustedModel(_BROKEN)
        yield number, None, at, at + length
        at += length


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return value, at
    raise UntrustedModel(_BROKEN)
