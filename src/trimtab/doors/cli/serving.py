"""deploy, promote, rollback, status, serve, predict: what answers in production, and how is that changed?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from trimtab.doors.cli import screen
from trimtab.doors.cli.options import Call, command
from trimtab.errors import UsageError

if TYPE_CHECKING:
    from trimtab.monitor.alerts import Alert
    from trimtab.monitor.brief import Brief
    from trimtab.serving.pulse import Glance
    from trimtab.serving.rollout import Change
    from trimtab.serving.status import ModelStatus

_endpoint = click.option("--endpoint", default="production", show_default=True, help="Where predictions are asked.")
_dry_run = click.option("--dry-run", is_flag=True, help="Check everything and change nothing.")


def _reason(*, text: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return click.option("--reason", "--why", "reason", default="", metavar="TEXT", help=text)


@click.command()
@click.argument("version", metavar="MODEL@VERSION", required=False)
@_endpoint
@_reason(text="Why; the journal keeps it.")
@_dry_run
@command
def deploy(call: Call, version: str | None, endpoint: str, reason: str, dry_run: bool) -> None:
    """Make a version live (default: the newest version of the project's model).

    Its gates must have passed, and its signature and every byte are verified first.
    """
    workspace = call.workspace()
    chosen = workspace.versions.resolve(version or call.model(None))
    _show(call, workspace.rollouts.deploy(chosen.model, chosen.number, by=workspace.actor, why=reason,
                                          endpoint=endpoint, dry_run=dry_run))


@click.command()
@click.argument("version", metavar="MODEL@VERSION")
@_endpoint
@_reason(text="Why; the journal keeps it.")
@_dry_run
@command
def promote(call: Call, version: str, endpoint: str, reason: str, dry_run: bool) -> None:
    """Make a version the champion of an endpoint that serves already."""
    workspace = call.workspace()
    chosen = workspace.versions.resolve(version)
    _show(call, workspace.rollouts.promote(chosen.model, chosen.number, by=workspace.actor, why=reason,
                                           endpoint=endpoint, dry_run=dry_run))


@click.command()
@click.argument("model", required=False)
@click.option("--to", type=int, metavar="N", help="Go back to version N (default: the one that was live before).")
@_endpoint
@_reason(text="Why; the journal keeps it.")
@_dry_run
@command
def rollback(call: Call, model: str | None, to: int | None, endpoint: str, reason: str, dry_run: bool) -> None:
    """Go back to the version that was live before; again, and it goes further back."""
    workspace = call.workspace()
    _show(call, workspace.rollouts.rollback(call.model(model), by=workspace.actor, why=reason, to=to,
                                            endpoint=endpoint, dry_run=dry_run))


@click.command()
@click.argument("model", required=False)
@command
def status(call: Call, model: str | None) -> None:
    """What is live now, one line a model."""
    from trimtab.monitor.brief import brief
    from trimtab.project import steering
    from trimtab.serving.pulse import last_minute
    from trimtab.serving.status import fleet

    workspace = call.workspace()
    rows = fleet(workspace.versions, workspace.rollouts, workspace.stages, model=model)
    minute = last_minute(workspace.folder / "serving", workspace.clock)
    known = {(one.model, one.endpoint): brief(workspace.db, one.model, one.version, one.endpoint)
             for row in rows for one in row.live}
    traffic = [{"model": name, "endpoint": endpoint, **told.to_json(),
                "last_minute": minute[name, endpoint].to_json() if (name, endpoint) in minute else None}
               for (name, endpoint), told in known.items()]
    alerts = workspace.alerts.list(model, states=("open", "acknowledged"))
    shown = [{"id": one.id, "model": one.model, "version": one.version, "endpoint": one.endpoint, "state": one.state,
              "opened_at": one.opened_at, "sentence": one.sentence, "broken": one.broken} for one in alerts]
    lost = len(workspace.notices.list(model, state="gave_up", limit=1000))
    loop = steering.needs(workspace, model)
    call.show({"schema": "trimtab.status/1", "models": [row.to_json() for row in rows], "traffic": traffic,
               "alerts": shown, "notices_given_up": lost, "loop": loop},
              lambda: _render(rows, alerts, lost, loop, minute, known))


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Loopback only: this release has no log-in.")
@click.option("--port", default=8321, show_default=True, type=click.IntRange(0, 65535), help="0 picks a free one.")
@click.option("--durability", type=click.Choice(["fast", "strict"]), help="When a recorded prediction is safe "
              "from a power cut: within a second, or before its answer (default: trimtab.toml's, else fast).")
@click.option("--loop/--no-loop", default=True, show_default=True, help="Run the loop beside it: trimtab loop.")
@click.option("--grpc-port", type=click.IntRange(0, 65535), help="Speak gRPC there too (trimtab[grpc]); 0 picks one.")
@click.option("--default", metavar="MODEL", default="", help="Whom requests are for that name no model (MLflow's "
              "/invocations); else the only model that is live.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 64), help="Processes that answer on "
              "the port (Linux).")
@click.option("--memory", metavar="SIZE", default="", help="What the models of a process may take, as 2GiB: a version "
              "that would be over it is not loaded, and the one before serves on.")
@click.option("--print-systemd", is_flag=True, help="Print a systemd unit for these options, and end.")
@command
def serve(call: Call, host: str, port: int, durability: Literal["fast", "strict"] | None, loop: bool,
          grpc_port: int | None, default: str, workers: int, memory: str, print_systemd: bool) -> None:
    """Answer requests for every endpoint of the workspace; follows deploy, promote and rollback by itself.

    Each prediction is recorded before its answer goes out; see trimtab traffic. The loop watches them in a process of
    its own, and does what the policies allow; see trimtab policy.
    """
    from trimtab.config import Budget
    from trimtab.doors import server
    from trimtab.project.tending import EVERY_S

    if workers > 1 and grpc_port is not None:
        raise UsageError("gRPC is spoken by one process only; leave --workers or --grpc-port out")
    try:
        limit = Budget(memory=memory).memory_bytes if memory else None
    except ValueError:
        raise UsageError(f"--memory {memory} is not a size; write it as 2GiB or 500MB") from None
    if print_systemd:
        from trimtab.doors import systemd

        click.echo(systemd.unit(call.folder, host=host, port=port, durability=durability or _durability(), loop=loop,
                                grpc_port=grpc_port, default=default, workers=workers, memory=memory), nl=False)
        return
    every_s = EVERY_S if loop else None

    def ready(url: str) -> None:
        click.echo(f"Serving on {url}", err=True)

    workspace = call.workspace(create=True)
    if workers > 1:
        from trimtab.doors.workers import serve_together

        serve_together(workspace, host, port, workers=workers, durability=durability or _durability(), default=default,
                       loop_every_s=every_s, memory_bytes=limit, on_ready=ready)
        return
    server.serve(workspace, host, port, durability=durability or _durability(), default=default, grpc_port=grpc_port,
                 loop_every_s=every_s, memory_bytes=limit, on_ready=ready)


def _durability() -> Literal["fast", "strict"]:
    from trimtab import config
    from trimtab.project.files import TOML, find_root

    root = find_root()
    return "fast" if root is None else config.load(root / TOML).traffic.durability


@click.command()
@click.argument("version", metavar="MODEL@VERSION")
@click.argument("table", type=click.Path(path_type=Path))
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1), help="Rows to print.")
@command
def predict(call: Call, version: str, table: Path, limit: int) -> None:
    """Ask a version for predictions on the rows of a table; rows that break the contract are said so.

    Exit code 1 when no row keeps the contract.
    """
    from trimtab.project.asking import predict_table

    workspace = call.workspace()
    answer = predict_table(workspace, version, table)
    call.show(answer.to_json(), lambda: _render_answer(answer, limit))
    if answer.violations and not answer.rows:
        raise click.exceptions.Exit(1)


def _show(call: Call, change: Change) -> None:
    call.show(change.to_json(), lambda: render_change(change))


def render_change(change: Change) -> None:
    """What became live, and where it answers."""
    if not change.changed:
        screen.line("Live", f"{change.model} v{change.after} was live already; nothing to do", style="green")
    elif change.dry_run:
        screen.line("Would", f"{change.verb} {change.sentence} at {change.endpoint}; nothing was changed")
    else:
        screen.line("Live", f"{change.sentence}  100%   POST /v2/models/{change.model}/infer", style="green")
        screen.follow("trimtab serve" if change.before is None else f"trimtab log {change.model}")


def _render(rows: list[ModelStatus], alerts: list[Alert], lost: int, loop: list[dict[str, object]],
            minute: Mapping[tuple[str, str], Glance], known: Mapping[tuple[str, str], Brief]) -> None:
    if not rows:
        screen.line("", "no model has a version yet")
        screen.follow("trimtab run data.csv")
        return
    lines = screen.table([_cells(row) for row in rows])
    for row, text in zip(rows, lines, strict=True):
        click.echo("\n".join(screen.folded(text)))
        for one in row.live:
            glance, brief = minute.get((one.model, one.endpoint)), known[one.model, one.endpoint]
            if glance is not None or brief.drifted is not None:
                click.echo("   " + "   ".join([*([] if one.endpoint == "production" else [one.endpoint]),
                                               *_minute(glance), *brief.words]))
    for alert in alerts:
        screen.line("ALERT", f"{alert.id}  {alert.model}@v{alert.version}  {alert.sentence}", style="red")
    if lost:
        screen.line("Not told", f"{screen.count(lost, 'notice')} given up: trimtab notify list", style="red")
    for told in loop:
        what = "" if told["what"] == "paused" else f"{told['what']}: "
        screen.line("Loop", f"{told['model'] or 'every model'}  {what}{told['sentence']}",
                    style="yellow" if told["what"] in ("needs you", "paused") else "")
    urgent = next((told for told in loop if told["what"] in ("needs you", "paused")), None)
    waiting = next((row for row in rows if row.newest is not None and not row.live), None)
    newer = next((row for row in rows if row.champion and row.newest and row.newest.number > row.champion.number), None)
    if alerts:
        screen.follow(f"trimtab explain {alerts[0].id}")
    elif urgent is not None:
        screen.follow(str(urgent["next"]))
    elif waiting is not None and waiting.newest is not None:
        screen.follow(f"trimtab deploy {waiting.newest.name}")
    elif newer is not None and newer.newest is not None:
        screen.follow(f"trimtab diff {newer.model}@champion {newer.newest.name}")
    else:
        screen.follow("trimtab serve")


def _minute(glance: Glance | None) -> list[str]:
    if glance is None:
        return ["not served now"]
    p99 = [] if glance.p99_ms is None else [f"p99 {screen.number(glance.p99_ms)} ms"]
    return [f"{glance.requests_per_minute:,.0f} req/min", *p99, f"errors {glance.errors:,}"]


def _cells(row: ModelStatus) -> list[str]:
    live = ", ".join(row.shares(one) + ("" if one.endpoint == "production" else f" at {one.endpoint}")
                     for one in row.live) or "not live"
    since = f"since {screen.moment(row.live[0].at)} by {row.live[0].by}" if row.live else ""
    metric = row.metric
    quality = "not evaluated" if row.champion else ""
    if metric is not None:
        name, found = metric
        bounds = f"[{screen.number(found['low'])}, {screen.number(found['high'])}]"
        shown = name.upper() if len(name) <= 4 else name.replace('_', ' ')
        quality = f"test {shown} {screen.number(found['value'])} {bounds}"
    newest = f"newest v{row.newest.number}" if row.newest else "all deleted"
    return [row.model, live, since, quality, newest]


def _render_answer(answer: Any, limit: int) -> None:
    for text in answer.lines(limit):
        click.echo("\n".join(screen.folded(text)))
