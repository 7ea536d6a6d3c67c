"""Which column is meant?  Names as people type them, and what they may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from trimtab.data.contract import Column
from trimtab.data.moments import from_days
from trimtab.errors import UsageError


def near(name: str, known: Iterable[str], *, most: int = 2) -> str:
    """A sentence that names close matches, with a space before it; "" where nothing is close.

    >>> near("rat", ["rate", "volume"])
    ' Did you mean rate?'
    """
    close = difflib.get_close_matches(name, list(known), n=most, cutoff=0.6)
    lower = [other for other in known if other.casefold() == name.casefold() and other not in close]
    close = (lower + close)[:most]
    return f" Did you mean {' or '.join(close)}?" if close else ""


def resolve_target(names: Sequence[str], target: str | int) -> str:
    """The name of the target column: `target` itself, or the column at that place (-1: the last). Raises UsageError.

    >>> resolve_target(["a", "b"], -1)
    'b'
    """
    if isinstance(target, int):
        try:
            return names[target]
        except IndexError:
            raise UsageError(f"target = {target}, but the table has {len(names)} columns: "
                             f"{', '.join(names[:6])}") from None
    if target in names:
        return target
    if target.lstrip("-").isdigit():
        return resolve_target(names, int(target))
    raise UsageError(f"target names the column {target!r}, which the table does not have.{near(target, names)} "
                     f"Its columns: {', '.join(names[:12])}{', …' if len(names) > 12 else ''}")


def shown_rule(column: Column) -> str:
    """What the contract says of a column's values, in a few words for a screen.

    >>> shown_rule(Column(name="rate", type="number", min=0.0, missing=True))
    '≥ 0, may be missing'
    """
    parts = []
    low, high = _shown(column, column.min), _shown(column, column.max)
    if low and high:
        parts.append(f"{low} … {high}")
    elif low or high:
        parts.append(f"≥ {low}" if low else f"≤ {high}")
    if column.type == "category":
        shown = ", ".join(column.categories[:4]) + (", …" if len(column.categories) > 4 else "")
        parts.append(f"{len(column.categories)} categories ({shown}){', others too' if column.unseen else ''}")
    if column.missing:
        parts.append("may be missing")
    return ", ".join(parts) or "any"


def _shown(column: Column, bound: float | None) -> str:
    if bound is None:
        return ""
    if column.type == "datetime":
        return str(from_days(bound))[:16].removesuffix(" 00:00")
    return f"{bound:.10g}"
