"""Which values in this column may stand for "missing"?  Zeros where zero is odd, and sentinels like -999."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import polars as pl

MANY_ZEROS: Final = 0.1                        # share of rows from which zeros belong to the column
SENTINELS: Final = (-1.0, -9.0, -99.0, -999.0, -9999.0, 99.0, 999.0, 9999.0, 99999.0, -32768.0, 1e10, -1e10)
ODD_DATES: Final = (datetime(1900, 1, 1), datetime(1970, 1, 1), datetime(9999, 12, 31), datetime(1899, 12, 30))
_FEWEST_ROWS: Final = 20
_ENOUGH: Final = 20_000                        # values, evenly spaced, for a median
_SENTINEL_GAP: Final = 3.0                     # the sentinel lies this many ranges of the other values away from them


def suspicious_zeros(column: pl.Series) -> int:
    """How many rows are exactly 0 where that is odd; 0 where nothing is odd.

    Odd: all values ≥ 0, zeros are at most 10% of the rows, and either the other values hardly ever repeat (so a value
    that does is a mark), or the smallest of them lies far from 0 (above a fifth of their median).

    >>> suspicious_zeros(pl.Series([0, 0] + [60 + i % 40 for i in range(98)]))
    2
    >>> suspicious_zeros(pl.Series([i % 40 for i in range(100)]))
    0
    """
    if not column.dtype.is_numeric() or column.len() < _FEWEST_ROWS:
        return 0
    zeros = int((column == 0).sum())
    if zeros == 0 or zeros > MANY_ZEROS * column.len() or (column < 0).any():
        return 0
    others = column.filter(column > 0)
    if others.is_empty():
        return 0
    some = others.gather_every(max(1, others.len() // _ENOUGH))
    smallest, middle = float(others.min()), float(some.median())                        # type: ignore[arg-type]
    if smallest > 0.2 * middle:
        return zeros
    seldom = column.dtype == pl.Float64 and zeros >= 2 and some.n_unique() > 0.5 * some.len()
    return zeros if seldom else 0


def sentinel(column: pl.Series) -> tuple[float | datetime, int] | None:
    """A value that looks like a mark for "missing", and how often it occurs; None where there is none.

    A number is a sentinel where it is one of the usual ones, is the smallest or largest value, occurs at least twice,
    and lies three ranges of the other values away from them. A date is one where it is 1900-01-01, 1970-01-01 or
    alike, twice.

    >>> sentinel(pl.Series([-999.0, -999.0, *range(50)]))
    (-999.0, 2)
    """
    if isinstance(column.dtype, pl.Datetime):
        for moment in ODD_DATES:
            if (count := int((column == moment).sum())) >= 2 and count < column.len():
                return moment, count
        return None
    if not column.dtype.is_numeric() or column.len() < _FEWEST_ROWS:
        return None
    low, high = column.min(), column.max()
    for edge in (low, high):
        if not isinstance(edge, int | float) or float(edge) not in SENTINELS:
            continue
        count = int((column == edge).sum())
        others = column.filter(column != edge)
        if count < 2 or others.is_empty():
            continue
        first, last = float(others.min()), float(others.max())                          # type: ignore[arg-type]
        if max(first - edge, edge - last) > _SENTINEL_GAP * max(last - first, 1e-12):
            return float(edge), count
    return None
