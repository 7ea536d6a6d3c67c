"""How is a workspace read and changed over HTTP?  Thin routes under /api: parse, call one verb, render.

They act as the workspace's own user: the server listens on this machine only. After a change the engine is asked to
catch up before the answer goes out, so that the next request meets what was just deployed.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from trimtab import __version__
from trimtab.doors import wire
from trimtab.doors.desk import Desk, Json, desk
from trimtab.doors.inference.asking import as_number
from trimtab.doors.inference.routes import engine_json
from trimtab.doors.rest.idempotency import once
from trimtab.doors.rest.loop import ROUTES as LOOP
from trimtab.doors.rest.paging import limit_of
from trimtab.doors.rest.traffic import ROUTES as TRAFFIC
from trimtab.project import steering
from trimtab.registry.model import Alias, Version
from trimtab.serving.rollout import PRODUCTION, Change
from trimtab.traffic.labels import KeyKind

if TYPE_CHECKING:
    from trimtab.project.trying import Tried

Number = Annotated[int, msgspec.Meta(ge=1, lt=10 ** 9)]         # of a version
_one_change_at_a_time = threading.Lock()


class MoveAlias(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of PUT …/aliases/A."""

    version: Number
    why: str = ""


class PutLive(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST …/deploy and …/promote."""

    version: Number
    why: str = ""
    endpoint: str = PRODUCTION
    dry_run: bool = False


class GoBack(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST …/rollback; `to`: a version, else the one before."""

    why: str = ""
    to: Number | None = None
    endpoint: str = PRODUCTION
    dry_run: bool = False


class TryBeside(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST …/canary; share 0 is shadow."""

    version: Number
    share: float = 0.0
    why: str = ""
    endpoint: str = PRODUCTION
    dry_run: bool = False


class EndTrial(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST …/canary/stop."""

    why: str = ""
    endpoint: str = PRODUCTION
    dry_run: bool = False


class OneLabel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A truth, and the prediction's id (or the key) that it belongs to."""

    id: str
    truth: float | int | bool | str


class TellLabels(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST /api/labels; `join`: whether `id` is a prediction's, or the key that its row brought along."""

    model: str
    labels: list[OneLabel]
    join: KeyKind = "prediction"


async def health(_: Request) -> Response:
    """GET /health: OK."""
    return PlainTextResponse("OK")


async def version(_: Request) -> Response:
    """GET /version."""
    return wire.reply({"schema": "trimtab.server/1", "name": "trimtab", "version": __version__})


async def metrics(request: Request) -> Response:
    """GET /metrics: the counters of this process, or of all workers, as Prometheus reads them."""
    text = await desk(request).run(desk(request).counters)
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


async def status(request: Request) -> Response:
    """GET /api/status: every model, as `trimtab status --json` has it, and what this server does."""
    from trimtab.serving.status import fleet

    at = desk(request)
    rows = await at.run(lambda: fleet(at.workspace.versions, at.workspace.rollouts, at.workspace.stages))
    return wire.reply({"schema": "trimtab.status/1", "models": [row.to_json() for row in rows],
                       "loop": await at.run(lambda: steering.needs(at.workspace)),
                       "server": engine_json(at.engine.state)})


async def model(request: Request) -> Response:
    """GET /api/registry/M: its versions and aliases."""
    at, name = desk(request), request.path_params["model"]

    def read() -> Json:
        versions = at.workspace.versions.list(name, deleted=True)
        aliases = at.workspace.aliases.list(name)
        return {"schema": "trimtab.model/1", "model": versions[0].model,
                "versions": [version_json(each) for each in versions],
                "aliases": [alias_json(each) for each in aliases]}

    return wire.reply(await at.run(read))


async def one_version(request: Request) -> Response:
    """GET /api/registry/M/versions/N: the version with its facts and, where there is one, its evaluation."""
    at, number = desk(request), as_number(request.path_params["number"])

    def read() -> Json:
        found = at.workspace.versions.get(request.path_params["model"], number)
        return {"schema": "trimtab.version/1", **version_json(found), "facts": found.facts,
                "manifest": found.manifest.to_json(), "evaluation": at.workspace.versions.evaluation(found)}

    return wire.reply(await at.run(read))


async def get_alias(request: Request) -> Response:
    """GET /api/registry/M/aliases/A."""
    at, path = desk(request), request.path_params
    found = await at.run(lambda: at.workspace.aliases.resolve(path["model"], path["alias"]))
    return wire.reply({"schema": "trimtab.alias/1", **alias_json(found)})


async def put_alias(request: Request) -> Response:
    """PUT /api/registry/M/aliases/A: {"version", "why"}; `champion` is promote."""
    at, path = desk(request), request.path_params
    body = wire.decode(await request.body(), MoveAlias)

    def move() -> Alias:
        moved = at.workspace.aliases.set(path["model"], path["alias"], body.version, by=at.workspace.actor,
                                         why=body.why)
        at.engine.refresh()
        return moved

    return wire.reply({"schema": "trimtab.alias/1", **alias_json(await at.run(move))})


async def delete_alias(request: Request) -> Response:
    """DELETE /api/registry/M/aliases/A?why=…: answers where it pointed."""
    at, path, why = desk(request), request.path_params, request.query_params.get("why", "")
    actor = at.workspace.actor
    gone = await at.run(lambda: at.workspace.aliases.remove(path["model"], path["alias"], by=actor, why=why))
    return wire.reply({"schema": "trimtab.alias/1", **alias_json(gone), "removed": True})


async def log(request: Request) -> Response:
    """GET /api/log/M?limit=…: what changed, newest first."""
    from trimtab.registry import history

    at, name, limit = desk(request), request.path_params["model"], limit_of(request)

    def read() -> list[Any]:
        at.workspace.versions.list(name, deleted=True)         # an unknown model is said to be unknown
        return history.log(at.workspace.journal, name, limit=limit)

    return wire.reply({"schema": "trimtab.log/1", "model": name,
                       "entries": [asdict(entry) for entry in await at.run(read)]})


async def deploy(request: Request) -> Response:
    """POST /api/models/M/deploy: {"version", "why", "endpoint", "dry_run"}."""
    body = wire.decode(await request.body(), PutLive)
    return await _change(request, lambda at, name: at.workspace.rollouts.deploy(
        name, body.version, by=at.workspace.actor, why=body.why, endpoint=body.endpoint, dry_run=body.dry_run))


async def promote(request: Request) -> Response:
    """POST /api/models/M/promote: as deploy."""
    body = wire.decode(await request.body(), PutLive)
    return await _change(request, lambda at, name: at.workspace.rollouts.promote(
        name, body.version, by=at.workspace.actor, why=body.why, endpoint=body.endpoint, dry_run=body.dry_run))


async def rollback(request: Request) -> Response:
    """POST /api/models/M/rollback: {"why", "to", "endpoint", "dry_run"}."""
    body = wire.decode(await request.body(), GoBack)
    return await _change(request, lambda at, name: at.workspace.rollouts.rollback(
        name, by=at.workspace.actor, why=body.why, to=body.to, endpoint=body.endpoint, dry_run=body.dry_run))


async def canary(request: Request) -> Response:
    """POST /api/models/M/canary: {"version", "share", "why", "endpoint", "dry_run"}; share 0 is shadow."""
    from trimtab.project.trying import try_beside

    body = wire.decode(await request.body(), TryBeside)
    return await _change(request, lambda at, name: try_beside(
        at.workspace, name, body.version, share=body.share, why=body.why, endpoint=body.endpoint,
        dry_run=body.dry_run))


async def stop_canary(request: Request) -> Response:
    """POST /api/models/M/canary/stop: {"why", "endpoint", "dry_run"}."""
    from trimtab.project.trying import end

    body = wire.decode(await request.body(), EndTrial)
    return await _change(request, lambda at, name: end(
        at.workspace, name, why=body.why, endpoint=body.endpoint, dry_run=body.dry_run))


async def labels(request: Request) -> Response:
    """POST /api/labels: {"model", "join", "labels": [{"id", "truth"}]}; all of them are kept or none.

    A repeated request is no news by itself, so an Idempotency-Key is not needed.
    """
    from trimtab.project.labelling import tell

    at, body = desk(request), wire.decode(await request.body(), TellLabels)
    told = await at.run(lambda: tell(at.workspace, body.model, body.join, [(one.id, one.truth) for one in body.labels]))
    return wire.reply(told.to_json())


async def notices(request: Request) -> Response:
    """GET /api/notices?model=…&limit=…: what people were told, or are to be, the newest first."""
    at, model, limit = desk(request), request.query_params.get("model"), limit_of(request)
    found = await at.run(lambda: at.workspace.notices.list(model, limit=limit))
    return wire.reply({"schema": "trimtab.notices/1", "notices": [one.to_json() for one in found]})


async def verify(request: Request) -> Response:
    """GET /api/audit/verify: walks the journal's chain and its signed head; 422 names the first bad row."""
    at = desk(request)
    head = await at.run(at.workspace.journal.verify)
    return wire.reply({"schema": "trimtab.audit/1", "ok": True, "rows": head.seq, "head": head.to_json()})


def version_json(found: Version) -> Json:
    """A version for a list."""
    return {"model": found.model, "version": found.number, "name": found.name, "digest": found.digest,
            "gates": found.gates, "run": found.run, "note": found.note, "created_at": found.created_at,
            "created_by": found.created_by, "deleted_at": found.deleted_at, "candidate": found.facts.get("candidate"),
            "task": found.facts.get("task")}


def alias_json(found: Alias) -> Json:
    """An alias."""
    return {"model": found.model, "alias": found.alias, "version": found.number, "moved_at": found.moved_at,
            "moved_by": found.moved_by}


async def _change(request: Request, verb: Callable[[Desk, str], Change | Tried]) -> Response:
    at, name = desk(request), request.path_params["model"]
    key = request.headers.get("idempotency-key")
    meant = b"\n".join([request.method.encode(), request.url.path.encode(), await request.body()])

    def work() -> Json:
        made = verb(at, name)
        at.engine.refresh()
        return made.to_json()

    def in_turn() -> tuple[int, Json]:
        with _one_change_at_a_time:
            return once(at.workspace, key, meant, work)

    code, answer = await at.run(functools.partial(in_turn))
    return wire.reply(answer, code)


_ALIAS = "/api/registry/{model}/aliases/{alias}"
ROUTES = [
    Route("/health", health), Route("/version", version), Route("/metrics", metrics),
    Route("/api/status", status),
    Route("/api/registry/{model}", model), Route("/api/registry/{model}/versions/{number}", one_version),
    Route(_ALIAS, get_alias, methods=["GET"]), Route(_ALIAS, put_alias, methods=["PUT"]),
    Route(_ALIAS, delete_alias, methods=["DELETE"]),
    Route("/api/notices", notices),
    Route("/api/labels", labels, methods=["POST"]), Route("/api/log/{model}", log), Route("/api/audit/verify", verify),
    Route("/api/models/{model}/deploy", deploy, methods=["POST"]),
    Route("/api/models/{model}/promote", promote, methods=["POST"]),
    Route("/api/models/{model}/rollback", rollback, methods=["POST"]),
    Route("/api/models/{model}/canary", canary, methods=["POST"]),
    Route("/api/models/{model}/canary/stop", stop_canary, methods=["POST"]),
    *LOOP, *TRAFFIC,
]
