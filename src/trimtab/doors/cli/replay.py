"""replay, explain p-…: is a recorded prediction answered the same again, and why was it answered so?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from trimtab.doors.cli import screen
from trimtab.doors.cli.options import Call, command

if TYPE_CHECKING:
    from trimtab.project.explaining import Explanation
    from trimtab.project.replaying import Replays

_SHOWN = 20


@click.command()
@click.argument("predictions", nargs=-1, metavar="[P-…]...")
@click.option("--sample", type=click.IntRange(1), metavar="N", help="N recorded predictions, drawn at random.")
@click.option("--seed", default=0, show_default=True, help="Of the draw: the same seed draws the same.")
@click.option("--model", metavar="MODEL", help="Draw among this model's only.")
@command
def replay(call: Call, predictions: tuple[str, ...], sample: int | None, seed: int, model: str | None) -> None:
    """Answer recorded predictions again, by the version and in the request that they were answered in.

    Each is the same to the last bit, differs, or can't be compared, and why. Ends with 1 where one differs.
    """
    from trimtab.errors import UsageError
    from trimtab.project import replaying

    if bool(predictions) == (sample is not None):
        raise UsageError("which predictions? Give ids (trimtab replay p-…), or draw some: --sample 1000")
    workspace = call.workspace()
    ids = predictions if sample is None else replaying.sample(workspace, sample, seed=seed, model=model)
    told = replaying.replay(workspace, ids)
    call.show(told.to_json(), lambda: _render(told))
    if not told.ok:
        raise click.exceptions.Exit(1)


def _render(told: Replays) -> None:
    screen.line("Replayed", screen.count(len(told.predictions), "prediction"))
    screen.line("Same", f"{told.count('same'):,}, to the last bit", style="green")
    for outcome, label, style in (("differs", "Differ", "red"), ("not_comparable", "Unlike", "yellow")):
        these = [one for one in told.predictions if one.outcome == outcome]
        for place, one in enumerate(these[:_SHOWN]):
            screen.line(label if place == 0 else "", f"{one.id}  {one.model} v{one.version}: {one.why}"
                        if one.model else f"{one.id}  {one.why}", style=style)
        if len(these) > _SHOWN:
            screen.line("", f"… {len(these) - _SHOWN:,} more (--json for all)")
    first = next((one for one in told.predictions if one.outcome == "differs"), None) or next(iter(told.predictions),
                                                                                              None)
    if first is None:
        screen.follow("trimtab serve", "what it answers is recorded")
    else:
        screen.follow(f"trimtab traffic --id {first.id}" if first.outcome != "same" else f"trimtab explain {first.id}")


def explain_prediction(call: Call, name: str) -> None:
    """`trimtab explain p-…`."""
    from trimtab.project.explaining import Explainer

    version, found = Explainer(call.workspace()).recorded(name)
    call.show({"schema": "trimtab.explanation/1", "prediction": name, "version": version, **found.to_json()},
              lambda: _explain(name, version, found))


def _explain(name: str, version: str, found: Explanation) -> None:
    screen.line("Prediction", f"{name} by {version}: {_shown(found.answer)}")
    screen.line("Explained", f"{found.of}: {found.total:.6g}")
    rows = [["base", "", f"{found.base:+.6g}", ""]]
    for part in found.parts[:_SHOWN]:
        how = f"K {part.kernel:.4g}" if part.kernel is not None else "" if part.value is None else _shown(part.value)
        tail = "" if part.coefficient is None else f"coefficient {part.coefficient:.4g}"
        rows.append([part.name, how, f"{part.amount:+.6g}", tail if part.error is None else f"± {part.error:.2g}"])
    more, rest = found.more + len(found.parts[_SHOWN:]), found.rest + sum(part.amount for part in found.parts[_SHOWN:])
    if more:
        rows.append([f"{more:,} more", "", f"{rest:+.6g}", ""])
    for text in screen.table(rows, right=(2,)):
        click.echo(text)
    screen.line("By", found.source)
    screen.follow(f"trimtab replay {name}")


def _shown(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
