"""How are the loop's decisions carried out in a workspace?  The deeds that `loop.actions` promises."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from trimtab.loop.actions import Beat
from trimtab.loop.model import Stored
from trimtab.project.learning import BY

if TYPE_CHECKING:
    from trimtab.workspace import Workspace

Retrain = Callable[[Stored, Beat], Mapping[str, Any]]


class Deeds:
    """`loop.actions.Actions` on one workspace. retrain: trains here or in a process of its own."""

    def __init__(self, workspace: Workspace, retrain: Retrain) -> None:
        self._workspace, self._retrain = workspace, retrain

    def retrain(self, order: Stored, beat: Beat) -> Mapping[str, Any]:
        """See `learning.retrain`."""
        return self._retrain(order, beat)

    def stage(self, order: Stored) -> Mapping[str, Any]:
        """The version that was last good is on trial for its old place, any other for its first."""
        made = order.decision
        assert made.version is not None
        last_good = made.evidence["seen"]["last_good"] == made.version
        put = self._workspace.stages.put(
            made.model, made.version, champion=made.champion, role="last_good" if last_good else "challenger",
            share=made.share, by=BY, why=made.reason, key=made.key, endpoint=made.endpoint)
        return {"version": put.version, "trial": put.trial, "share": put.share}

    def stop(self, order: Stored) -> Mapping[str, Any]:
        """The champion alone."""
        made = order.decision
        ended = self._workspace.stages.stop(made.model, by=BY, why=made.reason, key=made.key, endpoint=made.endpoint)
        return {"version": None if ended is None else ended.version}

    def promote(self, order: Stored) -> Mapping[str, Any]:
        """A new champion."""
        made = order.decision
        assert made.version is not None
        change = self._workspace.rollouts.promote(made.model, made.version, by=BY, why=made.reason, key=made.key,
                                                  endpoint=made.endpoint, champion=made.champion)
        return {"version": change.after, "before": change.before, "revision": change.revision}

    def rollback(self, order: Stored) -> Mapping[str, Any]:
        """An earlier champion."""
        made = order.decision
        change = self._workspace.rollouts.rollback(made.model, to=made.version, by=BY, why=made.reason, key=made.key,
                                                   endpoint=made.endpoint, champion=made.champion)
        return {"version": change.after, "before": change.before, "revision": change.revision}

    def notify(self, order: Stored) -> Mapping[str, Any]:
        """The notice is kept in the transaction that marks the decision as done; sending it is `telling`'s concern."""
        return {}
