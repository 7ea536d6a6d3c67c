"""Which rows of a table may be learned from?

Rows that break the contract are set aside, each with its reasons, and counted; none is dropped silently. Where too many
do, the contract and the data don't belong together, and nothing is trained.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from trimtab.data.contract import Contract
from trimtab.data.table import SHOWN_TEXT, BadRow, Table, without_missing_target
from trimtab.errors import CheckFailed, ConfigInvalid
from trimtab.pipeline.agreed import Agreed, agreed, check_agreed, unreadable

if TYPE_CHECKING:
    from trimtab.data.check import CheckReport

MOST_REJECTED = 0.05                           # share of all rows read, the reader's own bad lines included


def keep_contract(table: Table, contract: Contract, *, most: float = MOST_REJECTED) -> Table:
    """The table with the rows that keep the contract; the others are in `quarantined`, with reasons.

    Raises CheckFailed when more than `most` of the rows are set aside, ConfigInvalid when the target is no column.
    """
    import numpy as np

    try:
        target = contract.target.name
    except LookupError as problem:
        raise ConfigInvalid(f"contract.toml: {problem}; give one column role = \"target\"") from None
    if target not in table.frame.columns:
        raise ConfigInvalid(f"{table.source} has no column {target!r}, which contract.toml names as the target; make "
                            "the contract anew with trimtab init --force, or correct it with trimtab contract edit",
                            key=target)
    total = table.rows + len(table.quarantined)
    table, given = _with_target(table, agreed(table, contract), contract)
    report = check_agreed(contract, given)
    if not report.ok:
        bad = _bad_rows(table, report)
        table = table.with_bad(table.frame.filter(~report.bad_rows.astype(np.bool_)), bad)
    share = len(table.quarantined) / total if total else 1.0
    if share > most:
        raise CheckFailed(
            f"{len(table.quarantined):,} of {total:,} rows of {table.source} ({share:.1%}) can't be used, over the "
            f"limit of {most:.0%}; nothing is trained. {_told(table, report)} Correct the rows, or widen the contract: "
            "trimtab contract edit COLUMN", rejected=len(table.quarantined), rows=total,
            violations=[violation.to_json() for violation in report.violations[:20]])
    return table


def _with_target(table: Table, given: Agreed, contract: Contract) -> tuple[Table, Agreed]:
    """The rows whose target is there and can be read; the others are set aside, each with its reason."""
    target = contract.target
    table = replace(table, frame=given.frame)
    texts = given.unread.get(target.name)
    if texts is not None:
        lost = texts.is_not_null()
        bad = tuple(BadRow(line=row + 1, unit="row", reason=unreadable(target, texts[row], row + 1).message)
                    for row in lost.arg_true().to_list())
        given = given.filter(~lost)
        table = table.with_bad(given.frame, bad)
    given = given.filter(table.frame[target.name].is_not_null())
    return without_missing_target(table, target.name), given


def _bad_rows(table: Table, report: CheckReport) -> tuple[BadRow, ...]:
    import numpy as np

    reasons: dict[int, list[str]] = {}
    whole = [violation.message for violation in report.violations if violation.row is None]
    for violation in report.violations:
        if violation.row is not None:
            reasons.setdefault(violation.row, []).append(violation.message)
    places = np.flatnonzero(report.bad_rows)
    rows = table.frame[places.tolist()].iter_rows()
    bad = []
    for place, values in zip(places.tolist(), rows, strict=True):
        said = [*whole, *reasons.get(place + 1, [])] or ["it breaks the contract"]
        text = ", ".join("" if value is None else str(value) for value in values)
        bad.append(BadRow(line=place + 1, unit="row", reason="; ".join(said), text=text[:SHOWN_TEXT]))
    return tuple(bad)


def _told(table: Table, report: CheckReport) -> str:
    if report.counts:
        most = sorted(report.counts.items(), key=lambda item: -item[1])[:3]
        counted = ", ".join(f"{column}: {count:,} × {rule}" for (column, rule), count in most)
        return f"Most often: {counted}. The first: {report.violations[0].message}."
    return f"The first: {table.quarantined[0]}."
