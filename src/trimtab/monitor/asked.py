"""Which rows were asked about, what was answered, and what turned out true?  Traffic, as monitoring reads it.

The one place that knows the names of the columns of a traffic frame (`traffic/query.py` makes it).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from trimtab.errors import Malformed
from trimtab.traffic.segments import FAILED, FALLBACK

if TYPE_CHECKING:
    import polars as pl

Array = NDArray[np.float64]
NEEDED: Final = ("id", "at", "features", "output")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Rows of traffic of one version, in the order of prediction ids (which is the order of time).

    features: raw columns. output: what was answered. probabilities: shape (rows, classes), NaN where there are none.
    label: what turned out true, null where it is not known; label_at: when that arrived. fallen: which rows a fallback
    answered, because they were broken or a sensor was stuck: their answer is not the version's, so it is left out.
    """

    ids: Sequence[str]
    at: Sequence[str]
    features: pl.DataFrame
    output: pl.Series
    probabilities: Array | None
    label: pl.Series
    label_at: Sequence[str | None]
    fallen: NDArray[np.bool_]

    @classmethod
    def of(cls, frame: pl.DataFrame) -> Asked:
        """From a traffic frame: `id`, `at`, `features` (a struct, or JSON text), `output`, and where there are any
        `probabilities` (list), `label`, `label_at`. Rows that were answered by a shadow are left out where `stage` says
        so. Raises Malformed naming a column that is not there."""
        import polars as pl

        missing = [name for name in NEEDED if name not in frame.columns]
        if missing:
            raise Malformed(f"the traffic has no column {missing[0]!r}; it has {', '.join(frame.columns)}")
        if "stage" in frame.columns:
            frame = frame.filter(pl.col("stage").is_null() | (pl.col("stage") != "shadow"))
        fallen = np.zeros(frame.height, dtype=np.bool_)
        frame = frame.sort("id")
        if "verdict" in frame.columns:
            frame = frame.filter(pl.col("verdict").is_null() | (pl.col("verdict") != FAILED))
            is_own = pl.col("verdict").is_null() | (pl.col("verdict") != FALLBACK)
            fallen = ~frame.select(is_own).to_series().to_numpy()
            own = [name for name in ("output", "probabilities", "label", "label_at") if name in frame.columns]
            frame = frame.with_columns(pl.when(is_own).then(pl.col(name)).alias(name) for name in own)
        empty = pl.Series("label", [None] * frame.height, dtype=pl.String)
        return cls(ids=frame["id"].to_list(), at=_texts(frame["at"]), features=_features(frame["features"], fallen),
                   output=frame["output"], fallen=fallen, probabilities=_probabilities(frame),
                   label=frame["label"] if "label" in frame.columns else empty,
                   label_at=_texts(frame["label_at"]) if "label_at" in frame.columns else [None] * frame.height)

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self.ids)

    def take(self, start: int, stop: int) -> Asked:
        """The rows start … stop − 1."""
        part = slice(start, stop)
        return Asked(ids=self.ids[part], at=self.at[part], features=self.features[part], output=self.output[part],
                     probabilities=None if self.probabilities is None else self.probabilities[part],
                     label=self.label[part], label_at=self.label_at[part], fallen=self.fallen[part])


def truth(asked: Asked, task: str, classes: Sequence[object]) -> tuple[NDArray[np.bool_], Array]:
    """(which rows have a usable label, their truths as numbers or codes into `classes`), both of shape (rows,).

    A label that is no number, or no class that the model knows, is not usable.
    """
    values = [_plain(one) for one in asked.label.to_list()]
    if task == "regression":
        y = np.array([_number(one) for one in values], dtype=np.float64)
    else:
        place = {word(label): code for code, label in enumerate(classes)}
        y = np.array([np.nan if one is None else place.get(word(one), np.nan) for one in values], dtype=np.float64)
    return np.isfinite(y), y


