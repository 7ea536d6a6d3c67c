"""simulate: what would the loop do in a month of drift, faults and outages?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trimtab.doors.cli import screen
from trimtab.doors.cli.options import Call, command

if TYPE_CHECKING:
    from trimtab.testing.played import Happening, Played
    from trimtab.testing.scenario import Scenario

_STYLE = {"fault": "yellow", "store": "yellow", "server": "yellow", "loop": "yellow", "alert": "red", "live": "green"}
_SHOWN = 60                                    # lines of the timeline; --json has all


@click.command()
@click.argument("scenario", required=False)
@click.option("--days", type=click.FloatRange(0, 36_525, min_open=True), metavar="N",
              help="Virtual days (default: the scenario's own, mostly 30).")
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Of all chance in it.")
@click.option("--keep", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="Play it in DIR (new or empty) and leave it there (default: a folder that goes away).")
@command
def simulate(call: Call, scenario: str | None, days: float | None, seed: int, keep: Path | None) -> None:
    """Play SCENARIO on a virtual clock: a built-in one or a TOML file. Without one: list the built-in ones.

    The rooms are the real ones, and the workspace is one of its own; yours is not touched.
    """
    from trimtab.testing import scenario as scenarios

    if scenario is None:
        known = [scenarios.load(name) for name in scenarios.built_in()]
        call.show({"schema": "trimtab.scenarios/1", "scenarios": [{"name": one.name, "says": one.says}
                                                                 for one in known]}, lambda: _list(known))
        return
    from trimtab.testing.simulation import simulate as play

    plan = scenarios.load(scenario)
    length = plan.days if days is None else days
    with click.progressbar(length=max(1, round(length)), label=f" {plan.name}", file=sys.stderr,
                           hidden=call.as_json or not sys.stderr.isatty()) as bar:
        played = play(plan, seed=seed, days=days, keep=keep, on_day=lambda day: bar.update(day - bar.pos))
    call.show(played.to_json(), lambda: _render(plan, played, keep))


def _list(known: list[Scenario]) -> None:
    screen.line("Scenarios", "each plays 30 virtual days of a made-up pump station")
    screen.columns([(one.name, one.says) for one in known])
    screen.follow("trimtab simulate drift")


def _render(plan: Scenario, played: Played, keep: Path | None) -> None:
    made_up = "the data are made up" if played.synthetic else \
        f"the rows are those of {(plan.root / plan.project).resolve().name}/"
    injected = "faults are injected" if plan.event else "nothing is injected"
    screen.line("Simulated", f"{played.scenario}: {played.days:g} days from {played.begins[:10]} of virtual time, seed "
                f"{played.seed}; {made_up}, {injected}")
    if plan.says:
        screen.line("", plan.says)
    told = [one for one in played.timeline if " decided: hold" not in one.text]
    shown = told[:_SHOWN]
    for one in shown:
        screen.line(f"day {one.day:.2f}" if one.day >= 0 else "before", _words(one), style=_STYLE.get(one.what, ""))
    if len(shown) < len(played.timeline):
        screen.line("", f"{screen.count(len(played.timeline) - len(shown), 'more line')}, most of them of what only "
                    "waited: --json has them all")
    counts = played.counts
    screen.line("Traffic", f"{counts.asked:,} rows asked, {counts.answered:,} answered "
                f"({counts.fallback:,} by a fallback), {counts.refused:,} refused by "
                f"the contract, {counts.unanswered:,} while no server was up; {counts.recorded:,} recorded")
    screen.line("Labels", f"{counts.labels:,} told, {counts.corrected:,} corrected")
    live = "nothing is live" if played.live is None else f"{played.model} v{played.live}"
    waiting = sum(one["state"] != "closed" for one in played.alerts)
    screen.line("Ends", f"{live} of {screen.count(played.versions, 'version')}; "
                f"{screen.count(len(played.alerts), 'alert')}, {waiting} not closed", style="green")
    screen.line("Journal", f"{screen.count(played.rows, 'row')}, unbroken; head {played.head[:12]}…, the same again "
                f"with --seed {played.seed}")
    if keep is not None:
        screen.follow(f"trimtab log {played.model} --workspace {keep / '.trimtab'}")
    else:
        screen.follow(f"trimtab simulate {played.scenario} --seed {played.seed + 1}", "the same with other chances")


def _words(one: Happening) -> str:
    """The line; why a trial or a version changed is told by the decision before it, unless a person did it."""
    short = one.by == "loop" and one.what in ("trial", "live")
    return f"{one.what}: {one.text.partition(': ')[0] if short else one.text}"
