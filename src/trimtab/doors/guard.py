"""May this request come in at all?  (host, origin, kind and size of the body, time)

An ASGI layer around every route. It asks before any route runs: whose name was the server called by (against DNS
rebinding), which page sent it (against cross-site requests), is the body JSON and within its bound. Whatever goes out
is marked so that no browser guesses, frames or stores it. What breaks inside is logged, and told without its insides.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
import traceback
from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trimtab.doors import wire
from trimtab.errors import Busy, Forbidden, Malformed, TooLarge, TrimtabError

MAX_JSON_BYTES = 1 << 20
MAX_INFER_BYTES = 16 << 20
BODY_TIMEOUT_S = 30.0
ANSWER_TIMEOUT_S = 60.0
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_INFER = re.compile(r"/(?:infer|predict)$|:(?:predict|classify|regress)$|^/invocations(?:/|$)")
_JSON = ("application/json",)
# Clients of these protocols send other kinds of body too, or don't say which (Triton's, TensorFlow Serving's, curl -d).
# A page can't use that: its browser says that a page asked (see _admit).
_KINDS = ((re.compile(r"^/invocations(?:/|$)"), (*_JSON, "text/csv")),
          (re.compile(r"^/v2/models/.*/infer$"), (*_JSON, "application/octet-stream", "")),
          (re.compile(r"^/v2/repository/"), (*_JSON, "")),
          (re.compile(r"^/v1/models/.*:"), (*_JSON, "", "application/x-www-form-urlencoded")))
_LOCAL = re.compile(r"(?:localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?", re.IGNORECASE)
MARKS = [(b"x-content-type-options", b"nosniff"),
          (b"content-security-policy",
           b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
          (b"referrer-policy", b"no-referrer"), (b"cache-control", b"no-store"),
          (b"cross-origin-resource-policy", b"same-origin")]


class Refused(Exception):
    """A request that no route will see: the status, and a sentence."""

    def __init__(self, status: int, problem: TrimtabError) -> None:
        super().__init__(str(problem))
        self.status, self.problem = status, problem


class Guard:
    """Wraps an ASGI application; see the module's docstring. Faults of ours go to `log`."""

    def __init__(self, app: ASGIApp, *, body_timeout_s: float = BODY_TIMEOUT_S,
                 answer_timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        self._app, self._body_timeout_s, self._answer_timeout_s = app, body_timeout_s, answer_timeout_s
        self.draining = False                 # the server is ending: each answer closes its connection
        self.in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1003})
            return
        begun = False

        async def marked(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                ending = [(b"connection", b"close")] if self.draining else []
                message = {**message, "headers": [*message.get("headers", ()), *MARKS, *ending]}
            await send(message)

        self.in_flight += 1
        try:
            _admit(scope)
            body = await self._body(scope, receive)
            async with asyncio.timeout(self._answer_timeout_s):
                await self._app(scope, _replay(body, receive), marked)
        except Refused as refused:
            await _answer(scope, marked, refused.problem, refused.status)
        except TimeoutError:
            log("http.timeout", {"method": scope["method"], "path": scope["path"]})
            if not begun:
                slow = Busy("the answer took too long; send fewer rows, or try again")
                await _answer(scope, marked, slow, 503)
        except Exception as problem:  # noqa: BLE001  this door's outermost frame
            log("http.fault", {"method": scope["method"], "path": scope["path"], "error": type(problem).__name__,
                               "message": str(problem), "where": traceback.format_exc()})
            if not begun:
                await _answer(scope, marked, TrimtabError("a fault of ours; the server's log says more"), 500)
        finally:
            self.in_flight -= 1

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        limit = MAX_INFER_BYTES if _INFER.search(scope["path"]) else MAX_JSON_BYTES
        length = _header(scope, b"content-length")
        if length is not None and (not length.isdigit() or int(length) > limit):
            raise Refused(413, TooLarge(f"the body has {length[:20]} bytes; the limit here is {limit:,}"))
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._body_timeout_s):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Refused(400, Malformed("the connection ended before the body did"))
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > limit:
                        raise Refused(413, TooLarge(f"the body is over the limit of {limit:,} bytes"))
                    if not message.get("more_body", False):
                        break
        except TimeoutError:
            raise Refused(408, Malformed(f"the body did not arrive within {self._body_timeout_s:.0f} s")) from None
        if size and scope["method"] in SAFE:
            raise Refused(400, Malformed(f"{scope['method']} takes no body"))
        if (size or scope["method"] in ("POST", "PUT", "PATCH")) and scope["method"] not in SAFE:
            _need_kind(scope)
        return b"".join(parts)


