"""When does the loop take a turn?  Every few seconds, where something is new; else once a minute.

One turn after the other until it is told to stop. A store that is away is waited for.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from trimtab.errors import TrimtabError
from trimtab.project.looping import Loop, Ticked

if TYPE_CHECKING:
    from trimtab.workspace import Workspace

EVERY_S: Final = 5.0
MOST_S: Final = 60.0                           # windows close and cooldowns end without anything new
_REST: Final = 4.0                             # times what a turn took: it leaves the machine to those who answer
Log = Callable[[str, Mapping[str, object]], None]


def tend(workspace: Workspace, stop: threading.Event, *, every_s: float = EVERY_S, log: Log) -> None:
    """Take turns until `stop` is set. log: told an event and its fields."""
    loop = Loop(workspace, stop=stop)
    seen: object = None
    problems: dict[str, str] = {}
    turned_s, away = -MOST_S, ""
    log("loop.begun", {"every_s": every_s})
    while not stop.is_set():
        looked_s = time.monotonic()
        try:
            signs = signs_of(workspace)
            if signs != seen or time.monotonic() - turned_s >= MOST_S:
                seen, turned_s = signs, time.monotonic()
                for model in loop.models():
                    _turn(loop, model, problems, log)
            if away:
                log("loop.store_back", {})
            away = ""
        except TrimtabError as problem:
            if away != str(problem):
                log("loop.waits", {"reason": str(problem)})
            away, seen = str(problem), None
        stop.wait(_rest_s(time.monotonic() - looked_s, every_s))
    log("loop.ended", {})


def _rest_s(took_s: float, every_s: float) -> float:
    """How long to rest after a turn; after one that trained for an hour no longer than a minute, too.

    >>> _rest_s(0.1, 5.0), _rest_s(3.0, 5.0), _rest_s(3600.0, 5.0)
    (5.0, 12.0, 60.0)
    """
    return max(every_s, min(MOST_S, _REST * took_s))


def _turn(loop: Loop, model: str, problems: dict[str, str], log: Log) -> None:
    """A model's turn; what hinders it is told once, and hinders no other."""
    problem = ""
    try:
        for ticked in loop.tick(model):
            tell(ticked, log)
            problem = ticked.problem
    except TrimtabError:
        raise
    except Exception as fault:  # noqa: BLE001  a model's outermost frame: the others must be tended
        problem = f"a fault of trimtab's own: {type(fault).__name__}: {fault}"
    if problem and problems.get(model) != problem:
        log("loop.problem", {"model": model, "reason": problem})
    problems[model] = problem


def tell(ticked: Ticked, log: Log) -> None:
    """What a turn did, an event each; nothing where it did nothing."""
    model: dict[str, object] = {"model": ticked.model}
    if ticked.watched is not None and ticked.watched.closed:
        log("loop.watched", {**model, "windows": len(ticked.watched.closed),
                             "alerts": [alert.id for alert in ticked.watched.opened]})
    for step in ticked.steps:
        if step.outcome in ("acted", "failed"):
            log(f"loop.{step.outcome}", {**model, "decision": step.stored.id if step.stored else "",
                                         "action": step.decision.action, "reason": step.decision.reason,
                                         "result": step.stored.result if step.stored else {}})


def signs_of(workspace: Workspace) -> object:
    """What differs when something happened: the journal's head, the newest label, the size of the traffic."""
    sizes = 0
    for path in (workspace.folder / "traffic").glob("*/*"):
        try:
            sizes += path.stat().st_size
        except FileNotFoundError:              # closed just now
            continue
    return workspace.journal.head().seq, workspace.labels.newest(), sizes
