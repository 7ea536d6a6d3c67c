"""drift: did anything move between two tables?  No project and no workspace are needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from trimtab.doors.cli import screen
from trimtab.doors.cli.options import Call, command

if TYPE_CHECKING:
    from trimtab.monitor.two_tables import DriftReport

SHOWN = 12


@click.command()
@click.argument("reference", type=click.Path(path_type=Path))
@click.argument("current", type=click.Path(path_type=Path))
@click.option("--alpha", default=0.05, show_default=True, type=float,
              help="P(any alarm without a change), over all columns.")
@click.option("--ignore-below", default="0.1 sd", show_default=True, metavar="SDS",
              help="The smallest change that matters, in standard deviations of REFERENCE.")
@click.option("--columns", default="", metavar="A,B,…", help="Compare only these columns.")
@click.option("--html", "page", type=click.Path(path_type=Path, dir_okay=False), help="Write the report as one page.")
@command
def drift(call: Call, reference: Path, current: Path, alpha: float, ignore_below: str, columns: str,
          page: Path | None) -> None:
    """Compare two tables (CSV or Parquet): what moved, causes first. Ends with 1 where a column alarms."""
    from trimtab.errors import UsageError
    from trimtab.monitor.two_tables import drift as compare

    report = compare(reference, current, alpha=alpha, ignore_below=ignore_below,
                     columns=[name.strip() for name in columns.split(",") if name.strip()] or None)
    if page is not None:
        try:
            report.to_html(page)
        except OSError as problem:
            raise UsageError(f"the report can't be written to {page}: {problem.strerror}") from None
    call.show(report.to_json(), lambda: _render(report, page))
    if report.alarms:
        raise click.exceptions.Exit(1)


def _render(report: DriftReport, page: Path | None) -> None:
    screen.line("Reference", f"{report.reference}   {report.reference_rows:,} rows")
    screen.line("Current", f"{report.current}   {report.current_rows:,} rows")
    for place, cause in enumerate(report.causes[:SHOWN], 1):
        screen.line("Cause" if place == 1 else "", f"{place}  {cause.sentence}")
    if len(report.causes) > SHOWN:
        screen.line("", f"and {len(report.causes) - SHOWN} more (--json or --html has all)")
    if not report.causes:
        screen.line("Moved", f"nothing that evidence carries, in {len(report.columns)} columns")
    for note in report.notes:
        screen.line("Note", note)
    screen.line("Promise", report.promise.split("; ")[0])
    screen.line("", "; ".join(report.promise.split("; ")[1:]))
    if page is not None:
        screen.line("Wrote", str(page))
    else:
        screen.follow(f"trimtab drift {report.reference} {report.current} --html drift.html")
