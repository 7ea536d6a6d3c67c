"""score: what does a version answer for every row of a table, however large?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from trimtab.doors.cli import screen
from trimtab.doors.cli.options import Call, command

if TYPE_CHECKING:
    from trimtab.project.scoring import Scored

_SHOWN = 5


@click.command()
@click.argument("table", metavar="IN", type=click.Path(path_type=Path))
@click.argument("out", metavar="OUT", type=click.Path(path_type=Path))
@click.argument("version", metavar="MODEL@VERSION", required=False)
@click.option("--log", is_flag=True, help="Record each prediction as traffic of the version; monitoring leaves it out.")
@click.option("--strict", is_flag=True, help="Exit with 1 when any row is set aside; OUT is written all the same.")
@click.option("--force", is_flag=True, help="Write over OUT.")
@command
def score(call: Call, table: Path, out: Path, version: str | None, log: bool, strict: bool, force: bool) -> None:
    """Predict each row of IN (Parquet or CSV) into OUT (.parquet or .csv), in memory that does not grow with it.

    A model without a version means the one that is live at production. Rows that break the contract go to
    OUT.quarantine.parquet, each with its number and reasons. Exit code 1 when no row keeps the contract.
    """
    from trimtab.project.scoring import score as score_table

    workspace = call.workspace()
    made = score_table(table, out, version or call.model(None), log=log, force=force, workspace=workspace)
    call.show(made.to_json(), lambda: _render(made))
    if made.set_aside and (strict or not made.predicted):
        raise click.exceptions.Exit(1)


def _render(made: Scored) -> None:
    rate = f"   {screen.number(made.rows / made.seconds)} rows/s" if made.seconds > 0 else ""
    screen.line("Scored", f"{made.predicted:,} of {screen.count(made.rows, 'row')} by {made.version} into "
                          f"{made.out}{rate}", style="green" if made.predicted else "red")
    if made.aside is not None:
        screen.line("Set aside", f"{screen.count(made.set_aside, 'row')} into {made.aside}", style="yellow")
        most = list(made.reasons.items())
        for (column, rule), count in most[:_SHOWN]:
            screen.line("", f"{count:,} × {'unreadable line' if not column else f'{column}: {rule}'}")
        if len(most) > _SHOWN:
            screen.line("", f"{len(most) - _SHOWN} other reasons")
    if made.recorded:
        screen.follow("trimtab traffic")
    elif made.aside is not None:
        screen.follow("trimtab contract show", "the rules that they broke")
    else:
        screen.follow(f"trimtab score IN OUT {made.version} --log", "to record the predictions")
