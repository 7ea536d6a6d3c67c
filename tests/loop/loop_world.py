"""A small world for the loop: one model whose deeds are kept, mines that kill between any two steps, a held clock."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from trimtab import clock
from trimtab.clock import FixedClock
from trimtab.errors import Conflict
from trimtab.keys import Keyring
from trimtab.loop.decisions import Decisions
from trimtab.loop.model import Incident, Policy, Seen, Stored, Trial
from trimtab.loop.policies import Policies
from trimtab.loop.reconciler import TTL, Reconciler
from trimtab.store.db import Database
from trimtab.store.journal import Journal
from trimtab.store.leases import Leases


class Killed(BaseException):
    """kill -9: nothing catches it."""


class Mine:
    """Kills at the n-th of the places that are passed; never where `at` is None."""

    def __init__(self, at: int | None = None) -> None:
        self.at, self.passed = at, 0

    def step(self) -> None:
        """One place between two steps."""
        self.passed += 1
        if self.passed == self.at:
            raise Killed


class Mined:
    """Wraps a port: a place to be killed at before and after each of its calls."""

    def __init__(self, target: Any, mine: Mine) -> None:
        self._target, self._mine = target, mine

    def __getattr__(self, name: str) -> Any:
        return Mined(getattr(self._target, name), self._mine)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._mine.step()
        result = self._target(*args, **kwargs)
        self._mine.step()
        return result


class World:
    """What outlives every kill: what serves, what is beside it, what was trained and told."""

    def __init__(self, now: FixedClock) -> None:
        self.clock = now
        self.history = [1]
        self.trial: dict[str, Any] | None = None
        self.trials = 0
        self.incident: Incident | None = None
        self.labels = 500
        self.shown: dict[str, Any] = {"rows": 0}
        self.gates = "passed"

    @property
    def champion(self) -> int:
        """What serves."""
        return self.history[-1]

    def see(self, model: str, endpoint: str) -> Seen:
        """The observer."""
        trial = None if self.trial is None else Trial(**{**self.trial, **self.shown})
        return Seen(model=model, endpoint=endpoint, at=clock.to_text(self.clock.now()), champion=self.champion,
                    last_good=self.history[0] if len(self.history) == 2 else None, incident=self.incident, trial=trial,
                    labels=self.labels)


class Deeds:
    """What can be done to the world; keeps the promises of `Actions`. fails: what the next deeds raise instead."""

    def __init__(self, world: World) -> None:
        self.world, self.mine = world, Mine()
        self.datasets: dict[str, str] = {}
        self.versions: dict[str, int] = {}
        self.told: dict[str, str] = {}
        self.done: dict[str, dict[str, Any]] = {}
        self.names: list[str] = []
        self.fails: list[Exception] = []

    def retrain(self, order: Stored, beat: Callable[[], None]) -> dict[str, Any]:
        """In two halves, with a place to be killed at between them."""
        key = order.decision.key
        self._fail()
        self.datasets.setdefault(key, f"data of {order.id}")
        beat()
        self.mine.step()
        number = self.versions.setdefault(key, len(self.versions) + 2)
        why = "mse 16 is over 15" if self.world.gates == "failed" else ""
        return self._once(order, {"version": number, "gates": self.world.gates, "why": why})

    def stage(self, order: Stored) -> dict[str, Any]:
        """Shadow, or a share."""
        made, world = order.decision, self.world
        self._fail()
        if made.key not in self.done:
            world.trials += made.action == "start_shadow"
            role = "challenger" if world.trial else "last_good" if "beside" in made.subject else "challenger"
            world.trial = {"number": world.trials, "version": made.version, "role": role, "share": made.share,
                           "stage": "canary" if made.share else "shadow", "labels": 0, "rows": 0,
                           "words": "cannot tell yet", "since": clock.to_text(world.clock.now())}
            if made.action == "start_shadow":
                world.shown = {"rows": 0}
        return self._once(order, {"share": made.share})

    def stop(self, order: Stored) -> dict[str, Any]:
        """The champion alone."""
        self._fail()
        self.world.trial = None
        return self._once(order, {})

    def promote(self, order: Stored) -> dict[str, Any]:
        """Another champion."""
        made, world = order.decision, self.world
        self._fail()
        if made.key not in self.done:
            if world.champion != made.champion:
                raise Conflict(f"v{world.champion} serves")
            world.history.append(int(made.version or 0))
            world.trial = None
        return self._once(order, {"version": made.version})

    rollback = promote

    def notify(self, order: Stored) -> dict[str, Any]:
        """People are told."""
        self._fail()
        self.told[order.decision.key] = order.decision.reason
        return self._once(order, {})

    def _once(self, order: Stored, result: dict[str, Any]) -> dict[str, Any]:
        if order.decision.key not in self.done:
            self.done[order.decision.key] = result
            self.names.append(f"{order.decision.action} {order.decision.subject}")
        return self.done[order.decision.key]

    def _fail(self) -> None:
        if self.fails:
            raise self.fails.pop(0)


class House:
    """A workspace's stores, and workers that come and go."""

    def __init__(self, db: Database, folder: Path, policy: Policy) -> None:
        self.clock = FixedClock()
        self.world = World(self.clock)
        self.deeds = Deeds(self.world)
        self.journal = Journal(db, Keyring(folder / "keys"), self.clock)
        self.leases = Leases(db, self.clock)
        self.decisions = Decisions(db, self.journal, self.clock)
        self.policies = Policies(db, self.journal, self.clock)
        self.policies.put("risk", policy, by="ann")
        self._names = itertools.count(1)

    def worker(self, mine: Mine | None = None) -> Reconciler:
        """A new process of the loop, with or without a mine in it."""
        self.deeds.mine = mine = mine or Mine()
        ports: Any = {"observe": self.world.see, "actions": self.deeds, "decisions": self.decisions,
                      "leases": self.leases, "policies": self.policies.get}
        return Reconciler(**{name: Mined(port, mine) for name, port in ports.items()},
                          holder=f"worker {next(self._names)}")

    def run(self, mine: Mine | None = None) -> list[str]:
        """Run until quiet; after a kill a new worker goes on once the lease of the dead one is over."""
        try:
            steps = self.worker(mine).run("risk")
        except Killed:
            self.clock.advance(seconds=TTL.total_seconds() + 1)
            steps = self.worker().run("risk")
        return [f"{one.outcome} {one.decision.action}" for one in steps]

    def day(self, number: float) -> None:
        """Move the clock to a day of the story."""
        wanted = FixedClock().now() + timedelta(days=number)
        self.clock.advance(seconds=(wanted - self.clock.now()).total_seconds())

    @property
    def kept(self) -> list[tuple[str, str, str]]:
        """Every decision: key, action, state; in order."""
        return [(one.decision.key, one.decision.action, one.state) for one in reversed(self.decisions.list("risk"))]
