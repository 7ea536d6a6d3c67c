"""Which rows of a table may be learned from?

Rows that break the contract are set aside, each with its reasons, and counted; none is dropped silently. Where too many
do, the contract and the data don't belong together, and nothing is trained.
"""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING

from trimtab.data.contract import Contract
from trimtab.data.table import Table
from trimtab.errors import CheckFailed, ConfigInvalid
from trimtab.pipeline.agreed import Agreed, agreed, check_agreed, unreadable

if TYPE_CHECKING:
    from trimtab.data.check import CheckReport

MOST_REJECTED = 0.05                           # share of all rows read, the reader's own bad lines included


def keep_contract(table: Table, contract: Contract, *, most: float = MOST_REJECTED) -> Table:
    """The table with the rows that keep the contract; the others are in `quarantined`, with reasons.

    Raises CheckFailed when more than `most` of the rows are set aside, ConfigInvalid when the target is no column.
    """
    import polars as pl

    try:
        target = contract.target.name
    except LookupError as problem:
        raise ConfigInvalid(f"contract.toml: {problem}; give one column role = \"target\"") from None
    if target not in table.frame.columns:
        raise ConfigInvalid(f"{table.source} has no column {target!r}, which contract.toml names as the target; make "
                            "the contract anew with trimtab init --force, or correct it with trimtab contract edit",
                            key=target)
    total = table.rows + len(table.quarantined)
    given = _with_target(agreed(table, contract), contract)
    report = check_agreed(contract, given)
    bad = pl.Series(report.bad_rows)
    table = given.table.without(bad, reasons(given.table, report))
    share = len(table.quarantined) / total if total else 1.0
    if share > most:
        raise CheckFailed(
            f"{len(table.quarantined):,} of {total:,} rows of {table.source} ({share:.1%}) can't be used, over the "
            f"limit of {most:.0%}; nothing is trained. {_told(table, report)} Correct the rows, or widen the contract: "
            "trimtab contract edit COLUMN", rejected=len(table.quarantined), rows=total,
            violations=[violation.to_json() for violation in report.violations[:20]])
    return table


def _with_target(given: Agreed, contract: Contract) -> Agreed:
    """The rows whose target is there and can be read; the others are set aside, each with its reason."""
    target = contract.target
    texts = given.unread.get(target.name)
    if texts is not None:
        table, lost = given.table, texts.is_not_null()
        given = given.without(lost, [unreadable(target, texts[place], table.number(place)).message
                                     for place in lost.arg_true().to_list()])
    return given.without(given.table.frame[target.name].is_null(), repeat(f"the target {target.name} is missing"))


def reasons(table: Table, report: CheckReport) -> list[str]:
    """Why each bad row was set aside, in order."""
    import numpy as np

    said: dict[int | None, list[str]] = {}
    for violation in report.violations:
        said.setdefault(violation.row, []).append(violation.message)
    whole = said.get(None, [])
    return ["; ".join([*whole, *said.get(table.number(place), [])] or ["it breaks the contract"])
            for place in np.flatnonzero(report.bad_rows).tolist()]


def _told(table: Table, report: CheckReport) -> str:
    if report.counts:
        most = sorted(report.counts.items(), key=lambda item: -item[1])[:3]
        counted = ", ".join(f"{column}: {count:,} × {rule}" for (column, rule), count in most)
        return f"Most often: {counted}. The first: {report.violations[0].message}."
    return f"The first: {table.quarantined[0]}."
