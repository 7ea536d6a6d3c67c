"""How is a comparison of two versions told in a terminal?"""

from __future__ import annotations

from collections.abc import Sequence

import click

from trimtab.doors.cli import screen
from trimtab.registry.changes import Changed
from trimtab.registry.difference import Difference

_SHOWN = 6


def render(found: Difference) -> None:
    """Metrics first, then what differs in the making, then where the answers differ."""
    screen.line("Compare", f"{found.a} → {found.b}" + ("   the same bytes" if found.same_bytes else ""))
    _metrics(found)
    if found.pairing:
        screen.line("Paired" if found.loss else "Not paired", found.pairing)
        if found.can_rescore:
            screen.line("", f"trimtab diff {found.a} {found.b} --rescore asks {found.a} about the same rows")
    for label, changes in (("Parameters", found.parameters), ("Features", found.features), ("Contract", found.contract),
                           ("Config", found.config), ("Data", found.data), ("Git", found.git),
                           ("Packages", found.environment)):
        _changes(label, changes)
    for file in found.code:
        screen.line("Code", f"{file.kind} {file.path}" + (f"\n{file.diff}" if file.diff else ""))
    _disagreement(found)


def _metrics(found: Difference) -> None:
    rows = []
    for one in found.metrics:
        change = ""
        if one.change is not None:
            change = f"{one.change.value:+.4g} [{one.change.low:+.4g}, {one.change.high:+.4g}]"
        rows.append([one.metric, screen.number(one.a), "→", screen.number(one.b), change, one.verdict])
    for text in screen.table(rows, indent=screen.LABEL_CELLS + 2, right=(1, 3)):
        click.echo(text)


def _changes(label: str, changes: Sequence[Changed]) -> None:
    if not changes:
        return
    words = [change.words for change in changes[:_SHOWN]]
    if len(changes) > _SHOWN:
        words.append(f"… and {len(changes) - _SHOWN} more (--json has them all)")
    screen.line(label, "\n".join(words))


def _disagreement(found: Difference) -> None:
    if not found.rows:
        return
    screen.line("Disagree", f"{found.disagree:,} of {found.rows:,} rows: {found.rule}")
    for example in found.examples[:3]:
        values = "  ".join(f"{name}={_shown(value)}" for name, value in list(example.values.items())[:6])
        answers = f"{_shown(example.a)} → {_shown(example.b)}, true {_shown(example.y)}"
        screen.line("", f"row {example.row}: {answers}   {values}")
    screen.line("Where", found.slice_words)


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
