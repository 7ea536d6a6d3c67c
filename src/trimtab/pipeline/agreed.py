"""Which type was meant, where a text file's column looks like another one because of single cells?

A reader of text gives a column the type that all of its cells have: one "hello" among 300 numbers makes them all text,
and a file whose codes happen to be all digits makes numbers of them. The contract knows better. So a column of a text
file is read again as the contract says; the single cells that can't be read so are broken, not their whole column.
Frames and queries have types that somebody chose; they are taken as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from trimtab.data.contract import Column, Contract, Role
from trimtab.data.rules import CHECKED, Rule, Violation, rules_of, violation

if TYPE_CHECKING:
    import polars as pl

    from trimtab.data.check import CheckReport
    from trimtab.data.table import Table

_NUMBERS = ("number", "integer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreed:
    """A table in the contract's types where that could be had.

    unread: column → its cells that could not be read so, as text, null elsewhere; in `table` they are missing.
    """

    table: Table
    unread: Mapping[str, pl.Series] = field(default_factory=dict)

    def without(self, bad: pl.Series, reasons: Iterable[str]) -> Agreed:
        """Some rows set aside. bad: boolean, one a row; reasons: one a bad row."""
        return Agreed(table=self.table.without(bad, reasons),
                      unread={name: cells.filter(~bad) for name, cells in self.unread.items()})


def agreed(table: Table, contract: Contract) -> Agreed:
    """The table in the contract's types. A column of which no cell can be read so is left as it is."""
    if table.encoding in ("", "parquet"):
        return Agreed(table=table)
    frame, unread = table.frame, {}
    for column in contract.columns:
        if column.name not in frame.columns or column.role in ("id", "ignored"):
            continue
        values = frame[column.name]
        made = _read_as(column, values)
        if made is None or made.null_count() == len(made) > values.null_count():
            continue
        lost = made.is_null() & values.is_not_null()
        if lost.any():
            unread[column.name] = values.set(~lost, None)
        frame = frame.with_columns(made.alias(column.name))
    return Agreed(table=replace(table, frame=frame), unread=unread)


def check_agreed(contract: Contract, given: Agreed, *, roles: Iterable[Role] = CHECKED,
                 listed: int | None = None) -> CheckReport:
    """`data.check.check_table`, with a cell that could not be read told as what it is and not as missing."""
    import numpy as np

    from trimtab.data.check import LISTED, check_table

    asked, listed = tuple(roles), LISTED if listed is None else listed
    number = given.table.number
    report = check_table(contract, given.table.frame, roles=asked, number=number, listed=listed)
    told, counts, bad = list(report.violations), dict(report.counts), report.bad_rows.copy()
    for column in contract.columns:
        cells = given.unread.get(column.name)
        if cells is None or column.role not in asked:
            continue
        rows = np.flatnonzero(cells.is_not_null().to_numpy())
        bad[rows] = True
        counts[column.name, "type"] = len(rows)
        if not column.missing and (left := counts.pop((column.name, "missing"), 0) - len(rows)) > 0:
            counts[column.name, "missing"] = left
        gone = {number(int(row)) for row in rows}
        told = [one for one in told if not (one.column == column.name and one.rule == "missing" and one.row in gone)]
        told += [unreadable(column, cells[int(row)], number(int(row))) for row in rows[:listed]]
    told.sort(key=lambda one: one.row or 0)
    return replace(report, violations=tuple(told[:listed]), counts=counts, bad_rows=bad)


def unreadable(column: Column, text: object, row: int) -> Violation:
    """The sentence about one cell that is not of the contract's type. row: from 1."""
    return violation(rules_of(column), Rule(kind="type", limit=column.type), text, row)


def _read_as(column: Column, values: pl.Series) -> pl.Series | None:
    """The values in the contract's type, null where a cell is none; None where there is nothing to read again."""
    import polars as pl

    from trimtab.data import cells
    from trimtab.data.moments import moment

    if values.dtype == pl.String:
        if column.type in _NUMBERS:
            return cells.numbers(values, whole=column.type == "integer")
        if column.type == "boolean":
            lower = values.str.strip_chars().str.to_lowercase()
            return lower.set(~lower.is_in(["true", "false"]).fill_null(False), None) == "true"
        if column.type == "datetime":
            texts = values.unique().drop_nulls()
            moments = pl.Series([moment(text) for text in texts], dtype=pl.Datetime("us"))
            return values.replace_strict(texts, moments, default=None, return_dtype=pl.Datetime("us"))
        return None
    if column.type != "category":
        return None
    if values.dtype == pl.Boolean:
        spelled = {name.lower(): name for name in column.categories}
        return values.cast(pl.String).replace(spelled)
    return values.cast(pl.String) if values.dtype in (pl.Int64, pl.Float64) else None
