"""How is a version tried beside the champion by hand?  In shadow, for a share of the traffic, and ended again."""

from __future__ import annotations

from dataclasses import dataclass

from trimtab import clock
from trimtab.errors import UsageError
from trimtab.serving import guardrails
from trimtab.serving.guardrails import ALPHA
from trimtab.serving.rollout import PRODUCTION
from trimtab.serving.stages import Stage
from trimtab.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What was done, or would be (`dry_run`): what was beside the champion before, and what is now."""

    model: str
    endpoint: str
    before: Stage | None
    now: Stage | None
    dry_run: bool = False

    @property
    def changed(self) -> bool:
        """Was there anything to do?"""
        return self.before != self.now

    def to_json(self) -> dict[str, object]:
        """As every JSON door shows it."""
        return {"schema": "trimtab.trial/1", "model": self.model, "endpoint": self.endpoint,
                "before": None if self.before is None else self.before.to_json(),
                "now": None if self.now is None else self.now.to_json(), "changed": self.changed,
                "dry_run": self.dry_run}


def try_beside(workspace: Workspace, model: str, number: int, *, share: float = 0.0, why: str = "",
               endpoint: str = PRODUCTION, dry_run: bool = False) -> Tried:
    """Let a version compute beside the champion, and answer `share` of the traffic (0: shadow). Raises as `Stages.put`.
    """
    before = workspace.stages.current(model, endpoint)
    now = workspace.stages.put(model, number, share=share, by=workspace.actor, why=why, endpoint=endpoint,
                               dry_run=dry_run, role="challenger" if before is None else before.role)
    return Tried(model=now.model, endpoint=endpoint, before=before, now=now, dry_run=dry_run)


def end(workspace: Workspace, model: str, *, why: str = "", endpoint: str = PRODUCTION,
        dry_run: bool = False) -> Tried:
    """Let the champion answer alone again; nothing beside it is a success. Raises NotFound for an unknown model."""
    name = workspace.versions.list(model, deleted=True)[0].model
    before = workspace.stages.current(name, endpoint) if dry_run else workspace.stages.stop(
        name, by=workspace.actor, why=why, endpoint=endpoint)
    return Tried(model=name, endpoint=endpoint, before=before, now=None, dry_run=dry_run)


def crossed(workspace: Workspace, stage: Stage, *, champion: bool = False, alpha: float = ALPHA) -> tuple[str, ...]:
    """The guardrails that the version of a trial has crossed since it began, in sentences (`serving.guardrails`).

    champion: those of the champion instead, held against the version that is beside it (the last good one, say).
    alpha: the probability of a wrong word over all looks during this trial. Reads all that the trial recorded.
    """
    frame = workspace.traffic.frame(model=stage.model, since=clock.from_text(stage.since), shadows=True,
                                    columns=guardrails.COLUMNS)
    subject, reference = (stage.champion, stage.version) if champion else (stage.version, stage.champion)
    classes = workspace.versions.get(stage.model, reference).facts.get("classes") or ()
    return guardrails.crossed(frame.filter(frame["endpoint"] == stage.endpoint), subject=subject, reference=reference,
                              classes=classes if isinstance(classes, list | tuple) else (), alpha=alpha)


def read_share(text: str) -> float:
    """A share as people write it. Raises UsageError.

    >>> read_share("5%"), read_share("0.05")
    (0.05, 0.05)
    """
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 < share < 1:
        raise UsageError(f"{text[:20]!r} is not a share of the traffic; write it as 5% or 0.05, above 0 and below 100%")
    return share
