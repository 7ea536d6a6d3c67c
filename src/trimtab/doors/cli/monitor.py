"""monitor, explain, alert: is what serves still as it was, why did it alarm, and who looks at it?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from trimtab.doors.cli import screen
from trimtab.doors.cli.options import Call, command

if TYPE_CHECKING:
    from trimtab.monitor.alerts import Alert
    from trimtab.monitor.monitor import Report, Stepped

_reason = click.option("--reason", "--why", "reason", default="", metavar="TEXT", help="Why; the journal keeps it.")
_name = click.argument("name", metavar="ALERT")


@click.command()
@click.argument("model", required=False)
@click.option("--windows", default=12, show_default=True, type=click.IntRange(1, 1000),
              help="Newest windows to look at.")
@click.option("--dry-run", is_flag=True, help="Show what is known; close no window, raise no alert.")
@command
def monitor(call: Call, model: str | None, windows: int, dry_run: bool) -> None:
    """Close the windows that are due, then show drift, labels and alerts of what is live."""
    workspace = call.workspace()
    name = call.known(workspace, model)
    stepped = None if dry_run else workspace.monitor.step(name)
    reports = workspace.monitor.report(name, windows=windows)
    told: dict[str, object] = {"schema": "trimtab.monitor/1", "model": name,
                               "closed": 0 if stepped is None else len(stepped.closed),
                               "opened": [] if stepped is None else [alert.id for alert in stepped.opened],
                               "endpoints": [report.to_json() for report in reports]}
    call.show(told, lambda: _render(name, reports, stepped))


@click.command()
@click.argument("name", metavar="A-…|P-…")
@command
def explain(call: Call, name: str) -> None:
    """What an alert rests on (a-…), or why a recorded prediction was answered so (p-…).

    An alert: causes in the order to rule them out, evidence, effect sizes, where it began. A prediction: the terms that
    sum to its answer.
    """
    if name.startswith("p-"):
        from trimtab.doors.cli.replay import explain_prediction

        explain_prediction(call, name)
        return
    alert = call.workspace().alerts.get(name)
    call.show({"schema": "trimtab.alert/1", **alert.to_json()}, lambda: _explain(alert))


@click.group()
def alert() -> None:
    """Acknowledge, take, snooze or close an alert, or list them."""


@alert.command("list")
@click.argument("model", required=False)
@click.option("--all", "closed", is_flag=True, help="With those that are closed.")
@command
def list_(call: Call, model: str | None, closed: bool) -> None:
    """Alerts that are not closed, the newest first."""
    alerts = call.workspace().alerts
    found = alerts.list(model, states=None) if closed else alerts.list(model)

    def render() -> None:
        for text in screen.table([[one.id, f"{one.model} v{one.version}", one.state, screen.moment(one.opened_at),
                                   _short(one.sentence, 42)] for one in found]):
            click.echo(text)
        if not found:
            screen.line("", "no alerts" + ("" if closed else " that are not closed"))
        else:
            screen.follow(f"trimtab explain {found[0].id}")

    call.show({"schema": "trimtab.alerts/1", "alerts": [one.to_json() for one in found]}, render)


@alert.command("ack")
@_name
@_reason
@command
def ack(call: Call, name: str, reason: str) -> None:
    """Say that you look at it; it becomes yours unless it has an owner."""
    workspace = call.workspace()
    _show(call, workspace.alerts.acknowledge(name, by=workspace.actor, why=reason))


@alert.command("assign")
@_name
@click.argument("owner")
@_reason
@command
def assign(call: Call, name: str, owner: str, reason: str) -> None:
    """Give it to OWNER."""
    workspace = call.workspace()
    _show(call, workspace.alerts.assign(name, owner=owner, by=workspace.actor, why=reason))


@alert.command("snooze")
@_name
@click.option("--until", metavar="TIME", help="A date or time, as 2026-03-09 or 2026-03-09T14:00 (UTC).")
@click.option("--for", "span", metavar="SPAN", help="Or for how long, as 6h or 2d.")
@_reason
@command
def snooze(call: Call, name: str, until: str | None, span: str | None, reason: str) -> None:
    """Keep it quiet for a while, with a reason; evidence goes on being added to it."""
    from datetime import timedelta

    from trimtab import clock, config
    from trimtab.errors import UsageError

    if (until is None) == (span is None):
        raise UsageError("snooze for how long? Give --until 2026-03-09 or --for 2d")
    workspace = call.workspace()
    if until is not None:
        moment = clock.from_text(until)
    else:
        try:
            moment = workspace.clock.now() + timedelta(seconds=config.seconds(str(span)))
        except (ValueError, OverflowError):
            raise UsageError(f"--for {span} is not a span; write 30min, 6h or 2d") from None
    _show(call, workspace.alerts.snooze(name, until=moment, by=workspace.actor, why=reason))


@alert.command("close")
@_name
@_reason
@command
def close(call: Call, name: str, reason: str) -> None:
    """It is done with, and why. What comes after has to show itself anew."""
    workspace = call.workspace()
    _show(call, workspace.alerts.close(name, by=workspace.actor, why=reason))


def _show(call: Call, alert: Alert) -> None:
    def render() -> None:
        until = f" until {screen.moment(alert.snooze_until)}" if alert.snooze_until else ""
        screen.line("Alert", f"{alert.id} is {alert.state}{until}" + (f", owner {alert.owner}" if alert.owner else ""),
                    style="green")
        screen.follow(f"trimtab explain {alert.id}" if alert.state != "closed" else f"trimtab monitor {alert.model}")

    call.show({"schema": "trimtab.alert/1", **alert.to_json()}, render)


def _render(model: str, reports: list[Report], stepped: Stepped | None) -> None:
    if not reports:
        screen.line("", f"nothing of {model} is live, so nothing is watched")
        screen.follow(f"trimtab deploy {model}")
        return
    for report in reports:
        _endpoint(report)
    alerts = [alert for report in reports for alert in report.alerts]
    if alerts:
        screen.follow(f"trimtab explain {alerts[0].id}")
    else:
        screen.follow(f"trimtab monitor {model}", "to close what is due" if stepped is None else "after more traffic")


def _endpoint(report: Report) -> None:
    rows = sum(one.window.rows for one in report.windows)
    screen.line("Watching", f"{report.model} v{report.version} at {report.endpoint}: "
                f"{screen.count(len(report.windows), 'window')}, {screen.count(rows, 'row')}; "
                f"{screen.count(report.waiting, 'row')} in the next")
    evidence = report.evidence
    if evidence is None:
        screen.line("Drift", "cannot tell yet: no window is closed")
    else:
        moved = [one.words for one in evidence.alarmed]
        screen.line("Drift", "\n".join(moved[:5]) if moved else "none that evidence carries",
                    style="red" if moved else "green")
        furthest = next((one for one in evidence.columns if one.column != "(contract)"), None)
        if not moved and furthest is not None:
            screen.line("", f"furthest: {furthest.words}")
        screen.line("", evidence.rate.words)
    if report.performance is not None:
        then = report.reference
        judged = "" if then is None else (f"; when judged {screen.number(then['value'])} "
                                          f"[{screen.number(then['low'])}, {screen.number(then['high'])}]")
        screen.line("Labels", report.performance.words + judged)
    if report.harm is not None:
        screen.line("Harm", report.harm.words, style="red" if report.harm.alarm else "")
    for note in report.notes:
        screen.line("Not tested", note)
    for alert in report.alerts:
        screen.line("ALERT" if alert.state == "open" else alert.state.capitalize(),
                    f"{alert.id}  since {screen.moment(alert.opened_at)}  {alert.sentence}", style="red")


def _explain(alert: Alert) -> None:
    told: Any = alert.evidence
    screen.line("Alert", f"{alert.id}  {alert.model} v{alert.version} at {alert.endpoint}  {alert.state}"
                + (f" until {screen.moment(alert.snooze_until)}" if alert.snooze_until else "")
                + (f"  owner {alert.owner}" if alert.owner else ""), style="red")
    if began := told.get("began"):
        row = f", row {began['id']}" if began["id"] else ""
        screen.line("Since", f"window {began['window']} ({screen.moment(str(began['at']))}{row}); "
                             f"newest window {told['window']}")
    for place, cause in enumerate(alert.causes, 1):
        screen.line(f"Cause {place}", f"{cause['kind']}: {cause['sentence']}")
    screen.line("Data", f"look broken, nothing should be learned from them: {alert.broken}" if alert.broken else
                "look real: the contract holds; nothing new is missing, stuck or in another unit")
    for one in told.get("columns", ())[:8]:
        screen.line("Evidence", f"{one['column']}: log M {one['log_m']:.1f}, alarm at {told['log_threshold']:.1f}; "
                                f"{_effect(one)}")
    if told.get("rate"):
        screen.line("Promise", str(told["rate"]))
    for note in alert.notes:
        text = f": {note['text']}" if note["text"] else ""
        screen.line("Note", f"{screen.moment(str(note['at']))}  {note['by']}  {note['what']}{text}")
    screen.follow(f"trimtab alert ack {alert.id}" if alert.state == "open" else
                  f"trimtab monitor {alert.model}" if alert.state == "closed" else
                  f"trimtab alert close {alert.id} --reason \"…\"")


def _effect(one: Any) -> str:
    from trimtab.monitor.drift import ColumnEvidence

    return ColumnEvidence.from_json(one).words.partition(": ")[2]


def _short(text: str, width: int) -> str:
    return text if screen.cells(text) <= width else text[: width - 1] + "…"
