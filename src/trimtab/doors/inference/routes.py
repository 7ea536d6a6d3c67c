"""Where are predictions asked?  The Open Inference Protocol v2 under /v2, and plain named rows under /api/models.

Both are the same sentence: rows in, checked against the contract of the version that answers; one id per row out.
"""

from __future__ import annotations

import functools

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from trimtab import __version__
from trimtab.doors import wire
from trimtab.doors.desk import Json, desk, known_versions
from trimtab.doors.inference import tensors
from trimtab.errors import Malformed, NotFound, TooLarge, TrimtabError
from trimtab.registry.bundle import Bundle
from trimtab.serving.answering import Answer
from trimtab.serving.engine import State
from trimtab.serving.lineup import Lineup, Side, read_side
from trimtab.serving.source import Place

SIDE = "x-trimtab-version"                    # of a request: who is to answer; of an answer: who did


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
    at, body = desk(request), await request.body()
    made, answer = await at.predict(functools.partial(_infer, request, body))
    return wire.reply(made, headers=_told(answer))


async def predict(request: Request) -> Response:
    """POST /api/models/M/predict: {"rows": [{…}]}, a bare list of rows, or one row; named answers out."""
    at, body = desk(request), await request.body()
    made, answer = await at.predict(functools.partial(_predict, request, body))
    return wire.reply(made, headers=_told(answer))


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


def _infer(request: Request, body: bytes) -> tuple[Json, Answer]:
    wanted = wire.decode(body, tensors.InferRequest)
    lineup, side = _lineup(request)
    tensors.check_outputs(wanted, tensors.output_names(lineup.champion))
    rows = tensors.rows_of(wanted, lineup.champion.contract.features)
    answer = desk(request).engine.answer(lineup, rows, side=side)
    return tensors.answer_json(answer, wanted), answer


def _predict(request: Request, body: bytes) -> tuple[Json, Answer]:
    given = wire.decode(body, object)
    lineup, side = _lineup(request)
    answer = desk(request).engine.answer(lineup, _named_rows(given), side=side)
    return {"schema": "trimtab.predictions/1", "model": answer.model, "version": answer.version,
            "predictions": _predictions(answer)}, answer


def _told(answer: Answer) -> dict[str, str]:
    return {SIDE: answer.stage}


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
    return desk(request).engine.bundle(request.path_params["model"], _number(request))


def _lineup(request: Request) -> tuple[Lineup, Side | None]:
    """Who may answer, and who is asked to."""
    return (desk(request).engine.lineup(request.path_params["model"], _number(request)),
            read_side(request.headers.get(SIDE)))


def _number(request: Request) -> int | None:
    number = request.path_params.get("version")
    return None if number is None else as_number(number)


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
