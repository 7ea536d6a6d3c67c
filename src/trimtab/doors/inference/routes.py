"""Where are predictions asked?  The Open Inference Protocol v2 under /v2, and plain named rows under /api/models.

Both are the same sentence: rows in, checked against the contract of the version that answers; one id per row out.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from trimtab import __version__
from trimtab.doors import wire
from trimtab.doors.desk import Json, desk, known_versions
from trimtab.doors.inference import binary, tensors
from trimtab.doors.inference.asking import SIDE, Rows, as_number, ask, told
from trimtab.doors.inference.explained import Asked, asks_why
from trimtab.errors import Malformed, TooLarge, TrimtabError
from trimtab.registry.bundle import Bundle
from trimtab.serving.answering import Answer
from trimtab.serving.engine import State
from trimtab.serving.lineup import Lineup
from trimtab.serving.source import Place

EXTENSIONS = ["binary_tensor_data", "model_repository"]


async def server(_: Request) -> Response:
    """GET /v2: name, version and extensions of the server."""
    return wire.reply({"name": "trimtab", "version": __version__, "extensions": EXTENSIONS})


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
    at, body = desk(request), await request.body()
    answer, body, length = await at.predict(functools.partial(_infer, request, body))
    if length is None:
        return Response(body, media_type="application/json", headers=told(answer))
    return Response(body, media_type="application/octet-stream", headers={**told(answer), binary.HEADER: str(length)})


async def predict(request: Request) -> Response:
    """POST /api/models/M/predict: {"rows": [{…}]}, a bare list of rows, or one row; named answers out."""
    at, body = desk(request), await request.body()
    made, answer = await at.predict(functools.partial(_predict, request, body))
    return wire.reply(made, headers=told(answer))


def engine_json(state: State) -> Json:
    """What the engine does, for health and status."""
    return {
        "ready": state.ready,
        "store": state.store or "reached",
        "revision": state.revision,
        "endpoints": [{"model": place.model, "endpoint": place.endpoint, "version": lineup.champion.number,
                       "warning": lineup.champion.warning, "beside": _beside(lineup),
                       "fallback": None if lineup.fallback is None else lineup.fallback.to_json()}
                      for place, lineup in sorted(state.live.items(), key=lambda item: item[0])],
        "failed": [{"model": place.model, "endpoint": place.endpoint, "version": failure.version,
                    "reason": failure.reason, "at": failure.at, "serving": _serving(state, place)}
                   for (place, _), failure in sorted(state.failures.items(), key=lambda item: item[0])],
    }


def _beside(lineup: Lineup) -> Json | None:
    tried = lineup.beside
    return None if tried is None else {
        "version": tried.bundle.number, "stage": tried.stage.stage, "share": tried.stage.share,
        "waiting": tried.shadow.waiting, "dropped": tried.shadow.dropped, "lost": tried.shadow.broken}


def _serving(state: State, place: Place) -> int | None:
    lineup = state.live.get(place)
    return None if lineup is None else lineup.champion.number


def _infer(request: Request, body: bytes) -> tuple[Answer, bytes, int | None]:
    wanted = binary.read(body, request.headers.get(binary.HEADER))
    read: Callable[[Bundle], Rows] = functools.partial(tensors.rows_for, wanted)
    why = Asked(desk(request), read) if asks_why(wanted.parameters) else None
    answer = ask(desk(request).engine, request.path_params["model"], _number(request),
                 read if why is None else why.read, request.headers.get(SIDE))
    made = tensors.answer_json(answer, wanted)
    if why is not None:
        made["parameters"]["explanations"] = why.told(answer)
    return answer, *binary.write(made, wanted)


def _predict(request: Request, body: bytes) -> tuple[Json, Answer]:
    at = desk(request)
    read, parameters = named(body)
    why = Asked(at, read) if parameters is not None and asks_why(parameters) else None
    answer = ask(at.engine, request.path_params["model"], None, read if why is None else why.read,
                 request.headers.get(SIDE))
    made = predictions_json(answer)
    if why is not None:
        made["parameters"] = {"explanations": why.told(answer)}
    return made, answer


def named(body: bytes) -> tuple[Callable[[Bundle], Rows], dict[str, Any] | None]:
    """What reads the named rows of a body, given the bundle that they are for; and the body's parameters, if any."""
    given = wire.decode(body, object, keys=_least_keys)
    parameters = None
    if isinstance(given, dict) and given.keys() == {"rows", "parameters"} and isinstance(given["parameters"], dict):
        parameters = given.pop("parameters")
    return lambda bundle: _named_rows(given, {column.name for column in bundle.contract.columns}), parameters


def predictions_json(answer: Answer) -> Json:
    """How an answer to named rows is told."""
    return {"schema": "trimtab.predictions/1", "model": answer.model, "version": answer.version,
            "predictions": _predictions(answer)}


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
            row["probabilities"] = dict(zip(labels, map(wire.finite, chances), strict=True))
    for place, one in answer.instead.items():
        made[place] |= {"fallback": one.to_json(), "probabilities": None} if answer.classes else {
            "fallback": one.to_json()}
    return made


def _named_rows(given: object, columns: set[str]) -> Rows:
    if isinstance(given, dict) and set(given) == {"rows"} and not columns & {"rows"}:
        given = given["rows"]
        if not isinstance(given, list):
            raise Malformed('rows is no list; send {"rows": [{"column": value, …}]}', field="rows")
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
    return desk(request).engine.bundle(request.path_params["model"], _number(request))


def _number(request: Request) -> int | None:
    given = request.path_params.get("version")
    return None if given is None else as_number(given)


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
