"""How are tensors read from bytes, and written as bytes?  (the protocol's binary extension, and gRPC's raw contents)

Little-endian, row by row, nothing between the elements; BOOL is one byte, 0 or 1; BYTES are a length of four bytes and
then the text, element by element. Over HTTP the bytes follow the JSON, whose length a header tells.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from math import prod
from typing import Any, Final

import msgspec
import numpy as np

from trimtab.doors import wire
from trimtab.doors.inference.tensors import InferRequest, least_keys
from trimtab.errors import Malformed

HEADER: Final = "Inference-Header-Content-Length"
_NUMPY: Final = {"BOOL": "u1", "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "INT8": "i1",
                 "INT16": "<i2", "INT32": "<i4", "INT64": "<i8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8"}


def read(body: bytes, length: str | None) -> InferRequest:
    """An inference request: JSON, or JSON of `length` bytes (the header's text) and tensors after it.

    Raises Malformed, TooLarge.
    """
    if length is None:
        request = wire.decode(body, InferRequest, keys=least_keys)
    elif not (length.isascii() and length.isdigit() and int(length) <= len(body)):
        raise Malformed(f"{HEADER} must be how many bytes of the body are JSON, at most {len(body):,}; it is "
                        f"{length[:20]!r}", field=HEADER)
    else:
        request = wire.decode(body[:int(length)], InferRequest)
    rest = memoryview(body)[int(length):] if length is not None else memoryview(b"")
    inputs = []
    for tensor in request.inputs:
        size = tensor.parameters.get("binary_data_size")
        if size is None:
            inputs.append(tensor)
            continue
        if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= len(rest):
            raise Malformed(f"{tensor.name[:80]}: binary_data_size is {str(size)[:20]}, and {len(rest):,} bytes are "
                            "left after the JSON", field=tensor.name[:80])
        if tensor.data is not msgspec.UNSET:
            raise Malformed(f"{tensor.name[:80]}: send data or binary_data_size, not both", field=tensor.name[:80])
        inputs.append(msgspec.structs.replace(
            tensor, data=unpack(tensor.name[:80], tensor.datatype, tensor.shape, rest[:size])))
        rest = rest[size:]
    if len(rest):
        raise Malformed(f"{len(rest):,} bytes are left after the last tensor; their binary_data_size should add up to "
                        "all that follows the JSON")
    return msgspec.structs.replace(request, inputs=inputs)


def unpack(name: str, datatype: str, shape: Sequence[int], raw: bytes | memoryview) -> list[Any]:
    """The values of a tensor, flat; NaN is a missing value (None). Raises Malformed where the bytes do not fit."""
    if not shape or any(size < 0 for size in shape):
        raise Malformed(f"{name}: shape {list(shape)[:8]} must be whole numbers from 0 on", field=name)
    count = prod(shape)
    if datatype == "BYTES":
        return _texts(name, count, bytes(raw))
    kind = np.dtype(_NUMPY[datatype])
    if len(raw) != count * kind.itemsize:
        raise Malformed(f"{name}: shape {list(shape)[:8]} of {datatype} means {count * kind.itemsize:,} bytes, and "
                        f"there are {len(raw):,}", field=name)
    values = np.frombuffer(raw, dtype=kind)
    if datatype == "BOOL":
        if (values > 1).any():
            raise Malformed(f"{name}: a BOOL is one byte, 0 or 1, and there is a {int(values.max())}", field=name)
        return list(values.astype(bool).tolist())
    made: list[Any] = values.tolist()
    if kind.kind == "f" and np.isnan(values).any():
        made = [None if value != value else value for value in made]
    return made


def pack(datatype: str, values: Sequence[Any]) -> bytes:
    """The bytes of a tensor; None is NaN.

    >>> pack("BYTES", ["no", "是"])
    b'\\x02\\x00\\x00\\x00no\\x03\\x00\\x00\\x00\\xe6\\x98\\xaf'
    >>> unpack("x", "FP32", [2], pack("FP32", [0.5, None]))
    [0.5, None]
    """
    if datatype == "BYTES":
        texts = [str(value).encode() for value in values]
        return b"".join(struct.pack("<I", len(text)) + text for text in texts)
    if _NUMPY[datatype][-2] == "f":
        values = [np.nan if value is None else value for value in values]
    return np.asarray(values, dtype=_NUMPY[datatype]).tobytes()


def write(answer: dict[str, Any], request: InferRequest) -> tuple[bytes, int | None]:
    """The body for an answer, and how much of it is JSON: None where all of it is. Raises Malformed."""
    whole = _asked(request.parameters.get("binary_data_output", False), "binary_data_output")
    each = {one.name: _asked(one.parameters.get("binary_data", whole), "binary_data") for one in request.outputs or ()}
    tail: list[bytes] = []
    for output in answer["outputs"]:
        if each.get(output["name"], whole):
            tail.append(pack(output["datatype"], output.pop("data")))
            output["parameters"] = {**output.get("parameters", {}), "binary_data_size": len(tail[-1])}
    head = wire.encode(answer)
    return (head + b"".join(tail), len(head)) if tail else (head, None)


def _asked(value: object, name: str) -> bool:
    if not isinstance(value, bool):
        raise Malformed(f"{name} is true or false, not {str(value)[:40]}", field=name)
    return value


def _texts(name: str, count: int, raw: bytes) -> list[Any]:
    made: list[Any] = []
    place = 0
    while place < len(raw) and len(made) <= count:
        if place + 4 > len(raw) or (end := place + 4 + int.from_bytes(raw[place:place + 4], "little")) > len(raw):
            raise Malformed(f"{name}: element {len(made)} is longer than the bytes that are there; before each stands "
                            "its length, four bytes", field=name)
        try:
            made.append(raw[place + 4:end].decode())
        except UnicodeDecodeError:
            raise Malformed(f"{name}: element {len(made)} is not UTF-8", field=name) from None
        place = end
    if len(made) != count:
        raise Malformed(f"{name}: the shape means {count:,} elements, and the bytes hold "
                        f"{'more' if len(made) > count else f'{len(made):,}'}", field=name)
    return made
