"""init, check, contract: what does the data look like, and what must it look like?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trimtab.doors.cli import screen
from trimtab.doors.cli.options import Call, command

if TYPE_CHECKING:
    from trimtab.project.initialise import Initialised
    from trimtab.project.project import Checked

_TASKS = click.Choice(["regression", "binary", "multiclass"])
_SHOWN = 10


@click.command()
@click.argument("source", metavar="TABLE", required=False, type=click.Path(path_type=Path))
@click.option("--sql", metavar="QUERY", help="Read the rows that this query gives, instead of a file.")
@click.option("--url", metavar="URL", help="The database of --sql; $NAME reads it from the environment.")
@click.option("--name", metavar="NAME", help="The model's name (default: the file's, or the target's).")
@click.option("--target", metavar="COLUMN", default="-1", help="A column's name, or its place (default: the last).")
@click.option("--task", type=_TASKS, help="What is predicted (default: told by the target's values).")
@click.option("--split", "by", metavar="BY", default="row", show_default=True,
              help="How rows are held out: row, time:COLUMN or group:COLUMN.")
@click.option("--test", type=float, default=0.2, show_default=True, help="Share of rows held out.")
@click.option("--seed", type=int, default=42, show_default=True, help="Of the split.")
@click.option("--ignore", metavar="COLUMN", multiple=True, help="A column that is no feature; may be repeated.")
@click.option("--owner", metavar="NAME", default="", help="Who answers for the data.")
@click.option("--database", metavar="URL", help="Where the workspace's tables live (default: SQLite in its folder).")
@click.option("--force", is_flag=True, help="Write trimtab.toml and contract.toml anew where they exist.")
@command
def init(call: Call, source: Path | None, sql: str | None, url: str | None, database: str | None, target: str,
         by: str, test: float, seed: int, **options: Any) -> None:
    """Read TABLE (CSV, TSV or Parquet), infer its contract, write trimtab.toml and contract.toml."""
    from trimtab.project.initialise import initialise

    done = initialise(_source(source, sql, url), Path.cwd(), call.workspace(create=True, database=database),
                      target=target, by=split_by(by, test, seed), **options)
    call.show(done.to_json(), lambda: render_init(done))


@click.command()
@click.argument("table", required=False, type=click.Path(path_type=Path))
@command
def check(call: Call, table: Path | None) -> None:
    """Check TABLE (default: the project's data) against the contract. Exit code 1 when a row breaks it."""
    done = call.project().check(table)
    call.show(done.to_json(), lambda: render_check(done))
    if not done.ok:
        raise click.exceptions.Exit(1)


@click.group()
def contract() -> None:
    """Show or edit the data contract."""


@contract.command("show")
@command
def contract_show(call: Call) -> None:
    """Print the contract, one column a line."""
    from trimtab.data.lookup import shown_rule

    found = call.project(create=False).contract
    rows = [[column.name, column.type, column.role, shown_rule(column), column.unit, column.note or column.confirm]
            for column in found.columns]

    def render() -> None:
        for text in screen.table([["column", "type", "role", "rule", "unit", "note"], *rows]):
            click.echo(text)

    call.show({"schema": "trimtab.contract/1", "owner": found.owner, "digest": found.digest, "columns": [
        {"name": c.name, "type": c.type, "role": c.role, "missing": c.missing, "min": c.min, "max": c.max,
         "categories": list(c.categories), "unseen": c.unseen, "unit": c.unit, "note": c.note, "log": c.log,
         "confirm": c.confirm}
        for c in found.columns]}, render)


@contract.command("edit")
@click.argument("column")
@click.option("--min", "low", metavar="VALUE", help="Smallest allowed value; `none` removes the bound.")
@click.option("--max", "high", metavar="VALUE", help="Largest allowed value; `none` removes the bound.")
@click.option("--missing/--no-missing", default=None, help="May values be missing?")
@click.option("--unseen/--no-unseen", default=None, help="May a category be one that is not listed?")
@click.option("--add-category", metavar="NAME", multiple=True, help="One more known category; may be repeated.")
@click.option("--unit", metavar="TEXT", help="What the numbers count.")
@click.option("--note", metavar="TEXT", help="For people.")
@click.option("--role", type=click.Choice(["feature", "id", "ignored", "time", "group"]), help="What it is used for.")
@click.option("--log", type=click.Choice(["keep", "hash", "drop"]), help="What recorded traffic keeps of it.")
@click.option("--confirmed", is_flag=True, help="The question that the contract asks about it is answered.")
@command
def contract_edit(call: Call, column: str, **changes: Any) -> None:
    """Change what the contract says of COLUMN."""
    from trimtab.data.lookup import shown_rule

    given = {key: value for key, value in changes.items() if value is not None and value != ()}
    done = call.project().edit_contract(column, **given)

    def render() -> None:
        screen.line("Contract", f"{column}: {shown_rule(done)}", style="green")
        screen.follow("trimtab check")

    call.show({"schema": "trimtab.contract_edit/1", "column": column, "rule": shown_rule(done)}, render)


def render_init(done: Initialised) -> None:
    """The screen of `init`, as PRODUCT has it."""
    digest = f", {done.source_digest.short}…" if done.source_digest else ""
    size = f", {screen.size(done.size_bytes)}" if done.size_bytes else ""
    encoding = f", {done.encoding}" if done.encoding not in ("", "utf-8") else ""
    screen.line("Read", f"{done.source}   {screen.count(done.rows, 'row')} × {screen.count(done.columns, 'column')}"
                        f"{size}{encoding}{digest}")
    for note in done.notes:
        screen.line("Note", note)
    for bad in done.quarantined[:_SHOWN]:
        screen.line("Set aside", str(bad), style="yellow")
    if len(done.quarantined) > _SHOWN:
        screen.line("", f"… and {len(done.quarantined) - _SHOWN:,} more rows (--json has them all)")
    last = " (last column; change with --target)" if done.target_is_last else ""
    screen.line("Target", f"{done.target}{last}   task: {done.task}")
    by = "by time " + done.split.time if done.split.time else "by group " + done.split.group if done.split.group \
        else f"seed {done.split.seed}, by row"
    screen.line("Split", f"{100 - round(done.split.test * 100)}/{round(done.split.test * 100)}, {by}   "
                         f"({done.train_rows:,} train, {done.test_rows:,} held out)")
    if not (done.split.time or done.split.group):
        times = [column.name for column in done.contract.features if column.type == "datetime"]
        screen.line("", f"for rows ordered in time use --split time:{times[0] if times else 'COLUMN'}")
    screen.line("Contract", f"{screen.count(len(done.contract.features), 'feature')} → contract.toml   "
                            "(types, ranges, missing, categories)")
    if done.findings:
        screen.line("Found", f"{screen.count(len(done.findings), 'thing')} worth a look", style="yellow")
        screen.columns([(found.column, found.text) for found in done.findings[:_SHOWN]])
        if len(done.findings) > _SHOWN:
            screen.line("", f"… and {len(done.findings) - _SHOWN} more (--json has them all)")
    screen.line("Wrote", f"{', '.join(done.wrote)}, .trimtab/ (git-ignored)")
    screen.follow("trimtab train")


def render_check(done: Checked) -> None:
    """The screen of `check`."""
    report = done.report
    screen.line("Checked", f"{done.source}   {screen.count(report.rows, 'row')}", style="green" if done.ok else "")
    for bad in done.quarantined[:_SHOWN]:
        screen.line("Set aside", str(bad), style="yellow")
    if report.ok:
        screen.line("Contract", "every row keeps it", style="green")
    else:
        screen.line("Broken", f"{screen.count(report.bad, 'row')} of {report.rows:,}", style="red")
        for (column, rule), number in sorted(report.counts.items(), key=lambda item: -item[1])[:_SHOWN]:
            screen.line("", f"{column}: {rule}, {number:,} ×")
        for violation in report.violations[:_SHOWN]:
            screen.line("", violation.message)
    if done.findings:
        screen.line("Found", f"{screen.count(len(done.findings), 'thing')} worth a look", style="yellow")
        screen.columns([(found.column, found.text) for found in done.findings[:_SHOWN]])
    screen.follow("trimtab train" if done.ok else "trimtab contract edit COLUMN")


def _source(source: Path | None, sql: str | None, url: str | None) -> Any:
    from trimtab.config import SqlSource
    from trimtab.errors import UsageError

    if sql is not None and url is not None and source is None:
        return SqlSource(sql=sql, url=url)
    if source is None or sql is not None or url is not None:
        raise UsageError("name a table (trimtab init data.csv), or a query with --sql and --url")
    return source


def split_by(text: str, test: float, seed: int) -> Any:
    """`--split`, `--test` and `--seed` as the configuration has them. Raises UsageError."""
    from trimtab.config import SplitBy
    from trimtab.errors import UsageError

    kind, _, column = text.partition(":")
    if not 0 < test < 1:
        raise UsageError(f"--test {test} must lie between 0 and 1, e.g. 0.2")
    if not 0 <= seed < 2**32:
        raise UsageError(f"--seed {seed} must lie in 0 … 4294967295")
    if kind == "row" and not column:
        return SplitBy(test=test, seed=seed)
    if kind == "time" and column:
        return SplitBy(test=test, seed=seed, time=column)
    if kind == "group" and column:
        return SplitBy(test=test, seed=seed, group=column)
    raise UsageError(f"--split {text!r} is not known; write row, time:COLUMN or group:COLUMN")
