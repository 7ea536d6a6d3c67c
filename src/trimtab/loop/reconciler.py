"""How does what is become what should be?  Observe, decide, act, once.

    observe → decide (pure) → write the decision → lease → act → mark it done

A step may be killed anywhere, run twice at once, or come late: a decision that was written and not marked is taken up
again by whoever holds its lease next, one that was marked is never repeated. What the deeds themselves promise for that
stands in `actions.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Literal

import msgspec

from trimtab.errors import Busy, Conflict, StoreFull, StoreUnreachable, TrimtabError
from trimtab.loop.actions import Actions
from trimtab.loop.decisions import Decisions
from trimtab.loop.model import Decision, Policy, State, Stored
from trimtab.loop.observe import Observer
from trimtab.loop.policy import SAID, decide, stale
from trimtab.store.leases import Lease, Leases

Outcome = Literal["quiet", "held", "acted", "failed", "elsewhere", "later", "dry"]
AGAIN: Final = (Busy, StoreUnreachable, StoreFull)
TTL: Final = timedelta(minutes=30)
TAKES: Final = 20                              # so many workers ended on one decision: it is what ends them
STEPS: Final = 20                              # of one run; what else is to be done waits for the next


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one step did. quiet: nothing to do; held: something waits; acted, failed: an act ended; elsewhere: another
    worker is at it; later: the store was busy, again as it is; dry: it only looked. stored: None where nothing is
    kept."""

    outcome: Outcome
    decision: Decision
    stored: Stored | None = None

    @property
    def words(self) -> str:
        """`acted: promote: …`."""
        return f"{self.outcome}: {self.decision.words}"


class Reconciler:
    """Brings one workspace's models to where their policies want them. policies: of a model, read anew each time.
    holder: the name of this worker in leases. ttl: how long a silent worker keeps a decision."""

    def __init__(self, *, observe: Observer, actions: Actions, decisions: Decisions,
                 policies: Callable[[str], Policy], leases: Leases, holder: str, ttl: timedelta = TTL) -> None:
        self._observe, self._actions, self._decisions = observe, actions, decisions
        self._policies, self._leases, self._holder, self._ttl = policies, leases, holder, ttl

    def run(self, model: str, endpoint: str = "production") -> list[Step]:
        """Step until nothing more can be done now; the steps, the last of which did nothing."""
        steps = [self.step(model, endpoint)]
        while steps[-1].outcome in ("acted", "failed") and len(steps) < STEPS:
            steps.append(self.step(model, endpoint))
        return steps

    def step(self, model: str, endpoint: str = "production", *, dry_run: bool = False) -> Step:
        """Finish what is under way, or else do the one thing that is to be done now. `dry_run`: say it only.

        Raises what observing raises. What acting raises is kept with the decision as its failure.
        """
        begun = self._decisions.under_way(model)
        if begun is not None:
            return Step(outcome="dry", decision=begun.decision, stored=begun) if dry_run else self._act(begun)
        decision = self._new(model, endpoint)
        if dry_run:
            return Step(outcome="dry", decision=decision)
        if decision.action == "none":
            return Step(outcome="quiet", decision=decision)
        if decision.action == "hold":
            kept = self._decisions.of_key(decision.key) or self._decisions.record(decision, state="done")
            return Step(outcome="held", decision=decision, stored=kept)
        stored = self._decisions.record(decision)
        if stored.decision.key != decision.key:
            return Step(outcome="elsewhere", decision=stored.decision, stored=stored)
        if stored.state != "decided":          # done, and yet it shows no effect: somebody undid it, or is behind
            return Step(outcome="held", decision=decision, stored=stored)
        return self._act(stored)

    def _new(self, model: str, endpoint: str) -> Decision:
        """What to do now, given all that was done: also what lies further back than the observed past."""
        policy = self._policies(model)
        seen = msgspec.structs.replace(self._observe(model, endpoint), past=self._decisions.past(model))
        decision = decide(policy, seen)
        for _ in range(STEPS):
            known = self._decisions.of_key(decision.key)
            if known is None or known.state == "decided" or known.past in seen.past or decision.action == "hold":
                break
            seen = msgspec.structs.replace(seen, past=(known.past, *seen.past))
            decision = decide(policy, seen)
        return decision

    def _act(self, stored: Stored) -> Step:
        decision = stored.decision
        if self._paused(stored):
            return Step(outcome="held", decision=decision, stored=stored)
        lease = self._leases.take(f"decision {decision.key}", holder=self._holder, ttl=self._ttl)
        if lease is None:
            return Step(outcome="elsewhere", decision=decision, stored=stored)
        kept = self._decisions.of_key(decision.key)
        if kept is not None and kept.state != "decided":                 # another worker finished it just before
            return self._end(lease, kept)
        if why := self._unfit(stored, lease):
            return self._end(lease, self._decisions.finish(stored, "failed", {"why": why}))
        try:
            result = self._deed(stored, lease)
            self._leases.renew(lease, ttl=self._ttl)                     # whoever was overtaken leaves it to the other
        except AGAIN:
            self._leases.release(lease)
            return Step(outcome="later", decision=decision, stored=stored)
        except TrimtabError as problem:
            return self._failed(lease, stored, problem)
        state: State = "refused" if decision.action == "refuse" else "done"
        return self._end(lease, self._decisions.finish(stored, state, result))

    def _failed(self, lease: Lease, stored: Stored, problem: TrimtabError) -> Step:
        try:
            self._leases.renew(lease, ttl=self._ttl)
        except Conflict:
            return Step(outcome="elsewhere", decision=stored.decision, stored=stored)
        return self._end(lease, self._decisions.finish(stored, "failed", {"why": str(problem), "code": problem.code}))

    def _end(self, lease: Lease, kept: Stored) -> Step:
        with suppress(Conflict):               # overtaken after the mark: the other finds the mark
            self._leases.done(lease, {"decision": kept.id, "state": kept.state})
        return Step(outcome="failed" if kept.state == "failed" else "acted", decision=kept.decision, stored=kept)

    def _unfit(self, stored: Stored, lease: Lease) -> str:
        """Why a decision should not be acted on, or ""."""
        if lease.token > TAKES:
            return f"{TAKES} workers ended while they were at it; see their logs, it needs a person"
        return stale(stored.decision, self._observe(stored.decision.model, stored.decision.endpoint))

    def _paused(self, stored: Stored) -> bool:
        return self._policies(stored.decision.model).paused and stored.decision.action not in SAID

    def _deed(self, stored: Stored, lease: Lease) -> Mapping[str, Any]:
        match stored.decision.action:
            case "retrain":
                return self._actions.retrain(stored, lambda: self._leases.renew(lease, ttl=self._ttl))
            case "start_shadow" | "start_canary":
                return self._actions.stage(stored)
            case "stop":
                return self._actions.stop(stored)
            case "promote":
                return self._actions.promote(stored)
            case "rollback":
                return self._actions.rollback(stored)
            case _:
                return self._actions.notify(stored)
