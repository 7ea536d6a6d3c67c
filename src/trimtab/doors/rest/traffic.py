"""How is a recorded prediction asked about over HTTP?  Thin routes: parse, call one verb, render."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from trimtab.doors import wire
from trimtab.doors.desk import Json, desk


async def replay(request: Request) -> Response:
    """GET /api/traffic/{id}/replay: answered again, and compared bit for bit."""
    from trimtab.project import replaying

    at, name = desk(request), request.path_params["id"]
    return wire.reply((await at.run(lambda: replaying.replay(at.workspace, [name]))).to_json())


async def explain(request: Request) -> Response:
    """GET /api/traffic/{id}/explanation: the terms that sum to the answer."""
    at, name = desk(request), request.path_params["id"]

    def work() -> Json:
        version, found = at.explainer.recorded(name)
        return {"schema": "trimtab.explanation/1", "prediction": name, "version": version, **found.to_json()}

    return wire.reply(await at.predict(work))


ROUTES = [Route("/api/traffic/{id}/replay", replay), Route("/api/traffic/{id}/explanation", explain)]
