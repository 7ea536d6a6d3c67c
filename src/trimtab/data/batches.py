"""How is a table read a stretch at a time?  (so that 10⁷ rows need no more memory than 10⁵)

Parquet files and lazy frames are streamed; everything else is read as `readers.read_table` reads it and handed out in
slices. A source can be gone through as often as is wanted, in the order of its rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from trimtab.data.readers import read_table
from trimtab.errors import DataUnreadable, UsageError

ROWS = 1 << 17                                 # of a batch: a column of it stays in a core's cache while it is sorted


class Batches:
    """The rows of a source in batches. source: a path (CSV, Parquet), a Polars frame or lazy frame, a pandas frame, or
    a matrix of numbers, shape (rows, columns), whose columns are called x1, x2, …

    name: what people call it; columns: of a Parquet file only these, as far as they are there; schema: type by column;
    rows: how many. Raises what `read_table` raises.
    """

    def __init__(self, source: Any, *, name: str = "", columns: Sequence[str] = ()) -> None:
        self._held: pl.DataFrame | None = None
        self._lazy: pl.LazyFrame | None = None
        self._sliced = False
        if isinstance(source, np.ndarray):
            source = _matrix(source)
        if isinstance(source, pl.LazyFrame):
            self._lazy = source
        elif isinstance(source, str | Path) and Path(source).suffix.lower() in (".parquet", ".pq") \
                and Path(source).is_file():
            self._lazy, self._sliced = pl.scan_parquet(Path(source)), True
        else:
            self._held = read_table(source).frame
        self.name = name or (Path(source).name if isinstance(source, str | Path) else type(source).__name__)
        try:
            if self._sliced and (known := [each for each in columns if each in self._stream().collect_schema()]):
                self._lazy = self._stream().select(known)
            self.schema = dict(self._held.schema if self._held is not None else self._stream().collect_schema())
            self.rows = self._held.height if self._held is not None else int(
                self._stream().select(pl.len()).collect().item())
        except (pl.exceptions.PolarsError, OSError) as problem:
            raise self._unreadable(problem) from None
        if not self.rows or not self.schema:
            raise DataUnreadable(f"{self.name} has {self.rows} rows × {len(self.schema)} columns; it needs one of "
                                 "each.")

    def __iter__(self) -> Iterator[pl.DataFrame]:
        if self._held is not None:
            yield from self._held.iter_slices(ROWS)
            return
        try:
            if self._sliced:
                for start in range(0, self.rows, ROWS):            # a third of the memory that batches of a stream take
                    yield self._stream().slice(start, ROWS).collect()
            else:
                yield from self._stream().collect_batches(chunk_size=ROWS, maintain_order=True)
        except (pl.exceptions.PolarsError, OSError) as problem:
            raise self._unreadable(problem) from None

    def _stream(self) -> pl.LazyFrame:
        assert self._lazy is not None
        return self._lazy

    def _unreadable(self, problem: Exception) -> DataUnreadable:
        return DataUnreadable(f"{self.name} can't be read as a table: {str(problem).splitlines()[0][:160]}. Write it "
                              "again, or give a CSV file.")


def _matrix(values: np.ndarray[Any, Any]) -> pl.DataFrame:
    if values.ndim != 2 or values.dtype.kind not in "iufb":
        raise UsageError(f"a matrix of numbers with shape (rows, columns) is wanted, this one has shape {values.shape} "
                         f"of {values.dtype}; give a data frame, or a matrix")
    return pl.DataFrame(values, schema=[f"x{place + 1}" for place in range(values.shape[1])])
