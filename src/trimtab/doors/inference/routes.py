"""Where are predictions asked?  The Open Inference Protocol v2 under /v2, and plain named rows under /api/models.

Both are the same sentence: rows in, checked against the contract of the version that answers; one id per row out.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from trimtab import __version__
from trimtab.doors import wire
from trimtab.doors.desk import Desk, Json, desk, known_versions
from trimtab.doors.inference import tensors
from trimtab.errors import Malformed, NotFound, TooLarge, TrimtabError
from trimtab.registry.bundle import Bundle
from trimtab.serving.engine import Answer
from trimtab.serving.rollout import PRODUCTION

Answering = Callable[[Desk, str, int | None, bytes], bytes]


async def server(_: Request) -> Response:
    """GET /v2: name, version and extensions of the server."""
    return wire.reply({"name": "trimtab", "version": __version__, "extensions": []})


async def live(_: Request) -> Response:
    """GET /v2/health/live: the process answers."""
    return wire.reply({"live": True})


async def ready(request: Request) -> Response:
    """GET /v2/health/ready: 200 when every endpoint that should answer does, else 503."""
    good = desk(request).engine.state.ready
    return wire.reply({"ready": good}, 200 if good else 503)


async def health(request: Request) -> Response:
    """GET /v2/health: what is live, what could not be loaded and why, whether the store is reached."""
    return wire.reply({"schema": "trimtab.health/1", **engine_json(desk(request).engine.state)})


async def metadata(request: Request) -> Response:
    """GET /v2/models/M[/versions/V]: inputs, outputs and versions."""
    at = desk(request)
    bundle = await at.run(functools.partial(_bundle, request))
    try:
        versions = await at.run(functools.partial(known_versions, at, request.path_params["model"]))
    except TrimtabError:                      # the store is away: what is live is known
        versions = [bundle.number]
    return wire.reply(tensors.metadata(bundle, request.path_params["model"], versions))


async def model_ready(request: Request) -> Response:
    """GET /v2/models/M[/versions/V]/ready."""
    bundle = await desk(request).run(functools.partial(_bundle, request))
    return wire.reply({"name": request.path_params["model"], "ready": True, "version": str(bundle.number)})


async def infer(request: Request) -> Response:
    """POST /v2/models/M[/versions/V]/infer: tensors in, tensors out."""
    return await _answered(request, infer_rows)


async def predict(request: Request) -> Response:
    """POST /api/models/M/predict: {"rows": [{…}]}, a bare list of rows, or one row; named answers out."""
    return await _answered(request, predict_rows)


async def _answered(request: Request, answer: Answering) -> Response:
    at, body, model = desk(request), await request.body(), request.path_params["model"]
    given = request.path_params.get("version")
    try:
        number = None if given is None else as_number(given)
        sent = await at.predict(functools.partial(answer, at, model, number, body))
    except TrimtabError as problem:
        broken = problem.details.get("violations", ())
        at.metrics.refused(model, problem.code, broken_rows=len({one["row"] for one in broken}))  # type: ignore[attr-defined]
        raise
    return Response(sent, media_type="application/json")


def engine_json(state: Any) -> Json:
    """What the engine does, for health and status."""
    return {
        "ready": state.ready,
        "store": state.store or "reached",
        "revision": state.revision,
        "endpoints": [{"model": place.model, "endpoint": place.endpoint, "version": bundle.number,
                       "warning": bundle.warning} for place, bundle in sorted(state.live.items())],
        "failed": [{"model": place.model, "endpoint": place.endpoint, "version": failure.version,
                    "reason": failure.reason, "at": failure.at, "serving": _serving(state, place)}
                   for place, failure in sorted(state.failures.items())],
    }


def _serving(state: Any, place: Any) -> int | None:
    bundle = state.live.get(place)
    return None if bundle is None else int(bundle.number)


def infer_rows(at: Desk, model: str, number: int | None, body: bytes) -> bytes:
    """The answer to a request of the Open Inference Protocol, recorded and counted."""
    begun = time.perf_counter()
    wanted = wire.decode(body, tensors.InferRequest, keys=tensors.least_keys)
    bundle = at.engine.bundle(model, number)
    if wanted.outputs is not None:
        tensors.check_outputs(wanted, tensors.output_names(bundle))
    rows = tensors.rows_of(wanted, bundle.contract.features)
    answer = at.engine.answer(bundle, model, rows)
    return _counted(at, answer, wire.encode(tensors.answer_json(answer, wanted)), begun)


def predict_rows(at: Desk, model: str, number: int | None, body: bytes) -> bytes:
    """The answer to named rows, recorded and counted."""
    begun = time.perf_counter()
    given = wire.decode(body, object, keys=_least_keys)
    bundle = at.engine.bundle(model, number)
    answer = at.engine.answer(bundle, model, _named_rows(given))
    return _counted(at, answer, wire.encode({
        "schema": "trimtab.predictions/1", "model": answer.model, "version": answer.version,
        "predictions": _predictions(answer)}), begun)


def _counted(at: Desk, answer: Answer, sent: bytes, begun: float) -> bytes:
    at.metrics.of(answer.model, PRODUCTION, answer.version).answered(
        len(answer.ids), time.perf_counter() - begun, answer.latency_us)
    return sent


def _least_keys(given: object) -> int:
    if isinstance(given, dict):
        rows = given.get("rows")
        return len(given) + (_least_keys(rows) if isinstance(rows, list) else 0)
    return sum([len(row) for row in given if isinstance(row, dict)]) if isinstance(given, list) else 0


def _predictions(answer: Answer) -> list[Json]:
    made: list[Json] = [{"id": name, "value": wire.finite(value) if isinstance(value, float) else value}
                        for name, value in zip(answer.ids, answer.prediction.values, strict=True)]
    if answer.prediction.probabilities is not None:
        labels = [label if isinstance(label, str) else msgspec.json.encode(label).decode() for label in answer.classes]
        for row, chances in zip(made, answer.prediction.probabilities.tolist(), strict=True):
            row["probabilities"] = dict(zip(labels, chances, strict=True))
    return made


def _named_rows(given: object) -> list[dict[str, object]]:
    if isinstance(given, dict) and set(given) == {"rows"} and isinstance(given["rows"], list):
        given = given["rows"]
    if isinstance(given, dict):
        return [given]
    if not isinstance(given, list):
        raise Malformed('send {"rows": [{"column": value, …}]}, a list of such rows, or one row', field="rows")
    if len(given) > tensors.MAX_ROWS:
        raise TooLarge(f"{len(given):,} rows are over the limit of {tensors.MAX_ROWS:,} in one request; split them")
    for place, row in enumerate(given, start=1):
        if not isinstance(row, dict):
            raise Malformed(f"rows[{place - 1}]: a row is an object of column names and values, not "
                            f"{type(row).__name__}", field=f"rows[{place - 1}]")
    return given


def _bundle(request: Request) -> Bundle:
    number = request.path_params.get("version")
    return desk(request).engine.bundle(request.path_params["model"], None if number is None else as_number(number))


def as_number(text: str) -> int:
    """A version's number from a URL: `7` or `v7`. Raises NotFound, since nothing can have another name."""
    digits = text[1:] if text[:1] in ("v", "V") else text
    if not (digits.isascii() and digits.isdigit() and len(digits) < 10):
        raise NotFound(f"{text[:40]!r} is not a version's number; write it as 7")
    return int(digits)


_MODEL = "/v2/models/{model}"
_VERSION = _MODEL + "/versions/{version}"
ROUTES = [
    Route("/v2", server), Route("/v2/health", health), Route("/v2/health/live", live),
    Route("/v2/health/ready", ready),
    *(Route(base, metadata) for base in (_MODEL, _VERSION)),
    *(Route(base + "/ready", model_ready) for base in (_MODEL, _VERSION)),
    *(Route(base + "/infer", infer, methods=["POST"]) for base in (_MODEL, _VERSION)),
    Route("/api/models/{model}/predict", predict, methods=["POST"]),
]
