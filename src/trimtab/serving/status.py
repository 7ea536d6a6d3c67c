"""What is live now, and how good was it when it was judged?

One row a model, from the rollouts and the registry; imports nothing heavy, so that `trimtab status` answers at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from trimtab.registry.model import Version
from trimtab.registry.versions import Versions
from trimtab.serving.rollout import Rollout, Rollouts


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStatus:
    """One model: what answers at each endpoint, and the newest version beside it."""

    model: str
    live: tuple[Rollout, ...]
    newest: Version | None
    champion: Version | None                  # the version that is live at production
    evaluation: dict[str, object] = field(default_factory=dict)    # of the champion, as it was registered

    @property
    def metric(self) -> tuple[str, dict[str, float]] | None:
        """The champion's metric on held-out rows: (name, {value, low, high}), or None where it was not evaluated."""
        name, test = self.evaluation.get("metric"), self.evaluation.get("test")
        if not isinstance(name, str) or not isinstance(test, dict):
            return None
        found = test.get("metrics", {}).get(name)
        return (name, found) if isinstance(found, dict) else None

    def to_json(self) -> dict[str, object]:
        """The row as `status --json` and `GET /api/status` have it."""
        metric = self.metric
        return {
            "model": self.model,
            "live": [{"endpoint": row.endpoint, "version": row.version, "share": 1.0, "since": row.at, "by": row.by,
                      "why": row.why, "revision": row.revision} for row in self.live],
            "newest": self.newest.number if self.newest else None,
            "champion": None if self.champion is None else {
                "version": self.champion.number, "digest": self.champion.digest, "gates": self.champion.gates,
                "candidate": self.champion.facts.get("candidate")},
            "metric": None if metric is None else {"name": metric[0], **metric[1]},
        }


def fleet(versions: Versions, rollouts: Rollouts, *, model: str | None = None) -> list[ModelStatus]:
    """Every model that has a version, by name, or the one named. Raises NotFound for an unknown one."""
    live = rollouts.all_live()
    names = versions.models() if model is None else [model]
    return [_status(versions, name, tuple(row for row in live if row.model == name)) for name in names]


def _status(versions: Versions, model: str, live: tuple[Rollout, ...]) -> ModelStatus:
    known = versions.list(model, deleted=True)
    kept = [version for version in known if version.deleted_at is None]
    at_production = next((row.version for row in live if row.endpoint == "production"), None)
    champion = next((version for version in known if version.number == at_production), None)
    evaluation = versions.evaluation(champion) if champion is not None else None
    return ModelStatus(model=model, live=live, newest=kept[-1] if kept else None, champion=champion,
                       evaluation=evaluation or {})
