"""loop, policy, pause, resume, decisions, decide: what does the loop do by itself, and who may stop it?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from trimtab.doors.cli import screen
from trimtab.doors.cli.options import Call, command

if TYPE_CHECKING:
    from trimtab.loop.model import Stored
    from trimtab.loop.reconciler import Step
    from trimtab.project.steering import Steered

_reason = click.option("--reason", "--why", "reason", default="", metavar="TEXT", help="Why; the journal keeps it.")
_endpoint = click.option("--endpoint", default="production", show_default=True, help="Where predictions are asked.")


@click.command()
@click.argument("model", required=False)
@click.option("--once", is_flag=True, help="One turn, then end.")
@click.option("--every", default="5s", show_default=True, metavar="SPAN", help="Time between two turns.")
@click.option("--dry-run", is_flag=True, help="Say what would be done now, and do nothing.")
@command
def loop(call: Call, model: str | None, once: bool, every: str, dry_run: bool) -> None:
    """Watch, decide and act for everything that serves, in the foreground (trimtab serve runs it beside itself).

    With --once also for one MODEL alone. Ends on SIGTERM and Ctrl-C; what is under way is taken up by the next loop.
    """
    from trimtab.config import seconds
    from trimtab.doors import guard, kept
    from trimtab.errors import UsageError
    from trimtab.project import tending as turns
    from trimtab.project.looping import Loop

    workspace = call.workspace()
    if model is not None:
        model = call.known(workspace, model)
    try:
        every_s = seconds(every)
    except ValueError:
        raise UsageError(f"--every {every} is not a span; write 5s, 1min or 1h") from None
    if dry_run:
        looping = Loop(workspace)
        places = [(row.model, row.endpoint) for row in workspace.rollouts.all_live() if model in (None, row.model)]
        _show_steps(call, [looping.step(name, endpoint, dry_run=True) for name, endpoint in places])
    elif once:
        ticked = Loop(workspace).tick(model)
        problems = [f"{one.model}: {one.problem}" for one in ticked if one.problem]
        _show_steps(call, [step for one in ticked for step in one.steps], problems)
        if problems:
            raise click.exceptions.Exit(1)
    elif model is not None:
        raise UsageError("the loop tends every model; name one together with --once, or stop it for the others with "
                         "trimtab pause")
    else:
        turns.tend(workspace, kept.ended_by_signals(), every_s=every_s, log=guard.log)


@click.command()
@click.argument("model", required=False)
@_reason
@command
def pause(call: Call, model: str | None, reason: str) -> None:
    """The kill switch: the loop does nothing for MODEL, or for any model, until resume; it goes on telling."""
    from trimtab.project import steering

    steering.pause(call.workspace(), model, why=reason)
    _show_switch(call, model, "paused", f"trimtab resume {model or ''}".rstrip())


@click.command()
@click.argument("model", required=False)
@_reason
@command
def resume(call: Call, model: str | None, reason: str) -> None:
    """Let the loop go on."""
    from trimtab.project import steering

    steering.resume(call.workspace(), model, why=reason)
    _show_switch(call, model, "resumed", f"trimtab decide {model} --dry-run" if model else "trimtab status")


@click.command()
@click.argument("model", required=False)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a setting; may be repeated.")
@click.option("--reset", is_flag=True, help="Go by the live version's own trimtab.toml again.")
@_reason
@click.option("--dry-run", is_flag=True, help="Show what it would be, and keep nothing.")
@command
def policy(call: Call, model: str | None, settings: tuple[str, ...], reset: bool, reason: str, dry_run: bool) -> None:
    """What the loop may do for a model, and how often; --set changes it."""
    from trimtab.errors import UsageError
    from trimtab.project import steering

    workspace, name = call.workspace(), call.model(model)
    if wrong := next((one for one in settings if "=" not in one), None):
        raise UsageError(f"--set {wrong} is no setting; write --set on_drift=retrain")
    changed = {key.strip(): value.strip() for key, _, value in (one.partition("=") for one in settings)}
    found = steering.change(workspace, name, changed, why=reason, reset=reset, dry_run=dry_run) \
        if changed or reset else steering.shown(workspace, name)
    call.show(found.to_json(), lambda: _policy(found))


@click.command()
@click.argument("model", required=False)
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1000), help="Newest decisions to show.")
@command
def decisions(call: Call, model: str | None, limit: int) -> None:
    """What the loop decided for a model, the newest first, and what became of it."""
    workspace = call.workspace()
    name = call.known(workspace, model)
    found = workspace.decisions.list(name, limit=limit)

    def render() -> None:
        for one in found:
            _decision(one)
        if found:
            screen.follow(f"trimtab decide --replay {found[0].id}")
        else:
            screen.line("", f"nothing was decided for {name} yet")
            screen.follow(f"trimtab decide {name} --dry-run")

    call.show({"schema": "trimtab.decisions/1", "model": name, "decisions": [one.to_json() for one in found]}, render)


@click.command()
@click.argument("model", required=False)
@_endpoint
@click.option("--dry-run", is_flag=True, help="Say what would be done now, and do nothing.")
@click.option("--replay", metavar="DECISION", help="Recompute a decision from its stored evidence alone.")
@command
def decide(call: Call, model: str | None, endpoint: str, dry_run: bool, replay: str | None) -> None:
    """Do the one thing that is to be done for a model now, or say what that is.

    With --replay: exit code 1 where the evidence no longer gives that decision.
    """
    from trimtab.project import steering

    workspace = call.workspace()
    if replay is None:
        _show_steps(call, [steering.decide(workspace, call.model(model), endpoint=endpoint, dry_run=dry_run)])
        return
    found = workspace.decisions.replay(replay)

    def render() -> None:
        _decision(found.stored)
        if found.differs:
            screen.line("Replayed", f"differs in {', '.join(found.differs)}: it would now be {found.again.words}",
                        style="red")
        else:
            screen.line("Replayed", "its evidence gives the same decision, field by field", style="green")
        screen.follow(f"trimtab decisions {found.stored.decision.model}")

    call.show({"schema": "trimtab.replay/1", "decision": found.stored.to_json(), "again": found.again.to_json(),
               "differs": list(found.differs)}, render)
    if found.differs:
        raise click.exceptions.Exit(1)


def _show_switch(call: Call, model: str | None, state: str, following: str) -> None:
    def render() -> None:
        screen.line("Loop", f"{state} for {model or 'every model'}", style="green")
        screen.follow(following)

    call.show({"schema": "trimtab.switch/1", "model": model, "state": state}, render)


def _show_steps(call: Call, steps: list[Step], problems: list[str] | None = None) -> None:
    def render() -> None:
        for step in steps:
            name = f"{step.stored.id}  " if step.stored else ""
            screen.line(step.outcome.capitalize(), f"{name}{step.decision.model}  {step.decision.words}")
        for problem in problems or []:
            screen.line("Problem", problem, style="red")
        if not steps and not problems:
            screen.line("", "nothing serves, so there is nothing to decide")
        screen.follow(f"trimtab decisions {steps[-1].decision.model}" if steps else "trimtab status")

    call.show({"schema": "trimtab.steps/1", "problems": problems or [],
               "steps": [{"outcome": step.outcome, "decision": step.decision.to_json(),
                          "id": step.stored.id if step.stored else None,
                          "result": step.stored.result if step.stored else None} for step in steps]}, render)


def _decision(one: Stored) -> None:
    made, why = one.decision, one.result.get("why", "")
    version = f" v{made.version}" if made.version is not None else ""
    screen.line(one.state.capitalize(), f"{one.id}  {screen.moment(one.at)}  {made.action}{version}\n{made.reason}"
                + (f"\n{why}" if why else ""), style="red" if one.state == "failed" else "")


def _policy(found: Steered) -> None:
    from trimtab.project import steering

    made = found.policy
    came = "as somebody kept it" if found.kept else "as the version's trimtab.toml says"
    screen.line("Policy", f"of {found.model}, {came}" + ("; nothing was changed" if found.dry_run else ""))
    screen.columns([(name, steering.text(made, name)) for name in steering.SETTINGS])
    if made.paused:
        screen.line("Paused", f"by {made.by}: {made.why}", style="yellow")
    screen.follow(f"trimtab decide {found.model} --dry-run")
