"""canary: what is tried beside the champion, on the same requests?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from trimtab.doors.cli import screen
from trimtab.doors.cli.options import Call, command
from trimtab.errors import UsageError

if TYPE_CHECKING:
    from trimtab.project.trying import Tried


@click.command()
@click.argument("version", metavar="MODEL[@VERSION]", required=False)
@click.option("--shadow", is_flag=True, help="Compute along and answer nobody.")
@click.option("--share", metavar="PERCENT", help="Answer this share of the traffic, e.g. 5%; the same keys throughout.")
@click.option("--stop", is_flag=True, help="End it: the champion answers alone.")
@click.option("--endpoint", default="production", show_default=True, help="Where predictions are asked.")
@click.option("--reason", "--why", "reason", default="", metavar="TEXT", help="Why; the journal keeps it.")
@click.option("--dry-run", is_flag=True, help="Check everything and change nothing.")
@command
def canary(call: Call, version: str | None, shadow: bool, share: str | None, stop: bool, endpoint: str, reason: str,
           dry_run: bool) -> None:
    """Try a version beside the champion: --shadow, --share 5%, --stop; without one of them, say what is tried,
    and whether it is unfit.

    Both versions compute every request, one of them answers. deploy, promote and rollback end the trial.
    """
    from trimtab.project import trying

    if shadow + stop + (share is not None) > 1:
        raise UsageError("--shadow, --share and --stop are three things to do; choose one")
    workspace = call.workspace()
    crossed: tuple[str, ...] = ()
    if stop:
        tried = trying.end(workspace, call.model(version), why=reason, endpoint=endpoint, dry_run=dry_run)
    elif not shadow and share is None:
        name = call.known(workspace, version)
        now = workspace.stages.current(name, endpoint)
        crossed = () if now is None else trying.crossed(workspace, now)
        tried = trying.Tried(model=name, endpoint=endpoint, before=now, now=now)
    else:
        chosen = workspace.versions.resolve(version or call.model(None))
        tried = trying.try_beside(workspace, chosen.model, chosen.number, endpoint=endpoint, why=reason,
                                  share=0.0 if share is None else trying.read_share(share), dry_run=dry_run)
    call.show({**tried.to_json(), "crossed": list(crossed)}, lambda: _render(tried, crossed))


def _render(tried: Tried, crossed: tuple[str, ...]) -> None:
    before, now = tried.before, tried.now
    if now is None:
        word = "Would" if tried.dry_run else "Ended"
        said = f"{'end ' if tried.dry_run else ''}{before.sentence}" if before else ""
        screen.line(word if before else "", said or f"nothing is beside the champion of {tried.model} at "
                                                    f"{tried.endpoint}")
    elif tried.dry_run:
        screen.line("Would", f"try {now.sentence} at {now.endpoint}; nothing was changed")
    else:
        since = f", since {screen.moment(now.stage_since)}" if now.stage_since else ""
        screen.line("Tried", f"{now.sentence} at {now.endpoint} (trial {now.trial}{since})", style="green")
        for sentence in crossed:
            screen.line("Unfit", sentence, style="red")
    screen.follow(f"trimtab log {tried.model}" if now is None else f"trimtab canary {tried.model} --stop" if crossed
                  else "trimtab status")
