"""traffic, label: what was asked, what was answered, and what turned out true?"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trimtab import clock
from trimtab.doors.cli import screen
from trimtab.doors.cli.options import Call, command

if TYPE_CHECKING:
    from trimtab.traffic.segments import Record, Row


@click.command()
@click.argument("model", required=False)
@click.option("--id", "prediction", metavar="P-…", help="One prediction, with everything that was recorded of it.")
@click.option("--since", metavar="TIME", help="From this day or moment on.")
@click.option("--until", metavar="TIME", help="Up to this moment.")
@click.option("--version", type=int, metavar="N", help="Answered by this version.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1), help="Predictions to show, the newest.")
@command
def traffic(call: Call, model: str | None, prediction: str | None, since: str | None, until: str | None,
            version: int | None, limit: int) -> None:
    """Predictions as `trimtab serve` recorded them, the newest last; --id tells one of them whole."""
    from trimtab.traffic.query import row_json, shown
    from trimtab.traffic.segments import KEPT

    workspace = call.workspace()
    recorded = workspace.traffic
    if model is not None:
        model = call.known(workspace, model)
    if prediction is not None:
        record, row = recorded.find(prediction)
        call.show({"schema": "trimtab.prediction/1", **row_json(record, row)}, lambda: _render_one(record, row))
        return
    which: dict[str, Any] = {"model": model, "version": version, "since": clock.from_text(since) if since else None,
             "until": clock.from_text(until) if until else None, "batches": True}
    total = recorded.count(**which)
    found = list(map(shown, recorded.frame(limit=limit, **which).iter_rows(named=True)))

    def render() -> None:
        for text in screen.table([[str(one["id"]), screen.moment(str(one["at"])), f"{one['model']} v{one['version']}",
                                   _shown(one["output"]) + ("" if one["verdict"] == KEPT else f"  {one['verdict']}")]
                                  for one in found]):
            click.echo(text)
        screen.line("Recorded", screen.count(total, "prediction"))
        if found:
            screen.follow(f"trimtab traffic --id {found[-1]['id']}")
        else:
            screen.follow("trimtab serve", "what it answers is recorded")

    call.show({"schema": "trimtab.traffic/1", "count": total, "predictions": found}, render)


@click.command()
@click.argument("table", type=click.Path(path_type=Path))
@click.argument("model", required=False)
@click.option("--key", metavar="COLUMN", help="Join by this column, the rows' id, instead of by prediction ids.")
@click.option("--truth", metavar="COLUMN", help="The column of true values (default: the target, else the last).")
@command
def label(call: Call, table: Path, model: str | None, key: str | None, truth: str | None) -> None:
    """Tell what later turned out true: TABLE has a column of prediction ids (or --key) and one of true values.

    Labels may come late, in any order, twice, and corrected; the newest counts.
    """
    from trimtab.project.labelling import label as keep

    name = call.model(model)
    told = keep(call.workspace(), name, table, key=key, truth=truth)

    def render() -> None:
        screen.line("Labels", f"{told.new:,} new, {told.repeated:,} told before, {told.corrected:,} corrected",
                    style="green")
        if told.unknown:
            screen.line("", f"{told.unknown:,} of no recorded prediction yet; they count once it is", style="yellow")
        screen.follow(f"trimtab monitor {name}")

    call.show(told.to_json(), render)


def _render_one(record: Record, row: Row) -> None:
    screen.line("Prediction", f"{row.id}   {screen.moment(record.at)}")
    screen.line("Answered", f"{_shown(row.output)}   by {record.model} v{record.version} at {record.endpoint} "
                            f"({record.stage}), {record.latency_us:,} µs for {screen.count(len(record.rows), 'row')}")
    if row.probabilities is not None:
        screen.line("", "probabilities " + ", ".join(f"{share:.4f}" for share in row.probabilities))
    if row.why:
        screen.line("Instead", f"{row.why} ({record.verdict}: not the version's own answer)", style="yellow")
    if row.key is not None:
        screen.line("Key", row.key)
    if row.redacted:
        screen.line("Redacted", ", ".join(f"{name} ({'hashed' if name in row.features else 'dropped'})"
                                          for name in row.redacted))
    asked = [f"{name} {_shown(value)}" for name, value in row.features.items()]
    for start in itertools.count(0, 4):
        if start >= len(asked):
            break
        screen.line("Asked" if start == 0 else "", "   ".join(asked[start:start + 4]))


def _shown(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
