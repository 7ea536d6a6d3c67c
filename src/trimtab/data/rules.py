"""Which rules does a contract state, and how is a broken one told?

Rules are data: for each column a short list in the order in which they are asked. The first that a value breaks is the
one reported, so a value breaks at most one. Two evaluators ask the same list: `check.py` whole tables, `rows.py` single
requests; a test holds them equal.

missing   a value is missing (null, NaN, or the column is not there) where none may be
type      a value is of another kind; numeric text is no number, true is not 1, 3.0 is a whole number
finite    a number is infinite, or too large for 64-bit floating point
whole     a decimal where whole numbers are expected
exact     a whole number of 2⁵³ or more, which floating point can't tell from its neighbour
min, max  outside the range, whose ends belong to it
category  a text that is not in the list
unknown   a column that the contract does not have
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from trimtab.data.contract import Column, ColumnType, Contract, Role
from trimtab.data.lookup import near
from trimtab.data.moments import days, from_days

RuleKind = Literal["missing", "type", "finite", "whole", "exact", "min", "max", "category", "unknown"]
EXACT: Final = 2.0**53
CHECKED: Final[tuple[Role, ...]] = ("feature", "target", "time", "group")
UNLABELLED: Final[tuple[Role, ...]] = ("feature", "time", "group")     # of a table that has no target column
_KINDS: Final[Mapping[str, str]] = {
    "bool": "true or false", "int": "a whole number", "float": "a number", "str": "text", "list": "a list",
    "dict": "an object", "datetime": "a time", "date": "a date"}
_WANTED: Final[Mapping[str, str]] = {
    "number": "a number", "integer": "a whole number", "boolean": "true or false", "category": "text",
    "text": "text", "datetime": "an ISO date or time (2026-03-31T14:05)"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule of one column. limit: the bound of min and max, the list of a category, the type's name of type."""

    kind: RuleKind
    limit: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnRules:
    """The rules of one column, in the order in which they are asked."""

    name: str
    type: ColumnType
    rules: tuple[Rule, ...]

    @property
    def may_miss(self) -> bool:
        """May values be missing?"""
        return all(rule.kind != "missing" for rule in self.rules)


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One value that breaks one rule. row: from 1, or None for a single request or a whole column."""

    row: int | None
    column: str
    rule: RuleKind
    value: object
    message: str

    def to_json(self) -> dict[str, object]:
        """For `details["violations"]` of a ContractViolation; the value as text where JSON can't hold it."""
        plain = self.value if isinstance(self.value, str | bool | int | None) else str(self.value)
        return {"row": self.row, "column": self.column, "rule": self.rule, "value": plain, "message": self.message}


def rules_of(column: Column) -> ColumnRules:
    """What the contract states about one column, as rules."""
    rules = [] if column.missing else [Rule(kind="missing")]
    rules.append(Rule(kind="type", limit=column.type))
    if column.type in ("number", "integer"):
        rules.append(Rule(kind="finite"))
    if column.type == "integer":
        rules += [Rule(kind="whole"), Rule(kind="exact", limit=EXACT)]
    if column.type in ("number", "integer", "datetime"):
        rules += [Rule(kind="min", limit=column.min)] if column.min is not None else []
        rules += [Rule(kind="max", limit=column.max)] if column.max is not None else []
    if column.type == "category" and not column.unseen:
        rules.append(Rule(kind="category", limit=column.categories))
    return ColumnRules(name=column.name, type=column.type, rules=tuple(rules))


def compile_rules(contract: Contract, roles: Iterable[Role] = CHECKED) -> tuple[ColumnRules, ...]:
    """The rules of the columns in these roles; ids and ignored columns have none."""
    wanted = set(roles)
    return tuple(rules_of(column) for column in contract.columns if column.role in wanted)


def unknown(name: str, contract: Contract) -> Violation:
    """A column that the contract does not have."""
    near_ones = near(name, [column.name for column in contract.columns])
    return Violation(row=None, column=name, rule="unknown", value=None,
                     message=f"{name} is not a column of the contract.{near_ones} Leave it out, or add it to "
                             "contract.toml (role = \"ignored\" for one that is not used).")


