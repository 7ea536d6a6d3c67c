"""What may the flight recorder keep of a column?  (`log = "keep" | "hash" | "drop"` in contract.toml)

Applied before a row is written: what is dropped is not on disk, what is hashed is an HMAC under the workspace's own key
(`keys/redaction.secret`), equal for equal values of a column and not to be undone without the key. The row says which
columns were touched.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from hashlib import sha256
from typing import Final

import msgspec

from trimtab.data.contract import Contract
from trimtab.traffic.segments import Record, Row, Value, narrow

Secret = Callable[[], bytes]
SECRET: Final = "redaction"                    # its name in the keyring
_UNSAID: Final = "the reason is not kept, since it may quote what is redacted"
_encode = msgspec.json.Encoder().encode


def hashed(secret: bytes, column: str, value: Value) -> str:
    """The HMAC-SHA256 of a value of a column, its first 128 bits: `hmac:` and 32 hex digits.

    >>> hashed(b"k" * 32, "city", "Graz") == hashed(b"k" * 32, "city", "Graz")
    True
    >>> hashed(b"k" * 32, "city", "Graz") == hashed(b"k" * 32, "town", "Graz")
    False
    """
    message = _encode([column, narrow(value)])
    return "hmac:" + hmac.new(secret, message, sha256).hexdigest()[:32]


def redacted(record: Record, contract: Contract, secret: Secret) -> Record:
    """The record as it may be written; itself where the contract keeps everything."""
    policy = contract.redacted
    if not policy:
        return record
    key = contract.id_column
    touched = tuple(name for name in policy if name != key)
    return msgspec.structs.replace(record, rows=tuple(msgspec.structs.replace(
        row, features={name: value if name not in policy else hashed(secret(), name, value)
                       for name, value in row.features.items() if policy.get(name) != "drop"},
        key=row.key if key is None else key_of(row.key, contract, secret), redacted=touched,
        why=_without_values(row)) for row in record.rows))


def key_of(key: str | None, contract: Contract, secret: Secret) -> str | None:
    """A row's key as it is kept: what labels are joined by, too."""
    column = contract.id_column
    log = contract.redacted.get(column or "")
    if key is None or column is None or log == "drop":
        return None if log == "drop" else key
    return hashed(secret(), column, key) if log == "hash" else key


def _without_values(row: Row) -> str:
    return f"{row.why.partition(':')[0]}: {_UNSAID}" if row.why else ""
