"""What does the loop do in one turn?  Close windows, decide, act, tell; for each model that serves.

One `Loop` is one worker. Any number of them may run on a workspace: windows are closed once, leases say who acts, and a
turn that was killed anywhere is gone on with by the next, whoever takes it. Time comes from the workspace's clock.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trimtab.errors import TrimtabError
from trimtab.loop.model import Trial
from trimtab.loop.observe import Observe
from trimtab.loop.reconciler import Reconciler, Step
from trimtab.project import learning, taught, trials
from trimtab.project.acting import Deeds, Retrain
from trimtab.project.steering import policy
from trimtab.project.telling import tell_due
from trimtab.serving.rollout import PRODUCTION

if TYPE_CHECKING:
    from trimtab.monitor.monitor import Stepped
    from trimtab.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticked:
    """What a turn did for a model. watched: windows that it closed, alerts that it opened; steps: of each endpoint, in
    order; problem: why it could not go on, "" where it could."""

    model: str
    watched: Stepped | None = None
    steps: tuple[Step, ...] = ()
    problem: str = ""

    @property
    def did(self) -> bool:
        """Was anything done that others see?"""
        return bool(self.problem or any(step.outcome in ("acted", "failed") for step in self.steps)
                    or (self.watched and self.watched.closed))


class Loop:
    """One worker on a workspace. spawn: retrain in a process of its own; without it here, as simulations do. timer:
    seconds, for what a retrain measures of itself. holder: its name in leases. stop: once it is set, what is under way
    is left for the next worker."""

    def __init__(self, workspace: Workspace, *, spawn: bool = True, holder: str = "",
                 timer: Callable[[], float] = time.perf_counter, stop: threading.Event | None = None) -> None:
        self._workspace, self._stop = workspace, stop or threading.Event()
        self._shown: dict[object, Trial | None] = {}
        retrain: Retrain = lambda order, beat: learning.retrain(workspace, order, beat, timer=timer)  # noqa: E731
        if spawn:
            from trimtab.project.spawning import Spawned

            retrain = Spawned(workspace.folder, stop=self._stop)
        self._reconciler = Reconciler(
            observe=Observe(rollouts=workspace.rollouts, alerts=workspace.alerts, now=workspace.clock,
                            trial=self._trial, labels=self._labels, crossed=self._crossed),
            actions=Deeds(workspace, retrain), decisions=workspace.decisions, leases=workspace.leases,
            policies=lambda model: policy(workspace, model), holder=holder or workspace.ids.short("l"))

    def models(self) -> list[str]:
        """Those that serve."""
        return sorted({row.model for row in self._workspace.rollouts.all_live()})

    def tick(self, model: str | None = None) -> list[Ticked]:
        """One turn for a model, or for each that serves. What hinders one model does not hinder the others.

        Raises what reading the rollouts raises: StoreUnreachable, then nothing can be done.
        """
        live = self._workspace.rollouts.all_live()
        names = [model] if model is not None else sorted({row.model for row in live})
        found = [self._turn(name, sorted(row.endpoint for row in live if row.model == name)) for name in names
                 if not self._stop.is_set()]
        tell_due(self._workspace)
        return found

    def step(self, model: str, endpoint: str = PRODUCTION, *, dry_run: bool = False) -> Step:
        """The one thing that is to be done now, done, or (`dry_run`) only said."""
        self._shown.clear()
        return self._reconciler.step(model, endpoint, dry_run=dry_run)

    def _turn(self, model: str, endpoints: list[str]) -> Ticked:
        self._shown.clear()
        watched, steps = None, list[Step]()
        try:
            watched = self._workspace.monitor.step(model)
            for endpoint in endpoints:
                steps += self._reconciler.run(model, endpoint)
        except TrimtabError as problem:
            return Ticked(model=model, watched=watched, steps=tuple(steps), problem=str(problem))
        return Ticked(model=model, watched=watched, steps=tuple(steps))

    def _trial(self, model: str, endpoint: str, champion: int) -> Trial | None:
        """What a trial shows, looked at once a turn: it takes all that was recorded of it."""
        stage, allowed = self._workspace.stages.current(model, endpoint), policy(self._workspace, model)
        key = (model, endpoint, champion, None if stage is None else stage.revision, allowed.digest)
        if key not in self._shown:
            self._shown[key] = trials.trial(self._workspace, allowed, model, endpoint, champion)
        return self._shown[key]

    def _crossed(self, model: str, endpoint: str, champion: int) -> tuple[str, ...]:
        return trials.champion_crossed(self._workspace, model, endpoint, champion)

    def _labels(self, model: str, endpoint: str, champion: int, began: str, until: str) -> int:
        version = self._workspace.versions.get(model, champion)
        rows = taught.lessons(self._workspace, version, endpoint, until=until, columns=taught.NAMES)
        return taught.lately(rows, began)
