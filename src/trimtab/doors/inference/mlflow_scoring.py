"""How does a client of `mlflow models serve` ask?  (/invocations, /ping; /health and /version are the server's own)

Columns go by name, and columns that the contract does not know are dropped, as that server does; so a misspelt column
is told as a missing one. The model is in the path, or it is the one that `trimtab serve --default` names, or the
only one that is live.
"""

from __future__ import annotations

import csv
import functools
import io
import re
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from trimtab.data.contract import Column
from trimtab.doors import wire
from trimtab.doors.desk import Desk, Json, desk
from trimtab.doors.inference import loose, tensors
from trimtab.doors.inference.asking import SIDE, Rows, ask, told
from trimtab.errors import Malformed, NotFound
from trimtab.registry.bundle import Bundle
from trimtab.serving.answering import Answer
from trimtab.serving.rollout import PRODUCTION


class Split(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table as pandas writes it with orient="split"; the index is not looked at."""

    data: list[list[Any]]
    columns: list[str] | msgspec.UnsetType = msgspec.UNSET
    index: list[Any] = []


class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What may be asked beside the rows."""

    predict_method: Literal["predict", "predict_proba"] = "predict"


class Invocation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST /invocations: exactly one of the four tables, and `params`."""

    dataframe_split: Split | msgspec.UnsetType = msgspec.UNSET
    dataframe_records: list[dict[str, Any]] | msgspec.UnsetType = msgspec.UNSET
    instances: list[Any] | msgspec.UnsetType = msgspec.UNSET
    inputs: dict[str, Any] | list[Any] | msgspec.UnsetType = msgspec.UNSET
    params: Params = Params()


async def ping(request: Request) -> Response:
    """GET /ping: 200 when every endpoint that should answer does, else 503."""
    good = desk(request).engine.state.ready
    return PlainTextResponse("OK" if good else "not ready", 200 if good else 503)


async def invocations(request: Request) -> Response:
    """POST /invocations[/M]: JSON or CSV in, `predictions` out."""
    at, body = desk(request), await request.body()
    made, answer = await at.predict(functools.partial(_invoke, at, request, body))
    return wire.reply(made, headers=told(answer))


def _invoke(at: Desk, request: Request, body: bytes) -> tuple[Json, Answer]:
    if request.headers["content-type"].lower().startswith("text/csv"):
        wanted = Invocation(instances=[])
        text = _text(body)
    else:
        wanted, text = loose.decode(body, Invocation), None

    def read(bundle: Bundle) -> Rows:
        if wanted.params.predict_method == "predict_proba" and not tensors.has_probabilities(bundle):
            raise Malformed(f"params.predict_method: {bundle.name} has no probabilities", field="params.predict_method")
        known = {column.name for column in bundle.contract.columns}
        found = _given(wanted, bundle.contract.features) if text is None else _csv(text, bundle.contract.columns)
        return [row if row.keys() <= known else {name: row[name] for name in row if name in known} for row in found]

    answer = ask(at.engine, request.path_params.get("model") or _default(at), None, read, request.headers.get(SIDE))
    made: list[Any] = [wire.finite(one) if isinstance(one, float) else one for one in answer.prediction.values]
    if wanted.params.predict_method == "predict_proba":
        if answer.prediction.probabilities is None:      # a canary of another kind than its champion
            raise Malformed(f"version {answer.version} has no probabilities to answer with")
        made = answer.prediction.probabilities.tolist()
    return {"predictions": made, "parameters": loose.parameters(answer)}, answer


def _given(wanted: Invocation, features: Sequence[Column]) -> Rows:
    form = loose.one_of({name: getattr(wanted, name) for name in (
        "dataframe_split", "dataframe_records", "instances", "inputs")})
    if isinstance(wanted.dataframe_split, Split):
        return _split(wanted.dataframe_split, features)
    given = getattr(wanted, form)
    return loose.table(given, form) if isinstance(given, dict) else loose.rows(given, features, form)


def _split(split: Split, features: Sequence[Column]) -> Rows:
    if split.columns is msgspec.UNSET:
        return loose.rows(split.data, features, "dataframe_split.data")
    names = split.columns
    if len(set(names)) != len(names):
        raise Malformed("dataframe_split.columns: a name comes twice", field="dataframe_split.columns")
    for place, row in enumerate(split.data):
        if len(row) != len(names):
            raise Malformed(f"dataframe_split.data[{place}]: {len(row)} values for {len(names)} columns",
                            field=f"dataframe_split.data[{place}]")
    return loose.rows([dict(zip(names, row, strict=True)) for row in split.data], features, "dataframe_split.data")


def _text(body: bytes) -> str:
    try:
        return body.decode().removeprefix("\ufeff")
    except UnicodeDecodeError:
        raise Malformed("the CSV is not in UTF-8") from None


def _csv(text: str, columns: Sequence[Column]) -> Rows:
    from trimtab.data import cells

    def cell(value: str, kind: str) -> object:
        value = value.strip()
        if value in cells.MISSING:
            return None
        if kind in ("number", "integer") and re.match(cells.NUMBER, value):
            return int(value) if re.match(cells.INTEGER, value) and len(value) < 20 else float(value)
        return {"true": True, "false": False}.get(value.lower(), value) if kind == "boolean" else value

    kinds = {column.name: column.type for column in columns}
    try:
        lines = [line for line in csv.reader(io.StringIO(text, newline=""), strict=True) if line]
    except csv.Error as wrong:
        raise Malformed(f"the body is not CSV: {wrong}") from None
    if not lines:
        raise Malformed("the body is empty; send a line of column names, and a line a row")
    names = [name.strip() for name in lines[0]]
    if len(set(names)) != len(names):
        raise Malformed("the CSV names a column twice")
    for place, line in enumerate(lines[1:], start=1):
        if len(line) != len(names):
            raise Malformed(f"row {place} of the CSV has {len(line)} cells, its first line names {len(names)} columns")
    return loose.rows([{name: cell(value, kinds[name]) for name, value in zip(names, line, strict=True)
                        if name in kinds} for line in lines[1:]], (), "the CSV")


def _default(at: Desk) -> str:
    if at.default:
        return at.default
    live = sorted(place.model for place in at.engine.state.live if place.endpoint == PRODUCTION)
    if len(live) == 1:
        return live[0]
    if not live:
        raise NotFound("no model is live. Put one there with trimtab deploy")
    raise Malformed(f"several models are live: ask at /invocations/{live[0]}, say, or start the server with --default; "
                    f"live here: {', '.join(live[:8])}")


ROUTES = [Route("/ping", ping), Route("/invocations", invocations, methods=["POST"]),
          Route("/invocations/{model}", invocations, methods=["POST"])]
