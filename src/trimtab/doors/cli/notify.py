"""notify: who is told of alerts and decisions, and did it arrive?"""

from __future__ import annotations

import click

from trimtab.doors.cli import screen
from trimtab.doors.cli.options import Call, command


@click.group()
def notify() -> None:
    """Who is told of alerts and decisions: webhooks, what they were sent, a test."""


@notify.command("list")
@click.argument("model", required=False)
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1000), help="Newest notices to show.")
@command
def list_(call: Call, model: str | None, limit: int) -> None:
    """The webhooks of a model, and the newest notices with what became of them."""
    from trimtab.project import telling

    workspace = call.workspace()
    name = call.known(workspace, model)
    hooks = [{"hook": telling.name_of(hook), "events": list(hook.events), "format": hook.format, "from": where}
             for hook, where in telling.hooks(workspace, name)]
    found = workspace.notices.list(name, limit=limit)

    def render() -> None:
        for hook in hooks:
            screen.line("Webhook", f"{hook['hook']}  {', '.join(hook['events'])}  {hook['format']}  ({hook['from']})")
        if not hooks:
            screen.line("Webhook", "none: nobody is told; see [notify] in docs/trimtab-toml.md")
        for one in found:
            tried = f" (try {one.tries}: {one.why})" if one.why else ""
            screen.line(one.state.replace("_", " "), f"{screen.moment(one.at)}  {one.kind}  {one.body.get('text', '')}"
                        + tried, style="red" if one.state == "gave_up" else "")
        screen.follow("trimtab notify retry" if any(one.state == "gave_up" for one in found) else
                      f"trimtab notify test {name}" if hooks else f"trimtab monitor {name}")

    call.show({"schema": "trimtab.notices/1", "model": name, "webhooks": hooks,
               "notices": [one.to_json() for one in found]}, render)


@notify.command("test")
@click.argument("model", required=False)
@command
def test(call: Call, model: str | None) -> None:
    """Send a trial notice to each webhook of a model now. Exit code 1 where one does not take it."""
    from trimtab.errors import NotFound
    from trimtab.project import telling

    workspace = call.workspace()
    name = call.known(workspace, model)
    sent = telling.test(workspace, name)
    if not sent:
        raise NotFound(f"{name} has no webhook; name one under [notify] in the workspace's workspace.toml, or in "
                       "trimtab.toml (it counts once a version made with it is live)")

    def render() -> None:
        for one in sent:
            ok = one.delivered.ok
            screen.line("Told" if ok else "Not told", f"{one.hook}  {one.where}  "
                        + (f"answered {one.delivered.status}" if ok else one.delivered.why),
                        style="green" if ok else "red")
        screen.follow(f"trimtab notify list {name}")

    call.show({"schema": "trimtab.notify_test/1", "model": name, "sent": [one.to_json() for one in sent]}, render)
    if not all(one.delivered.ok for one in sent):
        raise click.exceptions.Exit(1)


@notify.command("retry")
@command
def retry(call: Call) -> None:
    """Try once more, from the start, what was given up."""
    number = call.workspace().notices.again()

    def render() -> None:
        screen.line("Notices", f"{number:,} will be sent again" if number else "none was given up")
        screen.follow("trimtab notify list")

    call.show({"schema": "trimtab.notify_retry/1", "again": number}, render)
