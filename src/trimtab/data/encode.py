"""What does an estimator see of a table?  One float64 matrix, whose columns are the contract's features in order.

number, integer → the value · boolean → 0 or 1 · category → place in the contract's list (an unknown one → -1) ·
datetime → days since 1970-01-01 UTC · missing → NaN. Rows are not checked against the contract here: see `check.py`.
A single request's row is encoded by `rows.py`, to the same numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trimtab.data.contract import Column, Contract
from trimtab.data.moments import DAY_US, days
from trimtab.errors import ContractViolation

Label = str | int | bool


def encode(contract: Contract, frame: pl.DataFrame) -> NDArray[np.float64]:
    """The matrix of `frame`, shape (rows, features), float64, C order.

    A feature that the frame does not have is missing in every row where the contract allows that. Raises
    ContractViolation where it does not, or where a column's type can't be encoded.
    """
    out = np.empty((frame.height, len(contract.features)), dtype=np.float64)
    for place, column in enumerate(contract.features):
        out[:, place] = _numbers(column, frame)
    return out


def encode_target(contract: Contract, frame: pl.DataFrame,
                  task: str) -> tuple[NDArray[Any], tuple[Label, ...]]:
    """The target: (float64 values, ()) for regression, else (int64 codes, classes sorted by value).

    Classes are str, int or bool; decimals that are whole become int. Raises ContractViolation where a value is missing
    or not finite.
    """
    column = contract.target
    if column.name not in frame.columns:
        raise ContractViolation(f"the table has no target column {column.name}; its columns are "
                                f"{', '.join(frame.columns[:8])}")
    values = frame[column.name]
    if task == "regression":
        y = _numbers(column, frame)
        if (bad := int((~np.isfinite(y)).sum())):
            raise ContractViolation(f"the target {column.name} is missing or not finite in {bad:,} rows "
                                    f"(the first: row {int(np.argmax(~np.isfinite(y))) + 1}). Remove those rows.")
        return y, ()
    if values.null_count():
        raise ContractViolation(f"the target {column.name} is missing in {values.null_count():,} rows. Remove them.")
    if values.dtype.is_float():
        if not (values == values.round(0)).all():
            raise ContractViolation(f"the target {column.name} has decimals, which can't be classes; "
                                    'set task = "regression".')
        values = values.cast(pl.Int64)
    classes = values.unique().sort()
    codes = values.replace_strict(classes, pl.int_range(classes.len(), eager=True), return_dtype=pl.Int64)
    return codes.to_numpy(), tuple(classes.to_list())


def decode_target(classes: tuple[Label, ...], codes: NDArray[np.integer[Any]]) -> list[Label]:
    """The labels that codes stand for."""
    return [classes[code] for code in codes.tolist()]


def _numbers(column: Column, frame: pl.DataFrame) -> NDArray[np.float64]:
    if column.name not in frame.columns:
        if column.missing and column.role == "feature":
            return np.full(frame.height, np.nan)
        raise ContractViolation(f"the table has no column {column.name}, which the contract needs. Its columns: "
                                f"{', '.join(frame.columns[:8])}{', …' if frame.width > 8 else ''}")
    values = frame[column.name]
    kind = values.dtype
    if kind.is_float() and column.type not in ("number", "integer"):
        values = values.fill_nan(None)
    if values.null_count() == values.len():                # of any type: an empty column of a file is read as text
        return np.full(frame.height, np.nan)
    if kind.is_numeric() if column.type in ("number", "integer") else column.type == "boolean" and kind == pl.Boolean:
        return _floats(values.cast(pl.Float64))
    if column.type == "category" and kind in (pl.String, pl.Categorical, pl.Enum):
        return _codes(column, values.cast(pl.String))
    if column.type == "datetime":
        if kind == pl.String:
            distinct = values.unique().drop_nulls()
            parsed = pl.Series([days(text) for text in distinct], dtype=pl.Float64)
            return _floats(values.replace_strict(distinct, parsed, default=None, return_dtype=pl.Float64))
        if kind == pl.Date or isinstance(kind, pl.Datetime):
            return days_of(values)
    raise ContractViolation(f"{column.name} holds {kind} where the contract says {column.type}. Read the column as "
                            f"{column.type}, or change it: trimtab contract edit {column.name}")


def days_of(values: pl.Series) -> NDArray[np.float64]:
    """Days since 1970-01-01 UTC of a Date or Datetime column, NaN where missing; the same numbers as `moments.days`.

    NumPy divides, since Polars multiplies with the reciprocal, which can differ in the last bit.
    """
    microseconds = values.cast(pl.Datetime("us")).dt.timestamp("us")
    found = microseconds.fill_null(0).to_numpy().astype(np.float64) / DAY_US
    if values.null_count():
        found[values.is_null().to_numpy()] = np.nan
    return found


def _codes(column: Column, values: pl.Series) -> NDArray[np.float64]:
    known = pl.Series(column.categories, dtype=pl.String)
    codes = values.replace_strict(known, pl.int_range(known.len(), eager=True).cast(pl.Float64), default=-1.0,
                                  return_dtype=pl.Float64)
    return _floats(codes.set(values.is_null(), None) if values.null_count() else codes)


def _floats(values: pl.Series) -> NDArray[np.float64]:
    return values.fill_null(float("nan")).to_numpy()
