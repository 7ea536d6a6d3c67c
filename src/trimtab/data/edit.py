"""What does a contract say after one change?  (`trimtab contract edit COLUMN …`; pure)"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Literal, get_args

from trimtab.data.contract import Column, Contract, Log, Role
from trimtab.data.contract_toml import check_column
from trimtab.data.lookup import near
from trimtab.data.moments import days
from trimtab.errors import UsageError


def edit(contract: Contract, column: str, *, min: float | str | Literal["none"] | None = None,
         max: float | str | Literal["none"] | None = None, missing: bool | None = None, unit: str | None = None,
         note: str | None = None, add_categories: Iterable[str] = (), unseen: bool | None = None,
         role: str | None = None, log: str | None = None, confirm: str | None = None) -> Contract:
    """The contract with one column changed; None leaves a thing as it is.

    min, max: a number, for times an ISO date, or "none" to lift the limit. confirm: "done" removes the question, any
    other text asks one. Raises UsageError for an unknown column, a bound that is none, or a statement that makes no
    sense.

    >>> contract = Contract(columns=(Column(name="rate", type="number", min=0.0),))
    >>> edit(contract, "rate", min=-1).columns[0].min
    -1.0
    """
    old = _find(contract, column)
    changes: dict[str, Any] = {}
    if min is not None:
        changes["min"] = _bound(old, "min", min)
    if max is not None:
        changes["max"] = _bound(old, "max", max)
    for key, value in (("missing", missing), ("unit", unit), ("note", note), ("unseen", unseen)):
        if value is not None:
            changes[key] = value
    if confirm is not None:
        changes["confirm"] = "" if confirm == "done" else confirm
    if added := tuple(add_categories):
        if known := [name for name in added if name in old.categories]:
            raise UsageError(f"{column}: the category {known[0]!r} is in the contract already")
        changes["categories"] = old.categories + added
    if role is not None:
        changes["role"] = _role(contract, old, role)
    if log is not None:
        if log not in get_args(Log):
            raise UsageError(f"log {log!r} is none of {', '.join(get_args(Log))}.{near(log, get_args(Log))}")
        changes["log"] = log
    if not changes:
        raise UsageError(f"nothing to change in {column}: give --min, --max, --missing, --unit, --note, "
                         "--add-category, --unseen, --role, --log or --confirmed")
    new = replace(old, **changes)
    if problem := check_column(new):
        raise UsageError(f"{column}: {problem}. The contract is left as it is.")
    return replace(contract, columns=tuple(new if one.name == column else one for one in contract.columns))


def edit_text(contract: Contract, column: str, *, low: str | None = None, high: str | None = None,
              add_categories: Iterable[str] = (), confirmed: bool = False, missing: bool | None = None,
              unseen: bool | None = None, unit: str | None = None, note: str | None = None,
              role: str | None = None, log: str | None = None) -> Contract:
    """`edit` with bounds as a person types them, and the question answered where `confirmed`. Raises UsageError."""
    return edit(contract, column, min=low, max=high, add_categories=add_categories, missing=missing, unseen=unseen,
                unit=unit, note=note, role=role, log=log, confirm="done" if confirmed else None)


def _find(contract: Contract, name: str) -> Column:
    for one in contract.columns:
        if one.name == name:
            return one
    names = [one.name for one in contract.columns]
    raise UsageError(f"the contract has no column {name!r}.{near(name, names)} It has: {', '.join(names[:12])}"
                     f"{', …' if len(names) > 12 else ''}")


def _bound(column: Column, key: str, value: float | str) -> float | None:
    if value == "none":
        return None
    if column.type == "datetime":
        if (moment := days(value)) is None:
            raise UsageError(f"{column.name}: {key} = {value!r} is no date; write it as 2026-03-31")
        return moment
    try:
        number = float(value)
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise UsageError(f"{column.name}: {key} = {value!r} is no finite number; \"none\" lifts the limit")
    return number


def _role(contract: Contract, column: Column, role: str) -> str:
    if role not in get_args(Role):
        raise UsageError(f"role {role!r} is none of {', '.join(get_args(Role))}.{near(role, get_args(Role))}")
    others = [one.name for one in contract.columns if one.role == "target" and one.name != column.name]
    if role == "target" and others:
        raise UsageError(f"{others[0]} is the target already; make it a feature or ignore it first")
    return role
