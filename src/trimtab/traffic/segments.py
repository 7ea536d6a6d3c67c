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
from typing import Final, Literal

import msgspec

FORMAT = "trimtab.traffic/1"
_FRAME = struct.Struct("<II")
_MAX_RECORD_BYTES = 1 << 28
_HEADER_BYTES = 1024
_LARGEST = 10**308

Stage = Literal["champion", "version", "shadow", "canary", "batch"]
KEPT, FAILED, FALLBACK = "kept", "failed", "fallback"          # verdicts
SHADOW = "shadow"                             # the stage of what was computed and not answered
BATCH: Final = "batch"                         # the stage of what `trimtab score` computed: nobody asked for it live
Value = float | int | bool | str | None


class Row(msgspec.Struct, frozen=True, array_like=True):
    """One prediction of a request. output: a number or a class; probabilities: in the order of the classes."""

    id: str
    position: int                              # among the rows that were computed together
    features: dict[str, Value]                 # raw columns that the contract names as features
    output: Value
    probabilities: list[float] | None = None
    key: str | None = None                     # what labels may be joined by: the row's id column
    redacted: tuple[str, ...] = ()             # features that were left out or masked
    subject: str | None = None                 # whose row it is, under a key that can be destroyed
    why: str = ""                              # there is no answer of the model's own, where there is none


class Record(msgspec.Struct, frozen=True, array_like=True, tag="request"):
    """One computed request: all its rows from one version. Beside what was answered (stage champion, version, canary)
    there may be one of stage shadow, of the same ids: what the version that did not answer made of the rows."""

    batch: str                                 # the id of its first prediction
    at: str                                    # `clock.to_text`
    model: str
    endpoint: str
    version: int
    stage: Stage
    verdict: str                               # "kept": the contract, by every row; "failed": the model gave no output;
                                               # "fallback": it was not asked, the output is what was answered instead
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
    """A record as it is appended; whole numbers beyond 64 bits as floating point, in which the model saw them."""
    try:
        payload = _encoder.encode(record)
    except OverflowError:
        assert isinstance(record, Record)
        payload = _encoder.encode(msgspec.structs.replace(record, rows=tuple(msgspec.structs.replace(
            row, features={name: narrow(value) for name, value in row.features.items()}) for row in record.rows)))
    return _FRAME.pack(len(payload), zlib.crc32(payload)) + payload


def narrow(value: Value) -> Value:
    """The value, an integer beyond 64 bits as the nearest finite floating point.

    >>> narrow(7), narrow(10**30), narrow(-(10**400))
    (7, 1e+30, -1e+308)
    """
    if not isinstance(value, int) or abs(value) < 2**63:
        return value
    return float(min(max(value, -_LARGEST), _LARGEST))


def read(path: Path) -> Iterator[Record]:
    """The whole records of a segment, oldest first; none of a segment of another format.

    What follows the first damaged or unfinished record is not read: it was never acknowledged, or it can't be trusted.
    """
    for _, found in _whole(memoryview(path.read_bytes())):
        if isinstance(found, Record):
            yield found


def whole(path: Path) -> bool:
    """Is all of the segment read, but for a record that was never finished at its end?

    False where a record is damaged and others may follow it, and of another format.
    """
    data = path.read_bytes()
    end = max((place for place, _ in _whole(memoryview(data))), default=0)
    rest = data[end:]
    if len(rest) < _FRAME.size or not rest.strip(b"\0"):        # a power cut may leave zeros
        return end > 0
    length, _ = _FRAME.unpack_from(rest)
    return end > 0 and len(rest) < _FRAME.size + length <= _FRAME.size + _MAX_RECORD_BYTES


def find(path: Path, prediction: str, not_after: str) -> Record | None:
    """The answered request that a prediction came in, where this segment has it; what only computed along is not it.

    not_after: a moment (`clock.to_text`); a segment that was opened later is not searched, "" searches each. Looks for
    the id's bytes first and walks the records only up to there: some ms for 16 MB.
    """
    with path.open("rb") as file:
        opened = next(iter(_whole(memoryview(file.read(_HEADER_BYTES)))), None)
        if opened is None or (not_after and isinstance(opened[1], Header) and opened[1].opened_at > not_after):
            return None
        file.seek(0)
        data = file.read()
    wanted = prediction.encode()
    start, unpack, head = 0, _FRAME.unpack_from, _FRAME.size
    hit = data.find(wanted)
    while hit >= 0:
        end = start
        while end <= hit:
            if end + head > len(data):
                return None
            start, end = end, end + head + unpack(data, end)[0]
        record = next((found for _, found in _whole(memoryview(data)[start:end])), None)
        if isinstance(record, Record) and record.stage != SHADOW and any(row.id == prediction for row in record.rows):
            return record
        start, hit = end, data.find(wanted, end)               # it was only mentioned there
    return None


def _whole(data: memoryview) -> Iterator[tuple[int, Record | Header]]:
    """Whole records, each with the place where it ends."""
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
        if isinstance(found, Header) and found.format != FORMAT:
            return
        yield place, found
