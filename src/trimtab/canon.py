"""Which bytes stand for a value, and what is their name?

Canonical JSON (sorted keys, no spaces, UTF-8, shortest round-trip floats) and SHA-256 digests written
`sha256:<hex>`. Two equal values have one text and so one digest, on every machine.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from pathlib import Path
from typing import BinaryIO

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_CHUNK_BYTES = 1 << 20


class Digest(str):
    """The name of some bytes: `sha256:` and 64 hex digits.

    >>> digest_bytes(b"").short
    'sha256:e3b0c4'
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Digest:
        if not _DIGEST.fullmatch(text):
            raise ValueError(f"not a digest: {text[:80]!r}; expected 'sha256:' and 64 hex digits")
        return super().__new__(cls, text)

    @property
    def hex(self) -> str:
        """The 64 hex digits alone."""
        return self[7:]

    @property
    def short(self) -> str:
        """What people see: the first six hex digits."""
        return self[:13]


def dumps(value: object) -> bytes:
    """Canonical JSON of `value` (dicts with string keys, lists, tuples, strings, numbers, booleans, None).

    Raises ValueError on NaN or infinity, TypeError on anything else that JSON can't hold.

    >>> dumps({"b": 1, "a": [1.5, None, "é"]}).decode()
    '{"a":[1.5,null,"é"],"b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def loads(text: bytes | str) -> object:
    """The inverse of `dumps`; any JSON is read, duplicate keys are refused with ValueError."""
    return json.loads(text, object_pairs_hook=_unique)


def digest_bytes(data: bytes | memoryview) -> Digest:
    """SHA-256 of bytes held in memory."""
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())


def digest_json(value: object) -> Digest:
    """SHA-256 of the canonical JSON of `value`."""
    return digest_bytes(dumps(value))


def digest_stream(source: BinaryIO) -> Digest:
    """SHA-256 of what is left in an open binary file, in constant memory."""
    running = hashlib.sha256()
    while chunk := source.read(_CHUNK_BYTES):
        running.update(chunk)
    return Digest("sha256:" + running.hexdigest())


def digest_file(path: Path) -> Digest:
    """SHA-256 of a file, in constant memory."""
    with path.open("rb") as source:
        return digest_stream(source)


def finite(value: object) -> object:
    """`value` with NaN and infinities replaced by None, deeply: what may go into JSON for people and machines."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} appears twice in one JSON object")
        found[key] = value
    return found
