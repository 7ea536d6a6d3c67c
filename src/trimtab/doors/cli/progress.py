"""How far is it?  A bar a candidate on stderr, with the time that is left; nothing at all where nobody watches."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trimtab.pipeline.budget import OnProgress, Progress

_STAGES = {"search": "searching", "folds": "folds", "refit": "fitting on all training rows"}


@contextmanager
def bars(*, quiet: bool) -> Iterator[OnProgress | None]:
    """A callback for `train`; None where stderr is not a terminal or the caller wants silence."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    tasks: dict[str, TaskID] = {}
    with Progress(TextColumn(" {task.description:<14}"), BarColumn(bar_width=24),
                  TextColumn("{task.completed}/{task.total} {task.fields[stage]}"), TimeElapsedColumn(),
                  TextColumn("{task.fields[left]}"), console=Console(stderr=True), transient=True) as shown:

        def on_progress(now: object) -> None:
            _update(shown, tasks, now)  # type: ignore[arg-type]

        yield on_progress


def _update(shown: object, tasks: dict[str, int], now: Progress) -> None:
    from rich.progress import Progress as Bars

    from trimtab.pipeline.budget import shown_seconds

    assert isinstance(shown, Bars)
    left = f"about {shown_seconds(now.eta_s)} left" if now.eta_s is not None and now.eta_s >= 1 else ""
    stage = _STAGES.get(now.stage, now.stage)
    if now.candidate not in tasks:
        tasks[now.candidate] = shown.add_task(now.candidate, total=now.total, stage=stage, left=left)
    shown.update(tasks[now.candidate], completed=now.done, total=now.total, stage=stage, left=left)  # type: ignore[arg-type]
