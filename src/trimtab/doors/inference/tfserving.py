"""How does a client of TensorFlow Serving ask?  (its REST API, v1: predict, classify, regress, status, metadata)

Rows come as `instances` (one object or list a row) and are answered with `predictions`, or as `inputs` (one list a
column) and are answered with `outputs`; never both. A label is an alias. Answers say beside it, under `parameters`,
which version made them and what each prediction is called; clients of the protocol pass over that.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from trimtab.doors import wire
from trimtab.doors.desk import Desk, Json, desk, known_versions
from trimtab.doors.inference import loose, tensors
from trimtab.doors.inference.asking import SIDE, Rows, as_number, ask, told
from trimtab.errors import Malformed, TrimtabError
from trimtab.registry.bundle import Bundle
from trimtab.serving.answering import Answer
from trimtab.serving.rollout import PRODUCTION
from trimtab.serving.source import Place

_DTYPES = {"FP64": "DT_DOUBLE", "INT64": "DT_INT64", "BOOL": "DT_BOOL", "BYTES": "DT_STRING"}
_SIGNATURES = {"", "serving_default"}


class PredictRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of :predict. `instances`: a row each; `inputs`: a list for each column, or rows in the features' order."""

    instances: list[Any] | msgspec.UnsetType = msgspec.UNSET
    inputs: dict[str, Any] | list[Any] | msgspec.UnsetType = msgspec.UNSET
    signature_name: str = ""


class ExamplesRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of :classify and :regress. `context`: values that all examples share."""

    examples: list[dict[str, Any]]
    context: dict[str, Any] = {}
    signature_name: str = ""


async def predict(request: Request) -> Response:
    """POST /v1/models/M[/versions/V | /labels/L]:predict: `instances` → `predictions`, or `inputs` → `outputs`."""
    return await _asked(request, _predict)


async def classify(request: Request) -> Response:
    """POST /v1/models/M[…]:classify: `examples` → for each, every class with its probability."""
    return await _asked(request, _classify)


async def regress(request: Request) -> Response:
    """POST /v1/models/M[…]:regress: `examples` → a number each."""
    return await _asked(request, _regress)


async def status(request: Request) -> Response:
    """GET /v1/models/M[/versions/V | /labels/L]: which versions answer, newest first."""
    at, model = desk(request), request.path_params["model"]

    def read() -> list[Json]:
        number = _number(at, request)
        if number is not None:
            return [_state(at.engine.bundle(model, number).number, "AVAILABLE")]
        bundle = at.engine.bundle(model)
        try:
            numbers = set(known_versions(at, model))
        except TrimtabError:                  # the store is away: what is live is known
            numbers = {bundle.number}
        failed = {failure.version: failure.reason for (place, _), failure in at.engine.state.failures.items()
                  if place == Place(model, PRODUCTION)}
        return [_state(one, "END", failed[one]) if one in failed else _state(one, "AVAILABLE")
                for one in sorted(numbers | set(failed), reverse=True)]

    return wire.reply({"model_version_status": await at.run(read)})


async def metadata(request: Request) -> Response:
    """GET /v1/models/M[/versions/V | /labels/L]/metadata: the columns that come in and the tensors that go out."""
    at, model = desk(request), request.path_params["model"]
    bundle = await at.run(lambda: at.engine.bundle(model, _number(at, request)))
    told = tensors.metadata(bundle, model, [bundle.number])
    signature = {"inputs": {name: _tensor(datatype, shape) for name, datatype, shape in tensors.columns_of(bundle)},
                 "outputs": {one["name"]: _tensor(one["datatype"], one["shape"]) for one in told["outputs"]},
                 "method_name": "tensorflow/serving/predict"}
    return wire.reply({"model_spec": {"name": model, "signature_name": "", "version": str(bundle.number)},
                       "metadata": {"signature_def": {"signature_def": {"serving_default": signature}}}})


async def _asked(request: Request, work: Callable[[Desk, Request, bytes], tuple[Json, Answer]]) -> Response:
    at, body = desk(request), await request.body()
    made, answer = await at.predict(functools.partial(work, at, request, body))
    return wire.reply({**made, "parameters": loose.parameters(answer)}, headers=told(answer))


def _predict(at: Desk, request: Request, body: bytes) -> tuple[Json, Answer]:
    wanted = loose.decode(body, PredictRequest)
    form = loose.one_of({"instances": wanted.instances, "inputs": wanted.inputs})
    _check_signature(wanted.signature_name)
    given: Any = wanted.instances if form == "instances" else wanted.inputs

    def read(bundle: Bundle) -> Rows:
        if isinstance(given, dict):
            return loose.table(given, "inputs")
        return loose.rows(given, bundle.contract.features, form)

    answer = _ask(at, request, read)
    values, chances = _values(answer), answer.prediction.probabilities
    if chances is None:
        return {"predictions" if form == "instances" else "outputs": values}, answer
    if form == "inputs":
        return {"outputs": {"predict": values, "probabilities": chances.tolist()}}, answer
    return {"predictions": [{"predict": value, "probabilities": row}
                            for value, row in zip(values, chances.tolist(), strict=True)]}, answer


def _classify(at: Desk, request: Request, body: bytes) -> tuple[Json, Answer]:
    answer = _examples(at, request, body, classes=True)
    chances = answer.prediction.probabilities
    if chances is None:                       # a canary of another kind than its champion
        raise Malformed(f"version {answer.version} has no probabilities of classes to answer with")
    labels = [label if isinstance(label, str) else msgspec.json.encode(label).decode() for label in answer.classes]
    return {"results": [[[label, chance] for label, chance in zip(labels, row, strict=True)]
                        for row in chances.tolist()]}, answer


def _regress(at: Desk, request: Request, body: bytes) -> tuple[Json, Answer]:
    answer = _examples(at, request, body, classes=False)
    return {"results": _values(answer)}, answer


def _examples(at: Desk, request: Request, body: bytes, *, classes: bool) -> Answer:
    wanted = loose.decode(body, ExamplesRequest)
    _check_signature(wanted.signature_name)

    def read(bundle: Bundle) -> Rows:
        if classes and not tensors.has_probabilities(bundle):
            raise Malformed(f"{bundle.name} has no probabilities of classes to answer with; ask it with :predict")
        if not classes and bundle.classes:
            raise Malformed(f"{bundle.name} answers classes, not numbers; ask it with :classify or :predict")
        return loose.rows([{**wanted.context, **one} for one in wanted.examples], bundle.contract.features, "examples")

    return _ask(at, request, read)


def _ask(at: Desk, request: Request, read: Callable[[Bundle], Rows]) -> Answer:
    return ask(at.engine, request.path_params["model"], _number(at, request), read, request.headers.get(SIDE))


def _values(answer: Answer) -> list[Any]:
    return [wire.finite(value) if isinstance(value, float) else value for value in answer.prediction.values]


def _number(at: Desk, request: Request) -> int | None:
    path = request.path_params
    if "label" in path:
        return at.workspace.aliases.resolve(path["model"], path["label"]).number
    return as_number(path["version"]) if "version" in path else None


def _check_signature(name: str) -> None:
    if name not in _SIGNATURES:
        raise Malformed(f"signature_name: there is no signature {name[:80]!r}, only serving_default",
                        field="signature_name")


def _state(number: int, state: str, reason: str = "") -> Json:
    return {"version": str(number), "state": state,
            "status": {"error_code": "UNKNOWN" if reason else "OK", "error_message": reason}}


def _tensor(datatype: str, shape: Sequence[int]) -> Json:
    return {"dtype": _DTYPES[datatype], "name": "",
            "tensor_shape": {"dim": [{"size": str(size), "name": ""} for size in shape], "unknown_rank": False}}


_MODELS = [f"/v1/models/{{model}}{which}" for which in ("", "/versions/{version}", "/labels/{label}")]
ROUTES = [*(Route(f"{base}:{verb.__name__}", verb, methods=["POST"]) for base in _MODELS
            for verb in (predict, classify, regress)),
          *(Route(base + "/metadata", metadata) for base in _MODELS), *(Route(base, status) for base in _MODELS)]