def guesses(asked: Asked, task: str, classes: Sequence[object]) -> Array:
    """What was answered: numbers, shape (rows,), for regression; else probabilities, shape (rows, classes).

    A classifier without probabilities is taken to give its answer 1 and the others 0.
    """
    answers = [_plain(one) for one in asked.output.to_list()]
    if task == "regression":
        return np.array([_number(one) for one in answers], dtype=np.float64)
    if asked.probabilities is not None and asked.probabilities.shape[1] == len(classes):
        return asked.probabilities
    place = {word(label): code for code, label in enumerate(classes)}
    out = np.full((asked.rows, len(classes)), np.nan)
    for row, answer in enumerate(answers):
        if (code := place.get(word(answer))) is not None:
            out[row], out[row, code] = 0.0, 1.0
    return out


def watched_answers(asked: Asked, task: str, classes: Sequence[object], *, categorical: bool) -> pl.Series:
    """The answers as the column `PREDICTION` counts them: numbers, the positive class's probability of two classes, or
    the label as text."""
    import polars as pl

    if categorical:
        return pl.Series("answer", [None if one is None else word(_plain(one)) for one in asked.output.to_list()],
                         dtype=pl.String)
    found = guesses(asked, task, classes)
    return pl.Series("answer", found if found.ndim == 1 else found[:, -1], dtype=pl.Float64)


def _features(column: pl.Series, fallen: NDArray[np.bool_]) -> pl.DataFrame:
    import polars as pl

    if isinstance(column.dtype, pl.Struct):
        return column.struct.unnest()
    rows = [json.loads(text) if isinstance(text, str | bytes) else text or {} for text in column.to_list()]
    names = list(dict.fromkeys(name for row in rows for name in row))
    odd = fallen.tolist() if fallen.any() and not fallen.all() else None
    return pl.DataFrame([_typed(name, [row.get(name) for row in rows], odd) for name in names]) if names else \
        pl.DataFrame({"": [None] * len(rows)}).drop("")


def _typed(name: str, values: list[Any], odd: list[bool] | None = None) -> pl.Series:
    """A column of the values' own type; as text where they are of several, so that the contract's rule can say so. What
    is of another type in an `odd` row only, which is known to be broken, is missing, so that the others are read."""
    import polars as pl

    if odd is not None:
        plain = {_kind(value) for value, off in zip(values, odd, strict=True) if not off and value is not None}
        values = [None if off and plain and _kind(value) not in plain else value
                  for value, off in zip(values, odd, strict=True)]
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float}:
        return pl.Series(name, [None if value is None else float(value) for value in values], dtype=pl.Float64)
    if len(kinds) == 1 and kinds <= {bool, str}:
        return pl.Series(name, values, dtype=pl.Boolean if bool in kinds else pl.String)
    return pl.Series(name, [None if value is None else json.dumps(value) for value in values], dtype=pl.String)


def _kind(value: Any) -> type:
    return float if type(value) is int else type(value)


def _probabilities(frame: pl.DataFrame) -> Array | None:
    if "probabilities" not in frame.columns:
        return None
    rows = [_plain(one) for one in frame["probabilities"].to_list()]
    width = max((len(row) for row in rows if row), default=0)
    if not width:
        return None
    return np.array([row if row and len(row) == width else [np.nan] * width for row in rows], dtype=np.float64)


def _texts(column: pl.Series) -> list[Any]:
    if column.dtype.is_temporal():
        from trimtab import clock

        return [None if one is None else clock.to_text(one) for one in column.dt.replace_time_zone("UTC").to_list()]
    return column.to_list()


def _plain(value: Any) -> Any:
    """A value, also where it is stored as JSON text: `"3.5"` is 3.5, `"\\"low\\""` and `"low"` are low."""
    if hasattr(value, "to_list"):
        return value.to_list()
    if isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _number(value: Any) -> float:
    if value is None or isinstance(value, bool | str | Mapping | list):
        return float("nan")
    return float(value)


def word(value: object) -> str:
    """How labels are compared: 1, 1.0 and "1" are one; true is "true"."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
