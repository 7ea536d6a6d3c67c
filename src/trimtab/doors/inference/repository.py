"""Which models does this server hold?  The repository extension of the Open Inference Protocol.

What is live is decided by rollouts, so that every change has a reason in the journal: `load` of what is live is a
success that changes nothing, and everything else is refused with the verb to use instead.
"""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from trimtab.doors import wire
from trimtab.doors.desk import Json, desk
from trimtab.errors import Live, Malformed
from trimtab.serving.engine import State
from trimtab.serving.rollout import PRODUCTION


class IndexRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST /v2/repository/index, which may be left out. `ready`: only models that answer."""

    repository_name: str = ""
    ready: bool = False


class LoadRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST …/load and …/unload, which may be left out."""

    parameters: dict[str, Any] = {}


async def index(request: Request) -> Response:
    """POST /v2/repository/index: name, version, state and reason of every model that answers, or should."""
    body = await request.body()
    wanted = wire.decode(body, IndexRequest) if body else IndexRequest()
    held = [one for one in _held(desk(request).engine.state) if one["state"] == "READY" or not wanted.ready]
    return Response(wire.encode(held), media_type="application/json")


async def load(request: Request) -> Response:
    """POST /v2/repository/models/M/load: 200 where it is live; else deploy it."""
    body = await request.body()
    wanted = wire.decode(body, LoadRequest) if body else LoadRequest()
    if wanted.parameters:
        raise Malformed("parameters: a version is served as it was registered; it can't be configured while loading",
                        field="parameters")
    desk(request).engine.bundle(request.path_params["model"])
    return wire.reply({})


async def unload(request: Request) -> Response:
    """POST /v2/repository/models/M/unload: refused; what is live is changed by rollouts."""
    live = desk(request).engine.bundle(request.path_params["model"])
    raise Live(f"{live.name} is live by a rollout and stays so; put another version there with trimtab promote or "
               "trimtab rollback")


def _held(state: State) -> list[Json]:
    made: list[Json] = [{"name": place.model, "version": str(lineup.champion.number), "state": "READY", "reason": ""}
                        for place, lineup in state.live.items() if place.endpoint == PRODUCTION]
    made += [{"name": place.model, "version": str(failure.version), "state": "UNAVAILABLE", "reason": failure.reason}
             for (place, _), failure in state.failures.items() if place.endpoint == PRODUCTION]
    return sorted(made, key=lambda one: (one["name"], int(one["version"])))


_MODEL = "/v2/repository/models/{model}"
ROUTES = [Route("/v2/repository/index", index, methods=["POST"]), Route(_MODEL + "/load", load, methods=["POST"]),
          Route(_MODEL + "/unload", unload, methods=["POST"])]
