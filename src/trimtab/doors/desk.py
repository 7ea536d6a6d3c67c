"""What do all routes of a server share?  The workspace, the engine, and a bounded number of threads for predictions.

When more requests wait than the bound allows, the next one is told to come back, at once and cheaply.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar, cast

import anyio
from anyio import to_thread
from starlette.requests import Request

from trimtab.errors import Busy
from trimtab.serving.engine import Engine

if TYPE_CHECKING:
    from trimtab.project.explaining import Explainer
    from trimtab.serving.together import Together
    from trimtab.workspace import Workspace

THREADS = 4
MAX_WAITING = 256
DESK = "trimtab.desk"                         # where the scope of a request holds it

T = TypeVar("T")


class Desk:
    """Shared by the routes of one application. default: the model that is asked where a protocol names none; together:
    the workers that count together with this one."""

    def __init__(self, workspace: Workspace, engine: Engine, *, threads: int = THREADS,
                 max_waiting: int = MAX_WAITING, default: str = "", together: Together | None = None) -> None:
        self.workspace, self.engine, self.default = workspace, engine, default
        self._together = together
        self._threads, self._max_waiting = threads, max_waiting
        self._limiter: anyio.CapacityLimiter | None = None     # belongs to the loop that runs

    @cached_property
    def explainer(self) -> Explainer:
        """What tells why a version answered so."""
        from trimtab.project.explaining import Explainer

        return Explainer(self.workspace)

    async def predict(self, work: Callable[[], T]) -> T:
        """Run a prediction in a thread. Raises Busy where too many wait already."""
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(self._threads)
        if self.waiting >= self._max_waiting:
            raise Busy("too many requests wait already; try again in a moment")
        return await to_thread.run_sync(work, limiter=self._limiter)

    @property
    def waiting(self) -> int:
        """How many predictions wait for a thread."""
        return 0 if self._limiter is None else self._limiter.statistics().tasks_waiting

    async def run(self, work: Callable[[], T]) -> T:
        """Run a verb that reads or writes the store in a thread."""
        return await to_thread.run_sync(work)


    def counters(self) -> str:
        """The counters as Prometheus reads them: of this process, or of all workers, at most some seconds old."""
        return self._own_counters() if self._together is None else self._together.text()

    def leave_counters(self) -> None:
        """Have the other workers know this one's. Raises OSError."""
        if self._together is not None:
            self._together.leave(self._own_counters())

    def _own_counters(self) -> str:
        state = self.engine.state
        live = sorted(state.live.items(), key=lambda item: item[0])
        return self.engine.metrics.text(
            waiting=self.waiting, store_away=bool(state.store),
            live=[(place.model, place.endpoint, one.champion.number) for place, one in live],
            dropped=[((place.model, place.endpoint, one.beside.bundle.number), one.beside.shadow.dropped)
                     for place, one in live if one.beside is not None])


def desk(request: Request) -> Desk:
    """The desk of the application that the request came to."""
    return cast(Desk, request.scope[DESK])


def known_versions(at: Desk, model: str) -> Sequence[int]:
    """Numbers of the versions that may be asked for by number. Raises NotFound."""
    return [version.number for version in at.workspace.versions.list(model) if version.gates == "passed"]


Json = dict[str, Any]
