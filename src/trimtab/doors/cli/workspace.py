"""audit, doctor, backup, restore, gc: is the record whole, where is its copy, and what of it may go?"""

from __future__ import annotations

from pathlib import Path

import click

from trimtab.doors.cli import screen
from trimtab.doors.cli.options import Call, command


@click.group(invoke_without_command=False)
def audit() -> None:
    """Verify the journal and every registered version; show the signed head."""


@audit.command("verify")
@click.option("--head", "head_file", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="A head that was kept elsewhere: the journal must still contain it.")
@click.option("--journal-only", is_flag=True, help="Leave out the versions' bytes.")
@command
def verify(call: Call, head_file: Path | None, journal_only: bool) -> None:
    """Walk the hash chain, check the signed head, then every version's signature and bytes. Exit code 1 if broken."""
    from trimtab.project import audit as audits

    report = audits.verify(call.workspace(), head_file=head_file, journal_only=journal_only)

    def render() -> None:
        screen.line("Journal", f"{screen.count(report.rows, 'row')}, unbroken; head {report.head.hash[:12]}… signed by "
                               f"{report.head.key_id}", style="green")
        if report.kept_seq is not None:
            screen.line("Kept head", f"row {report.kept_seq} is contained, unchanged", style="green")
        screen.line("Versions", f"{report.versions} verified: signature, manifest, every file, ingredients"
                    if not journal_only else "not checked", style="" if journal_only else "green")
        if report.tables:
            screen.line("Traffic", f"{screen.count(report.tables, 'table')} unchanged since closed", style="green")
        screen.line("Live", "what is live is what the journal says" if not journal_only else "not checked")
        screen.follow("trimtab audit head > head.json", "keep it elsewhere: it proves later that nothing was cut")

    call.show(report.to_json(), render)


@audit.command("head")
@command
def head(call: Call) -> None:
    """Print the journal's signed head as JSON, to be kept outside the workspace."""
    screen.print_json(call.workspace().journal.head().to_json())


@click.command()
@click.option("--fix", is_flag=True, help="Remove temporary files that killed processes left more than a day ago.")
@command
def doctor(call: Call, fix: bool) -> None:
    """Look for what is wrong with the installation and the workspace. Exit code 1 when something is."""
    from trimtab.project import health

    checks = health.examine(call.folder, fix=fix)
    good = all(check.ok for check in checks)

    def render() -> None:
        for check in checks:
            screen.line("ok" if check.ok else "problem", f"{check.name}: {check.text}",
                        style="green" if check.ok else "red")

    call.show({"schema": "trimtab.doctor/1", "ok": good, "checks": [check.to_json() for check in checks]}, render)
    if not good:
        raise click.exceptions.Exit(1)


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@command
def backup(call: Call, file: Path) -> None:
    """Copy the whole workspace into FILE (a .tar) while it is used, whatever database it is in."""
    from trimtab.project import keeping

    made = keeping.backup(call.workspace(), file)

    def render() -> None:
        screen.line("Backup", f"{file.name}   {screen.size(made.bytes)}, {screen.count(made.blobs, 'object')}, "
                              f"{screen.count(made.rows, 'row')}", style="green")
        screen.follow(f"trimtab restore {file.name} DIR", "the file holds the signing key: keep it safe")

    call.show(made.to_json(), render)


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), metavar="DIR")
@click.option("--database", metavar="URL", help="Put the tables into this empty database (postgresql://…).")
@command
def restore(call: Call, file: Path, folder: Path, database: str | None) -> None:
    """Make the workspace DIR (new or empty) from a backup; journal and objects are verified before it counts."""
    from trimtab.project import keeping

    made = keeping.restore(file, folder, database=database)

    def render() -> None:
        screen.line("Restored", f"{folder.name}/   {screen.count(made.blobs, 'object')}, "
                                f"{screen.count(made.rows, 'row')}, journal verified to row {made.seq}", style="green")
        screen.follow(f"trimtab status --workspace {folder}")

    call.show(made.to_json(), render)


@click.command()
@click.option("--older-than", metavar="SPAN", help="E.g. 400d (default: [traffic] keep of trimtab.toml).")
@click.option("--reason", "--why", "reason", default="", metavar="TEXT", help="Why; the journal keeps it.")
@click.option("--dry-run", is_flag=True, help="Say what would go, and change nothing.")
@command
def gc(call: Call, older_than: str | None, reason: str, dry_run: bool) -> None:
    """Delete closed tables of traffic that are older than SPAN and were judged; the journal keeps their digests.

    Rows that no window holds yet, and those of an open trial, stay.
    """
    from trimtab.project.tidying import forget_traffic

    span = older_than or _keep()
    if not span:
        raise click.UsageError('say how old traffic may grow: --older-than 400d, or keep = "400d" under [traffic]')
    found = forget_traffic(call.workspace(), span, why=reason, dry_run=dry_run)
    gone, kept = [one for one in found if not one.kept], [one for one in found if one.kept]

    def render() -> None:
        screen.line("Would go" if dry_run else "Deleted", f"{screen.count(len(gone), 'table')} of traffic, "
                    f"{screen.count(sum(one.rows for one in gone), 'prediction')}, all older than {span}")
        for one in kept:
            screen.line("Stays", f"{one.name}: {one.kept}", style="yellow")
        screen.follow("trimtab gc" if dry_run and gone else "trimtab audit verify")

    call.show({"schema": "trimtab.gc/1", "dry_run": dry_run, "older_than": span,
               "tables": [one.to_json() for one in found]}, render)


def _keep() -> str:
    from trimtab import config
    from trimtab.project.files import TOML, find_root

    root = find_root()
    return "" if root is None else config.load(root / TOML).traffic.keep
