"""run, demo: how is the whole way gone in one command?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trimtab.doors.cli import data, screen, serving, training
from trimtab.doors.cli.options import Call, command
from trimtab.doors.cli.progress import bars

if TYPE_CHECKING:
    from trimtab.project.story import Step


@click.command()
@click.argument("source", metavar="[TABLE]", required=False, type=click.Path(path_type=Path))
@click.option("--name", metavar="NAME", help="The model's name (default: the file's, or the target's).")
@click.option("--target", metavar="COLUMN", default="-1", help="A column's name, or its place (default: the last).")
@click.option("--task", type=click.Choice(["regression", "binary", "multiclass"]),
              help="What is predicted (default: told by the target's values).")
@click.option("--split", "split_by", metavar="BY", default="row", show_default=True,
              help="How rows are held out: row, time:COLUMN or group:COLUMN.")
@click.option("--test", type=float, default=0.2, show_default=True, help="Share of rows held out.")
@click.option("--seed", type=int, default=42, show_default=True, help="Of the split.")
@click.option("--ignore", metavar="COLUMN", multiple=True, help="A column that is no feature; may be repeated.")
@command
def run(call: Call, source: Path | None, split_by: str, test: float, seed: int, **options: Any) -> None:
    """From TABLE to a live model: init, train, evaluate, register, deploy.

    The options count where the folder holds no project yet; where there is one, TABLE may be left out.
    """
    from trimtab.project import story

    by = data.split_by(split_by, test, seed)
    with bars(quiet=call.as_json) as on_progress:
        done = story.run(source, Path.cwd(), call.workspace(create=True), on_progress=on_progress, by=by,
                         say=(lambda step: None) if call.as_json else show_step, **options)
    call.show(done.to_json(), lambda: serving.render_change(done.change))


@click.command()
@click.option("--keep", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="Play it in DIR (new or empty) and leave it there (default: a folder that goes away).")
@command
def demo(call: Call, keep: Path | None) -> None:
    """Play the whole story: from a table to a served model and a rollback, then drift, retrain, canary, promotion."""
    from trimtab.doors.cli.demo import play

    play(call, keep)


def show_step(step: Step) -> None:
    """One step's screen, without its "Next:"."""
    from trimtab.project.initialise import Initialised
    from trimtab.project.training import TrainRun

    with screen.no_next():
        if isinstance(step, Initialised):
            data.render_init(step)
        elif isinstance(step, TrainRun):
            training.render_train(step)
        else:
            training.render_evaluated(step)
