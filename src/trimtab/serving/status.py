"""What is live now, and how good was it when it was judged?

One row a model, from the rollouts and the registry; imports nothing heavy, so that `trimtab status` answers at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from trimtab.registry.model import Version
from trimtab.registry.versions import Versions
from trimtab.serving.rollout import Rollout, Rollouts
from trimtab.serving.stages import Stage, Stages, percent


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStatus:
    """One model: what answers at each endpoint, and the newest version beside it."""

    model: str
    live: tuple[Rollout, ...]
    newest: Version | None
    champion: Version | None                  # the version that is live at production
    evaluation: dict[str, object] = field(default_factory=dict)    # of the champion, as it was registered
    beside: Mapping[str, Stage] = field(default_factory=dict)      # what is tried beside it, by endpoint

    @property
    def metric(self) -> tuple[str, dict[str, float]] | None:
        """The champion's metric on held-out rows: (name, {value, low, high}), or None where it was not evaluated."""
        name, test = self.evaluation.get("metric"), self.evaluation.get("test")
        if not isinstance(name, str) or not isinstance(test, dict):
            return None
        found = test.get("metrics", {}).get(name)
        return (name, found) if isinstance(found, dict) else None

    def shares(self, row: Rollout) -> str:
        """Who answers at an endpoint: `v1 100%`, `v1 100%  v2 shadow`, `v1 95%  v2 5% canary`."""
        tried = self.beside.get(row.endpoint)
        if tried is None:
            return f"v{row.version} 100%"
        how = f"{percent(tried.share)} canary" if tried.share else "shadow"
        return f"v{row.version} {percent(1 - tried.share)}  v{tried.version} {how}"

    def to_json(self) -> dict[str, object]:
        """The row as `status --json` and `GET /api/status` have it."""
        metric = self.metric
        return {
            "model": self.model,
            "live": [{"endpoint": row.endpoint, "version": row.version, "share": 1.0 if beside is None else
                      1 - beside.share, "since": row.at, "by": row.by, "why": row.why, "revision": row.revision,
                      "beside": None if beside is None else beside.to_json()}
                     for row in self.live for beside in [self.beside.get(row.endpoint)]],
            "newest": self.newest.number if self.newest else None,
            "champion": None if self.champion is None else {
                "version": self.champion.number, "digest": self.champion.digest, "gates": self.champion.gates,
                "candidate": self.champion.facts.get("candidate")},
            "metric": None if metric is None else {"name": metric[0], **metric[1]},
        }


def fleet(versions: Versions, rollouts: Rollouts, stages: Stages, *, model: str | None = None) -> list[ModelStatus]:
    """Every model that has a version, by name, or the one named. Raises NotFound for an unknown one."""
    tried, live = stages.all_open(), rollouts.all_live()
    names = versions.models() if model is None else [model]
    return [_status(versions, name, tuple(row for row in live if row.model == name),
                    {one.endpoint: one for one in tried if one.model == name}) for name in names]


def _status(versions: Versions, model: str, live: tuple[Rollout, ...], beside: Mapping[str, Stage]) -> ModelStatus:
    known = versions.list(model, deleted=True)
    kept = [version for version in known if version.deleted_at is None]
    at_production = next((row.version for row in live if row.endpoint == "production"), None)
    champion = next((version for version in known if version.number == at_production), None)
    evaluation = versions.evaluation(champion) if champion is not None else None
    return ModelStatus(model=model, live=live, newest=kept[-1] if kept else None, champion=champion,
                       evaluation=evaluation or {}, beside=beside)
