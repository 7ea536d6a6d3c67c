"""What does a program need to know to call the server?  An OpenAPI 3.1 document of every route.

It is made of the routes themselves, so that none can be missing: address, methods and summary come from the route and
its docstring, bodies from the types that decode them; `OPERATIONS` adds what an answer holds.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from trimtab import __version__
from trimtab.doors import guard, wire
from trimtab.doors.inference import mlflow_scoring, repository, routes, tensors, tfserving
from trimtab.doors.rest import loop, traffic
from trimtab.doors.rest import routes as rest
from trimtab.doors.rest.paging import MAX_PAGE

Schema = dict[str, Any]
Handler = Callable[[Request], Awaitable[Response]]


async def description(request: Request) -> Response:
    """GET /api/openapi.json: this server's routes, as OpenAPI 3.1."""
    return wire.reply(document(request.scope["router"].routes))


class Operation(NamedTuple):
    """What a route takes and gives. body: the type that decodes it; answer: keys of the JSON object, or a schema."""

    answer: tuple[str, ...] | Schema
    body: type | Schema | None = None
    may_be_empty: bool = False
    also: str = ""                            # another kind of body than JSON
    query: Mapping[str, Schema] = MappingProxyType({})


_TEXT: Schema = {"type": "string"}
_NAME: Schema = {"type": "string", "minLength": 1, "maxLength": 100}
_LIMIT: Schema = {"type": "integer", "minimum": 1, "maximum": MAX_PAGE}
_OBJECT: Schema = {"type": "object"}
_ROWS: Schema = {"anyOf": [_OBJECT, {"type": "array", "items": _OBJECT, "maxItems": tensors.MAX_ROWS}]}
_INDEX: Schema = {"type": "array", "items": {"type": "object", "required": ["name", "version", "state", "reason"]}}
_LIVE = ("schema", "model", "endpoint", "verb", "version", "revision", "changed")
_ALIAS = ("schema", "model", "alias", "version")
_SWITCH = ("schema", "model", "state")
OPERATIONS: dict[Handler, Operation] = {
    routes.server: Operation(("name", "version", "extensions")),
    routes.health: Operation(("schema", "ready", "store", "endpoints", "failed")),
    routes.live: Operation(("live",)),
    routes.ready: Operation(("ready",)),
    routes.metadata: Operation(("name", "versions", "platform", "inputs", "outputs")),
    routes.model_ready: Operation(("name", "ready")),
    routes.infer: Operation(("model_name", "model_version", "outputs"), tensors.InferRequest,
                            also="application/octet-stream"),
    routes.predict: Operation(("schema", "model", "version", "predictions"), _ROWS),
    repository.index: Operation(_INDEX, repository.IndexRequest, may_be_empty=True),
    repository.load: Operation((), repository.LoadRequest, may_be_empty=True),
    repository.unload: Operation((), repository.LoadRequest, may_be_empty=True),
    tfserving.predict: Operation(("parameters",), tfserving.PredictRequest),
    tfserving.classify: Operation(("results", "parameters"), tfserving.ExamplesRequest),
    tfserving.regress: Operation(("results", "parameters"), tfserving.ExamplesRequest),
    tfserving.status: Operation(("model_version_status",)),
    tfserving.metadata: Operation(("model_spec", "metadata")),
    mlflow_scoring.ping: Operation(_TEXT),
    mlflow_scoring.invocations: Operation(("predictions", "parameters"), mlflow_scoring.Invocation, also="text/csv"),
    rest.health: Operation(_TEXT),
    rest.version: Operation(("schema", "name", "version")),
    rest.status: Operation(("schema", "models", "server")),
    rest.model: Operation(("schema", "model", "versions", "aliases")),
    rest.one_version: Operation(("schema", "model", "version", "manifest")),
    rest.get_alias: Operation(_ALIAS),
    rest.put_alias: Operation(_ALIAS, rest.MoveAlias),
    rest.delete_alias: Operation((*_ALIAS, "removed"), query={"why": _TEXT}),
    rest.labels: Operation(("schema",), rest.TellLabels),
    rest.log: Operation(("schema", "model", "entries"),
                        query={"limit": _LIMIT}),
    rest.verify: Operation(("schema", "ok", "rows", "head")),
    rest.deploy: Operation(_LIVE, rest.PutLive),
    rest.promote: Operation(_LIVE, rest.PutLive),
    rest.rollback: Operation(_LIVE, rest.GoBack),
    rest.canary: Operation(("schema",), rest.TryBeside),
    rest.stop_canary: Operation(("schema",), rest.EndTrial),
    rest.metrics: Operation(_TEXT),
    rest.notices: Operation(("schema", "notices"), query={"model": _TEXT, "limit": _LIMIT}),
    loop.pause: Operation(_SWITCH, loop.Switch),
    loop.resume: Operation(_SWITCH, loop.Switch),
    loop.get_policy: Operation(("schema",)),
    loop.set_policy: Operation(("schema",), loop.SetPolicy),
    loop.decisions: Operation(("schema", "model", "decisions"), query={"limit": _LIMIT}),
    loop.due: Operation(("schema", "problems", "steps"), query={"endpoint": _TEXT}),
    loop.replay: Operation(("schema", "decision", "again", "differs")),
    traffic.replay: Operation(("schema", "count", "same", "differs", "not_comparable", "predictions")),
    traffic.explain: Operation(("schema", "prediction", "version", "method", "of", "base", "total", "terms")),
    description: Operation(("openapi", "info", "paths", "components")),
}
_PARTS: dict[str, Schema] = {"version": {"type": "string", "pattern": "^[vV]?[0-9]{1,9}$"},
                             "number": {"type": "string", "pattern": "^[vV]?[0-9]{1,9}$"}}