def log(event: str, fields: Mapping[str, object]) -> None:
    """One line of JSON on standard error: an event and its fields. A newline in a field can't forge a second line."""
    line = json.dumps({"at": round(time.time(), 3), "event": event, **fields}, default=str)
    print(line, file=sys.stderr, flush=True)


def protocol_of(path: str) -> str:
    """Whose shape errors have: the one that is spoken under "v2", "v1" and at /invocations ("mlflow"), else ours ("").

    >>> protocol_of("/v2/models/risk"), protocol_of("/v1/models/risk:predict"), protocol_of("/invocations")
    ('v2', 'v1', 'mlflow')
    """
    first = path.split("/", 2)[1:2]
    return {"v1": "v1", "v2": "v2", "invocations": "mlflow", "ping": "mlflow"}.get(first[0] if first else "", "")


def is_local(host: bytes) -> bool:
    """Is the name that the server was called by one of this machine's own?"""
    return _LOCAL.fullmatch(host.decode("latin-1")) is not None


def _admit(scope: Scope) -> None:
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    host = hosts[0].decode("latin-1") if len(hosts) == 1 else ""
    if len(hosts) != 1 or not is_local(hosts[0]):
        raise Refused(403, Forbidden("this server answers only as localhost, 127.0.0.1 or [::1]; call it by one of "
                                     "these names", host=host[:100]))
    if scope["method"] in SAFE:
        return
    site = _header(scope, b"sec-fetch-site")
    if site is not None and site not in ("same-origin", "none"):
        raise Refused(403, Forbidden("a page of another site sent this request; it was not carried out"))
    origin = _header(scope, b"origin")
    if origin is not None and not _same(origin, host):
        raise Refused(403, Forbidden("a page of another origin sent this request; it was not carried out",
                                     origin=origin[:100]))


def _same(origin: str, host: str) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme == "http" and parts.netloc.lower() == host.lower() and not parts.path


def _need_kind(scope: Scope) -> None:
    allowed = next((kinds for pattern, kinds in _KINDS if pattern.search(scope["path"])), _JSON)
    kind = (_header(scope, b"content-type") or "").lower()
    media, _, parameter = kind.partition(";")
    if media.strip() not in allowed or parameter.strip() not in ("", "charset=utf-8", 'charset="utf-8"'):
        also = "".join(f", or {other}" for other in allowed[1:] if other in ("text/csv", "application/octet-stream"))
        raise Refused(415, Malformed(f"send the body as JSON in UTF-8 (Content-Type: application/json){also}, not as "
                                     f"{kind[:60] or 'nothing'}"))
    packed = (_header(scope, b"content-encoding") or "identity").lower()
    if packed != "identity":
        raise Refused(415, Malformed(f"send the body unpacked, not as {packed[:40]}"))


def _header(scope: Scope, name: bytes) -> str | None:
    for key, value in scope["headers"]:
        if key == name:
            return str(value.decode("latin-1"))
    return None


def _replay(body: bytes, receive: Receive) -> Receive:
    given = False

    async def again() -> Message:
        nonlocal given
        if not given:
            given = True
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return again


async def _answer(scope: Scope, send: Send, problem: TrimtabError, status: int) -> None:
    made = wire.told(problem, protocol=protocol_of(scope["path"]))
    headers = [*made.raw_headers]
    if status in (408, 413):
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": made.body})
