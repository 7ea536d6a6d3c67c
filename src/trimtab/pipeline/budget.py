"""How much time is left, and is a fit worth starting?

Fits can't be interrupted, so time is looked at between them, and a long one is forecast before it starts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from trimtab.errors import OverBudget

Timer = Callable[[], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a candidate is. `stage`: "search" (hyper-parameters), "folds", "refit"; eta_s: None while unknown."""

    candidate: str
    done: int
    total: int
    eta_s: float | None = None
    stage: str = "folds"


OnProgress = Callable[[Progress], None]


class Stopwatch:
    """Time spent against a limit. `timer` tells seconds; it is handed in, so that a test can hold it."""

    def __init__(self, minutes: float, timer: Timer = time.perf_counter) -> None:
        self.minutes, self.timer = minutes, timer
        self._start = timer()

    @property
    def spent_s(self) -> float:
        """Seconds since the start."""
        return self.timer() - self._start

    @property
    def left_s(self) -> float:
        """Seconds that remain; negative once the budget is overdrawn."""
        return self.minutes * 60 - self.spent_s

    def check(self, doing: str) -> None:
        """Raises OverBudget when nothing is left. `doing` names what would come next."""
        if self.left_s <= 0:
            raise OverBudget(f"the budget of {self.minutes:g} minutes was spent before {doing}; raise "
                             "[train.budget] minutes, or name fewer candidates")

    def afford(self, seconds: float, doing: str) -> None:
        """Raises OverBudget when `seconds` more would overdraw the budget."""
        self.check(doing)
        if seconds > self.left_s:
            raise OverBudget(f"{doing} would take about {shown_seconds(seconds)}, and "
                             f"{shown_seconds(self.left_s)} are left of the budget of {self.minutes:g} minutes; raise "
                             "[train.budget] minutes, or use fewer rows")


def shown_seconds(seconds: float) -> str:
    """A duration for people.

    >>> [shown_seconds(s) for s in (0.04, 3.2, 75, 7300)]
    ['40 ms', '3.2 s', '1.2 min', '2.0 h']
    """
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def shown_bytes(size: float) -> str:
    """A size for people, in powers of 1000.

    >>> [shown_bytes(s) for s in (512, 128_000_000, 2.4e9)]
    ['512 B', '128 MB', '2.4 GB']
    """
    for limit, unit in ((1e3, "B"), (1e6, "kB"), (1e9, "MB")):
        if size < limit:
            return f"{size / (limit / 1e3):.0f} {unit}"
    return f"{size / 1e9:.1f} GB"
