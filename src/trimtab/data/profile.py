"""What did each column look like?  Profile v1 of a dataset version: one sketch a column, the baseline of monitoring.

Numbers, integers and moments (days since 1970 UTC) are numeric sketches; categories and booleans are counted. Ids, and
text that is no category, have no sketch: their values say who somebody is, and tell no drift.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trimtab.data.contract import Column, Contract
from trimtab.data.encode import days_of
from trimtab.errors import Malformed
from trimtab.sketch.column import CategorySketch, NumericSketch, column_from_json

Sketch = NumericSketch | CategorySketch
SCHEMA: Final = "trimtab.profile/1"
_AT_ONCE: Final = 2                            # columns; each needs a few copies of itself


def profile(frame: pl.DataFrame, contract: Contract) -> dict[str, Sketch]:
    """A sketch of every column of `frame` that the contract describes, ids and free text apart. About 30 ms per 10⁶
    values.

    >>> from trimtab.data.infer import infer_contract
    >>> table = pl.DataFrame({"x": [1.5, None, 3.0], "y": [0, 1, 1]})
    >>> profile(table, infer_contract(table))["x"].missing
    1
    """
    columns = [column for column in contract.columns
               if column.name in frame.columns and column.role != "id" and column.type != "text"]
    with ThreadPoolExecutor(_AT_ONCE) as several:      # sorting and sums run outside Python's lock
        made = several.map(lambda column: sketch(frame[column.name], column), columns)
        return {column.name: one for column, one in zip(columns, made, strict=True)}


def sketch(values: pl.Series, column: Column) -> Sketch:
    """The sketch of one column; categories are the contract's, so that later windows count under the same names."""
    if column.type in ("category", "boolean"):
        text = values.cast(pl.String)
        counted = text.value_counts()
        counts = {name: int(n) for name, n in counted.iter_rows() if name is not None}
        names = column.categories or (("false", "true") if column.type == "boolean" else None)
        return CategorySketch.of_counts(counts, values.null_count(), names)
    return NumericSketch.of(_floats(values))


def to_json(sketches: Mapping[str, Sketch]) -> dict[str, object]:
    """A profile as it is stored: `{"schema", "columns": {name: sketch}}`."""
    return {"schema": SCHEMA, "columns": {name: one.to_json() for name, one in sketches.items()}}


def from_json(stored: object) -> dict[str, Sketch]:
    """The inverse of `to_json`. Raises Malformed."""
    columns = stored.get("columns") if isinstance(stored, Mapping) and stored.get("schema") == SCHEMA else None
    if not isinstance(columns, Mapping):
        raise Malformed(f"a stored profile is not of the form {SCHEMA}; make it anew from the data")
    return {str(name): column_from_json(one) for name, one in columns.items()}


def _floats(values: pl.Series) -> NDArray[np.float64]:
    """float64 with NaN for missing; moments as days."""
    if isinstance(values.dtype, pl.Datetime):
        return days_of(values)
    return values.cast(pl.Float64).fill_null(float("nan")).to_numpy()
