"""What may be thrown away?  Traffic that is older than `[traffic] keep`, once it was judged."""

from __future__ import annotations

from datetime import timedelta

from trimtab.errors import UsageError
from trimtab.monitor.store import Windows
from trimtab.sections import is_duration, seconds
from trimtab.traffic.tables import Aged
from trimtab.workspace import Workspace


def forget_traffic(workspace: Workspace, older_than: str, *, why: str = "", dry_run: bool = False) -> list[Aged]:
    """Delete closed tables of traffic whose rows are all older than a span ("400d"), each with a row in the journal.

    Rows that serve as evidence stay: of what is live those that no window holds yet, and all of an open trial since it
    began. Gives the old tables, with the reason of those that stay. Raises UsageError for what is no span.
    """
    if not is_duration(older_than):
        raise UsageError(f"{older_than!r} is not a duration; write it as \"400d\"")
    before = workspace.clock.now() - timedelta(seconds=seconds(older_than))
    live = {(row.model, row.endpoint): row.version for row in workspace.rollouts.all_live()}
    trials = {(one.model, one.endpoint): one for one in workspace.stages.all_open()}
    windows = Windows(workspace.db)

    def judged(model: str, endpoint: str, version: int) -> str | None:
        trial = trials.get((model, endpoint))
        if trial is not None and version in (trial.champion, trial.version):
            return trial.since
        return windows.last_at(model, version, endpoint) or "" if live.get((model, endpoint)) == version else None

    return workspace.tables.forget(before, by=workspace.actor, why=why or f"older than {older_than}", watched=judged,
                                   dry_run=dry_run)
