"""Which contract does this data suggest?  A first draft, written to be read and corrected by a person.

Rules, all of them stated here: ranges are the observed ones, widened by a quarter of their width on each side, rounded
outward to three digits of that width, and never across zero where no value is; times get no upper bound. Missing is
allowed where it was seen. Text becomes a closed category where each value comes back (at most 100 values, twice each
on average); other text is ignored. A column whose name says that it is an id is an id, never a feature.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Final, Literal

import polars as pl

from trimtab.data.contract import Column, ColumnType, Contract, Role
from trimtab.data.lookup import near, resolve_target
from trimtab.data.moments import DAY_US
from trimtab.data.suspects import suspicious_zeros
from trimtab.errors import DataUnreadable, UsageError

Task = Literal["regression", "binary", "multiclass"]

MARGIN: Final = 0.25                           # of the observed range, added on each side
MOST_CATEGORIES: Final = 100
MOST_INTEGER_CLASSES: Final = 10
MOST_CLASSES: Final = 50
_YEARS: Final = (1900, 2100)
ID_NAME: Final = re.compile(r"^(id|uuid|guid|key|index|idx|rowid|row_?(id|nr|no|num|number)|no\.?|nr\.?|#|unnamed.*)$"
                             r"|[_\-. ](id|uuid|guid)$|[a-z](Id|ID)$"
                            r"|(编号|序号|学号|工号|单号|流水号|行号|主键|身份证号?)$")


def infer_contract(frame: pl.DataFrame, *, target: str | int = -1, task: Task | None = None, ignore: Iterable[str] = (),
                   time: str | None = None, group: str | None = None, owner: str = "") -> Contract:
    """A contract that `frame` keeps, for predicting `target` (a name, or a place: -1 is the last column).

    frame: columns as `read_table` makes them. ignore, time, group: names of columns with that role. Raises UsageError
    for a name that is no column, DataUnreadable where nothing is left to learn from.
    """
    if frame.width < 2:
        raise DataUnreadable(f"the table has one column ({', '.join(frame.columns)}): a target and at least one "
                             "feature are needed. If it has more, check the delimiter: comma, semicolon, "
                             "tab and bar are found.")
    goal = resolve_target(frame.columns, target)
    asked = _roles(frame.columns, goal, tuple(ignore), time, group)
    kind = task or infer_task(frame, goal)
    columns = tuple(_column(frame[name], asked.get(name), kind if name == goal else None) for name in frame.columns)
    if not any(column.role == "feature" for column in columns):
        said = "; ".join(f"{c.name} is {c.role}" for c in columns[:6])
        raise DataUnreadable(f"no feature is left to learn from ({said}). Rename a column that only looks like an id, "
                             "or take it off the ignored ones.")
    return Contract(columns=columns, owner=owner)


def infer_task(frame: pl.DataFrame, target: str) -> Task:
    """What kind of prediction the values of `target` ask for.

    Text, booleans: classes. Integers: classes where there are at most 10 values, else regression. Decimals: regression,
    unless they are only 0 and 1. Raises DataUnreadable where there is one value, or more than 50 classes.

    >>> infer_task(pl.DataFrame({"y": ["no", "yes", "no"]}), "y")
    'binary'
    """
    column = frame[target].drop_nulls()
    distinct = column.n_unique()
    if not column.len():
        raise DataUnreadable(f"the target {target} has no value in any row. Choose another with --target.")
    if distinct == 1:
        raise DataUnreadable(f"the target {target} is {column[0]!r} in every row, so there is nothing to learn. "
                             "Choose another with --target.")
    if isinstance(column.dtype, pl.Datetime):
        raise DataUnreadable(f"the target {target} is a time; a number or classes can be predicted. Choose another "
                             "with --target, or make it a number of days.")
    if column.dtype == pl.Float64:
        return "binary" if distinct == 2 and column.is_in([0.0, 1.0]).all() else "regression"
    if column.dtype == pl.Int64 and distinct > MOST_INTEGER_CLASSES:
        return "regression"
    if distinct > MOST_CLASSES:
        raise DataUnreadable(f"the target {target} has {distinct:,} different texts; at most {MOST_CLASSES} classes "
                             "can be predicted. Choose another column with --target, or group rare values; if it "
                             "should be a number, look for decimal commas, units or blanks in it.")
    return "binary" if distinct == 2 else "multiclass"


def _roles(names: list[str], goal: str, ignore: tuple[str, ...], time: str | None,
           group: str | None) -> dict[str, Role]:
    asked: dict[str, Role] = {}
    wanted: list[tuple[str, Role]] = [(name, "ignored") for name in ignore]
    wanted += [(time, "time")] if time else []
    wanted += [(group, "group")] if group else []
    for name, role in wanted:
        if name not in names:
            raise UsageError(f"{role} names the column {name!r}, which the table does not have.{near(name, names)}")
        if name == goal:
            raise UsageError(f"{name} is the target and can't be {role} too")
        asked[name] = role
    return {**asked, goal: "target"}


def _column(values: pl.Series, asked: Role | None, task: Task | None) -> Column:
    name = values.name
    missing = bool(values.null_count()) and asked != "target"
    kind = values.dtype
    if kind == pl.Boolean:
        return Column(name=name, type="boolean", role=asked or "feature", missing=missing)
    if isinstance(kind, pl.Datetime):
        low = None if asked == "time" else _earliest(values)
        return Column(name=name, type="datetime", role=asked or "feature", missing=missing, min=low)
    if kind == pl.String:
        return _text(values, asked, missing)
    if asked is None and ID_NAME.search(name) and kind == pl.Int64:
        return Column(name=name, type="integer", role="id", missing=missing)
    whole: ColumnType = "integer" if kind == pl.Int64 else "number"
    if asked in ("ignored", "group", "time"):
        return Column(name=name, type=whole, role=asked, missing=missing)
    classes = task in ("binary", "multiclass")
    low, high = bounds(values, margin=0.0 if classes else MARGIN)
    zeros = suspicious_zeros(values) if asked is None else 0
    confirm = f"{zeros:,} row{'s' * (zeros != 1)} at exactly 0: real zero or missing?" if zeros else ""
    return Column(name=name, type=whole, role=asked or "feature", missing=missing, min=low, max=high, confirm=confirm)


def _text(values: pl.Series, asked: Role | None, missing: bool) -> Column:
    name, known = values.name, values.drop_nulls()
    names = known.unique()
    distinct = names.len()
    if asked is None and not distinct:
        return Column(name=name, type="text", role="ignored", missing=True)
    if asked is None and ID_NAME.search(name):
        return Column(name=name, type="text", role="id", missing=missing)
    if asked != "target" and (asked is not None or distinct > MOST_CATEGORIES or known.len() < 2 * distinct):
        return Column(name=name, type="text", role=asked or "ignored", missing=missing)
    return Column(name=name, type="category", role=asked or "feature", missing=missing,
                  categories=tuple(sorted(names.to_list())))


def bounds(values: pl.Series, *, margin: float = MARGIN) -> tuple[float | None, float | None]:
    """The range that a new value may have: (None, None) where no finite value was seen.

    >>> bounds(pl.Series([2.0, 10.0]))
    (0.0, 12.0)
    >>> bounds(pl.Series([1999, 2018]))                                # years: room for those to come
    (1994.0, 2043.0)
    """
    finite = values.drop_nulls() if values.dtype == pl.Int64 else values.filter(values.is_finite())
    if finite.is_empty():
        return None, None
    least, most = float(finite.min()), float(finite.max())                              # type: ignore[arg-type]
    if margin == 0:
        return least, most
    whole = values.dtype == pl.Int64
    width = most - least if most > least else max(abs(most), 1.0)
    room = max(margin * width, 1.0) if whole else margin * width
    if not math.isfinite(width):
        return None, None
    step = 1.0 if whole and width < 1000 else 10.0 ** (math.floor(math.log10(width)) - 2)
    low, high = _down(least - room, step), -_down(-(most + room), step)
    if whole and _YEARS[0] <= least and most <= _YEARS[1] and least > 1000:
        high = most + 25
    if least >= 0:
        low = max(low, 0.0)
    if most <= 0:
        high = min(high, 0.0)
    return min(low, least), max(high, most)


def _down(value: float, step: float) -> float:
    """`value` rounded down to a multiple of `step`, written with no more digits than the step has."""
    return round(math.floor(value / step + 1e-9) * step, max(0, -math.floor(math.log10(step)))) + 0.0


def _earliest(values: pl.Series) -> float | None:
    """A quarter of the observed stretch before the first moment, as whole days since 1970; None where all are
    missing."""
    known = values.drop_nulls().dt.timestamp("us")
    if known.is_empty():
        return None
    first, last = int(known.min()), int(known.max())                                    # type: ignore[arg-type]
    return float((first - (last - first) // 4) // DAY_US)
