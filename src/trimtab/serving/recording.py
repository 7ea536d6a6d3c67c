"""What does the flight recorder keep of a computation, whether it answered, computed along, or failed?"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from trimtab.registry.bundle import Bundle, Prediction
from trimtab.serving.fallback import Instead
from trimtab.serving.source import Place
from trimtab.traffic.segments import FAILED, FALLBACK, KEPT, Record, Row, Stage, Value

_CHARS: Final = 200
Rows = Sequence[Mapping[str, object]]


@dataclass(frozen=True, slots=True)
class Computed:
    """What a version made of rows: a prediction, or why there is none."""

    prediction: Prediction | None
    latency_us: int
    failure: str = ""


def computed(bundle: Bundle, rows: Rows) -> Computed:
    """The prediction of a version whose failure is nobody's but its own; raises nothing that it raises."""
    begun = time.perf_counter()
    made: Prediction | None = None
    try:
        found = bundle.predict_rows(rows)
        whole = len(found.values) == len(rows)
        made, failure = (found, "") if whole else (None, f"{len(found.values)} answers for {len(rows)} rows")
    except Exception as problem:  # noqa: BLE001  an estimator may raise anything
        made, failure = None, f"{type(problem).__name__}: {str(problem)[:200]}"
    return Computed(made, int((time.perf_counter() - begun) * 1e6), failure)


def recorded(bundle: Bundle, place: Place, ids: Sequence[str], rows: Rows, at: str, stage: Stage, latency_us: int,
             made: Prediction | None) -> Record:
    """The record of one computation: the contract's features as they came, the row's id as its key; made None: failed,
    and its outputs are null."""
    features, key = bundle.contract.feature_names, bundle.contract.id_column
    names = features.keys()
    nothing: list[None] = [None] * len(rows)
    values = nothing if made is None else made.values
    shares = nothing if made is None or made.probabilities is None else made.probabilities.tolist()
    return Record(
        batch=ids[0], at=at, model=place.model, endpoint=place.endpoint, version=bundle.number, stage=stage,
        verdict=FAILED if made is None else KEPT, latency_us=latency_us, rows=tuple([
            Row(id=name, position=at_row, output=value, probabilities=share,
                features=row if row.__class__ is dict and row.keys() == names else {
                    one: row.get(one) for one in features},  # type: ignore[misc]
                key=None if key is None or row.get(key) is None else str(row[key]))
            for at_row, (name, row, value, share) in enumerate(zip(ids, rows, values, shares, strict=True))]))


def recorded_instead(bundle: Bundle, place: Place, ids: Sequence[str], rows: Rows, at: str,
                     instead: Sequence[Instead]) -> Record:
    """The record of rows that the model gave no answer to, with what was answered and why; a value of a kind that no
    column has is kept as text."""
    made = recorded(bundle, place, ids, [{name: _plain(value) for name, value in row.items()} for row in rows], at,
                    "champion", 0, None)
    failed = any(one.on == "fault" for one in instead)
    return replace(made, verdict=FAILED if failed else FALLBACK, rows=tuple(
        replace(row, output=one.value, why=f"{one.kind}: {one.why}")
        for row, one in zip(made.rows, instead, strict=True)))


def _plain(value: object) -> Value:
    return value if value is None or isinstance(value, bool | int | float) else str(value)[:_CHARS]
