"""Does one request's row keep the contract, and what does the model see of it?  Check and encoding in one pass.

The same rules as `check.py` asks of tables, the same numbers as `encode.py` makes. A row that keeps the contract
takes the quick way: one comparison a column. Any other takes the careful way, which finds the reasons.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from trimtab.data.contract import Column, Contract
from trimtab.data.moments import days
from trimtab.data.rules import EXACT, ColumnRules, Rule, Violation, absent, comparable, rules_of, unknown, violation
from trimtab.errors import UsageError

RowChecker = Callable[..., tuple[Violation, ...]]

_LARGEST: Final = 1.7976931348623157e308
_NAN: Final = float("nan")


def row_checker(contract: Contract) -> RowChecker:
    """A function `check(row, out, number=None)` for this contract.

    row: a mapping of column names to JSON values (None or absent: missing). Where the row keeps the contract, its
    encoded features, len(contract.features) floats, are appended to `out` and () is returned; else `out` is left as
    it is and the violations are returned, naming row `number` where one is given. Ids, ignored columns and the target
    may be there and are not looked at. Raises UsageError for a contract that can't be encoded (a text column as a
    feature).

    >>> check = row_checker(Contract(columns=(Column(name="rate", type="number", min=0.0),)))
    >>> out: list[float] = []
    >>> check({"rate": 0.5}, out), out
    ((), [0.5])
    >>> check({"rate": -0.2}, out)[0].message
    "rate = -0.2 is below the contract's min 0.0. Fix the request, or widen it: trimtab contract edit rate"
    """
    features = contract.features
    for column in features:
        if column.type == "text":
            raise UsageError(f"{column.name} is free text, which can't be a feature. Make it a category "
                             "or ignore it: trimtab contract edit " + column.name)
    width, known = len(features), {column.name for column in contract.columns}
    blank = [_NAN] * width
    plans = [(place, column, rules_of(column)) for place, column in enumerate(features)]
    numbers = [(place, c.name, float if c.type == "number" else int, *_range(c), c.missing)
               for place, c, _ in plans if c.type in ("number", "integer")]
    codes = [(place, c.name, _codes(c), bool if c.type == "boolean" else str)
             for place, c, _ in plans if c.type in ("category", "boolean")]
    moments = [(place, c.name, -_LARGEST if c.min is None else c.min, _LARGEST if c.max is None else c.max)
               for place, c, _ in plans if c.type == "datetime"]

    def check(row: Mapping[str, object], out: list[float], number: int | None = None) -> tuple[Violation, ...]:
        values, get, gaps = blank.copy(), row.get, len(row) != width
        for place, name, kind, low, high, may_miss in numbers:
            value = get(name)
            if value.__class__ is kind and low <= value <= high:
                values[place] = value
            elif value.__class__ is int and kind is float and low <= value <= high:
                values[place] = float(value)
            elif value is None and may_miss:
                gaps = True
            else:
                return careful(row, out, number)
        for place, name, code, exactly in codes:
            value = get(name)
            if value.__class__ is exactly and value in code:
                values[place] = code[value]
            elif value is None and None in code:
                gaps = True
            else:
                return careful(row, out, number)
        for place, name, low, high in moments:
            moment = days(get(name))
            if moment is None or not low <= moment <= high:
                return careful(row, out, number)
            values[place] = moment
        if gaps and not row.keys() <= known:
            return careful(row, out, number)
        out += values
        return ()

    def careful(row: Mapping[str, object], out: list[float], number: int | None) -> tuple[Violation, ...]:
        found = [unknown(name, contract) for name in row if name not in known]
        values = blank.copy()
        for place, column, rules in plans:
            value = _plain(row.get(column.name))
            if (rule := first_broken(rules, value)) is not None:
                found.append(violation(rules, rule, value, number) if column.name in row else absent(rules, number))
            elif value is not None:
                values[place] = _encoded(column, value)
        if not found:
            out += values
        return tuple(found)

    return check


def first_broken(rules: ColumnRules, value: object) -> Rule | None:
    """The first rule that a value (None: missing) breaks; None where it keeps them all.

    >>> first_broken(rules_of(Column(name="n", type="integer")), 2.5)
    Rule(kind='whole', limit=None)
    """
    if value is None or value != value:
        return None if rules.may_miss else rules.rules[0]
    found = comparable(rules.type, value)
    for rule in rules.rules:
        if rule.kind == "missing":
            continue
        if rule.kind == "type":
            if found is None:
                return rule
        elif rule.kind == "category":
            if found not in rule.limit:
                return rule
        elif _breaks(rule, found):                                          # type: ignore[arg-type]
            return rule
    return None


def _breaks(rule: Rule, value: float) -> bool:
    match rule.kind:
        case "finite":
            return value - value != 0
        case "whole":
            return value != float(int(value))
        case "exact":
            return bool(abs(value) >= rule.limit)
        case "min":
            return bool(value < rule.limit)
        case _:
            return bool(value > rule.limit)


def _range(column: Column) -> tuple[float, float]:
    """The closed range of values that need no second look."""
    most = EXACT - 1 if column.type == "integer" else _LARGEST
    return (max(-most, -most if column.min is None else column.min),
            min(most, most if column.max is None else column.max))


def _codes(column: Column) -> dict[object, float]:
    """Values that need no second look, and their codes."""
    codes: dict[object, float] = {False: 0.0, True: 1.0} if column.type == "boolean" else {
        name: float(place) for place, name in enumerate(column.categories)}
    if column.missing:
        codes[None] = _NAN
    return codes


def _plain(value: object) -> object:
    """NumPy's scalars as Python's; NaN as missing."""
    if hasattr(value, "item") and hasattr(value, "dtype"):
        value = value.item()
    return None if isinstance(value, float) and value != value else value


def _encoded(column: Column, value: object) -> float:
    if column.type == "category":
        return float(column.categories.index(value)) if value in column.categories else -1.0
    return float(comparable(column.type, value))                            # type: ignore[arg-type]
