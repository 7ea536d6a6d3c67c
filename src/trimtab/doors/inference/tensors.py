"""What rows does an inference request hold, and how is an answer written in the Open Inference Protocol?

A request brings either one tensor per column, shape [n] or [n, 1], or one two-dimensional tensor whose columns are the
features in order (where all of them are numbers). Missing values are null.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from trimtab.data.contract import Contract
from trimtab.doors import wire
from trimtab.errors import Malformed, TooLarge
from trimtab.registry.bundle import Bundle
from trimtab.serving.answering import Answer

MAX_ROWS = 10_000
Datatype = Literal["BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32",
                   "FP64", "BYTES"]
_DATATYPES: dict[str, Datatype] = {"number": "FP64", "integer": "FP64", "boolean": "BOOL", "category": "BYTES",
                                   "datetime": "BYTES", "text": "BYTES"}
_PYTHON: dict[str, tuple[type, ...]] = {"BOOL": (bool,), "BYTES": (str,), "FP16": (float, int), "FP32": (float, int),
                                        "FP64": (float, int)}
_WORDS = {"BOOL": "true or false", "BYTES": "text", "FP16": "numbers", "FP32": "numbers", "FP64": "numbers"}
_NUMERIC = frozenset({"number", "integer", "boolean"})


class Tensor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One input. `data`: flat, or nested as `shape` says; left out where it follows as bytes (see `binary`)."""

    name: str
    shape: list[int]
    datatype: Datatype
    data: list[Any] | msgspec.UnsetType = msgspec.UNSET
    parameters: dict[str, Any] = {}


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One output that the client asks for."""

    name: str
    parameters: dict[str, Any] = {}


class InferRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of POST …/infer."""

    inputs: list[Tensor]
    id: str | None = None
    parameters: dict[str, Any] = {}
    outputs: list[Wanted] | None = None


def least_keys(request: InferRequest) -> int:
    """How many keys the request must have had at least: see `wire.decode`."""
    return 1 + 4 * len(request.inputs) + (request.id is not None) - sum(
        [tensor.data is msgspec.UNSET for tensor in request.inputs])


def rows_for(request: InferRequest, bundle: Bundle) -> list[dict[str, object]]:
    """The rows of a request that `bundle` can answer wholly. Raises Malformed, TooLarge."""
    if request.outputs:
        check_outputs(request, output_names(bundle))
    return rows_of(request, bundle.contract)


def rows_of(request: InferRequest, contract: Contract) -> list[dict[str, object]]:
    """The request's rows by column name. Raises Malformed naming the tensor, TooLarge (rows)."""
    if not request.inputs:
        raise Malformed("inputs: send one tensor per column, or one of shape [n, features]", field="inputs")
    names, first = contract.feature_names, request.inputs[0]
    if len(request.inputs) == 1 and len(first.shape) == 2 and (first.name not in names or first.shape[1] != 1):
        return _matrix(first, contract)
    columns: dict[str, list[object]] = {}
    for tensor in request.inputs:
        if tensor.name in columns:
            raise Malformed(f"inputs: the tensor {tensor.name[:80]!r} appears twice", field="inputs")
        if not (len(tensor.shape) == 1 or (len(tensor.shape) == 2 and tensor.shape[1] == 1)):
            raise Malformed(f"{tensor.name[:80]}: shape {tensor.shape[:8]} is not [n] or [n, 1], as a column has it; "
                            f"to send a matrix, send it alone with shape [n, {len(names)}]",
                            field=tensor.name[:80])
        columns[tensor.name] = _values(tensor)
    counts = {len(values) for values in columns.values()}
    if len(counts) > 1:
        raise Malformed(f"inputs: the tensors have different numbers of rows ({sorted(counts)[:5]})", field="inputs")
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def check_outputs(request: InferRequest, answers: Sequence[str]) -> None:
    """Raises Malformed where the request asks for an output that the model does not have."""
    for wanted in request.outputs or ():
        if wanted.name not in answers:
            raise Malformed(f"outputs: the model has no output {wanted.name[:80]!r}; it has {', '.join(answers)}",
                            field="outputs")


def answer_json(answer: Answer, request: InferRequest) -> dict[str, Any]:
    """The response: `predict`, for classifiers `probabilities`; the ids of the predictions and the version beside."""
    asked = {wanted.name for wanted in request.outputs} if request.outputs else None
    values, probabilities = answer.prediction.values, answer.prediction.probabilities
    outputs: list[dict[str, object]] = [{
        "name": "predict", "datatype": label_datatype(answer.classes), "shape": [len(values)],
        "data": [wire.finite(v) if isinstance(v, float) else v for v in values]}]
    if probabilities is not None:
        shares = [wire.finite(share) for share in probabilities.ravel().tolist()]
        outputs.append({"name": "probabilities", "datatype": "FP64", "shape": list(probabilities.shape),
                        "data": shares, "parameters": {"classes": list(answer.classes)}})
    made: dict[str, Any] = {"model_name": answer.model, "model_version": str(answer.version)}
    if request.id is not None:
        made["id"] = request.id
    told: dict[str, object] = {"prediction_ids": answer.ids, "version": answer.version,
                          "model_version": str(answer.version)}
    made["parameters"] = told
    if answer.instead:
        told["fallbacks"] = [{"row": place, **one.to_json()} for place, one in sorted(answer.instead.items())]
    made["outputs"] = [output for output in outputs if asked is None or output["name"] in asked]
    return made


