"""Which rows of a table break the contract, and why?  All rules of all columns in one Polars plan.

The same rules as `rows.py` asks of one request. A value breaks at most one rule, the first of its column's list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trimtab.data.contract import Contract, Role
from trimtab.data.encode import days_of
from trimtab.data.moments import days
from trimtab.data.rules import (
    CHECKED,
    ColumnRules,
    Rule,
    RuleKind,
    Violation,
    absent,
    compile_rules,
    unknown,
    violation,
)
from trimtab.errors import ContractViolation

LISTED = 1000                                  # violations that are told one by one; all are counted


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What a check found. bad_rows: shape (rows,), true where a row breaks any rule."""

    rows: int
    violations: tuple[Violation, ...]          # the first 1,000 (or `listed`), by row
    counts: dict[tuple[str, RuleKind], int]    # of all violations
    bad_rows: NDArray[np.bool_]
    extra: tuple[str, ...] = field(default=())     # columns that the contract does not have, where that is allowed

    @property
    def ok(self) -> bool:
        """Does every row keep the contract?"""
        return not self.counts

    @property
    def bad(self) -> int:
        """How many rows break a rule."""
        return int(self.bad_rows.sum())

    def raise_if_bad(self, what: str = "the table") -> None:
        """Raise ContractViolation that tells the first three and counts the rest."""
        if self.ok:
            return
        first = "\n  ".join(v.message for v in self.violations[:3])
        raise ContractViolation(f"{what}: {self.bad:,} of {self.rows:,} rows break the contract. The first:\n  {first}",
                                violations=[v.to_json() for v in self.violations])


def check_table(contract: Contract, frame: pl.DataFrame, *, roles: Iterable[Role] = CHECKED,
                reject_unknown: bool = False, number: Callable[[int], int] = lambda place: place + 1,
                listed: int = LISTED) -> CheckReport:
    """Check every row of `frame`.

    roles: whose rules are asked; for data without labels ("feature",). A column that is not there is missing in every
    row. reject_unknown: do columns that the contract does not have break it, as they do in a request?
    number: what a row at a place (from 0) is called; listed: how many violations are told one by one.
    """
    height = frame.height
    columns = compile_rules(contract, roles)
    masks: list[tuple[ColumnRules, Rule, pl.Expr]] = []
    told: list[Violation] = []
    counts: dict[tuple[str, RuleKind], int] = {}
    bad = np.zeros(height, dtype=np.bool_)
    for column in columns:
        if column.name in frame.columns:
            masks += _masks(column, frame.schema[column.name], frame)
        elif not column.may_miss:
            told.append(absent(column, table=True))
            counts[column.name, "missing"] = height
    known = {column.name for column in contract.columns}
    extra = tuple(name for name in frame.columns if name not in known)
    if reject_unknown:
        told += [unknown(name, contract) for name in extra]
        counts.update({(name, "unknown"): height for name in extra})
    if told:
        bad[:] = True
    found: list[tuple[int, int, Violation]] = []
    sums = frame.lazy().select(mask.sum().alias(str(place)) for place, (_, _, mask) in enumerate(masks)).collect()
    suspects = {masks[place][0].name for place in range(len(masks)) if sums.height and sums[0, place]}
    told_before: dict[str, NDArray[np.bool_]] = {}
    for place, (column, rule, mask) in enumerate(masks):
        if column.name not in suspects:
            continue
        broken = frame.select(mask.fill_null(False)).to_series().to_numpy()
        before = told_before.setdefault(column.name, np.zeros(height, dtype=np.bool_))
        fresh = broken & ~before
        told_before[column.name] = before | broken
        if not (count := int(fresh.sum())):
            continue
        counts[column.name, rule.kind] = count
        bad |= fresh
        rows = np.flatnonzero(fresh)[:listed]
        for row, value in zip(rows.tolist(), frame[column.name].gather(rows).to_list(), strict=True):
            shown = None if rule.kind == "missing" else value
            found.append((row, place, violation(column, rule, shown, number(row))))
    found.sort(key=lambda item: item[:2])
    return CheckReport(rows=height, violations=(*told, *(item[2] for item in found))[:listed], counts=counts,
                       bad_rows=bad, extra=() if reject_unknown else extra)


def _masks(column: ColumnRules, kind: pl.DataType, frame: pl.DataFrame) -> list[tuple[ColumnRules, Rule, pl.Expr]]:
    """For each rule the expression that is true where a value breaks it; an earlier rule may be broken too."""
    raw = pl.col(column.name)
    present = raw.fill_nan(None) if kind.is_float() else raw
    value = _comparable(column, kind, present, frame)
    masks: list[tuple[ColumnRules, Rule, pl.Expr]] = []
    for rule in column.rules:
        if (mask := _mask(rule, present, value, kind)) is not None:
            masks.append((column, rule, mask))
        if rule.kind == "type" and value is None:
            break
    return masks


def _mask(rule: Rule, present: pl.Expr, value: pl.Expr | None, kind: pl.DataType) -> pl.Expr | None:
    match rule.kind:
        case "missing":
            return present.is_null()
        case "type":
            if value is None:
                return present.is_not_null()
            return present.is_not_null() & value.is_null() if kind == pl.String and rule.limit == "datetime" else None
        case _ if value is None:
            return None
        case "finite":
            return value.is_infinite() if kind.is_float() else None
        case "whole":
            return value != value.round(0) if kind.is_float() else None
        case "exact":
            return value.abs().ge(rule.limit)
        case "min" | "max":
            return value.lt(rule.limit) if rule.kind == "min" else value.gt(rule.limit)
        case _:
            return ~value.is_in(list(rule.limit))


def _comparable(column: ColumnRules, kind: pl.DataType, present: pl.Expr, frame: pl.DataFrame) -> pl.Expr | None:
    """The value as rules compare it (`rules.comparable`, as an expression); None where the type is another."""
    if column.type in ("number", "integer"):
        return present.cast(pl.Float64) if kind.is_numeric() else None
    if column.type == "boolean":
        return present if kind == pl.Boolean else None
    if column.type == "datetime":
        if kind == pl.Date or isinstance(kind, pl.Datetime):
            return pl.lit(pl.Series(days_of(frame[column.name]), nan_to_null=True))
        if kind == pl.String:
            texts = frame[column.name].unique().drop_nulls()
            moments = pl.Series([days(text) for text in texts], dtype=pl.Float64)
            return present.replace_strict(texts, moments, default=None, return_dtype=pl.Float64)
        return None
    return present.cast(pl.String) if kind in (pl.String, pl.Categorical, pl.Enum) else None