def absent(rules: ColumnRules, row: int | None = None, *, table: bool = False) -> Violation:
    """A required column that a request, or a whole table, does not have.

    >>> print(absent(rules_of(Column(name="n", type="number"))).message)
    n is absent: the request has no such field. Send it, or allow missing values: trimtab contract edit n --missing
    """
    at = "" if row is None else f" (row {row})"
    what = "the table has no such column. Add it" if table else f"the request has no such field{at}. Send it"
    return Violation(row=row, column=rules.name, rule="missing", value=None,
                     message=f"{rules.name} is absent: {what}, or allow missing values: trimtab contract edit "
                             f"{rules.name} --missing")


def violation(rules: ColumnRules, rule: Rule, value: object, row: int | None = None) -> Violation:
    """A broken rule in words: what is there, what the contract says, what to do.

    >>> rate = rules_of(Column(name="rate", type="number", min=0.0))
    >>> print(violation(rate, rate.rules[-1], -0.2, 17).message)
    rate = -0.2 is below the contract's min 0.0 (row 17). Fix the row, or widen it: trimtab contract edit rate
    """
    name, at = rules.name, "" if row is None else f" (row {row})"
    fix = f"trimtab contract edit {name}"
    what, shown = "the request" if row is None else "the row", _shown(value)
    match rule.kind:
        case "missing":
            text = f"{name} is missing{at}. Fill it in, or allow missing values: {fix} --missing"
        case "type":
            text = (f"{name} = {shown} is {_KINDS.get(type(value).__name__, type(value).__name__)}, the contract says "
                    f"{_WANTED[rules.type]}{at}. Fix {what}, or change the column's type in contract.toml")
        case "finite":
            text = f"{name} = {shown} is not a finite number{at}. Fix {what}; leave it out where it is missing"
        case "whole":
            text = f"{name} = {shown} is no whole number{at}. Fix {what}, or make it a number: type in contract.toml"
        case "exact":
            text = f"{name} = {shown} is 2^53 or more, too large to be held exactly{at}. Fix {what}, or make it text"
        case "min" | "max":
            side, bound = ("below", "min") if rule.kind == "min" else ("above", "max")
            text = (f"{name} = {shown} is {side} the contract's {bound} {_bound(rules, rule.limit)}{at}. Fix {what}, "
                    f"or widen it: {fix}")
        case _:
            text = (f"{name} = {shown} is not one of the contract's {len(rule.limit)} categories{at}."
                    f"{_near_category(value, rule.limit)} Fix {what}, or add it: {fix} --add-category")
    return Violation(row=row, column=name, rule=rule.kind, value=value, message=text)


def comparable(kind: ColumnType, value: object) -> float | str | bool | None:
    """The value as its rules compare it: numbers and moments as float (days), text and booleans as they are.

    None where the value is of another kind. A number beyond floating point is infinite.

    >>> comparable("number", "7") is None, comparable("number", True) is None, comparable("integer", 10**400)
    (True, True, inf)
    """
    if kind in ("number", "integer"):
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        try:
            return float(value)
        except OverflowError:
            return float("inf") if value > 0 else float("-inf")
    if kind == "boolean":
        return value if isinstance(value, bool) else None
    if kind == "datetime":
        return days(value)
    return value if isinstance(value, str) else None


def _shown(value: object) -> str:
    text = repr(value) if isinstance(value, str | int | float | list | dict) else str(value)
    return text if len(text) <= 80 else text[:77] + "…"


def _bound(rules: ColumnRules, limit: float) -> str:
    if rules.type != "datetime":
        return str(int(limit)) if rules.type == "integer" and limit == int(limit) else repr(limit)
    moment = from_days(limit)
    return str(moment.date()) if moment == moment.replace(hour=0, minute=0, second=0, microsecond=0) else str(moment)


def _near_category(value: object, categories: tuple[str, ...]) -> str:
    if isinstance(value, str) and (close := difflib.get_close_matches(value, categories, n=1, cutoff=0.6)):
        return f" Did you mean {close[0]!r}?"
    return f" It knows {', '.join(map(repr, categories[:5]))}{', …' if len(categories) > 5 else ''}."