_WRONG: dict[str, Schema] = {
    "": {"type": "object", "required": ["schema", "error"], "properties": {
        "schema": {"const": "trimtab.error/1"}, "error": {"type": "object", "required": ["code", "message"]}}},
    "v1": {"type": "object", "required": ["error"], "properties": {"error": _TEXT}},
    "v2": {"type": "object", "required": ["error"], "properties": {"error": _TEXT}},
    "mlflow": {"type": "object", "required": ["error_code", "message"]},
}


def document(served: Iterable[Route]) -> Schema:
    """The document of these routes. Raises KeyError for a route that `OPERATIONS` does not know."""
    bodies = {one.body for one in OPERATIONS.values() if isinstance(one.body, type)}
    _, components = msgspec.json.schema_components(sorted(bodies, key=lambda body: body.__name__),
                                                   ref_template="#/components/schemas/{name}")
    paths: Schema = {}
    for route in served:
        for method in sorted((route.methods or set()) - {"HEAD"}):
            paths.setdefault(route.path, {})[method.lower()] = _operation(route, method)
    return {"openapi": "3.1.0", "paths": paths, "components": {"schemas": components},
            "info": {"title": "trimtab", "version": __version__,
                     "description": "Predictions in five protocols, and the workspace behind them."}}


def _operation(route: Route, method: str) -> Schema:
    known = OPERATIONS[route.endpoint]
    parts = re.findall(r"{(\w+)}", route.path)
    made: Schema = {
        "operationId": "_".join([method.lower(), *re.findall(r"\w+", route.path)]),
        "summary": (route.endpoint.__doc__ or "").split(": ", 1)[-1].split("\n")[0],
        "parameters": [
            *({"name": name, "in": "path", "required": True, "schema": _PARTS.get(name, _NAME)} for name in parts),
            *({"name": name, "in": "query", "schema": schema} for name, schema in known.query.items())],
        "responses": {"200": {"description": "The answer.", "content": _given(known)},
                      **{status: {"description": words, "content": _json(_WRONG[guard.protocol_of(route.path)])}
                         for status, words in (("4XX", "What is wrong with the request."),
                                               ("5XX", "Not now; Retry-After says when."))}}}
    if known.body is not None:
        taken = known.body if isinstance(known.body, dict) else {"$ref": f"#/components/schemas/{known.body.__name__}"}
        made["requestBody"] = {"required": not known.may_be_empty, "content": {
            **_json(taken), **({known.also: {}} if known.also else {})}}
    return made


def _given(known: Operation) -> Schema:
    if known.answer is _TEXT:
        return {"text/plain": {"schema": _TEXT}}
    schema = known.answer if isinstance(known.answer, dict) else {"type": "object", "required": list(known.answer)}
    return {**_json(schema), **({known.also: {}} if known.also == "application/octet-stream" else {})}


def _json(schema: Schema) -> Schema:
    return {"application/json": {"schema": schema}}


ROUTES = [Route("/api/openapi.json", description)]
