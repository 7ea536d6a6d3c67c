"""register, versions, log, diff, alias, checkout, rebuild, delete: which versions are there, made of what?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from trimtab import clock
from trimtab.doors.cli import screen
from trimtab.doors.cli.options import Call, command
from trimtab.errors import NotFound, UsageError
from trimtab.workspace import FOLLOWS

if TYPE_CHECKING:
    from trimtab.registry.model import LiveAt, LogEntry, Version


@click.command()
@click.argument("model", required=False)
@click.option("--run", metavar="RUN", help="The training run to register (default: the newest).")
@click.option("--note", default="", metavar="TEXT", help="What people should know about this version.")
@command
def register(call: Call, model: str | None, run: str | None, note: str) -> None:
    """Register the chosen model of the newest training run as a new version, evaluated first where it was not yet."""
    from trimtab.doors.cli.training import evaluated_json, render_registered

    project = call.project()
    if model is not None and model != project.config.model.name:
        raise UsageError(f"this folder's project makes {project.config.model.name!r}, not {model!r}")
    done = project.evaluate(run=run, register=True, note=note)
    call.show(evaluated_json(done), lambda: render_registered(done))


@click.command()
@click.argument("model", required=False)
@click.option("--all", "deleted", is_flag=True, help="Deleted ones too.")
@command
def versions(call: Call, model: str | None, deleted: bool) -> None:
    """List the versions of a model, oldest first."""
    name = call.model(model)
    workspace = call.workspace()
    found = workspace.versions.list(name, deleted=deleted)
    named: dict[int, list[str]] = {}
    for alias in workspace.aliases.list(name):
        named.setdefault(alias.number, []).append(alias.alias)

    def render() -> None:
        for text in screen.table([_version_cells(one, named.get(one.number, [])) for one in found]):
            click.echo(text)

    call.show({"schema": "trimtab.versions/1", "model": name,
               "versions": [version_json(one, named.get(one.number, [])) for one in found]}, render)


@click.command()
@click.argument("model", required=False)
@click.option("--since", metavar="TIME", help="From this day or moment on (2026-03-03, 2026-03-03T14:05, yesterday).")
@click.option("--until", metavar="TIME", help="Up to this moment.")
@click.option("--at", "moment", metavar="TIME", help="What was live at this moment?")
@click.option("-n", "--limit", type=click.IntRange(1), help="Only so many, the newest.")
@command
def log(call: Call, model: str | None, since: str | None, until: str | None, moment: str | None,
        limit: int | None) -> None:
    """What happened to a model, newest first, as the journal has it."""
    from trimtab.registry import history

    name = call.model(model)
    workspace = call.workspace()
    workspace.versions.list(name, deleted=True)               # an unknown name is answered with near ones
    if moment is not None:
        live = history.live_at(workspace.journal, name, clock.from_text(_day(moment)))
        if live is None:
            raise NotFound(f"nothing of {name} was live at {moment}", model=name)
        call.show({"schema": "trimtab.live/1", **live.to_json()}, lambda: _render_live(live))
        return
    entries = history.log(workspace.journal, name, limit=limit,
                          since=clock.from_text(_day(since)) if since else None,
                          until=clock.from_text(_day(until)) if until else None)
    call.show({"schema": "trimtab.log/1", "model": name, "entries": [entry.to_json() for entry in entries]},
              lambda: _render_log(entries))


@click.command()
@click.argument("first", metavar="MODEL@VERSION")
@click.argument("second", metavar="[MODEL@VERSION]", required=False)
@click.option("--rescore", is_flag=True, help="Where they were tested on different rows, ask the first about the "
                                              "second's.")
@command
def diff(call: Call, first: str, second: str | None, rescore: bool) -> None:
    """Compare two versions: metrics with paired intervals, data, code, environment, and where they disagree.

    With one version, it is compared with the champion.
    """
    from trimtab.doors.cli.difference import render
    from trimtab.project.comparing import difference

    workspace = call.workspace()
    a, b = (first, second) if second else (f"{first.split('@')[0]}@champion", first)
    found = difference(workspace, a, b, rescore=rescore)
    call.show(found.to_json(), lambda: render(found))


@click.group()
def alias() -> None:
    """Set, remove or list names on versions. Moving `champion` is `promote`."""


@alias.command("set")
@click.argument("model")
@click.argument("name", metavar="ALIAS")
@click.argument("version", metavar="VERSION")
@click.option("--why", "--reason", "why", default="", metavar="TEXT", help="Why; the journal keeps it.")
@command
def alias_set(call: Call, model: str, name: str, version: str, why: str) -> None:
    """Point ALIAS of MODEL at VERSION (a number, or v2)."""
    workspace = call.workspace()
    moved = workspace.aliases.set(model, name, workspace.versions.resolve(f"{model}@{version}").number,
                                  by=workspace.actor, why=why)
    call.show({"schema": "trimtab.alias/1", "model": moved.model, "alias": moved.alias, "version": moved.number},
              lambda: screen.line("Alias", f"{moved.alias} → {moved.model}@v{moved.number}", style="green"))


@alias.command("remove")
@click.argument("model")
@click.argument("name", metavar="ALIAS")
@click.option("--why", "--reason", "why", default="", metavar="TEXT", help="Why; the journal keeps it.")
@command
def alias_remove(call: Call, model: str, name: str, why: str) -> None:
    """Take a name away. `champion` can't be removed."""
    workspace = call.workspace()
    gone = workspace.aliases.remove(model, name, by=workspace.actor, why=why)
    call.show({"schema": "trimtab.alias/1", "model": gone.model, "alias": gone.alias, "version": None},
              lambda: screen.line("Removed", f"{gone.alias}, was {gone.model}@v{gone.number}"))