def columns_of(bundle: Bundle) -> list[tuple[str, Datatype, list[int]]]:
    """Name, datatype and shape of the tensor that each feature comes in; -1 is any number of rows."""
    return [(column.name, _DATATYPES[column.type], [-1]) for column in bundle.contract.features]


def metadata(bundle: Bundle, model: str, versions: Sequence[int]) -> dict[str, Any]:
    """Inputs, outputs and versions of a model, with -1 for the number of rows."""
    features = bundle.contract.features
    inputs: list[dict[str, object]] = [
        {"name": name, "datatype": datatype, "shape": shape} for name, datatype, shape in columns_of(bundle)]
    if all(column.type in _NUMERIC for column in features):
        inputs = [{"name": "input", "datatype": "FP64", "shape": [-1, len(features)],
                   "parameters": {"columns": [column.name for column in features], "instead_of": "the columns below"}},
                  *inputs]
    outputs: list[dict[str, object]] = [
        {"name": "predict", "datatype": label_datatype(bundle.classes), "shape": [-1]}]
    if has_probabilities(bundle):
        outputs.append({"name": "probabilities", "datatype": "FP64", "shape": [-1, len(bundle.classes)],
                        "parameters": {"classes": list(bundle.classes)}})
    return {
        "name": model, "versions": [str(number) for number in versions], "platform": "trimtab_sklearn",
        "inputs": inputs, "outputs": outputs,
        "parameters": {"version": bundle.number, "task": bundle.task, "digest": bundle.digest,
                       "threshold": bundle.threshold, "warning": bundle.warning}}


def output_names(bundle: Bundle) -> tuple[str, ...]:
    """The outputs that the model has."""
    return ("predict", "probabilities") if has_probabilities(bundle) else ("predict",)


def has_probabilities(bundle: Bundle) -> bool:
    """Does the model give a probability per class?"""
    return bool(bundle.classes) and hasattr(bundle.estimator, "predict_proba")


def label_datatype(classes: Sequence[object]) -> Datatype:
    """FP64 for regression, else by the type of the labels.

    >>> label_datatype(()), label_datatype((0, 1)), label_datatype((False, True)), label_datatype(("no", "yes"))
    ('FP64', 'INT64', 'BOOL', 'BYTES')
    """
    if not classes:
        return "FP64"
    if all(isinstance(label, bool) for label in classes):
        return "BOOL"
    return "INT64" if all(isinstance(label, int) for label in classes) else "BYTES"


def _matrix(tensor: Tensor, contract: Contract) -> list[dict[str, object]]:
    features, kinds = contract.features, contract.feature_types
    if not kinds <= _NUMERIC:
        others = [column.name for column in features if column.type not in _NUMERIC]
        raise Malformed(f"{tensor.name[:80]}: {', '.join(others[:5])} is not a number, so the rows can't be one "
                        "matrix; send one tensor per column", field=tensor.name[:80])
    if tensor.shape[1] != len(features):
        raise Malformed(f"{tensor.name[:80]}: shape {tensor.shape} has {tensor.shape[1]} columns, the model takes "
                        f"{len(features)}: {', '.join(column.name for column in features[:8])}", field=tensor.name[:80])
    if tensor.datatype in ("BYTES", "BOOL"):
        raise Malformed(f"{tensor.name[:80]}: a matrix is FP64, FP32 or an integer type, not {tensor.datatype}",
                        field=tensor.name[:80])
    flat, width, names = _values(tensor), len(features), contract.feature_names
    if "boolean" not in kinds:
        return [dict(zip(names, flat[start:start + width], strict=True)) for start in range(0, len(flat), width)]
    truth = [column.type == "boolean" for column in features]
    return [{name: bool(value) if is_bool and value in (0, 1) else value for name, value, is_bool in
             zip(names, flat[start:start + width], truth, strict=True)} for start in range(0, len(flat), width)]


def _values(tensor: Tensor) -> list[object]:
    """The tensor's values, flat. Raises Malformed where shape, datatype and data do not agree."""
    name, shape = tensor.name[:80], tensor.shape
    if any(size < 0 for size in shape) or not shape:
        raise Malformed(f"{name}: shape {shape[:8]} must be whole numbers from 0 on", field=name)
    if shape[0] > MAX_ROWS:
        raise TooLarge(f"{name}: {shape[0]:,} rows are over the limit of {MAX_ROWS:,} in one request; split them")
    if tensor.data is msgspec.UNSET:
        raise Malformed(f"{name}: missing required field data", field=name)
    flat: list[object] = tensor.data
    if flat and isinstance(flat[0], list):
        if len(shape) != 2 or len(flat) != shape[0] or not all(
                isinstance(row, list) and len(row) == shape[1] for row in flat):
            raise Malformed(f"{name}: the nested data do not have shape {shape[:8]}", field=name)
        flat = [value for row in tensor.data for value in row]
    if len(flat) != math.prod(shape):
        raise Malformed(f"{name}: shape {shape[:8]} means {math.prod(shape):,} values, and data has {len(flat):,}",
                        field=name)
    kinds = _PYTHON.get(tensor.datatype, (int,))
    if {*map(type, flat)} <= {*kinds, type(None)}:
        return flat
    for place, value in enumerate(flat):
        if value is not None and (not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)):
            words = _WORDS.get(tensor.datatype, "whole numbers")
            raise Malformed(f"{name}: datatype {tensor.datatype} holds {words} or null, and data[{place}] is "
                            f"{repr(value)[:40]}", field=name)
    return flat
