"""Which rows does a body hold that names its columns, or only counts them?  (TensorFlow Serving and MLflow)

Both send rows as objects or lists, or a table as one list per column; numbers may be the tokens NaN and Infinity, and
text may come as {"b64": …}. NaN is a missing value; Infinity goes on as it is, and the contract says no to it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec

from trimtab.data.contract import Column
from trimtab.doors import wire
from trimtab.doors.inference.asking import Rows
from trimtab.doors.inference.tensors import MAX_ROWS
from trimtab.errors import Malformed, TooLarge
from trimtab.serving.answering import Answer

T = TypeVar("T")


def decode(body: bytes, kind: type[T]) -> T:
    """The body as a value of `kind`; NaN and Infinity may stand where numbers do. Raises Malformed, TooLarge."""
    wire.check(body)
    try:
        given: object = json.loads(body.decode())
    except (ValueError, RecursionError) as wrong:
        raise Malformed(f"the body is not JSON: {str(wrong)[:160]}") from None
    return wire.convert(given, kind)


def rows(given: Sequence[object], features: Sequence[Column], where: str) -> Rows:
    """Rows from a list of objects (columns by name) or of lists (features in order; a bare value where there is one).

    where: how the list is called in messages. Raises Malformed, TooLarge.
    """
    _bounded(len(given))
    return [_row(row, features, f"{where}[{place}]") for place, row in enumerate(given)]


def table(given: Mapping[str, object], where: str) -> Rows:
    """Rows from one list per column. Raises Malformed where they differ in length, TooLarge."""
    columns: dict[str, list[object]] = {}
    for name, values in given.items():
        if not isinstance(values, list):
            raise Malformed(f"{where}.{name[:80]}: a list with a value a row, not {type(values).__name__}",
                            field=f"{where}.{name[:80]}")
        columns[name] = values
    counts = {len(values) for values in columns.values()}
    if len(counts) > 1:
        raise Malformed(f"{where}: the columns have different numbers of rows ({sorted(counts)[:5]})", field=where)
    _bounded(max(counts, default=0))
    return [{name: plain(value, name) for name, value in zip(columns, row, strict=True)}
            for row in zip(*columns.values(), strict=True)]


def plain(value: object, column: str) -> object:
    """One cell: NaN is None, [x] is x, {"b64": …} is the text it stands for. Raises Malformed."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, dict) and value.keys() == {"b64"}:
        try:
            return base64.b64decode(value["b64"], validate=True).decode()
        except (TypeError, ValueError):
            raise Malformed(f"{column[:80]}: b64 holds base64 of text in UTF-8", field=column[:80]) from None
    return None if isinstance(value, float) and value != value else value


def parameters(answer: Answer) -> dict[str, object]:
    """What an answer says beside its predictions: the version that made them, and their names."""
    return {"version": answer.version, "prediction_ids": answer.ids}


def _row(row: object, features: Sequence[Column], where: str) -> dict[str, object]:
    if isinstance(row, dict) and row.keys() != {"b64"}:
        return {name: plain(value, name) for name, value in row.items()}
    values = row if isinstance(row, list) else [row]
    if len(values) != len(features):
        raise Malformed(f"{where}: {len(values)} values, and the model takes {len(features)}: "
                        f"{', '.join(column.name for column in features[:8])}; send them in this order, or by name",
                        field=where)
    return {column.name: plain(value, column.name) for column, value in zip(features, values, strict=True)}


def _bounded(count: int) -> None:
    if count > MAX_ROWS:
        raise TooLarge(f"{count:,} rows are over the limit of {MAX_ROWS:,} in one request; split them")


def one_of(given: Mapping[str, object]) -> str:
    """The name of the one field that is set. Raises Malformed where there are more, or none."""
    found = [name for name, value in given.items() if value is not msgspec.UNSET]
    if len(found) != 1:
        raise Malformed(f"send exactly one of {', '.join(given)}; the body has {' and '.join(found) or 'none of them'}")
    return found[0]
