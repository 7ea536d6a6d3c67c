"""train, evaluate, why: how does a project come to a judged candidate and a registered version?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from trimtab.doors.cli import screen
from trimtab.doors.cli.options import Call, command
from trimtab.doors.cli.progress import bars
from trimtab.ids import shown_run

if TYPE_CHECKING:
    from trimtab.project.judging import Judged
    from trimtab.project.training import TrainRun


@click.command()
@click.argument("candidates", nargs=-1)
@click.option("--no-cache", is_flag=True, help="Do every step again, also those whose inputs did not change.")
@click.option("--from", "from_step", metavar="STEP", help="Do this step and all after it again (split, train:ridge …).")
@command
def train(call: Call, candidates: tuple[str, ...], no_cache: bool, from_step: str | None) -> None:
    """Train CANDIDATES (default: those of trimtab.toml), cross-validated on the training rows."""
    project = call.project()
    with bars(quiet=call.as_json) as on_progress:
        run = project.train(candidates or None, on_progress=on_progress, no_cache=no_cache, from_step=from_step)
    call.show(run.to_json(), lambda: render_train(run))


@click.command()
@click.option("--run", metavar="RUN", help="The training run to judge (default: the newest).")
@click.option("--no-register", is_flag=True, help="Judge only; no version is made.")
@click.option("--note", default="", metavar="TEXT", help="What people should know about this version.")
@command
def evaluate(call: Call, run: str | None, no_register: bool, note: str) -> None:
    """Score all candidates on the held-out rows in one counted opening, judge the gates, register the chosen one.

    Exit code 1 when a gate failed; the version is registered all the same, and can't be deployed.
    """
    done = call.project().evaluate(run=run, register=not no_register, note=note)
    call.show(evaluated_json(done), lambda: render_evaluated(done))
    if not done.evaluation.gates.passed:
        raise click.exceptions.Exit(1)


@click.command()
@click.argument("step", required=False)
@command
def why(call: Call, step: str | None) -> None:
    """Say whether STEP (read, split, train:ridge …; default: all) would run again, and what changed."""
    found = call.project().why(step)

    def render() -> None:
        for one in found:
            screen.line("cached" if one.hit else "would run", f"{one.step}   {'; '.join(one.reasons)}",
                        style="green" if one.hit else "yellow")

    call.show({"schema": "trimtab.why/1", "steps": [
        {"step": one.step, "cached": one.hit, "reasons": list(one.reasons)} for one in found]}, render)


def render_train(run: TrainRun) -> None:
    """A line a candidate, the baseline last, then which was chosen and why."""
    from trimtab.pipeline.evaluation import number, shown_metric

    report = run.report
    metric = shown_metric(report.metric)
    for text in run.preprocessing:
        screen.line("Prepared" if text == run.preprocessing[0] else "", text)
    for note in run.notes:
        screen.line("Note", note, style="yellow")
    rows, notes = [], []
    for one in report.candidates:
        label = "baseline" if one.name == "dummy" else one.name
        if one.error or one.mean is None:
            rows.append([label, "not trained", ""])
            notes.append((label, one.error))
            continue
        spread = f" ± {number(one.se)}" if one.se else ""
        cached = "   (from the cache)" if f"train:{one.name}" in report.cached else ""
        rows.append([label, f"CV {metric} {number(one.mean)}{spread}", ("← chosen" if one.name == report.chosen else "")
                     + cached])
        notes += [(label, note) for note in one.notes]
    for text in screen.table(rows):
        click.echo(text)
    for label, note in notes:
        screen.line("", f"{label}: {note}")
    chosen = run.chosen
    screen.line("Chosen", f"{report.chosen}   {report.reason}", style="green")
    if chosen.formula:
        screen.line("", chosen.formula)
    screen.line("Run", f"{shown_run(report.run)} ({len(report.candidates)} children)   report: {run.report_file}")
    screen.follow("trimtab evaluate")


def evaluated_json(done: Judged) -> dict[str, object]:
    """As `evaluate --json` and `register --json` print it."""
    version = done.version
    return {**done.evaluation.to_json(), "report": done.report_file,
            "version": None if version is None else version.number,
            "digest": None if version is None else version.digest}


def render_evaluated(done: Judged) -> None:
    """The screen of `evaluate`: intervals wherever a number decides, and what was not tested."""
    from trimtab.doors.cli.judged import render

    render(done.evaluation)
    render_registered(done)


def render_registered(done: Judged) -> None:
    """The version that came of it, or that none did."""
    if done.version is None:
        screen.line("", "not registered (--no-register)")
        screen.follow("trimtab evaluate")
        return
    again = "" if done.is_new else "   the same bytes as before; nothing new was made"
    screen.line("Registered", f"{done.version.model} v{done.version.number}   {done.version.digest.short}   (no pickle)"
                              f"{again}", style="green")
    if done.version.gates == "passed":
        screen.follow(f"trimtab deploy {done.version.record.name}")
    else:
        screen.follow("trimtab train", "the gates did not pass: this version can't be deployed")
