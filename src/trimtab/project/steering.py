"""How do people steer the loop?  Pause it, change what it may do, see what it would do now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from trimtab.config import seconds, suggest
from trimtab.errors import UsageError
from trimtab.loop.model import Policy
from trimtab.loop.policies import EVERY, check, policy_of
from trimtab.sections import span

if TYPE_CHECKING:
    from trimtab.loop.reconciler import Step
    from trimtab.workspace import Workspace

_SPANS: Final = {"cooldown": "cooldown_s", "retry": "retry_s"}
_MEANT: Final = {"on_drift": "notify, propose or retrain", "cooldown": "a span, such as 12h",
                 "retry": "a span, such as 10min", "steps": "percent of the traffic, such as 0,5,25",
                 "loss_clip": "a number, or none", "wrong_promotion": "a probability, such as 0.01",
                 "most_days": "a number of days"}
SETTINGS: Final = tuple(sorted(({*Policy.__struct_fields__, *_SPANS} - {*_SPANS.values()}) - {"paused", "why", "by"}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Steered:
    """What the loop may do for a model. kept: did somebody keep it, or is it what the version brings? before: what it
    was, where it was changed."""

    model: str
    policy: Policy
    kept: bool
    before: Policy | None = None
    dry_run: bool = False

    def to_json(self) -> dict[str, object]:
        """As `policy --json` prints it."""
        return {"schema": "trimtab.policy/1", "model": self.model, "kept": self.kept, "dry_run": self.dry_run,
                "policy": self.policy.to_json(), "before": None if self.before is None else self.before.to_json()}


def policy(workspace: Workspace, model: str) -> Policy:
    """What the loop may do for a model: as somebody kept it, else as the version says that serves (or the newest).

    Raises NotFound for a model that has no version.
    """
    live = next((row for row in workspace.rollouts.all_live() if row.model == model), None)
    version = workspace.versions.get(model, live.version) if live else workspace.versions.resolve(model)
    return workspace.policies.get(model, default=policy_of(workspace.versions, version))


def shown(workspace: Workspace, model: str) -> Steered:
    """The policy of a model. Raises NotFound."""
    return Steered(model=model, policy=policy(workspace, model), kept=workspace.policies.kept(model))


def change(workspace: Workspace, model: str, settings: Mapping[str, object], *, why: str = "", reset: bool = False,
           dry_run: bool = False) -> Steered:
    """Keep another policy for a model. settings: name → value, as in `SETTINGS`; text is read as its setting is meant:
    `cooldown` a span ("6h"), `steps` percent ("0, 5, 25").

    reset: go by what the version brings again. Raises NotFound, UsageError (an unknown setting, or out of its range).
    """
    before = policy(workspace, model)
    if reset:
        if settings:
            raise UsageError("either set something or reset all of it, not both")
        if not dry_run:
            workspace.policies.reset(model, by=workspace.actor, why=why)
        return Steered(model=model, policy=policy(workspace, model), kept=False, before=before, dry_run=dry_run)
    changed = msgspec.structs.replace(before, **dict(_read(name, value) for name, value in settings.items()))
    check(changed)
    if not dry_run:
        changed = workspace.policies.put(model, changed, by=workspace.actor, why=why)
    return Steered(model=model, policy=changed, kept=True, before=before, dry_run=dry_run)


def text(policy: Policy, name: str) -> str:
    """A setting as `change` takes it.

    >>> [text(Policy(cooldown_s=43200), name) for name in ("cooldown", "retry", "steps", "loss_clip")]
    ['12h', '10min', '0, 5, 25, 100', 'none']
    """
    if name in _SPANS:
        return span(getattr(policy, _SPANS[name]))
    value = getattr(policy, name)
    if name == "steps":
        return ", ".join(f"{100 * step:g}" for step in (*value, 1))
    return "none" if value is None else str(value) if isinstance(value, str) else f"{value:g}"


def pause(workspace: Workspace, model: str | None, *, why: str) -> None:
    """The kill switch, for a model or (None) for all. Raises NotFound, UsageError without a reason."""
    workspace.policies.pause(_known(workspace, model), by=workspace.actor, why=why)


def resume(workspace: Workspace, model: str | None, *, why: str = "") -> None:
    """Let the loop go on. Raises NotFound."""
    workspace.policies.resume(_known(workspace, model), by=workspace.actor, why=why)


def decide(workspace: Workspace, model: str, *, endpoint: str = "production", dry_run: bool = False) -> Step:
    """The one thing that is to be done now for a model, done, or (`dry_run`) only said. Raises NotFound."""
    from trimtab.project.looping import Loop

    return Loop(workspace).step(workspace.versions.resolve(model).model, endpoint, dry_run=dry_run)


def needs(workspace: Workspace, model: str | None = None) -> list[dict[str, object]]:
    """What of the loop a person should know: paused, under way, on trial, and what waits for a person; a dict each
    {"model", "what", "sentence", "next"}. Reads no traffic."""
    found: list[dict[str, object]] = [
        {"model": "" if name == EVERY else name, "what": "paused", "sentence": f"paused by {by}: {why}",
         "next": f"trimtab resume {'' if name == EVERY else name}".rstrip()}
        for name, (by, why) in workspace.policies.paused().items() if model in (None, name) or name == EVERY]
    tried = {stage.model for stage in workspace.stages.all_open()}
    for name in sorted({row.model for row in workspace.rollouts.all_live() if model in (None, row.model)}):
        newest = next(iter(workspace.decisions.list(name, limit=1)), None)
        if newest is None or not (newest.state == "decided" or name in tried or workspace.alerts.list(name)):
            continue                           # what it was about is over
        made = newest.decision
        what = "under way" if newest.state == "decided" else \
            "needs you" if made.action in ("propose", "refuse") or "a person " in made.reason else \
            "waits" if made.action == "hold" else ""
        if what:
            found.append({"model": name, "what": what, "sentence": f"{made.reason} ({newest.id}, {newest.at[:16]}Z)",
                          "next": f"trimtab decisions {name}"})
    return found


def _known(workspace: Workspace, model: str | None) -> str:
    return EVERY if model is None else workspace.versions.resolve(model).model


def _read(name: str, value: object) -> tuple[str, Any]:
    if name not in SETTINGS:
        raise UsageError(f"a policy has no setting {name!r}{suggest(name, SETTINGS)}")
    field = _SPANS.get(name, name)
    try:
        if name in _SPANS:
            return field, seconds(value) if isinstance(value, str) else float(value)  # type: ignore[arg-type]
        if name == "steps":
            parts = value.strip("[] ").split(",") if isinstance(value, str) else value
            return field, tuple(float(one) / 100 for one in parts if float(one) < 100)  # type: ignore[attr-defined]
        if name == "loss_clip" and value in (None, "none"):
            return field, None
        kind = next(one.type for one in msgspec.structs.fields(Policy) if one.name == field)
        return field, msgspec.convert(value, kind, strict=False)
    except (ValueError, TypeError):
        raise UsageError(f"{name} can't be {value!r}; give {_MEANT.get(name, 'a whole number')}") from None

