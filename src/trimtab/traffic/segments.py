"""What stands in a segment of the flight recorder?  Its format, version 1; writing and reading one record.

A segment is a file that is only ever appended to. Each record is one answered request: four bytes of length and four of
CRC-32 (little-endian), then MessagePack. A process that was killed, or a power cut, may leave half a record at the end:
reading stops before it. The first record is the header.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

FORMAT = "trimtab.traffic/1"
_FRAME = struct.Struct("<II")
_MAX_RECORD_BYTES = 1 << 28

Stage = Literal["champion", "version", "shadow", "canary"]
Value = float | int | bool | str | None


class Row(msgspec.Struct, frozen=True, array_like=True):
    """One prediction of a request. output: a number or a class; probabilities: in the order of the classes."""

    id: str
    position: int                              # in the request
    features: dict[str, Value]                 # raw columns that the contract names as features
    output: Value
    probabilities: list[float] | None = None
    key: str | None = None                     # what labels may be joined by: the row's id column
    redacted: tuple[str, ...] = ()             # features that were left out or masked
    subject: str | None = None                 # whose row it is, under a key that can be destroyed


class Record(msgspec.Struct, frozen=True, array_like=True, tag="request"):
    """One answered request: all its rows from one version."""

    batch: str                                 # the id of its first prediction
    at: str                                    # `clock.to_text`
    model: str
    endpoint: str
    version: int
    stage: Stage
    verdict: str                               # of the contract: "kept"
    latency_us: int                            # of contract check and prediction
    rows: tuple[Row, ...]


class Header(msgspec.Struct, frozen=True, array_like=True, tag="header"):
    """The first record of a segment."""

    format: str
    writer: str
    opened_at: str


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Header | Record)


def framed(record: Record | Header) -> bytes:
    """A record as it is appended."""
    payload = _encoder.encode(record)
    return _FRAME.pack(len(payload), zlib.crc32(payload)) + payload


def read(path: Path) -> Iterator[Record]:
    """The whole records of a segment, oldest first; none of a segment of another format.

    What follows the first damaged or unfinished record is not read: it was never acknowledged, or it can't be trusted.
    """
    data = memoryview(path.read_bytes())
    place = 0
    while place + _FRAME.size <= len(data):
        length, check = _FRAME.unpack_from(data, place)
        payload = data[place + _FRAME.size:place + _FRAME.size + length]
        if length > _MAX_RECORD_BYTES or len(payload) < length or zlib.crc32(payload) != check:
            return
        place += _FRAME.size + length
        try:
            found = _decoder.decode(payload)
        except (msgspec.DecodeError, ValueError):
            return
        if isinstance(found, Record):
            yield found
        elif found.format != FORMAT:
            return