@alias.command("list")
@click.argument("model", required=False)
@command
def alias_list(call: Call, model: str | None) -> None:
    """All aliases of a model, or of every model."""
    found = call.workspace().aliases.list(model)

    def render() -> None:
        for text in screen.table([[one.model, one.alias, f"v{one.number}", screen.moment(one.moved_at), one.moved_by]
                                  for one in found]) or [" no aliases"]:
            click.echo(text)

    call.show({"schema": "trimtab.aliases/1", "aliases": [
        {"model": one.model, "alias": one.alias, "version": one.number, "moved_at": one.moved_at,
         "moved_by": one.moved_by} for one in found]}, render)


@click.command()
@click.argument("version", metavar="MODEL@VERSION")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@command
def checkout(call: Call, version: str, folder: Path) -> None:
    """Lay out a version's code, data, configuration, lock and files in DIR (new or empty)."""
    from trimtab.registry.checkout import checkout as lay_out

    workspace = call.workspace()
    done = lay_out(workspace.versions, workspace.versions.resolve(version), folder, frames=workspace.datasets.load)

    def render() -> None:
        screen.line("Laid out", f"{done.version} in {folder}/   {screen.count(len(done.files), 'file')}", style="green")
        for note in done.notes:
            screen.line("Note", note, style="yellow")
        screen.follow(f"trimtab rebuild {done.version}")

    call.show(done.to_json(), render)


@click.command()
@click.argument("version", metavar="MODEL@VERSION")
@command
def rebuild(call: Call, version: str) -> None:
    """Make a version again from its stored ingredients, in a scratch folder, and compare the digests.

    Exit code 1 when they differ; what differs is named.
    """
    from trimtab.project.rebuilding import rebuild as make_again

    done = make_again(call.workspace(), version)

    def render() -> None:
        if done.same:
            screen.line("Same", f"{version}   {done.original.short}, rebuilt bit for bit", style="green")
        else:
            screen.line("Differs", f"{version}   {done.original.short} → {done.rebuilt.short}", style="red")
        for words in done.words:
            screen.line("", words)

    call.show(done.to_json(), render)
    if not done.same:
        raise click.exceptions.Exit(1)


@click.command()
@click.argument("version", metavar="MODEL@VERSION")
@click.option("--why", "--reason", "why", required=True, metavar="TEXT", help="Why; the journal keeps it.")
@command
def delete(call: Call, version: str, why: str) -> None:
    """Put a tombstone in a version's place: it can't serve any more, its digests stay. Refused while it is live."""
    workspace = call.workspace()
    chosen = workspace.versions.resolve(version)
    gone = workspace.versions.delete(chosen.model, chosen.number, by=workspace.actor, why=why)
    call.show({"schema": "trimtab.deleted/1", **version_json(gone, [])},
              lambda: screen.line("Deleted", f"{gone.name}   {gone.digest.short} stays on record"))


def version_json(version: Version, aliases: list[str]) -> dict[str, object]:
    """A version as every JSON door shows it."""
    return {"model": version.model, "version": version.number, "digest": version.digest, "gates": version.gates,
            "candidate": version.facts.get("candidate"), "task": version.facts.get("task"), "run": version.run,
            "flavor": version.manifest.flavor, "predict": version.facts.get("predict"),
            "note": version.note, "created_at": version.created_at, "created_by": version.created_by,
            "deleted_at": version.deleted_at, "aliases": aliases,
            "ingredients": version.manifest.ingredients.to_json()}


def _version_cells(version: Version, aliases: list[str]) -> list[str]:
    state = "deleted" if version.deleted_at else f"gates {version.gates}"
    return [f"v{version.number}", version.digest.short, screen.moment(version.created_at), version.created_by, state,
            str(version.facts.get("candidate") or ""), version.tier.partition(",")[0], ", ".join(aliases), version.note]


def _render_live(live: LiveAt) -> None:
    why = f": {live.why}" if live.why else ""
    screen.line("Live then", f"{live.model} v{live.number}   {live.digest}")
    screen.line("", f"since {screen.moment(live.since)} by {live.by}{why}   (journal row {live.seq})")


def _render_log(entries: list[LogEntry]) -> None:
    for entry in entries:
        if entry.kind == "alias.set" and entry.why == FOLLOWS:
            continue                           # the rollout beside it says the same
        click.echo(f"{screen.styled(entry.digest or '·', 'yellow')}  {entry.what}")
        click.echo(f"    {screen.moment(entry.at)}  {entry.by}" + (f"  \"{entry.why}\"" if entry.why else "")
                   + f"  #{entry.seq}")
    if not entries:
        screen.line("", "nothing in that time")


def _day(text: str) -> str:
    """`today` and `yesterday` are days too."""
    from datetime import timedelta

    back = {"today": 0, "yesterday": 1}.get(text.strip().lower())
    if back is None:
        return text
    return (clock.SystemClock().now() - timedelta(days=back)).date().isoformat()
