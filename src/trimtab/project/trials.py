"""What does the version beside the champion show?  Pairs of answers, in the order in which their labels came.

Nothing is kept of a trial but what was recorded: who asks later, or after a crash, finds the same verdict.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from trimtab import clock
from trimtab.errors import CheckFailed
from trimtab.loop.canary import Canary, differences
from trimtab.loop.model import Policy, Trial
from trimtab.loop.observe import judged
from trimtab.monitor.asked import Asked
from trimtab.monitor.harm import Risk
from trimtab.monitor.performance import losses
from trimtab.project import trying
from trimtab.project.taught import labelled
from trimtab.registry.scored import stored

if TYPE_CHECKING:
    import polars as pl

    from trimtab.registry.model import Version
    from trimtab.workspace import Workspace

GRACE_S: Final = 2.0                           # what is younger may still be overtaken by another writer's
NATS: Final = 4.6                              # of a classifier without an evaluation: −ln of a share of 1 in 100


def trial(workspace: Workspace, policy: Policy, model: str, endpoint: str, champion: int) -> Trial | None:
    """What is beside the champion of an endpoint and what its pairs say; None where nothing is."""
    import polars as pl

    stage = workspace.stages.current(model, endpoint)
    if stage is None or stage.champion != champion:
        return None
    live = workspace.versions.get(model, stage.champion)
    until = workspace.clock.now() - timedelta(seconds=GRACE_S)
    pairs = workspace.traffic.pairs(model, endpoint, stage.champion, stage.version,
                                    since=clock.from_text(stage.since), until=until)
    bound = policy.loss_clip or default_bound(workspace, live)
    canary = Canary(challenger=stage.trial, bound=bound, alpha=policy.wrong_promotion)
    told = labelled(pairs, workspace.labels.told(model, until=clock.to_text(until))).sort("first_at", "id")
    if told.height:
        d = differences(*(_losses(told, live, side) for side in ("champion", "challenger")), bound=bound)
        canary = canary.after(d, cursor=str(told["first_at"][-1]))
    rows = pairs.filter(pl.col("at") >= stage.stage_since).height
    return judged(canary, version=stage.version, role=stage.role, share=stage.share, since=stage.since, rows=rows,
                  crossed=trying.crossed(workspace, stage))


def champion_crossed(workspace: Workspace, model: str, endpoint: str, champion: int) -> tuple[str, ...]:
    """The guardrails that the champion has crossed, held against the version before while that is beside it."""
    stage = workspace.stages.current(model, endpoint)
    if stage is None or stage.champion != champion or stage.role != "last_good":
        return ()
    return trying.crossed(workspace, stage, champion=True)


def default_bound(workspace: Workspace, version: Version) -> float:
    """The largest loss that counts where nobody set one: what 99 of 100 held-out rows of the version lose.

    Raises CheckFailed for a regression that was never evaluated: then somebody has to say.
    """
    task = str(version.facts.get("task", "regression"))
    try:
        scored = stored(workspace.versions, version)
    except CheckFailed:
        scored = None
    if scored is not None and (task == "regression" or scored.proba is not None):
        from trimtab.stats.losses import row_losses

        known = np.isfinite(scored.y)
        given: Any = scored.predicted if task == "regression" else scored.proba
        y: Any = scored.y[known] if task == "regression" else scored.y[known].astype(np.int64)
        risk = Risk.of(row_losses(task, y, given[known]))  # type: ignore[arg-type]
        if risk is not None:
            return risk.bound
    if task == "regression":
        raise CheckFailed(f"{version.name} has no held-out losses, so how large a loss may count is not known; set it: "
                          f"trimtab policy {version.model} --set loss_clip=…")
    return NATS


def _losses(told: pl.DataFrame, version: Version, side: str) -> Any:
    """The loss of each labelled pair on one side, shape (rows,)."""
    import polars as pl

    frame = told.select("id", "at", pl.lit("{}").alias("features"), pl.col(f"output_{side}").alias("output"),
                        pl.col(f"probabilities_{side}").alias("probabilities"), pl.col("first").alias("label"))
    place = {name: row for row, name in enumerate(sorted(frame["id"].to_list()))}
    classes: Any = version.facts.get("classes") or ()
    found = losses(Asked.of(frame), str(version.facts.get("task", "regression")), classes)
    return found[[place[name] for name in told["id"].to_list()]]
