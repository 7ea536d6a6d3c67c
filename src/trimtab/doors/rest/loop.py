"""How is the loop steered over HTTP?  Thin routes: parse, call one verb of `project.steering`, render.

Nothing is decided or done here: the loop does that within seconds, in its own process.
"""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from trimtab.doors import wire
from trimtab.doors.desk import Json, desk
from trimtab.doors.rest.idempotency import once
from trimtab.doors.rest.paging import limit_of
from trimtab.project import steering
from trimtab.serving.rollout import PRODUCTION


class Switch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST …/pause and …/resume."""

    why: str = ""


class SetPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST …/policy; `set`: setting → value, `reset`: go by the live version's trimtab.toml again."""

    set: dict[str, Any] = {}
    reset: bool = False
    why: str = ""
    dry_run: bool = False


async def pause(request: Request) -> Response:
    """POST /api/pause (every model) and /api/models/M/pause: {"why"}."""
    return await _switch(request, "paused")


async def resume(request: Request) -> Response:
    """POST /api/resume (every model) and /api/models/M/resume: {"why"}."""
    return await _switch(request, "resumed")


async def _switch(request: Request, state: str) -> Response:
    at, model = desk(request), request.path_params.get("model")
    body = wire.decode(await request.body(), Switch)
    verb = steering.pause if state == "paused" else steering.resume
    await at.run(lambda: verb(at.workspace, model, why=body.why))
    return wire.reply({"schema": "trimtab.switch/1", "model": model, "state": state})


async def get_policy(request: Request) -> Response:
    """GET /api/models/M/policy: what the loop may do."""
    at, model = desk(request), request.path_params["model"]
    return wire.reply((await at.run(lambda: steering.shown(at.workspace, model))).to_json())


async def set_policy(request: Request) -> Response:
    """POST /api/models/M/policy: {"set", "reset", "why", "dry_run"}."""
    at, model, data = desk(request), request.path_params["model"], await request.body()
    body, key = wire.decode(data, SetPolicy), request.headers.get("idempotency-key")

    def work() -> Json:
        return steering.change(at.workspace, model, body.set, why=body.why, reset=body.reset,
                               dry_run=body.dry_run).to_json()

    meant = b"\n".join([request.method.encode(), request.url.path.encode(), data])
    code, answer = await at.run(lambda: once(at.workspace, key, meant, work))
    return wire.reply(answer, code)


async def decisions(request: Request) -> Response:
    """GET /api/models/M/decisions?limit=…: the newest first."""
    at, model, limit = desk(request), request.path_params["model"], limit_of(request)

    def read() -> Json:
        at.workspace.versions.list(model, deleted=True)        # an unknown model is said to be unknown
        return {"schema": "trimtab.decisions/1", "model": model,
                "decisions": [one.to_json() for one in at.workspace.decisions.list(model, limit=limit)]}

    return wire.reply(await at.run(read))


async def due(request: Request) -> Response:
    """GET /api/models/M/decide?endpoint=…: what would be done now."""
    at, model = desk(request), request.path_params["model"]
    endpoint = request.query_params.get("endpoint", PRODUCTION)
    step = await at.run(lambda: steering.decide(at.workspace, model, endpoint=endpoint, dry_run=True))
    return wire.reply({"schema": "trimtab.steps/1", "problems": [], "steps": [
        {"outcome": step.outcome, "decision": step.decision.to_json(), "id": step.stored.id if step.stored else None,
         "result": step.stored.result if step.stored else None}]})


async def replay(request: Request) -> Response:
    """GET /api/decisions/D/replay: the decision, recomputed from its evidence."""
    at, name = desk(request), request.path_params["decision"]
    found = await at.run(lambda: at.workspace.decisions.replay(name))
    return wire.reply({"schema": "trimtab.replay/1", "decision": found.stored.to_json(),
                       "again": found.again.to_json(), "differs": list(found.differs)})


ROUTES = [
    Route("/api/pause", pause, methods=["POST"]), Route("/api/resume", resume, methods=["POST"]),
    Route("/api/models/{model}/pause", pause, methods=["POST"]),
    Route("/api/models/{model}/resume", resume, methods=["POST"]),
    Route("/api/models/{model}/policy", get_policy, methods=["GET"]),
    Route("/api/models/{model}/policy", set_policy, methods=["POST"]),
    Route("/api/models/{model}/decisions", decisions), Route("/api/models/{model}/decide", due),
    Route("/api/decisions/{decision}/replay", replay),
]
