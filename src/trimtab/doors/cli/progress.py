"""How far is it?  A line on stderr with a bar and the time that is left; nothing at all where nobody watches."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from trimtab.doors.cli import screen

if TYPE_CHECKING:
    from trimtab.pipeline.budget import OnProgress, Progress

_STAGES = {"search": "searching", "folds": "folds", "refit": "fitting on all training rows"}
_BAR_CELLS = 24
_CLEAR = "\r\x1b[K"                            # to the line's begin, and nothing is left of it


@contextmanager
def bars(*, quiet: bool) -> Iterator[OnProgress | None]:
    """A callback for `train`; None where stderr is not a terminal or the caller wants silence."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    try:
        yield lambda now: _write(_line(now))
    finally:
        _write("")


def _write(text: str) -> None:
    sys.stderr.write(_CLEAR + text)
    sys.stderr.flush()


def _line(now: Progress) -> str:
    from trimtab.pipeline.budget import shown_seconds

    full = round(_BAR_CELLS * now.done / max(now.total, 1))
    left = f"   about {shown_seconds(now.eta_s)} left" if now.eta_s is not None and now.eta_s >= 1 else ""
    text = (f" {screen.pad(now.candidate, 14)} {'█' * full}{'░' * (_BAR_CELLS - full)}  {now.done}/{now.total} "
            f"{_STAGES.get(now.stage, now.stage)}{left}")
    return text[:shutil.get_terminal_size((screen.WIDTH_CELLS, 24)).columns - 1]
