"""Is a request body what the route documents?  (and: how is a value sent back)

Bodies are bounded JSON: depth, size and duplicate keys are looked at before the typed decode, which names the field
that is wrong. Every answer of ours carries "schema".
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeVar, cast

import msgspec
from starlette.responses import Response

from trimtab.errors import Malformed, TooLarge, TrimtabError

MAX_DEPTH = 64
DUPLICATES_BELOW_BYTES = 64 << 10             # above, the second look would cost more than it is worth
RETRY_AFTER_S = 1
_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]')
_FIELD = re.compile(r"^(?P<what>.*?)(?: - at `\$(?P<path>.*)`)?$", re.DOTALL)
_EXPECTED = re.compile(r"Expected `([^`]*)`, got `([^`]*)`$")
_LACKS = re.compile(r"Object missing required field `([^`]*)`$")
_EXTRA = re.compile(r"Object contains unknown field `([^`]*)`$")
_KINDS = {"object": "an object ({…})", "array": "a list ([…])", "str": "text", "int": "a whole number",
          "float": "a number", "bool": "true or false", "null": "null"}

T = TypeVar("T")


def decode(body: bytes, kind: type[T], *, keys: Callable[[T], int] | None = None) -> T:
    """The body as a value of `kind`. Raises Malformed naming the field, TooLarge where it nests too deep.

    keys: at least how many keys the value must have had. Where the body has as many colons, none of them was sent
    twice, and the second look that a key sent twice needs is spared.
    """
    check(body, keys=keys is None)
    try:
        made: T = _decoder(cast(Any, kind)).decode(body)
        if keys is not None and body.count(b":") != keys(made):
            _check_keys(body)
        return made
    except msgspec.ValidationError as wrong:
        if keys is not None:
            _check_keys(body)
        raise _malformed(str(wrong), kind) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
        raise Malformed(f"the body is not JSON: {str(wrong)[:160]}. NaN and Infinity are not JSON; send null for a "
                        "missing value") from None


@cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def check(body: bytes, *, keys: bool = True) -> None:
    """Raises Malformed where the body is empty or a key comes twice (unless not `keys`), TooLarge where it nests too
    deep."""
    if not body.strip():
        raise Malformed("the body is empty; send a JSON object (Content-Type: application/json)")
    _check_depth(body)
    if keys:
        _check_keys(body)


def convert(given: object, kind: type[T]) -> T:
    """What a JSON text holds as a value of `kind`. Raises Malformed naming the field."""
    try:
        return msgspec.convert(given, type=kind)
    except msgspec.ValidationError as wrong:
        raise _malformed(str(wrong), kind) from None


def reply(value: Mapping[str, object], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON response; NaN and infinities go out as null."""
    return Response(encode(value), status_code=status, media_type="application/json",
                    headers=dict(headers) if headers else None)


def encode(value: object) -> bytes:
    """JSON bytes; floats that JSON can't hold become null (msgspec writes them so)."""
    return _encoder.encode(value)


def told(problem: TrimtabError, *, protocol: str = "") -> Response:
    """An error as its door says it: `{"error": text}` ("v1", "v2"), `{"error_code", "message"}` ("mlflow"), or ours.

    A contract violation brings its "violations" in all of them. 503 carries Retry-After.
    """
    status = problem.answer.http
    headers = {"Retry-After": str(RETRY_AFTER_S)} if status == 503 else None
    if not protocol:
        return reply(problem.to_json(), status, headers)
    body: dict[str, object] = {"error": str(problem)}
    if protocol == "mlflow":
        body = {"error_code": problem.answer.mlflow, "message": str(problem)}
    if "violations" in problem.details:
        body["violations"] = problem.details["violations"]
    return reply(body, status, headers)


def finite(value: float) -> float | None:
    """The number, or None where JSON has no word for it."""
    return value if math.isfinite(value) else None


def _text(value: object) -> str:
    """Digests are text of a class of their own."""
    if isinstance(value, str):
        return str.__str__(value)
    raise TypeError(f"{type(value).__name__} has no place in an answer")


_encoder = msgspec.json.Encoder(enc_hook=_text)


def _malformed(text: str, kind: Any) -> Malformed:
    found = _FIELD.match(text)
    assert found is not None
    what, path = _sentence(found["what"]), (found["path"] or "").lstrip(".")
    if not path and what.endswith("leave it out"):
        what += f" (known: {', '.join(getattr(kind, '__struct_encode_fields__', ())) or 'none'})"
    return Malformed(f"{path or 'the body'} {what}", **({"field": path} if path else {}))


def _sentence(what: str) -> str:
    """What msgspec says of a value, in words that somebody who sends JSON uses."""
    if match := _EXPECTED.match(what):
        wanted, got = (" or ".join(_KINDS.get(kind.strip(), kind.strip()) for kind in text.split("|"))
                       for text in match.groups())
        return f"is {got}, {wanted} is expected"
    if match := _LACKS.match(what):
        return f"lacks {match[1]!r}; send it"
    if match := _EXTRA.match(what):
        return f"has a field {match[1]!r} that is not known here; leave it out"
    return f"is wrong: {what.replace('`', '')}"


def _check_depth(body: bytes) -> None:
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return
    depth = 0
    for token in _TOKENS.finditer(body):
        mark = token[0]
        if mark in (b"[", b"{"):
            depth += 1
            if depth > MAX_DEPTH:
                raise TooLarge(f"the body nests deeper than {MAX_DEPTH} brackets")
        elif mark in (b"]", b"}"):
            depth -= 1


def _check_keys(body: bytes) -> None:
    if len(body) > DUPLICATES_BELOW_BYTES:
        return
    try:
        json.loads(body.decode(), object_pairs_hook=_once)
    except _Twice as twice:
        raise Malformed(f"the key {twice.args[0][:80]!r} appears twice in one object; which of the two counts is not "
                        "defined. Send it once", field=str(twice.args[0])[:80]) from None
    except (ValueError, RecursionError):
        return                                # the typed decode says what is wrong


class _Twice(Exception):
    """A key that was there before."""


def _once(pairs: list[tuple[str, object]]) -> None:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise _Twice(key)
        seen.add(key)
